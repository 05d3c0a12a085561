package twin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	maxLine  = 4096    // longest console line, bytes; the rest of a longer one is a line of its own
	maxLines = 100_000 // that are kept
)

// Config says what machine to start.
type Config struct {
	Kernel      Kernel
	Initramfs   string
	CommandLine string   // for the kernel, beside the console
	MemoryMiB   int      // default 512
	Args        []string // further arguments of QEMU: LoggedDrive and the like

	NICs    []NIC
	Disk    string // file of MakeDisk, /dev/vda of the guest; Save keeps the machine there
	GPIO    bool   // Machine.GPIO will be called
	Control bool   // Machine.Call will be called

	I2C        *I2C   // Machine.Bus will be called; it needs GPIO too
	DeviceTree string // file of MakeDeviceTree, where that bus is
}

// NIC is a network interface of the guest, wired to a tap device of a host's
// namespace.
type NIC struct {
	MAC string   // by which the guest finds it: the kernel's order is none
	Tap *os.File // OpenTap; Start takes it over and closes it
}

// Machine is a running QEMU.
type Machine struct {
	cmd     *exec.Cmd
	read    chan struct{} // closed when the console has ended
	exited  error         // valid from then on
	qmp     *qmp
	qtest   net.Conn // nil without GPIO
	control *control // nil without Control
	i2c     *I2C
	trace   *os.File // nil without I2C

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed, and replaced, when a line came
}

// Start starts the machine. Stop or Cut it, or end ctx, which kills it.
func Start(ctx context.Context, c Config) (*Machine, error) {
	p, err := c.plug()
	defer p.close()
	if err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	m := &Machine{cmd: exec.CommandContext(ctx, "qemu-system-aarch64", append(c.args(), p.args...)...), read: make(chan struct{}), more: make(chan struct{}), i2c: c.I2C, trace: p.trace}
	m.cmd.ExtraFiles = p.files
	console, write := io.Pipe()
	m.cmd.Stdout, m.cmd.Stderr = write, write
	if err := m.cmd.Start(); err != nil {
		p.hangUp()
		return nil, fmt.Errorf("start machine: %w", err)
	}
	m.qmp, m.qtest = newQMP(p.conns["qmp"]), p.conns["qtest"]
	if c.Control {
		m.control = newControl(p.conns["control"])
	}
	go func() {
		m.exited = m.cmd.Wait()
		p.hangUp()
		_ = write.Close()
	}()
	go m.listen(console)
	return m, nil
}

// board is what the machine is without what is plugged in.
func (c Config) board() []string {
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 512
	}
	return []string{"-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", strconv.Itoa(c.MemoryMiB), "-nodefaults", "-no-user-config", "-display", "none"}
}

func (c Config) args() []string {
	// hung_task: a guest that stands still says on the console where, sooner than a test gives up.
	args := append(c.board(), "-no-reboot", "-serial", "stdio", "-kernel", c.Kernel.Image, "-initrd", c.Initramfs,
		"-append", "console=ttyAMA0 quiet panic=-1 sysctl.kernel.hung_task_timeout_secs=20 "+c.CommandLine)
	if c.DeviceTree != "" {
		args = append(args, "-dtb", c.DeviceTree)
	}
	if c.Disk != "" { // what the guest flushes need not be on this machine's own disk: only QEMU dies here
		args = append(args, "-blockdev", "driver=qcow2,node-name=disk,cache.no-flush=on,file.driver=file,file.cache.no-flush=on,file.filename="+c.Disk, "-device", "virtio-blk-device,drive=disk")
	}
	return append(args, c.Args...)
}

func (m *Machine) listen(console io.Reader) {
	defer close(m.read)
	lines := bufio.NewReaderSize(console, maxLine)
	for {
		line, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		m.mu.Lock()
		if len(m.lines) < maxLines {
			m.lines = append(m.lines, strings.TrimRight(string(line), "\r"))
		}
		close(m.more)
		m.more = make(chan struct{})
		m.mu.Unlock()
	}
}

// Console returns what the machine has said so far, QEMU's own complaints
// included.
func (m *Machine) Console() []string {
	lines, _ := m.console()
	return lines
}

func (m *Machine) console() ([]string, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lines[:len(m.lines):len(m.lines)], m.more
}

// Await waits until the machine has said a line that begins with one of the
// prefixes, and returns it. Its error holds the end of the console.
func (m *Machine) Await(ctx context.Context, prefixes ...string) (string, error) {
	seen := 0
	for ended := false; ; {
		lines, more := m.console()
		for _, line := range lines[seen:] {
			for _, p := range prefixes {
				if strings.HasPrefix(line, p) {
					return line, nil
				}
			}
		}
		if ended {
			return "", m.unheard(prefixes, lines, errors.New("the machine ended"))
		}
		seen = len(lines)
		select {
		case <-more:
		case <-m.read: // and look once more
			ended = true
		case <-ctx.Done():
			return "", m.unheard(prefixes, lines, ctx.Err())
		}
	}
}

func (m *Machine) unheard(prefixes, lines []string, err error) error {
	last := lines[max(0, len(lines)-20):]
	return fmt.Errorf("await %q: %w; its last words:\n%s", prefixes, err, strings.Join(last, "\n"))
}

// Stop ends the machine wherever the guest is, without a word to it, and
// returns when QEMU has closed its files.
func (m *Machine) Stop() error { return m.end(syscall.SIGTERM, "stop") }

// Cut takes the power away: what QEMU itself still had to write is lost too.
func (m *Machine) Cut() error { return m.end(syscall.SIGKILL, "cut") }

func (m *Machine) end(by syscall.Signal, what string) error {
	err := m.cmd.Process.Signal(by)
	<-m.read
	if err != nil { // it had ended
		return fmt.Errorf("%s machine: %w: %w", what, err, m.exited)
	}
	var exit *exec.ExitError
	if by == syscall.SIGKILL && errors.As(m.exited, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == by {
		return nil
	}
	if m.exited != nil {
		return fmt.Errorf("%s machine: %w", what, m.exited)
	}
	return nil
}
