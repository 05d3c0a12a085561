package virtual

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
)

func TestOnlyWholeKeysCount(t *testing.T) {
	for name, c := range map[string]struct {
		typed string
		want  []key
	}{
		"enter":                     {"\r", []key{keyPress}},
		"space":                     {" ", []key{keyPress}},
		"Ctrl-C":                    {"\x03", []key{keyQuit}},
		"Ctrl-Z":                    {"\x1a", []key{keySuspend}},
		"full width, as IMEs do":    {"３８　ｑ", []key{keyHold3, keyHold8, keyPress, keyQuit}},
		"Delete is no 3":            {"\x1b[3~", []key{keyOther}},
		"F7 is no 8":                {"\x1b[18~", []key{keyOther}},
		"F8 is no 8 either":         {"\x1b[19~8", []key{keyOther, keyHold8}},
		"an arrow":                  {"\x1b[A", []key{keyOther}},
		"an arrow, keypad mode":     {"\x1bOA", []key{keyOther}},
		"F3 with Shift":             {"\x1b[1;2R", []key{keyOther}},
		"Alt with 8":                {"\x1b8", []key{keyOther}},
		"a mouse":                   {"\x1b[<0;38;8M", []key{keyOther}},
		"an answer in a string":     {"\x1b]11;rgb:8888/3333/0000\x1b\\\r", []key{keyPress}},
		"a string ended by BEL":     {"\x1b]8;;q\x07 ", []key{keyPress}},
		"a paste":                   {"\x1b[200~8 q\r3\x1b[201~ ", []key{keyPress}},
		"a paste with escapes":      {"\x1b[200~\x1b[3~\x1b8\x1bO8\x1b\x1b8\x1b[201~", nil},
		"a paste that is not said":  {"tel 03-1234-5678\r", nil},
		"a key that repeats":        {strings.Repeat("8", 20), slices.Repeat([]key{keyHold8}, 20)},
		"half a character":          {"\xe3\x80", nil},
		"bytes of no character":     {"\xff8", []key{keyOther, keyHold8}},
		"a sequence that is cut":    {"\x1b[18\x1b[A", []key{keyOther}},
		"a number without an end":   {"\x1b[" + strings.Repeat("8", 99) + "~", []key{keyOther}},
		"escape twice, then a word": {"\x1b\x1bx", []key{keyEscape, keyOther}},
	} {
		t.Run(name, func(t *testing.T) {
			var whole, bytewise decoder
			if got := whole.feed([]byte(c.typed)); !slices.Equal(got, c.want) {
				t.Errorf("at once: %v, want %v", got, c.want)
			}
			var got []key
			for _, b := range []byte(c.typed) {
				got = append(got, bytewise.feed([]byte{b})...)
			}
			if name != "a paste that is not said" && !slices.Equal(got, c.want) {
				t.Errorf("byte by byte: %v, want %v", got, c.want)
			}
		})
	}
}

func TestTheRestOfAPasteIsNoKey(t *testing.T) {
	var d decoder
	d.feed([]byte(strings.Repeat("a line 3\n", 20)))
	if got := d.feed([]byte("8\n")); got != nil {
		t.Errorf("the rest of it: %v", got)
	}
	d.feed(nil)
	if got := d.feed([]byte("\n")); !slices.Equal(got, []key{keyPress}) {
		t.Errorf("after a pause: %v", got)
	}
}

func TestEscapeAloneIsAKeyWhenNothingFollows(t *testing.T) {
	var d decoder
	if got := d.feed([]byte("\x1b")); got != nil {
		t.Errorf("at once: %v", got)
	}
	if k, ok := d.idle(); !ok || k != keyEscape {
		t.Error("no key")
	}
	if _, ok := d.idle(); ok {
		t.Error("twice")
	}
	if got := d.feed([]byte("[3~")); len(got) != 3 || got[1] != keyHold3 {
		t.Errorf("what follows much later: %v", got)
	}
}

// Whatever comes, memory is bounded, and in a paste nothing is a key.
func FuzzTheKeyboardIsTotal(f *testing.F) {
	f.Add([]byte("\x1b[200~8\x1b[201~8"))
	f.Add([]byte("\x1b]8;\x1b8\x07３\xff\x1bO"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var d decoder
		for _, b := range in {
			inside := d.paste
			if keys := d.feed([]byte{b}); len(keys) > 1 || inside && len(keys) > 0 {
				t.Fatalf("%v of %q", keys, b)
			}
			if len(d.part) > 4 || d.number > 1000 {
				t.Fatalf("remembers %q, %d", d.part, d.number)
			}
		}
	})
}

// typing is when which key comes.
type typing struct {
	at time.Duration
	in string
}

// held is a key that a finger stays on: it repeats after half a second, 20 times
// a second.
func held(in string, from, to time.Duration) []typing {
	all := []typing{{from, in}}
	for at := from + 500*time.Millisecond; at < to; at += 50 * time.Millisecond {
		all = append(all, typing{at, in})
	}
	return all
}

