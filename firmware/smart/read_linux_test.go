package smart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// sysfs builds the folders and links of a tree; "a -> b" is a link.
func sysfs(t *testing.T, folders []string, links map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range folders {
		if err := os.MkdirAll(filepath.Join(root, f), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range links {
		path := filepath.Join(root, from)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(root, to), path); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTheWholeDiskIsFoundBehindPartitionsAndLayers(t *testing.T) {
	sys := sysfs(t, []string{
		"devices/usb/block/sda/sda1/partition", "devices/usb/block/sda/slaves",
		"devices/pci/nvme/nvme0/nvme0n1/nvme0n1p2/partition",
		"devices/virtual/block/dm-0", "devices/virtual/block/dm-1",
		"devices/virtual/block/md0/slaves/a", "devices/virtual/block/md0/slaves/b",
	}, map[string]string{
		"dev/block/8:1": "devices/usb/block/sda/sda1", "dev/block/8:0": "devices/usb/block/sda",
		"dev/block/259:2": "devices/pci/nvme/nvme0/nvme0n1/nvme0n1p2",
		"dev/block/253:0": "devices/virtual/block/dm-0", "dev/block/253:1": "devices/virtual/block/dm-1", "dev/block/9:0": "devices/virtual/block/md0",
		"devices/virtual/block/dm-0/slaves/sda1": "devices/usb/block/sda/sda1",
		"devices/virtual/block/dm-1/slaves/dm-1": "devices/virtual/block/dm-1", // no end
	})
	for number, want := range map[string]string{"8:1": "sda", "8:0": "sda", "259:2": "nvme0n1", "253:0": "sda", "253:1": "", "9:0": "", "0:31": ""} {
		if got, err := (reader{sys: sys}).disk(number); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: disk %q, %v, want %q", number, got, err, want)
		}
	}
}

func TestThereIsAnAnswerWhateverHappens(t *testing.T) {
	dir := t.TempDir()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	dev := info.Sys().(*syscall.Stat_t).Dev
	sys := sysfs(t, []string{"devices/sdx"}, map[string]string{fmt.Sprintf("dev/block/%d:%d", unix.Major(dev), unix.Minor(dev)): "devices/sdx"})
	answer := func(text string, err error) reader {
		return reader{sys: sys, ask: func(_ context.Context, device string) ([]byte, error) {
			if device != "/dev/sdx" {
				t.Errorf("asked %s", device)
			}
			return []byte(text), err
		}}
	}
	good := answer(`{"smart_status":{"passed":true}}`, nil).read(t.Context(), dir)
	if good.Unavailable != "" || good.Device != "/dev/sdx" || !*good.Passed {
		t.Errorf("good: %+v", good)
	}
	for name, w := range map[string]Wear{
		"error":   answer("", errors.New("smartctl is not installed")).read(t.Context(), dir),
		"nothing": answer("", nil).read(t.Context(), dir),
		"no disk": reader{sys: t.TempDir()}.read(t.Context(), dir),
		"no dir":  new(Reader).Read(t.Context(), filepath.Join(dir, "none")),
	} {
		if w.Unavailable == "" || w.PercentUsed != -1 || w.SparePercent != -1 || w.Passed != nil {
			t.Errorf("%s: %+v", name, w)
		}
	}
}

// The real program on a device that is none, and not at all.
func TestSmartctlItselfAnswers(t *testing.T) {
	answer, err := smartctl(t.Context(), "/dev/null")
	if err != nil {
		t.Fatalf("%v: apt-get install smartmontools", err)
	}
	if w := parse(answer); w.Unavailable == "" || w.Unavailable == "smartctl gave no JSON" {
		t.Errorf("/dev/null: %+v", w)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := smartctl(t.Context(), "/dev/null"); err == nil || err.Error() != "smartctl is not installed" {
		t.Errorf("without smartctl: %v", err)
	}
}

func TestADiskThatNeverAnswersIsNotWaitedFor(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "smartctl"), []byte("#!/bin/sh\nexec tail -f /dev/null\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond) // without it, forever
	defer stop()
	if _, err := smartctl(ctx, "/dev/null"); err == nil {
		t.Error("there is an answer")
	}
}

// What hangs in the kernel heeds no context.
func TestADiskThatHangsInTheKernelHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Reader
		back := make(chan struct{})
		hangs := func(context.Context) Wear { <-back; return Wear{} }
		began := time.Now()
		if w := r.ask(t.Context(), hangs); w.Unavailable == "" || time.Since(began) != bound {
			t.Errorf("after %v: %+v", time.Since(began), w)
		}
		again := func(context.Context) Wear { t.Error("asked twice"); return Wear{} }
		if w := r.ask(t.Context(), again); w.Unavailable == "" || time.Since(began) != bound {
			t.Errorf("while it hangs: %+v", w)
		}
		close(back)
		synctest.Wait()
		if w := r.ask(t.Context(), func(context.Context) Wear { return Wear{Model: "m"} }); w.Model != "m" {
			t.Errorf("afterwards: %+v", w)
		}
		ctx, stop := context.WithCancel(t.Context())
		back = make(chan struct{})
		defer close(back)
		time.AfterFunc(time.Second, stop)
		if w := r.ask(ctx, hangs); w.Unavailable == "" || time.Since(began) != bound+time.Second {
			t.Errorf("at the end: %+v", w)
		}
	})
}
