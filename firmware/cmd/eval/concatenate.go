package main

import (
	"bufio"
	"os"
	"path/filepath"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/eval"
)

// longest leaves captures out that were joined from others with years between
// them: reading them is mostly letting time pass.
const longest = int64(24 * time.Hour)

// concatenate writes the peaceful captures one after the other, as often as it
// takes for the wanted number of packets. Each begins a second after the last
// one's end.
func (o options) concatenate(to string, all []eval.Capture) (packets int, err error) {
	file, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	buffered := bufio.NewWriterSize(file, 1<<20)
	w, err := capture.NewWriter(buffered, capture.Section{})
	if err != nil {
		return 0, err
	}
	iface, err := w.AddInterface(capture.Interface{Link: capture.LinkEthernet})
	if err != nil {
		return 0, err
	}
	now := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC).UnixNano()
	for packets < o.packets {
		before := packets
		for _, c := range all {
			if c.Label != "benign" {
				continue
			}
			n, end, err := appendCapture(w, iface, filepath.Join(o.corpus, c.File), now)
			if err != nil {
				return 0, err
			}
			packets, now = packets+n, end+int64(time.Second)
		}
		if packets == before {
			break
		}
	}
	if err := buffered.Flush(); err != nil {
		return 0, err
	}
	return packets, file.Close()
}

// appendCapture takes the Ethernet frames of a file, as far as it is readable.
func appendCapture(w *capture.Writer, iface uint32, path string, start int64) (n int, end int64, err error) {
	src, err := capture.OpenFile(path)
	if err != nil {
		return 0, start, nil
	}
	defer src.Close()
	end = start
	var f capture.Frame
	var first int64
	for src.Next(&f) == nil {
		if first == 0 {
			first = f.Time
		}
		since := f.Time - first
		if since > longest {
			break
		}
		if f.Link != capture.LinkEthernet {
			continue
		}
		f.Time = start + max(since, 0)
		end = max(end, f.Time)
		if err := w.WriteFrame(&f, iface); err != nil {
			return n, end, err
		}
		n++
	}
	return n, end, nil
}
