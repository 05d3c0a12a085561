package plan

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/netcontain"
)

var (
	access    = Port{PVID: 10, Untagged: 1}
	colleague = netcontain.MAC{2, 0, 0, 0, 0, 3}
	noon      = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
)

// filtering is an office in which every mechanism is on: access ports lan1 to
// lan3, a trunk, the uplink, our own access point, and one that is not ours.
func filtering(ports map[netcontain.MAC]string) Network {
	return Network{
		Ports: ports, VLAN: 99, Filtering: true, Segment: true, AccessPoints: []string{"wlan0"},
		PortInfo: map[string]Port{
			"lan1": access, "lan2": access, "lan3": access, "trunk": {PVID: 10, Untagged: 1, Tagged: 2}, "several": {PVID: 10, Untagged: 2},
			"wan": {PVID: 10, Untagged: 1, Uplink: true}, "wlan0": {PVID: 10, Untagged: 1, Wireless: true}, "wlan9": {PVID: 10, Untagged: 1, Wireless: true},
		},
	}
}

func only(t *testing.T, p Plan) (netcontain.Host, Hold) {
	t.Helper()
	if len(p.Policy.Hosts) != 1 || len(p.Holds) != 1 {
		t.Fatalf("plan %+v", p)
	}
	return p.Policy.Hosts[0], p.Holds[0]
}

func TestEachPlaceHasItsMechanism(t *testing.T) {
	limit := policy()
	limit.Hosts[0].Level = netcontain.Limit
	for _, c := range []struct {
		name   string
		at     string // where the host is
		with   bool   // a neighbour is there too
		spoil  func(*Network)
		policy netcontain.Policy
		by     []netcontain.Mechanism
		ports  []string
		shared []string
		best   bool
		en, ja string // in the reason or a limit
	}{
		{name: "alone", at: "lan1", by: []netcontain.Mechanism{netcontain.ByVLAN}, ports: []string{"lan1"}, en: "moved to the quarantine network", ja: "隔離用ネットワークに移しました"},
		{name: "alone, limit", at: "lan1", policy: limit, ports: []string{"lan1"}, en: "stay in their network", ja: "元のネットワークに残します"},
		{name: "alone, no quarantine", at: "lan1", spoil: func(n *Network) { n.VLAN = 0 }, ports: []string{"lan1"}, en: "No quarantine network", ja: "設定されていない"},
		{name: "alone, plain bridge", at: "lan1", spoil: func(n *Network) { n.Filtering = false }, ports: []string{"lan1"}, en: "does not tell VLANs apart", ja: "VLAN を区別しない"},
		{name: "alone, port gone", at: "lan1", spoil: func(n *Network) { delete(n.PortInfo, "lan1") }, ports: []string{"lan1"}, en: "not connected to the bridge", ja: "つながっていない"},
		{name: "shared", at: "lan1", with: true, by: []netcontain.Mechanism{netcontain.BySegment}, shared: []string{"lan1"}, best: true, en: "steered away", ja: "妨げています"},
		{name: "shared, limit", at: "lan1", with: true, policy: limit, best: true, en: "not protected: best effort", ja: "保護できません"},
		{name: "shared, no segment", at: "lan1", with: true, spoil: func(n *Network) { n.Segment = false }, best: true, en: "not protected: best effort", ja: "保護できません"},
		{name: "a switch is known", at: "lan1", spoil: func(n *Network) { n.Switches = map[string]bool{"lan1": true} }, by: []netcontain.Mechanism{netcontain.BySegment}, shared: []string{"lan1"}, best: true, en: "steered away", ja: "妨げています"},
		{name: "our Wi-Fi", at: "wlan0", by: []netcontain.Mechanism{netcontain.ByWiFi}, best: true, en: "the access point refuses it", ja: "接続を拒否しています"},
		{name: "our Wi-Fi, with others", at: "wlan0", with: true, by: []netcontain.Mechanism{netcontain.ByWiFi}, best: true, en: "the access point refuses it", ja: "接続を拒否しています"},
		{name: "our Wi-Fi, limit", at: "wlan0", policy: limit, best: true, en: "stay in their network", ja: "元のネットワーク"},
		{name: "other Wi-Fi", at: "wlan9", best: true, en: "cannot make refuse it", ja: "拒否できません"},
		{name: "trunk", at: "trunk", best: true, en: "leads to other parts", ja: "ほかの部分があるため"},
		{name: "trunk, with others", at: "trunk", with: true, best: true, en: "leads to other parts", ja: "ほかの部分があるため"},
		{name: "several VLANs", at: "several", best: true, en: "leads to other parts", ja: "ほかの部分があるため"},
		{name: "uplink", at: "wan", best: true, en: "leads to other parts", ja: "ほかの部分があるため"},
		{name: "unknown", best: true, en: "not known which port", ja: "どのポート"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := filtering(map[netcontain.MAC]string{bad: c.at})
			if c.at == "" {
				n.Ports = nil
			}
			if c.with {
				n.Ports[neighbour] = c.at
			}
			if c.spoil != nil {
				c.spoil(&n)
			}
			if c.policy.Hosts == nil {
				c.policy = policy()
			}
			h, hold := only(t, Make(c.policy, n, Plan{}))
			if !slices.Equal(h.By, c.by) || !slices.Equal(h.Ports, c.ports) || !slices.Equal(h.Shared, c.shared) || hold.BestEffort != c.best {
				t.Errorf("by %q, ports %q, shared %q, best effort %t", h.By, h.Ports, h.Shared, hold.BestEffort)
			}
			if want := append([]netcontain.Mechanism{netcontain.BySets}, c.by...); !slices.Equal(hold.Mechanisms, want) {
				t.Errorf("mechanisms %q", hold.Mechanisms)
			}
			said := hold.Reason
			for _, l := range hold.Limits {
				said.EN += l.EN
				said.JA += l.JA
			}
			if !strings.Contains(said.EN, c.en) || !strings.Contains(said.JA, c.ja) || hold.Reason.EN == "" || hold.Reason.JA == "" {
				t.Errorf("reason %q, limits %q", hold.Reason, hold.Limits)
			}
		})
	}
}

