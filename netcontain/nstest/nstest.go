// Package nstest gives tests network namespaces of their own on the real
// kernel: as root directly, otherwise inside a user namespace that Main enters
// first. It is imported by tests only. A namespace needs no name, so nothing is
// left behind when a test dies.
package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
)

const marker = "SEKISHO_TEST_USERNS"

// Main runs a package's tests with the right to make network namespaces. A
// TestMain calls it: os.Exit(nstest.Main(m)). Without root the test binary
// runs again as root of a fresh user namespace; where the kernel refuses that,
// the tests fail and say so: they are never skipped.
func Main(m *testing.M) int {
	if os.Geteuid() == 0 {
		return m.Run()
	}
	if os.Getenv(marker) != "" {
		fmt.Fprintln(os.Stderr, "nstest: still not root inside the user namespace")
		return 1
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "nstest: enter a user namespace: %v\nrun the tests as root, or allow unprivileged user namespaces\n", err)
		return 1
	}
	return 0
}

// NS is one network namespace.
type NS struct{ handle netns.NsHandle }

// New makes an empty namespace that goes away with the test.
func New(t testing.TB) *NS {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	back, err := netns.Get()
	if err != nil {
		t.Fatalf("open the current network namespace: %v", err)
	}
	defer back.Close()
	h, err := netns.New()
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	if err := netns.Set(back); err != nil {
		t.Fatalf("return to the network namespace: %v", err)
	}
	t.Cleanup(func() { h.Close() })
	return &NS{h}
}

// FD is the namespace's descriptor, for netlink's LinkSetNsFd.
func (n *NS) FD() int { return int(n.handle) }

// Do runs fn with its thread inside the namespace. Sockets opened in fn, and
// processes started in it, belong to the namespace for good; goroutines
// started in it do not.
func (n *NS) Do(t testing.TB, fn func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(n.handle); err != nil {
			done <- err
			return
		}
		defer close(done) // also when fn calls t.FailNow
		fn()
	}()
	if err := <-done; err != nil {
		t.Fatalf("enter the network namespace: %v", err)
	}
}

// Run runs one command inside, split at spaces, and returns its output. A
// failure ends the test.
func (n *NS) Run(t testing.TB, command string) string {
	t.Helper()
	var out []byte
	var err error
	n.Do(t, func() {
		args := strings.Fields(command)
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}
