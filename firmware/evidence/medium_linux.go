package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// OwnMedium returns an error that wraps ErrNotMounted when dir, or where it does
// not exist its nearest parent that does, lies on the same file system as one of
// others: a folder on the system's own card where the SSD should be mounted.
// A card of several partitions wants one of others on each that dir may fall
// back to. Subvolumes of one btrfs count as different file systems, as the
// kernel says.
func OwnMedium(dir string, others ...string) error {
	mine, err := deviceOf(dir)
	if err != nil {
		return fmt.Errorf("check medium: %w", err)
	}
	for _, other := range others {
		system, err := deviceOf(other)
		if err != nil {
			return fmt.Errorf("check medium: %w", err)
		}
		if mine == system {
			return fmt.Errorf("check medium: %w: %s is on the same file system as %s", ErrNotMounted, dir, other)
		}
	}
	return nil
}

func deviceOf(path string) (uint64, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return 0, err
	}
	for {
		info, err := os.Stat(path)
		if err == nil {
			return uint64(info.Sys().(*syscall.Stat_t).Dev), nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return 0, err
		}
		path = parent
	}
}
