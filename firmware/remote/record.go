package remote

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"sekisho/firmware/ledger"
)

// How much the ledger is told. A stranger's deeds are counted, because each can
// be repeated a thousand times a second and the ledger is kept for years.
const (
	pollSpan       = time.Hour       // one entry for so long of one vendor's identical polls
	maxPolls       = 256             // distinct polls counted at one time
	strangerSpan   = time.Minute     // one entry for so long of one source's attempts
	maxSources     = 64              // sources told apart at one time; the rest counts as one
	strangerBurst  = 100             // entries about strangers at once,
	strangerPeriod = 5 * time.Minute // and then one in so long: 288 a day
)

// tally is how often something happened again.
type tally struct {
	times       int
	first, last time.Time
}

func (t *tally) add(now time.Time) {
	if t.times == 0 {
		t.first = now
	}
	t.times++
	t.last = now
}

func (t tally) detail(d map[string]any) map[string]any {
	d["times"], d["since"], d["last"] = t.times, t.first.UTC(), t.last.UTC()
	return d
}

// poll is what makes two requests of a vendor identical.
type poll struct {
	actor, action, subject, from string // from is a source
	status                       int
}

// polls counts requests that only look. The first is an entry of its own; those
// within the hour after it are one entry together.
type polls struct {
	append func(ledger.Entry) error

	mu   sync.Mutex
	last map[poll]time.Time // of the entry
	more map[poll]tally     // since then
}

func newPolls(append func(ledger.Entry) error) *polls {
	return &polls{append: append, last: map[poll]time.Time{}, more: map[poll]tally{}}
}

// add counts p, and reports an error when an entry is due and not taken.
func (c *polls) add(p poll, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.last[p]; !known && len(c.last) >= maxPolls {
		if err := c.flushLocked(now, 0); err != nil {
			return err
		}
	}
	t := c.more[p]
	t.add(now)
	if last, known := c.last[p]; known && now.Sub(last) < pollSpan && !now.Before(last) {
		c.more[p] = t
		return nil
	}
	return c.writeLocked(p, t, now)
}

func (c *polls) writeLocked(p poll, t tally, now time.Time) error {
	err := c.append(ledger.Entry{Time: now, Actor: p.actor, Action: p.action, Subject: p.subject,
		Detail: t.detail(map[string]any{"from": p.from, "status": p.status})})
	if err == nil {
		c.last[p] = now
		delete(c.more, p)
	}
	return err
}

// flush writes what was counted and forgets polls that are older than age.
func (c *polls) flush(now time.Time, age time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushLocked(now, age)
}

func (c *polls) flushLocked(now time.Time, age time.Duration) error {
	for p, last := range c.last {
		if now.Sub(last) < age {
			continue
		}
		if t, some := c.more[p]; some {
			if err := c.writeLocked(p, t, now); err != nil {
				return err
			}
		}
		delete(c.last, p)
	}
	return nil
}

// Why a stranger was turned away.
const (
	reasonSilent      = "no request" // no handshake, or nothing that is a request
	reasonTooMany     = "too many connections"
	reasonNoCert      = "no certificate"
	reasonCertificate = "certificate not enrolled"
	reasonEnrolment   = "enrolment refused"
)

type attempt struct{ from, reason string }

// strangers counts what those do who are not enrolled. However many they are,
// the entries about them are limited; the counts in them are not.
type strangers struct {
	append func(ledger.Entry) error
	budget *rate.Limiter

	mu   sync.Mutex
	more map[attempt]tally
	due  time.Time
}

func newStrangers(append func(ledger.Entry) error) *strangers {
	return &strangers{append: append, budget: rate.NewLimiter(rate.Every(strangerPeriod), strangerBurst), more: map[attempt]tally{}}
}

const otherSources = "others"

func (s *strangers) add(from, reason string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := attempt{from, reason}
	if _, known := s.more[a]; !known && len(s.more) >= maxSources {
		a.from = otherSources
	}
	if len(s.more) == 0 {
		s.due = now.Add(strangerSpan)
	}
	t := s.more[a]
	t.add(now)
	s.more[a] = t
}

// flush writes what is due, most frequent first, as far as the budget goes. What
// is not written stays counted. Who is being accepted never waits for the disk.
func (s *strangers) flush(now time.Time, all bool) error {
	for _, a := range s.dueAt(now, all) {
		if !s.budget.AllowN(now, 1) {
			return nil
		}
		t := s.take(a)
		err := s.append(ledger.Entry{Time: now, Actor: "stranger", Action: "remote.refused", Subject: a.from,
			Detail: t.detail(map[string]any{"reason": a.reason})})
		if err != nil {
			s.putBack(a, t)
			return err
		}
	}
	return nil
}

func (s *strangers) dueAt(now time.Time, all bool) []attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !all && now.Before(s.due) {
		return nil
	}
	return slices.SortedFunc(maps.Keys(s.more), func(a, b attempt) int { return s.more[b].times - s.more[a].times })
}

func (s *strangers) take(a attempt) tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.more[a]
	delete(s.more, a)
	return t
}

func (s *strangers) putBack(a attempt, t tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := s.more[a]; since.times > 0 {
		t.times, t.last = t.times+since.times, since.last
	}
	s.more[a] = t
}

// source is what counts as one source: an IPv4 address, or an IPv6 /64, within
// which one machine can take any address.
func source(a netip.Addr) string {
	a = a.Unmap()
	if a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return "unknown"
	}
	return p.String()
}

// clean makes what a client sent fit for an entry: at most n bytes, valid UTF-8.
func clean(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	return s
}

// note records the call with its outcome, before anything of it is given out.
// An error means that nothing may be.
func (s *Server) note(c *call, status int, code string) error {
	if err := s.noteOnce(c, status, code); err != nil {
		return unavailable(err)
	}
	c.noted, c.status = true, status
	return nil
}

func (s *Server) noteOnce(c *call, status int, code string) error {
	actor := "vendor:" + c.vendor.Name
	if c.route.poll {
		if err := s.polls.add(poll{actor, c.route.action, c.subject, source(remoteAddr(c.r)), status}, c.now); err != nil {
			return err
		}
		_, err := s.cfg.Ledger.Checkpoint() // counted only while the count can be written
		return err
	}
	d := map[string]any{"from": c.from, "method": clean(c.r.Method, 16), "path": clean(c.r.URL.EscapedPath(), 200)}
	if status != 0 { // a download's is known at its end
		d["status"] = status
	}
	if code != "" {
		d["code"] = code
	}
	for k, v := range c.detail {
		d[k] = v
	}
	return s.append(ledger.Entry{Time: c.now, Actor: actor, Action: c.route.action, Subject: c.subject, Detail: d})
}

func (s *Server) append(e ledger.Entry) error {
	e.Time = e.Time.UTC()
	if _, err := s.cfg.Ledger.Append(e); err != nil {
		return fmt.Errorf("record %s: %w", e.Action, err)
	}
	return nil
}
