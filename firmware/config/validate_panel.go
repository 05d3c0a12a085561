package config

import (
	"strconv"
	"strings"
)

func (c Config) validatePanel(p *problems) {
	p.oneOf("panel.kind", c.Panel.Kind, "virtual", "headless", "gpio")
	if c.Panel.Kind != "gpio" {
		return
	}
	p.check(c.Panel.Button != "", "panel.button", "is empty; name the button's line, for example \"GPIO17\"")
	p.check(!strings.HasPrefix(c.Panel.Button, "pwm:"), "panel.button", "%q is an output; name a line, for example \"GPIO17\"", c.Panel.Button)
	p.check(!strings.HasPrefix(c.Panel.Buzzer, "pwm:"), "panel.buzzer", "%q cannot drive a buzzer that sounds by itself; name a line", c.Panel.Buzzer)
	c.Panel.validateLines(p)
	c.Panel.validateScreen(p)
}

func (c Panel) there() bool { return c.Screen != "" && c.Screen != "none" }

// validateLines finds one line that is to do two things.
func (c Panel) validateLines(p *problems) {
	seen := map[string]string{}
	if c.there() && c.ScreenBus == 1 { // the header's I2C bus is on these
		seen["GPIO2"], seen["GPIO3"] = "panel.screen_bus 1", "panel.screen_bus 1"
	}
	for _, line := range []struct{ key, name string }{
		{"panel.button", c.Button}, {"panel.red", c.Red}, {"panel.green", c.Green}, {"panel.blue", c.Blue}, {"panel.buzzer", c.Buzzer},
	} {
		if line.name == "" {
			continue
		}
		if channel, ok := strings.CutPrefix(line.name, "pwm:"); ok {
			chip, n, _ := cutLast(channel, ".")
			number, err := strconv.ParseUint(n, 10, 8)
			p.check(err == nil && strconv.FormatUint(number, 10) == n && chip != "" && !strings.Contains(chip, "/"), line.key, "%q is not a PWM channel; write for example \"pwm:0.1\"", line.name)
		}
		p.check(seen[line.name] == "", line.key, "%q is already %s", line.name, seen[line.name])
		seen[line.name] = line.key
	}
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (c Panel) validateScreen(p *problems) {
	if !c.there() {
		return
	}
	p.oneOf("panel.screen", c.Screen, "ssd1306", "sh1106", "none")
	p.check(c.ScreenBus >= 0 && c.ScreenBus < 1<<16, "panel.screen_bus", "%d is not the number of an I2C bus; write 1 for /dev/i2c-1", c.ScreenBus)
	// The addresses below and above are reserved (NXP UM10204, table 4).
	p.check(c.ScreenAddress >= 0x08 && c.ScreenAddress <= 0x77, "panel.screen_address", "%#x is not an I2C address; such screens have 0x3c or 0x3d", c.ScreenAddress)
	p.check(c.ScreenHeight == 64 || c.ScreenHeight == 32, "panel.screen_height", "%d is not 64 or 32", c.ScreenHeight)
}
