package virtual

import (
	"time"
	"unicode/utf8"

	"sekisho/hal/panel"
)

// key is what a person typed, as far as the panel knows it. Whatever else is
// typed is keyOther.
type key uint8

const (
	keyOther key = iota
	keyPress
	keyHold3
	keyHold8
	keyEscape
	keyQuit
	keySuspend
	keyRedraw
)

// decoder turns what a terminal sends into keys. It is total, and remembers no
// more than a character. What it must never do is take a part of something
// longer for a key: the Delete key is sent as ESC [ 3 ~, F7 as ESC [ 1 8 ~, and
// a text that is pasted may hold any digit.
type decoder struct {
	state  decoding
	paste  bool   // between ESC [ 200 ~ and ESC [ 201 ~
	number int    // first parameter of the sequence so far
	more   bool   // it has another
	flood  bool   // more than a person types comes, and has not paused yet
	part   []byte // of a character in UTF-8
}

type decoding uint8

const (
	plain   decoding = iota
	escaped          // after ESC
	control          // in a control sequence (ECMA-48, 5.4)
	shift            // after ESC O: one more character
	text             // in a control string, up to ESC \ or BEL (ECMA-48, 5.6)
	textEnd          // in it, after ESC
)

// burst is how many keys may come at once. More are a paste into a terminal that
// does not mark it, and none of them is meant for the button.
const burst = 8

// feed returns the keys that are complete. Nothing to feed is a pause: a paste is
// longer than one look at the terminal takes in, and its rest is meant no more.
func (d *decoder) feed(in []byte) []key {
	var keys []key
	for _, b := range in {
		if k, ok := d.take(b); ok {
			keys = append(keys, k)
		}
	}
	d.flood = len(in) > 0 && (d.flood || len(keys) > burst && !alike(keys))
	if d.flood {
		return nil
	}
	return keys
}

// alike says that keys are one that is held down.
func alike(keys []key) bool {
	for _, k := range keys {
		if k != keys[0] {
			return false
		}
	}
	return true
}

// idle says that nothing has come for a while: an ESC was the key itself.
func (d *decoder) idle() (key, bool) {
	if d.state != escaped {
		return 0, false
	}
	d.state = plain
	return keyEscape, !d.paste
}

func (d *decoder) take(b byte) (key, bool) {
	switch d.state {
	case escaped:
		return d.afterEscape(b)
	case shift:
		d.state = plain
		return keyOther, !d.paste
	case control:
		return d.inControl(b)
	case text, textEnd:
		switch {
		case b == 7 || d.state == textEnd && b == '\\':
			d.state = plain
		case b == 0x1b:
			d.state = textEnd
		default:
			d.state = text
		}
		return 0, false
	}
	if b == 0x1b {
		d.state, d.part = escaped, nil
		return 0, false
	}
	k, ok := d.character(b)
	return k, ok && !d.paste
}

func (d *decoder) afterEscape(b byte) (key, bool) {
	d.state = plain
	switch b {
	case '[':
		d.state, d.number, d.more = control, 0, false
	case 'O':
		d.state = shift
	case 'P', 'X', ']', '^', '_':
		d.state = text
	case 0x1b: // the first was the key itself
		d.state = escaped
		return keyEscape, !d.paste
	default: // a key with Alt
		return keyOther, !d.paste
	}
	return 0, false
}

func (d *decoder) inControl(b byte) (key, bool) {
	switch {
	case b == 0x1b: // it was cut off
		d.state = escaped
	case b >= '0' && b <= '9' && !d.more:
		d.number = min(d.number*10+int(b-'0'), 1000)
	case b >= 0x20 && b < 0x40:
		d.more = true
	case b >= 0x40 && b < 0x7f:
		d.state = plain
		if b == '~' && (d.number == 200 || d.number == 201) {
			d.paste = d.number == 200
			return 0, false
		}
		return keyOther, !d.paste
	}
	return 0, false
}

// character takes a byte of what is typed. The digits and the space of a
// Japanese keyboard with its input method on are those of full width.
func (d *decoder) character(b byte) (key, bool) {
	d.part = append(d.part, b)
	if !utf8.FullRune(d.part) {
		return 0, false
	}
	r, _ := utf8.DecodeRune(d.part)
	d.part = d.part[:0]
	switch r {
	case '\r', '\n', ' ', '\u3000':
		return keyPress, true
	case '3', '３':
		return keyHold3, true
	case '8', '８':
		return keyHold8, true
	case 'q', 'Q', 'ｑ', 3: // 3 is Ctrl-C, which raw mode hands over as a key
		return keyQuit, true
	case 26: // Ctrl-Z
		return keySuspend, true
	case 12: // Ctrl-L
		return keyRedraw, true
	}
	return keyOther, true
}

// Times of a key. A terminal tells of no release, only of a key that repeats
// while it is held: after up to 0.66 s at first (xset(1)), then faster.
const (
	tap    = 100 * time.Millisecond
	repeat = 700 * time.Millisecond // the same key within it is the same finger
	beyond = 300 * time.Millisecond // a hold lasts so much longer than it has to
	// frozen is how long nobody may have looked before a press is void: whoever
	// stopped the program did not hold a button.
	frozen = time.Second
)

// finger is the one on the simulated button. It is pure: time comes in with
// every call.
//
// One stroke of a key is one press, however long the key repeats. 3 and 8 hold
// the button by themselves, as long as their names say. Any other key, or
// leaving a key that was held down, takes the hold back: unlike a release of the
// real button that is never a gesture, for a key that was hit by mistake.
type finger struct {
	down   bool
	since  time.Time
	until  time.Time // lets go by itself
	void   bool      // the press is taken back; nobody has been told yet
	last   key       // of the stroke, with when it was last heard of
	heard  time.Time
	held   bool // the stroke repeats
	looked time.Time
}

// stroke is a key that is struck, or that repeats.
func (f *finger) stroke(k key, now time.Time) {
	same := k == f.last && now.Sub(f.heard) < repeat
	f.last, f.heard, f.held = k, now, same
	if same {
		return
	}
	if f.down {
		f.takeBack()
		return
	}
	var held time.Duration
	switch k {
	case keyPress:
		held = tap
	case keyHold3:
		held = panel.HoldShort + beyond
	case keyHold8:
		held = panel.HoldLong + beyond
	default:
		return
	}
	f.down, f.since, f.until, f.looked = true, now, now.Add(held), now
}

// takeBack ends a hold as none. A tap is over before anybody could mean that.
func (f *finger) takeBack() {
	if f.down && f.until.Sub(f.since) > tap {
		f.down, f.void = false, true
	}
}

// level says whether the button is down, and once whether the press that ended
// counts for nothing. It is to be asked all the time.
func (f *finger) level(now time.Time) (down, void bool) {
	if f.down && now.Sub(f.looked) > frozen {
		f.down, f.void = false, true
	}
	f.looked = now
	if f.held && now.Sub(f.heard) >= repeat {
		f.held = false
		f.takeBack()
	}
	if f.down && !now.Before(f.until) {
		f.down = false
	}
	void, f.void = f.void, false
	return f.down, void
}
