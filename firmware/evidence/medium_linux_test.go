package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

const mountTest = "SEKISHO_TEST_MOUNTS"

// ownMounts runs the test once more, alone, in a mount namespace of its own, as
// root of a user namespace where it is not root. It returns true there.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountTest) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mountTest+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a mount namespace (run as root, or allow unprivileged user namespaces): %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("it did not run:\n%s", out)
	}
	return false
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
}

// office is a system card, an SSD that can be put in at ssd, and a spool on it.
type office struct {
	card, disk, ssd string
	now             time.Time
	c               SpoolConfig
}

func newOffice(t *testing.T, size string) *office {
	o := &office{card: t.TempDir(), now: base}
	o.disk, o.ssd = filepath.Join(o.card, "disk"), filepath.Join(o.card, "srv")
	for _, dir := range []string{o.disk, o.ssd} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, "tmpfs", o.disk, "tmpfs", 0, "size="+size)
	t.Cleanup(func() {
		_ = unix.Unmount(o.ssd, unix.MNT_DETACH)
		_ = unix.Unmount(o.disk, unix.MNT_DETACH)
	})
	o.c = smallSpool()
	o.c.Now = func() time.Time { return o.now }
	o.c.Medium = func() error { return OwnMedium(o.dir(), o.card) }
	return o
}

func (o *office) dir() string { return filepath.Join(o.ssd, "spool") }

func (o *office) plugIn(t *testing.T) { mount(t, o.disk, o.ssd, "", unix.MS_BIND, "") }

