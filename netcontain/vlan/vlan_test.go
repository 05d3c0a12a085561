package vlan

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
)

var (
	discard = slog.New(slog.DiscardHandler)
	address = netip.MustParsePrefix("10.99.0.1/24")
)

// clock is advanced by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func config(c *clock) Config {
	return Config{Bridge: "br0", Uplink: "wan", VLAN: 99, Address: address, Flap: DefaultFlap, Log: discard, Now: c.Now}
}

func enforcer(m *model) (*Enforcer, *clock) {
	c := &clock{time.Unix(0, 0)}
	return newEnforcer(config(c), m), c
}

func host(id string, ports ...string) netcontain.Host {
	return netcontain.Host{ID: id, Level: netcontain.Isolate, Ports: ports, By: []netcontain.Mechanism{netcontain.ByVLAN},
		MACs: []netcontain.MAC{{2, 0, 0, 0, 0, id[0]}}}
}

func policy(hosts ...netcontain.Host) netcontain.Policy { return netcontain.Policy{Hosts: hosts} }

func mustApply(t testing.TB, e *Enforcer, hosts ...netcontain.Host) {
	t.Helper()
	if err := e.Apply(t.Context(), policy(hosts...)); err != nil {
		t.Fatal(err)
	}
}

// ids returns whom Observed names, and what its error says.
func ids(t testing.TB, e *Enforcer) (out []string, said string) {
	t.Helper()
	p, err := e.Observed(t.Context())
	for _, h := range p.Hosts {
		out = append(out, h.ID)
	}
	if err != nil {
		said = err.Error()
	}
	return out, said
}

