// Command init is the only program of the twin whose power is cut: it works on
// the disk, see package powercut, until the machine is stopped from outside.
package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"sekisho/image/twin/guest"
	"sekisho/image/twin/powercut"
)

const (
	drive  = "/dev/vda"
	folder = "/disk"
)

func main() {
	fmt.Println("FAILED", run())
	if err := guest.PowerOff(); err != nil {
		fmt.Println("FAILED", err)
	}
}

func run() error {
	if err := guest.Up(); err != nil {
		return err
	}
	if err := unix.Mount(drive, folder, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", drive, err)
	}
	disk, err := os.OpenFile(drive, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer disk.Close()
	aligned, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	marks := &powercut.Marks{Disk: disk, Buffer: aligned, Say: func(p powercut.Promise) {
		fmt.Println("PROMISE", p.N, p.Kind, p.ID, p.From, p.To)
	}}
	return powercut.Work(context.Background(), folder, marks.Give)
}
