// Package probe proves from the wire that a host is isolated: it watches what
// leaves every other port, and what still comes in at the host's own, while it
// makes the host speak, so that silence is not taken for proof.
//
// The gateway starts a Watch before it applies a policy, so that the leak
// window is measured, and asks for the proof afterwards. A probe must never
// change the network: it only listens, and asks the host for its address in
// the gateway's name (ARP and NDP).
//
// Frames are recognised by source MAC and source address (IPv4, IPv6, ARP
// sender). What the gateway routes has another MAC, and what its own NAT has
// rewritten another address: on the uplink, masqueraded IPv4 of the host cannot
// be recognised. Of that path the enforcer's inet rules and the deleted
// conntrack entries are the only guarantee. The uplink is watched for the rest,
// and named apart (Result.Routed).
package probe

import (
	"net/netip"
	"time"

	"sekisho/netcontain"
)

// Config says what is watched.
type Config struct {
	Ports    []string // every bridge port and the WAN device; HostPort may be among them
	HostPort string   // where the host is; empty when not known
	Bridge   string   // the LAN bridge
	Host     netcontain.Host

	// Voices are what the host is asked from: the bridge, and the device of the
	// quarantine VLAN, which need not be there yet.
	Voices []Voice

	// Shared says that others are behind HostPort, or that it is not known
	// (plan.Hold.BestEffort): then the best verdict is BestEffort.
	Shared bool

	Settle time.Duration // how long nothing may leak; 300 ms when zero
	Limit  time.Duration // when Prove gives up; 3 s when zero
}

// Voice is a device of the gateway and what it is called there.
type Voice struct {
	Device string
	MAC    netcontain.MAC
	Addrs  []netip.Addr // IPv4 for ARP, link-local IPv6 for NDP
}

// Verdict is what the wire says.
type Verdict string

// The three verdicts.
const (
	Proven      Verdict = "proven"       // the host spoke and nothing of it left
	BestEffort  Verdict = "best_effort"  // nothing left, but the host did not speak or shares its port
	NotIsolated Verdict = "not_isolated" // frames of the host left after the time given
)

// Text is one message in the two languages of the product.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja"`
}

// Result is one proof.
type Result struct {
	Verdict        Verdict
	FramesFromHost uint64        // came in at the host's own port since
	FramesLeaked   uint64        // of the host, left by any other port since
	LastLeak       time.Time     // kernel time of the last leaked frame since the Watch began, zero when none
	LeakPorts      []string      // where, sorted
	Drops          uint64        // frames that the probe itself lost: then nothing is proven
	Watched        []string      // ports of the bridge, sorted
	Routed         []string      // watched, too, but there masqueraded IPv4 of the host cannot be recognised; sorted
	Took           time.Duration // how long Prove needed
	Text           Text
}
