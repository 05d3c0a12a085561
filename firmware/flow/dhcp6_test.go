package flow

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

// solicit is a client's message with a DUID-UUID and a name.
const solicit = "\x01\x00\x00\x07" + "\x00\x01\x00\x06\x00\x04\xaa\xbb\xcc\xdd" + "\x00\x27\x00\x0c\x01\x03pc7\x05local\x00" + "\x00\x08\x00\x02\x00\x00"

func TestDHCP6ClientSaysWhoItIs(t *testing.T) {
	var e DHCP6
	if err := readDHCP6([]byte(solicit), &e); err != nil {
		t.Fatal(err)
	}
	if e.Type != 1 || !bytes.Equal(e.ClientID, []byte("\x00\x04\xaa\xbb\xcc\xdd")) || e.Hostname != "pc7.local" {
		t.Errorf("event %+v", e)
	}
	for what, msg := range map[string]string{
		"no header": "\x01\x00", "an option that is cut": solicit[:len(solicit)-1],
		"a DUID without content":  "\x01\x00\x00\x07\x00\x01\x00\x02\x00\x04",
		"a DUID that is too long": "\x01\x00\x00\x07\x00\x01\x00\xc8" + strings.Repeat("x", 200),
	} {
		if err := readDHCP6([]byte(msg), &DHCP6{}); err == nil {
			t.Errorf("%s was read", what)
		}
	}
}

func TestDHCP6OfServersAndRelaysIsPassedOver(t *testing.T) {
	tracker := New(Config{})
	var seen []DHCP6
	for _, kind := range []byte{1, 2, 7, 12, 13} {
		ip := flowtest.IP{Src: netip.MustParseAddr("fe80::5"), Dst: netip.MustParseAddr("ff02::1:2"), Proto: 17}
		data := flowtest.Ether{Src: [6]byte{2, 0, 0, 0, 0, 5}, Dst: [6]byte{0x33, 0x33, 0, 1, 0, 2}}.
			Frame(ip.EtherType(), ip.Packet(flowtest.UDP(546, 547, append([]byte{kind}, solicit[1:]...))))
		tracker.Frame(&capture.Frame{Time: 1, Link: capture.LinkEthernet, Data: data, OrigLen: len(data)}, func(ev Event) {
			switch e := ev.(type) {
			case *DHCP6:
				seen = append(seen, *e)
			case *Malformed:
				t.Errorf("type %d: %s", kind, e.Reason)
			}
		})
	}
	if len(seen) != 1 || seen[0].Type != 1 || seen[0].SrcMAC != (MAC{2, 0, 0, 0, 0, 5}) || seen[0].Hostname != "pc7.local" {
		t.Errorf("events %+v", seen)
	}
}

func TestDHCPClientIdentifierIsRead(t *testing.T) {
	var d deepDecoders
	var e DHCP
	if err := d.readDHCP(dhcpMessage(1, "\x35\x01\x01\x3d\x0b\xff\x00\x00\x00\x01\x00\x04\xaa\xbb\xcc\xdd\xff"), &e); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(e.ClientID, []byte("\xff\x00\x00\x00\x01\x00\x04\xaa\xbb\xcc\xdd")) {
		t.Errorf("client identifier %x", e.ClientID)
	}
}

func FuzzDHCP6(f *testing.F) {
	f.Add([]byte(solicit))
	f.Add([]byte("\x01\x00\x00\x07\x00\x27\x00\x02\x00\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e DHCP6
		readDHCP6(data, &e)
		if len(e.ClientID) > maxDUID || len(e.Hostname) > 255 {
			t.Errorf("kept %d and %d bytes", len(e.ClientID), len(e.Hostname))
		}
	})
}
