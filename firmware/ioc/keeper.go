package ioc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sekisho/firmware/durable"
)

// Source is one list and where it comes from: URL or File, not both.
type Source struct {
	Name    string // [a-z0-9-], names the cached copy
	URL     string // http or https
	File    string
	Format  Format
	Trust   string        // low, medium, high; empty: medium
	Refresh time.Duration // between two looks; 0: 6 h for URLs, 1 min for files
	MaxAge  time.Duration // entries without an end of their own end this long after the last good read; 0: 30 days
}

// Status is how one source stands, for the health page.
type Status struct {
	Name     string
	Entries  int
	Good     time.Time // last read that was accepted, or confirmed unchanged
	Tried    time.Time
	Problem  string // of the last try; empty: none
	Report   Report
	Outdated bool // older than its MaxAge: its entries no longer match
}

// Keeper reads the sources, keeps what is good on disk, and publishes a Set.
type Keeper struct {
	dir     string
	client  *http.Client
	log     *slog.Logger
	now     func() time.Time
	current atomic.Pointer[Set]

	mu    sync.Mutex
	lists []*kept
}

// kept is one source with what it last said.
type kept struct {
	src     Source
	entries []Entry
	meta    cacheMeta
	status  Status
	due     time.Time
	fails   int
}

// cacheMeta stands beside the cached copy of a list.
type cacheMeta struct {
	URL          string    `json:"url"`
	ETag         string    `json:"etag,omitempty"`
	LastModified string    `json:"last_modified,omitempty"`
	Good         time.Time `json:"good"`
	SHA256       string    `json:"sha256"`
}

// Config of a Keeper. Dir is made when it is missing. Client, Log and Now may
// be nil.
type Config struct {
	Dir     string
	Sources []Source
	Client  *http.Client
	Log     *slog.Logger
	Now     func() time.Time
}

// NewKeeper loads what was kept on disk and reads the files, so that lists are
// in force at once, without the network.
func NewKeeper(c Config) (*Keeper, error) {
	k := &Keeper{dir: c.Dir, client: c.Client, log: c.Log, now: c.Now}
	if k.client == nil {
		k.client = &http.Client{Timeout: 2 * time.Minute}
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if k.now == nil {
		k.now = time.Now
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("indicator lists: %w", err)
	}
	for _, s := range c.Sources {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(k.lists, func(l *kept) bool { return l.src.Name == s.Name }) {
			return nil, fmt.Errorf("indicator list %q is there twice", s.Name)
		}
		l := &kept{src: s.filled(), status: Status{Name: s.Name}}
		k.load(l)
		if s.File != "" {
			k.visit(context.Background(), l, k.now())
		}
		k.lists = append(k.lists, l)
	}
	k.publish()
	return k, nil
}

// Validate says what is wrong with a source.
func (s Source) Validate() error {
	named := s.Name != "" && len(s.Name) <= 64
	for i := range len(s.Name) {
		if c := s.Name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			named = false
		}
	}
	switch u, err := url.Parse(s.URL); {
	case !named:
		return fmt.Errorf("indicator list name %q: write lower-case letters, digits and hyphens, at most 64", s.Name)
	case (s.URL == "") == (s.File == ""):
		return fmt.Errorf("indicator list %s: write either url or file", s.Name)
	case s.URL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == ""):
		return fmt.Errorf("indicator list %s: %q is no http or https address", s.Name, s.URL)
	case s.Format != "" && !slices.Contains(Formats(), s.Format):
		return fmt.Errorf("indicator list %s: format %q is not one of %v", s.Name, s.Format, Formats())
	case s.Trust != "" && s.Trust != "low" && s.Trust != "medium" && s.Trust != "high":
		return fmt.Errorf("indicator list %s: trust %q is not low, medium or high", s.Name, s.Trust)
	}
	return nil
}

func (s Source) filled() Source {
	if s.Refresh <= 0 {
		s.Refresh = time.Minute
		if s.URL != "" {
			s.Refresh = 6 * time.Hour
		}
	}
	if s.MaxAge <= 0 {
		s.MaxAge = 30 * 24 * time.Hour
	}
	return s
}

// Set returns the lists in force.
func (k *Keeper) Set() *Set { return k.current.Load() }

// Status tells how each source stands.
func (k *Keeper) Status() []Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	var out []Status
	for _, l := range k.lists {
		s := l.status
		s.Outdated = len(l.entries) > 0 && now.Sub(l.meta.Good) > l.src.MaxAge
		out = append(out, s)
	}
	return out
}

// Run looks at each source when it is due, until ctx ends. A source that fails
// is asked again after a minute, then after twice as long each time, up to its
// Refresh.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		k.Refresh(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Refresh looks at every source that is due, once.
func (k *Keeper) Refresh(ctx context.Context) {
	changed := false
	for _, l := range k.lists {
		now := k.now()
		if now.Before(l.due) || ctx.Err() != nil {
			continue
		}
		changed = k.visit(ctx, l, now) || changed
	}
	if changed {
		k.publish()
	}
}

// visit looks at one source, notes how that went, and says whether there is
// something new to publish.
func (k *Keeper) visit(ctx context.Context, l *kept, now time.Time) bool {
	fresh, err := k.look(ctx, l)
	k.mu.Lock()
	l.status.Tried, l.status.Problem = now, ""
	if err == nil {
		l.due, l.fails = now.Add(l.src.Refresh), 0
	} else {
		l.status.Problem = err.Error()
		l.due = now.Add(min(l.src.Refresh, time.Minute<<min(l.fails, 10)))
		l.fails++
	}
	k.mu.Unlock()
	if err != nil {
		k.log.Warn("indicator list not refreshed; the former one stays", "list", l.src.Name, "error", err)
	}
	return fresh
}

