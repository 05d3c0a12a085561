package twin

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What the test binary does in QEMU's place.
const (
	playEnv = "SEKISHO_TEST_QEMU"
	keepOn  = "run"   // says a few lines and goes on until it is told to stop
	crash   = "crash" // says one and fails
)

func TestMain(m *testing.M) {
	stop := make(chan os.Signal, 1)
	switch os.Getenv(playEnv) {
	case "":
		os.Exit(m.Run())
	case crash:
		fmt.Println("Kernel panic")
		os.Exit(3)
	case keepOn:
		signal.Notify(stop, syscall.SIGTERM)
		fmt.Print("booting\r\nREADY 1\r\n")
		fmt.Fprintln(os.Stderr, os.Args[1:])
		<-stop
	}
}

// fakeQEMU puts this test binary in QEMU's place.
func fakeQEMU(t *testing.T, what string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "qemu-system-aarch64")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv(playEnv, what)
}

func mustStart(t *testing.T, ctx context.Context, args ...string) *Machine {
	t.Helper()
	m, err := Start(ctx, Config{Kernel: Kernel{Image: "vmlinuz"}, Initramfs: "initramfs", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTheConsoleIsHeardAndTheMachineStops(t *testing.T) {
	fakeQEMU(t, keepOn)
	m := mustStart(t, t.Context(), LoggedDrive("disk.img", "disk.log")...)
	if line, err := m.Await(t.Context(), "FAILED", "READY "); err != nil || line != "READY 1" {
		t.Errorf("%q, %v", line, err)
	}
	args, err := m.Await(t.Context(), "[-M virt")
	if err != nil || !strings.Contains(args, "-kernel vmlinuz -initrd initramfs") || !strings.Contains(args, "filename=disk.log") {
		t.Errorf("QEMU was given %q, %v", args, err)
	}
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
	if lines := m.Console(); len(lines) != 3 || !slices.Contains(lines, "booting") {
		t.Errorf("console %q", lines)
	}
}

func TestAMachineThatEndsLeavesItsLastWords(t *testing.T) {
	fakeQEMU(t, crash)
	m := mustStart(t, t.Context())
	if _, err := m.Await(t.Context(), "READY"); err == nil || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("await: %v", err)
	}
	if err := m.Stop(); err == nil {
		t.Error("a machine that failed was stopped without an error")
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	fakeQEMU(t, keepOn)
	m := mustStart(t, t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := m.Await(ctx, "READY"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := m.Await(ctx, "never"); err == nil {
		t.Error("heard what was never said")
	}
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
}
