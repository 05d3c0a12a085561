package offsite

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func usbMover(t *testing.T, s *stick, b *box, copied func(string, string, Copy)) *Mover {
	t.Helper()
	return mustMover(t, Config{Bundles: b, Checkpoint: b.checkpoint, Copied: copied, Targets: []Named{{Name: "usb", Kind: KindUSB, Target: s.target()}}})
}

func TestAnyStickIsNoticedWhenItIsPluggedInAndItsSumsCheckOut(t *testing.T) {
	s, b := plugIn(t, "ext4", 16<<20), newBox(map[string]int{"inc-1": 100_000, "inc-2": 5})
	s.pull()
	copied := make(chan string, 10)
	m := usbMover(t, s, b, func(_, id string, _ Copy) { copied <- id })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	s.insert(0)
	for range 2 {
		select {
		case <-copied:
		case <-time.After(time.Minute):
			t.Fatalf("nothing was copied: %+v", m.Status())
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if st := drain(t, m); !st.Unplug || st.Waiting != 0 {
		t.Fatalf("status is %+v", st)
	}
	s.yank() // without a sync of ours: what is called copied must be on the medium
	s.pull()
	s.insert(0)
	check := exec.Command("sha256sum", "--check", "--strict", "inc-1.sha256", "inc-2.sha256")
	check.Dir = filepath.Join(s.point, usbFolder)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

func TestAStickThatIsPulledOutInTheMiddleIsCompletedLater(t *testing.T) {
	for name, at := range map[string]int64{"begin": 1, "middle": 2 << 20, "end": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			s := plugIn(t, "ext4", 32<<20)
			target, data := s.target(), contents(name, 4<<20)
			first, whole := objectOf("before.tar", contents("before", 1000)), objectOf("pulled.tar", data)
			if _, err := put(t, target, first); err != nil {
				t.Fatal(err)
			}
			pulled := whole
			var once bool
			pulled.Progress = func(done int64) {
				if done >= at && !once {
					once = true
					s.yank()
				}
			}
			_, err := put(t, target, pulled)
			wantError(t, err, ErrRemoved)
			s.pull()
			if _, err := target.Place(t.Context()); !errors.Is(err, ErrAway) {
				t.Errorf("a stick is there: %v", err)
			}
			s.insert(0)
			if s.place().versions("pulled.tar") != 0 || !bytes.Equal(s.place().read("before.tar"), contents("before", 1000)) {
				t.Error("after the pull, the stick holds half a file, or lost a whole one")
			}
			if _, err := put(t, target, whole); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.place().read("pulled.tar"), data) {
				t.Error("the copy differs")
			}
		})
	}
}

func TestWhatIsCalledACopyIsOnTheMediumInThatMoment(t *testing.T) {
	s := plugIn(t, "ext4", 16<<20)
	data := contents("bundle", 100_000)
	c, err := put(t, s.target(), objectOf("inc-1.tar", data))
	must(t, err)
	s.yank()
	s.pull()
	s.insert(0)
	if got, err := os.ReadFile(filepath.Join(s.point, c.Name)); !bytes.Equal(got, data) || err != nil {
		t.Errorf("%d bytes are there (%v)", len(got), err)
	}
}

func TestAFullStickIsLeftAsItWas(t *testing.T) {
	s := plugIn(t, "tmpfs", 4<<20)
	_, err := put(t, s.target(), objectOf("large.tar", contents("large", 8<<20)))
	wantError(t, err, ErrFull)
	if left, err := os.ReadDir(filepath.Join(s.point, usbFolder)); err != nil || len(left) != 1 || left[0].Name() != usbMark {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestOnFAT32TooLargeABundleIsRefusedBeforeItIsCopied(t *testing.T) {
	const gib4 = 4 << 30
	wantError(t, fits(gib4, unix.MSDOS_SUPER_MAGIC, 1<<40), ErrTooLarge)
	wantError(t, fits(gib4-1, unix.MSDOS_SUPER_MAGIC, 1<<40), nil)
	wantError(t, fits(gib4, unix.EXT4_SUPER_MAGIC, 1<<40), nil)
	wantError(t, fits(1000, unix.EXT4_SUPER_MAGIC, 1000), ErrFull)
}

func TestAWriteProtectedStickSaysSo(t *testing.T) {
	s := plugIn(t, "ext4", 8<<20)
	s.pull()
	s.insert(unix.MS_RDONLY)
	_, err := s.target().Place(t.Context())
	wantError(t, err, ErrReadOnly)
	b := newBox(map[string]int{"inc-1": 5})
	m := usbMover(t, s, b, nil)
	if st := drain(t, m); st.Problem == nil || !strings.Contains(st.Problem.Help.EN, "lock switch") || !st.Unplug {
		t.Errorf("status is %+v", st)
	}
}

func TestTheDisksOfThisBoxAreNoSticks(t *testing.T) {
	s := plugIn(t, "tmpfs", 4<<20)
	s.pull()
	state := t.TempDir()
	must(t, unix.Mount(state, s.point, "", unix.MS_BIND, ""))
	_, err := s.target().Place(t.Context())
	wantError(t, err, ErrAway)
	if _, err := NewUSB(USBConfig{Folder: s.folder}); err == nil {
		t.Error("a target without own folders is accepted")
	}
	if u, err := NewUSB(USBConfig{Folder: s.folder, Own: []string{"/nowhere"}}); err != nil {
		t.Fatal(err)
	} else if _, err := u.Place(t.Context()); !errors.Is(err, ErrAway) {
		t.Errorf("an own folder that cannot be looked at: %v", err)
	}
	if left, err := os.ReadDir(state); err != nil || len(left) != 0 {
		t.Errorf("written to it: %v %v", left, err)
	}
}

func TestAHostileStickLeadsNowhere(t *testing.T) {
	outside := t.TempDir()
	for name, prepare := range map[string]func(point, folder string) error{
		"folder is a link": func(point, folder string) error { return os.Symlink(outside, folder) },
		"folder is a file": func(point, folder string) error { return os.WriteFile(folder, nil, 0o644) },
		"mark is a pipe": func(point, folder string) error {
			return errors.Join(os.Mkdir(folder, 0o755), unix.Mkfifo(filepath.Join(folder, usbMark), 0o644))
		},
		"mark is huge": func(point, folder string) error {
			return errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, usbMark), make([]byte, markLimit+1), 0o644))
		},
		"name is a pipe": func(point, folder string) error {
			return errors.Join(os.Mkdir(folder, 0o755), unix.Mkfifo(filepath.Join(folder, "inc-1.tar"), 0o644))
		},
		"name is a link": func(point, folder string) error {
			return errors.Join(os.Mkdir(folder, 0o755), os.Symlink(filepath.Join(outside, "inc-1.tar"), filepath.Join(folder, "inc-1.tar")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := plugIn(t, "tmpfs", 4<<20)
			must(t, prepare(s.point, filepath.Join(s.point, usbFolder)))
			target := s.target()
			_, err := target.Place(t.Context())
			if err == nil {
				_, err = target.Put(t.Context(), objectOf("inc-1.tar", []byte("evidence")))
			}
			if err == nil {
				t.Error("this is called a copy")
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
				t.Errorf("written beside the stick: %v %v", left, err)
			}
		})
	}
}

