package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's GPIO interface, version 2: linux/gpio.h.
const (
	getLine   = 0xc250b407 // GPIO_V2_GET_LINE_IOCTL
	setValues = 0xc010b40f // GPIO_V2_LINE_SET_VALUES_IOCTL
	input     = 1 << 2
	output    = 1 << 3
	rising    = 1 << 4
	falling   = 1 << 5
)

type lineRequest struct {
	offsets  [64]uint32
	consumer [32]byte
	flags    uint64
	attrsLen uint32
	_        [5]uint32
	_        [10][24]byte // attributes
	lines    uint32
	buffer   uint32
	_        [5]uint32
	fd       int32
}

type lineEvent struct {
	at   uint64
	id   uint32 // 1 rising, 2 falling
	line uint32
	_    [8]uint32
}

type lineValues struct{ bits, mask uint64 }

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

func line(chip *os.File, number uint32, flags uint64) (int, error) {
	r := lineRequest{flags: flags, lines: 1}
	r.offsets[0] = number
	copy(r.consumer[:], "tryout")
	if err := ioctl(int(chip.Fd()), getLine, unsafe.Pointer(&r)); err != nil {
		return -1, fmt.Errorf("line %d: %w", number, err)
	}
	return int(r.fd), nil
}

// mirror drives the lamp as the button is, from then on.
func mirror(chip *os.File) error {
	in, err := line(chip, button, input|rising|falling)
	if err != nil {
		return err
	}
	out, err := line(chip, lamp, output)
	if err != nil {
		return err
	}
	go func() {
		var e lineEvent
		b := unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e))
		for {
			if n, err := unix.Read(in, b); err != nil || n != len(b) {
				fmt.Println("read events:", n, err)
				return
			}
			v := lineValues{mask: 1}
			if e.id == 1 {
				v.bits = 1
			}
			if err := ioctl(out, setValues, unsafe.Pointer(&v)); err != nil {
				fmt.Println("drive the lamp:", err)
				return
			}
		}
	}()
	return nil
}
