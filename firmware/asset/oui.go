package asset

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the registry
	"encoding/binary"
	"io"
	"sort"
	"sync"

	"sekisho/firmware/flow"
)

// The IEEE MA-L registry, from Debian's ieee-data 20220827.1 (the listing is
// in the public domain). ouigen/ makes it again from a newer one.
//
//go:generate go run ./ouigen -in /usr/share/ieee-data/oui.txt -out oui.gz
//go:embed oui.gz
var ouiData []byte

// registry unpacks on first use: 1 MB, a few ms.
var registry = sync.OnceValue(func() ouiTable {
	z, err := gzip.NewReader(bytes.NewReader(ouiData))
	if err != nil {
		return ouiTable{}
	}
	b, err := io.ReadAll(z)
	if err != nil || len(b) < 4 {
		return ouiTable{}
	}
	n := int(binary.BigEndian.Uint32(b))
	if n < 0 || len(b) < 4+6*n {
		return ouiTable{}
	}
	return ouiTable{prefixes: b[4 : 4+4*n], index: b[4+4*n : 4+6*n], names: bytes.Split(b[4+6*n:], []byte{'\n'})}
})

// ouiTable holds n prefixes of four bytes in order, n name numbers of two
// bytes, and the names.
type ouiTable struct {
	prefixes, index []byte
	names           [][]byte
}

// Maker returns who registered the first 24 bits of a MAC with the IEEE; empty
// when nobody did, or when the address is locally administered.
func Maker(m flow.MAC) string {
	if m.IsLocal() || m.IsGroup() {
		return ""
	}
	t := registry()
	want := uint32(m[0])<<16 | uint32(m[1])<<8 | uint32(m[2])
	n := len(t.prefixes) / 4
	i := sort.Search(n, func(i int) bool { return binary.BigEndian.Uint32(t.prefixes[4*i:]) >= want })
	if i == n || binary.BigEndian.Uint32(t.prefixes[4*i:]) != want {
		return ""
	}
	k := int(binary.BigEndian.Uint16(t.index[2*i:]))
	if k >= len(t.names) {
		return ""
	}
	return string(t.names[k])
}
