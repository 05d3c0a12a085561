package gateway

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/flow"
	"sekisho/netcontain"
)

// says has a device announce an address by ARP.
func says(p *Pipeline, at time.Time, mac flow.MAC, addr string) {
	p.inventory.Observe(&flow.ARP{
		Meta: flow.Meta{Time: at, SrcMAC: mac}, Op: 2, SenderMAC: mac, SenderIP: netip.MustParseAddr(addr),
	})
}

func TestAnAddressThatAHeldDeviceTookByItsOwnWordIsNotHeldWithIt(t *testing.T) {
	lan := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	liar, neighbour := flow.MAC{2, 0, 0, 0, 0, 1}, flow.MAC{2, 0, 0, 0, 0, 2}
	clock := start
	g := &Gateway{parts: Parts{Pipeline: NewPipeline(PipelineConfig{LAN: lan})}, now: func() time.Time { return clock }}
	p := g.parts.Pipeline
	says(p, clock, neighbour, "192.0.2.12")
	says(p, clock, liar, "192.0.2.11")
	clock = clock.Add(10 * time.Minute) // the neighbour has been quiet, and its claim is old
	says(p, clock, liar, "192.0.2.12")
	says(p, clock, liar, "192.0.2.13") // nobody's
	addrs := func() []netip.Addr {
		h := g.known(netcontain.Host{ID: "i", MACs: []netcontain.MAC{netcontain.MAC(liar)}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.12")}})
		slices.SortFunc(h.Addrs, netip.Addr.Compare)
		return slices.Compact(h.Addrs)
	}
	own := []netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.13")}
	if got := addrs(); !slices.Equal(got, own) {
		t.Errorf("held by %v, want %v", got, own)
	}
	clock = clock.Add(neighbourFor + time.Hour) // whoever had it has been gone for weeks
	says(p, clock, liar, "192.0.2.11")
	if got := addrs(); !slices.Contains(got, netip.MustParseAddr("192.0.2.12")) {
		t.Errorf("an address that nobody else uses any more: held by %v", got)
	}
}
