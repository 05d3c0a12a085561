package refuge

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"
)

// fromClient is a client's datagram: the other way round than ours.
func fromClient(data []byte) []byte {
	b := datagram(netip.MustParseAddr("0.0.0.0"), everywhere4, data)
	binary.BigEndian.PutUint16(b[ipHeader:], dhcpClientPort)
	binary.BigEndian.PutUint16(b[ipHeader+2:], dhcpServerPort)
	return b
}

func discovery(t testing.TB, n int, with ...dhcpv4.Modifier) []byte {
	t.Helper()
	mac := hw(n)
	m, err := dhcpv4.NewDiscovery(mac[:], with...)
	if err != nil {
		t.Fatal(err)
	}
	return fromClient(m.ToBytes())
}

func TestADatagramIsWholeAndItsSumsAreRight(t *testing.T) {
	for _, data := range [][]byte{[]byte("even"), []byte("odd"), {}} {
		b := datagram(quarantineNet.Addr(), netip.MustParseAddr("172.30.66.9"), data)
		if sum(0, b[:ipHeader]) != 0xffff {
			t.Errorf("%q: the header's sum is wrong", data)
		}
		u := b[ipHeader:]
		if sum(uint32(sum(uint32(protoUDP)+uint32(len(u)), b[12:20])), u) != 0xffff {
			t.Errorf("%q: the datagram's sum is wrong", data)
		}
		got, err := payload(b, dhcpClientPort)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%q came back as %q, %v", data, got, err)
		}
	}
}

func TestOnlyWholeDatagramsForTheServerAreRead(t *testing.T) {
	good := fromClient([]byte("body"))
	vm := filterVM(t)
	for name, change := range map[string]func([]byte) []byte{
		"cut":                  func(b []byte) []byte { return b[:len(b)-1] },
		"TCP":                  func(b []byte) []byte { b[9] = 6; return b },
		"a fragment":           func(b []byte) []byte { b[7] = 1; return b },
		"more fragments":       func(b []byte) []byte { b[6] = 0x20; return b },
		"another port":         func(b []byte) []byte { b[ipHeader+3] = 68; return b },
		"longer than it is":    func(b []byte) []byte { b[ipHeader+5] = 200; return b },
		"shorter than a head":  func(b []byte) []byte { b[ipHeader+5] = 7; return b },
		"a header of 4 bytes":  func(b []byte) []byte { b[0] = 0x41; return b },
		"a header beyond it":   func(b []byte) []byte { b[0] = 0x4f; return b },
		"IPv6":                 func(b []byte) []byte { b[0] = 0x65; return b },
		"a total of 0":         func(b []byte) []byte { b[2], b[3] = 0, 0; return b },
		"a total that is more": func(b []byte) []byte { b[3]++; return b },
		"nothing":              func([]byte) []byte { return nil },
	} {
		if got, err := payload(change(bytes.Clone(good)), dhcpServerPort); err == nil {
			t.Errorf("%s: read %q", name, got)
		}
	}
	if got, err := payload(append(good, 0, 0, 0), dhcpServerPort); err != nil || string(got) != "body" { // padding of a short frame
		t.Errorf("%q, %v", got, err)
	}
	options := append([]byte{0x46}, good[1:ipHeader]...) // a header with an option
	options = append(append(options, 1, 1, 1, 1), good[ipHeader:]...)
	binary.BigEndian.PutUint16(options[2:], uint16(len(options)))
	if got, err := payload(options, dhcpServerPort); err != nil || string(got) != "body" {
		t.Errorf("%q, %v", got, err)
	}
	if n, err := vm.Run(options); err != nil || n == 0 {
		t.Errorf("the filter drops a header with options: %d, %v", n, err)
	}
}

func filterVM(t testing.TB) *bpf.VM {
	t.Helper()
	vm, err := bpf.NewVM(toServer)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// The kernel's filter must not drop what the parser would read.
func FuzzHandle(f *testing.F) {
	f.Add(discovery(f, 1), uint8(1))
	f.Add(discovery(f, 1, dhcpv4.WithBroadcast(true)), uint8(1))
	f.Add(fromClient([]byte("body")), uint8(0))
	vm := filterVM(f)
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		l, _ := pool(quarantineNet)
		to, out := handle(b, hw(int(n)), l)
		if _, err := payload(b, dhcpServerPort); err == nil {
			if kept, err := vm.Run(b); err != nil || kept == 0 {
				t.Fatalf("the filter drops %x", b)
			}
		}
		if out == nil {
			return
		}
		if len(l.by) > 1 || len(out) > 1200 {
			t.Fatalf("%d hosts, %d bytes for %d", len(l.by), len(out), len(b))
		}
		body, err := payload(out, dhcpClientPort)
		if err != nil {
			t.Fatalf("%x: %v", out, err)
		}
		m, err := dhcpv4.FromBytes(body)
		if err != nil || m.OpCode != dhcpv4.OpcodeBootReply {
			t.Fatalf("%x: %v", body, err)
		}
		if to != hw(int(n)) && to != everybody {
			t.Fatalf("sent to %v", to)
		}
	})
}

func TestAnswersGoToTheHostAloneWhereItCanHearThem(t *testing.T) {
	l, _ := pool(quarantineNet)
	to, out := handle(discovery(t, 1), hw(1), l)
	if to != hw(1) || netip.AddrFrom4([4]byte(out[16:20])) == everywhere4 {
		t.Errorf("offered to %v, %v", to, out[16:20])
	}
	if to, out = handle(discovery(t, 1, dhcpv4.WithBroadcast(true)), hw(1), l); to != everybody || netip.AddrFrom4([4]byte(out[16:20])) != everywhere4 {
		t.Errorf("one that hears broadcasts only: %v, %v", to, out[16:20])
	}
}
