package neigh

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/netcontain"
)

var (
	start     = time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
	gwMAC     = netcontain.MAC{2, 0, 0, 0, 0, 0xfe}
	gw4       = netip.MustParseAddr("192.0.2.1")
	router    = neverOf([]netcontain.MAC{gwMAC}, []netip.Addr{gw4})
	broadcast = netcontain.MAC{255, 255, 255, 255, 255, 255}
)

// onlyIPv4 is the infected host, with an address of one family.
func onlyIPv4() netcontain.Host {
	h := infected()
	h.Addrs = h.Addrs[:1]
	return h
}

func v4(i int) Neighbour {
	return Neighbour{MAC: hostMAC(i), Port: "p1", Addrs: []netip.Addr{host4(i)}}
}

// said lists what frames say: "to: address at place".
func said(b *book, out []outgoing) (lines []string) {
	for _, o := range out {
		m, _ := parse(o.frame)
		at := m.mac.String()
		if m.mac == b.nowhere {
			at = "nowhere"
		}
		lines = append(lines, fmt.Sprintf("%v: %v at %s", m.dst, m.from, at))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func opened(hosts []netcontain.Host, given []Neighbour) *book {
	b := newBook(us)
	b.open("p1", start)
	b.want(hosts, given, router, start)
	return b
}

func TestBothSidesAreToldAndNobodyElse(t *testing.T) {
	atOther := v4(4)
	atOther.Port = "p2"
	quiet := v4(3)
	quiet.Quiet = true
	asRouter := Neighbour{MAC: gwMAC, Port: "p1", Addrs: []netip.Addr{host4(9)}}
	claimsRouter := Neighbour{MAC: hostMAC(5), Port: "p1", Addrs: []netip.Addr{gw4}}
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), v4(2), quiet, atOther, asRouter, claimsRouter})
	out, _ := b.due(start)
	want := []string{
		"02:00:00:00:00:01: 192.0.2.12 at nowhere", "02:00:00:00:00:01: 192.0.2.13 at nowhere", "02:00:00:00:00:02: 192.0.2.11 at nowhere",
	}
	if got := said(b, out); !slices.Equal(got, want) {
		t.Errorf("said %q", got)
	}
}

func TestAnAddressOfAnotherDeviceIsNeverTakenFromIt(t *testing.T) {
	thief := onlyIPv4()
	thief.Addrs = append(thief.Addrs, host4(2)) // the infected host used its neighbour's address
	b := opened([]netcontain.Host{thief}, []Neighbour{{MAC: hostMAC(1), Port: "p1", Addrs: thief.Addrs}, v4(2), v4(3)})
	out, _ := b.due(start)
	for _, line := range said(b, out) {
		if line == "02:00:00:00:00:03: 192.0.2.12 at nowhere" {
			t.Error("host 3 is told to miss host 2, which is not held")
		}
	}
}

func TestARouterIsLeftAloneUnlessItIsHeldItself(t *testing.T) {
	second := v4(2)
	second.Router = true
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), second, v4(3)})
	out, _ := b.due(start)
	out = append(out, b.hear("p1", message{src: hostMAC(1), dst: broadcast, asks: true, mac: hostMAC(1), from: host4(1), target: host4(2)}, start)...)
	want := []string{"02:00:00:00:00:01: 192.0.2.13 at nowhere", "02:00:00:00:00:03: 192.0.2.11 at nowhere"}
	if got := said(b, out); !slices.Equal(got, want) {
		t.Errorf("beside a router: %q", got)
	}
	forwards := v4(1) // an infected host that forwards is not spared for it
	forwards.Router = true
	b = opened([]netcontain.Host{onlyIPv4()}, []Neighbour{forwards, v4(3)})
	out, _ = b.due(start)
	if got := said(b, out); !slices.Equal(got, want) {
		t.Errorf("the held host forwards: %q", got)
	}
}

func TestNothingIsClaimedThatCannotBeTakenBack(t *testing.T) {
	h := onlyIPv4()
	h.MACs = append(h.MACs, hostMAC(8)) // two interfaces: which of them has the address?
	b := opened([]netcontain.Host{h}, []Neighbour{v4(2)})
	if out, _ := b.due(start); len(out) != 0 {
		t.Errorf("said %q", said(b, out))
	}
	b.want([]netcontain.Host{h}, []Neighbour{v4(1), v4(2)}, router, start)
	if out, _ := b.due(start); len(out) == 0 {
		t.Error("said nothing although it is known")
	}
}