func (o *office) pullOut(t *testing.T) {
	t.Helper()
	if err := unix.Unmount(o.ssd, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
}

// tree lists what lies in a folder, with sizes and times of change.
func tree(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out = append(out, fmt.Sprint(path, info.Size(), info.ModTime().UnixNano()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// openSegments are the segments that this process has open.
func openSegments(t *testing.T) (out []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if to, _ := os.Readlink(n); strings.HasSuffix(to, ".pcapng") {
			out = append(out, to)
		}
	}
	return out
}

func TestAnSSDIsPulledOutAndPluggedInAgain(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	o := newOffice(t, "16m")
	// What an earlier version has left on the card must not be gone on with.
	if err := os.MkdirAll(filepath.Join(o.dir(), segmentFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	before := tree(t, o.ssd)
	o.plugIn(t)
	s := mustSpool(t, o.dir(), o.c, systemDisk{})
	feed(t, s, 0, 200)
	if err := s.Pin("A", base); err != nil || len(openSegments(t)) != 1 {
		t.Fatalf("pin: %v; open %v", err, openSegments(t))
	}
	kept := s.Stats()
	s.Write(frameAt(200, segmentFrame(1, 1, 60))) // on its way when it happens
	o.pullOut(t)
	for i := range 50 {
		s.Write(frameAt(201+i, segmentFrame(1, 1, 60)))
		_ = s.Flush()
	}
	if err := s.Health(); !errors.Is(err, ErrNotMounted) || len(openSegments(t)) != 0 {
		t.Errorf("pulled out: %v; open %v", err, openSegments(t))
	}
	for what, err := range map[string]error{"pin": s.Pin("B", base), "unpin": s.Unpin("A")} {
		if !errors.Is(err, ErrNotMounted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := tree(t, o.ssd); !slices.Equal(before, after) {
		t.Errorf("on the card is now %v, was %v", after, before)
	}
	o.plugIn(t)
	o.now = base.Add(2 * time.Hour)
	feed(t, s, 300, 200)
	if st := s.Stats(); s.Health() != nil || st.Drops != 51 || st.Pins != 1 || st.DiskBytes <= kept.DiskBytes {
		t.Errorf("plugged in: %v, %+v, before %+v", s.Health(), st, kept)
	}
	x, _ := extract(t, s, "A", wanted)
	if x.Packets != 200 || len(x.Gaps) != 1 || x.Gaps[0].Frames != 51 || len(x.Damaged) != 0 {
		t.Errorf("extracted %+v", x)
	}
}

func TestAnotherSSDIsBegunAnew(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	o := newOffice(t, "16m")
	o.plugIn(t)
	s := mustSpool(t, o.dir(), o.c, systemDisk{})
	feed(t, s, 0, 100)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	o.pullOut(t)
	mount(t, "tmpfs", o.ssd, "tmpfs", 0, "size=16m")
	if err := os.Mkdir(o.dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Pin("B", base); err != nil { // the first to notice
		t.Fatal(err)
	}
	feed(t, s, 100, 10)
	if st := s.Stats(); s.Health() != nil || !slices.Equal(s.Pins(), []string{"B"}) || st.Segments != 1 || st.Drops != 0 {
		t.Errorf("%v, pins %v, %+v", s.Health(), s.Pins(), st)
	}
}

func TestAnSSDThatIsNotMountedLeavesTheCardAlone(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	o := newOffice(t, "16m")
	before := tree(t, o.ssd)
	s := mustSpool(t, o.dir(), o.c, systemDisk{})
	for i := range 10 {
		s.Write(frameAt(i, segmentFrame(1, 1, 60)))
		_ = s.Flush()
		o.now = o.now.Add(2 * time.Hour) // tried again each time
	}
	if err := s.Pin("A", base); !errors.Is(err, ErrNotMounted) || !errors.Is(s.Health(), ErrNotMounted) {
		t.Errorf("pin %v, health %v", err, s.Health())
	}
	if after := tree(t, o.ssd); !slices.Equal(before, after) {
		t.Errorf("on the card is now %v, was %v", after, before)
	}
	o.plugIn(t)
	o.now = o.now.Add(2 * time.Hour)
	if err := s.Flush(); err != nil { // without any frame
		t.Errorf("mounted: %v", err)
	}
}

func TestAFullSSDIsNamedAndUsedAgainWhenThereIsRoom(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	o := newOffice(t, "1m")
	o.plugIn(t)
	s := mustSpool(t, o.dir(), o.c, systemDisk{})
	if err := s.Pin("A", base); err != nil { // nothing may go to make room
		t.Fatal(err)
	}
	bundles := filepath.Join(o.ssd, "bundles")
	if err := os.WriteFile(bundles, make([]byte, 900<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; n < 5000 && s.Health() == nil; n++ {
		s.Write(frameAt(n, segmentFrame(1, 1, 200)))
		_ = s.Flush()
	}
	if err := s.Health(); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("after %d frames: %v", n, err)
	}
	if err := os.Remove(bundles); err != nil {
		t.Fatal(err)
	}
	o.now = base.Add(2 * time.Hour)
	s.Write(frameAt(n, segmentFrame(1, 1, 200)))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	x, _ := extract(t, s, "A", Match{MACs: [][6]byte{hostMAC(1)}})
	drops := s.Stats().Drops
	if drops == 0 || int(x.Packets+drops) != n+1 || len(x.Gaps) == 0 || len(x.Damaged) != 0 {
		t.Errorf("%d frames, %d dropped, extracted %+v", n+1, drops, x)
	}
}

func TestAReadOnlySSDIsNamedAndUsedAgainWhenItIsNot(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	o := newOffice(t, "16m")
	o.plugIn(t)
	for _, used := range []bool{false, true} {
		mount(t, "", o.disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		s := mustSpool(t, o.dir(), o.c, systemDisk{})
		s.Write(frameAt(0, segmentFrame(1, 1, 60)))
		if err := s.Flush(); !errors.Is(err, ErrReadOnly) {
			t.Errorf("used %t: %v", used, err)
		}
		mount(t, "", o.disk, "", unix.MS_REMOUNT, "")
		o.now = o.now.Add(2 * time.Hour)
		s.Write(frameAt(1, segmentFrame(1, 1, 60)))
		if err := s.Close(); err != nil {
			t.Errorf("used %t: writable again: %v", used, err)
		}
		if st := s.Stats(); st.Drops != 1 || st.Segments == 0 {
			t.Errorf("used %t: %+v", used, st)
		}
	}
}

func TestOwnMediumTellsTheCardFromAnotherDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	o := newOffice(t, "1m")
	deep := filepath.Join(o.ssd, "not", "made", "yet")
	if err := OwnMedium(deep, o.card); !errors.Is(err, ErrNotMounted) {
		t.Errorf("on the card: %v", err)
	}
	o.plugIn(t)
	if err := OwnMedium(deep, o.card); err != nil {
		t.Errorf("on the SSD: %v", err)
	}
	if err := OwnMedium(deep, o.card, o.disk); !errors.Is(err, ErrNotMounted) {
		t.Errorf("on the second partition of the card: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(deep)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("asking has made something: %v", err)
	}
}

// A disk in trouble keeps who asks it in the kernel for minutes.
func TestADiskThatHangsAtTheStartHoldsUpNobodyForLong(t *testing.T) {
	dir, l := t.TempDir(), testVault(t, t.TempDir()).c.Ledger
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan struct{})
		hang := func() error { <-answers; return nil }
		c := smallSpool()
		c.Medium = hang
		s, err := OpenSpool(filepath.Join(dir, "spool"), c)
		if err != nil {
			t.Fatal(err)
		}
		v, err := OpenVault(VaultConfig{Dir: filepath.Join(dir, "bundles"), Ledger: l, Medium: hang})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Health(); !errors.Is(err, ErrTooSlow) {
			t.Errorf("health: %v", err)
		}
		for i := range 200 { // six times what the buffers hold
			s.Write(frameAt(i, segmentFrame(1, 1, 1000)))
		}
		if st := s.Stats(); st.Drops == 0 || st.Packets != 200 {
			t.Errorf("%+v", st)
		}
		close(answers)
		if err := s.Flush(); err != nil || s.Health() != nil {
			t.Errorf("when it answers: %v, %v", err, s.Health())
		}
		if st := s.Stats(); st.Segments != 1 {
			t.Errorf("when it answers: %+v", st)
		}
		if _, err := v.Seal(t.Context(), testInput("B-1")); err != nil {
			t.Error(err)
		}
		_ = removeSealed(v.dir)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
