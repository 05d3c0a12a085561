package i2cwave

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// wire drives both lines as a controller and the addressed target do, one
// change at a time, and collects what the decoder makes of it.
type wire struct {
	d        Decoder
	sda, scl bool
	// disturb comes between any two changes; nil: nothing does.
	disturb func(w *wire)
	got     []Message
}

func newWire() *wire { return &wire{sda: true, scl: true} }

func (w *wire) set(sda, scl bool) {
	w.sda, w.scl = sda, scl
	if m, ok := w.d.Sample(sda, scl); ok {
		w.got = append(w.got, m)
	}
	if w.disturb != nil {
		w.disturb(w)
	}
}

// start is also a repeated START: the clock is low then, and the data line is
// let go first.
func (w *wire) start() {
	w.set(true, w.scl)
	w.set(true, true)
	w.set(false, true)
	w.set(false, false)
}

func (w *wire) stop() {
	w.set(false, false)
	w.set(false, true)
	w.set(true, true)
}

func (w *wire) bit(high bool) {
	w.set(high, false)
	w.set(high, true)
	w.set(high, false)
}

func (w *wire) byte(b byte, ack bool) {
	for i := 7; i >= 0; i-- {
		w.bit(b>>i&1 == 1)
	}
	w.bit(!ack)
}

// send is a whole message, each byte acknowledged, without its end.
func (w *wire) send(addr byte, read bool, data ...byte) {
	w.start()
	first := addr << 1
	if read {
		first |= 1
	}
	w.byte(first, true)
	for _, b := range data {
		w.byte(b, true)
	}
}

func (w *wire) check(t *testing.T, want ...Message) {
	t.Helper()
	if d := cmp.Diff(want, w.got); d != "" {
		t.Error(d)
	}
}

func TestAWriteIsReadByteForByte(t *testing.T) {
	w := newWire()
	w.send(0x3c, false, 0x00, 0xae, 0xff)
	if len(w.got) != 0 {
		t.Error("a message ended before its STOP")
	}
	w.stop()
	w.check(t, Message{Addr: 0x3c, Data: []byte{0x00, 0xae, 0xff}, Stopped: true})
}

func TestARepeatedStartEndsAMessageAndBeginsTheNext(t *testing.T) {
	w := newWire()
	w.send(0x3c, false, 0x12)
	w.send(0x3c, true)
	w.byte(0xa5, false) // the last byte of a read
	w.stop()
	w.check(t, Message{Addr: 0x3c, Data: []byte{0x12}}, Message{Addr: 0x3c, Read: true, Data: []byte{0xa5}, Refused: true, Stopped: true})
}

func TestAnAddressThatNobodyAnswersIsRefused(t *testing.T) {
	w := newWire()
	w.start()
	w.byte(0x78, false)
	w.stop()
	w.check(t, Message{Addr: 0x3c, Refused: true, Stopped: true})
}

func TestAByteThatIsRefusedIsToldOfThough(t *testing.T) {
	w := newWire()
	w.send(0x3c, false, 1)
	w.byte(2, false)
	w.stop()
	w.check(t, Message{Addr: 0x3c, Data: []byte{1, 2}, Refused: true, Stopped: true})
}

func TestAStopInsideAByteLosesThatByteAlone(t *testing.T) {
	w := newWire()
	w.send(0x3c, false, 7)
	for range 3 {
		w.bit(true)
	}
	w.stop()
	w.send(0x3c, false, 8)
	w.stop()
	w.check(t, Message{Addr: 0x3c, Data: []byte{7}}, Message{Addr: 0x3c, Data: []byte{8}, Stopped: true})
}

func TestWhatIsNoMessageIsNone(t *testing.T) {
	w := newWire()
	w.start() // at once followed by STOP: no address
	w.stop()
	w.byte(0x55, true) // clocks without a START
	w.set(true, false)
	w.set(true, true)
	w.check(t)
}

func TestTheTargetsTurnIsTheNinthClock(t *testing.T) {
	w := newWire()
	turns := 0
	w.disturb = func(w *wire) {
		if w.d.Acknowledging() {
			turns++
		}
	}
	w.send(0x3c, false)
	// From the eighth falling edge until the ninth.
	if turns != 3 || w.d.Acknowledging() {
		t.Errorf("%d samples in the target's turn, still %t", turns, w.d.Acknowledging())
	}
}

func TestACloneGoesOnByItself(t *testing.T) {
	w := newWire()
	w.send(0x3c, false, 1, 2, 3)
	other := *w
	other.d = w.d.Clone()
	w.byte(4, true)
	other.byte(5, true)
	w.stop()
	other.stop()
	if !bytes.Equal(w.got[0].Data, []byte{1, 2, 3, 4}) || !bytes.Equal(other.got[0].Data, []byte{1, 2, 3, 5}) {
		t.Errorf("%v and %v", w.got, other.got)
	}
}

func TestAMessageIsBounded(t *testing.T) {
	w := newWire()
	w.send(0x3c, false, make([]byte, MaxData+5)...)
	w.stop()
	if m := w.got[0]; len(m.Data) != MaxData || m.More != 5 {
		t.Errorf("%d bytes and %d more", len(m.Data), m.More)
	}
}

// Between two changes of a good waveform there may be the same levels again, a
// target that holds the clock low as long as it likes (3.1.9), and a data line
// that does anything while the clock is low (3.1.3).
func TestWhatTheSpecificationAllowsInBetweenChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 20), 1, 4).Draw(t, "messages")
		w := newWire()
		w.disturb = func(w *wire) {
			for range rapid.IntRange(0, 2).Draw(t, "repeats") {
				w.d.Sample(w.sda, w.scl)
			}
			if !w.scl {
				for _, level := range rapid.SliceOfN(rapid.Bool(), 0, 3).Draw(t, "spikes") {
					w.d.Sample(level, false)
				}
				w.d.Sample(w.sda, false)
			}
		}
		for _, data := range want {
			w.send(0x3d, false, data...)
			if rapid.Bool().Draw(t, "stop") {
				w.stop()
			}
		}
		w.stop()
		for i, m := range w.got {
			if i >= len(want) || m.Addr != 0x3d || m.Refused || !slices.Equal(m.Data, want[i]) {
				t.Fatalf("message %d is %+v of %v", i, m, want)
			}
		}
		if len(w.got) != len(want) {
			t.Fatalf("%d messages of %d", len(w.got), len(want))
		}
	})
}

// Whatever the lines did before, a START and whole bytes behind it are read.
func FuzzAnyLevelsAreReadAndTheNextMessageIsWhole(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0b01, 0b00, 0b10, 0b11, 0b01, 0b11})
	f.Fuzz(func(t *testing.T, levels []byte) {
		w := newWire()
		for _, l := range levels {
			w.set(l&1 == 1, l&2 == 2)
			if m := w.d.msg; len(m.Data) > MaxData || w.d.bits > 8 {
				t.Fatalf("%d bytes, %d bits", len(m.Data), w.d.bits)
			}
		}
		w.set(w.sda, false) // a controller that begins has the clock
		w.got = nil
		w.send(0x3c, false, 0x40, 0x99)
		w.stop()
		last := w.got[len(w.got)-1]
		if d := cmp.Diff(Message{Addr: 0x3c, Data: []byte{0x40, 0x99}, Stopped: true}, last); d != "" {
			t.Error(d)
		}
	})
}