func TestWhatIsSaidIsConfirmedThenRepeatedThenTakenBack(t *testing.T) {
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), v4(2)})
	var at []time.Duration
	for now := start; now.Before(start.Add(25 * time.Second)); {
		out, next := b.due(now)
		if len(out) > 0 {
			at = append(at, now.Sub(start))
		}
		now = next
	}
	want := []time.Duration{0, settled, settled + repeatEvery, settled + 2*repeatEvery}
	if !slices.Equal(at, want) {
		t.Errorf("said at %v", at)
	}
	b.want(nil, nil, router, start)
	at = nil
	for now := start; !now.IsZero(); {
		out, next := b.due(now)
		want := []string{"02:00:00:00:00:01: 192.0.2.12 at 02:00:00:00:00:02", "02:00:00:00:00:02: 192.0.2.11 at 02:00:00:00:00:01"}
		if len(out) > 0 {
			at = append(at, now.Sub(start))
			if got := said(b, out); !slices.Equal(got, want) {
				t.Errorf("taken back: %q", got)
			}
		}
		now = next
	}
	if !slices.Equal(at, []time.Duration{0, settled, 2 * settled}) {
		t.Errorf("taken back at %v", at)
	}
}

func TestAQuestionToNowhereIsAnsweredWhileHeldAndWithTheTruthAfterwards(t *testing.T) {
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), v4(2)})
	b.due(start)
	probe := message{src: hostMAC(2), dst: us, asks: true, mac: hostMAC(2), from: host4(2), target: host4(1)}
	if got := said(b, b.hear("p1", probe, start)); !slices.Equal(got, []string{"02:00:00:00:00:02: 192.0.2.11 at nowhere"}) {
		t.Errorf("while held: %q", got)
	}
	b.want(nil, nil, router, start)
	if got := said(b, b.hear("p1", probe, start)); !slices.Equal(got, []string{"02:00:00:00:00:02: 192.0.2.11 at 02:00:00:00:00:01"}) {
		t.Errorf("released: %q", got)
	}
	probe.target = host4(3)
	if got := b.hear("p1", probe, start); len(got) != 0 {
		t.Errorf("asked for somebody else: %q", said(b, got))
	}
}

func TestAHeldHostsQuestions(t *testing.T) {
	for name, c := range map[string]struct {
		from, target netip.Addr
		answered     bool
	}{
		"for a neighbour":       {host4(1), host4(2), true},
		"for nobody known":      {host4(1), host4(7), true},
		"for the gateway":       {host4(1), gw4, false},
		"for itself (RFC 5227)": {netip.IPv4Unspecified(), host4(1), false},
		"for a new address":     {netip.IPv4Unspecified(), host4(7), false},
		"announcement":          {host4(1), host4(1), false},
		"as the gateway":        {gw4, host4(2), false},
		"IPv6":                  {host6(1), host6(2), true},
		"IPv6 DAD":              {netip.IPv6Unspecified(), host6(7), false},
	} {
		b := opened([]netcontain.Host{infected()}, []Neighbour{onSwitch(1), onSwitch(2)})
		out := b.hear("p1", message{src: hostMAC(1), dst: broadcast, asks: true, mac: hostMAC(1), from: c.from, target: c.target}, start)
		want := fmt.Sprintf("02:00:00:00:00:01: %v at nowhere", c.target)
		if got := said(b, out); c.answered != slices.Equal(got, []string{want}) || !c.answered && len(got) > 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestWhatOthersHearIsCorrected is about broadcasts, by which caches learn the
// truth behind our back.
func TestWhatOthersHearIsCorrected(t *testing.T) {
	toHost, toTwo, toThree := "02:00:00:00:00:01: 192.0.2.12 at nowhere", "02:00:00:00:00:02: 192.0.2.11 at nowhere", "02:00:00:00:00:03: 192.0.2.11 at nowhere"
	for name, c := range map[string]struct {
		m    message
		want []string
	}{
		"a neighbour asks for anybody":     {message{src: hostMAC(2), dst: broadcast, asks: true, mac: hostMAC(2), from: host4(2), target: gw4}, []string{toHost}},
		"a neighbour asks for the host":    {message{src: hostMAC(2), dst: broadcast, asks: true, mac: hostMAC(2), from: host4(2), target: host4(1)}, []string{toHost, toTwo}},
		"a neighbour announces itself":     {message{src: hostMAC(2), dst: broadcast, mac: hostMAC(2), from: host4(2), target: host4(2)}, []string{toHost}},
		"the host asks for the gateway":    {message{src: hostMAC(1), dst: broadcast, asks: true, mac: hostMAC(1), from: host4(1), target: gw4}, []string{toTwo, toThree}},
		"the host announces itself":        {message{src: hostMAC(1), dst: broadcast, asks: true, mac: hostMAC(1), from: host4(1), target: host4(1)}, []string{toTwo, toThree}},
		"a neighbour answers the gateway":  {message{src: hostMAC(2), dst: gwMAC, mac: hostMAC(2), from: host4(2), target: gw4}, nil},
		"the gateway asks for a neighbour": {message{src: gwMAC, dst: broadcast, asks: true, mac: gwMAC, from: gw4, target: host4(2)}, nil},
		"our own frame comes back":         {message{src: us, dst: broadcast, asks: true, mac: us, from: host4(2), target: host4(1)}, nil},
	} {
		b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), v4(2), v4(3)})
		b.due(start)
		b.due(start.Add(settled))
		now := start.Add(settled + time.Second)
		out := b.hear("p1", c.m, now)
		more, _ := b.due(now)
		if got := said(b, append(out, more...)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
		again, _ := b.due(now.Add(settled)) // when answers are heeded again
		if got := said(b, again); !slices.Equal(got, c.want) {
			t.Errorf("%s, confirmed: %q", name, got)
		}
	}
}