func TestALaptopOnCableAndWiFiIsHeldOnBoth(t *testing.T) {
	p := policy()
	p.Hosts[0].MACs = append(p.Hosts[0].MACs, colleague)
	n := filtering(map[netcontain.MAC]string{bad: "lan1", colleague: "wlan0"})
	first := Make(p, n, Plan{})
	want := []netcontain.Mechanism{netcontain.ByVLAN, netcontain.ByWiFi}
	if h, _ := only(t, first); !slices.Equal(h.By, want) || !slices.Equal(h.Ports, []string{"lan1"}) {
		t.Fatalf("host %+v", h)
	}
	// The refused station is silent, and the cable's MAC ages out: nothing is let go.
	n.Ports = nil
	if h, _ := only(t, Make(p, n, first)); !slices.Equal(h.By, want) || !slices.Equal(h.Ports, []string{"lan1"}) {
		t.Errorf("silent: host %+v", h)
	}
	// Plugged in elsewhere, the refused station is still refused.
	n.Ports = map[netcontain.MAC]string{bad: "lan2", colleague: "lan3"}
	if h, _ := only(t, Make(p, n, first)); !slices.Equal(h.By, want) || !slices.Equal(h.Ports, []string{"lan2", "lan3"}) {
		t.Errorf("moved: host %+v", h)
	}
}

