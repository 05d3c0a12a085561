package twin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"sekisho/image/twin/i2cwave"
)

// markLine is a line that nothing is wired to. A change of it, made from
// outside, stands in QEMU's log behind all that was written before.
const markLine = 4

// busTrace is the event by which QEMU tells of every write to the controller
// (hw/gpio/trace-events of QEMU).
const busTrace = "pl061_update"

// soon is a time in which QEMU, which need not wait for the guest, does what it
// is asked, also on a busy builder.
const soon = 30 * time.Second

// Bus is the guest's I2C bus, read off its lines from outside, and the plug of
// what is on it. All methods may be called from several goroutines.
//
// Every change of a line is in QEMU's log, in order, and QEMU waits when nobody
// reads it, so that none is missed. What QEMU does not have is a wire that two
// can pull down. It does not need one for an answer: a line that the driver lets
// go of reads as it was driven last, which was low, so that every byte seems
// acknowledged, at every address. Nobody there is the clock's line wired to the
// data line's input: whenever the clock is high, a data line that is let go of
// reads high, as a resistor has it do.
type Bus struct {
	m     *Machine
	gpio  *GPIO
	lines I2C
	heard func(i2cwave.Message, time.Time)
	ended chan struct{}

	machine sync.Mutex // one at a time may stop it

	mu      sync.Mutex
	wave    i2cwave.Decoder
	plugged bool
	mark    bool          // level of the mark's line, as the log has it
	marked  chan struct{} // closed, and replaced, when it changed
}

// Bus begins to read the bus, with something plugged in. Config.I2C has to be
// set. Each message goes to heard, in order, with the time at which QEMU saw it
// end; heard must not block, and must not call the Bus: QEMU waits for it.
func (m *Machine) Bus(ctx context.Context, g *GPIO, heard func(i2cwave.Message, time.Time)) (*Bus, error) {
	if m.trace == nil {
		return nil, errors.New("I2C: the machine was started without")
	}
	if err := m.i2c.check(); err != nil {
		return nil, fmt.Errorf("I2C: %w", err)
	}
	b := &Bus{m: m, gpio: g, lines: *m.i2c, heard: heard, ended: make(chan struct{}), plugged: true, marked: make(chan struct{})}
	go b.listen(m.trace)
	err := b.wire(ctx, "") // and not told to GPIO, which would be told of little else
	if err == nil {
		err = m.qmp.monitor(ctx, "trace-event "+busTrace+" on")
	}
	if err == nil {
		err = b.legible(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("I2C: %w", err)
	}
	return b, nil
}

// legible says whether the log of this QEMU is one that can be read.
func (b *Bus) legible(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, soon, errors.New("QEMU's log says nothing that is known"))
	defer cancel()
	return b.Still(ctx, func() error { return nil })
}

// wire connects what the guest drives on the clock's line with an object of
// QEMU's; with none, it ends there.
func (b *Bus) wire(ctx context.Context, to string) error {
	return b.m.qmp.execute(ctx, "qom-set", map[string]string{"path": b.gpio.path, "property": fmt.Sprintf("unnamed-gpio-out[%d]", b.lines.SCL), "value": to}, nil)
}

// listen reads the log to its end, whatever is in it.
func (b *Bus) listen(log io.Reader) {
	defer close(b.ended)
	lines := bufio.NewReaderSize(log, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		if s, ok := parseLines(line); ok {
			b.see(s)
		}
	}
}

// levels are the lines at one moment: what the guest drives, and how.
type levels struct {
	at        time.Time
	dir, data uint8 // the controller's registers: bits of outputs, and of levels
}

