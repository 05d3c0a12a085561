package flow

import (
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	errDHCP       = &Error{"dhcp", "no DHCP message"}
	errDHCPOption = &Error{"dhcp", "option of the wrong length"}
)

// readDHCP reads one message with gopacket. That decoder (v1.1.19) slices by a
// hardware length that it does not check and panics above 227; the guard
// around all deep parsers turns that into one more malformed message.
func (d *deepDecoders) readDHCP(p []byte, e *DHCP) *Error {
	m := &d.dhcp
	if err := m.DecodeFromBytes(p, gopacket.NilDecodeFeedback); err != nil {
		return errDHCP
	}
	e.XID = m.Xid
	e.FromServer = m.Operation == layers.DHCPOpReply
	e.ClientIP, e.YourIP = addr4(m.ClientIP), addr4(m.YourClientIP)
	if m.HardwareType == layers.LinkTypeEthernet && len(m.ClientHWAddr) >= 6 {
		e.ClientMAC = MAC(m.ClientHWAddr[:6])
	}
	for i := range m.Options {
		if !e.option(m.Options[i].Type, m.Options[i].Data) {
			return errDHCPOption
		}
	}
	return nil
}

// addr4 is the zero Addr for what is no address or 0.0.0.0.
func addr4(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// option reads one option of RFC 2132 and says whether its length is right.
// A repeated option counts once: the first one.
func (e *DHCP) option(kind layers.DHCPOpt, data []byte) bool {
	switch kind {
	case layers.DHCPOptMessageType:
		if len(data) != 1 {
			return false
		}
		if e.Type == 0 {
			e.Type = data[0]
		}
	case layers.DHCPOptRequestIP:
		e.RequestedIP = addr4(data)
		return len(data) == 4
	case layers.DHCPOptServerID:
		e.ServerID = addr4(data)
		return len(data) == 4
	case layers.DHCPOptRouter:
		e.Routers = addrs4(e.Routers, data)
		return len(data)%4 == 0
	case layers.DHCPOptDNS:
		e.DNS = addrs4(e.DNS, data)
		return len(data)%4 == 0
	case layers.DHCPOptHostname:
		e.Hostname = printable(data)
	case 81: // RFC 4702: flags, two unused codes, name
		if e.Hostname == "" && len(data) > 3 {
			e.Hostname = fqdn(data[0], data[3:])
		}
	case layers.DHCPOptClassID:
		e.VendorClass = printable(data)
	case layers.DHCPOptClientID:
		if len(e.ClientID) == 0 {
			e.ClientID = append(e.ClientID, data...)
		}
	case layers.DHCPOptParamsRequest:
		e.Params = append(e.Params, data[:min(len(data), 255-min(len(e.Params), 255))]...)
	}
	return true
}

func addrs4(to []netip.Addr, data []byte) []netip.Addr {
	for ; len(data) >= 4 && len(to) < maxListed; data = data[4:] {
		to = append(to, netip.AddrFrom4([4]byte(data[:4])))
	}
	return to
}

// fqdn reads the name of option 81: wire form when bit E is set, else text.
func fqdn(flags byte, data []byte) string {
	if flags&4 == 0 {
		return printable(data)
	}
	var name []byte
	for len(data) > 0 && data[0] != 0 && int(data[0]) < len(data) {
		if len(name) > 0 {
			name = append(name, '.')
		}
		n := int(data[0])
		name = append(name, data[1:1+n]...)
		data = data[1+n:]
	}
	return printable(name)
}
