package twin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// I2C says on which lines of the GPIO controller the guest has an I2C bus.
type I2C struct{ SDA, SCL int }

func (b *I2C) check() error {
	if b == nil {
		return errors.New("there is no bus")
	}
	for _, line := range []int{b.SDA, b.SCL} {
		if line < 0 || line >= Lines || line == PowerKey || line == markLine {
			return fmt.Errorf("line %d is not free", line)
		}
	}
	if b.SDA == b.SCL {
		return errors.New("a bus has two lines")
	}
	return nil
}

// Nodes of the virt machine (hw/arm/virt.c of QEMU), and ours.
const (
	gpioNode = "/pl061@9030000"
	busNode  = "/i2c-panel"
)

// MakeDeviceTree writes to the file out what QEMU tells a guest about the
// machine of c, and in it the bus c.I2C, that Linux' own driver i2c-gpio drives by two
// lines, as on a board that is wired so.
//
// The data line is open drain: to let go of it, the driver makes an input of
// it. The clock is driven both ways, because here nobody outside holds it low.
func MakeDeviceTree(ctx context.Context, out string, c Config) error {
	err := c.I2C.check()
	if err == nil {
		err = deviceTree(ctx, out, c)
	}
	if err != nil {
		return fmt.Errorf("make device tree: %w", err)
	}
	return nil
}

func deviceTree(ctx context.Context, out string, c Config) error {
	if _, err := run(ctx, nil, "qemu-system-aarch64", append(c.board(), "-machine", "dumpdtb="+out)...); err != nil {
		return err
	}
	chip, err := run(ctx, nil, "fdtget", "-t", "u", out, gpioNode, "phandle")
	if err != nil {
		return err
	}
	line := func(n int) []string { return []string{strings.TrimSpace(chip), strconv.Itoa(n), "0"} } // GPIO_ACTIVE_HIGH
	for _, p := range []struct {
		name, kind string
		value      []string
	}{ // Documentation/devicetree/bindings/i2c/i2c-gpio.yaml of Linux
		{"compatible", "s", []string{"i2c-gpio"}},
		{"#address-cells", "u", []string{"1"}},
		{"#size-cells", "u", []string{"0"}},
		{"sda-gpios", "u", line(c.I2C.SDA)},
		{"scl-gpios", "u", line(c.I2C.SCL)},
		{"i2c-gpio,delay-us", "u", []string{"1"}},
		{"i2c-gpio,scl-output-only", "u", nil},
		{"i2c-gpio,scl-open-drain", "u", nil},
	} {
		if _, err := run(ctx, nil, "fdtput", append([]string{"-p", "-t", p.kind, out, busNode, p.name}, p.value...)...); err != nil {
			return err
		}
	}
	return nil
}
