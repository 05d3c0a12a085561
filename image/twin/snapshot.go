package twin

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// MakeDisk makes the file out as a disk of a machine. It begins as the raw
// file content, which has to stay as it is; with an empty name, as zeros.
func MakeDisk(ctx context.Context, out, content string, bytes int64) error {
	args := []string{"create", "-q", "-f", "qcow2"}
	if content != "" {
		path, err := filepath.Abs(content)
		if err != nil {
			return fmt.Errorf("make disk: %w", err)
		}
		args = append(args, "-F", "raw", "-b", path)
	}
	if _, err := run(ctx, func(*exec.Cmd) {}, "qemu-img", append(args, out, strconv.FormatInt(bytes, 10))...); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	return nil
}

// Save keeps the whole machine, memory and disk, under a name inside the disk's
// file. The machine stands still meanwhile, and goes on after.
func (m *Machine) Save(ctx context.Context, name string) error {
	if err := m.qmp.monitor(ctx, "savevm "+name); err != nil {
		return fmt.Errorf("save machine: %w", err)
	}
	return nil
}

// Load puts the machine back to where it was when it was saved under the name.
// Its clock is put back too: see SetClock. After an error it stands still.
func (m *Machine) Load(ctx context.Context, name string) error {
	if err := m.qmp.monitor(ctx, "loadvm "+name); err != nil {
		return fmt.Errorf("load machine: %w", err)
	}
	return nil
}

// SetClock sets the guest's clock to ours, to within the time of a message.
func (m *Machine) SetClock(ctx context.Context) error {
	return m.Call(ctx, SetClock, time.Now(), nil)
}

// Reset presses the reset button: the guest starts anew, without a word to it.
func (m *Machine) Reset(ctx context.Context) error {
	err := m.qmp.execute(ctx, "set-action", map[string]string{"reboot": "reset"}, nil) // Start said: end instead
	if err == nil {
		err = m.qmp.execute(ctx, "system_reset", nil, nil)
	}
	if err != nil {
		return fmt.Errorf("reset machine: %w", err)
	}
	return nil
}
