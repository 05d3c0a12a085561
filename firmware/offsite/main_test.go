package offsite

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const inNamespace = "SEKISHO_TEST_MOUNTS"

// TestMain runs the tests in a mount namespace of their own: they mount real
// file systems, and what they leave goes away with the process.
func TestMain(m *testing.M) {
	if os.Getenv(killPlan) != "" {
		workUntilKilled()
	}
	if os.Getenv(inNamespace) != "" {
		os.Exit(m.Run())
	}
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.Env = append(os.Environ(), inNamespace+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := again.Run(); err != nil {
		if again.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "a mount namespace is needed, run as root:", err)
		}
		os.Exit(1)
	}
	os.Exit(0)
}
