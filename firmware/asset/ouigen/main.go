// Command ouigen makes the maker table of package asset from the IEEE listing
// oui.txt, as Debian's ieee-data installs it. It runs under go generate only.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	in := flag.String("in", "/usr/share/ieee-data/oui.txt", "IEEE MA-L listing")
	out := flag.String("out", "oui.gz", "table to write")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		log.Fatal(err)
	}
}

func run(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return fmt.Errorf("open listing: %w", err)
	}
	defer f.Close()
	makers, err := parse(f)
	if err != nil {
		return fmt.Errorf("read listing: %w", err)
	}
	table, err := encode(makers)
	if err != nil {
		return err
	}
	return os.WriteFile(out, table, 0o644)
}

// parse reads lines "001122     (base 16)\t\tName".
func parse(r io.Reader) (map[uint32]string, error) {
	makers := make(map[uint32]string)
	s := bufio.NewScanner(r)
	for s.Scan() {
		prefix, name, ok := strings.Cut(s.Text(), "(base 16)")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(prefix), 16, 24)
		if err != nil {
			return nil, err
		}
		makers[uint32(n)] = strings.Join(strings.Fields(name), " ")
	}
	return makers, s.Err()
}

// encode writes the count, the prefixes, the name numbers and the names. Four
// byte prefixes cost less than deltas once compressed per column.
func encode(makers map[uint32]string) ([]byte, error) {
	prefixes := make([]uint32, 0, len(makers))
	var names []string
	for p, n := range makers {
		prefixes, names = append(prefixes, p), append(names, n)
	}
	slices.Sort(prefixes)
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > 1<<16 {
		return nil, fmt.Errorf("%d names do not fit", len(names))
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(prefixes)))
	for _, p := range prefixes {
		b = binary.BigEndian.AppendUint32(b, p)
	}
	for _, p := range prefixes {
		i, _ := slices.BinarySearch(names, makers[p])
		b = binary.BigEndian.AppendUint16(b, uint16(i))
	}
	b = append(b, strings.Join(names, "\n")...)
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	err = w.Close()
	return z.Bytes(), err
}
