package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPcapIsReadInEveryByteOrderAndResolution(t *testing.T) {
	for _, o := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, magic := range []uint32{magicMicro, magicNano, magicModified} {
			for _, minor := range []uint16{2, 3, 4} {
				t.Run(fmt.Sprintf("%v/%x/2.%d", o, magic, minor), func(t *testing.T) {
					b, want := makePcap(o, magic, minor, uint32(LinkSLL2), 5)
					have, err := read(t, b)
					if err != io.EOF {
						t.Fatalf("ended with %v", err)
					}
					mustEqual(t, have, want)
				})
			}
		}
	}
}

func TestPcapLinkTypeIgnoresTheFCSBits(t *testing.T) {
	b, want := makePcap(binary.LittleEndian, magicMicro, 4, 1, 1)
	binary.LittleEndian.PutUint32(b[20:], 1|0x4400_0000)
	have, _ := read(t, b)
	mustEqual(t, have, want)
}

func TestPcapngReadsEveryBlockInMixedByteOrders(t *testing.T) {
	orders := []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}
	for _, a := range orders {
		for _, z := range orders {
			b, want := allBlocks(a, z)
			r, err := OpenReader("test", bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			have, err := drain(r)
			if err != io.EOF {
				t.Fatalf("%v then %v: ended with %v", a, z, err)
			}
			mustEqual(t, have, want)
			s := r.Stats()
			if s.Drops != 42 || s.Packets != 5 || s.Bytes != 11+9+3+5+4 {
				t.Errorf("stats %+v", s)
			}
		}
	}
}

func TestTimeResolutions(t *testing.T) {
	for _, c := range []struct {
		resol byte
		units uint64
		off   int64
		want  int64
	}{
		{0, 17, 0, 17e9},
		{6, 17_000_001, 0, 17_000_001_000},
		{9, 17, 0, 17},
		{12, 17_999, 0, 17},
		{0x80, 3, 0, 3e9},
		{0x80 | 10, 1024 + 512, 0, 1.5e9},
		{0x80 | 32, 1 << 31, 0, 5e8},
		{0x80 | 127, math.MaxUint64, 0, 0},
		{127, math.MaxUint64, 0, 0},
		{28, math.MaxUint64, 0, 1},
		{6, 1, -1e9, -1e9 + 1000},
		{0, math.MaxUint64, 0, math.MaxInt64},
		{9, math.MaxInt64, 1e9, math.MaxInt64},
	} {
		i := ngIface{resol: c.resol, offset: c.off}
		if c.resol <= 9 {
			i.mul = pow10(9 - c.resol)
		}
		if c.resol == 28 {
			c.want = int64(uint64(math.MaxUint64) / 1e19)
		}
		if ns := i.time(c.units); ns != c.want {
			t.Errorf("resolution %#x, %d units, offset %d: %d ns, want %d", c.resol, c.units, c.off, ns, c.want)
		}
	}
}

func TestGzippedCaptureReadsTheSame(t *testing.T) {
	b, want := allBlocks(binary.LittleEndian, binary.BigEndian)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	have, err := read(t, z.Bytes())
	if err != io.EOF {
		t.Fatal(err)
	}
	mustEqual(t, have, want)
	_, err = read(t, z.Bytes()[:z.Len()-9])
	if damage := (*DamageError)(nil); !errors.As(err, &damage) {
		t.Errorf("a cut gzip file ended with %v", err)
	}
}

