// Command linetest is the only program of the twin that hal/rpi is tried with on a
// real kernel: a panel on the lines of its GPIO controller, asked by the control
// port.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sekisho/hal"
	"sekisho/hal/rpi"
	"sekisho/image/twin/guest"
)

// Lines of the controller. Line 3 is the machine's power button.
const button, red, green, missing = "5", "6", "7", "9"

func main() {
	fmt.Println("FAILED", run())
	if err := guest.PowerOff(); err != nil {
		fmt.Println(err)
	}
}

// front is the panel, and somebody else on its button's line.
type front struct {
	*rpi.Panel
	other rpi.Button
	end   context.CancelFunc
	ended chan error

	mu      sync.Mutex
	pressed []hal.Press
}

func run() error {
	if err := errors.Join(guest.Up(), guest.Settle()); err != nil {
		return err
	}
	other, err := rpi.NewMachine("", rpi.KernelDebounce).OpenButton(button, false)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	f := &front{other: other, ended: make(chan error, 1)}
	f.Panel = rpi.Open(rpi.Config{Button: button, Red: red, Green: green, Blue: missing, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	f.end = cancel
	go func() { f.ended <- f.Run(ctx) }()
	go f.collect()
	fmt.Println("READY")
	return guest.Serve(map[string]guest.Op{
		"show":     f.show,
		"parts":    f.parts,
		"free":     func(json.RawMessage) (any, error) { return nil, f.other.Close() },
		"pressed":  f.presses,
		"debounce": func(json.RawMessage) (any, error) { return debounce(5) },
		"stop":     f.stop,
	})
}

func (f *front) collect() {
	for p := range f.Presses() {
		f.mu.Lock()
		f.pressed = append(f.pressed, p)
		f.mu.Unlock()
	}
}

func (f *front) show(b json.RawMessage) (any, error) {
	var s hal.Status
	err := json.Unmarshal(b, &s)
	f.Show(s)
	return nil, err
}

// parts are the names of parts, each with what is wrong with it.
func (f *front) parts(json.RawMessage) (any, error) {
	out := map[string]string{}
	for _, p := range f.Parts() {
		out[p.Name] = fmt.Sprint(p.Err)
	}
	return out, nil
}

func (f *front) presses(json.RawMessage) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pressed, nil
}

// stop says how long the panel took to end.
func (f *front) stop(json.RawMessage) (any, error) {
	began := time.Now()
	f.end()
	err := <-f.ended
	return time.Since(began), err
}

// debounce asks the kernel how long it wants a line of the first chip to stand.
func debounce(line uint32) (time.Duration, error) {
	chip, err := os.Open("/dev/gpiochip0")
	if err != nil {
		return 0, err
	}
	defer chip.Close()
	info := unix.GPIOV2LineInfo{Offset: line}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, chip.Fd(), unix.GPIO_V2_GET_LINEINFO_IOCTL, uintptr(unsafe.Pointer(&info))); e != 0 {
		return 0, e
	}
	for _, a := range info.Attrs[:min(int(info.Num_attrs), len(info.Attrs))] {
		if a.Id == unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE {
			return time.Duration(uint32(a.Flags)) * time.Microsecond, nil // a union: debounce_period_us
		}
	}
	return 0, nil
}