// What is in memory is not what is on the medium: bytes change there after they
// were written and synced, while the page cache still has them as they were.
func TestWhatIsReadBackComesFromTheMedium(t *testing.T) {
	s := plugIn(t, "ext4", 16<<20)
	data := contents("bundle", 1<<20)
	o := objectOf("bundle.tar", data)
	dir, err := os.OpenRoot(s.point)
	must(t, err)
	defer dir.Close()
	must(t, fill(t.Context(), dir, o.Name, o))
	if same, err := holds(t.Context(), dir, o.Name, o); !same || err != nil {
		t.Fatalf("what was written differs: %v", err)
	}
	cached := func() []byte {
		data, err := dir.ReadFile(o.Name)
		must(t, err)
		return data
	}
	cached() // into the page cache
	image, err := os.OpenFile(s.image, os.O_RDWR, 0)
	must(t, err)
	defer image.Close()
	all, err := os.ReadFile(s.image)
	must(t, err)
	at := bytes.Index(all, data[8192:12288])
	if at < 0 {
		t.Fatal("the file is not on the medium")
	}
	if _, err := image.WriteAt([]byte{data[8192] ^ 1}, int64(at)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(cached(), data) {
		t.Fatal("the page cache was dropped: this test shows nothing")
	}
	if same, err := holds(t.Context(), dir, o.Name, o); same || err != nil {
		t.Errorf("a damaged medium is called good (%v)", err)
	}
}

func TestTheMediumThatWasPluggedInLastIsServed(t *testing.T) {
	s := plugIn(t, "tmpfs", 4<<20)
	target := s.target()
	first, err := target.Place(t.Context())
	must(t, err)
	second := filepath.Join(s.folder, "B")
	must(t, os.Mkdir(second, 0o755))
	must(t, unix.Mount("none", second, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(second, unix.MNT_DETACH) })
	now, err := target.Place(t.Context())
	if err != nil || now == first {
		t.Errorf("served is %q (%v), was %q", now, err, first)
	}
	must(t, unix.Unmount(second, 0))
	if again, err := target.Place(t.Context()); err != nil || again != first {
		t.Errorf("served is %q (%v), was %q", again, err, first)
	}
}

func TestMountPointsAreReadAsTheKernelWritesThem(t *testing.T) {
	all, err := parseMounts(strings.NewReader("36 35 98:0 /m /media/a\\040b\\134c rw,noatime master:1 - vfat /dev/sda1 rw,errors=continue\n" +
		"37 35 0:5 / /media/ro ro,nosuid - tmpfs none rw\nnonsense\n38 35 8:1 / /media/ro2 rw shared:2 - ext4 /dev/sdb1 ro,x\n"))
	must(t, err)
	want := []mount{{"36", "98:0", `/media/a b\c`, "vfat", false}, {"37", "0:5", "/media/ro", "tmpfs", true}, {"38", "8:1", "/media/ro2", "ext4", true}}
	if len(all) != 3 || all[0] != want[0] || all[1] != want[1] || all[2] != want[2] {
		t.Errorf("read %+v", all)
	}
}

func FuzzMounts(f *testing.F) {
	f.Add("36 35 98:0 /m /media/a\\040b rw - vfat /dev/sda1 rw")
	f.Add("1 2 3 4 \\400\\0 ro - x y z")
	f.Fuzz(func(t *testing.T, text string) {
		all, _ := parseMounts(strings.NewReader(text))
		if len(all) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts in %q", len(all), text)
		}
	})
}

func TestErrorsOfADyingMediumAreNamed(t *testing.T) {
	for number, want := range map[syscall.Errno]error{syscall.EIO: ErrRemoved, syscall.ENODEV: ErrRemoved, syscall.EROFS: ErrReadOnly, syscall.ENOSPC: ErrFull, syscall.EFBIG: ErrTooLarge} {
		err := asMedium(&os.PathError{Op: "write", Path: "x", Err: number})
		wantError(t, err, want)
		wantError(t, err, number)
	}
}
