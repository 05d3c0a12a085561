package twin

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readCPIO takes an archive apart by the offsets of the format, and returns
// "name mode content" of each member.
func readCPIO(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	at := 0
	number := func(field int) int {
		var v int
		if _, err := fmt.Sscanf(string(b[at+6+8*field:at+14+8*field]), "%08x", &v); err != nil {
			t.Fatalf("member at %d: field %d: %v", at, field, err)
		}
		return v
	}
	for {
		if at%4 != 0 || string(b[at:at+6]) != "070701" {
			t.Fatalf("no member at byte %d", at)
		}
		mode, size, length := number(1), number(6), number(11)
		name := string(b[at+110 : at+110+length-1])
		at = (at + 110 + length + 3) &^ 3
		if name == "TRAILER!!!" {
			if at != len(b) {
				t.Fatalf("%d bytes behind the trailer", len(b)-at)
			}
			return out
		}
		out = append(out, fmt.Sprintf("%s %o %s", name, mode, b[at:at+size]))
		at = (at + size + 3) &^ 3
	}
}

// fakeKernel has the modules disk, which needs bus and crc, and crc.
func fakeKernel(t *testing.T) Kernel {
	t.Helper()
	k := Kernel{Version: "1", Modules: t.TempDir()}
	for name, text := range map[string]string{
		"modules.dep":     "kernel/a/my-disk.ko.xz: kernel/b/bus.ko.xz kernel/c/crc.ko.xz\nkernel/b/bus.ko.xz: kernel/c/crc.ko.xz\nkernel/c/crc.ko.xz:\n",
		"modules.builtin": "kernel/d/serial.ko\n",
		"a/my-disk.ko.xz": "DISK", "b/bus.ko.xz": "BUS", "c/crc.ko.xz": "CRC12",
	} {
		if strings.HasSuffix(name, ".xz") {
			name = "kernel/" + name
		}
		path := filepath.Join(k.Modules, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestAModuleIsLoadedAfterWhatItNeeds(t *testing.T) {
	k := fakeKernel(t)
	got, err := k.Needed("serial", "my_disk", "crc")
	if err != nil || !slices.Equal(got, []string{"kernel/c/crc.ko.xz", "kernel/b/bus.ko.xz", "kernel/a/my-disk.ko.xz"}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := k.Needed("nonesuch"); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("a module that is not there: %v", err)
	}
}

func TestTheInitramfsHoldsProgramFoldersAndModules(t *testing.T) {
	k := fakeKernel(t)
	init, out := filepath.Join(t.TempDir(), "init"), filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(init, []byte("ELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteInitramfs(out, k, init, "bus"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"dev 40755 ", "proc 40755 ", "sys 40755 ", "disk 40755 ", "modules 40755 ", "init 100755 ELF",
		"modules/crc.ko.xz 100644 CRC12", "modules/bus.ko.xz 100644 BUS", "modules/list 100644 crc.ko.xz\nbus.ko.xz\n"}
	if got := readCPIO(t, b); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestFilesTreesAndLinksComeAlongAndTheFirstWins(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"init": "ELF", "one": "mine", "tree/etc/conf": "theirs", "tree/etc/more": "more", "tree/usr/bin/tool": "TOOL", "data/a": "A"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path(name)), 0o755), os.WriteFile(path(name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(path("tree/usr/bin/tool"), 0o755), os.Symlink("usr/bin", path("tree/bin")), os.Symlink("/nowhere", path("tree/usr/gone"))); err != nil {
		t.Fatal(err)
	}
	i := Initramfs{Init: path("init"), Files: map[string]string{"/etc/conf": path("one"), "test/data": path("data")}, Trees: []string{path("tree")}}
	if err := i.Write(path("out"), fakeKernel(t)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path("out"))
	if err != nil {
		t.Fatal(err)
	}
	got := readCPIO(t, b)
	want := []string{"etc 40755 ", "etc/conf 100644 mine", "test 40755 ", "test/data 40755 ", "test/data/a 100644 A",
		"bin 120777 usr/bin", "etc/more 100644 more", "usr 40755 ", "usr/bin 40755 ", "usr/bin/tool 100755 TOOL", "usr/gone 120777 /nowhere"}
	if got = got[len(got)-len(want):]; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	i.Files["x"] = path("nonesuch")
	if err := i.Write(path("out"), fakeKernel(t)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// fullAfter takes so many bytes.
type fullAfter struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("full")

func (w *fullAfter) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, errFull
	}
	return w.Buffer.Write(b)
}

func TestAnArchiveThatIsNotWholeIsAnError(t *testing.T) {
	write := func(w *fullAfter) error {
		c := &cpioWriter{w: w}
		c.add("file", modeFile, []byte("content"))
		return c.close()
	}
	whole := fullAfter{room: 1 << 20}
	if err := write(&whole); err != nil {
		t.Fatal(err)
	}
	for room := range whole.Len() {
		if err := write(&fullAfter{room: room}); !errors.Is(err, errFull) {
			t.Fatalf("room for %d of %d bytes: %v", room, whole.Len(), err)
		}
	}
}

func TestACacheWithoutAKernelSaysSoAndOneWithItNeedsNoNetwork(t *testing.T) {
	cache := t.TempDir()
	if _, err := cachedKernel(cache); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("empty cache: %v", err)
	}
	modules := filepath.Join(cache, "kernel", "lib", "modules", "6.12-arm64")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	k, err := FetchKernel(t.Context(), cache)
	if err != nil || k.Version != "6.12-arm64" || k.Modules != modules {
		t.Errorf("%+v, %v", k, err)
	}
}
