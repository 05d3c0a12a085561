package detect

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sekisho/firmware/flow"
)

// policy tells of services that an office should not run, each once for a
// device and cause. They are doors, no intruders: low, but for remote control
// that is open to the internet.
//
//   - Telnet (RFC 4949: passwords in the clear; the door of Mirai, USENIX
//     Security 2017), answered on the LAN or used outward.
//   - SMB 1, agreed to in a negotiation (MS-SMB2 section 1.7 on why not;
//     CVE-2017-0144).
//   - Remote control accepted from outside: the SYN-ACK is proof that a port is
//     forwarded. Medium: ransomware enters offices by these (CISA AA23-061A).
//   - An open resolver (RFC 5358): names of unrelated domains resolved for a
//     stranger.
//   - A hole asked for by UPnP (WANIPConnection:1, AddPortMapping); medium
//     towards remote control.
//
// Limits. A tunnel or a relay service of a vendor is not seen; nor are NAT-PMP
// and PCP. Telnet on other ports counts by its negotiation only. A name server
// for several domains of its own, open to the internet, looks like a resolver.
type policy struct {
	net   *network
	tab   *table[policyKey, told]
	names *table[source, nameSet] // domains resolved for strangers
	out   []Finding
}

type policyKey struct {
	src   source
	cause string
	port  uint16
}

func newPolicy(n *network) *policy {
	return &policy{net: n, tab: newTable[policyKey, told](4*n.MaxHosts, 0), names: newTable[source, nameSet](256, 4096)}
}

func (d *policy) Name() string      { return "policy" }
func (d *policy) reads() kinds      { return onConn | onBanner | onSMB | onDNS | onHTTP }
func (d *policy) size() int         { return d.tab.size() + d.names.size() }
func (d *policy) evictions() uint64 { return d.tab.evicted + d.names.evicted }

func (d *policy) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Conn:
		d.conn(e)
	case *flow.Banner:
		if e.Service == "telnet" && e.FromServer {
			d.telnet(e.Client, e.Server, e.DstMAC, e.SrcMAC, e)
		}
	case *flow.SMB:
		if e.Version == 1 && e.Op == flow.SMBNegotiate && e.Response && e.Status == 0 && e.Dialect == smb1Dialect {
			d.smb1(e)
		}
	case *flow.DNS:
		if e.Response && e.Proto == flow.NameDNS && len(e.Answers) > 0 {
			d.resolver(e)
		}
	case *flow.HTTP:
		if e.SOAPAction != "" && strings.Contains(e.SOAPAction, "PortMapping") {
			d.hole(e)
		}
	}
	return d.out
}

// smb1Dialect is how flow.SMB writes that an SMB 1 dialect was chosen.
const smb1Dialect = 1

// stranger says that an address is of the internet. A device on our wire may
// have a public IPv6 address: then it is a stranger only behind a router.
func (n *network) stranger(a netip.Addr, mac flow.MAC) bool {
	if n.onLAN(a) || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	return a.Is4() || mac.IsZero() || n.role(mac, a).Router
}

// openTo names the services by which a device is controlled from afar.
func openTo(port uint16) bool {
	switch port {
	case 22, 23, 139, 445, 2323, 3389, 5900, 5901, 5985, 5986:
		return true
	}
	return false
}

func (d *policy) conn(c *flow.Conn) {
	if c.Proto != protoTCP || c.MidStream || c.Multicast {
		return
	}
	port := c.Server.Port()
	switch {
	case c.State == flow.ConnEstablished && openTo(port) && d.net.onLAN(c.Server.Addr()) && d.net.stranger(c.Client.Addr(), c.ClientMAC):
		d.entrance(c)
	case c.State == flow.ConnClosed && port == 23 && c.Received > 0:
		d.telnet(c.Client, c.Server, c.ClientMAC, c.ServerMAC, c)
	}
}

