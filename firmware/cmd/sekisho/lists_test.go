package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
)

func TestAListOfIndicatorsIsAppliedToAReplay(t *testing.T) {
	ip := flowtest.IP{Src: netip.MustParseAddr("192.168.77.66"), Dst: netip.MustParseAddr("203.0.113.7"), Proto: 6}
	syn := flowtest.Segment{SrcPort: 40000, DstPort: 443, Seq: 1, Flags: flow.FlagSYN}
	data := flowtest.Ether{Src: [6]byte{2, 0, 0, 0, 0, 1}, Dst: [6]byte{2, 0, 0, 0, 0, 2}}.Frame(ip.EtherType(), ip.Packet(syn.Bytes(nil)))
	file := record(t, "call.pcapng", []capture.Frame{{Time: begin.UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet}})
	list := func(text string) string {
		path := filepath.Join(t.TempDir(), "vendor.txt")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if s := sekisho(t, "replay", "--json", file); s.code != 0 || strings.Contains(s.out, "ioc_match") {
		t.Errorf("without a list: %+v", s)
	}
	if s := sekisho(t, "replay", "--json", "--indicators", list("203.0.113.7 # example\n"), file); s.code != 0 || !strings.Contains(s.out, `"detector":"ioc_match"`) || !strings.Contains(s.out, "vendor.txt") {
		t.Errorf("with a list: %+v", s)
	}
	for _, broken := range []string{list("<html>\n<body>\nnot found\n"), filepath.Join(t.TempDir(), "none.txt")} {
		if s := sekisho(t, "replay", "--indicators", broken, file); s.code != 2 || !strings.Contains(s.err, filepath.Base(broken)) {
			t.Errorf("%s: %+v", broken, s)
		}
	}
}
