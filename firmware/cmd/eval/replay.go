package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/eval"
	"sekisho/firmware/flow"
	"sekisho/firmware/gateway"
	"sekisho/firmware/incident"
)

// score replays a capture twice and judges it.
func score(path string, c eval.Capture) eval.Score {
	first, clock, damaged, err := replay(path)
	second, _, _, _ := replay(path)
	run, parseErr := eval.ParseReplay(first)
	run.Err = errors.Join(err, parseErr)
	run.Differs, run.Damaged = !bytes.Equal(first, second), damaged
	run.Hours = clock.Hours()
	run.Start = time.Unix(0, clock.First())
	if c.Attack() {
		run.Contacts = contacts(path)
	}
	return eval.Judge(c, run)
}

// clocked tells a clock the time of every frame.
type clocked struct {
	capture.Source
	clock eval.Clock
}

func (s *clocked) Next(f *capture.Frame) error {
	err := s.Source.Next(f)
	if err == nil {
		s.clock.Tick(f.Time)
	}
	return err
}

// replay is `sekisho replay --json`. A panic becomes an error: it must name
// the capture and not end the run.
func replay(path string) (out []byte, clock *eval.Clock, damaged bool, err error) {
	src := &clocked{}
	clock = &src.clock
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	var damage *capture.DamageError
	src.Source, err = capture.OpenFiles(path)
	if errors.As(err, &damage) || errors.Is(err, capture.ErrNotCapture) {
		return nil, clock, true, nil
	}
	if err != nil {
		return nil, clock, false, err
	}
	defer src.Close()
	var b bytes.Buffer
	err = gateway.WriteReplay(&b, src, gateway.ReplayConfig{Policy: incident.DefaultPolicy()})
	if errors.As(err, &damage) {
		return b.Bytes(), clock, true, nil
	}
	return b.Bytes(), clock, false, err
}

// contacts reads the capture once more for whom everybody contacted.
func contacts(path string) *eval.Contacts {
	c := &eval.Contacts{}
	src, err := capture.OpenFiles(path)
	if err != nil {
		return c
	}
	defer src.Close()
	tracker := flow.New(flow.Config{})
	var f capture.Frame
	for src.Next(&f) == nil {
		tracker.Frame(&f, c.Observe)
	}
	tracker.Flush(c.Observe)
	return c
}

// Arguments by which this program starts itself, to be measured.
const (
	childMalformed = "read-malformed"
	childSpeed     = "read-fast"
)

// readAll replays files one after the other; what is damaged is expected to be.
func readAll(paths []string) int {
	for _, p := range paths {
		if _, _, _, err := replay(p); err != nil {
			fmt.Fprintln(os.Stderr, p, err)
			return 1
		}
	}
	return 0
}

// readOne replays a large file as `sekisho replay --json` does.
func readOne(path string) int {
	src, err := capture.OpenFiles(path)
	if err == nil {
		err = gateway.WriteReplay(io.Discard, src, gateway.ReplayConfig{Policy: incident.DefaultPolicy()})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
