package virtual

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
)

func suspect(target string) hal.Status {
	return hal.Status{State: hal.Attention, Lang: "ja", Now: time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC), Suspect: hal.Device{Name: "経理PC-2"}, Target: target}
}

func TestWebPressNeedsTheTargetThatIsShown(t *testing.T) {
	p := New(Config{})
	p.Show(suspect("a"))
	if err := p.Press(hal.Short, "b"); !errors.Is(err, ErrTargetChanged) {
		t.Errorf("press for another target: %v", err)
	}
	if err := p.Press(hal.Hold3, "a"); !errors.Is(err, ErrNotAsked) {
		t.Errorf("approval that nobody asked for: %v", err)
	}
	if len(p.Presses()) != 0 {
		t.Fatal("a refused press came out")
	}
	if err := p.Press(hal.Short, "a"); err != nil {
		t.Fatal(err)
	}
	if got := <-p.Presses(); got.Gesture != hal.Short || got.Target != "a" || got.At.IsZero() {
		t.Errorf("got %+v", got)
	}
	if err := p.Press(hal.Hold8, "whatever"); err != nil {
		t.Errorf("a lockdown depends on no target: %v", err)
	}
}

func TestAnApprovalFromThePageIsForTheRequestThatWasShown(t *testing.T) {
	p := New(Config{})
	p.Show(hal.Status{State: hal.Normal, Lang: "ja", Approval: "あおばIT", ApprovalID: "g2"})
	if err := p.Press(hal.Hold3, "g1"); !errors.Is(err, ErrTargetChanged) {
		t.Errorf("approval of the request before: %v", err)
	}
	if err := p.Press(hal.Hold3, "g2"); err != nil {
		t.Fatal(err)
	}
	if got := <-p.Presses(); got.Gesture != hal.Hold3 || got.Target != "g2" || len(p.Presses()) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestPressWithoutTargetTurnsThePageAndAStateTurnsItBack(t *testing.T) {
	p := New(Config{})
	p.Show(hal.Status{State: hal.Normal, Lang: "en"})
	first := p.Frame()
	if err := p.Press(hal.Short, ""); err != nil {
		t.Fatal(err)
	}
	if f := p.Frame(); f.Page != 1 || f.Image == first.Image || f.Seq == first.Seq {
		t.Errorf("page %d, seq %d", f.Page, f.Seq)
	}
	p.Show(suspect("a"))
	if f := p.Frame(); f.Page != 0 || f.Status.Target != "a" {
		t.Errorf("page %d of the suspect", f.Page)
	}
}

func TestUntakenPressesAreRefusedAndNeverBlock(t *testing.T) {
	p := New(Config{})
	var err error
	for range 100 {
		err = p.Press(hal.Hold8, "")
	}
	if !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}

func TestSubscriberHearsOfEveryShowAndNothingAfterItsEnd(t *testing.T) {
	p := New(Config{})
	c, stop := p.Subscribe()
	for range 5 {
		p.Show(suspect("a")) // nobody reads: Show must not block
	}
	<-c
	select {
	case <-c:
		t.Error("more than one token")
	default:
	}
	stop()
	p.Show(suspect("b"))
	if len(c) != 0 {
		t.Error("a token after the end")
	}
}

func TestLampRunsWithTheClockAndTheClockGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		p.Show(suspect("a"))
		if !p.Frame().Lamp.Lit() {
			t.Error("double blink begins dark")
		}
		time.Sleep(panel.Rest + 50*time.Millisecond)
		if p.Frame().Lamp.Lit() {
			t.Error("no gap between the blinks")
		}
		p.Show(hal.Status{State: hal.Normal, Lang: "en", Now: time.Date(2026, 4, 24, 14, 5, 0, 0, time.UTC)})
		time.Sleep(2 * time.Minute)
		if l := p.Frame().Lines[0]; !strings.Contains(l, "14:07") {
			t.Errorf("the clock stands still: %s", l)
		}
	})
}

func TestHeadlessRunEndsWithTheContextAndClosesPresses(t *testing.T) {
	p := New(Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, open := <-p.Presses(); open {
		t.Error("presses still open")
	}
	if err := p.Press(hal.Hold8, ""); !errors.Is(err, ErrBusy) {
		t.Errorf("press after the end: %v", err)
	}
}
