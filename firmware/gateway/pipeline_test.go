package gateway

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
)

// claims is a device that says, once a second, that an address is its own.
func claims(a netip.Addr, n int) (out []capture.Frame) {
	for i := range n {
		data := flowtest.Ether{Src: infected, Dst: [6]byte{255, 255, 255, 255, 255, 255}}.
			Frame(flow.EtherARP, flowtest.ARP(2, infected, a, [6]byte{}, infectIP))
		out = append(out, capture.Frame{Time: start.Add(time.Duration(i) * time.Second).UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet})
	}
	return out
}

// played feeds frames, and tells of other addresses before the one with that number.
func played(t *testing.T, frames []capture.Frame, before int, now ...netip.Addr) (found []detect.Finding, text string) {
	t.Helper()
	p := NewPipeline(PipelineConfig{
		LAN: []netip.Prefix{netip.MustParsePrefix("192.168.77.0/24")}, Self: []flow.MAC{{2, 0, 0, 0, 0, 0xfe}}, SelfAddrs: []netip.Addr{gatewayIP},
	})
	for n := range frames {
		if n == before {
			p.Readdress(now)
		}
		found = append(found, slices.Clone(p.TakeUp())...)
		found = append(found, slices.Clone(p.Frame(&frames[n]))...)
	}
	b, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	return found, string(b)
}

func TestOtherAddressesOfTheGatewayAreAnEventInTheirPlace(t *testing.T) {
	spoofs := func(found []detect.Finding) (first time.Time, n int) {
		for _, f := range found {
			if f.Detector == "arp_spoof" {
				if n++; n == 1 {
					first = f.Time
				}
			}
		}
		return first, n
	}
	later := netip.MustParseAddr("192.168.77.9")
	frames := claims(later, 20)
	if found, _ := played(t, frames, -1); len(found) > 0 {
		if _, n := spoofs(found); n > 0 {
			t.Errorf("nobody's address is claimed, and found is %v", found)
		}
	}
	found, text := played(t, frames, 10, later)
	first, n := spoofs(found)
	if n == 0 || first.Before(start.Add(10*time.Second)) {
		t.Errorf("%d findings, the first at %s", n, first)
	}
	if _, again := played(t, frames, 10, later); again != text {
		t.Error("the same frames, told at the same place, lead to something else")
	}
}