func TestAHostThatInventsMACsStaysInQuarantine(t *testing.T) {
	n := filtering(map[netcontain.MAC]string{bad: "lan1", colleague: "lan2"})
	first := Make(policy(), n, Plan{})
	n.Quarantine = map[netcontain.MAC]string{bad: "lan1", colleague: "lan1", {2, 9}: "lan1", {2, 8}: "lan1"}
	n.FirstSeen = map[netcontain.MAC]time.Time{colleague: noon.Add(-time.Hour), {2, 9}: noon.Add(time.Minute)}
	n.Since = map[string]time.Time{"bad": noon}
	for name, previous := range map[string]Plan{"next look": first, "after a restart, by the kernel's memory": {}} {
		info := access
		info.Held = "bad"
		n.PortInfo["lan1"] = info
		h, hold := only(t, Make(policy(), n, previous))
		if !slices.Equal(h.By, []netcontain.Mechanism{netcontain.ByVLAN}) || !slices.Equal(h.Ports, []string{"lan1"}) || hold.Neighbours != 0 {
			t.Errorf("%s: host %+v, hold %+v", name, h, hold)
		}
		if hold.Newcomers != 3 || !slices.Equal(hold.Known, []netcontain.MAC{colleague}) {
			t.Errorf("%s: newcomers %d, known %v", name, hold.Newcomers, hold.Known)
		}
		last := hold.Limits[len(hold.Limits)-1]
		if !strings.Contains(last.EN, "3 other MAC address(es) appeared on port lan1") || !strings.Contains(last.EN, "1 of them") || !strings.Contains(last.JA, "3 個") || !strings.Contains(last.JA, "lan1") {
			t.Errorf("%s: said %+v", name, last)
		}
	}
}

func TestAfterARestartWhoCameLaterDoesNotCountAndWhoWasThereDoes(t *testing.T) {
	n := filtering(map[netcontain.MAC]string{bad: "lan1", neighbour: "lan1"})
	n.Since = map[string]time.Time{"bad": noon}
	for first, want := range map[time.Time]netcontain.Mechanism{noon: netcontain.ByVLAN, noon.Add(time.Hour): netcontain.ByVLAN, noon.Add(-time.Second): netcontain.BySegment} {
		n.FirstSeen = map[netcontain.MAC]time.Time{neighbour: first}
		if h, _ := only(t, Make(policy(), n, Plan{})); !slices.Equal(h.By, []netcontain.Mechanism{want}) {
			t.Errorf("first seen %v: by %q, want %q", first, h.By, want)
		}
	}
	n.FirstSeen = nil // an inventory that cannot tell must not cut off a neighbour
	if h, _ := only(t, Make(policy(), n, Plan{})); !slices.Equal(h.By, []netcontain.Mechanism{netcontain.BySegment}) {
		t.Errorf("by %q", h.By)
	}
}

func TestAFloodOfInventedMACsBeforeTheContainmentDoesNotMakeAPortShared(t *testing.T) {
	invent := func(count int) Network {
		n := filtering(map[netcontain.MAC]string{bad: "lan1", colleague: "lan2"})
		n.Since = map[string]time.Time{"bad": noon}
		n.FirstSeen = map[netcontain.MAC]time.Time{bad: noon.Add(-24 * time.Hour), colleague: noon.Add(-24 * time.Hour)}
		for i := range count {
			m := netcontain.MAC{2, 7, 7, 7, 7, byte(i)}
			n.Ports[m] = "lan1"
			if i%2 == 0 { // the inventory is bounded, and need not know all
				n.FirstSeen[m] = noon.Add(-time.Minute)
			}
		}
		return n
	}
	by := func(n Network) []netcontain.Mechanism {
		h, _ := only(t, Make(policy(), n, Plan{}))
		return h.By
	}
	alone, shared := []netcontain.Mechanism{netcontain.ByVLAN}, []netcontain.Mechanism{netcontain.BySegment}
	if got := by(invent(inventions + 1)); !slices.Equal(got, alone) {
		t.Errorf("a flood: by %q", got)
	}
	if got := by(invent(inventions)); !slices.Equal(got, shared) {
		t.Errorf("as many as a large switch has ports: by %q", got)
	}
	n := invent(inventions + 1)
	n.Ports[colleague] = "lan1" // a neighbour of old
	if got := by(n); !slices.Equal(got, shared) {
		t.Errorf("a flood beside a neighbour: by %q", got)
	}
	n = invent(inventions + 1)
	n.FirstSeen[bad], n.FirstSeen[colleague] = noon.Add(-time.Minute), noon.Add(-time.Minute)
	if got := by(n); !slices.Equal(got, shared) {
		t.Errorf("the first hour of an office: by %q", got)
	}
}

