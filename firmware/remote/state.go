package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"sekisho/firmware/durable"
	"sekisho/firmware/remote/wire"
)

// What is kept at most. Whoever fills it is a person of the office or a vendor
// that the office let in.
const (
	maxVendors     = 32
	maxInvitations = 8
	maxGrants      = 64 // those over included; the ledger knows them all
	maxActive      = 4
)

const stateVersion = 1

// vendor is one enrolment: one certificate, one person's authenticator.
type vendor struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Pin        string    `json:"pin"` // wire.Pin of the client's certificate
	Enrolled   time.Time `json:"enrolled"`
	EnrolledBy string    `json:"enrolled_by"` // who made the invitation
	Secrets    secrets   `json:"secrets"`
}

// invitation lets one certificate in.
type invitation struct {
	Hash    string    `json:"hash"` // SHA-256 of the secret, hex
	By      string    `json:"by"`
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires"`
}

// state is everything that must survive a restart; one file.
type state struct {
	Version     int          `json:"version"`
	Vendors     []vendor     `json:"vendors"`
	Invitations []invitation `json:"invitations"`
	Grants      []grant      `json:"grants"` // oldest first
}

func (s *state) vendor(id string) *vendor {
	i := slices.IndexFunc(s.Vendors, func(v vendor) bool { return v.ID == id })
	if i < 0 {
		return nil
	}
	return &s.Vendors[i]
}

func (s *state) grant(id string) *grant {
	i := slices.IndexFunc(s.Grants, func(g grant) bool { return g.ID == id })
	if i < 0 {
		return nil
	}
	return &s.Grants[i]
}

// prune forgets the oldest grants that are over.
func (s *state) prune() {
	for over := len(s.Grants) - maxGrants; over > 0; over-- {
		i := slices.IndexFunc(s.Grants, func(g grant) bool { return !g.open() })
		if i < 0 {
			return
		}
		s.Grants = slices.Delete(s.Grants, i, i+1)
	}
}

// use is one download that runs.
type use struct {
	grant string
	cut   func() // ends it at once
}

// book holds the state in memory and on disk. What opens something counts when
// it is on disk; what closes something counts at once.
type book struct {
	path    string
	changed func() // called after every change, without mu

	disk sync.Mutex // one change at a time; held while the file is written

	mu     sync.Mutex // never held while something is written
	s      state      // its slices are never written to
	closed map[string]bool
	uses   map[*use]struct{}
	sent   map[string]int64 // bytes by grant, since the start
	news   chan struct{}    // closed at the next change
}

// openBook reads the file at path, or begins an empty one. A damaged one is an
// error: to begin anew would forget which codes were used.
func openBook(path string, changed func()) (*book, error) {
	b := &book{path: path, changed: changed, closed: map[string]bool{}, uses: map[*use]struct{}{}, sent: map[string]int64{}, news: make(chan struct{})}
	data, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		b.s.Version = stateVersion
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &b.s)
	}
	if err == nil && b.s.Version != stateVersion {
		err = fmt.Errorf("version %d is not known", b.s.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("vendor access state %s: %w", path, err)
	}
	return b, nil
}

// readPrivate reads a file that holds secrets.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("mode %o lets others read it; run chmod 600 on it", info.Mode().Perm())
	}
	return os.ReadFile(path)
}

// change runs fn on a copy of the state and makes the copy durable before it
// counts. After an error of fn nothing has changed.
func (b *book) change(fn func(*state) error) error {
	b.disk.Lock()
	err := b.changeLocked(fn)
	b.disk.Unlock()
	if err == nil {
		b.changed()
	}
	return err
}

func (b *book) changeLocked(fn func(*state) error) error {
	next := b.state()
	next.Vendors = slices.Clone(next.Vendors)
	next.Invitations = slices.Clone(next.Invitations)
	next.Grants = slices.Clone(next.Grants)
	if err := fn(&next); err != nil {
		return err
	}
	next.prune()
	data, err := json.MarshalIndent(next, "", "\t")
	if err == nil {
		err = durable.WriteFile(b.path, append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write vendor access state: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s = next
	for id := range b.closed { // those that the state itself calls over now
		if g := next.grant(id); next.vendor(id) == nil && (g == nil || !g.open()) {
			delete(b.closed, id)
		}
	}
	for id := range b.sent {
		if next.grant(id) == nil {
			delete(b.sent, id)
		}
	}
	b.announceLocked()
	return nil
}

func (b *book) announceLocked() {
	close(b.news)
	b.news = make(chan struct{})
}

// state is a snapshot, not to be written to.
func (b *book) state() state {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s
}

// next is closed at the next change. Take it before the state.
func (b *book) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.news
}

// close ends a vendor or grant in memory and cuts its downloads, whatever the
// disk does afterwards.
func (b *book) close(ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.closed[id] = true
	}
	b.cutLocked(func(g grant) bool { return b.closed[g.ID] || b.closed[g.Vendor] })
	b.announceLocked()
}

// cutExpired cuts the downloads of grants whose time is over.
func (b *book) cutExpired(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cutLocked(func(g grant) bool { return g.at(now).State != wire.GrantActive })
}

func (b *book) cutLocked(over func(grant) bool) {
	for u := range b.uses {
		if g := b.s.grant(u.grant); g == nil || over(*g) {
			u.cut()
		}
	}
}

// grantNow is g as it counts, close included.
func (b *book) grantNow(g grant, now time.Time) grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.grantNowLocked(g, now)
}

func (b *book) grantNowLocked(g grant, now time.Time) grant {
	g = g.at(now)
	if g.open() && (b.closed[g.ID] || b.closed[g.Vendor]) {
		g.State = wire.GrantEnded
	}
	return g
}

// active counts the grants of st that are open.
func (b *book) active(st *state, now time.Time) (n int) {
	for _, g := range st.Grants {
		if b.grantNow(g, now).State == wire.GrantActive {
			n++
		}
	}
	return n
}

// vendors are those that count.
func (b *book) vendors() []vendor {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.s.Vendors), func(v vendor) bool { return b.closed[v.ID] })
}

// pinned is the vendor of that certificate.
func (b *book) pinned(p wire.Pin) (vendor, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.s.Vendors, func(v vendor) bool { return v.Pin == p.String() && !b.closed[v.ID] })
	if i < 0 {
		return vendor{}, false
	}
	return b.s.Vendors[i], true
}

// begin finds what lets the vendor read the incident now, and takes note of a
// download that cut ends. finish must be called when it is over.
func (b *book) begin(vendorID, incident string, now time.Time, cut func()) (g grant, u *use, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range slices.Backward(b.s.Grants) {
		if g.Vendor == vendorID && g.Incident == incident && b.grantNowLocked(g, now).State == wire.GrantActive {
			u := &use{grant: g.ID, cut: cut}
			b.uses[u] = struct{}{}
			return g, u, true
		}
	}
	return grant{}, nil, false
}

// passes counts n bytes that are about to be sent, and tells whether they may.
func (b *book) passes(u *use, n int, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.s.grant(u.grant)
	if g == nil || b.grantNowLocked(*g, now).State != wire.GrantActive {
		return false
	}
	b.sent[u.grant] += int64(n)
	return true
}

func (b *book) finish(u *use) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.uses, u)
}

// usage is how many downloads of the grant run, and what was sent by it.
func (b *book) usage(id string) (running int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for u := range b.uses {
		if u.grant == id {
			running++
		}
	}
	return running, b.sent[id]
}
