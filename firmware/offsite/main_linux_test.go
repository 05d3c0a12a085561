package offsite

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const inNamespace = "SEKISHO_TEST_NAMESPACE"

// TestMain runs the tests in namespaces of their own: they mount real file
// systems and start real servers, and what they leave goes away with them.
func TestMain(m *testing.M) {
	if os.Getenv(killPlan) != "" {
		workUntilKilled()
	}
	if os.Getenv(inNamespace) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "iproute2 is needed: %v %s\n", err, out)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if _, err := buildS3(); err != nil { // here there is a network
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.Env = append(os.Environ(), inNamespace+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := again.Run(); err != nil {
		if again.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "namespaces are needed, run as root:", err)
		}
		os.Exit(1)
	}
	os.Exit(0)
}