func TestANoisyHeldHostCostsItsNeighboursTwoRoundsASecond(t *testing.T) {
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), v4(2)})
	n := 0
	for ms := range 10_000 {
		now := start.Add(time.Duration(ms) * time.Millisecond)
		b.hear("p1", message{src: hostMAC(1), dst: broadcast, asks: true, mac: hostMAC(1), from: host4(1), target: gw4}, now)
		out, _ := b.due(now)
		for _, line := range said(b, out) {
			if line == "02:00:00:00:00:02: 192.0.2.11 at nowhere" {
				n++
			}
		}
	}
	if n < 15 || n > 21 {
		t.Errorf("%d rounds in 10 s", n)
	}
}

func TestTwoHeldHostsMissEachOther(t *testing.T) {
	second := onlyIPv4()
	second.ID, second.MACs, second.Addrs = "second", []netcontain.MAC{hostMAC(2)}, []netip.Addr{host4(2)}
	b := opened([]netcontain.Host{onlyIPv4(), second}, []Neighbour{v4(1), v4(2)})
	out, _ := b.due(start)
	want := []string{"02:00:00:00:00:01: 192.0.2.12 at nowhere", "02:00:00:00:00:02: 192.0.2.11 at nowhere"}
	if got := said(b, out); !slices.Equal(got, want) || len(out) != 4 {
		t.Errorf("%d frames: %q", len(out), got)
	}
	b.want([]netcontain.Host{second}, []Neighbour{v4(1), v4(2)}, router, start) // one is released: nothing changes for them
	if out, _ := b.due(start.Add(time.Minute)); !slices.Equal(said(b, out), want) {
		t.Errorf("one released: %q", said(b, out))
	}
}

func TestWhatTheRateCannotRepeatIsNotBegun(t *testing.T) {
	var hosts []netcontain.Host
	var given []Neighbour
	for i := 1; i <= 60; i++ {
		given = append(given, v4(i))
		if i <= 50 {
			h := onlyIPv4()
			h.ID, h.MACs, h.Addrs = given[i-1].MAC.String(), []netcontain.MAC{given[i-1].MAC}, given[i-1].Addrs
			hosts = append(hosts, h)
		}
	}
	b := opened(hosts, given)
	if len(b.claims) != maxClaims || b.stats.Left == 0 {
		t.Errorf("%d claims, %d left", len(b.claims), b.stats.Left)
	}
	for _, e := range b.claims {
		if !e.toHeld {
			t.Fatal("a neighbour is told while a held host is not")
		}
	}
}

func TestWhoNobodyKnowsIsLookedForAtABoundedRate(t *testing.T) {
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), v4(2)})
	for i := range 200 {
		b.hear("p1", message{src: hostMAC(1), dst: broadcast, asks: true, mac: hostMAC(1), from: host4(1), target: host4(i + 2)}, start.Add(time.Duration(i)*5*time.Millisecond))
	}
	if n := len(b.find); n < findsPerSecond || n > 2*findsPerSecond || slices.Contains(b.find, host4(2)) {
		t.Errorf("looks for %v", b.find)
	}
}

