package smart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience with a disk that has to spin up or a bridge that has to be
	// found out about.
	patience = 20 * time.Second
	// bound is for a smartctl that cannot be killed, either.
	bound     = 30 * time.Second
	maxAnswer = 1 << 20
)

var errNoAnswer = errors.New("the disk gives no answer")

// Reader asks disks, one at a time. The zero value is ready.
type Reader struct{ asking atomic.Bool }

// Read asks the disk that folder dir lies on, by smartctl (Debian package
// smartmontools), which needs CAP_SYS_RAWIO for ATA and CAP_SYS_ADMIN for NVMe.
// A broken disk keeps smartctl, and who waits for it, in the kernel for as long
// as it likes: after half a minute, or with ctx, Read goes without an answer,
// and asks nothing more until the one before has ended.
func (r *Reader) Read(ctx context.Context, dir string) Wear {
	return r.ask(ctx, func(ctx context.Context) Wear { return reader{sys: "/sys", ask: smartctl}.read(ctx, dir) })
}

func (r *Reader) ask(ctx context.Context, read func(context.Context) Wear) Wear {
	if !r.asking.CompareAndSwap(false, true) {
		return unavailable("", errNoAnswer)
	}
	answer := make(chan Wear, 1)
	go func() {
		w := read(ctx)
		r.asking.Store(false)
		answer <- w
	}()
	late := time.NewTimer(bound)
	defer late.Stop()
	select {
	case w := <-answer:
		return w
	case <-late.C:
	case <-ctx.Done():
	}
	return unavailable("", errNoAnswer)
}

type reader struct {
	sys string // where sysfs is
	ask func(ctx context.Context, device string) ([]byte, error)
}

func (r reader) read(ctx context.Context, dir string) Wear {
	info, err := os.Stat(dir)
	if err != nil {
		return unavailable("", err)
	}
	dev := info.Sys().(*syscall.Stat_t).Dev
	name, err := r.disk(fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return unavailable("", err)
	}
	device := "/dev/" + name
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	answer, err := r.ask(ctx, device)
	if err != nil {
		return unavailable(device, err)
	}
	w := parse(answer)
	w.Device = device
	return w
}

func unavailable(device string, err error) Wear {
	return Wear{Device: device, PercentUsed: -1, SparePercent: -1, Unavailable: clean(err.Error())}
}

// disk is the name of the whole disk behind a block device: of a partition, and
// of what encryption or LVM have made of one.
func (r reader) disk(number string) (string, error) {
	path, err := filepath.EvalSymlinks(filepath.Join(r.sys, "dev/block", number))
	if err != nil {
		return "", errors.New("the folder is not on a disk")
	}
	for range 8 { // layers
		if _, err := os.Stat(filepath.Join(path, "partition")); err == nil {
			path = filepath.Dir(path)
		}
		below, err := os.ReadDir(filepath.Join(path, "slaves"))
		switch {
		case err != nil || len(below) == 0:
			return filepath.Base(path), nil
		case len(below) > 1:
			return "", fmt.Errorf("the folder is on %d disks", len(below))
		}
		if path, err = filepath.EvalSymlinks(filepath.Join(path, "slaves", below[0].Name())); err != nil {
			return "", err
		}
	}
	return "", errors.New("the folder is on too many layers of disks")
}

// smartctl runs it. Its exit status is a bit mask of what it found out about
// the disk, so that only a missing answer is an error.
func smartctl(ctx context.Context, device string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "smartctl", "--json", "-a", device)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	out := limited{left: maxAnswer}
	cmd.Stdout = &out
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("smartctl is not installed")
	case ctx.Err() != nil:
		return nil, errors.New("the disk did not answer smartctl in time")
	case out.Len() == 0 && err != nil:
		return nil, fmt.Errorf("smartctl: %w", err)
	}
	return out.Bytes(), nil
}

// limited drops what is beyond its limit.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	keep := min(len(p), l.left)
	l.left -= keep
	_, _ = l.Buffer.Write(p[:keep])
	return len(p), nil
}