func TestWriterRoundTrip(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Section{App: "sekisho", OS: "Linux", Hardware: "x", Comment: "c"})
	if err != nil {
		t.Fatal(err)
	}
	var want []got
	for i, name := range []string{"lan1", "br0"} {
		n, err := w.AddInterface(Interface{Name: name, Description: "port", MAC: []byte{2, 0, 0, 0, 0, 1}, Link: LinkEthernet})
		if err != nil || n != uint32(i) {
			t.Fatal(n, err)
		}
	}
	for i := range 9 {
		f := &Frame{Time: sec*1e9 + int64(i), Data: bytes.Repeat([]byte{byte(i)}, i), OrigLen: 1500, Out: i%2 == 1}
		if have := len(AppendEPB(nil, f, 0)); have != EPBSize(f) {
			t.Errorf("EPBSize says %d, AppendEPB wrote %d", EPBSize(f), have)
		}
		if err := w.WriteFrame(f, uint32(i%2)); err != nil {
			t.Fatal(err)
		}
		want = append(want, got{f.Time, string(f.Data), 1500, LinkEthernet, uint32(i % 2)})
		if err := w.WriteCustom(32473, []byte("mark")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteCounters(1, sec*1e9, Counters{Start: 1, End: 2, Received: 9, Dropped: 3}); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFrame(&Frame{}, 2); err == nil {
		t.Error("a frame of an interface that was never described was written")
	}
	r, _ := OpenReader("out", &out)
	have, err := drain(r)
	if err != io.EOF {
		t.Fatal(err)
	}
	mustEqual(t, have, want)
	if d := r.Stats().Drops; d != 3 {
		t.Errorf("%d drops, want 3", d)
	}
}

// TestCutAtEveryByte cuts each small file everywhere: the frames are always
// the first ones of the whole file, and the end is clean only at a boundary.
func TestCutAtEveryByte(t *testing.T) {
	pcapFile, pcapWant := makePcap(binary.LittleEndian, magicMicro, 4, 1, 5)
	ngFile, ngWant := allBlocks(binary.LittleEndian, binary.BigEndian)
	for _, c := range []struct {
		name string
		file []byte
		want []got
	}{{"pcap", pcapFile, pcapWant}, {"pcapng", ngFile, ngWant}} {
		clean := 0
		for n := range len(c.file) {
			r, err := OpenReader(c.name, bytes.NewReader(c.file[:n]))
			if n < 4 {
				if !errors.Is(err, ErrNotCapture) {
					t.Fatalf("%s of %d bytes opened: %v", c.name, n, err)
				}
				continue
			}
			have, err := drain(r)
			mustEqual(t, have, c.want[:len(have)])
			damage := (*DamageError)(nil)
			switch {
			case err == io.EOF:
				clean++
			case !errors.As(err, &damage):
				t.Fatalf("%s cut at %d: %v", c.name, n, err)
			case damage.File != c.name || damage.Offset > int64(n) || damage.Reason == "":
				t.Fatalf("%s cut at %d: %+v", c.name, n, damage)
			}
			if again := r.Next(&Frame{}); again != err {
				t.Fatalf("after its end: %v, then %v", err, again)
			}
		}
		if clean == 0 || clean > 16 {
			t.Errorf("%s: %d cuts look like clean ends", c.name, clean)
		}
	}
}

// TestDamageAtEveryByte flips every byte in turn: no panic, no endless file,
// and frames before the damaged place are untouched.
func TestDamageAtEveryByte(t *testing.T) {
	pcapFile, pcapWant := makePcap(binary.BigEndian, magicNano, 4, 1, 5)
	ngFile, ngWant := allBlocks(binary.BigEndian, binary.LittleEndian)
	for _, c := range []struct {
		file []byte
		want []got
		body int // where frames start
	}{{pcapFile, pcapWant, pcapHeader}, {ngFile, ngWant, 88}} {
		for at := range c.file {
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				b := bytes.Clone(c.file)
				b[at] ^= flip
				r, err := OpenReader("x", bytes.NewReader(b))
				if err != nil {
					continue
				}
				var f Frame
				for i := 0; ; i++ {
					if err := r.Next(&f); err != nil {
						break
					}
					if i > len(c.want) {
						t.Fatalf("byte %d: more frames than the file has room for", at)
					}
					if end := r.win.off; at >= c.body && end <= int64(at) && copyOf(&f) != c.want[i] {
						t.Fatalf("byte %d: frame %d before it changed", at, i)
					}
				}
			}
		}
	}
}

func TestDamageNamesThePlace(t *testing.T) {
	b, _ := makePcap(binary.LittleEndian, magicMicro, 4, 1, 3)
	second := int64(pcapHeader + 16 + 20)
	binary.LittleEndian.PutUint32(b[second+8:], 0x7fffffff)
	have, err := read(t, b)
	damage := (*DamageError)(nil)
	if !errors.As(err, &damage) || damage.Offset != second || len(have) != 1 {
		t.Fatalf("%d frames, then %v; want 1 and byte %d", len(have), err, second)
	}
}

func TestLyingLengthsCostNoMemory(t *testing.T) {
	b, _ := makePcap(binary.LittleEndian, magicMicro, 4, 1, 1)
	binary.LittleEndian.PutUint32(b[pcapHeader+8:], maxData)
	r, _ := newReader("x", bytes.NewReader(b), 4096)
	if _, err := drain(r); err == io.EOF {
		t.Error("a record longer than the file was read")
	}
	if len(r.win.buf) > 4096 {
		t.Errorf("the buffer grew to %d bytes for a file of %d", len(r.win.buf), len(b))
	}
}

func TestFramesLongerThanTheBufferAreRead(t *testing.T) {
	long := strings.Repeat("x", 300_000)
	g := &ng{o: binary.LittleEndian}
	g.section()
	g.iface(LinkEthernet, 0)
	g.epb(0, 1, long, len(long))
	g.block(0x1234, make([]byte, 100_000))
	g.epb(0, 2, "short", 5)
	r, _ := newReader("x", bytes.NewReader(g.b), 4096)
	have, err := drain(r)
	if err != io.EOF {
		t.Fatal(err)
	}
	mustEqual(t, have, []got{{1000, long, len(long), 1, 0}, {2000, "short", 5, 1, 0}})
}

func TestOpenErrorsSayWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	os.WriteFile(text, []byte("hello, not a capture"), 0o600)
	empty := filepath.Join(dir, "empty")
	os.WriteFile(empty, nil, 0o600)
	for path, want := range map[string]error{
		filepath.Join(dir, "none"): os.ErrNotExist,
		text:                       ErrNotCapture,
		empty:                      ErrNotCapture,
	} {
		_, err := OpenFile(path)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if _, err := OpenFile(dir); err == nil || errors.Is(err, ErrNotCapture) {
		t.Errorf("a folder: %v", err)
	}
	_, err := OpenFiles(text, empty)
	if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), empty) {
		t.Errorf("not every bad file is named: %v", err)
	}
}

func TestFilesMergeInTimeOrder(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	write := func(b []byte) {
		paths = append(paths, filepath.Join(dir, fmt.Sprint(len(paths))))
		os.WriteFile(paths[len(paths)-1], b, 0o600)
	}
	for i, times := range [][]uint64{{2, 4, 4, 9}, {1, 4, 8}, {}, {3, 5}} {
		g := &ng{o: binary.LittleEndian}
		g.section()
		g.iface(LinkEthernet, 0)
		for _, at := range times {
			g.epb(0, at, fmt.Sprintf("%d@%d", i, at), 3)
		}
		if i == 1 { // damaged after its frames
			g.b = append(g.b, 6, 0, 0, 0, 99)
		}
		write(g.b)
	}
	src, err := OpenFiles(paths...)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	have, err := drain(src)
	var order []string
	for _, g := range have {
		order = append(order, g.Data)
	}
	if s := strings.Join(order, " "); s != "1@1 0@2 3@3 0@4 0@4 1@4 3@5 1@8 0@9" {
		t.Errorf("merged as %s", s)
	}
	damage := (*DamageError)(nil)
	if !errors.As(err, &damage) || damage.File != paths[1] {
		t.Errorf("the damage is told as %v", err)
	}
	if s := src.Stats(); s.Packets != 9 {
		t.Errorf("stats %+v", s)
	}
}

func TestReadingAllocatesNothingPerFrame(t *testing.T) {
	r, err := OpenReader("x", bytes.NewReader(manyFrames(3000)))
	if err != nil {
		t.Fatal(err)
	}
	var f Frame
	r.Next(&f)
	if n := testing.AllocsPerRun(2000, func() {
		if err := r.Next(&f); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func manyFrames(n int) []byte {
	b := AppendIDB(AppendSHB(nil, Section{}), Interface{Link: LinkEthernet})
	f := &Frame{Data: make([]byte, 394)}
	for i := range n {
		f.Time = int64(i)
		b = AppendEPB(b, f, 0)
	}
	return b
}

func FuzzReader(f *testing.F) {
	for _, o := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, magic := range []uint32{magicMicro, magicNano, magicModified} {
			b, _ := makePcap(o, magic, 4, 1, 2)
			f.Add(b)
		}
		b, _ := allBlocks(o, binary.LittleEndian)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newReader("fuzz", bytes.NewReader(b), 512)
		if err != nil {
			return
		}
		var frame Frame
		for n := 0; ; n++ {
			if err := r.Next(&frame); err != nil {
				break
			}
			if frame.OrigLen < len(frame.Data) {
				t.Fatalf("original length %d, data %d", frame.OrigLen, len(frame.Data))
			}
			if b[0] != 0x1f && n > len(b)/16 {
				t.Fatal("more frames than the file has room for")
			}
		}
		if b[0] != 0x1f && len(r.win.buf) > 4*len(b)+1024 {
			t.Fatalf("%d bytes of memory for a file of %d", len(r.win.buf), len(b))
		}
	})
}

func BenchmarkReadFile(b *testing.B) {
	pcap := []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00")
	rec := make([]byte, 16+394)
	binary.LittleEndian.PutUint32(rec[8:], 394)
	binary.LittleEndian.PutUint32(rec[12:], 394)
	pcap = append(pcap, bytes.Repeat(rec, 100_000)...)
	for _, c := range []struct {
		name string
		file []byte
	}{{"pcap", pcap}, {"pcapng", manyFrames(100_000)}} {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "f")
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(394)
			var r *Reader
			var f Frame
			for n := 0; b.Loop(); n++ {
				if n%100_000 == 0 {
					if r != nil {
						r.Close()
					}
					r, _ = OpenFile(path)
				}
				if err := r.Next(&f); err != nil {
					b.Fatal(err)
				}
			}
			r.Close()
		})
	}
}
