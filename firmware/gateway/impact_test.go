package gateway

import (
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
)

// served makes a pipeline in which desks 10 to 13 work with the file server 1.
func served(t *testing.T) (*Pipeline, asset.Asset, time.Time) {
	t.Helper()
	p := NewPipeline(PipelineConfig{})
	mac := func(n byte) flow.MAC { return flow.MAC{2, 0, 0, 0, 0, n} }
	ip := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 10, n}) }
	now := start
	for range 2 {
		for n := byte(10); n < 14; n++ {
			e := flow.Conn{
				Meta: flow.Meta{Time: now, SrcMAC: mac(n), DstMAC: mac(1)}, State: flow.ConnEstablished, Proto: 6, RecvPackets: 4,
				Client: netip.AddrPortFrom(ip(n), 50000), Server: netip.AddrPortFrom(ip(1), 445), ClientMAC: mac(n), ServerMAC: mac(1),
			}
			p.emit(&e)
			e.State, e.Sent, e.Received = flow.ConnClosed, 600, 900
			p.emit(&e)
		}
		now = now.Add(2 * time.Minute)
	}
	p.inventory.SetName("mac:02:00:00:00:00:0d", "経理PC-2")
	a, ok := p.inventory.ByMAC(mac(1))
	if !ok {
		t.Fatal("the server is not known")
	}
	return p, a, now
}

func TestThePipelineKnowsWhatAnIsolationStops(t *testing.T) {
	p, a, now := served(t)
	got := p.Impact(a, now)
	if len(got.Stops) != 1 || got.Clients != 4 || got.Stops[0].Service != "files" {
		t.Fatalf("%+v", got)
	}
	if name := got.Stops[0].Names[0]; name != "192.168.10.10" {
		t.Errorf("equal times: first by ID, but %q", name)
	}
	found := false
	for _, name := range got.Stops[0].Names {
		found = found || name == "経理PC-2"
	}
	if !found {
		t.Errorf("the owner's names are not used: %v", got.Stops[0].Names)
	}
}

func TestThePanelsLineIsKeptForAMomentAndIsOfTheDeviceShown(t *testing.T) {
	p, a, now := served(t)
	g := &Gateway{cfg: Config{Lang: "ja"}, parts: Parts{Pipeline: p}}
	if got := g.impactOf(a, now); got != "影響:共有ファイル4台" {
		t.Errorf("%q", got)
	}
	other, _ := p.inventory.ByMAC(flow.MAC{2, 0, 0, 0, 0, 10})
	if got := g.impactOf(other, now); got != "" {
		t.Errorf("a desk that serves nobody: %q", got)
	}
	g.impactOf(a, now)
	p.uses.Forget(a.MAC)
	if got := g.impactOf(a, now.Add(impactShown-time.Second)); got == "" {
		t.Error("worked out again at once")
	}
	if got := g.impactOf(a, now.Add(impactShown)); got != "" {
		t.Errorf("never worked out again: %q", got)
	}
	g.impactOf(other, now)
	if got := g.impactOf(a, now.Add(-time.Hour)); got != "" { // the clock was set back
		t.Errorf("%q", got)
	}
}

func TestThePageCountsTheOtherAddressesOfADeviceAsThePanelDoes(t *testing.T) {
	p, a, now := served(t)
	desk, _ := p.inventory.ByMAC(flow.MAC{2, 0, 0, 0, 0, 10})
	i := incident.Incident{ID: "x", State: incident.Open, Action: incident.Suggest, Asset: desk}
	g := &Gateway{cfg: Config{Lang: "ja"}, parts: Parts{Pipeline: p}, now: func() time.Time { return now }}
	clients := func() int {
		g.view.Store(&View{Incidents: []incident.Incident{i}})
		preview, ok := web{Gateway: g}.Impact(desk.ID)
		if !ok {
			t.Fatal("unknown")
		}
		return preview.Clients
	}
	if got := clients(); got != 0 {
		t.Errorf("alone it serves %d", got)
	}
	i.Asset.Kin = []asset.Kin{{ID: a.ID, MAC: a.MAC, Follows: true}}
	if got := clients(); got != 3 { // four use the server, and one of them is the device itself
		t.Errorf("with the server as its other address it serves %d", got)
	}
	if got := g.impactOf(i.Asset, now); got != "影響:共有ファイル3台" {
		t.Errorf("the panel says %q", got)
	}
	i.State = incident.Closed
	if got := clients(); got != 0 {
		t.Errorf("after the end it serves %d", got)
	}
}
