package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sekisho/firmware/config"
	"sekisho/firmware/flow"
	"sekisho/firmware/health"
	"sekisho/firmware/incident"
	"sekisho/netcontain/nstest"
)

// uplinkBench is a namespace with an uplink in it or not.
type uplinkBench struct {
	ns   *nstest.NS
	u    *uplink
	own  []flow.MAC
	says map[string]error
}

func newUplinkBench(t *testing.T) *uplinkBench {
	t.Helper()
	b := &uplinkBench{ns: nstest.New(t), says: map[string]error{}}
	b.u = &uplink{
		net: &Network{WAN: "wan0"}, log: slog.New(slog.DiscardHandler), own: func(m flow.MAC) { b.own = append(b.own, m) },
		lan: []netip.Prefix{netip.MustParsePrefix("192.168.77.0/24")}, quarantine: netip.MustParsePrefix("172.30.66.1/24"),
		report: func(check string, err error) { b.says[check] = err },
	}
	return b
}

func (b *uplinkBench) plug(t *testing.T, mac string) {
	t.Helper()
	b.ns.Run(t, "ip link add wan0 address "+mac+" type veth peer name isp")
	b.ns.Run(t, "ip link set wan0 up")
	b.ns.Run(t, "ip link set isp up")
}

func (b *uplinkBench) look(t *testing.T) {
	t.Helper()
	b.ns.Do(t, b.u.look)
}

func TestAnUplinkThatComesAndGoesIsToldAndKnownAsTheGatewaysOwn(t *testing.T) {
	b := newUplinkBench(t)
	for n, mac := range []string{"02:00:00:00:0c:01", "02:00:00:00:0c:02"} {
		b.look(t)
		var p *health.Problem
		if err := b.says[checkWAN]; !errors.As(err, &p) || !strings.Contains(p.Text.JA, "wan0") {
			t.Errorf("missing, and reported %v", err)
		}
		b.plug(t, mac)
		before := b.u.net.turns.Load()
		b.look(t)
		b.look(t) // nothing new
		if b.says[checkWAN] != nil || b.u.net.turns.Load() != before+1 || len(b.own) != n+1 || b.own[n].String() != mac {
			t.Errorf("there, and reported %v; %d turns, own %v", b.says[checkWAN], b.u.net.turns.Load()-before, b.own)
		}
		b.ns.Run(t, "ip link del wan0")
	}
}

func TestAQuarantineThatOverlapsTheUplinksSideIsNamedWithAFreeOne(t *testing.T) {
	b := newUplinkBench(t)
	b.plug(t, "02:00:00:00:0c:01")
	for _, c := range []struct{ name, command, overlap string }{
		{"no address yet", "true", ""},
		{"another network", "ip addr add 203.0.113.2/24 dev wan0", ""},
		{"everything is no network", "ip route add default via 203.0.113.1 dev wan0", ""},
		{"a network that its router has told of", "ip route add 172.30.66.128/25 via 203.0.113.1 dev wan0", "172.30.66.128/25"},
		{"gone again", "ip route del 172.30.66.128/25", ""},
		{"its own, by a new lease", "ip addr add 172.30.4.9/16 dev wan0", "172.30.0.0/16"},
	} {
		b.ns.Run(t, c.command)
		b.look(t)
		err := b.says[checkQuarantine]
		if c.overlap == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var p *health.Problem
		if !errors.As(err, &p) {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, text := range []string{p.Text.EN, p.Text.JA, err.Error()} {
			if !strings.Contains(text, c.overlap) || !strings.Contains(text, "172.30.66.") {
				t.Errorf("%s: does not name both: %s", c.name, text)
			}
		}
		if !strings.Contains(err.Error(), `network.quarantine`) || !strings.Contains(err.Error(), `"10.166.66.1/24"`) {
			t.Errorf("%s: does not say what to set: %v", c.name, err)
		}
	}
	b.ns.Run(t, "ip link del wan0")
	if b.look(t); b.says[checkQuarantine] != nil {
		t.Error("it overlaps what is not there")
	}
	b.plug(t, "02:00:00:00:0c:01")
	b.ns.Run(t, "ip addr add 172.30.4.9/16 dev wan0")
	b.u.quarantine = netip.Prefix{}
	if b.look(t); b.says[checkQuarantine] != nil {
		t.Error("there is no quarantine")
	}
}

// The office must not stand still because the adapter to the internet is broken.
func TestAGatewayStartsWithoutItsUplinkAndTakesItUpWhenItComes(t *testing.T) {
	o := newOffice(t)
	o.config.Network.QuarantineVLAN, o.config.Network.Quarantine = 666, netip.MustParsePrefix("172.30.66.1/24")
	o.gw.Run(t, "ip link del wan0")
	o.start(t)
	await(t, "the page to say that the uplink is missing", func() bool { return o.warned(t, checkWAN) })
	talk(t, o.hosts[2], o.hosts[3], hostIP(3)) // held ports are up
	stop := o.attack(t, 1)
	o.press(t, 1)
	i := o.awaitIncident(t, 1, "proven without an uplink", proven)
	stop()
	o.plug(t, "wan0", o.inet, [6]byte{2, 0, 0, 0, 1, 1})
	o.gw.Run(t, "ip link set wan0 up")
	o.gw.Run(t, "ip addr add 198.51.100.2/24 dev wan0")
	o.inet.Run(t, "ip addr add 198.51.100.1/24 dev eth0")
	o.inet.Run(t, "ip route add 192.168.77.0/24 via 198.51.100.2")
	await(t, "the page to say that all is well", func() bool { return !o.warned(t, checkWAN) })
	talk(t, o.hosts[2], o.inet, outside)
	o.awaitIncident(t, 1, "proven anew, on the uplink too", func(now incident.Incident) bool {
		return now.ID == i.ID && proven(now) && strings.Contains(now.Proof.Text.EN, "wan0")
	})
	if o.warned(t, checkQuarantine) {
		t.Error("an overlap that is none")
	}
	o.gw.Run(t, "ip addr add 172.30.200.7/16 dev wan0") // its router has another idea
	await(t, "the page to name the overlap", func() bool { return o.warned(t, checkQuarantine) })
}

func TestOnlyTheUplinkMayBeMissingOfWhatIsNoPort(t *testing.T) {
	ns := nstest.New(t)
	for _, c := range []string{"add br0 type bridge", newPort("lan1"), "set lan1 master br0 up", "set br0 up"} {
		ns.Run(t, "ip link "+c)
	}
	ns.Run(t, "ip addr add 192.168.77.1/24 dev br0")
	ns.Do(t, func() {
		n, err := Inspect(config.Network{Bridge: "br0", WAN: "wan0", Ports: []string{"lan1"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.incomplete(); err == nil || !strings.Contains(err.Error(), `network.wan: there is no interface "wan0"`) {
			t.Errorf("selftest says %v", err)
		}
		if got := n.present(); !slices.Equal(got, []string{"lan1"}) {
			t.Errorf("watched: %q", got)
		}
	})
}
