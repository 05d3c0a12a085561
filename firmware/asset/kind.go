package asset

import (
	"bytes"
	"strings"

	"sekisho/firmware/flow"
)

// How much a sign of the kind is worth. Equal or better replaces.
const (
	rankPort     = 1 + iota // a port that it serves
	rankRestored            // what was known before a restart
	rankHostname            // a name that its maker gave
	rankDHCP                // what its DHCP client is
	rankService             // what it advertises
	rankServed              // seen doing it
	rankCertain
)

func (v *Inventory) kind(d *entry, k Kind, rank int) {
	if d == nil || rank < d.kindRank || k == d.Kind {
		return
	}
	d.Kind, d.kindRank = k, rank
	v.mark(d)
}

// Parameter request lists (option 55) as Apple's clients send them; the
// desktop system asks for NetBIOS servers (44, 46) too.
var (
	appleMobile  = []byte{1, 121, 3, 6, 15}
	netbiosNames = []byte{44}
)

func (v *Inventory) kindByDHCP(d *entry, e *flow.DHCP) {
	class := strings.ToLower(e.VendorClass)
	switch {
	case strings.HasPrefix(class, "msft "):
		v.kind(d, KindComputer, rankDHCP)
	case strings.HasPrefix(class, "android-dhcp"):
		v.kind(d, KindPhone, rankDHCP)
	case strings.HasPrefix(class, "udhcp"), strings.HasPrefix(class, "esp"):
		v.kind(d, KindIoT, rankDHCP)
	case strings.Contains(class, "printer"), strings.Contains(class, "jetdirect"):
		v.kind(d, KindPrinter, rankDHCP)
	case class == "" && bytes.HasPrefix(e.Params, appleMobile):
		if bytes.Contains(e.Params, netbiosNames) {
			v.kind(d, KindComputer, rankDHCP)
			return
		}
		v.kind(d, KindPhone, rankDHCP)
	}
}

var kindOfService = []struct {
	label string
	kind  Kind
}{
	{"_ipp.", KindPrinter}, {"_ipps.", KindPrinter}, {"_printer.", KindPrinter}, {"_pdl-datastream.", KindPrinter},
	{"_apple-mobdev2.", KindPhone}, {"_googlecast.", KindIoT}, {"_hap.", KindIoT}, {"_matter.", KindIoT},
	{"_axis-video.", KindIoT}, {"_workstation.", KindComputer}, {"_rfb.", KindComputer},
}

// kindByName reads the service types that mDNS answers advertise (RFC 6763).
func (v *Inventory) kindByName(d *entry, name string) {
	for _, s := range kindOfService {
		if strings.Contains(name, s.label) {
			v.kind(d, s.kind, rankService)
			return
		}
	}
}

func (v *Inventory) kindByService(d *entry, e *flow.Conn) {
	if e.Proto != 6 {
		return
	}
	switch e.Server.Port() {
	case 515, 631, 9100:
		v.kind(d, KindPrinter, rankPort)
	case 25, 88, 389, 1433, 3306, 5432:
		v.kind(d, KindServer, rankPort)
	case 554, 1883:
		v.kind(d, KindIoT, rankPort)
	case 135, 139, 445, 3389:
		if d != nil && d.Kind == KindUnknown {
			v.kind(d, KindComputer, rankPort)
		}
	}
}

func (v *Inventory) kindByHostname(d *entry, name string) {
	n := strings.ToLower(name)
	switch {
	case strings.Contains(n, "iphone"), strings.Contains(n, "ipad"), strings.HasPrefix(n, "android"), strings.HasPrefix(n, "galaxy"):
		v.kind(d, KindPhone, rankHostname)
	case strings.HasPrefix(n, "desktop-"), strings.HasPrefix(n, "laptop-"), strings.Contains(n, "macbook"):
		v.kind(d, KindComputer, rankHostname)
	}
}
