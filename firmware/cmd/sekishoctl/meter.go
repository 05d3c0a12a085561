package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// meter shows how far a download is: a bar that is redrawn on a terminal, a line
// every tenth elsewhere.
type meter struct {
	w        io.Writer
	terminal bool
	now      func() time.Time

	began, drawn time.Time
	first        int64 // bytes that were there before
	tenth        int64 // the last that was told
	open         bool  // the cursor stands behind a bar
}

func newMeter(w io.Writer) *meter {
	return &meter{w: w, terminal: isTerminal(w), now: time.Now, tenth: -1}
}

const (
	redraw   = 200 * time.Millisecond
	barWidth = 30
)

func (m *meter) moved(done, total int64) {
	now := m.now()
	if m.began.IsZero() {
		m.began, m.first = now, done
	}
	tenth := int64(float64(done) / float64(total) * 10)
	switch {
	case m.terminal && (now.Sub(m.drawn) >= redraw || done == total):
		m.drawn, m.open = now, true
		full := min(int(float64(done)/float64(total)*barWidth), barWidth)
		fmt.Fprintf(m.w, "\r[%s%s] %s ", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), m.text(done, total, now))
	case !m.terminal && tenth > m.tenth:
		m.tenth = tenth
		fmt.Fprintln(m.w, m.text(done, total, now))
	}
}

// text keeps its length, so that a shorter one leaves nothing behind.
func (m *meter) text(done, total int64, now time.Time) string {
	text := fmt.Sprintf("%3.0f %%  %s of %s", float64(done)/float64(total)*100, size(done), size(total))
	if took := now.Sub(m.began).Seconds(); took > 0 && done > m.first {
		speed := float64(done-m.first) / took
		left := time.Duration(float64(total-done) / speed * float64(time.Second)).Round(time.Second)
		text += fmt.Sprintf("  %s/s  %s left", size(int64(speed)), left)
	}
	if m.terminal {
		return fmt.Sprintf("%-60s", text)
	}
	return text
}

// end leaves the bar's line.
func (m *meter) end() {
	if m.open {
		fmt.Fprintln(m.w)
		m.open = false
	}
}
