// Package plan chooses, for every held host, the mechanism that will hold it,
// and says honestly what that mechanism cannot do.
//
// The gateway calls Make before it applies a policy. It is pure: no kernel, no
// clock. It must never promise more than the mechanism keeps.
package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"sekisho/netcontain"
)

// Mechanism is a way of holding a host (DESIGN section 4).
type Mechanism string

// MAC is the only mechanism so far: bridge-family sets by MAC and address, and
// the whole port where the host has it for itself.
const MAC Mechanism = "mac"

// Text is one message in the two languages of the product.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja"`
}

// Network is what was observed: which port each MAC was last seen on (the
// bridge's forwarding table, see nft.Ports), and whose addresses may never be
// held.
type Network struct {
	Ports      map[netcontain.MAC]string
	NeverMACs  []netcontain.MAC
	NeverAddrs []netip.Addr
}

// Hold is the choice for one host.
type Hold struct {
	ID         string
	Mechanism  Mechanism
	Ports      []string // where it was seen, sorted
	Neighbours int      // other devices seen on these ports
	BestEffort bool     // Limits names what is not covered
	Limits     []Text
}

// Plan is a policy that an enforcer can take, and its explanation.
type Plan struct {
	Policy netcontain.Policy
	Holds  []Hold // by ID: one for each host of the policy, and for each that cannot be held
}

