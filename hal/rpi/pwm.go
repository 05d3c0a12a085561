package rpi

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pwmPrefix begins the name of a light on a PWM channel.
const pwmPrefix = "pwm:"

// pwmPeriod is short enough that nobody sees the light flicker, from the corner of
// the eye too (IEEE 1789-2015: above 1.25 kHz there is little risk), and long
// enough for a thousand steps on the slowest clock of a Pi.
const pwmPeriod = 500 * time.Microsecond

// nightShare is how much of its light a dim light keeps: to an eye used to the dark
// it is still bright.
const nightShare = 0.1

// pwm is a light on a channel of the kernel's PWM class
// (Documentation/ABI/testing/sysfs-class-pwm). periph.io has no part for it: its
// PWM goes through /dev/mem, on boards older than the Pi 5 only.
type pwm struct {
	dir       string // /sys/class/pwm/pwmchip0/pwm1
	activeLow bool
	running   bool
}

// openPWM takes a channel: name is "pwm:CHIP.CHANNEL", CHIP the number of a
// pwmchip or the name of its device, which stays the same between kernels
// ("pwm:fe20c000.pwm.0").
func openPWM(root, name string, activeLow bool) (*pwm, error) {
	chip, channel, err := splitPWM(name)
	if err != nil {
		return nil, err
	}
	dir, err := pwmChip(root, chip)
	if err != nil {
		return nil, err
	}
	p := &pwm{dir: filepath.Join(dir, "pwm"+channel), activeLow: activeLow}
	if _, err := os.Stat(p.dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(filepath.Join(dir, "export"), []byte(channel), 0); err != nil {
			return nil, fmt.Errorf("take channel %s of %s: %w", channel, chip, err)
		}
	}
	return p, nil
}

func splitPWM(name string) (chip, channel string, err error) {
	rest := strings.TrimPrefix(name, pwmPrefix)
	dot := strings.LastIndexByte(rest, '.')
	if dot > 0 {
		chip, channel = rest[:dot], rest[dot+1:]
	}
	if n, err := strconv.ParseUint(channel, 10, 8); err != nil || strconv.FormatUint(n, 10) != channel || strings.Contains(chip, "/") {
		return "", "", fmt.Errorf("%q is not a PWM channel; write for example \"pwm:0.1\"", name)
	}
	return chip, channel, nil
}

func pwmChip(root, chip string) (string, error) {
	if _, err := strconv.ParseUint(chip, 10, 16); err == nil {
		return filepath.Join(root, "pwmchip"+chip), nil
	}
	chips, err := filepath.Glob(filepath.Join(root, "pwmchip*"))
	if err != nil {
		return "", err
	}
	for _, dir := range chips {
		if device, err := os.Readlink(filepath.Join(dir, "device")); err == nil && filepath.Base(device) == chip {
			return dir, nil
		}
	}
	return "", fmt.Errorf("this machine has no PWM %q", chip)
}

// Set implements Light.
func (p *pwm) Set(s Shade) error {
	on := uint64(math.Round(share(s) * float64(pwmPeriod)))
	if p.activeLow {
		on = uint64(pwmPeriod) - on
	}
	if p.running {
		return p.write("duty_cycle", on)
	}
	// A duty cycle longer than the period is refused, and so is a period shorter
	// than the duty cycle that somebody left.
	_ = p.write("duty_cycle", 0)
	for _, step := range []struct {
		file  string
		value uint64
	}{{"period", uint64(pwmPeriod)}, {"duty_cycle", on}, {"enable", 1}} {
		if err := p.write(step.file, step.value); err != nil {
			return err
		}
	}
	p.running = true
	return nil
}

// Close implements Light. The channel goes on as it was set last: stopped, its pin
// would be low, which lights an active-low lamp.
func (p *pwm) Close() error { return nil }

func (p *pwm) write(file string, v uint64) error {
	f, err := os.OpenFile(filepath.Join(p.dir, file), os.O_WRONLY|os.O_TRUNC, 0) // never made: it is the kernel's
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.FormatUint(v, 10))
	return errors.Join(err, f.Close())
}

// share is the part of the time that a light is on: the panel's shades are those
// of a screen (sRGB, IEC 61966-2-1), a LED's light is as long as it is on.
func share(s Shade) float64 {
	v := float64(s.Level) / 255
	if v <= 0.04045 {
		v /= 12.92
	} else {
		v = math.Pow((v+0.055)/1.055, 2.4)
	}
	if s.Dim {
		v *= nightShare
	}
	return v
}
