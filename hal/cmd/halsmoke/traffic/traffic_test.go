package traffic_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/hal/cmd/halsmoke/traffic"
	"sekisho/hal/rpi"
	"sekisho/hal/rpi/rpitest"
)

// echo is a bus whose device answers each read with what was written, and is not
// there at address 9.
type echo struct{}

func (echo) Tx(addr uint16, w, r []byte) error {
	if addr == 9 {
		return errors.New("remote I/O error")
	}
	copy(r, w)
	return nil
}

// play does a little of everything, and returns what it was answered.
func play(b rpi.Board, push func(bool)) (answers []any) {
	note := func(a ...any) {
		for _, v := range a {
			if err, ok := v.(error); ok {
				v = err.Error()
			}
			answers = append(answers, v)
		}
	}
	button, err := b.OpenButton("GPIO17", true)
	note(err)
	note(button.Down())
	push(true)
	push(false)
	note(button.Wait())
	edges, err := button.Edges()
	for _, e := range edges {
		note(e.Down)
	}
	note(err, button.Close(), button.Wait())
	light, err := b.OpenLight("GPIO23", false)
	note(err, light.Set(rpi.Shade{Level: 200, Dim: true}), light.Close())
	_, err = b.OpenLight("GPIO99", false)
	note(err)
	bus, err := b.OpenBus(1)
	read := make([]byte, 2)
	note(err, bus.Tx(60, []byte{1, 2, 3}, read), read, bus.Tx(9, []byte{4}, nil), bus.Close())
	return answers
}

func record(t *testing.T, w *bytes.Buffer) (answers []any) {
	b := &rpitest.Board{}
	b.Attach(echo{})
	b.Lose("GPIO99", errors.New("no such line"))
	r := traffic.Record(b, w, time.Now)
	r.Step("all")
	answers = play(r, func(down bool) {
		time.Sleep(time.Second)
		b.Push(down)
	})
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	return answers
}

func TestAPlaybackAnswersAsTheBoardDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w bytes.Buffer
		was := record(t, &w)
		events, err := traffic.Read(&w)
		if err != nil {
			t.Fatal(err)
		}
		p := traffic.Play(events)
		if now := play(p, func(bool) {}); !reflect.DeepEqual(now, was) {
			t.Errorf("answered\n%v, the board\n%v", now, was)
		}
		if err := p.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestEdgesKeepTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w bytes.Buffer
		record(t, &w)
		events, err := traffic.Read(&w)
		if err != nil {
			t.Fatal(err)
		}
		var at []time.Duration
		for _, e := range events {
			if e.Op == "edge" {
				at = append(at, e.At)
			}
		}
		if len(at) != 2 || at[0] != time.Second || at[1] != 2*time.Second {
			t.Errorf("edges at %v", at)
		}
	})
}

func TestAPlaybackTellsWhatWasLeftOutAndWhatCameInstead(t *testing.T) {
	events := []traffic.Event{{Part: "i2c-1", Op: "open"}, {Part: "i2c-1", Op: "tx", Addr: 60, W: traffic.Bytes{1}}, {Part: "GPIO23", Op: "open"}}
	p := traffic.Play(events)
	bus, err := p.OpenBus(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Tx(60, []byte{2}, nil); !errors.Is(err, traffic.ErrOtherwise) {
		t.Errorf("another byte: %v", err)
	}
	err = p.Err()
	for _, want := range []string{"recorded was", "GPIO23: 1 recorded events did not happen"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestARecordingThatCannotBeWrittenIsTold(t *testing.T) {
	r := traffic.Record(&rpitest.Board{}, full{}, time.Now)
	if l, err := r.OpenLight("GPIO23", false); err != nil || l.Set(rpi.Shade{}) != nil {
		t.Error("the board pays for the recording:", err)
	}
	if r.Err() == nil {
		t.Error("nothing is told")
	}
}

func FuzzAnyFileIsReadOrRefused(f *testing.F) {
	f.Add([]byte(`{"at":1,"part":"i2c-1","op":"tx","addr":60,"w":"00ae"}` + "\n"))
	f.Add([]byte(`{"at":1,"part":"step","op":"red"}` + "\n{"))
	f.Add([]byte(`{"w":"xyz"}`))
	f.Add([]byte(`{"unknown":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := traffic.Read(bytes.NewReader(b))
		if lines := bytes.Count(b, []byte("\n")) + 1; len(events) > lines {
			t.Errorf("%d events from %d lines", len(events), lines)
		}
		if err == nil {
			_ = traffic.Play(events).Err()
		}
	})
}
