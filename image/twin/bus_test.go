package twin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/image/twin/i2cwave"
)

func TestALineOfTheLogIsLevelsWithTheirTime(t *testing.T) {
	got, ok := parseLines([]byte("812@1700000000.000250:pl061_update /machine/unattached/device[7] GPIODIR 0xc1 GPIODATA 0x80 pullups 0x0 floating 0x3e\n"))
	if !ok || got.dir != 0xc1 || got.data != 0x80 || !got.at.Equal(time.Unix(1700000000, 250_000)) {
		t.Errorf("%+v, %t", got, ok)
	}
	for line, want := range map[int]bool{0: false, 7: true, 6: false, 1: true} { // driven low, driven high, driven low, let go of
		if got.high(line) != want {
			t.Errorf("line %d is high: %t", line, !want)
		}
	}
}

func FuzzTheLogMayHoldAnything(f *testing.F) {
	for _, seed := range []string{"", ":pl061_update ", "1@2.3:pl061_update p GPIODIR 0x100 GPIODATA 0", "1@x.3:pl061_update p GPIODIR 0x1 GPIODATA 0",
		"1@2:pl061_update p GPIODIR 0x1 GPIODATA 0", "1@2.3:pl061_update p GPIODIR 0x1", "2.3:pl061_update p GPIODIR 0x1 GPIODATA 0x0"} {
		if _, ok := parseLines([]byte(seed)); ok {
			f.Errorf("%q was read", seed)
		}
		f.Add([]byte(seed))
	}
	f.Add([]byte("1@2.3:pl061_update p GPIODIR 0x1 GPIODATA 0x0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if l, ok := parseLines(line); ok && !strings.Contains(string(line), "GPIODIR") {
			t.Errorf("%q is %+v", line, l)
		}
	})
}

// lines play the guest's driver on a bus: they write the log as QEMU does.
type lines struct {
	log   *os.File
	bus   I2C
	mu    sync.Mutex
	dir   uint8
	data  uint8
	asked []string // of QEMU
}

// newBus returns a Bus whose QEMU is played by lines, and whose messages are
// collected in got.
func newBus(t *testing.T, got *[]i2cwave.Message) (*Bus, *lines) {
	t.Helper()
	log, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := &lines{log: write, bus: I2C{SDA: 6, SCL: 7}, dir: 1 << 7, data: 1 << 7}
	g := newGPIO(pair(t, "", func(line string) []string {
		var level uint8
		if n, _ := fmt.Sscanf(line, "set_irq_in gpio unnamed-gpio-in 4 %d", &level); n != 1 {
			return []string{"FAIL " + line}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.data = l.data&^(1<<4) | level<<4
		l.write()
		return []string{"OK"}
	}), "gpio")
	q := newQMP(pair(t, `{"QMP": {}}`, func(line string) []string {
		var c struct {
			Execute string
			ID      uint64
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asked = append(l.asked, c.Execute)
		return []string{`{"event": "STOP"}`, fmt.Sprintf(`{"return": "", "id": %d}`, c.ID)}
	}))
	m := &Machine{qmp: q, trace: log, i2c: &l.bus}
	b, err := m.Bus(t.Context(), g, func(m i2cwave.Message, _ time.Time) { *got = append(*got, m) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		write.Close()
		<-b.ended
		log.Close()
	})
	return b, l
}

func (l *lines) write() {
	fmt.Fprintf(l.log, "1@2.3:pl061_update /x GPIODIR %#x GPIODATA %#x pullups 0x0 floating 0x0\n", l.dir, l.data)
}

// sda lets the line go, or drives it low, as Linux does with an open drain.
func (l *lines) sda(high bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir &^= 1 << l.bus.SDA; !high {
		l.dir |= 1 << l.bus.SDA
		l.data &^= 1 << l.bus.SDA
	}
	l.write()
}

func (l *lines) scl(high bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.data &^= 1 << l.bus.SCL; high {
		l.data |= 1 << l.bus.SCL
	}
	l.write()
}

func (l *lines) send(bytes ...byte) {
	l.sda(false)
	l.scl(false)
	for _, b := range bytes {
		for i := 7; i >= -1; i-- {
			l.sda(i < 0 || b>>max(i, 0)&1 == 1)
			l.scl(true)
			l.scl(false)
		}
	}
	l.sda(false)
	l.scl(true)
	l.sda(true)
}

func TestTheBusIsReadUpToWhereTheMachineStands(t *testing.T) {
	var got []i2cwave.Message
	b, l := newBus(t, &got)
	for n := range 20 {
		l.send(0x78, byte(n))
		err := b.Still(t.Context(), func() error {
			if len(got) != n+1 || got[n].Addr != 0x3c || got[n].Refused || !slices.Equal(got[n].Data, []byte{byte(n)}) {
				t.Errorf("after message %d: %+v", n, got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNobodyAnswersOnABusThatIsUnplugged(t *testing.T) {
	var got []i2cwave.Message
	b, l := newBus(t, &got)
	for _, step := range []struct {
		turn    func(context.Context) error
		refused bool
	}{{b.Unplug, true}, {b.Plug, false}} {
		if err := step.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.send(0x78)
		err := b.Still(t.Context(), func() error {
			if m := got[len(got)-1]; m.Refused != step.refused {
				t.Errorf("%+v", m)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheBusGoesBackIntoTheMiddleOfAMessage(t *testing.T) {
	var got []i2cwave.Message
	b, l := newBus(t, &got)
	var before Moment
	l.sda(false) // START
	l.scl(false)
	still := func(f func()) {
		t.Helper()
		if err := b.Still(t.Context(), func() error { f(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	still(func() { before = b.Moment() })
	rest := func(first byte) {
		for i := 7; i >= -1; i-- {
			l.sda(i < 0 || first>>max(i, 0)&1 == 1)
			l.scl(true)
			l.scl(false)
		}
		l.sda(false)
		l.scl(true)
		l.sda(true)
	}
	rest(0x78)
	for range 2 {
		still(func() { b.Return(before) })
		rest(0x7a)
	}
	still(func() {
		if len(got) != 3 || got[0].Addr != 0x3c || got[1].Addr != 0x3d || got[2].Addr != 0x3d {
			t.Errorf("%+v", got)
		}
	})
}

func TestTheMachineGoesOnWhateverWasDoneMeanwhile(t *testing.T) {
	var got []i2cwave.Message
	b, l := newBus(t, &got)
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.Still(ctx, func() error { cancel(); return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.asked); l.asked[n-2] != "stop" || l.asked[n-1] != "cont" {
		t.Errorf("QEMU was asked for %q", l.asked)
	}
}

func TestABusHasTwoLinesThatAreFree(t *testing.T) {
	for _, bus := range []*I2C{nil, {SDA: 6, SCL: 6}, {SDA: PowerKey, SCL: 7}, {SDA: 6, SCL: markLine}, {SDA: -1, SCL: 7}, {SDA: 6, SCL: Lines}} {
		if err := MakeDeviceTree(t.Context(), "/dev/null", Config{I2C: bus}); err == nil {
			t.Errorf("%+v is a bus", bus)
		}
		if _, err := (&Machine{i2c: bus, trace: os.Stdin}).Bus(t.Context(), nil, nil); err == nil {
			t.Errorf("%+v is a bus", bus)
		}
	}
	if _, err := (&Machine{}).Bus(t.Context(), nil, nil); err == nil {
		t.Error("a machine without a bus has one")
	}
}
