package evidence

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"sekisho/firmware/capture"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPortsAreFoundWhereTheyCanBe(t *testing.T) {
	const (
		v4    = "45 00 001c 0000 0000 40 %s 0000 c0000207 c0000209"
		v6    = "60000000 0010 %s 40 20010db8000000000000000000000007 20010db8000000000000000000000009"
		ports = "01bd d431" // 445, 54321
	)
	at := func(head, proto string) string { return strings.Replace(head, "%s", proto, 1) }
	for _, tc := range []struct {
		name, packet   string
		ported, hidden bool
	}{
		{"TCP", at(v4, "06") + ports, true, false},
		{"UDP", at(v4, "11") + ports, true, false},
		{"SCTP", at(v4, "84") + ports, true, false},
		{"ICMP", at(v4, "01") + ports, false, false},
		{"IPv4 options", strings.Replace(at(v4, "06"), "45", "46", 1) + "01010101" + ports, true, false},
		{"impossible header length", strings.Replace(at(v4, "06"), "45", "44", 1) + ports, false, true},
		{"first fragment", strings.Replace(at(v4, "11"), "0000 40", "2000 40", 1) + ports, true, false},
		{"later fragment", strings.Replace(at(v4, "11"), "0000 40", "20b9 40", 1) + ports, false, true},
		{"later fragment of ICMP", strings.Replace(at(v4, "01"), "0000 40", "20b9 40", 1) + ports, false, false},
		{"cut off", at(v4, "06") + "01bd", false, true},
		{"cut off in the options", strings.Replace(at(v4, "06"), "45", "4f", 1) + ports, false, true},
		{"IPv6 TCP", at(v6, "06") + ports, true, false},
		{"IPv6 options, routing, UDP", at(v6, "00") + "2b00010400000000" + "1100000000000000" + ports, true, false},
		{"IPv6 authenticated", at(v6, "33") + "0604" + strings.Repeat("00", 22) + ports, true, false},
		{"IPv6 first fragment", at(v6, "2c") + "1100000100000001" + ports, true, false},
		{"IPv6 later fragment", at(v6, "2c") + "1100 05b9 00000001" + ports, false, true},
		{"IPv6 fragment, then options", at(v6, "2c") + "3c00 05b8 00000001" + "1100010400000000" + ports, false, true},
		{"IPv6 chain without end", at(v6, "00") + strings.Repeat("0000010400000000", 9) + ports, false, true},
		{"IPv6 chain cut off", at(v6, "3c") + "0600", false, true},
		{"IPv6 encrypted", at(v6, "32") + ports, false, false},
	} {
		var k keys
		kind := "0800"
		if tc.packet[0] == '6' {
			kind = "86dd"
		}
		k.read(capture.LinkEthernet, unhex(t, "020000000008 020000000007 "+kind+tc.packet))
		if k.ported != tc.ported || k.hidden != tc.hidden || k.nm != 2 || k.na != 2 {
			t.Errorf("%s: ported %t, hidden %t, %d MACs, %d addresses", tc.name, k.ported, k.hidden, k.nm, k.na)
		}
		if k.ported && k.ports != [2]uint16{445, 54321} {
			t.Errorf("%s: ports %v", tc.name, k.ports)
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add(uint16(capture.LinkEthernet), ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 20))
	f.Add(uint16(capture.LinkRaw), bytes.Repeat([]byte{0x60}, 80))
	f.Add(uint16(capture.LinkSLL2), bytes.Repeat([]byte{0}, 90))
	f.Fuzz(func(t *testing.T, link uint16, data []byte) {
		var k keys
		k.read(capture.LinkType(link), data)
		if k.nm > len(k.macs) || k.na > len(k.addrs) || (k.ported && k.hidden) {
			t.Errorf("%+v", k)
		}
	})
}
