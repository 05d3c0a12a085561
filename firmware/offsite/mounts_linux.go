package offsite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const mountInfo = "/proc/self/mountinfo"

// mount is what proc_pid_mountinfo(5) says about one.
type mount struct {
	id       string
	device   string // major:minor
	point    string
	kind     string // file system
	readOnly bool
}

// parseMounts reads mountinfo; a line that is not of its form is skipped.
func parseMounts(r io.Reader) ([]mount, error) {
	var all []mount
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 2 {
			continue
		}
		m := mount{id: f[0], device: f[2], point: unescape(f[4]), kind: g[0]}
		m.readOnly = hasOption(f[5], "ro") || len(g) > 2 && hasOption(g[2], "ro")
		all = append(all, m)
	}
	return all, lines.Err()
}

func hasOption(list, option string) bool { return slices.Contains(strings.Split(list, ","), option) }

// unescape undoes the kernel's \040 for characters that part the fields.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(s string) bool {
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7'
}

// mountsUnder returns what is mounted directly in folder, in the order in which
// it was mounted. Of several at one point, the last is what one sees.
func mountsUnder(folder string) ([]mount, error) {
	f, err := os.Open(mountInfo)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := parseMounts(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", mountInfo, err)
	}
	var under []mount
	for _, m := range all {
		if filepath.Dir(m.point) == folder {
			under = slices.DeleteFunc(under, func(old mount) bool { return old.point == m.point })
			under = append(under, m)
		}
	}
	return under, nil
}

// watchMounts calls changed after every change of what is mounted in folder,
// until ctx ends. poll(2) on mountinfo says when to look (proc_pid_mounts(5)).
func watchMounts(ctx context.Context, folder string, changed func()) error {
	// Not os.Open: the runtime would poll the file too, and each change is told once.
	fd, err := unix.Open(mountInfo, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", mountInfo, err)
	}
	defer unix.Close(fd)
	stop, stopper, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stop.Close()
	defer context.AfterFunc(ctx, func() { _ = stopper.Close() })()
	var known []mount
	for ctx.Err() == nil {
		now, err := mountsUnder(folder)
		if err != nil {
			return err
		}
		if !slices.Equal(known, now) {
			known = now
			changed()
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(stop.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("poll %s: %w", mountInfo, err)
		}
	}
	return nil
}
