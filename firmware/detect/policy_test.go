package detect_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

func (o *office) inbound(from netip.Addr, to int, port uint16, s flow.ConnState) {
	o.play(&flow.Conn{Meta: flow.Meta{Time: o.now, SrcMAC: gatewayMAC, DstMAC: mac(to)}, State: s, Prev: flow.ConnAttempt, Proto: 6,
		Client: netip.AddrPortFrom(from, 40000), Server: netip.AddrPortFrom(ip(to), port),
		ClientMAC: gatewayMAC, ServerMAC: mac(to), Start: o.now, RecvPackets: 1, Sent: 50, Received: 50})
}

func TestPolicyTellsOnceOfRemoteControlFromOutside(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 100 {
		o.inbound(net4(i), 20, 3389, flow.ConnEstablished)
	}
	o.want("policy", detect.Medium)
	if f := o.last("policy"); len(o.found) != 1 || f.Host.MAC != mac(20) || f.Technique != "T1133" {
		t.Errorf("%d findings, host %v, %s", len(o.found), f.Host, f.Technique)
	}
}

func TestPolicyIsQuietWhereNobodyFromOutsideGetsIn(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.inbound(net4(1), 20, 3389, flow.ConnRefused)
	o.inbound(net4(1), 20, 445, flow.ConnUnanswered)
	o.inbound(net4(1), 20, 443, flow.ConnEstablished)                          // a web server is meant to be open
	o.tcp(10, ip(20), 3389, flow.ConnEstablished)                              // inside
	o.tcp(10, net4(7), 22, flow.ConnEstablished)                               // outward
	o.inbound(netip.MustParseAddr("10.8.0.2"), 20, 3389, flow.ConnEstablished) // VPN
	for _, f := range o.found {
		if f.Detector == "policy" {
			t.Errorf("%s", f.Explain.EN)
		}
	}
}

func TestPolicyTellsOfTelnet(t *testing.T) {
	o := newOffice(t, detect.Config{})
	banner := func(client, server netip.AddrPort, c, s flow.MAC) {
		for range 5 {
			o.play(&flow.Banner{Meta: flow.Meta{Time: o.now, SrcMAC: s, DstMAC: c}, Client: client, Server: server,
				FromServer: true, Service: "telnet"})
		}
	}
	banner(netip.AddrPortFrom(ip(10), 40000), netip.AddrPortFrom(ip(20), 2323), mac(10), mac(20))
	if f := o.last("policy"); f.Host.MAC != mac(20) || f.Confidence != detect.Low {
		t.Errorf("inside: %v %s", f.Host, f.Confidence)
	}
	banner(netip.AddrPortFrom(ip(10), 40000), netip.AddrPortFrom(net4(1), 23), mac(10), gatewayMAC)
	if f := o.last("policy"); f.Host.MAC != mac(10) || f.Confidence != detect.Low {
		t.Errorf("outward: %v %s", f.Host, f.Confidence)
	}
	if len(o.found) != 2 {
		t.Errorf("%d findings", len(o.found))
	}
}

func TestPolicyTellsOfSMB1(t *testing.T) {
	o := newOffice(t, detect.Config{})
	e := flow.SMB{Meta: flow.Meta{Time: o.now, SrcMAC: mac(20), DstMAC: mac(10)}, Client: netip.AddrPortFrom(ip(10), 40000),
		Server: netip.AddrPortFrom(ip(20), 445), Version: 2, Op: flow.SMBNegotiate, Response: true, Dialect: 0x0311}
	o.play(&e)
	e.Version, e.Dialect, e.Response = 1, 0, false // offered only
	o.play(&e)
	o.quiet()
	e.Response, e.Dialect = true, 1
	o.play(&e)
	o.play(&e)
	o.want("policy", detect.Low)
	if f := o.last("policy"); len(o.found) != 1 || f.Host.MAC != mac(20) {
		t.Errorf("%d findings, host %v", len(o.found), f.Host)
	}
}

func TestPolicyTellsOfAnOpenResolver(t *testing.T) {
	reply := func(o *office, to netip.Addr, name string) {
		o.play(&flow.DNS{Meta: flow.Meta{Time: o.now, SrcMAC: mac(1), DstMAC: gatewayMAC}, Src: netip.AddrPortFrom(ip(1), 53),
			Dst: netip.AddrPortFrom(to, 40000), Response: true, QName: name, Answers: []flow.DNSRecord{{Name: name, Type: 1}}})
	}
	o := newOffice(t, detect.Config{})
	for i := range 9 {
		reply(o, net4(1), fmt.Sprintf("www%d.office.example", i)) // its own domain
		reply(o, ip(10), fmt.Sprintf("www.domain%d.example", i))  // for the office
	}
	if b := o.best("policy"); b != "" {
		t.Fatalf("%s", o.dump())
	}
	for i := range 9 {
		reply(o, net4(1), fmt.Sprintf("www.domain%d.test", i))
	}
	o.want("policy", detect.Low)
}

func TestPolicyTellsOfHolesAskedForByUPnP(t *testing.T) {
	ask := func(o *office, action, body string) {
		o.play(&flow.HTTP{Meta: o.meta(mac(10)), Client: netip.AddrPortFrom(ip(10), 40000), Server: netip.AddrPortFrom(ip(1), 5000),
			Method: "POST", Path: "/ctl/IPConn", SOAPAction: `"urn:schemas-upnp-org:service:WANIPConnection:1#` + action + `"`, Body: []byte(body)})
	}
	const body = `<u:AddPortMapping><NewExternalPort>%d</NewExternalPort><NewInternalPort xmlns:dt="d" dt:dt="ui2">%d</NewInternalPort>`
	o := newOffice(t, detect.Config{})
	ask(o, "GetSpecificPortMappingEntry", "")
	ask(o, "DeletePortMapping", "")
	o.quiet()
	for i := range 20 {
		ask(o, "AddPortMapping", fmt.Sprintf(body, 50000+i, 50000+i))
	}
	o.want("policy", detect.Low)
	if len(o.found) != 1 {
		t.Errorf("%d findings for one habit", len(o.found))
	}
	ask(o, "AddPortMapping", fmt.Sprintf(body, 33890, 3389))
	o.want("policy", detect.Medium)
	if f := o.last("policy"); !strings.Contains(f.Explain.EN, "33890") || !strings.Contains(f.Explain.EN, "RDP") {
		t.Errorf("%s", f.Explain.EN)
	}
	ask(o, "AddPortMapping", "<NewInternalPort>999999999999")
	ask(o, "AddPortMapping", "NewInternalPort")
}
