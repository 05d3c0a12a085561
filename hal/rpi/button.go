package rpi

import (
	"context"
	"time"
)

// listen keeps the button's line open, and wakes attend when there are edges.
func (p *Panel) listen(ctx context.Context, wake chan<- struct{}) {
	for ctx.Err() == nil {
		err := p.hear(ctx, wake)
		if ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(p.button.report(err)):
		}
	}
}

// hear opens the line and waits for edges until one of them fails.
func (p *Panel) hear(ctx context.Context, wake chan<- struct{}) error {
	line, err := p.board.OpenButton(p.cfg.Button, p.cfg.ActiveLow)
	if err != nil {
		return err
	}
	defer line.Close()
	defer context.AfterFunc(ctx, func() { line.Close() })()
	down, err := line.Down()
	if err != nil {
		return err
	}
	p.button.report(nil)
	p.Edge(down) // a finger that is there already is no press
	p.use(line)
	defer func() {
		p.use(nil)
		p.Lost()
	}()
	for {
		if err := line.Wait(); err != nil {
			return p.cause(err)
		}
		select {
		case wake <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cause is why the line failed: what pass met, when that closed it.
func (p *Panel) cause(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why != nil {
		err, p.why = p.why, nil
	}
	return err
}

func (p *Panel) use(line Button) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line, p.why = line, nil
}

// pass hands over every edge that has happened, and only then lets the button's
// time pass: a press counts with its own times also when this machine stood still
// meanwhile. It says whether there was an edge.
func (p *Panel) pass() bool {
	p.mu.Lock()
	line := p.line
	p.mu.Unlock()
	now := p.cfg.Now() // before the look: what comes during it is told by the next
	defer func() { p.TickAt(now) }()
	if line == nil {
		return false
	}
	edges, err := line.Edges()
	asked := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line != line { // lost meanwhile: they say nothing of the line that comes next
		return false
	}
	for _, e := range edges {
		p.EdgeAt(asked.Add(-e.Ago), e.Down)
	}
	if err != nil {
		p.why = err
		line.Close() // hear finds out
	}
	return len(edges) > 0
}
