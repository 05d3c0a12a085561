package rpi

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/driver"
	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"
	"periph.io/x/host/v3/sysfs"
)

// Machine is the board that this program runs on. A process has one: periph.io
// keeps chips and lines in variables of its packages.
type Machine struct {
	chip     string
	debounce time.Duration

	mu   sync.Mutex
	seen []string // device files of chips that periph.io has looked at
}

var _ Board = (*Machine)(nil)

// NewMachine returns the board, with lines of one chip, by name or label; "" for
// those of the first chip that has them. debounce is what the kernel does for the
// button, see KernelDebounce.
func NewMachine(chip string, debounce time.Duration) *Machine {
	return &Machine{chip: chip, debounce: debounce}
}

// Open returns the panel on this machine's parts. Whatever of it is missing is a
// matter of Parts.
func Open(cfg Config) *Panel { return New(cfg, NewMachine(cfg.Chip, KernelDebounce)) }

// OpenButton implements Board. periph.io finds the line; the request is our own, see
// requestLine.
func (m *Machine) OpenButton(line string, activeLow bool) (Button, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	chip, l, err := m.find(line)
	if err != nil {
		return nil, err
	}
	b, err := requestLine(chip.Path(), uint32(l.Number()), activeLow, m.debounce)
	if err != nil {
		return nil, fmt.Errorf("line %s of %s: %w", line, chip.Name(), err)
	}
	return b, nil
}

// OpenLight implements Board.
func (m *Machine) OpenLight(line string, activeLow bool) (Light, error) {
	if strings.HasPrefix(line, pwmPrefix) {
		return openPWM("/sys/class/pwm", line, activeLow)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	chip, l, err := m.find(line)
	if err != nil {
		return nil, err
	}
	w := &wire{pin: l, close: l.Close, activeLow: activeLow}
	if err := w.Set(Shade{}); err != nil {
		// Not given back, the line would think itself an output and write to file 0
		// (gpioioctl v3.8.5).
		l.Close()
		return nil, fmt.Errorf("line %s of %s: %w", line, chip.Name(), err)
	}
	return w, nil
}

// OpenBus implements Board. It goes past periph.io's registry, which is filled once and
// so does not know a bus that came later.
func (m *Machine) OpenBus(number int) (Bus, error) {
	return sysfs.NewI2C(number)
}

// Chips names the GPIO chips of this machine, for people.
func (m *Machine) Chips() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.look(); err != nil {
		return nil, err
	}
	var have []string
	for _, c := range gpioioctl.Chips {
		have = append(have, fmt.Sprintf("%s (%s, %d lines)", c.Name(), c.Label(), c.LineCount()))
	}
	return have, nil
}

// wire is a light on a line: on or off. Amber is red with green, and the green in
// the panel's blue too little to be seen.
type wire struct {
	pin       gpio.PinOut
	close     func()
	activeLow bool
}

// Set implements Light.
func (w *wire) Set(s Shade) error {
	return w.pin.Out(gpio.Level(s.Level >= 128) != gpio.Level(w.activeLow))
}

// Close implements Light.
func (w *wire) Close() error {
	w.close()
	return nil
}

// find looks for a line. The lock is held.
func (m *Machine) find(name string) (*gpioioctl.GPIOChip, *gpioioctl.GPIOLine, error) {
	if err := m.look(); err != nil {
		return nil, nil, err
	}
	var have []string
	var chips []*gpioioctl.GPIOChip
	for _, c := range gpioioctl.Chips {
		if m.chip == "" || c.Name() == m.chip || c.Label() == m.chip {
			chips = append(chips, c)
		}
		have = append(have, c.Name()+" ("+c.Label()+")")
	}
	if len(chips) == 0 {
		return nil, nil, fmt.Errorf("panel.chip: there is no %q; this machine has %s", m.chip, strings.Join(have, ", "))
	}
	for _, called := range []func(*gpioioctl.GPIOChip, *gpioioctl.GPIOLine) bool{
		// A name that an earlier chip has too gets the chip's in front of it.
		func(c *gpioioctl.GPIOChip, l *gpioioctl.GPIOLine) bool {
			return l.Name() != "" && strings.TrimPrefix(l.Name(), c.Name()+"-") == name
		},
		func(_ *gpioioctl.GPIOChip, l *gpioioctl.GPIOLine) bool { return strconv.Itoa(l.Number()) == name },
		// The header's chips number their lines as the header does, also where the
		// device tree has no names (pinctrl-bcm2835, -bcm2711, -rp1).
		func(c *gpioioctl.GPIOChip, l *gpioioctl.GPIOLine) bool {
			return strings.HasPrefix(c.Label(), "pinctrl-") && "GPIO"+strconv.Itoa(l.Number()) == name
		},
	} {
		for _, c := range chips {
			for _, l := range c.Lines() {
				if called(c, l) {
					return c, l, nil
				}
			}
		}
	}
	return nil, nil, fmt.Errorf("there is no line %q; this machine has the chips %s", name, strings.Join(have, ", "))
}

// look has periph.io look for chips: once, and again when there is one that it has
// not seen. The lock is held.
func (m *Machine) look() error {
	state, err := driverreg.Init()
	if err != nil {
		return fmt.Errorf("look for GPIO chips: %w", err)
	}
	there, err := filepath.Glob("/dev/gpiochip*")
	if err != nil {
		return err
	}
	fresh := slices.ContainsFunc(there, func(path string) bool { return !slices.Contains(m.seen, path) })
	if m.seen != nil && (fresh || len(gpioioctl.Chips) == 0) {
		for _, d := range drivers(state) {
			if d.String() != "ioctl-gpio" {
				continue
			}
			_, _ = d.Init() // the registry's own would do nothing now; what it found is looked at below
		}
	}
	m.seen = append([]string{}, there...)
	switch {
	case len(gpioioctl.Chips) > 0:
		return nil
	case len(there) > 0:
		return fmt.Errorf("%s cannot be opened; the program needs the right to, for example by the group gpio", there[0])
	}
	return errors.New("this machine has no GPIO chip; set panel.kind = \"headless\" to do without a panel")
}

func drivers(s *driverreg.State) []driver.Impl {
	all := slices.Clone(s.Loaded)
	for _, f := range append(slices.Clone(s.Skipped), s.Failed...) {
		all = append(all, f.D)
	}
	return all
}