func TestASwitchThatAPersonNamesFreesTheOthersAndIsSaid(t *testing.T) {
	n := filtering(map[netcontain.MAC]string{bad: "lan1"})
	first := Make(policy(), n, Plan{})
	n.Quarantine = map[netcontain.MAC]string{bad: "lan1", colleague: "lan1"}
	n.Switches = map[string]bool{"lan1": true}
	second := Make(policy(), n, first)
	h, hold := only(t, second)
	if !slices.Equal(h.By, []netcontain.Mechanism{netcontain.BySegment}) || len(h.Ports) != 0 || hold.Neighbours != 1 || !strings.Contains(hold.Limits[0].EN, "best effort") {
		t.Errorf("host %+v, hold %+v", h, hold)
	}
	n.Switches = nil // taken back by mistake: who is known to be there stays free
	if h, _ := only(t, Make(policy(), n, second)); len(h.Ports) != 0 {
		t.Errorf("host %+v", h)
	}
}

func TestANeighbourGoneSilentIsNotCutOffWhenItSpeaksAgain(t *testing.T) {
	n := filtering(map[netcontain.MAC]string{bad: "lan1", neighbour: "lan1"})
	first := Make(policy(), n, Plan{})
	for name, ports := range map[string]map[netcontain.MAC]string{
		"neighbour silent": {bad: "lan1"}, "both silent": {}, "neighbour claimed elsewhere": {bad: "lan1", neighbour: "lan3"},
	} {
		n.Ports = ports
		if h, hold := only(t, Make(policy(), n, first)); len(h.Ports) != 0 || !slices.Equal(h.By, []netcontain.Mechanism{netcontain.BySegment}) || hold.Neighbours != 1 {
			t.Errorf("%s: host %+v", name, h)
		}
	}
}

func TestARestrictedNeighbourIsNotIsolatedAlongWithAnother(t *testing.T) {
	p := policy()
	p.Hosts = append(p.Hosts, netcontain.Host{ID: "mild", MACs: []netcontain.MAC{neighbour}, Level: netcontain.Limit})
	n := filtering(map[netcontain.MAC]string{bad: "lan1", neighbour: "lan1"})
	got := Make(p, n, Plan{})
	if h := got.Policy.Hosts[0]; h.ID != "bad" || len(h.Ports) != 0 || slices.Contains(h.By, netcontain.ByVLAN) {
		t.Errorf("the isolated one: %+v", h)
	}
	p.Hosts[1].Level = netcontain.Isolate
	first := Make(p, n, Plan{})
	if h := first.Policy.Hosts[0]; !slices.Equal(h.By, []netcontain.Mechanism{netcontain.ByVLAN}) {
		t.Errorf("both isolated: %+v", h)
	}
	p.Hosts = p.Hosts[:1] // the neighbour is let go: it counts again
	if h, _ := only(t, Make(p, n, first)); len(h.Ports) != 0 || slices.Contains(h.By, netcontain.ByVLAN) {
		t.Errorf("after the release of the other: %+v", h)
	}
}

func TestWhoComesWhileTheHostIsOnlyWatchedCountsWhenItIsHeldAgain(t *testing.T) {
	n := filtering(map[netcontain.MAC]string{bad: "lan1"})
	first := Make(policy(), n, Plan{})
	watched := policy()
	watched.Hosts[0].Level = netcontain.Watch
	probation := Make(watched, n, first)
	n.Ports[colleague] = "lan1"
	if h, _ := only(t, Make(policy(), n, Make(watched, n, probation))); len(h.Ports) != 0 {
		t.Errorf("host %+v", h)
	}
}

