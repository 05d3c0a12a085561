package flow

import (
	"net/netip"
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

func TestASYNWhoseNumberIsItsTargetIsMarked(t *testing.T) {
	src, dst := netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("203.0.113.9")
	for seq, want := range map[uint32]bool{0xcb007109: true, 0xcb007108: false} {
		ip := flowtest.IP{Src: src, Dst: dst, Proto: 6}
		syn := flowtest.Segment{SrcPort: 4000, DstPort: 23, Seq: seq, Flags: FlagSYN}
		data := flowtest.Ether{Src: [6]byte{2}, Dst: [6]byte{4}}.Frame(ip.EtherType(), ip.Packet(syn.Bytes(nil)))
		var got []bool
		New(Config{}).Frame(&capture.Frame{Time: 1, Data: data, OrigLen: len(data), Link: capture.LinkEthernet}, func(ev Event) {
			if c, ok := ev.(*Conn); ok {
				got = append(got, c.SeqIsServer)
			}
		})
		if len(got) != 1 || got[0] != want {
			t.Errorf("sequence number %x: %v", seq, got)
		}
	}
}
