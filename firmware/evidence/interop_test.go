package evidence

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
)

// said runs somebody else's program and returns what it prints.
func said(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v (Debian packages tshark, tcpdump, coreutils, python3): %v\n%s%s", name, args, err, out, errs.String())
	}
	return string(out)
}

// spoolBundle is a bundle whose packets come out of a real spool.
func spoolBundle(t *testing.T) Bundle {
	t.Helper()
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	for i := range 20 {
		to := "192.0.2.8"
		if i%4 == 3 {
			to = "192.0.2.77"
		}
		s.Write(frameAt(i, ipFrame(victim, other, "192.0.2.7", to, 6)))
	}
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	in := testInput("B-1")
	in.Packets = func(ctx context.Context, w io.Writer) (Extraction, error) {
		return s.Extract(ctx, "A", wanted, base, base.Add(time.Minute), w, nil)
	}
	b, err := testVault(t, t.TempDir()).Seal(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// gapBundle has two interfaces, frames that were not kept, and a comment.
func gapBundle(t *testing.T) Bundle {
	t.Helper()
	in := testInput("B-1")
	in.Packets = func(_ context.Context, w io.Writer) (Extraction, error) {
		b := capture.AppendSHB(nil, capture.Section{App: "sekisho", Hardware: "Sekisho gateway", Comment: "host 192.0.2.7"})
		for _, name := range []string{"lan1", "lan2"} {
			b = capture.AppendIDB(b, capture.Interface{Name: name, Link: capture.LinkEthernet})
		}
		for i := range 5 {
			b = capture.AppendEPB(b, frameAt(i, ipFrame(victim, other, "192.0.2.7", "192.0.2.8", 6)), uint32(i%2))
		}
		from, to := frameAt(5, nil).Time, frameAt(9, nil).Time
		b = capture.AppendISB(b, 1, to, capture.Counters{Start: from, End: to, Received: 7, Dropped: 4})
		b = capture.AppendEPB(b, frameAt(10, ipFrame(victim, other, "192.0.2.7", "192.0.2.8", 6)), 0)
		_, err := w.Write(b)
		return Extraction{Packets: 6, Gaps: []Gap{{From: base, To: base, Frames: 4}}}, err
	}
	b, err := testVault(t, t.TempDir()).Seal(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOtherProgramsReadThePackets(t *testing.T) {
	for name, c := range map[string]struct {
		bundle Bundle
		says   []string // capinfos
	}{
		"from a spool": {spoolBundle(t), nil},
		"with gaps":    {gapBundle(t), []string{"Capture comment:     host 192.0.2.7", "Name = lan2", "Number of stat entries = 1"}},
	} {
		b := c.bundle
		file := filepath.Join(b.Path, filepath.FromSlash(packetsFile))
		first, last := epoch(b.First), epoch(b.Last)
		info := said(t, "", "capinfos", "-M", "-S", file)
		for _, want := range append(c.says, fmt.Sprintf("Number of packets:   %d\n", b.Packets), "First packet time:   "+first, "Last packet time:    "+last,
			"Capture application: sekisho", "Capture hardware:    Sekisho gateway", "precision:  nanoseconds") {
			if !strings.Contains(info, want) {
				t.Errorf("%s: capinfos does not say %q:\n%s", name, want, info)
			}
		}
		rows := strings.Fields(said(t, "", "tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.time_epoch", "-Y", "eth.addr == 02:00:00:00:00:07"))
		if len(rows) != int(b.Packets) || rows[0] != first || rows[len(rows)-1] != last {
			t.Errorf("%s: tshark reads %v, want %d from %s to %s", name, rows, b.Packets, first, last)
		}
		dir := t.TempDir()
		said(t, dir, "editcap", "-F", "nsecpcap", file, "classic.pcap")
		for _, path := range []string{file, filepath.Join(dir, "classic.pcap")} { // as everything reads that uses libpcap
			lines := strings.Split(strings.TrimSpace(said(t, dir, "tcpdump", "-nn", "-tt", "--nano", "-r", path)), "\n")
			if len(lines) != int(b.Packets) || !strings.HasPrefix(lines[0], first) || !strings.HasPrefix(lines[len(lines)-1], last) {
				t.Errorf("%s: tcpdump reads %q", path, lines)
			}
		}
	}
}

func epoch(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

func TestOtherProgramsVerifyTheBag(t *testing.T) {
	script, err := filepath.Abs("testdata/bagcheck.py")
	if err != nil {
		t.Fatal(err)
	}
	_, b := sealedAt(t, newAuthority(t, ecKey(t), "sha256"))
	checks := [][]string{
		{"sha256sum", "--strict", "--quiet", "-c", manifestFile},
		{"sha256sum", "--strict", "--quiet", "-c", tagManifestFile},
		{"python3", script, "."},
	}
	for _, c := range checks {
		if out := said(t, b.Path, c[0], c[1:]...); out != "" {
			t.Errorf("%v: %s", c, out)
		}
	}
	bagFiles(t, b.Path)
	for file, noticed := range map[string][]bool{"data/flows.jsonl": {true, false, true}, "bag-info.txt": {false, true, true}, "data/extra": {false, false, true}} {
		path := filepath.Join(b.Path, file)
		good, _ := os.ReadFile(path)
		if err := os.WriteFile(path, append(good, 'x'), 0o644); err != nil {
			t.Fatal(err)
		}
		for i, c := range checks {
			cmd := exec.Command(c[0], c[1:]...)
			cmd.Dir = b.Path
			if err := cmd.Run(); (err != nil) != noticed[i] {
				t.Errorf("%s changed: %v says %v", file, c, err)
			}
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
