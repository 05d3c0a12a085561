package refuge

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
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
