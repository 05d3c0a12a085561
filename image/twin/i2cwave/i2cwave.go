// Package i2cwave reads the waveform of an I2C bus: levels of its two lines in,
// messages out, as the bus specification defines them (NXP UM10204, rev. 7.0,
// section 3.1; section numbers below are of it).
//
// Package twin feeds it with what an emulated machine does to its lines. It is
// pure and total: any sequence of levels is read in bounded memory. It is a
// logic analyser, not a target: it never touches a line, and knows no address.
package i2cwave

import "slices"

// MaxData bounds the bytes of a message that are kept behind the address; it is
// the most that Linux' i2c-dev passes on as one. Further ones are counted.
const MaxData = 8192

// Message is what stood between a START and the STOP or the next START.
type Message struct {
	Addr byte   // 7 bits
	Read bool   // the target sends
	Data []byte // whole bytes behind the address, acknowledged or not
	More int    // bytes beyond MaxData
	// Refused says that a byte was not acknowledged: the address, when Data is
	// empty. The last byte of a read is refused in good order (3.1.6).
	Refused bool
	// Stopped says that a STOP behind a whole byte ended it. A repeated START, or
	// a STOP inside a byte, leaves it false.
	Stopped bool
}

// Decoder follows the two lines. The zero Decoder knows an idle bus, both lines
// high. It is not safe for concurrent use.
type Decoder struct {
	sdaLow, sclLow bool // as they were last
	inside         bool // behind a START
	clocked        bool // the clock rose: the bit counts once it falls
	bits           int  // of the byte, so far; the ninth acknowledges
	shift          byte
	refused        bool // the ninth
	addressed      bool // the first byte is there
	msg            Message
}

// Sample takes the levels of the lines, true when high, after either has
// changed, and returns the message that this ends. Levels that did not change
// mean nothing. When both change at once it is the clock that counts: in what
// order they did, and so whether it was a START or STOP, cannot be known.
func (d *Decoder) Sample(sda, scl bool) (Message, bool) {
	rose, fell := d.sclLow && scl, !d.sclLow && !scl
	turned := !d.sclLow && scl && d.sdaLow == sda
	d.sdaLow, d.sclLow = !sda, !scl
	switch {
	case turned: // while the clock is high: START or STOP (3.1.4)
		m, ok := d.end(sda)
		d.inside = !sda
		return m, ok
	case rose && d.inside:
		d.rise(sda)
	case fell && d.clocked:
		d.fall()
	}
	return Message{}, false
}

// rise takes a bit. It counts when the clock falls again: the clock also rises
// before a STOP or repeated START, where the data line turns while it is high.
func (d *Decoder) rise(sda bool) {
	d.clocked = true
	if d.bits == 8 {
		d.refused = sda
		return
	}
	d.shift <<= 1
	if sda {
		d.shift |= 1
	}
}

func (d *Decoder) fall() {
	d.clocked = false
	if d.bits++; d.bits < 9 {
		return
	}
	d.bits = 0
	d.msg.Refused = d.msg.Refused || d.refused
	switch {
	case !d.addressed:
		d.addressed, d.msg.Addr, d.msg.Read = true, d.shift>>1, d.shift&1 == 1
	case len(d.msg.Data) < MaxData:
		d.msg.Data = append(d.msg.Data, d.shift)
	default:
		d.msg.More++
	}
}

// end returns the message so far, if it has at least an address, and forgets it.
func (d *Decoder) end(stop bool) (Message, bool) {
	m, ok := d.msg, d.addressed
	m.Stopped = stop && d.bits == 0
	*d = Decoder{sdaLow: d.sdaLow, sclLow: d.sclLow}
	return m, ok
}

// Acknowledging says that the ninth clock of a byte comes next, or is there:
// whoever receives the byte holds the data line low then (3.1.6).
func (d *Decoder) Acknowledging() bool { return d.bits == 8 }

// Clone returns a Decoder that goes on from here by itself.
func (d *Decoder) Clone() Decoder {
	c := *d
	c.msg.Data = slices.Clone(d.msg.Data)
	return c
}
