package main

import (
	"errors"
	"fmt"
	"time"

	"sekisho/hal/panel"
	"sekisho/hal/rpi"
)

// How often the button is to be pressed, and within what time.
const (
	pushes     = 5
	pushWithin = 30 * time.Second
)

// What can be wrong with a button.
var (
	errHeldDown   = errors.New("the button is down, and nobody presses it")
	errNotPressed = errors.New("no press was seen")
	errBounces    = errors.New("the button bounces for longer than a press may")
)

// button counts presses, and says how the contacts bounce.
func (m *smoke) button() (string, error) {
	b, err := m.board.OpenButton(m.cfg.Button, m.cfg.ActiveLow)
	if err != nil {
		return "", err
	}
	defer b.Close()
	down, err := b.Down()
	switch {
	case err != nil:
		return "", err
	case down:
		return "", errHeldDown
	case m.unasked:
		return "", nil
	}
	fmt.Fprintf(m.say, m.words.push+"\n", pushes)
	s, err := m.pushes(b)
	if err != nil {
		return "", err
	}
	return s.text(m.words), s.fault()
}

// pushes collects edges until the button was pressed often enough, and has rested
// since, or the time is over.
func (m *smoke) pushes(b rpi.Button) (stats, error) {
	ready, quit := make(chan error), make(chan struct{})
	defer close(quit)
	go func() {
		for {
			err := b.Wait()
			select {
			case ready <- err:
			case <-quit:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var s stats
	over := time.After(pushWithin)
	for {
		var rest <-chan time.Time
		if s.releases >= pushes {
			rest = time.After(settled)
		}
		select {
		case err := <-ready:
			if err != nil {
				return s, err
			}
			edges, err := b.Edges()
			if err != nil {
				return s, err
			}
			now := m.now()
			for _, e := range edges {
				s.edge(now.Add(-e.Ago), e.Down)
			}
		case <-rest:
			return s, nil
		case <-over:
			return s, nil
		}
	}
}

// settled is how long a line stands still before the next edge is a new movement of
// the finger: no person presses twice in that time.
const settled = 50 * time.Millisecond

// stats are what the edges of a button tell of its contacts.
type stats struct {
	presses, releases int
	bounces           int           // edges beyond one for each movement
	longest           time.Duration // from the first to the last edge of one movement
	first, last       time.Time     // of the movement
}

func (s *stats) edge(at time.Time, down bool) {
	if s.last.IsZero() || at.Sub(s.last) >= settled {
		s.first = at
		if down {
			s.presses++
		} else {
			s.releases++
		}
	} else {
		s.bounces++
		s.longest = max(s.longest, at.Sub(s.first))
	}
	s.last = at
}

func (s *stats) fault() error {
	switch {
	case s.presses == 0:
		return errNotPressed
	case s.longest >= panel.Debounce:
		return fmt.Errorf("%w: %v", errBounces, s.longest.Round(100*time.Microsecond))
	}
	return nil
}

func (s *stats) text(w text) string {
	return fmt.Sprintf(w.bounced, s.presses, s.bounces, s.longest.Round(100*time.Microsecond))
}
