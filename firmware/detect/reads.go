package detect

import "sekisho/firmware/flow"

// kinds is a set of event types.
type kinds uint32

const (
	onActivity kinds = 1 << iota
	onARP
	onBanner
	onConn
	onDHCP
	onDNS
	onHTTP
	onHTTPReply
	onICMP
	onIRC
	onKerberos
	onLDAP
	onLogin
	onNDP
	onOpaque
	onRPC
	onSMB
	onSSDP
	onTick
	onTLSCert
	onTLSHello
	onOther // types that nobody asks for by name

	kindCount = iota
)

// selective is a detector that has no use for events of other kinds: Observe
// would do nothing with them. A detector without it is handed every event.
type selective interface{ reads() kinds }

// kindOf is exactly one kind.
func kindOf(ev flow.Event) kinds {
	switch ev.(type) {
	case *flow.Activity:
		return onActivity
	case *flow.ARP:
		return onARP
	case *flow.Banner:
		return onBanner
	case *flow.Conn:
		return onConn
	case *flow.DHCP:
		return onDHCP
	case *flow.DNS:
		return onDNS
	case *flow.HTTP:
		return onHTTP
	case *flow.HTTPReply:
		return onHTTPReply
	case *flow.ICMP:
		return onICMP
	case *flow.IRC:
		return onIRC
	case *flow.Kerberos:
		return onKerberos
	case *flow.LDAP:
		return onLDAP
	case *flow.Login:
		return onLogin
	case *flow.NDP:
		return onNDP
	case *flow.Opaque:
		return onOpaque
	case *flow.RPC:
		return onRPC
	case *flow.SMB:
		return onSMB
	case *flow.SSDP:
		return onSSDP
	case *flow.Tick:
		return onTick
	case *flow.TLSCert:
		return onTLSCert
	case *flow.TLSHello:
		return onTLSHello
	}
	return onOther
}

// readers lists, for each kind by the number of its bit, who reads it, in the
// order of list.
func readers(list []Detector) [kindCount][]Detector {
	var by [kindCount][]Detector
	for _, d := range list {
		wants := ^kinds(0)
		if s, ok := d.(selective); ok {
			wants = s.reads()
		}
		for i := range by {
			if wants&(1<<i) != 0 {
				by[i] = append(by[i], d)
			}
		}
	}
	return by
}