// gestures runs a panel in a terminal until every hold has to be over, and returns
// what the keys led to.
func gestures(t *testing.T, s hal.Status, typed []typing, also func(d *fakeTTY, at time.Duration)) []string {
	var got []string
	synctest.Test(t, func(t *testing.T) {
		d := newFakeTTY(t, 80, 24)
		p := New(Config{Env: env(modern)})
		p.Show(s)
		end := d.run(p)
		began, over := time.Now(), 2*time.Second
		for _, k := range typed {
			if over = max(over, k.at+time.Second); k.in != "\r" && k.in != " " {
				over = max(over, typed[0].at+panel.HoldLong+2*time.Second)
			}
		}
		for at := time.Duration(0); at < over; at += 10 * time.Millisecond {
			for _, k := range typed {
				if k.at == at {
					d.typed <- []byte(k.in)
				}
			}
			if also != nil {
				also(d, at)
			}
			time.Sleep(time.Until(began.Add(at + 10*time.Millisecond)))
		}
		end()
		for len(p.Presses()) > 0 {
			pr := <-p.Presses()
			got = append(got, fmt.Sprint(pr.Gesture, " ", pr.Target))
		}
	})
	return got
}

func TestKeysMakeTheGesturesOfTheRealButton(t *testing.T) {
	const s = time.Second
	asked := hal.Status{State: hal.Normal, Lang: "en", Approval: "Aoba", ApprovalID: "g1"}
	for _, c := range []struct {
		name  string
		shown hal.Status
		typed []typing
		want  string
	}{
		{"enter", suspect("a"), []typing{{s, "\r"}}, "[0 a]"},
		{"enter twice", suspect("a"), []typing{{s, "\r"}, {2 * s, "\r"}}, "[0 a 0 a]"},
		{"a finger that stays on enter", suspect("a"), held("\r", s, 9*s), "[0 a]"},
		{"before the finger could have seen it", suspect("a"), []typing{{100 * time.Millisecond, " "}}, "[0 ]"},
		{"8", suspect("a"), []typing{{s, "8"}}, "[2 a]"},
		{"a finger that stays on 8", suspect("a"), held("8", s, 12*s), "[2 a]"},
		{"8, let go at once", suspect("a"), []typing{{s, "8"}, {1200 * time.Millisecond, "\x1b"}}, "[]"},
		{"8, let go in the countdown", suspect("a"), []typing{{s, "8"}, {7 * s, " "}}, "[]"},
		{"8, let go by 8", suspect("a"), []typing{{s, "8"}, {3 * s, "8"}}, "[]"},
		{"a finger that leaves 8 after two seconds", suspect("a"), held("8", s, 3*s), "[]"},
		{"a finger that leaves 8 in the countdown", suspect("a"), held("8", s, 7*s), "[]"},
		{"3 with something to allow", asked, []typing{{s, "3"}}, "[1 g1]"},
		{"3, let go", asked, []typing{{s, "3"}, {2 * s, "x"}}, "[]"},
		{"3 with nothing to allow", suspect("a"), []typing{{s, "3"}}, "[0 a]"},
		{"F7", suspect("a"), []typing{{s, "\x1b[18~"}}, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fmt.Sprint(gestures(t, c.shown, c.typed, nil)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// A program that stood still did not hold a button, and one whose terminal is
// gone does not go on holding it.
func TestAPressThatNobodyWatchesLeadsToNothing(t *testing.T) {
	for name, also := range map[string]func(d *fakeTTY, at time.Duration){
		"stopped from outside for a while": func(d *fakeTTY, at time.Duration) {
			d.stopped.Store(at > 2*time.Second && at < 10*time.Second)
		},
		"the connection is gone": func(d *fakeTTY, at time.Duration) { d.gone.Store(at > 2*time.Second) },
		"Ctrl-Z":                 func(d *fakeTTY, at time.Duration) {},
	} {
		t.Run(name, func(t *testing.T) {
			typed := []typing{{time.Second, "8"}}
			if name == "Ctrl-Z" {
				typed = append(typed, typing{2 * time.Second, "\x1a"})
			}
			if got := gestures(t, suspect("a"), typed, also); len(got) != 0 {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestACountdownIsShownBeforeTheOfficeIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeTTY(t, 80, 24)
		p := New(Config{Env: env(modern)})
		p.Show(suspect("a"))
		end := d.run(p)
		time.Sleep(time.Second)
		d.typed <- []byte("8")
		time.Sleep(panel.HoldCount + time.Second)
		if h := p.Frame().Hold; h.Phase != panel.HoldCountdown || !strings.Contains(d.text(), "あと3秒") {
			t.Errorf("%+v\n%s", h, d.text())
		}
		end()
	})
}