// look fetches one source and accepts it when it is good. fresh says that the
// Set has to be made anew.
func (k *Keeper) look(ctx context.Context, l *kept) (fresh bool, err error) {
	var data []byte
	meta := cacheMeta{URL: l.src.URL, Good: k.now().UTC()}
	if l.src.URL != "" {
		data, meta, err = k.fetch(ctx, l)
	} else {
		data, err = readBounded(l.src.File)
	}
	if err != nil {
		return false, err
	}
	if data == nil { // not modified
		meta.Good = k.now().UTC()
		return true, k.accept(l, l.entries, l.status.Report, meta, nil)
	}
	sum := sha256.Sum256(data)
	meta.SHA256 = hex.EncodeToString(sum[:])
	if meta.SHA256 == l.meta.SHA256 && len(l.entries) > 0 {
		meta.Good = k.now().UTC()
		return true, k.accept(l, l.entries, l.status.Report, meta, nil)
	}
	entries, rep, err := Parse(bytes.NewReader(data), l.src.Format)
	if err != nil {
		return false, fmt.Errorf("refused: %w", err)
	}
	// A download that was cut short, or a list emptied by mistake: it must not
	// take the protection away. Lists do shrink; not by nine tenths at once.
	if old := len(l.entries); old >= 100 && len(entries)*10 < old {
		return false, fmt.Errorf("refused: %d entries where there were %d; remove the file %s to accept it", len(entries), old, k.path(l, ".list"))
	}
	meta.Good = k.now().UTC()
	return true, k.accept(l, entries, rep, meta, data)
}

// fetch asks with the validators of the last good copy (RFC 9110, section 13).
// No data and no error means that it has not changed.
func (k *Keeper) fetch(ctx context.Context, l *kept) ([]byte, cacheMeta, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.src.URL, nil)
	if err != nil {
		return nil, cacheMeta{}, err
	}
	if len(l.entries) > 0 && l.meta.URL == l.src.URL {
		if l.meta.ETag != "" {
			req.Header.Set("If-None-Match", l.meta.ETag)
		}
		if l.meta.LastModified != "" {
			req.Header.Set("If-Modified-Since", l.meta.LastModified)
		}
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, cacheMeta{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return nil, l.meta, nil
	case http.StatusOK:
	default:
		return nil, cacheMeta{}, fmt.Errorf("the server answered %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxBytes+1))
	if err != nil {
		return nil, cacheMeta{}, err
	}
	if len(data) > MaxBytes {
		return nil, cacheMeta{}, fmt.Errorf("larger than %d MB", MaxBytes>>20)
	}
	return data, cacheMeta{URL: l.src.URL, ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err == nil && len(data) > MaxBytes {
		err = fmt.Errorf("larger than %d MB", MaxBytes>>20)
	}
	return data, err
}

// accept keeps a good list, on disk first. data is nil when only the time is new.
func (k *Keeper) accept(l *kept, entries []Entry, rep Report, meta cacheMeta, data []byte) error {
	var err error
	if data != nil {
		err = durable.WriteFile(k.path(l, ".list"), data, 0o600)
	}
	if err == nil {
		var b []byte
		if b, err = json.Marshal(meta); err == nil {
			err = durable.WriteFile(k.path(l, ".json"), b, 0o600)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	l.entries, l.meta = entries, meta
	l.status.Entries, l.status.Good, l.status.Report = len(entries), meta.Good, rep
	if err != nil {
		return fmt.Errorf("in force, but not kept on disk: %w", err)
	}
	return nil
}

func (k *Keeper) path(l *kept, ext string) string { return filepath.Join(k.dir, l.src.Name+ext) }

// load reads the copy on disk. One that is damaged, or of another address, is
// as good as none: the source will be asked.
func (k *Keeper) load(l *kept) {
	b, err := os.ReadFile(k.path(l, ".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var meta cacheMeta
	if err == nil {
		err = json.Unmarshal(b, &meta)
	}
	var data []byte
	if err == nil {
		data, err = readBounded(k.path(l, ".list"))
	}
	if err == nil {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != meta.SHA256 {
			err = errors.New("the copy does not match its checksum")
		} else if meta.URL != l.src.URL {
			err = errors.New("the copy is of another address")
		}
	}
	var entries []Entry
	var rep Report
	if err == nil {
		entries, rep, err = Parse(bytes.NewReader(data), l.src.Format)
	}
	if err != nil {
		k.log.Warn("kept indicator list not used", "list", l.src.Name, "error", err)
		l.status.Problem = err.Error()
		return
	}
	l.entries, l.meta = entries, meta
	l.status.Entries, l.status.Good, l.status.Report = len(entries), meta.Good, rep
	if l.src.URL != "" {
		l.due = meta.Good.Add(l.src.Refresh)
		if l.due.Sub(k.now()) > l.src.Refresh { // the clock was set back
			l.due = time.Time{}
		}
	}
}

// publish makes the Set anew from what every source last said.
func (k *Keeper) publish() {
	k.mu.Lock()
	var lists []List
	for _, l := range k.lists {
		lists = append(lists, List{Name: l.src.Name, Trust: l.src.Trust, Entries: l.entries, Expires: l.meta.Good.Add(l.src.MaxAge)})
	}
	k.mu.Unlock()
	k.current.Store(NewSet(lists))
}