// say reports a cause once for a device, and again when the band rises.
func (d *policy) say(ev flow.Event, src source, mac flow.MAC, at, peer netip.Addr, k policyKey, conf Confidence, tech string, title, why Text) {
	k.src = src
	if !d.tab.get(k).more(1, conf) {
		return
	}
	if !src.mac.IsZero() {
		mac = src.mac
	}
	h := d.net.host(mac, at)
	now := ev.Head().Time
	named := func(s string) string { return strings.ReplaceAll(s, "{}", h.label()) }
	d.out = append(d.out, Finding{Time: now, Detector: d.Name(), Technique: tech, Host: h,
		Peers: []Host{d.net.peer(peer)}, PeerCount: 1, Score: weakness, Confidence: conf, First: now, Last: now,
		Title: Text{EN: named(title.EN), JA: named(title.JA)}, Explain: Text{EN: named(why.EN), JA: named(why.JA)}})
}

func (d *policy) entrance(c *flow.Conn) {
	svc := service(protoTCP, c.Server.Port())
	from := c.Client.Addr().String()
	d.say(c, d.net.source(c.ServerMAC, c.Server.Addr()), c.ServerMAC, c.Server.Addr(), c.Client.Addr(),
		policyKey{cause: "entrance", port: c.Server.Port()}, Medium, "T1133",
		Text{EN: "{} accepts " + svc + " from the internet", JA: "{} がインターネットから " + svc + " を受け付けています"},
		Text{
			EN: fmt.Sprintf("A connection from %s was accepted. Whoever guesses a password there controls the device: close the port forwarding, or use a VPN.", from),
			JA: fmt.Sprintf("%s からの接続が受け付けられました。パスワードを推測されると機器を操作されます。ポート転送を止めるか、VPN をご利用ください。", from),
		})
}

func (d *policy) telnet(client, server netip.AddrPort, cmac, smac flow.MAC, ev flow.Event) {
	svc := service(protoTCP, server.Port())
	if d.net.onLAN(server.Addr()) {
		d.say(ev, d.net.source(smac, server.Addr()), smac, server.Addr(), client.Addr(), policyKey{cause: "telnet"}, Low, "T1040",
			Text{EN: "{} can be controlled by Telnet", JA: "{} は Telnet で操作できます"},
			Text{
				EN: fmt.Sprintf("It answered %s by %s. Telnet sends passwords readable by anybody; SSH does not.", client.Addr(), svc),
				JA: fmt.Sprintf("%s に %s で応答しました。Telnet ではパスワードが読み取れる形で送られます。SSH をご利用ください。", client.Addr(), svc),
			})
		return
	}
	if !d.net.onLAN(client.Addr()) {
		return
	}
	d.say(ev, d.net.source(cmac, client.Addr()), cmac, client.Addr(), server.Addr(), policyKey{cause: "telnet out"}, Low, "T1040",
		Text{EN: "{} uses Telnet out of the office", JA: "{} が社外への Telnet を使っています"},
		Text{
			EN: fmt.Sprintf("%s answered it by %s. All that is typed, passwords too, can be read on the way.", server.Addr(), svc),
			JA: fmt.Sprintf("%s が %s で応答しました。入力した内容はパスワードも含め、経路上で読み取れます。", server.Addr(), svc),
		})
}

func (d *policy) smb1(e *flow.SMB) {
	if !d.net.onLAN(e.Server.Addr()) {
		return
	}
	d.say(e, d.net.source(e.SrcMAC, e.Server.Addr()), e.SrcMAC, e.Server.Addr(), e.Client.Addr(), policyKey{cause: "smb1"}, Low, "T1210",
		Text{EN: "{} still speaks SMB 1", JA: "{} は古い SMB 1 を使っています"},
		Text{
			EN: fmt.Sprintf("It agreed with %s on SMB version 1, by which WannaCry spread. Turn it off where nothing needs it.", e.Client.Addr()),
			JA: fmt.Sprintf("%s と SMB バージョン 1 での通信に合意しました。WannaCry の感染経路となった方式です。不要であれば無効にしてください。", e.Client.Addr()),
		})
}

