//go:build twin

package powercut

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// makeDisk makes the file of an empty disk, as Work wants it.
func makeDisk(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := tool(ctx, 0, "mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,nodiscard", path, fmt.Sprint(FilesystemBytes>>10, "k")); err != nil {
		return err
	}
	return os.Truncate(path, FilesystemBytes+MarkBytes)
}

// readBack does with an image what a boot does, checks and replays its file
// system, and copies the files out: e2fsprogs needs neither root nor a mount.
func readBack(ctx context.Context, image, to string) error {
	const repaired = 1 // exit status of e2fsck(8): errors were corrected
	if err := tool(ctx, repaired, "e2fsck", "-p", image); err != nil {
		return err
	}
	if err := tool(ctx, 0, "e2fsck", "-f", "-n", image); err != nil {
		return err
	}
	return tool(ctx, 0, "debugfs", "-R", "rdump / "+to, image)
}

// tool runs a program of e2fsprogs; an exit status up to good is none to
// complain of.
func tool(ctx context.Context, good int, name string, args ...string) error {
	c := exec.CommandContext(ctx, filepath.Join("/usr/sbin", name), args...)
	out, err := c.CombinedOutput()
	if c.ProcessState != nil && c.ProcessState.Exited() && c.ProcessState.ExitCode() <= good {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w: %.500s", name, args[0], err, out)
	}
	return nil
}

// writeSparse writes what is not zero.
func writeSparse(path string, image []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(image))); err != nil {
		return err
	}
	zero := make([]byte, 64<<10)
	for at := 0; at < len(image); at += len(zero) {
		part := image[at:min(at+len(zero), len(image))]
		if bytes.Equal(part, zero[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			return err
		}
	}
	return f.Close()
}