func TestAPortIsMovedAndMovedBackStepByStep(t *testing.T) {
	m := office()
	e, c := enforcer(m)
	before := m.dump()
	mustApply(t, e, host("bad", "lan1"))
	c.now = c.now.Add(DefaultFlap)
	mustApply(t, e, host("bad", "lan1"))
	m.log = append(m.log, "-- release")
	mustApply(t, e)
	c.now = c.now.Add(DefaultFlap)
	mustApply(t, e)
	want := strings.Split(strings.TrimSpace(`
br0.99 new device 99
br0.99 alias "sekisho self"
br0 add self 99
br0.99 fence
br0.99 add address 10.99.0.1/24
br0.99 up
lan1 alias "desk 1 sekisho vlan=99 pvid=10 untagged=10 down host=bad"
lan1 isolate true
lan1 add 99 pvid untagged
lan1 delete 10
lan1 down
lan1 up
lan1 alias "desk 1 sekisho vlan=99 pvid=10 untagged=10 host=bad"
-- release
lan1 add 10 pvid untagged
lan1 delete 99
lan1 isolate false
lan1 alias "desk 1 sekisho down"
lan1 down
br0 delete self 99
br0.99 delete device
br0.99 unfence
lan1 up
lan1 alias "desk 1"`), "\n")
	if !slices.Equal(m.log, want) {
		t.Errorf("done:\n%s\nwant:\n%s", strings.Join(m.log, "\n"), strings.Join(want, "\n"))
	}
	if after := m.dump(); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func TestAProgramThatEndsLeavesNoLinkDown(t *testing.T) {
	m := office()
	e, c := enforcer(m)
	before := m.dump()
	mustApply(t, e, host("bad", "lan1"), host("worse", "lan2"))
	c.now = c.now.Add(DefaultFlap)
	mustApply(t, e, host("bad", "lan1"), host("worse", "lan2"))
	mustApply(t, e, host("worse", "lan2", "lan3")) // lan1 is moved back, lan3 away: both links are down
	if m.w.ports["lan1"].up || m.w.ports["lan3"].up {
		t.Fatal("no link is down")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for name, p := range m.w.ports {
		if !p.up {
			t.Errorf("%s is down", name)
		}
	}
	if p := m.w.ports["lan1"]; p.alias != "desk 1" {
		t.Errorf("lan1 is called %q", p.alias)
	}
	e, _ = enforcer(m) // the next one knows who is held, and what to restore
	mustApply(t, e, host("worse", "lan2", "lan3"))
	if got, said := ids(t, e); !slices.Equal(got, []string{"worse"}) || said != "" {
		t.Errorf("observed %q, %s", got, said)
	}
	mustApply(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if after := m.dump(); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func TestApplyTwiceDoesNothingTheSecondTime(t *testing.T) {
	m := office()
	e, c := enforcer(m)
	mustApply(t, e, host("bad", "lan1", "lan3"))
	c.now = c.now.Add(DefaultFlap)
	mustApply(t, e, host("bad", "lan1", "lan3"))
	m.log = nil
	mustApply(t, e, host("bad", "lan1", "lan3"))
	if got, said := ids(t, e); len(m.log) != 0 || !slices.Equal(got, []string{"bad"}) || said != "" {
		t.Errorf("done %q, observed %q, %s", m.log, got, said)
	}
}

func TestPortsThatAreSharedAreRefusedByNameAndTheOthersMoved(t *testing.T) {
	m := office()
	e, _ := enforcer(m)
	err := e.Apply(t.Context(), policy(host("a", "trunk"), host("b", "wan"), host("c", "br0"), host("d", "eth7"), host("e", "wlan0"), host("good", "lan2")))
	refused := map[string]string{}
	for _, r := range Refused(err) {
		refused[r.Port] = r.Why
	}
	for port, why := range map[string]string{"trunk": "tagged VLANs 20", "wan": "uplink", "br0": "not a port", "eth7": "not a port", "wlan0": "access point"} {
		if !strings.Contains(refused[port], why) || !strings.Contains(err.Error(), "port "+port) {
			t.Errorf("%s: %q", port, refused[port])
		}
	}
	if got, _ := ids(t, e); !slices.Equal(got, []string{"good"}) || len(refused) != 5 {
		t.Errorf("observed %q, refused %q", got, refused)
	}
	for _, o := range m.log {
		if !strings.HasPrefix(o, "lan2 ") && !strings.HasPrefix(o, "br0") {
			t.Errorf("a refused port was touched: %s", o)
		}
	}
}

func TestOtherPortsThatCannotBeMoved(t *testing.T) {
	for want, spoil := range map[string]func(*model){
		"several VLANs":       func(m *model) { m.set("lan1", func(p *port) { p.vlans.untagged = []uint16{10, 20} }) },
		"no VLAN":             func(m *model) { m.set("lan1", func(p *port) { p.vlans = membership{} }) },
		"no room":             func(m *model) { m.set("lan1", func(p *port) { p.alias = strings.Repeat("x", 240) }) },
		"does not filter":     func(m *model) { m.w.filtering = false },
		"is not there":        func(m *model) { m.w.found = false },
		"the office's own":    func(m *model) { m.w.defaultPVID = 99 },
		"is the office's own": func(m *model) { m.w.self = alone(99) },
		"in use on port lan2": func(m *model) { m.set("lan2", func(p *port) { p.vlans = alone(99) }) },
		"in use on port trunk": func(m *model) {
			m.set("trunk", func(p *port) { p.vlans.tagged = []uint16{20, 99} })
		},
	} {
		m := office()
		spoil(m)
		e, _ := enforcer(m)
		before := m.dump()
		err := e.Apply(t.Context(), policy(host("bad", "lan1")))
		var r *RefusedError
		if !errors.As(err, &r) || r.Port != "lan1" || !strings.Contains(r.Why, want) {
			t.Errorf("%s: %v", want, err)
		}
		if m.dump() != before {
			t.Errorf("%s: changed\n%sto\n%s", want, before, m.dump())
		}
		if got, _ := ids(t, e); len(got) != 0 {
			t.Errorf("%s: observed %q", want, got)
		}
	}
}

func (m *model) set(name string, change func(*port)) {
	p := m.w.ports[name]
	change(&p)
	m.w.ports[name] = p
}

func TestOnlyIsolateMovesAPort(t *testing.T) {
	m := office()
	e, _ := enforcer(m)
	h := host("bad", "lan1")
	h.Level = netcontain.Limit
	if err := e.Apply(t.Context(), policy(h)); err == nil || !strings.Contains(err.Error(), `"bad"`) || len(m.log) != 0 {
		t.Errorf("error %v, done %q", err, m.log)
	}
}

func TestTheLinkIsSetUpWhenItIsTimeAlsoByAProgramThatBeganLater(t *testing.T) {
	m := office()
	e, c := enforcer(m)
	mustApply(t, e, host("bad", "lan1"))
	c.now = c.now.Add(DefaultFlap - time.Millisecond)
	mustApply(t, e, host("bad", "lan1"))
	if _, said := ids(t, e); m.w.ports["lan1"].up || said != "" {
		t.Errorf("up before its time, or %q", said)
	}
	later, _ := enforcer(m) // does not know since when
	var outdated *netcontain.OutdatedError
	if _, err := later.Observed(t.Context()); !errors.As(err, &outdated) {
		t.Errorf("error %v", err)
	}
	mustApply(t, later, host("bad", "lan1"))
	if _, said := ids(t, later); !m.w.ports["lan1"].up || said != "" || strings.Contains(m.w.ports["lan1"].alias, "down") {
		t.Errorf("port %+v, %q", m.w.ports["lan1"], said)
	}
}

func TestALinkThatWasDownIsNotSetUp(t *testing.T) {
	m := office()
	m.set("lan1", func(p *port) { p.up = false })
	e, c := enforcer(m)
	mustApply(t, e, host("bad", "lan1"))
	c.now = c.now.Add(time.Minute)
	mustApply(t, e, host("bad", "lan1"))
	mustApply(t, e)
	if m.w.ports["lan1"].up {
		t.Error("set up a port that its owner keeps down")
	}
}

func TestWhatSomebodyElseChangesIsSeenAndMended(t *testing.T) {
	for name, tamper := range map[string]func(*model){
		"PVID back":         func(m *model) { m.set("lan1", func(p *port) { p.vlans = alone(10) }) },
		"office VLAN added": func(m *model) { m.set("lan1", func(p *port) { p.vlans.untagged = []uint16{10, 99} }) },
		"no longer apart":   func(m *model) { m.set("lan1", func(p *port) { p.isolated = false }) },
		"alias lost":        func(m *model) { m.set("lan1", func(p *port) { p.alias = "" }) },
		"alias overwritten": func(m *model) { m.set("lan1", func(p *port) { p.alias = "printer" }) },
		"device deleted":    func(m *model) { m.w.devices = nil },
		"device down":       func(m *model) { m.w.devices[0].up = false },
		"address deleted":   func(m *model) { m.w.devices[0].addrs = nil },
		"not in the VLAN":   func(m *model) { m.w.self = alone(10) },
		"bridge rebuilt": func(m *model) {
			m.w.devices, m.w.self = nil, alone(10)
			for n := range m.w.ports {
				m.set(n, func(p *port) { p.isolated, p.vlans = false, alone(10) })
			}
		},
		"interface new": func(m *model) { m.w.ports["lan1"] = port{member: true, vlans: alone(10)} },
	} {
		m := office()
		e, c := enforcer(m)
		mustApply(t, e, host("bad", "lan1"))
		c.now = c.now.Add(DefaultFlap)
		mustApply(t, e, host("bad", "lan1"))
		tamper(m)
		want := policy(host("bad", "lan1"))
		got, err := e.Observed(t.Context())
		if err == nil && slices.ContainsFunc(got.Hosts, func(h netcontain.Host) bool { return h.ID == "bad" }) {
			t.Errorf("%s: not noticed", name)
		}
		if err := e.Apply(t.Context(), want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.now = c.now.Add(DefaultFlap)
		if err := e.Apply(t.Context(), want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, said := ids(t, e); !slices.Equal(got, []string{"bad"}) || said != "" || !m.w.ports["lan1"].vlans.equal(alone(99)) {
			t.Errorf("%s: observed %q, %q, port %+v", name, got, said, m.w.ports["lan1"])
		}
		mustApply(t, e)
		if p := m.w.ports["lan1"]; !p.vlans.equal(alone(10)) || p.isolated {
			t.Errorf("%s: after release %+v", name, p)
		}
	}
}

func TestWhatTheOwnerSetsMeanwhileIsWhatReleaseRestores(t *testing.T) {
	m := office()
	e, _ := enforcer(m)
	mustApply(t, e, host("bad", "lan1"))
	m.set("lan1", func(p *port) { p.vlans = membership{pvid: 30, untagged: []uint16{30, 99}} }) // networkd, with a new file
	mustApply(t, e, host("bad", "lan1"))
	if p := m.w.ports["lan1"]; !p.vlans.equal(alone(99)) {
		t.Fatalf("not held: %+v", p)
	}
	mustApply(t, e)
	if p := m.w.ports["lan1"]; !p.vlans.equal(alone(30)) {
		t.Errorf("released to %+v", p.vlans)
	}

	mustApply(t, e, host("bad", "lan1"))
	m.set("lan1", func(p *port) { p.vlans.tagged = []uint16{40} }) // it becomes a trunk
	err := e.Apply(t.Context(), policy(host("bad", "lan1")))
	if r := Refused(err); len(r) != 1 || !strings.Contains(r[0].Why, "trunk") {
		t.Errorf("error %v", err)
	}
	mustApply(t, e) // plan has seen the trunk, and chosen otherwise
	if p := m.w.ports["lan1"]; !p.vlans.equal(membership{pvid: 30, untagged: []uint16{30}, tagged: []uint16{40}}) {
		t.Errorf("released to %+v", p.vlans)
	}
}

func TestAPortHeldForNobodyComesBackUnderNoHostsID(t *testing.T) {
	m := office()
	e, _ := enforcer(m)
	mustApply(t, e, host("bad", "lan1"), host("worse", "lan3"))
	m.set("lan3", func(p *port) { p.alias = "guests" })
	again, _ := enforcer(m) // remembers nothing
	got, _ := ids(t, again)
	if len(got) != 2 || got[0] != "bad" || !strings.Contains(got[1], "lan3") || !strings.Contains(got[1], "for nobody") {
		t.Errorf("observed %q", got)
	}
	mustApply(t, again)
	if p := m.w.ports["lan3"]; !p.vlans.equal(alone(10)) || p.isolated { // the default of the bridge: the alias is lost for good
		t.Errorf("let go to %+v", p)
	}

	m.w.defaultPVID = 0
	mustApply(t, e, host("bad", "lan1"))
	m.set("lan1", func(p *port) { p.alias = "" })
	again, _ = enforcer(m)
	if err := again.Apply(t.Context(), policy()); err == nil || !strings.Contains(err.Error(), "lan1") {
		t.Errorf("error %v", err)
	}
}

func TestWhatTheOwnerHadMadeStays(t *testing.T) {
	m := office()
	m.w.devices = []device{{name: "bench", id: 99, up: true, alias: "repair bench"}}
	m.w.self = membership{pvid: 10, untagged: []uint16{10}, tagged: []uint16{99}}
	e, c := enforcer(m)
	before := m.dump()
	mustApply(t, e, host("bad", "lan1"))
	if d := m.w.devices[0]; !slices.Equal(d.addrs, []netip.Prefix{address}) || d.alias != "repair bench sekisho address=10.99.0.1/24" {
		t.Errorf("device %+v", d)
	}
	c.now = c.now.Add(DefaultFlap)
	mustApply(t, e)
	c.now = c.now.Add(DefaultFlap)
	mustApply(t, e)
	if after := m.dump(); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func TestAnotherQuarantineVLANTakesOverAndNoneLetsGo(t *testing.T) {
	m := office()
	before := m.dump()
	e, c := enforcer(m)
	mustApply(t, e, host("bad", "lan1"))
	cfg := config(c)
	cfg.VLAN = 98
	e = newEnforcer(cfg, m)
	mustApply(t, e, host("bad", "lan1"))
	if p := m.w.ports["lan1"]; !p.vlans.equal(alone(98)) || len(m.w.devices) != 1 || m.w.devices[0].name != "br0.98" {
		t.Errorf("port %+v, devices %+v", p, m.w.devices)
	}
	cfg.VLAN = 0
	e = newEnforcer(cfg, m)
	if err := e.Apply(t.Context(), policy(host("bad", "lan1"))); len(Refused(err)) != 1 {
		t.Errorf("error %v", err)
	}
	mustApply(t, e)
	c.now = c.now.Add(time.Minute)
	mustApply(t, e)
	if after := m.dump(); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func TestAPortThatChangesHandsIsNotFlapped(t *testing.T) {
	m := office()
	e, c := enforcer(m)
	mustApply(t, e, host("a", "lan1"), host("b", "lan1"))
	c.now = c.now.Add(DefaultFlap)
	mustApply(t, e, host("a", "lan1"), host("b", "lan1"))
	if got, said := ids(t, e); !slices.Equal(got, []string{"a", "b"}) || said != "" {
		t.Errorf("two behind one port: observed %q, %q", got, said)
	}
	m.log = nil
	mustApply(t, e, host("b", "lan1"))
	if want := []string{`lan1 alias "desk 1 sekisho vlan=99 pvid=10 untagged=10 host=b"`}; !slices.Equal(m.log, want) {
		t.Errorf("done %q", m.log)
	}
}

func TestSightingsInQuarantineAreKeptApart(t *testing.T) {
	m := office()
	colleague, bad := netcontain.MAC{2, 1}, netcontain.MAC{2, 2}
	m.fdb = []sighting{{colleague, "lan2", 10}, {bad, "lan1", 99}, {colleague, "lan1", 99}}
	e, _ := enforcer(m)
	b, err := e.Observe()
	office, quarantine := b.Office, b.Quarantine
	if err != nil || office[colleague] != "lan2" || quarantine[colleague] != "lan1" || quarantine[bad] != "lan1" || len(office) != 1 {
		t.Errorf("office %v, quarantine %v, %v", office, quarantine, err)
	}
}

func TestObserveTellsWhatThePortsWereBefore(t *testing.T) {
	m := office()
	e, _ := enforcer(m)
	mustApply(t, e, host("bad", "lan1"))
	b, err := e.Observe()
	if err != nil || !b.Filtering || len(b.Ports) != 6 {
		t.Fatalf("%+v, %v", b, err)
	}
	if p := b.Ports["lan1"]; p.PVID != 10 || !slices.Equal(p.Untagged, []uint16{10}) || p.Held != "bad" {
		t.Errorf("held port %+v", p)
	}
	if p := b.Ports["trunk"]; !slices.Equal(p.Tagged, []uint16{20}) || p.Held != "" || !b.Ports["wlan0"].Wireless {
		t.Errorf("ports %+v", b.Ports)
	}
	m.w.found = false
	if _, err := e.Observe(); err == nil {
		t.Error("a bridge that is not there was observed")
	}
}

func TestTheModelConforms(t *testing.T) {
	m := office()
	e, _ := enforcer(m)
	netcontaintest.ConformLayer(t, netcontaintest.Layer{
		Enforcer: e, By: netcontain.ByVLAN, Hosts: []netcontain.Host{host("a", "lan1"), host("b", "lan3")},
		Lose: func() { m.set("lan1", func(p *port) { p.vlans = alone(10) }) },
	})
}

// TestNoDeathAndNoOrderLosesWhatAPortWas kills the program after any operation
// of any sequence, starts another one, and releases everybody.
func TestNoDeathAndNoOrderLosesWhatAPortWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := office()
		before := m.dump()
		c := &clock{time.Unix(0, 0)}
		e := newEnforcer(config(c), m)
		apply := func(hosts ...netcontain.Host) error { return e.Apply(t.Context(), policy(hosts...)) }
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			m.dies = rapid.IntRange(-1, 12).Draw(t, "dies after")
			c.now = c.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second)
			var hosts []netcontain.Host
			held := map[string]bool{}
			for _, name := range []string{"lan1", "lan2", "lan3"} {
				if rapid.Bool().Draw(t, name) {
					hosts = append(hosts, host(name, name))
					held[name] = true
				}
			}
			if err := apply(hosts...); errors.Is(err, errDied) {
				m.dies, e = -1, newEnforcer(config(c), m)
				if err := apply(hosts...); err != nil {
					t.Fatal(err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			m.dies = -1
			for name := range held {
				if !m.w.ports[name].vlans.equal(alone(99)) || !m.w.ports[name].isolated {
					t.Fatalf("%s is not held: %+v", name, m.w.ports[name])
				}
			}
			if p, _ := e.Observed(t.Context()); len(p.Hosts) != len(hosts) {
				t.Fatalf("observed %+v, want %d", p.Hosts, len(hosts))
			}
		}
		for range 2 {
			if err := apply(); err != nil {
				t.Fatal(err)
			}
			c.now = c.now.Add(time.Minute)
		}
		if after := m.dump(); after != before {
			t.Fatalf("before:\n%safter:\n%s", before, after)
		}
	})
}

func TestSettingsThatCannotBeAreNamed(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"bridge":     func(c *Config) { c.Bridge = "" },
		"uplink":     func(c *Config) { c.Uplink = "br0" },
		"4095":       func(c *Config) { c.VLAN = 4095 },
		"longer":     func(c *Config) { c.Bridge = "a-long-bridge" },
		"flap":       func(c *Config) { c.Flap = -1 },
		"no Log":     func(c *Config) { c.Log = nil },
		"not a devi": func(c *Config) { c.Bridge = "a-very-long-bridge" },
	} {
		c := config(&clock{})
		spoil(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
