package remote

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sekisho/netcontain/nstest"
)

// edge is a gateway between an office's machine and somebody next to its WAN
// port who sends what is for the LAN's address there.
func edge(t *testing.T) (gw, lan, wan *nstest.NS) {
	t.Helper()
	gw, lan, wan = nstest.New(t), nstest.New(t), nstest.New(t)
	gw.Run(t, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
	for i, peer := range []*nstest.NS{lan, wan} {
		name := []string{"lan0", "wan0"}[i]
		gw.Do(t, func() {
			err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(peer.FD())})
			if err != nil {
				t.Errorf("veth: %v", err)
			}
		})
		net := []string{"192.168.10", "203.0.113"}[i]
		gw.Run(t, "ip addr add "+net+".1/24 dev "+name)
		gw.Run(t, "ip link set "+name+" up")
		peer.Run(t, "ip addr add "+net+".2/24 dev eth0")
		peer.Run(t, "ip link set eth0 up")
	}
	wan.Run(t, "ip route add 192.168.10.0/24 via 203.0.113.1")
	return gw, lan, wan
}

func TestNothingThatComesInByTheWANReachesTheListener(t *testing.T) {
	gw, lan, wan := edge(t)
	reaches := func(from *nstest.NS, addr string) (err error) {
		from.Do(t, func() {
			var c net.Conn
			if c, err = net.DialTimeout("tcp", addr, 5*time.Second); err == nil {
				c.Close()
			}
		})
		return err
	}
	for i, c := range []struct {
		iface, addr string
		wan         bool
	}{
		{"", "192.168.10.1", true}, // the weak host: why the interface is needed
		{"lan0", "192.168.10.1", false},
		{"lan0", "0.0.0.0", false},
		{"lan0", "", false},
	} {
		port := fmt.Sprint(":", 8443+i)
		var ln net.Listener
		var err error
		gw.Do(t, func() { ln, err = Listen(c.iface, c.addr+port) })
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		defer ln.Close()
		if err := reaches(lan, "192.168.10.1"+port); err != nil {
			t.Errorf("%+v: from the LAN: %v", c, err)
		}
		for _, target := range []string{"192.168.10.1", "203.0.113.1"} {
			want := c.wan && target == "192.168.10.1"
			if err := reaches(wan, target+port); (err == nil) != want || !want && !strings.Contains(err.Error(), "refused") {
				t.Errorf("%+v: %s from the WAN: %v", c, target, err)
			}
		}
	}
}

func TestEveryAddressIsRefusedUnlessAnInterfaceIsNamed(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "", "8443", "gateway:8443", "192.0.2.1"} {
		if ln, err := Listen("", addr); err == nil {
			ln.Close()
			t.Errorf("%q was taken", addr)
		}
	}
	if ln, err := Listen("nosuch0", "127.0.0.1:0"); err == nil {
		ln.Close()
		t.Error("an interface that is not there was taken")
	}
}

func TestAnInterfaceThatComesLateOrIsMadeAnewIsServed(t *testing.T) {
	gw, _, _ := edge(t)
	o := openOffice(t, nil)
	o.stop()
	served := make(chan net.Listener, 64) // one that came between two looks is opened once more
	o.tune = func(_ *Config, l *limits) { l.retry = 5 * time.Millisecond }
	o.start()
	o.stop()
	o.Server.listen = func() (net.Listener, error) {
		var ln net.Listener
		var err error
		gw.Do(t, func() { ln, err = Listen("wg0", "0.0.0.0:8443") })
		if err == nil {
			served <- ln
		}
		return ln, err
	}
	o.Server.index = func() (i int) {
		gw.Do(t, func() { i = interfaceIndex("wg0") })
		return i
	}
	stop := o.run()
	defer stop()
	for range 2 {
		gw.Run(t, "ip link add wg0 type veth peer name wg0-far")
		ln := <-served
		gw.Run(t, "ip link del wg0")
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) { // waits until the server has let go
			t.Errorf("accept: %v", err)
		}
	}
}

func TestAnInvitationNamesTheAddressThatTheInterfaceHasByThen(t *testing.T) {
	gw, _, _ := edge(t)
	gw.Run(t, "ip link add wg0 type veth peer name wg0-far")
	c := openOffice(t, nil).config()
	c.Dir, c.Interface, c.Addr, c.Host = t.TempDir(), "wg0", ":8443", ""
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	invite := func() (line string, err error) {
		gw.Do(t, func() { line, err = s.Invite("owner") })
		return line, err
	}
	if line, err := invite(); !errors.Is(err, ErrNoAddress) {
		t.Errorf("invited to %q, %v", line, err)
	}
	gw.Run(t, "ip addr add 10.99.0.1/24 dev wg0")
	if line, err := invite(); err != nil || !strings.HasPrefix(line, "sekisho:10.99.0.1:8443:") {
		t.Errorf("invited to %q, %v", line, err)
	}
}
