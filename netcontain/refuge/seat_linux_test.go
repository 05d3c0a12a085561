package refuge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"

	"sekisho/netcontain/nstest"
)

// named asks the refuge's DNS and returns the address that it answers with;
// invalid when it is silent.
func named(t *testing.T, s *site, at netip.AddrPort) (a netip.Addr) {
	t.Helper()
	for _, r := range askDNS(t, s.desk, at.String(), dnsmessage.TypeA) {
		if body, ok := r.Body.(*dnsmessage.AResource); ok {
			a = netip.AddrFrom4(body.A)
		}
	}
	return a
}

// rebuild makes the bridge anew, as networkd does: another index, another MAC,
// and its addresses only afterwards.
func (s *site) rebuild(t *testing.T, mac string, addrs ...string) {
	t.Helper()
	for _, c := range []string{"ip link del br0", "ip link add br0 address " + mac + " type bridge", "ip link set lan1 master br0 up", "ip link set br0 up"} {
		s.gw.Run(t, c)
	}
	for _, a := range addrs {
		s.gw.Run(t, "ip addr add "+a+" dev br0")
	}
	s.desk.Run(t, "ip neigh flush dev eth0")
}

func TestABridgeThatIsMadeAnewIsServedAgain(t *testing.T) {
	s := newSite(t)
	s.run(t)
	s.desk.Run(t, "ip addr add 192.0.2.23/24 dev eth0")
	dns, page := s.server.Ports()
	gateway := netip.MustParseAddr("192.0.2.1")
	names, web := netip.AddrPortFrom(gateway, dns), netip.AddrPortFrom(gateway, page)
	for _, mac := range []string{"02:00:00:00:0a:01", "02:00:00:00:0a:02"} {
		if got := named(t, s, names); got != gateway {
			t.Errorf("DNS answers %v", got)
		}
		if code, _, _ := fetch(t, s.desk, web.String(), "192.0.2.1", "/"); code != 200 {
			t.Errorf("page %d", code)
		}
		at := time.Now()
		s.rebuild(t, mac, "192.0.2.1/24")
		if code, _, _ := fetch(t, s.desk, web.String(), "192.0.2.1", "/"); code != 200 {
			t.Errorf("page %d after the bridge was made anew", code)
		}
		if got := named(t, s, names); got != gateway {
			t.Errorf("DNS answers %v after the bridge was made anew", got)
		}
		t.Logf("served again %v after the bridge went", time.Since(at).Round(time.Millisecond))
	}
}

func TestTheGatewayIsCalledByTheAddressThatItHasNow(t *testing.T) {
	s := newSite(t)
	s.run(t)
	s.desk.Run(t, "ip addr add 192.0.2.23/24 dev eth0")
	dns, page := s.server.Ports()
	now := netip.MustParseAddr("192.0.2.7")
	s.gw.Run(t, "ip addr add 192.0.2.66/32 dev br0 label br0:dcy") // a decoy's, see firmware/decoy
	s.gw.Run(t, "ip addr add 192.0.2.7/24 dev br0")
	if got := named(t, s, netip.AddrPortFrom(s.cfg.Addr4, dns)); got != s.cfg.Addr4 {
		t.Errorf("called %v while it has the address of its settings", got)
	}
	s.gw.Run(t, "ip addr del 192.0.2.1/24 dev br0")
	s.gw.Run(t, "ip addr replace 192.0.2.7/24 dev br0") // the first one took the others of its network along
	var got netip.Addr
	within(t, func() bool { got = named(t, s, netip.AddrPortFrom(now, dns)); return got == now }, func() string { return "called " + got.String() })
	if code, _, _ := fetch(t, s.desk, netip.AddrPortFrom(now, page).String(), "192.0.2.7", "/"); code != 200 {
		t.Errorf("page %d", code)
	}
}