// Make fills in the ports that a host has for itself, takes out addresses that
// may never be held, and explains. A host of which nothing is left is not in the
// policy, only in Holds: an enforcer refuses a policy as a whole, and an
// attacker who sends from the uplink router's MAC must not free everybody else.
// A port known from previous stays while nothing newer is known of the host: a
// silent host is forgotten by the bridge after minutes, and must not get its
// port back.
func Make(p netcontain.Policy, n Network, previous Plan) Plan {
	nameless := withoutIdentity(p)
	p = p.Canonical()
	known := map[string][]string{}
	for _, h := range previous.Holds {
		known[h.ID] = h.Ports
	}
	held := map[netcontain.MAC]bool{}
	for _, h := range p.Hosts {
		for _, m := range h.MACs {
			// Behind the port with a router's MAC may be the router.
			held[m] = held[m] || h.Level >= netcontain.Limit && !slices.Contains(n.NeverMACs, m)
		}
	}
	out := Plan{Policy: netcontain.Policy{Allow: p.Allow, Lockdown: p.Lockdown}}
	for _, h := range p.Hosts {
		host, hold := makeHold(h, n, known[h.ID], held)
		if recognisable(host) {
			out.Policy.Hosts = append(out.Policy.Hosts, host)
		}
		out.Holds = append(out.Holds, hold)
	}
	out.Holds = append(out.Holds, nameless...)
	slices.SortFunc(out.Holds, func(a, b Hold) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func recognisable(h netcontain.Host) bool { return len(h.MACs)+len(h.Addrs)+len(h.Ports) > 0 }

// withoutIdentity explains hosts that were given nothing to recognise them by.
func withoutIdentity(p netcontain.Policy) []Hold {
	var out []Hold
	for _, h := range p.Hosts {
		if !recognisable(h) && h.Level != netcontain.Watch {
			out = append(out, Hold{ID: h.ID, Mechanism: MAC, BestEffort: true, Limits: []Text{{
				EN: "Neither a MAC nor an IP address of the device is known: it is not held. Pull its network cable.",
				JA: "この端末の MAC アドレスも IP アドレスも分からないため、遮断できていません。この端末の LAN ケーブルを抜いてください。",
			}}})
		}
	}
	return out
}

func makeHold(h netcontain.Host, n Network, known []string, held map[netcontain.MAC]bool) (netcontain.Host, Hold) {
	hold := Hold{ID: h.ID, Mechanism: MAC}
	h, claimed := withoutNever(h, n)
	if claimed > 0 && len(h.MACs)+len(h.Addrs) > 0 {
		hold.Limits = append(hold.Limits, Text{
			EN: fmt.Sprintf("The device used %d address(es) of the gateway or its uplink; it is held by its other addresses only.", claimed),
			JA: fmt.Sprintf("この端末はゲートウェイまたは上位ルーターのアドレスを %d 個使っていました。そのアドレスでは遮断できないため、ほかのアドレスで遮断しています。", claimed),
		})
	}
	for _, m := range h.MACs {
		if port := n.Ports[m]; port != "" && !slices.Contains(hold.Ports, port) {
			hold.Ports = append(hold.Ports, port)
		}
	}
	if len(hold.Ports) == 0 {
		hold.Ports = slices.Clone(known)
	}
	slices.Sort(hold.Ports)
	for _, port := range hold.Ports {
		others := neighbours(port, n, held)
		hold.Neighbours += others
		if others == 0 && h.Level >= netcontain.Limit {
			h.Ports = append(h.Ports, port)
		}
	}
	hold.explain(h)
	return h, hold
}

// withoutNever takes out what may not be held, and counts it. Nothing may be
// left.
func withoutNever(h netcontain.Host, n Network) (netcontain.Host, int) {
	c := h
	c.MACs = slices.DeleteFunc(slices.Clone(h.MACs), func(m netcontain.MAC) bool { return slices.Contains(n.NeverMACs, m) })
	c.Addrs = slices.DeleteFunc(slices.Clone(h.Addrs), func(a netip.Addr) bool { return slices.Contains(n.NeverAddrs, a) })
	return c, len(h.MACs) - len(c.MACs) + len(h.Addrs) - len(c.Addrs)
}

// neighbours counts devices on the port that are not held themselves.
func neighbours(port string, n Network, held map[netcontain.MAC]bool) int {
	count := 0
	for m, p := range n.Ports {
		if p == port && !held[m] {
			count++
		}
	}
	return count
}

func (h *Hold) explain(host netcontain.Host) {
	if host.Level == netcontain.Watch {
		return
	}
	if len(host.MACs)+len(host.Addrs) == 0 {
		h.BestEffort = true
		h.Limits = append(h.Limits, onlyNever(len(host.Ports) > 0))
		return
	}
	switch {
	case len(h.Ports) == 0:
		h.BestEffort = true
		h.Limits = append(h.Limits, Text{
			EN: "It is not known which port the device is on. It is held by its MAC and addresses; broadcasts of other devices may still reach it, and a device that changes both MAC and address is not recognised.",
			JA: "この端末がどのポートにつながっているか分かりません。MAC アドレスと IP アドレスで遮断していますが、ほかの端末のブロードキャストは届くことがあり、両方のアドレスを変えられると見分けられません。",
		})
	case h.Neighbours > 0:
		h.BestEffort = true
		h.Limits = append(h.Limits, Text{
			EN: fmt.Sprintf("The device shares its port with %d other device(s), behind a switch that the gateway does not manage. Neighbours on the same switch are not protected: best effort. To be sure, pull the device's own cable.", h.Neighbours),
			JA: fmt.Sprintf("この端末は、ゲートウェイが管理できないスイッチの先で、ほかの %d 台とポートを共有しています。同じスイッチにつながる端末は保護できません（できる範囲の対応です）。確実に止めるには、この端末のケーブルを抜いてください。", h.Neighbours),
		})
	}
	if len(host.MACs) == 0 {
		h.BestEffort = true
		h.Limits = append(h.Limits, Text{
			EN: "The device's MAC is not known; it is held by its addresses only.",
			JA: "この端末の MAC アドレスが分からないため、IP アドレスだけで遮断しています。",
		})
	}
}

// onlyNever says what becomes of a device that uses nothing but addresses that
// must not be blocked.
func onlyNever(byPort bool) Text {
	if byPort {
		return Text{
			EN: "The device uses only addresses of the gateway or its uplink. It is held by its port alone; on another port it is free. To be sure, pull its network cable.",
			JA: "この端末は、ゲートウェイまたは上位ルーターのアドレスしか使っていません。ポートごと遮断していますが、ほかのポートに移されると止められません。確実に止めるには、この端末の LAN ケーブルを抜いてください。",
		}
	}
	return Text{
		EN: "The device uses only addresses of the gateway or its uplink. To block those would cut off everybody: it is not held. Pull its network cable.",
		JA: "この端末は、ゲートウェイまたは上位ルーターのアドレスしか使っていません。遮断すると全員の通信が止まるため、この端末は遮断できていません。この端末の LAN ケーブルを抜いてください。",
	}
}
