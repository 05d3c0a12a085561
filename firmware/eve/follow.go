package eve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"sekisho/firmware/detect"
)

// Config of a Follower. All fields but Log are required.
type Config struct {
	Path  string
	Trust detect.Confidence // the highest band that an alert may reach
	OnLAN func(netip.Addr) bool
	// Found is told of every finding. It may block: the log waits on disk.
	Found func(context.Context, detect.Finding) error
	Log   *slog.Logger
}

// Follower reads the log as it grows, from its end: what was written before
// the start was reported then. Rotation by renaming and by truncating is
// followed.
type Follower struct {
	cfg   Config
	file  *os.File
	part  []byte // a line that is not whole yet
	skip  bool   // inside a line that is too long
	said  map[key]time.Time
	bad   atomic.Uint64
	muted atomic.Uint64
}

type key struct {
	host netip.Addr
	sid  uint64
}

const (
	maxLine  = 256 << 10 // an alert with its payload logged takes some 10 kB
	maxSaid  = 4096
	sayEvery = 10 * time.Minute // one rule about one device
	poll     = 250 * time.Millisecond
)

// NewFollower returns a Follower; Run makes it read.
func NewFollower(c Config) *Follower {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Follower{cfg: c, said: map[key]time.Time{}}
}

// Stats counts lines that could not be read, and alerts that repeated.
func (f *Follower) Stats() (bad, repeated uint64) { return f.bad.Load(), f.muted.Load() }

// Run follows the log until ctx ends. A log that is not there is waited for:
// Suricata may start later.
func (f *Follower) Run(ctx context.Context) error {
	defer f.close()
	if err := f.open(true); err != nil {
		f.cfg.Log.Info("the EVE log is not there yet", "path", f.cfg.Path, "error", err)
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if err := f.drain(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *Follower) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

func (f *Follower) open(atEnd bool) error {
	// A named pipe in its place must not hold the start up.
	file, err := os.OpenFile(f.cfg.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if atEnd {
		_, err = file.Seek(0, io.SeekEnd)
	}
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.part, f.skip = file, f.part[:0], false
	return nil
}

// drain reads what is there, and then looks whether the log was rotated.
func (f *Follower) drain(ctx context.Context) error {
	if f.file == nil {
		if f.open(false) != nil {
			return nil
		}
	}
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := f.file.Read(buf)
		if err := f.take(ctx, buf[:n]); err != nil {
			return err
		}
		if err == nil && n > 0 {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EAGAIN) {
			f.cfg.Log.Warn("reading the EVE log", "error", err)
			f.close()
			return nil
		}
		if !f.rotated() {
			return nil
		}
	}
	return nil
}

// rotated reopens the log when another file has its name, or starts over when
// it became shorter. It says whether there is more to read.
func (f *Follower) rotated() bool {
	now, err := os.Stat(f.cfg.Path)
	if err != nil {
		return false // between rename and create; the old file is all there is
	}
	have, err := f.file.Stat()
	if err == nil && os.SameFile(now, have) {
		at, err := f.file.Seek(0, io.SeekCurrent)
		if err != nil || at <= now.Size() || !now.Mode().IsRegular() {
			return false
		}
		_, err = f.file.Seek(0, io.SeekStart)
		f.part, f.skip = f.part[:0], false
		return err == nil
	}
	f.close()
	return f.open(false) == nil
}

// take cuts what was read into lines.
func (f *Follower) take(ctx context.Context, data []byte) error {
	for len(data) > 0 {
		text, rest, whole := bytes.Cut(data, []byte{'\n'})
		data = rest
		switch {
		case f.skip:
			f.skip = !whole
			continue
		case len(f.part)+len(text) > maxLine:
			f.bad.Add(1)
			f.part, f.skip = f.part[:0], !whole
			continue
		}
		f.part = append(f.part, text...)
		if !whole {
			return nil
		}
		err := f.line(ctx, f.part)
		f.part = f.part[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Follower) line(ctx context.Context, text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 || !bytes.Contains(text, []byte(`"alert"`)) {
		return nil // most lines are flows and protocol records
	}
	a, err := Parse(text)
	if errors.Is(err, ErrOther) {
		return nil
	}
	if err != nil {
		f.bad.Add(1)
		return nil
	}
	found, ok := a.Finding(f.cfg.OnLAN, f.cfg.Trust)
	if !ok || !f.fresh(key{found.Host.IP, a.SID}, a.Time) {
		return nil
	}
	return f.cfg.Found(ctx, found)
}

// fresh says whether one rule about one device may be told again.
func (f *Follower) fresh(k key, t time.Time) bool {
	if last, ok := f.said[k]; ok && t.Sub(last) < sayEvery && !t.Before(last) {
		f.muted.Add(1)
		return false
	}
	if len(f.said) >= maxSaid {
		clear(f.said) // at worst something is told twice
	}
	f.said[k] = t
	return true
}
