package capture

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

// got is a Frame whose data is copied.
type got struct {
	Time    int64
	Data    string
	OrigLen int
	Link    LinkType
	Iface   uint32
}

func copyOf(f *Frame) got { return got{f.Time, string(f.Data), f.OrigLen, f.Link, f.Iface} }

// drain reads a source to its end and returns what ended it.
func drain(s Source) ([]got, error) {
	var all []got
	var f Frame
	for {
		if err := s.Next(&f); err != nil {
			return all, err
		}
		all = append(all, copyOf(&f))
	}
}

func read(t *testing.T, b []byte) ([]got, error) {
	t.Helper()
	r, err := OpenReader("test", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return drain(r)
}

func mustEqual(t *testing.T, have, want []got) {
	t.Helper()
	if len(have) != len(want) {
		t.Fatalf("%d frames, want %d", len(have), len(want))
	}
	for i := range want {
		if have[i] != want[i] {
			t.Fatalf("frame %d:\n got %+v\nwant %+v", i, have[i], want[i])
		}
	}
}

const sec = int64(1_700_000_000)

// makePcap is a generator apart from the reader: fields written one by one.
func makePcap(o binary.AppendByteOrder, magic uint32, minor uint16, link uint32, n int) ([]byte, []got) {
	var want []got
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(b, 2)
	b = o.AppendUint16(b, minor)
	b = append(b, make([]byte, 8)...)
	b = o.AppendUint32(b, 65535)
	b = o.AppendUint32(b, link)
	for i := range n {
		data := strings.Repeat(string(rune('a'+i)), 20+i)
		frac := uint32(1000 + i)
		unit := int64(1000)
		if magic == magicNano {
			unit = 1
		}
		b = o.AppendUint32(b, uint32(sec)+uint32(i))
		b = o.AppendUint32(b, frac)
		if minor < 3 { // the lengths were the other way round
			b = o.AppendUint32(b, 100)
			b = o.AppendUint32(b, uint32(len(data)))
		} else {
			b = o.AppendUint32(b, uint32(len(data)))
			b = o.AppendUint32(b, 100)
		}
		g := got{(sec+int64(i))*1e9 + int64(frac)*unit, data, 100, LinkType(link), 0}
		if magic == magicModified {
			g.Iface = 7
			b = o.AppendUint32(b, 7)
			b = o.AppendUint32(b, 0)
		}
		b = append(b, data...)
		want = append(want, g)
	}
	return b, want
}

// ng builds pcapng blocks in either byte order, apart from the code under test.
type ng struct {
	o binary.AppendByteOrder
	b []byte
}

func (g *ng) block(kind uint32, body []byte) {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n := uint32(len(body) + 12)
	g.b = g.o.AppendUint32(g.b, kind)
	g.b = g.o.AppendUint32(g.b, n)
	g.b = append(g.b, body...)
	g.b = g.o.AppendUint32(g.b, n)
}

func (g *ng) words(v ...any) []byte {
	var b []byte
	for _, v := range v {
		switch v := v.(type) {
		case uint16:
			b = g.o.AppendUint16(b, v)
		case int:
			b = g.o.AppendUint32(b, uint32(v))
		case uint64:
			b = g.o.AppendUint64(b, v)
		case string:
			b = append(b, v...)
			for len(b)%4 != 0 {
				b = append(b, 0)
			}
		}
	}
	return b
}

func (g *ng) section() {
	g.block(blockSHB, g.words(byteOrderMagic, uint16(1), uint16(0), uint64(math.MaxUint64)))
}

func (g *ng) iface(link LinkType, snap int, options ...any) {
	g.block(blockIDB, g.words(append([]any{uint16(link), uint16(0), snap}, options...)...))
}

func (g *ng) epb(iface int, units uint64, data string, orig int) {
	g.block(blockEPB, g.words(iface, int(units>>32), int(uint32(units)), len(data), orig, data))
}

func resol(v byte) []any { return []any{uint16(idbTsResol), uint16(1), string([]byte{v})} }

// allBlocks is a file with everything in it: two sections, every block type.
func allBlocks(first, second binary.AppendByteOrder) ([]byte, []got) {
	g := &ng{o: first}
	g.section()
	g.iface(LinkEthernet, 0)
	g.iface(LinkRaw, 8, resol(9)...)
	g.block(4, g.words("names"))
	g.epb(1, uint64(sec*1e9+5), "nanoseconds", 200)
	g.block(blockCustom, g.words(32473, "whatever"))
	g.block(blockSPB, g.words(9, "same time"))
	g.block(blockPB, g.words(uint16(1), uint16(3), int((sec*1e9+7)>>32), int((sec*1e9+7)&math.MaxUint32), 3, 3, "old"))
	g.block(10, g.words("secrets"))
	g.o = second
	g.section()
	g.iface(LinkSLL, 4, append(resol(3), uint16(idbTsOffset), uint16(8), uint64(100))...)
	g.epb(0, uint64(sec*1e3), "milli", 5)
	g.block(blockISB, g.words(0, 0, 0, uint16(isbDropped), uint16(8), uint64(42)))
	g.block(blockSPB, g.words(9, "nine"))
	return g.b, []got{
		{sec*1e9 + 5, "nanoseconds", 200, LinkRaw, 1},
		{sec*1e9 + 5, "same time", 9, LinkEthernet, 0},
		{sec*1e9 + 7, "old", 3, LinkRaw, 1},
		{(sec + 100) * 1e9, "milli", 5, LinkSLL, 0},
		{(sec + 100) * 1e9, "nine", 9, LinkSLL, 0},
	}
}
