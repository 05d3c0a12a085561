package offsite

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Kind is what a target is.
type Kind string

// Kinds.
const (
	KindUSB  Kind = "usb"
	KindS3   Kind = "s3"
	KindSFTP Kind = "sftp"
)

// State is what a target does now.
type State string

// States.
const (
	Away    State = "away"    // nothing reachable yet: no stick, or not tried
	Copying State = "copying" // a stick must not be pulled out
	Idle    State = "idle"    // nothing is due; what failed for itself is a Problem
	Waiting State = "waiting" // the target failed; tried again at Problem.Next
)

// Progress is the copy that is being made.
type Progress struct {
	Key   string // bundle-ID, or checkpoint
	Name  string // of the file
	Done  int64  // bytes
	Total int64
}

// Problem is what went wrong last, and has not gone right since.
type Problem struct {
	At     time.Time `json:"at"`
	Tries  int       `json:"tries"`
	Next   time.Time `json:"next"`
	What   Text      `json:"what"`   // what happened, and what it means
	Help   Text      `json:"help"`   // what to do
	Detail string    `json:"detail"` // for whoever supports the box
}

func (p *Problem) tries() int {
	if p == nil {
		return 0
	}
	return p.Tries
}

// Status is how one target stands, for the page.
type Status struct {
	Name    string
	Kind    Kind
	State   State
	Text    Text // the state in words
	Unplug  bool // a stick is in, and may be pulled out
	Waiting int  // bundles that are not at the present place; while none is, at no place
	Copied  int  // bundles that are
	Current *Progress
	Last    Copy // of a bundle; the zero Copy: none yet
	Problem *Problem
}

// Status says how every target stands, in the order of the settings.
func (m *Mover) Status() []Status {
	var out []Status
	for _, w := range m.workers {
		out = append(out, w.status())
	}
	return out
}

// Copies returns where copies of a bundle are, by target, the oldest first.
func (m *Mover) Copies(bundle string) map[string][]Copy {
	out := map[string][]Copy{}
	for _, w := range m.workers {
		w.mu.Lock()
		if r := w.records[bundlePrefix+bundle]; r != nil && len(r.Copies) > 0 {
			out[w.Name] = slices.Clone(r.Copies)
		}
		w.mu.Unlock()
	}
	return out
}

func (w *worker) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{Name: w.Name, Kind: w.Kind, State: w.state}
	if w.current != nil {
		now := *w.current
		s.Current = &now
	}
	worst := w.problem
	for key, r := range w.records {
		if w.problem == nil && r.Problem != nil && (key == checkpointKey || w.present[key]) {
			if worst == nil || cmp.Or(cmp.Compare(r.Problem.Tries, worst.Tries), cmp.Compare(worst.Detail, r.Problem.Detail)) > 0 {
				worst = r.Problem
			}
		}
		if key == checkpointKey {
			continue
		}
		if w.present[key] && r.waits(w.place) {
			s.Waiting++
		} else if w.present[key] {
			s.Copied++
		}
		for _, c := range r.Copies {
			if c.At.After(s.Last.At) {
				s.Last = c
			}
		}
	}
	if worst != nil {
		p := *worst
		s.Problem = &p
	}
	s.Unplug = w.Kind == KindUSB && (w.state == Idle || w.state == Waiting)
	s.Text = s.words()
	return s
}

// words says the state to somebody who has never seen this page.
func (s Status) words() Text {
	switch {
	case s.State == Copying && s.Kind == KindUSB:
		return Text{fmt.Sprintf("Copying to the USB stick (%d %%). Do not pull it out.", s.percent()),
			fmt.Sprintf("USBメモリーへコピーしています（%d%%）。抜かないでください。", s.percent())}
	case s.State == Copying:
		return Text{fmt.Sprintf("Copying (%d %%).", s.percent()), fmt.Sprintf("コピーしています（%d%%）。", s.percent())}
	case s.Kind == KindUSB && s.State == Away && s.Waiting > 0:
		return Text{fmt.Sprintf("No USB stick is plugged in. Evidence bundles that are on no stick yet: %d. Plug one in to copy them.", s.Waiting),
			fmt.Sprintf("USBメモリーが挿さっていません。まだコピーのない証拠が%d件あります。USBメモリーを挿すとコピーを始めます。", s.Waiting)}
	case s.Kind == KindUSB && s.State == Away:
		return Text{"No USB stick is plugged in, and none is needed now.", "USBメモリーは挿さっていません。いまは必要ありません。"}
	case s.Waiting > 0 && s.Unplug:
		return Text{fmt.Sprintf("Evidence bundles that are not on this stick: %d. It may be pulled out.", s.Waiting),
			fmt.Sprintf("証拠%d件をこのUSBメモリーにコピーできていません。USBメモリーは抜いてもかまいません。", s.Waiting)}
	case s.Unplug && s.State == Waiting:
		return Text{"The stick could not be written. It may be pulled out.", "USBメモリーに書き込めませんでした。抜いてもかまいません。"}
	case s.Unplug:
		return Text{"Everything is on the stick. You can pull it out now.", "すべてコピーしました。USBメモリーを抜いても大丈夫です。"}
	case s.Waiting > 0:
		return Text{fmt.Sprintf("Evidence bundles that wait to be copied: %d.", s.Waiting), fmt.Sprintf("証拠%d件がコピーを待っています。", s.Waiting)}
	case s.State == Idle:
		return Text{"Everything is copied.", "すべてコピー済みです。"}
	}
	return Text{"Not reached yet.", "まだ接続していません。"}
}

func (s Status) percent() int64 {
	if s.Current == nil || s.Current.Total <= 0 {
		return 0
	}
	return s.Current.Done * 100 / s.Current.Total
}
