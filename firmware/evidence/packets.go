package evidence

import (
	"errors"
	"io"
	"os"
	"time"
)

// pcapFacts is what a capture file holds.
type pcapFacts struct {
	Packets, Bytes uint64
	First, Last    time.Time
}

func readPcapFile(path string) (pcapFacts, error) {
	f, err := os.Open(path)
	if err != nil {
		return pcapFacts{}, err
	}
	defer f.Close()
	return readPcap(f)
}

// readPcap reads the whole of a pcapng file that this package wrote.
func readPcap(r io.Reader) (pcapFacts, error) {
	w := newWalker(r)
	if kind, _, err := w.next(); err != nil || kind != kindSHB {
		return pcapFacts{}, errors.New("not a pcapng file")
	}
	x := newIndex()
	x.overflow = true // addresses do not matter here
	if _, err := x.blocks(w); err != io.EOF {
		return pcapFacts{}, err
	}
	out := pcapFacts{Packets: x.packets, Bytes: x.bytes}
	if x.packets > 0 {
		out.First, out.Last = time.Unix(0, x.first).UTC(), time.Unix(0, x.last).UTC()
	}
	return out, nil
}
