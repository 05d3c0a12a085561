package evidence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
)

// hostMAC and hostAddr are of one of a few hosts.
func hostMAC(n int) [6]byte { return [6]byte{2, 0, 0, 0, 1, byte(n)} }

func hostAddr(n int) string { return fmt.Sprintf("192.0.2.%d", n) }

// segmentFrame is a frame of host n to the next one, from a port to 443.
func segmentFrame(n int, port uint16, size int) []byte {
	b := ipFrame(hostMAC(n), hostMAC(n+1), hostAddr(n), hostAddr(n+1), size)
	b[14+9] = 6
	binary.BigEndian.PutUint16(b[34:], port)
	binary.BigEndian.PutUint16(b[36:], 443)
	return b
}

// dropIndexes removes every sidecar: then everything is read.
func dropIndexes(t *testing.T, s *Spool) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, segmentFolder, "*.idx"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%d sidecars, %v", len(names), err)
	}
	for _, n := range names {
		if err := os.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
}

// Hosts come and go, interfaces appear late, frames are missed and fragmented,
// the clock is set: what the index rules out must never matter.
func TestTheIndexRulesNothingOutThatAFullReadFinds(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	c, shift := smallSpool(), time.Duration(0)
	c.MaxBytes = 16 << 20
	c.Now = func() time.Time { return base.Add(shift) }
	c.steady = func(time.Time) time.Duration { return 0 }
	s := mustSpool(t, t.TempDir(), c, systemDisk{})
	for i := range 3000 {
		data := segmentFrame(min(i/300, 8)+r.IntN(2), uint16(1000+r.IntN(3)), r.IntN(300)+8)
		f := frameAt(i, data)
		f.Time += int64(shift)
		f.Iface = uint32(r.IntN(1 + i/500))
		switch r.IntN(200) {
		case 0:
			s.Missed(f.Time-1e6, f.Time, 3)
		case 1:
			binary.BigEndian.PutUint16(data[20:], 0x00b9) // a later fragment
		case 2:
			shift += time.Duration(r.IntN(21)-10) * time.Minute
		}
		s.Write(f)
		if i%20 == 0 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Pin("A", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		x    Extraction
		data []byte
	}
	ask := func() (all []answer) {
		for n := range 10 {
			for _, ports := range [][]uint16{nil, {1001}, {443, 7}, {9}} {
				for _, span := range []time.Duration{0, time.Minute} {
					from, to := time.Unix(0, 0), base.Add(1e6*time.Hour)
					if span > 0 {
						from, to = base, base.Add(span)
					}
					var b bytes.Buffer
					x, err := s.Extract(t.Context(), "A", Match{MACs: [][6]byte{hostMAC(n)}, Ports: ports}, from, to, &b, nil)
					if err != nil || len(x.Damaged) > 0 {
						t.Fatal(err, x.Damaged)
					}
					all = append(all, answer{x, b.Bytes()})
				}
			}
		}
		return all
	}
	indexed := ask()
	dropIndexes(t, s)
	var less, some, hidden int
	for i, full := range ask() {
		got := indexed[i]
		if got.x.Read < full.x.Read {
			less++
		}
		if full.x.Packets > 0 && len(full.x.ClockJumps) > 0 && len(full.x.Gaps) > 0 {
			some++
		}
		hidden += int(full.x.HiddenPorts)
		got.x.Read, got.x.Segments, got.x.Skipped = full.x.Read, full.x.Segments, full.x.Skipped
		if !reflect.DeepEqual(got.x, full.x) {
			t.Errorf("question %d: with the index %+v, without %+v", i, got.x, full.x)
		}
		if got, full := packetsOnly(t, got.data), packetsOnly(t, full.data); !bytes.Equal(got, full) {
			t.Errorf("question %d: %d bytes of packets with the index, %d without", i, len(got), len(full))
		}
	}
	if less == 0 || some == 0 || hidden == 0 {
		t.Errorf("the index saved something %d times, %d answers have all kinds of things, %d hidden ports", less, some, hidden)
	}
}

// packetsOnly are the times and bytes of the packets in a file.
func packetsOnly(t *testing.T, file []byte) (out []byte) {
	t.Helper()
	w := newWalker(bytes.NewReader(file))
	for {
		kind, block, err := w.next()
		if err != nil {
			return out
		}
		if kind == kindEPB {
			_, ns, data, err := packet(block)
			if err != nil {
				t.Fatal(err)
			}
			out = append(binary.LittleEndian.AppendUint64(out, uint64(ns)), data...)
		}
	}
}

func TestExtractionReadsOnlyTheSlicesOfTheHost(t *testing.T) {
	c := smallSpool()
	c.SegmentBytes, c.MaxBytes = 1<<20, 8<<20
	s := mustSpool(t, t.TempDir(), c, systemDisk{})
	for i := range 12000 {
		n := 1
		if i%6000 == 3000 {
			n = 5 // two frames in all
		}
		s.Write(frameAt(i, segmentFrame(n, 1000, 200)))
		if i%20 == 0 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.store.closeSegment() // the writer waits
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	m := Match{MACs: [][6]byte{hostMAC(5)}}
	x, _ := extract(t, s, "A", m)
	if all := s.Stats().DiskBytes; x.Packets != 2 || x.Read > all/20 || x.Read == 0 {
		t.Errorf("%d packets, %d of %d bytes were read", x.Packets, x.Read, all)
	}
	found, err := s.Find(t.Context(), m, base, base.Add(time.Hour))
	if err != nil || found.Segments != 2 || found.Slices != 2 || found.Bytes > x.Read || found.IndexBytes == 0 {
		t.Errorf("found %+v, %v", found, err)
	}
	for _, frame := range []int{3000, 9000} {
		if at := time.Unix(0, frameAt(frame, nil).Time); at.Before(found.First) || at.After(found.Last) {
			t.Errorf("frame %d is not between %v and %v", frame, found.First, found.Last)
		}
	}
	if none, err := s.Find(t.Context(), Match{MACs: [][6]byte{victim}}, base, base.Add(time.Hour)); err != nil || none.Slices != 0 || none.Searched == 0 || !none.First.IsZero() {
		t.Errorf("a stranger: %+v, %v", none, err)
	}
}

func TestASegmentWithoutAnIndexMayHoldAnybody(t *testing.T) {
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	feed(t, s, 0, 600)
	dropIndexes(t, s)
	found, err := s.Find(t.Context(), Match{MACs: [][6]byte{hostMAC(9)}}, base, base.Add(time.Hour))
	st := s.Stats()
	if err != nil || found.Segments != st.Segments || found.Bytes != st.DiskBytes || !found.First.Equal(st.Oldest) {
		t.Errorf("found %+v of %+v, %v", found, st, err)
	}
}

// What we write must make sense to the tools that everybody uses.
func TestTsharkAndCapinfosReadSegmentsAndExtracts(t *testing.T) {
	for _, tool := range []string{"tshark", "capinfos", "editcap"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: apt-get install tshark", err)
		}
	}
	c, now := smallSpool(), base
	c.Now = func() time.Time { return now }
	c.steady = func(time.Time) time.Duration { return 0 }
	s := mustSpool(t, t.TempDir(), c, systemDisk{})
	s.Write(frameAt(0, segmentFrame(1, 1000, 100)))
	s.Missed(base.UnixNano(), base.Add(time.Second).UnixNano(), 17)
	now = base.Add(time.Minute)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.Write(frameAt(60_000, segmentFrame(1, 1000, 100)))
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	x, data := extract(t, s, "A", Match{MACs: [][6]byte{hostMAC(1)}})
	path := filepath.Join(t.TempDir(), "host.pcapng")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, s.store.path(1)} {
		out, err := exec.Command("tshark", "-r", file, "-T", "fields", "-e", "tcp.dstport").CombinedOutput()
		if err != nil || strings.Count(string(out), "443") != 2 {
			t.Errorf("tshark: %v\n%s", err, out)
		}
		out, err = exec.Command("capinfos", file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Number of packets:   2") {
			t.Errorf("capinfos: %v\n%s", err, out)
		}
		// Wireshark itself understands the statistics block.
		out, err = exec.Command("tshark", "-r", file, "-X", "read_format:MIME Files Format", "-V").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Number of Packets Dropped by OS = 17") {
			t.Errorf("tshark as file format: %v\n%s", err, out)
		}
	}
	var kinds []string
	w := newWalker(bytes.NewReader(data))
	for kind, _, err := w.next(); err == nil; kind, _, err = w.next() {
		kinds = append(kinds, fmt.Sprintf("%#x", kind))
	}
	if got := strings.Join(kinds, " "); got != "0xa0d0d0a 0x1 0x6 0x5 0x6" {
		t.Errorf("the extract has blocks %s", got)
	}
	if len(x.ClockJumps) != 1 {
		t.Errorf("clock jumps %v", x.ClockJumps)
	}
	// Others convert it: no block that they would have to know.
	if out, err := exec.Command("editcap", "-F", "pcap", path, path+".pcap").CombinedOutput(); err != nil {
		t.Errorf("editcap: %v\n%s", err, out)
	}
	if _, err := capture.OpenFile(path); err != nil {
		t.Error(err)
	}
}
