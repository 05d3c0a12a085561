package refuge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// site is a gateway with an office bridge, and two hosts: one on the bridge,
// one in the quarantine. The kernel here has no VLANs, so the quarantine's
// device is one end of a cable with that device's name.
type site struct {
	gw, desk, held *nstest.NS
	cfg            Config
	server         *Server
}

func newSite(t *testing.T) *site {
	s := &site{gw: nstest.New(t), desk: nstest.New(t), held: nstest.New(t)}
	for _, n := range []*nstest.NS{s.gw, s.desk, s.held} {
		n.Run(t, "ip link set lo up")
	}
	cable(t, s.gw, "lan1", s.desk, "eth0")
	for _, c := range []string{"ip link add br0 type bridge", "ip link set lan1 master br0 up", "ip addr add 192.0.2.1/24 dev br0", "ip link set br0 up"} {
		s.gw.Run(t, c)
	}
	s.desk.Run(t, "ip link set eth0 up")
	s.cfg = testConfig()
	s.cfg.Interface = "br0"
	s.cfg.Quarantine = Quarantine{Interface: "br0.666", Prefix: quarantineNet, Prefix6: UniqueLocal([]byte("test"))}
	return s
}

func cable(t *testing.T, a *nstest.NS, nameA string, b *nstest.NS, nameB string) {
	t.Helper()
	a.Run(t, fmt.Sprintf("ip link add %s type veth peer name peer%s", nameA, nameA))
	a.Do(t, func() { moveLink(t, "peer"+nameA, b.FD()) })
	b.Run(t, fmt.Sprintf("ip link set peer%s name %s", nameA, nameB))
}