// resolvedDomains: unrelated domains that a name server of an office's own
// would hardly hold; two may be one company's names in two countries.
const resolvedDomains = 3

func (d *policy) resolver(e *flow.DNS) {
	if e.Src.Port() != 53 || e.RCode != 0 || !d.net.onLAN(e.Src.Addr()) || !d.net.stranger(e.Dst.Addr(), e.DstMAC) {
		return
	}
	domain, _ := domainOf(e.QName)
	if domain == "" || reverse(e.QName) {
		return
	}
	src := d.net.source(e.SrcMAC, e.Src.Addr())
	s := d.names.get(src)
	if s.len() >= resolvedDomains || !s.add(hashOf(domain)) {
		return
	}
	d.names.grow(src, 1)
	if s.len() < resolvedDomains {
		return
	}
	d.say(e, src, e.SrcMAC, e.Src.Addr(), e.Dst.Addr(), policyKey{cause: "resolver"}, Low, "T1498.002",
		Text{EN: "{} resolves names for strangers", JA: "{} が社外からの名前解決に応じています"},
		Text{
			EN: fmt.Sprintf("It answered %s, outside the office, for %d unrelated domains. Open resolvers are used to flood others.", e.Dst.Addr(), resolvedDomains),
			JA: fmt.Sprintf("社外の %s に対し、無関係な %d 個のドメインの問い合わせに答えました。公開された DNS サーバーは他者への攻撃に悪用されます。", e.Dst.Addr(), resolvedDomains),
		})
}

// hole reads what AddPortMapping (WANIPConnection:1, 2.4.16) and
// AddAnyPortMapping (WANIPConnection:2) ask for. The body may be cut off.
func (d *policy) hole(e *flow.HTTP) {
	if !strings.Contains(e.SOAPAction, "#AddPortMapping") && !strings.Contains(e.SOAPAction, "#AddAnyPortMapping") {
		return
	}
	inner, outer := soapPort(e.Body, "NewInternalPort"), soapPort(e.Body, "NewExternalPort")
	conf, cause := Low, "hole"
	if openTo(inner) {
		conf, cause = Medium, "control hole"
	}
	at := Text{EN: "a port", JA: "ポート"}
	if outer != 0 {
		p := strconv.Itoa(int(outer))
		at = Text{EN: "port " + p, JA: "ポート " + p}
	}
	if inner != 0 {
		at = both(at, Text{EN: " to " + service(protoTCP, inner), JA: "（転送先 " + service(protoTCP, inner) + "）"})
	}
	src, mac := d.net.client(&e.Meta, e.Client.Addr(), false)
	d.say(e, src, mac, e.Client.Addr(), e.Server.Addr(), policyKey{cause: cause, port: inner * uint16(rank(conf)-1)}, conf, "T1133",
		Text{EN: "{} asks the router to open a port to the internet", JA: "{} がルーターにインターネットへのポート開放を求めています"},
		Text{
			EN: fmt.Sprintf("By UPnP it asked %s to forward %s. Games and calls do this; nobody has to agree to it.", e.Server.Addr(), at.EN),
			JA: fmt.Sprintf("UPnP で %s に%sの転送を求めました。ゲームや通話でも使われますが、利用者の承認なしに行われます。", e.Server.Addr(), at.JA),
		})
}

// soapPort reads the number in an element, 0 when there is none.
func soapPort(body []byte, element string) uint16 {
	_, after, ok := bytes.Cut(body, []byte(element))
	if !ok {
		return 0
	}
	_, after, ok = bytes.Cut(after[:min(len(after), 120)], []byte{'>'}) // attributes stand between
	if !ok {
		return 0
	}
	digits := 0
	for digits < len(after) && digits < 5 && after[digits] >= '0' && after[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseUint(string(after[:digits]), 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
