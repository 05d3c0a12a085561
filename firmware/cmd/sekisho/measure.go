package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// measured is what a demonstration writes beside its bundle for the bench.
type measured struct {
	// PressToLastLeakMs is from just before the press is sent to the kernel's
	// time of the attacker's last frame that arrived at any other machine; zero
	// when none arrived after the press.
	PressToLastLeakMs float64 `json:"press_to_last_leak_ms"`
	// PressToProofMs ends when the page says that isolation is proven; it is
	// asked every 20 ms.
	PressToProofMs  float64 `json:"press_to_proof_ms"`
	AttackToPressMs float64 `json:"attack_to_press_ms"`
	// BusyPerSecond is how many frames of the busy flow the attacker sent: the
	// resolution of the leak.
	BusyPerSecond float64 `json:"busy_frames_per_s"`
}

const (
	measureVariable = "SEKISHO_DEMO_MEASURE"
	measureFile     = "measured.json"
)

// measuring is the busy flow of a demonstration that is measured. A worm alone
// leaves gaps of 100 ms between its contacts, so that a late isolation would
// look early; the attacker therefore also sends to another machine all the
// time, as somebody who copies a disk does.
type measuring struct {
	conn    net.Conn
	pressed time.Time
	stop    context.CancelFunc
	sent    chan busy
}

type busy struct {
	frames int
	took   time.Duration
}

const (
	busyEvery = time.Millisecond
	busyHost  = "nas"
	busyPort  = 9 // discard (RFC 863); that nobody listens does not matter
)

// startMeasuring does nothing unless the bench asked for it.
func (p *play) startMeasuring(ctx context.Context) error {
	if os.Getenv(measureVariable) == "" {
		return nil
	}
	to := net.JoinHostPort(p.office.Host(busyHost).Addr().String(), fmt.Sprint(busyPort))
	conn, err := p.office.Attacker().Dial(ctx, "udp", to)
	if err != nil {
		return fmt.Errorf("start the busy flow: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	p.measure = &measuring{conn: conn, stop: stop, sent: make(chan busy, 1)}
	go p.measure.flow(ctx)
	return nil
}

// flow sends until ctx ends. Refusals come back and do not matter.
func (m *measuring) flow(ctx context.Context) {
	defer m.conn.Close()
	payload := make([]byte, 1000)
	tick := time.NewTicker(busyEvery)
	defer tick.Stop()
	start := time.Now()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			m.sent <- busy{n, time.Since(start)}
			return
		case <-tick.C:
			m.conn.Write(payload) //nolint:errcheck
		}
	}
}

// noteMeasured writes the file, when the attack is over.
func (p *play) noteMeasured(isolated time.Time) error {
	m := p.measure
	if m == nil {
		return nil
	}
	m.stop()
	b := <-m.sent
	ms := func(d time.Duration) float64 { return float64(max(0, d).Microseconds()) / 1e3 }
	data, err := json.Marshal(measured{
		PressToLastLeakMs: ms(p.meter.Last().Sub(m.pressed)),
		PressToProofMs:    ms(isolated.Sub(m.pressed)),
		AttackToPressMs:   ms(m.pressed.Sub(p.meter.First())),
		BusyPerSecond:     float64(b.frames) / b.took.Seconds(),
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Getenv(keepVariable), measureFile), data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write what was measured: %w", err)
	}
	return nil
}