func TestHearsayTeachesNothing(t *testing.T) {
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), v4(2)})
	b.due(start)
	for _, m := range []message{
		{src: hostMAC(1), dst: broadcast, mac: hostMAC(3), from: host4(3), target: host4(3)},             // the held host, of another
		{src: hostMAC(3), dst: broadcast, mac: hostMAC(3), from: host4(1), target: host4(1)},             // its address, from elsewhere
		{src: hostMAC(3), dst: broadcast, mac: hostMAC(6), from: host4(6), target: host4(6)},             // a neighbour, of another
		{src: hostMAC(1), dst: broadcast, mac: hostMAC(1), from: host4(9), target: host4(9)},             // the held host, of what may be a silent machine's
		{src: hostMAC(3), dst: broadcast, mac: hostMAC(3), from: gw4, target: gw4},                       // the gateway's
		{src: hostMAC(3), dst: broadcast, asks: true, mac: hostMAC(3), from: host4(2), target: host4(9)}, // one that is known to be another's
	} {
		b.hear("p1", m, start)
	}
	b.rebuild(start.Add(time.Second))
	for _, e := range b.claims {
		if e.to == hostMAC(3) || e.truth == hostMAC(3) {
			t.Errorf("learnt %+v", e.claim)
		}
	}
	if len(b.claims) != 2 {
		t.Errorf("%d claims", len(b.claims))
	}
}

func TestWhoeverSpeaksIsTakenUpAndForgottenAgain(t *testing.T) {
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1)})
	now := start.Add(time.Second)
	b.hear("p1", message{src: hostMAC(3), dst: broadcast, asks: true, mac: hostMAC(3), from: host4(3), target: gw4}, now)
	if len(b.claims) != 2 {
		t.Errorf("%d claims", len(b.claims))
	}
	b.rebuild(now.Add(ageing + time.Second))
	if len(b.claims) != 0 {
		t.Errorf("%d claims about one that is gone", len(b.claims))
	}
}

func TestInventedDevicesNeitherCrowdOutTheKnownNorGrowWithoutBound(t *testing.T) {
	b := opened([]netcontain.Host{onlyIPv4()}, []Neighbour{v4(1), v4(250)})
	for i := range 5000 {
		fake := netcontain.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)} // sorts before the known
		a := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		b.hear("p1", message{src: fake, dst: broadcast, asks: true, mac: fake, from: a, target: gw4}, start.Add(time.Duration(i)*time.Millisecond))
	}
	b.rebuild(start.Add(time.Minute))
	if n := len(b.learned["p1"]); n > maxLearned || b.stats.Evicted < 4000 {
		t.Errorf("%d learnt, %d evicted", n, b.stats.Evicted)
	}
	if b.claims[key{"p1", hostMAC(250), host4(1)}] == nil {
		t.Error("the known neighbour was crowded out")
	}
	if r := b.reports["infected"]; r.Told != maxNeighbours || r.Left == 0 {
		t.Errorf("%+v", r)
	}
}

// TestTheRateHolds lets anything be heard, and counts what is sent in any second.
func TestTheRateHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var given []Neighbour
		for i := range rapid.IntRange(0, 80).Draw(t, "neighbours") {
			given = append(given, v4(i+2))
		}
		b := opened([]netcontain.Host{onlyIPv4()}, append(given, v4(1)))
		sent, toNeighbour := 0, map[netcontain.MAC]int{}
		count := func(out []outgoing) {
			for _, o := range out {
				m, _ := parse(o.frame)
				if m.dst == gwMAC || m.from == gw4 || !unicast(m.dst) {
					t.Fatalf("%+v", m)
				}
				sent++
				if m.dst != hostMAC(1) {
					toNeighbour[m.dst]++
				}
			}
		}
		const seconds = 3
		for ms := 0; ms < seconds*1000; ms += rapid.IntRange(1, 20).Draw(t, "pause") {
			now := start.Add(time.Duration(ms) * time.Millisecond)
			by := rapid.IntRange(1, 5).Draw(t, "by")
			count(b.hear("p1", message{
				src: hostMAC(by), dst: broadcast, asks: rapid.Bool().Draw(t, "asks"), mac: hostMAC(by), from: host4(by), target: host4(rapid.IntRange(0, 100).Draw(t, "target")),
			}, now))
			out, _ := b.due(now)
			count(out)
		}
		// The buckets begin full.
		if most := 2 * framesPerSecond * (seconds + 1); sent > most {
			t.Fatalf("%d frames in %d s, at most %d", sent, seconds, most)
		}
		for m, n := range toNeighbour {
			// A neighbour that asks for the held host itself is answered each time.
			if i := int(m[5]); i > 5 && n > 2*2*seconds+4 {
				t.Fatalf("%v was sent %d frames", m, n)
			}
		}
	})
}
