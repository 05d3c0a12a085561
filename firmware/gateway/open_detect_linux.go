package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/decoy"
	"sekisho/firmware/flow"
	"sekisho/firmware/ioc"
)

// lists opens the indicator lists. Without them the gateway does its work all
// the same.
func (o *opening) lists(p *Parts) error {
	var sources []ioc.Source
	for _, l := range o.config.Indicators {
		sources = append(sources, ioc.Source{
			Name: l.Name, URL: l.URL, File: l.File, Format: ioc.Format(l.Format), Trust: l.Trust,
			Refresh: time.Duration(l.Refresh), MaxAge: time.Duration(l.MaxAge),
		})
	}
	if len(sources) == 0 {
		return nil
	}
	keeper, err := ioc.NewKeeper(ioc.Config{
		Dir: filepath.Join(o.config.Storage.State, "indicators"), Sources: sources, Now: time.Now, Log: o.log.With("component", "ioc"),
	})
	if err != nil {
		p.Services["indicators"] = broken{err}
		return nil
	}
	o.known, p.Lists = keeper, keeper
	p.Services["indicators"] = keeper
	return nil
}

// decoys builds the keeper and the pipeline that feeds it.
func (o *opening) decoys(p *Parts) error {
	n := o.config.Network
	pc := PipelineConfig{
		LAN: n.Inside(), Self: o.network.Self, SelfAddrs: o.network.Addrs,
		DHCPServers: n.DHCPServers, // besides the gateway: an answer in its name that it did not send is an impostor's
		PortName:    o.network.PortName,
		SharedPort:  func(port string) bool { return slices.Contains(n.WiFi, port) },
		DecoyNames:  func() []string { return o.config.Detect.DecoyNames },
		Indicators:  indicators(o.known),
		Learn:       time.Duration(o.config.Detect.Learn),
		Suspect:     p.Suspects.has,
		Zone:        time.Local,
		Nowhere:     o.nowhere,
	}
	if lan, ok := firstIPv4(n.LAN); ok && o.config.Decoy.Count > 0 {
		exclude := []decoy.Range{}
		for _, a := range o.network.Addrs {
			exclude = append(exclude, decoy.One(a))
		}
		if n.DHCPPool.First.IsValid() {
			exclude = append(exclude, decoy.Range{From: n.DHCPPool.First, To: n.DHCPPool.Last})
		}
		keeper, err := decoy.New(decoy.Config{
			Link: n.Bridge, LAN: lan, Exclude: exclude, Count: o.config.Decoy.Count,
			Seed: []byte(p.Ledger.Key().Public()), Log: o.log.With("component", "decoy"),
		})
		if err != nil {
			return fmt.Errorf("decoy: %w", err)
		}
		pc.Decoys, pc.Seen, o.held = keeper.Addresses, keeper.Seen, keeper.Addresses
		p.Services["decoy"] = keeper
	}
	p.Pipeline = NewPipeline(pc)
	o.recall(p.Pipeline)
	o.wire.devices = p.Pipeline.inventory.All
	known, err := p.Store.Assets(context.Background())
	if err != nil {
		return fmt.Errorf("restore devices: %w", err)
	}
	p.Pipeline.inventory.Restore(withProtected(known, protected(o.config.Policy.Protected), time.Now()))
	return nil
}

// protected reads the settings' list, which config has validated.
func protected(list []string) (macs []flow.MAC) {
	for _, text := range list {
		if hw, err := net.ParseMAC(text); err == nil && len(hw) == len(flow.MAC{}) {
			macs = append(macs, flow.MAC(hw))
		}
	}
	return macs
}

func ids(macs []flow.MAC) (out []asset.ID) {
	for _, mac := range macs {
		out = append(out, asset.ID("mac:"+mac.String()))
	}
	return out
}

// withProtected marks the devices that the settings protect, and adds those
// that were never seen: they have to be protected from their first frame on.
func withProtected(known []asset.Asset, protected []flow.MAC, now time.Time) []asset.Asset {
	for _, mac := range protected {
		i := slices.IndexFunc(known, func(a asset.Asset) bool { return a.ID == asset.ID("mac:"+mac.String()) })
		if i < 0 {
			known = append(known, asset.Asset{
				ID: asset.ID("mac:" + mac.String()), MAC: mac, Vendor: asset.Maker(mac), RandomMAC: mac.IsLocal(),
				Kind: asset.KindUnknown, FirstSeen: now,
			})
			i = len(known) - 1
		}
		known[i].Protected = true
	}
	return known
}

func firstIPv4(prefixes []netip.Prefix) (netip.Prefix, bool) {
	for _, p := range prefixes {
		if p.Addr().Is4() {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
