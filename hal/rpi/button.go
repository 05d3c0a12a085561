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
			return err
		}
		select {
		case wake <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Panel) use(line Button) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = line
}

// takeEdges hands over every edge that has happened, so that the face's time never
// passes one by: a press counts with its own times also when this machine stood
// still meanwhile. It says whether there was any.
func (p *Panel) takeEdges() bool {
	p.mu.Lock()
	line := p.line
	p.mu.Unlock()
	if line == nil {
		return false
	}
	edges, err := line.Edges()
	now := p.cfg.Now()
	for _, e := range edges {
		p.EdgeAt(now.Add(-e.Ago), e.Down)
	}
	if err != nil {
		line.Close() // hear finds out
	}
	return len(edges) > 0
}
