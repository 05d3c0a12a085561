// Package office is the whole gateway in the twin: the real `sekisho run` on
// Debian's arm64 kernel, its ports wired to hosts in namespaces outside, its
// button and lamp on GPIO lines. The package itself is what the guest's program
// (init) and the tests outside agree on; the tests are in it too.
//
// `make test-vm` and `make test-twin` run it. It must never be imported by
// anything of the appliance.
package office

import (
	"fmt"
	"net"
	"time"
)

// Hosts are behind the ports lan1 to lan4, the internet behind wan0.
const Hosts = 4

// Names of the guest's interfaces, and lines of the button, the lamp and the
// screen's bus.
const (
	Bridge = "br0"
	WAN    = "wan0"

	Button = 5
	Red    = 0
	Green  = 1
	Blue   = 2
	SDA    = 6
	SCL    = 7
)

// ScreenBus is the number of the bus in the guest.
const ScreenBus = 0

// Addresses of the gateway.
const (
	BridgeMAC = "02:00:00:00:00:fe"
	Bridge4   = "192.168.77.1/24"
	Bridge6   = "2001:db8:77::1/64"
	WAN4      = "198.51.100.2/24"
	WAN6      = "2001:db8:2::2/64"
	Uplink4   = "198.51.100.1"
	Uplink6   = "2001:db8:2::1"
)

// Files in the guest: programs and settings come with the initramfs, Data is
// the disk.
const (
	Program  = "/usr/bin/sekisho"
	Settings = "/etc/sekisho.toml"
	Data     = "/disk"
)

// Page is where the gateway serves its web page in the guest.
const Page = "127.0.0.1:8080"

// PortName is the port of a host; host 0 is the internet.
func PortName(host int) string {
	if host == 0 {
		return WAN
	}
	return fmt.Sprintf("lan%d", host)
}

// PortMAC is by what the guest finds the interface of that port.
func PortMAC(host int) string {
	return net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(host)}.String()
}

// Operations of the guest, for twin.Machine.Call.
const (
	OpHTTP    = "http"    // HTTPRequest -> HTTPAnswer
	OpDisturb = "disturb" // Disturbance -> Recovery
	OpGateway = "gateway" // "kill", "stop", "start"
	OpVLANs   = "vlans"   // -> map[string]PortVLANs
	OpHeld    = "held"    // a MAC -> Held
	OpSync    = "sync"    // everything is on the disk
)

// HTTPRequest is for the gateway's page; Body is JSON, if any.
type HTTPRequest struct{ Method, Path, Body string }

// HTTPAnswer is what it said.
type HTTPAnswer struct {
	Status int
	Body   string
}

// What somebody else does to the gateway's network.
const (
	Flush   = "flush"   // nft flush ruleset
	Rebuild = "rebuild" // the bridge is deleted and made anew, as networkd does
	Unplug  = "unplug"  // the port's interface goes away, as a USB one does
	Plug    = "plug"    // and comes back
	Down    = "down"    // the port loses its link
	Up      = "up"      // and has it again
)

// Disturbance says what is done, to which port where that matters, and which
// held host is looked at then.
type Disturbance struct {
	What string
	Port string
	MAC  string
}

// Recovery is how the host's hold came back: how it was before, in the guest's
// own time from the end of the disturbance. Broken says that it was seen gone
// in between.
type Recovery struct {
	Broken bool
	Took   time.Duration
	Held   Held
}

// Held is how the kernel holds a host: read from its sets and its bridge, not
// by the code of the gateway.
type Held struct {
	InSet bool              // its MAC is in the set of the isolated
	Ports []string          // ports that are held whole
	Addrs []string          // addresses that are held, of anybody
	PVID  map[string]uint16 // of every port of the bridge
}

// PortVLANs is a line of `bridge vlan show`.
type PortVLANs struct {
	PVID     uint16
	Untagged []uint16
	Tagged   []uint16
}