func moveLink(t *testing.T, name string, ns int) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetNsFd(link, ns)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run starts the refuge in the gateway's namespace; it ends with the test.
func (s *site) run(t *testing.T) {
	t.Helper()
	var err error
	s.gw.Do(t, func() { s.server, err = Listen(t.Context(), s.cfg) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// isolate makes the quarantine's device, as netcontain/vlan does for the first
// host that is held.
func (s *site) isolate(t *testing.T) {
	t.Helper()
	cable(t, s.gw, "br0.666", s.held, "eth0")
	for _, c := range []string{"ip addr add 172.30.66.1/24 dev br0.666", "ip link set br0.666 up"} {
		s.gw.Run(t, c)
	}
	s.held.Run(t, "sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.accept_dad=0")
	s.held.Run(t, "ip link set eth0 up")
}

// getLease asks for an address as a system does when a cable is plugged in.
func getLease(t *testing.T, n *nstest.NS) *nclient4.Lease {
	t.Helper()
	var got *nclient4.Lease
	var err error
	n.Do(t, func() {
		var c *nclient4.Client
		if c, err = nclient4.New("eth0", nclient4.WithTimeout(300*time.Millisecond), nclient4.WithRetry(60)); err != nil {
			return
		}
		defer c.Close()
		got, err = c.Request(t.Context())
	})
	if err != nil {
		t.Fatalf("no lease: %v", err)
	}
	return got
}

// fetch gets a page from inside a namespace, whatever name it has.
func fetch(t *testing.T, n *nstest.NS, address, host, path string) (int, string, string) {
	t.Helper()
	var c net.Conn
	var err error
	within(t, func() bool { // IPv6 becomes usable when the advertisement was read
		n.Do(t, func() { c, err = net.DialTimeout("tcp", address, time.Second) })
		return err == nil
	}, func() string { return fmt.Sprint(err) })
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Location"), string(body)
}

// index is that of a host's cable, for zones: names are not looked up in its
// namespace.
func index(t *testing.T, n *nstest.NS) (i int) {
	t.Helper()
	n.Do(t, func() {
		dev, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		i = dev.Index
	})
	return i
}

// within waits for a condition; the limit only ends a test that hangs.
func within(t *testing.T, ok func() bool, why func() string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatal(why())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ask sends one DNS question from inside a namespace.
func askDNS(t *testing.T, n *nstest.NS, server string, kind dnsmessage.Type) []dnsmessage.Resource {
	t.Helper()
	var c net.Conn
	var err error
	n.Do(t, func() { c, err = net.DialTimeout("udp", server, time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, maxQuery)
	for range 20 {
		if _, err := c.Write(query(t, "www.example.com.", kind)); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		if size, err := c.Read(buf); err == nil {
			var m dnsmessage.Message
			if err := m.Unpack(buf[:size]); err != nil {
				t.Fatal(err)
			}
			return m.Answers
		}
	}
	t.Fatal("DNS does not answer")
	return nil
}

func TestAnIsolatedHostGetsAddressNamesAndPageByIPv4(t *testing.T) {
	s := newSite(t)
	s.run(t) // the device is not there yet
	s.isolate(t)
	got := getLease(t, s.held)
	addr, gateway := addrOf(got.ACK.YourIPAddr), quarantineNet.Addr()
	if !quarantineNet.Contains(addr) || got.ACK.IPAddressLeaseTime(0) != leaseTime || addrOf(got.ACK.DNS()[0]) != gateway || addrOf(got.ACK.Router()[0]) != gateway {
		t.Fatalf("%v", got.ACK)
	}
	s.held.Run(t, "ip addr add "+addr.String()+"/24 dev eth0")
	s.held.Run(t, "ip route add default via 172.30.66.1")
	dns, _ := s.server.Ports()
	for _, port := range []uint16{dns, 53} { // as redirected, and without any redirect
		a := askDNS(t, s.held, netip.AddrPortFrom(gateway, port).String(), dnsmessage.TypeA)
		if len(a) != 1 || a[0].Body.GoString() != (&dnsmessage.AResource{A: gateway.As4()}).GoString() {
			t.Errorf("port %d: every name is the gateway here: %v", port, a)
		}
	}
	if code, to, _ := fetch(t, s.held, "172.30.66.1:80", "connectivitycheck.gstatic.com", "/generate_204"); code != 302 || to != "http://172.30.66.1/" {
		t.Errorf("portal check: %d to %q", code, to)
	}
	if code, _, page := fetch(t, s.held, "172.30.66.1:80", "172.30.66.1", "/"); code != 200 || !strings.Contains(page, "電源を切らないでください") {
		t.Errorf("%d %.80s", code, page)
	}
}

func TestAHostWithIPv6AloneReachesThePage(t *testing.T) {
	s := newSite(t)
	s.run(t)
	s.isolate(t)
	gateway := s.cfg.Quarantine.Prefix6.Addr()
	within(t, func() bool {
		out := s.held.Run(t, "ip -6 route show default")
		return strings.Contains(out, "via fe80:") && strings.Contains(s.held.Run(t, "ip -6 addr show dev eth0 scope global"), "inet6 fd")
	}, func() string {
		return "no router or no address: " + s.held.Run(t, "ip -6 route") + s.held.Run(t, "ip -6 addr")
	})
	if code, to, _ := fetch(t, s.held, netip.AddrPortFrom(gateway, 80).String(), "captive.apple.com", "/hotspot-detect.html"); code != 302 || to != "http://["+gateway.String()+"]/" {
		t.Errorf("portal check: %d to %q", code, to)
	}
	if code, _, page := fetch(t, s.held, netip.AddrPortFrom(gateway, 80).String(), "["+gateway.String()+"]", "/"); code != 200 || !strings.Contains(page, "is isolated") {
		t.Errorf("%d %.80s", code, page)
	}
	var dns netip.Addr // what the advertisement names, in the host's own words
	for _, a := range strings.Fields(s.held.Run(t, "ip -6 route show default")) {
		if parsed, err := netip.ParseAddr(a); err == nil {
			dns = parsed
		}
	}
	a := askDNS(t, s.held, fmt.Sprintf("[%v%%%d]:53", dns, index(t, s.held)), dnsmessage.TypeAAAA)
	if len(a) != 1 || a[0].Body.GoString() != (&dnsmessage.AAAAResource{AAAA: gateway.As16()}).GoString() {
		t.Errorf("by %v: %v", dns, a)
	}
}

func TestASolicitationIsAnsweredWithNameServerToWhoeverAsked(t *testing.T) {
	s := newSite(t)
	s.isolate(t)
	var c *ipv6.PacketConn
	s.held.Do(t, func() {
		raw, err := net.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			t.Fatal(err)
		}
		c = ipv6.NewPacketConn(raw)
	})
	defer c.Close()
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := errors.Join(c.SetICMPFilter(&only), c.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst, true), c.SetMulticastHopLimit(255)); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	ask := icmp.Message{Type: ipv6.ICMPTypeRouterSolicitation, Body: &icmp.RawBody{Data: make([]byte, 4)}}
	b, err := ask.Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	within(t, func() bool {
		if _, err := c.WriteTo(b, nil, &net.IPAddr{IP: allRouters, Zone: strconv.Itoa(index(t, s.held))}); err != nil {
			return false // the host's own address is not there yet
		}
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, cm, _, err := c.ReadFrom(buf)
		if err != nil || cm.Dst.IsMulticast() { // not served yet, or the one for everybody
			return false
		}
		prefix := s.cfg.Quarantine.Prefix6.Masked().Addr().AsSlice()
		if cm.HopLimit != 255 || !bytes.Contains(buf[:n], []byte{25, 3, 0, 0, 0, 0, 0, 30, 0xfe, 0x80}) || !bytes.Contains(buf[:n], prefix) {
			t.Errorf("hop limit %d: %x", cm.HopLimit, buf[:n])
		}
		return true
	}, func() string { return "nobody answers" })
}

// An office has its own DHCP server. A second one there would be the worst that
// this program could do.
func TestNobodyInTheOfficeIsEverAnsweredByDHCP(t *testing.T) {
	s := newSite(t)
	s.run(t)
	heard := answers(t, s.desk)
	shout := func() {
		for range 5 {
			send(t, s.desk, discovery(t, 77, dhcpv4.WithBroadcast(true)))
			send(t, s.desk, discovery(t, 78))
		}
	}
	shout()
	s.isolate(t)
	getLease(t, s.held) // the quarantine is served from here on
	shout()
	getLease(t, s.held) // whatever came before this has been read
	// A device with the quarantine's name that belongs to the office.
	s.gw.Run(t, "ip link set br0.666 master br0")
	shout()
	s.gw.Run(t, "ip link set br0.666 nomaster")
	s.gw.Run(t, "ip addr add 192.168.10.1/24 dev br0.666")
	shout()
	heard.SetReadDeadline(time.Now().Add(2 * lookEvery)) // a negative: time enough to be found out
	if n, from, err := heard.ReadFrom(make([]byte, 1500)); err == nil {
		t.Errorf("%d bytes from %v", n, from)
	}
}

// answers hears DHCP answers on a host's cable.
func answers(t *testing.T, n *nstest.NS) *packet.Conn {
	t.Helper()
	var c *packet.Conn
	n.Do(t, func() {
		dev, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		filter, err := bpf.Assemble([]bpf.Instruction{
			bpf.LoadMemShift{Off: 0}, bpf.LoadIndirect{Off: 2, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: dhcpClientPort, SkipTrue: 1}, bpf.RetConstant{Val: 1500}, bpf.RetConstant{Val: 0},
		})
		if err != nil {
			t.Fatal(err)
		}
		if c, err = packet.Listen(dev, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, n *nstest.NS, b []byte) {
	t.Helper()
	n.Do(t, func() {
		dev, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := packet.Listen(dev, packet.Datagram, unix.ETH_P_IP, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.WriteTo(b, &packet.Addr{HardwareAddr: everybody[:]}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheDeviceMayComeAndGo(t *testing.T) {
	s := newSite(t)
	s.run(t)
	for range 2 {
		s.isolate(t)
		first := getLease(t, s.held)
		s.gw.Run(t, "ip link set br0.666 down")
		s.gw.Run(t, "ip link set br0.666 up")
		if again := getLease(t, s.held); !again.ACK.YourIPAddr.Equal(first.ACK.YourIPAddr) {
			t.Errorf("%v became %v", first.ACK.YourIPAddr, again.ACK.YourIPAddr)
		}
		s.gw.Run(t, "ip link del br0.666")
	}
	// The office's part goes on all the while.
	s.desk.Run(t, "ip addr add 192.0.2.23/24 dev eth0")
	_, page := s.server.Ports()
	if code, _, _ := fetch(t, s.desk, fmt.Sprintf("192.0.2.1:%d", page), "192.0.2.1", "/"); code != 200 {
		t.Errorf("%d", code)
	}
}

// A dnsmasq that serves the office has port 53 and 67 on every device; the
// quarantine is served all the same, by the ports that the redirect names.
func TestAnothersServersOnEveryDeviceDoNotStopTheQuarantine(t *testing.T) {
	s := newSite(t)
	s.gw.Do(t, func() {
		for _, port := range []string{":53", ":67"} {
			c, err := net.ListenPacket("udp", port)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
	})
	s.run(t)
	s.isolate(t)
	addr := addrOf(getLease(t, s.held).ACK.YourIPAddr)
	s.held.Run(t, "ip addr add "+addr.String()+"/24 dev eth0")
	dns, page := s.server.Ports()
	if a := askDNS(t, s.held, netip.AddrPortFrom(quarantineNet.Addr(), dns).String(), dnsmessage.TypeA); len(a) != 1 {
		t.Errorf("%v", a)
	}
	if code, _, _ := fetch(t, s.held, netip.AddrPortFrom(quarantineNet.Addr(), page).String(), "172.30.66.1", "/"); code != 200 {
		t.Errorf("%d", code)
	}
}

func TestWhatKeepsTheQuarantineFromBeingServedIsSaidOnce(t *testing.T) {
	s := newSite(t)
	var log bytes.Buffer
	s.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	var h *here
	var err error
	s.gw.Do(t, func() { h, err = newHere() })
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	z := newQuarantine(s.cfg, h, 5880, 5853)
	seat := z.seat()
	if _, err := z.find(); err == nil {
		t.Error("found what is not there")
	}
	s.isolate(t)
	s.gw.Run(t, "ip addr add 10.0.0.1/8 dev br0.666")
	for range 3 {
		_, err := z.find()
		if !errors.Is(err, errForeign) {
			t.Fatalf("%v", err)
		}
		seat.trouble(err)
	}
	if n := strings.Count(log.String(), "are not served"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
	s.gw.Run(t, "ip addr del 10.0.0.1/8 dev br0.666")
	within(t, func() bool { d, err := z.find(); return err == nil && d.local.IsValid() }, func() string { return "not found with its own address" })
}