func TestAClaimOfItsMACInTheOfficeDoesNotFreeThePort(t *testing.T) {
	n := filtering(map[netcontain.MAC]string{bad: "lan1"})
	first := Make(policy(), n, Plan{})
	n.Ports, n.Quarantine = map[netcontain.MAC]string{bad: "lan3"}, map[netcontain.MAC]string{bad: "lan1"}
	if h, _ := only(t, Make(policy(), n, first)); !slices.Equal(h.Ports, []string{"lan1", "lan3"}) || !slices.Equal(h.By, []netcontain.Mechanism{netcontain.ByVLAN}) {
		t.Errorf("host %+v", h)
	}
}

func TestTheMemoryIsBoundedAndOutlivesARestart(t *testing.T) {
	n := filtering(map[netcontain.MAC]string{bad: "lan1"})
	for i := range 5000 {
		n.Ports[netcontain.MAC{2, 1, 0, 0, byte(i >> 8), byte(i)}] = "lan1"
	}
	first := Make(policy(), n, Plan{})
	if got := len(first.Memory["bad"].With["lan1"]); got != maxNeighbours {
		t.Errorf("%d neighbours remembered", got)
	}
	b, err := json.Marshal(first.Memory)
	if err != nil {
		t.Fatal(err)
	}
	var kept Memory
	if err := json.Unmarshal(b, &kept); err != nil || !reflect.DeepEqual(kept, first.Memory) {
		t.Errorf("%v, %+v", err, kept)
	}
	n.Ports = nil
	if h, _ := only(t, Make(policy(), n, Plan{Memory: kept})); len(h.Ports) != 0 || !slices.Equal(h.Shared, []string{"lan1"}) {
		t.Errorf("host %+v", h)
	}
}

// drawNetwork draws MACs 1 to 8 on any of the ports, with any mechanism off.
func drawNetwork(t *rapid.T) Network {
	n := filtering(map[netcontain.MAC]string{})
	n.Quarantine, n.FirstSeen, n.Since, n.Switches = map[netcontain.MAC]string{}, map[netcontain.MAC]time.Time{}, map[string]time.Time{}, map[string]bool{}
	ports := []string{"", "lan1", "lan2", "lan3", "trunk", "several", "wan", "wlan0", "wlan9", "gone"}
	for i := range 8 {
		m := netcontain.MAC{2, 0, 0, 0, 1, byte(i)}
		if port := rapid.SampledFrom(ports).Draw(t, "at"); port != "" {
			n.Ports[m] = port
		}
		if port := rapid.SampledFrom([]string{"", "", "lan1", "lan2"}).Draw(t, "in quarantine"); port != "" {
			n.Quarantine[m] = port
		}
		if rapid.Bool().Draw(t, "inventory knows") {
			n.FirstSeen[m] = noon.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "hours")) * time.Hour)
		}
	}
	n.Since["host-0"] = noon
	n.Switches["lan3"] = rapid.Bool().Draw(t, "switch")
	n.Filtering, n.Segment = rapid.Bool().Draw(t, "filtering"), rapid.Bool().Draw(t, "segment")
	n.NeverMACs = []netcontain.MAC{{2, 0, 0, 0, 1, 7}}
	return n
}

func drawPolicy(t *rapid.T) netcontain.Policy {
	var p netcontain.Policy
	for i := range rapid.IntRange(0, 4).Draw(t, "hosts") {
		h := netcontain.Host{ID: fmt.Sprintf("host-%d", i), Level: netcontain.Level(rapid.IntRange(0, 2).Draw(t, "level"))}
		for _, k := range rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 1, 3, rapid.ID[int]).Draw(t, "macs") {
			h.MACs = append(h.MACs, netcontain.MAC{2, 0, 0, 0, 1, byte(k)})
		}
		p.Hosts = append(p.Hosts, h)
	}
	return p
}