func TestNamesOfTheGatewayAreChosenAmongItsOwn(t *testing.T) {
	addr := func(text, label string) netlink.Addr {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		a.Label = label
		return *a
	}
	known := netip.MustParseAddr("192.0.2.1")
	decoy, other, set, six := addr("192.0.2.9/32", "br0:dcy"), addr("192.0.2.7/24", "br0"), addr("192.0.2.1/24", "br0"), addr("2001:db8::1/64", "")
	for name, c := range map[string]struct {
		have  []netlink.Addr
		known netip.Addr
		want  string
	}{
		"that of the settings, wherever it stands": {[]netlink.Addr{other, decoy, set}, known, "192.0.2.1"},
		"none yet":                       {nil, known, "192.0.2.1"},
		"a decoy and another family":     {[]netlink.Addr{decoy, six}, known, "192.0.2.1"},
		"another":                        {[]netlink.Addr{decoy, six, other}, known, "192.0.2.7"},
		"nothing in the settings at all": {[]netlink.Addr{decoy, other}, netip.Addr{}, "192.0.2.7"},
	} {
		if got := called(c.have, "br0", c.known, netip.Addr.Is4); got.String() != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCloseEndsAServerThatRunsOrNeverRan(t *testing.T) {
	s := newSite(t)
	open := func() *Server {
		var r *Server
		var err error
		cfg := s.cfg
		cfg.HTTPPort, cfg.DNSPort = 5880, 5853 // the next one needs the same
		s.gw.Do(t, func() { r, err = Listen(t.Context(), cfg) })
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if err := open().Close(); err != nil {
		t.Error(err)
	}
	r := open()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(context.Background()) }()
	within(t, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.stop != nil }, func() string { return "it does not run" })
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := open().Close(); err != nil { // its ports are free
		t.Error(err)
	}
	s.cfg.Interface = "br7"
	s.gw.Do(t, func() {
		if _, err := Listen(t.Context(), s.cfg); err == nil {
			t.Error("listens on a device that is not there")
		}
	})
}

// begin asks for the page, but for the last line.
func begin(t *testing.T, dial func(*net.Dialer) (net.Conn, error)) net.Conn {
	t.Helper()
	c, err := dial(&net.Dialer{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n", quarantineNet.Addr()); err != nil {
		t.Fatal(err)
	}
	return c
}

// finish sends the rest, and wants an answer.
func finish(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("cut off: %v", err)
	}
	res.Body.Close()
}

// ask begins in a namespace.
func ask(t *testing.T, n *nstest.NS, address string) net.Conn {
	t.Helper()
	return begin(t, func(d *net.Dialer) (c net.Conn, err error) {
		within(t, func() bool { // a bridge port takes a moment before it forwards
			n.Do(t, func() { c, err = d.Dial("tcp", address) })
			return err == nil
		}, func() string { return err.Error() })
		return c, err
	})
}

// The device gets its link-local address about a second after it was made, when a
// moved host has long asked for the page.
func TestABrowserIsNotCutOffWhenTheDeviceGetsItsLastAddress(t *testing.T) {
	s := newSite(t)
	s.run(t)
	s.isolate(t)
	s.held.Run(t, "ip addr add "+addrOf(getLease(t, s.held).ACK.YourIPAddr).String()+"/24 dev eth0")
	fetch(t, s.held, "172.30.66.1:80", "172.30.66.1", "/") // both are served
	_, page := s.server.Ports()
	redirected, direct := ask(t, s.held, fmt.Sprintf("172.30.66.1:%d", page)), ask(t, s.held, "172.30.66.1:80")
	s.gw.Run(t, "ip -6 addr flush dev br0.666 scope link")
	s.gw.Run(t, "ip addr add fe80::5ec1/64 dev br0.666 nodad")
	within(t, func() bool { return strings.Contains(s.held.Run(t, "ip -6 route show default"), "via fe80::5ec1") },
		func() string { return "not advertised: " + s.held.Run(t, "ip -6 route show default") })
	time.Sleep(drainFor + lookEvery) // a negative: time enough to be cut off
	finish(t, redirected)
	finish(t, direct)
}

func TestABrowserIsNotCutOffWhenTheGatewayIsCalledOtherwise(t *testing.T) {
	s := newSite(t)
	s.run(t)
	s.desk.Run(t, "ip addr add 192.0.2.23/24 dev eth0")
	dns, page := s.server.Ports()
	c := ask(t, s.desk, fmt.Sprintf("192.0.2.1:%d", page))
	s.gw.Run(t, "ip addr add 2001:db8::77/64 dev br0 nodad")
	var got string
	within(t, func() bool {
		got = fmt.Sprint(askDNS(t, s.desk, netip.AddrPortFrom(s.cfg.Addr4, dns).String(), dnsmessage.TypeAAAA)[0].Body.GoString())
		return got == (&dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::77").As16()}).GoString()
	}, func() string { return "called " + got })
	finish(t, c)
}
