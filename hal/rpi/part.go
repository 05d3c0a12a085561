package rpi

import (
	"log/slog"
	"sync"
	"time"
)

// Times between two tries of a part that is missing: the first, doubled up to the
// longest. A try costs little, and whoever has just pushed a plug in looks.
const (
	firstWait   = 500 * time.Millisecond
	longestWait = 5 * time.Second
)

// part keeps how one part does. Its methods may be called from any goroutine.
type part struct {
	name string
	log  *slog.Logger

	mu   sync.Mutex
	err  error
	wait time.Duration
}

func (p *part) state() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// report notes how the part does, and says how long to leave it alone; not at all
// when it is well.
func (p *part) report(err error) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil && p.err != nil:
		p.log.Info("a part of the panel works again", "part", p.name)
	case err != nil && (p.err == nil || p.err.Error() != err.Error()):
		p.log.Warn("a part of the panel is missing", "part", p.name, "err", err)
	}
	p.err = err
	if err == nil {
		p.wait = 0
		return 0
	}
	p.wait = min(max(2*p.wait, firstWait), longestWait)
	return p.wait
}

// output is a light that may be missing. One goroutine owns all but its part.
type output struct {
	part
	there bool // the settings name it
	open  func() (Light, error)
	light Light
	shown Shade
	again time.Time // not tried before
}

// set brings the light to a shade, when it is not there already.
func (o *output) set(now time.Time, s Shade) {
	if !o.there || o.light == nil && now.Before(o.again) || o.light != nil && o.shown == s {
		return
	}
	err := o.put(s)
	if err != nil {
		o.drop()
	}
	if wait := o.report(err); err != nil {
		o.again = now.Add(wait)
	}
}

func (o *output) put(s Shade) error {
	if o.light == nil {
		light, err := o.open()
		if err != nil {
			return err
		}
		o.light = light
	}
	if err := o.light.Set(s); err != nil {
		return err
	}
	o.shown = s
	return nil
}

func (o *output) drop() {
	if o.light != nil {
		_ = o.light.Close() // what it would say has been said
		o.light = nil
	}
}

// close leaves the light off.
func (o *output) close() {
	if o.light != nil {
		if err := o.light.Set(Shade{}); err != nil {
			o.report(err)
		}
	}
	o.drop()
}