// parseLines reads a line of the log:
// "PID@SECONDS.MICROSECONDS:pl061_update PATH GPIODIR 0xc0 GPIODATA 0x80 …".
func parseLines(line []byte) (levels, bool) {
	stamp, rest, ok := bytes.Cut(line, []byte(":"+busTrace+" "))
	if !ok {
		return levels{}, false
	}
	_, stamp, ok = bytes.Cut(stamp, []byte("@"))
	seconds, micros, dot := bytes.Cut(stamp, []byte("."))
	s, err1 := strconv.ParseInt(string(seconds), 10, 64)
	u, err2 := strconv.ParseUint(string(micros), 10, 32)
	f := bytes.Fields(rest)
	if !ok || !dot || err1 != nil || err2 != nil || len(f) < 5 || string(f[1]) != "GPIODIR" || string(f[3]) != "GPIODATA" {
		return levels{}, false
	}
	dir, err1 := strconv.ParseUint(string(f[2]), 0, 8)
	data, err2 := strconv.ParseUint(string(f[4]), 0, 8)
	return levels{at: time.Unix(s, int64(u)*1000), dir: uint8(dir), data: uint8(data)}, err1 == nil && err2 == nil
}

// see takes the levels to the decoder.
func (b *Bus) see(l levels) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sda, scl := l.high(b.lines.SDA), l.high(b.lines.SCL)
	if b.plugged && b.wave.Acknowledging() { // whoever is there pulls it down
		sda = false
	}
	if m, ok := b.wave.Sample(sda, scl); ok {
		b.heard(m, l.at)
	}
	if mark := l.data>>markLine&1 == 1; mark != b.mark {
		b.mark = mark
		close(b.marked)
		b.marked = make(chan struct{})
	}
}

// high says how a line with a resistor to high is: low only where the guest
// drives it low.
func (l levels) high(line int) bool { return l.dir>>line&1 == 0 || l.data>>line&1 == 1 }

// Unplug leaves nobody on the bus, and Plug has somebody there again.
func (b *Bus) Unplug(ctx context.Context) error {
	return b.turn(ctx, false, fmt.Sprintf("%s/unnamed-gpio-in[%d]", b.gpio.path, b.lines.SDA))
}

// Plug is said at Unplug.
func (b *Bus) Plug(ctx context.Context) error { return b.turn(ctx, true, "") }

func (b *Bus) turn(ctx context.Context, plugged bool, clock string) error {
	err := b.Still(ctx, func() error {
		b.mu.Lock()
		b.plugged = plugged
		b.mu.Unlock()
		return b.wire(ctx, clock)
	})
	if err != nil {
		return fmt.Errorf("turn the bus' plug: %w", err)
	}
	return nil
}

// Still holds the machine, waits until all that its lines did is read, runs f,
// and lets it go on.
func (b *Bus) Still(ctx context.Context, f func() error) error {
	b.machine.Lock()
	defer b.machine.Unlock()
	if err := b.m.qmp.execute(ctx, "stop", nil, nil); err != nil {
		return err
	}
	err := b.caughtUp(ctx)
	if err == nil {
		err = f()
	}
	return errors.Join(err, b.m.qmp.execute(context.WithoutCancel(ctx), "cont", nil, nil))
}

// caughtUp raises the mark's line and lowers it, as which it is saved, and waits
// until the log has both.
func (b *Bus) caughtUp(ctx context.Context) error {
	for _, to := range []bool{true, false} {
		b.mu.Lock()
		marked := b.marked
		b.mu.Unlock()
		if _, err := b.gpio.Set(ctx, markLine, to); err != nil {
			return err
		}
		select {
		case <-marked:
		case <-b.ended:
			return errors.New("the machine ended")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Moment is how far the bus was read. Machine.Load puts the guest back into the
// middle of whatever it sent then; Return does the same to the Bus. Both belong
// into Still.
type Moment struct{ wave i2cwave.Decoder }

// Moment returns the present one.
func (b *Bus) Moment() Moment {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Moment{b.wave.Clone()}
}

// Return goes back to a moment, as often as one likes.
func (b *Bus) Return(to Moment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wave = to.wave.Clone()
}
