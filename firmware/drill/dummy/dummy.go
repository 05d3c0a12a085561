// Package dummy makes the device of a drill: a host in a network namespace of its
// own, behind a port of the LAN bridge, that behaves like one with a worm.
//
// Only the gateway makes one, one at a time. What it does is real on the wire, and
// must never reach a device of the office: it takes an address that nobody
// answers for (RFC 5227), and calls addresses that are nobody's (TEST-NET-1 of RFC
// 5737), at the Ethernet address of a second port that belongs to the drill too and
// that the bridge knows for good. What others get to hear is a handful of ARP
// broadcasts. The namespace dies with the process, and both ports with it.
package dummy

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"sekisho/firmware/decoy"
)

// The bridge's ports of a drill.
const (
	Port     = "drill0" // where the device is plugged in
	sinkPort = "drill1" // where its calls end
)

// Ports are the bridge's ports that exist while a device does.
func Ports() []string { return []string{Port, sinkPort} }

// prefix begins the Ethernet addresses of drills: locally administered, "SK" in
// the middle. The rest is drawn for each drill, so that no memory of one is taken
// for the next. It marks nothing by itself: anybody can send it.
var prefix = [3]byte{0x02, 0x53, 0x4b}

// portMAC is the bridge's end of each cable. A bridge takes the lowest address of
// its ports for its own unless it was given one: ours must never be the lowest.
func portMAC(n int) [6]byte { return [6]byte{0xfe, 0x53, 0x4b, 0x44, 0x52, byte(n)} }

// Config says where the device is made. Bridge, LAN, Now and Log are required.
type Config struct {
	Bridge string
	LAN    netip.Prefix // IPv4, of the office
	VLAN   uint16       // the office's, untagged, on a bridge that filters VLANs; 0: it does not
	// Refuse says of an address that it is not to be tried: it is known, held as a
	// decoy, or leased by somebody. nil: try any.
	Refuse func(netip.Addr) bool
	// ProbeInterval and ProbeWait are as in decoy.Config.
	ProbeInterval, ProbeWait time.Duration
	// Pace is the time between two calls; 0: 500 ms. A worm is faster, but a small
	// gateway has an office to serve.
	Pace time.Duration
	Now  func() time.Time
	Log  *slog.Logger
}

func (c Config) filled() (Config, error) {
	switch {
	case c.Bridge == "":
		return c, errors.New("no bridge given")
	case !c.LAN.Addr().Is4() || c.LAN.Bits() > 29:
		return c, errors.New("no IPv4 network with room for a device")
	case c.Now == nil || c.Log == nil:
		return c, errors.New("no clock or no logger given")
	}
	if c.Refuse == nil {
		c.Refuse = func(netip.Addr) bool { return false }
	}
	if c.ProbeInterval <= 0 {
		c.ProbeInterval = time.Second
	}
	if c.ProbeWait <= 0 {
		c.ProbeWait = 2 * time.Second
	}
	if c.Pace <= 0 {
		c.Pace = 500 * time.Millisecond
	}
	return c, nil
}

// service is what the device calls: SMB, by which the worms of the last twenty
// years came, and which no office calls beyond its own network.
const service = 445

// targets is how many addresses it calls, again and again.
const targets = 64

// testNet is TEST-NET-1 of RFC 5737, section 3: nobody has these addresses.
var testNet = netip.MustParsePrefix("192.0.2.0/24")

// target is the n-th address that the device calls.
func target(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + n%targets)})
}

// tries is how many addresses are asked for at most: each costs the office three
// broadcasts.
const tries = 4

// candidates are addresses to ask for, one in each quarter of the network, so that
// a range that somebody else leases from does not take all of them.
func candidates(lan netip.Prefix, mac [6]byte, refuse func(netip.Addr) bool) []netip.Addr {
	return decoy.Choose(lan, tries, mac[:], refuse)
}

// announcement is the ARP announcement of RFC 5227, section 2.3.
func announcement(mac [6]byte, a netip.Addr) []byte {
	f := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	f = append(f, mac[:]...)
	f = binary.BigEndian.AppendUint16(f, 0x0806)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // a request, Ethernet and IPv4
	f = append(f, mac[:]...)
	f = append(f, a.AsSlice()...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, a.AsSlice()...)
}
