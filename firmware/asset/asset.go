// Package asset keeps the inventory of devices, learnt from events alone, and says
// which Ethernet addresses are one device (Kin).
//
// The gateway feeds it every event before the detectors see it; detect,
// incident, store and ui read snapshots. It never talks to the network, and a
// stranger's frames can never make it grow without bound.
package asset

import (
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// ID names a device for as long as the product knows it: "mac:02:00:…" for a
// device on a network we see the Ethernet addresses of, "ip:192.0.2.1" when
// only an address is known.
type ID string

// Asset is a snapshot of what is known of one device.
type Asset struct {
	ID        ID           `json:"id"`
	MAC       flow.MAC     `json:"mac"`
	Addrs     []netip.Addr `json:"ips"`                 // most recently confirmed first, bounded
	Name      string       `json:"name,omitempty"`      // best name, see NameFrom
	NameFrom  string       `json:"name_from,omitempty"` // "owner", "dhcp", "mdns", "nbns", "llmnr"
	Vendor    string       `json:"vendor,omitempty"`    // IEEE registry
	RandomMAC bool         `json:"random_mac,omitempty"`
	Kind      Kind         `json:"kind"`
	Port      string       `json:"port,omitempty"`       // bridge port last seen on
	Moved     time.Time    `json:"moved,omitzero"`       // when it was last seen on another port than before
	MovedFrom string       `json:"moved_from,omitempty"` // that other port
	FirstSeen time.Time    `json:"first_seen"`
	LastSeen  time.Time    `json:"last_seen"`
	Gateway   bool         `json:"gateway,omitempty"`   // this appliance itself
	Router    bool         `json:"router,omitempty"`    // forwards for others
	Protected bool         `json:"protected,omitempty"` // marked by the owner
	Identity  Identity     `json:"identity,omitzero"`
	// Kin are other Ethernet addresses of the device, as of a moment: only what an
	// incident is about has them.
	Kin []Kin `json:"kin,omitempty"`
}

// Kind is a guess at what a device is.
type Kind string

// Kinds told apart by what a device asks for, offers and is named.
const (
	KindUnknown  Kind = "unknown"
	KindComputer Kind = "computer"
	KindPhone    Kind = "phone"
	KindPrinter  Kind = "printer"
	KindServer   Kind = "server"
	KindNetwork  Kind = "network"
	KindIoT      Kind = "iot"
)
