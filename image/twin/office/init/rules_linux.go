package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/image/twin/office"
)

// masquerade hides the office behind the address of the uplink. It is a table
// of the router's own, beside the gateway's.
func masquerade() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "router"})
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, office.WAN)
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}, &expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("masquerade: %w", err)
	}
	return nil
}

// flush is `nft flush ruleset`, and the router's own rule again.
func flush() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.FlushRuleset()
	return c.Flush()
}

// held reads how the kernel holds a host.
func held(mac string) (office.Held, error) {
	h := office.Held{PVID: map[string]uint16{}}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return h, err
	}
	macs, err := elements("isolate_mac")
	if err != nil {
		return h, err
	}
	ports, err := elements("isolate_port")
	if err != nil {
		return h, err
	}
	for _, set := range []string{"isolate_ip4", "isolate_ip6"} {
		addrs, err := elements(set)
		if err != nil {
			return h, err
		}
		for _, key := range addrs {
			h.Addrs = append(h.Addrs, net.IP(key).String())
		}
	}
	h.InSet = slices.ContainsFunc(macs, func(key []byte) bool { return bytes.HasPrefix(key, hw) })
	for _, key := range ports {
		h.Ports = append(h.Ports, string(bytes.TrimRight(key, "\x00")))
	}
	slices.Sort(h.Ports)
	all, err := vlans()
	for port, v := range all {
		h.PVID[port] = v.PVID
	}
	return h, err
}

// elements of a set of the gateway's bridge table; none when that is not there.
func elements(set string) ([][]byte, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	found, err := c.GetSetByName(&nftables.Table{Family: nftables.TableFamilyBridge, Name: "sekisho"}, set)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", set, err)
	}
	list, err := c.GetSetElements(found)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	var keys [][]byte
	for _, e := range list {
		keys = append(keys, e.Key)
	}
	return keys, err
}

// vlans is `bridge vlan show`.
func vlans() (map[string]office.PortVLANs, error) {
	list, err := netlink.BridgeVlanList()
	if err != nil {
		return nil, fmt.Errorf("list VLANs: %w", err)
	}
	out := map[string]office.PortVLANs{}
	for index, infos := range list {
		link, err := netlink.LinkByIndex(int(index))
		if err != nil {
			continue // it went away meanwhile
		}
		var v office.PortVLANs
		for _, i := range infos {
			if i.PortVID() {
				v.PVID = i.Vid
			}
			if i.EngressUntag() {
				v.Untagged = append(v.Untagged, i.Vid)
			} else {
				v.Tagged = append(v.Tagged, i.Vid)
			}
		}
		out[link.Attrs().Name] = v
	}
	return out, nil
}

// givesUp is when a hold that does not come back is not waited for any longer.
const givesUp = 20 * time.Second

// disturb does it, and waits until the host is held as it was before.
func disturb(d office.Disturbance) (office.Recovery, error) {
	before, err := held(d.MAC)
	if err != nil {
		return office.Recovery{}, err
	}
	if err := act(d); err != nil {
		return office.Recovery{}, fmt.Errorf("%s %s: %w", d.What, d.Port, err)
	}
	begun := time.Now()
	fmt.Println(begun.Format(time.RFC3339Nano), d.What, d.Port)
	var r office.Recovery
	for {
		r.Held, err = held(d.MAC)
		r.Took = time.Since(begun)
		if err == nil && same(before, r.Held, d) {
			fmt.Println(time.Now().Format(time.RFC3339Nano), "held as before")
			return r, nil
		}
		r.Broken = true
		if r.Took > givesUp {
			return r, fmt.Errorf("%s %s: before %+v, after %v %+v, %v", d.What, d.Port, before, givesUp, r.Held, err)
		}
		time.Sleep(2 * time.Millisecond) // the kernel tells nobody of elements
	}
}

// same says whether the host is held as before; a port that is away has no PVID.
func same(before, now office.Held, d office.Disturbance) bool {
	if before.InSet != now.InSet || !slices.Equal(before.Ports, now.Ports) {
		return false
	}
	for port, pvid := range before.PVID {
		if now.PVID[port] != pvid && (d.What != office.Unplug || port != d.Port) {
			return false
		}
	}
	return true
}

func act(d office.Disturbance) error {
	switch d.What {
	case office.Flush:
		return errors.Join(flush(), masquerade())
	case office.Rebuild:
		return rebuild()
	case office.Unplug:
		return unplug(d.Port)
	case office.Plug:
		return plug(d.Port)
	case office.Down:
		return set(d.Port, false)
	case office.Up:
		return set(d.Port, true)
	}
	return errors.New("there is no such disturbance")
}
