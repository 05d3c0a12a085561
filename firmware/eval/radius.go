package eval

import (
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// Contacts remembers who spoke to whom of their own accord: the first packet
// of a connection or of a pair of datagrams, an echo request, and the question
// who has an address. Answers and groups are no contacts. It grows with the
// capture, which a scoring may.
type Contacts struct {
	list []contact
}

type contact struct {
	at   time.Time
	mac  flow.MAC // of ARP alone: behind a router many share one
	from netip.Addr
	to   netip.Addr
}

// Observe takes every event of a capture.
func (c *Contacts) Observe(ev flow.Event) {
	switch ev := ev.(type) {
	case *flow.Conn:
		if ev.State == ev.Prev && !ev.Multicast && !ev.Server.Addr().IsMulticast() {
			c.list = append(c.list, contact{at: ev.Start, from: ev.Client.Addr(), to: ev.Server.Addr()})
		}
	case *flow.ICMP:
		if echo := !ev.V6 && ev.Type == 8 || ev.V6 && ev.Type == 128; echo && !ev.Dst.IsMulticast() {
			c.list = append(c.list, contact{at: ev.Time, from: ev.Src, to: ev.Dst})
		}
	case *flow.ARP:
		// An address that asks for itself announces, and one without an
		// address looks whether its own is free (RFC 5227): no contacts.
		if ev.Op == 1 && ev.TargetIP != ev.SenderIP && !ev.SenderIP.IsUnspecified() {
			c.list = append(c.list, contact{at: ev.Time, mac: ev.SenderMAC, from: ev.SenderIP, to: ev.TargetIP})
		}
	}
}

// Radius counts the distinct peers that a device contacted from since until
// the moment of a finding, that one included. Of a finding about ARP only ARP
// questions count: whom the device talked to besides is no part of the scan.
func (c *Contacts) Radius(f detect.Finding, since time.Time) int {
	h, until := f.Host, f.Time
	peers := map[netip.Addr]bool{}
	for _, k := range c.list {
		if f.Detector == "arp_scan" && k.mac.IsZero() {
			continue
		}
		own := k.from == h.IP || slices.Contains(h.IPs, k.from) || !k.mac.IsZero() && k.mac == h.MAC
		if own && !k.at.Before(since) && !k.at.After(until) {
			peers[k.to] = true
		}
	}
	return len(peers)
}
