package rpi

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// class is a /sys/class/pwm with one chip, whose channel appears when the test says.
func class(t *testing.T) (root string, appear func()) {
	root = t.TempDir()
	real := filepath.Join(t.TempDir(), "fe20c000.pwm", "pwmchip0")
	channel := filepath.Join(real, "pwm1")
	if err := os.MkdirAll(real, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Symlink(real, filepath.Join(root, "pwmchip0")),
		os.Symlink(filepath.Dir(real), filepath.Join(real, "device")),
		os.WriteFile(filepath.Join(real, "export"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return root, func() {
		if err := os.Mkdir(channel, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"period", "duty_cycle", "enable"} {
			if err := os.WriteFile(filepath.Join(channel, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func number(t *testing.T, path ...string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestALightOnPWMIsTakenByNumberOrByDevice(t *testing.T) {
	for _, name := range []string{"pwm:0.1", "pwm:fe20c000.pwm.1"} {
		root, appear := class(t)
		l, err := openPWM(root, name, false)
		if err != nil {
			t.Fatal(name, err)
		}
		if n := number(t, root, "pwmchip0", "export"); n != 1 {
			t.Errorf("%s: channel %d was asked for", name, n)
		}
		if err := l.Set(Shade{Level: 255}); err == nil {
			t.Errorf("%s: the channel is not there yet, and nothing is said", name)
		}
		appear()
		if err := l.Set(Shade{Level: 255}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		dir := filepath.Join(root, "pwmchip0", "pwm1")
		period, duty, on := number(t, dir, "period"), number(t, dir, "duty_cycle"), number(t, dir, "enable")
		if period != int(pwmPeriod) || duty != period || on != 1 {
			t.Errorf("%s: period %d ns, duty cycle %d ns, enable %d", name, period, duty, on)
		}
	}
}

func TestWhatIsNoPWMChannelIsRefused(t *testing.T) {
	root, _ := class(t)
	for _, name := range []string{"pwm:", "pwm:0", "pwm:.1", "pwm:0.", "pwm:0.-1", "pwm:0.01", "pwm:0.1x", "pwm:../x.1", "pwm:0.999", "pwm:other.pwm.1", "pwm:7.1"} {
		if l, err := openPWM(root, name, false); err == nil {
			t.Errorf("%q is %+v", name, l)
		}
	}
}

func TestShadesAreLightNotNumbers(t *testing.T) {
	root, appear := class(t)
	appear()
	dir := filepath.Join(root, "pwmchip0", "pwm1")
	duty := func(activeLow bool, s Shade) float64 {
		t.Helper()
		l, err := openPWM(root, "pwm:0.1", activeLow)
		if err == nil {
			err = l.Set(s)
		}
		if err != nil {
			t.Fatal(err)
		}
		return float64(number(t, dir, "duty_cycle")) / float64(pwmPeriod)
	}
	for _, c := range []struct {
		s    Shade
		want float64
	}{
		{Shade{}, 0}, {Shade{Level: 255}, 1}, {Shade{Level: 188}, 0.5}, {Shade{Level: 255, Dim: true}, nightShare}, {Shade{Dim: true}, 0},
	} {
		if got := duty(false, c.s); math.Abs(got-c.want) > 0.005 {
			t.Errorf("%+v is on for %.3f of the time, want %.3f", c.s, got, c.want)
		}
		if got := duty(true, c.s); math.Abs(got-(1-c.want)) > 0.005 {
			t.Errorf("%+v of a common anode is low for %.3f of the time, want %.3f", c.s, 1-got, c.want)
		}
	}
}

// onLine notes what a line was set to.
type onLine struct {
	gpio.PinOut
	level gpio.Level
	err   error
}

func (l *onLine) Out(level gpio.Level) error {
	l.level = level
	return l.err
}

func TestALineKnowsOnAndOff(t *testing.T) {
	for _, c := range []struct {
		s  Shade
		on bool
	}{{Shade{}, false}, {Shade{Level: 60}, false}, {Shade{Level: 150}, true}, {Shade{Level: 255, Dim: true}, true}} {
		for _, activeLow := range []bool{false, true} {
			l := &onLine{}
			if err := (&wire{pin: l, activeLow: activeLow}).Set(c.s); err != nil {
				t.Fatal(err)
			}
			if bool(l.level) != (c.on != activeLow) {
				t.Errorf("%+v, active low %v: high is %v", c.s, activeLow, l.level)
			}
		}
	}
	if err := (&wire{pin: &onLine{err: errors.New("gone")}}).Set(Shade{}); err == nil {
		t.Error("a line that fails says nothing")
	}
}

// On lines too, amber is red with green, and blue is blue alone.
func TestTheLampsColoursAreToldApartOnLines(t *testing.T) {
	lit := func(s hal.State) (out [3]bool) {
		c := panel.Lamp(hal.Status{State: s})[0].Color
		for i, level := range []uint8{c.R, c.G, c.B} {
			l := &onLine{}
			_ = (&wire{pin: l}).Set(Shade{Level: level})
			out[i] = bool(l.level)
		}
		return out
	}
	for s, want := range map[hal.State][3]bool{
		hal.Normal: {false, true, false}, hal.Attention: {true, true, false}, hal.Isolated: {true, false, false}, hal.VendorConnected: {false, false, true},
	} {
		if got := lit(s); got != want {
			t.Errorf("state %d: %v", s, got)
		}
	}
}

func TestANightMayCrossMidnight(t *testing.T) {
	at := func(clock string) time.Time {
		at, err := time.Parse("15:04:05", clock)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	late, nap := Night{22 * time.Hour, 6 * time.Hour}, Night{13 * time.Hour, 14 * time.Hour}
	for clock, want := range map[string][2]bool{
		"21:59:59": {false, false}, "22:00:00": {true, false}, "00:00:00": {true, false}, "05:59:59": {true, false}, "06:00:00": {false, false},
		"13:00:00": {false, true}, "14:00:00": {false, false},
	} {
		if got := [2]bool{late.Has(at(clock)), nap.Has(at(clock))}; got != want {
			t.Errorf("%s: %v", clock, got)
		}
		if (Night{}).Has(at(clock)) {
			t.Errorf("%s: no night at all, and still", clock)
		}
	}
}
