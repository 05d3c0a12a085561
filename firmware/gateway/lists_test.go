package gateway

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/ioc"
)

// TestListedAddressIsFoundInTheWholePipeline goes from a list file to a finding.
func TestListedAddressIsFoundInTheWholePipeline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own.txt")
	text := "203.0.113.7\n"
	for i := range 100 {
		text += fmt.Sprintf("host%d.bad.example\n", i)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	keeper, err := ioc.NewKeeper(ioc.Config{Dir: t.TempDir(), Sources: []ioc.Source{{Name: "own", File: path}}})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPipeline(PipelineConfig{Indicators: indicators(keeper)})
	call := func(to string) (found []detect.Finding) {
		frames := callFrames(netip.MustParseAddr(to))
		for i := range frames {
			found = append(found, p.Frame(&frames[i])...)
		}
		return found
	}
	if found := call("203.0.113.8"); len(found) != 0 {
		t.Errorf("another address: %+v", found)
	}
	found := call("203.0.113.7")
	if len(found) == 0 || found[0].Detector != "ioc_match" || !strings.Contains(found[0].Explain.EN, "own") {
		t.Fatalf("findings %+v", found)
	}
}

// callFrames is one connection of the infected host that is answered.
func callFrames(to netip.Addr) []capture.Frame {
	port := uint16(20000 + int(to.As4()[3]))
	there, back := flowtest.IP{Src: infectIP, Dst: to, Proto: 6}, flowtest.IP{Src: to, Dst: infectIP, Proto: 6}
	syn := flowtest.Segment{SrcPort: port, DstPort: 443, Seq: 1, Flags: flow.FlagSYN}
	ack := flowtest.Segment{SrcPort: 443, DstPort: port, Seq: 9, Ack: 2, Flags: flow.FlagSYN | flow.FlagACK}
	s := frameScript{at: start}
	s.send(flowtest.Ether{Src: infected, Dst: neighbourM}.Frame(there.EtherType(), there.Packet(syn.Bytes(nil))), time.Millisecond)
	s.send(flowtest.Ether{Src: neighbourM, Dst: infected}.Frame(back.EtherType(), back.Packet(ack.Bytes(nil))), time.Millisecond)
	return s.frames
}