func TestNoPlanHoldsWhatIsNotTheHostsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var previous Plan
		for range 3 {
			p, n := drawPolicy(t), drawNetwork(t)
			got := Make(p, n, previous)
			if err := got.Policy.Validate(); err != nil {
				t.Fatal(err)
			}
			for _, h := range got.Policy.Hosts {
				checkHost(t, h, n, got)
				if i := slices.IndexFunc(got.Holds, func(k Hold) bool { return k.ID == h.ID }); i < 0 {
					t.Fatalf("%s is not explained", h.ID)
				} else if k := got.Holds[i]; h.Level != netcontain.Watch && (len(k.Mechanisms) == 0 || k.Mechanisms[0] != netcontain.BySets || k.Reason.EN == "" || k.Reason.JA == "") {
					t.Fatalf("hold %+v", k)
				}
			}
			if again := Make(p, n, got); !reflect.DeepEqual(again, got) {
				t.Fatalf("a second look chooses otherwise:\n%+v\n%+v", got, again)
			}
			turned := netcontain.Policy{Hosts: rapid.Permutation(p.Hosts).Draw(t, "order")}
			for i := range turned.Hosts {
				turned.Hosts[i].MACs = rapid.Permutation(turned.Hosts[i].MACs).Draw(t, "order of MACs")
			}
			if other := Make(turned, n, previous); !reflect.DeepEqual(other, got) {
				t.Fatalf("the order matters:\n%+v\n%+v", got, other)
			}
			previous = got
		}
	})
}

func checkHost(t *rapid.T, h netcontain.Host, n Network, p Plan) {
	if slices.Contains(h.MACs, n.NeverMACs[0]) {
		t.Fatalf("%s holds the router", h.ID)
	}
	held := map[netcontain.MAC]netcontain.Level{}
	for _, o := range p.Policy.Hosts {
		for _, m := range o.MACs {
			held[m] = o.Level
		}
	}
	for _, port := range h.Ports {
		if i := n.PortInfo[port]; i.Uplink || i.Wireless || n.Filtering && port != "gone" && !i.access() {
			t.Fatalf("%s holds %s whole", h.ID, port)
		}
		for _, m := range p.Memory[h.ID].With[port] {
			if held[m] < h.Level {
				t.Fatalf("%s holds %s whole, where %s is too", h.ID, port, m)
			}
		}
	}
	if slices.Contains(h.By, netcontain.ByVLAN) {
		if h.Level != netcontain.Isolate || !n.Filtering || len(h.Ports) == 0 {
			t.Fatalf("moved: %+v", h)
		}
		for _, port := range h.Ports {
			if !n.PortInfo[port].access() {
				t.Fatalf("moved: %s", port)
			}
		}
	}
	for _, port := range h.Shared {
		if i := n.PortInfo[port]; i.Uplink || i.Wireless || !n.Segment || h.Level != netcontain.Isolate {
			t.Fatalf("ARP on %s for %s", port, h.ID)
		}
	}
	if slices.Contains(h.By, netcontain.BySegment) != (len(h.Shared) > 0) {
		t.Fatalf("by %q, shared %q", h.By, h.Shared)
	}
}

// TestNothingThatAHeldHostSendsFreesIt: whatever appears on its port, and
// whatever is forgotten, the host stays in quarantine.
func TestNothingThatAHeldHostSendsFreesIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := filtering(map[netcontain.MAC]string{bad: "lan1", colleague: "lan2"})
		plan := Make(policy(), n, Plan{})
		for range rapid.IntRange(1, 10).Draw(t, "looks") {
			n.Ports, n.Quarantine = map[netcontain.MAC]string{}, map[netcontain.MAC]string{}
			if rapid.Bool().Draw(t, "not silent") {
				n.Quarantine[bad] = "lan1"
			}
			for range rapid.IntRange(0, 5).Draw(t, "sends from") {
				m := rapid.SampledFrom([]netcontain.MAC{colleague, neighbour, {2, 5}, {2, 6}, {2, 7}}).Draw(t, "mac")
				if rapid.Bool().Draw(t, "before it was moved") {
					n.Ports[m] = "lan1"
				} else {
					n.Quarantine[m] = "lan1"
				}
			}
			plan = Make(policy(), n, plan)
			if h := plan.Policy.Hosts[0]; !slices.Equal(h.By, []netcontain.Mechanism{netcontain.ByVLAN}) || !slices.Equal(h.Ports, []string{"lan1"}) {
				t.Fatalf("host %+v", h)
			}
		}
	})
}
