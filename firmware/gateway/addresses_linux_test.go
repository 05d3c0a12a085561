package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/health"
	"sekisho/netcontain/nstest"
)

func TestAnotherAddressOfTheBridgeIsToldOnceAndDecoysNever(t *testing.T) {
	ns := nstest.New(t)
	for _, c := range []string{"ip link add br0 type bridge", "ip addr add 192.168.77.1/24 dev br0", "ip link set br0 up"} {
		ns.Run(t, c)
	}
	var told [][]netip.Addr
	a := &addresses{
		net: &Network{Bridge: "br0"}, log: slog.New(slog.DiscardHandler),
		tell: func(addrs []netip.Addr) { told = append(told, addrs) }, report: func(string, error) {},
	}
	ns.Do(t, a.look) // what it begins with
	for _, c := range []struct {
		command string
		tells   bool
	}{
		{"true", false},
		{"ip addr add 192.168.77.66/32 dev br0 label br0:dcy", false},
		{"ip addr add 192.168.78.1/24 dev br0", true},
		{"true", false},
		{"ip addr del 192.168.77.1/24 dev br0", true},
		{"ip addr flush dev br0", false}, // it is being made anew
		{"ip link del br0", false},
	} {
		told = nil
		ns.Run(t, c.command)
		ns.Do(t, a.look)
		if (len(told) == 1) != c.tells || len(told) > 1 {
			t.Errorf("%s: told %v", c.command, told)
		}
		if c.tells && (!slices.Contains(told[0], netip.MustParseAddr("192.168.78.1")) || slices.Contains(told[0], netip.MustParseAddr("192.168.77.66"))) {
			t.Errorf("%s: told %v", c.command, told)
		}
	}
}

func TestANetworkOfTheBridgeThatTheSettingsDoNotHaveIsNamed(t *testing.T) {
	parse := func(list ...string) (out []netip.Prefix) {
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	lan := parse("192.168.76.0/23", "fd00::/64")
	for _, fine := range [][]netip.Prefix{nil, parse("192.168.77.0/24"), parse("192.168.76.0/23", "169.254.0.0/16", "2001:db8::/64", "fe80::/64")} {
		if err := unguarded(fine, lan); err != nil {
			t.Errorf("%v: %v", fine, err)
		}
	}
	for _, p := range []string{"192.168.76.0/22", "10.0.0.0/24"} {
		var said *health.Problem
		if err := unguarded(parse("192.168.77.0/24", p), lan); !errors.As(err, &said) || !strings.Contains(said.Text.JA, p) || !strings.Contains(err.Error(), "network.lan") {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestWhoClaimsAnAddressThatTheGatewayGotLaterIsFound(t *testing.T) {
	o := newOffice(t)
	o.start(t)
	talk(t, o.hosts[2], o.hosts[3], hostIP(3))
	o.gw.Run(t, "ip addr add 192.168.77.9/24 dev br0")
	claim := flowtest.Ether{Src: hostMAC(2), Dst: [6]byte{255, 255, 255, 255, 255, 255}}.
		Frame(flow.EtherARP, flowtest.ARP(2, hostMAC(2), netip.MustParseAddr("192.168.77.9"), [6]byte{}, hostIP(3)))
	stop := o.flood(t, 2, func(int) [][]byte { return [][]byte{claim} })
	o.awaitIncident(t, 2, "told of as an impostor", spoke("arp_spoof"))
	stop()
	o.gw.Run(t, "ip addr add 10.20.0.1/24 dev br0")
	await(t, "the page to name a network that nobody guards", func() bool { return o.warned(t, checkLAN) })
}
