package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stage tells a process started by Supervise what it is: "init" is process 1
// of the lab, "inside" does the work.
const stage = "SEKISHO_LAB_STAGE"

// scratch lists what the lab's servers write to by habit; each gets a private
// tmpfs. Those that this machine does not have are left out.
var scratch = []string{"/run", "/var/lib/samba", "/var/cache/samba", "/var/log/samba", "/var/lib/misc"}

// Dir is a folder that exists inside of the lab only.
const Dir = "/run/sekisho-lab"

// Inside says that this process was started by Supervise and should now do
// the work.
func Inside() bool { return os.Getenv(stage) == "inside" }

// Child is what Supervise runs.
type Child struct {
	Args   []string   // arguments of this same executable, without its name
	Env    []string   // added to this process's environment
	Files  []*os.File // descriptors 3, 4, … of the child
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// Supervise runs this executable again as the first process of fresh PID,
// network, mount, UTS and IPC namespaces (and a user namespace, unless this is
// root), and returns its exit code. When ctx ends, or this process dies by any
// signal, the kernel kills all of the lab. The executable's main must call Init
// before anything else.
func Supervise(ctx context.Context, c Child) (int, error) {
	// The death signal is sent when the starting *thread* dies, so the thread
	// is kept; the pipe covers what the signal does not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	alive, held, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("make the lab's life line: %w", err)
	}
	defer held.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", c.Args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(append(os.Environ(), c.Env...), stage+"=init",
		fmt.Sprintf("%s_LIFE=%d", stage, 3+len(c.Files)))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.ExtraFiles = append(append([]*os.File(nil), c.Files...), alive)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err = cmd.Start()
	alive.Close()
	if err != nil {
		return 0, fmt.Errorf("make the lab's namespaces: %w\nrun as root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1)", err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 1, ctx.Err()
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("the lab ended: %w", err)
	}
	return 0, nil
}

// Init does the work of process 1 when this process is that, and then returns
// true with the exit code. It returns false at once in every other process.
func Init() (isInit bool, code int) {
	if os.Getenv(stage) != "init" {
		return false, 0
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "lab: this process should be the first of a PID namespace")
		return true, 1
	}
	code, err := initialise()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return true, 1
	}
	return true, code
}

func initialise() (int, error) {
	// Handled rather than ignored, so that children get the default back.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	var life int
	if _, err := fmt.Sscanf(os.Getenv(stage+"_LIFE"), "%d", &life); err != nil || life < 3 {
		return 1, errors.New("no life line was handed over")
	}
	unix.CloseOnExec(life)
	go func() {
		var b [1]byte
		os.NewFile(uintptr(life), "life").Read(b[:]) //nolint:errcheck // any end of it means the same
		os.Exit(1)
	}()
	if err := mounts(); err != nil {
		return 1, err
	}
	if lo, err := netlink.LinkByName("lo"); err != nil {
		return 1, fmt.Errorf("find the loopback: %w", err)
	} else if err := netlink.LinkSetUp(lo); err != nil {
		return 1, fmt.Errorf("raise the loopback: %w", err)
	}
	env := append(without(os.Environ(), stage), stage+"=inside")
	files := make([]uintptr, life)
	for i := range files {
		files[i] = uintptr(i)
	}
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return 1, fmt.Errorf("start the lab's worker: %w", err)
	}
	return reap(pid)
}

// reap collects orphans until the worker ends. Returning ends process 1, and
// with it everything else.
func reap(worker int) (int, error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 1, fmt.Errorf("wait for the lab's processes: %w", err)
		}
		if pid != worker {
			continue
		}
		if status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return status.ExitStatus(), nil
	}
}

func mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount the lab's /proc: %w (inside a container, run as its root with full rights)", err)
	}
	for _, dir := range scratch {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil || fileMissing(real) {
			continue
		}
		if err := unix.Mount("tmpfs", real, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount a private %s: %w", dir, err)
		}
	}
	return os.MkdirAll(Dir, 0o755)
}

func without(env []string, prefix string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, prefix) {
			out = append(out, e)
		}
	}
	return out
}
