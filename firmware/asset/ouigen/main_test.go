package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

const listing = `OUI/MA-L                                                    Organization
00-22-72   (hex)		American Micro-Fuel  Device Corp.
002272     (base 16)		American Micro-Fuel  Device Corp.
				2181 Buchanan Loop

00000C     (base 16)		Cisco Systems, Inc
`

func TestListingBecomesATable(t *testing.T) {
	makers, err := parse(strings.NewReader(listing))
	if err != nil {
		t.Fatal(err)
	}
	if len(makers) != 2 || makers[0x002272] != "American Micro-Fuel Device Corp." {
		t.Fatalf("makers %v", makers)
	}
	table, err := encode(makers)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.BigEndian.Uint32(b); n != 2 || binary.BigEndian.Uint32(b[4:]) != 0x0c ||
		string(b[4+6*2:]) != "American Micro-Fuel Device Corp.\nCisco Systems, Inc" {
		t.Errorf("table % x", b)
	}
}

func TestBrokenPrefixIsRefused(t *testing.T) {
	if _, err := parse(strings.NewReader("00ZZ0C     (base 16)\t\tX\n")); err == nil {
		t.Error("accepted")
	}
}
