// Package netcontain says what containment is: which hosts are held, how far,
// and what an enforcer of that promises.
//
// The gateway decides a whole Policy and hands it to an Enforcer; mechanisms
// live in the packages below. It never imports firmware, never decides who is
// guilty, and can never hold the gateway itself or its uplink.
package netcontain

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// MAC is an IEEE 802 address.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(text []byte) error {
	hw, err := net.ParseMAC(string(text))
	if err != nil {
		return err
	}
	if len(hw) != len(m) {
		return fmt.Errorf("MAC %s: %d bytes, not %d", hw, len(hw), len(m))
	}
	*m = MAC(hw)
	return nil
}

// Level is how far a host is held back.
type Level uint8

// Levels in steps, because stopping too much hurts the business.
const (
	Watch   Level = iota // nothing blocked, everything recorded
	Limit                // no host-to-host; internet only to the allow list
	Isolate              // only DHCP, DNS and the help page of the gateway
)

func (l Level) String() string {
	switch l {
	case Watch:
		return "watch"
	case Limit:
		return "limit"
	case Isolate:
		return "isolate"
	}
	return "unknown"
}

// Mechanism is a way of holding a host (DESIGN section 4).
type Mechanism string

// Mechanisms. The sets hold every host; the others come on top, where the
// network allows.
const (
	BySets    Mechanism = "mac"     // sets by MAC and address, between ports and between networks
	ByVLAN    Mechanism = "vlan"    // the host's own ports are in the quarantine VLAN
	BySegment Mechanism = "segment" // ARP and NDP, for neighbours that the bridge never sees
	ByWiFi    Mechanism = "wifi"    // the access point refuses it
)

// Host is one device to be held at a level. All MACs and addresses of the
// device are given; addresses alone identify a host that has no MAC here.
type Host struct {
	ID    string // opaque to netcontain, at most MaxID bytes
	MACs  []MAC
	Addrs []netip.Addr
	Level Level

	// Ports are bridge ports that this host has for itself: they are held
	// whole, so that neither a new address nor another host's broadcast
	// passes. netcontain/plan fills them from what the bridge has learnt.
	Ports []string

	// By are the mechanisms that hold the host beside the sets, which are never
	// named here. netcontain/plan chooses them.
	By []Mechanism
	// Shared are the bridge ports where BySegment acts: others are there too.
	Shared []string
}

// Policy is the whole desired state. The zero Policy holds nobody.
type Policy struct {
	Hosts    []Host
	Allow    []netip.Prefix // what Limit may still reach on the internet
	Lockdown bool           // WAN cut, ports kept apart, for everybody
}

// Enforcer makes the kernel agree with a Policy. Apply takes the whole state,
// as often as one likes, commits it in one batch, and cuts connections that
// the new state forbids. Observed reads back what the kernel holds now.
type Enforcer interface {
	Apply(ctx context.Context, p Policy) error
	Observed(ctx context.Context) (Policy, error)
}
