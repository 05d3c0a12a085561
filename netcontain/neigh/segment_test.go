package neigh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/netcontain"
)

func output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput() // the exit code says less than the text
	return string(out)
}

// everybody is what the inventory knows of the switch.
func everybody() []Neighbour {
	return []Neighbour{onSwitch(1), onSwitch(2), onSwitch(3), {MAC: hostMAC(4), Port: "p2", Addrs: []netip.Addr{host4(4), host6(4)}}}
}

// begun is how many datagrams, one each millisecond, may arrive after Apply has
// returned: none was seen here; a busy machine may have some under way.
const begun = 50

func TestNeighboursOnASwitchMissTheInfectedHostAndFindItAgain(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	for name, to := range map[string]netip.Addr{"IPv4": host4(2), "IPv6": host6(2), "link-local": netip.MustParseAddr("fe80::ff:fe00:2%eth0")} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t, o.hosts[1], to)
			at := newTap(t, o.hosts[2], "eth0")
			s.send(100)
			if n := len(numbers(at.frames(false))); n < 90 {
				t.Fatalf("before: %d of 100 datagrams arrived", n)
			}
			o.apply(t, infected())
			first := s.send(1500) // longer than a repetition after the locktime
			got := numbers(at.frames(false))
			if len(got) > 0 && got[len(got)-1] >= first+begun {
				t.Errorf("%d datagrams arrived after Apply, the last was number %d", len(got), got[len(got)-1]-first)
			}
			t.Logf("leaked after Apply: %d of 1500", len(got))
			o.apply(t)
			eventually(t, "the released host reaches its neighbour", func() bool {
				s.send(10)
				return len(numbers(at.frames(false))) > 0
			})
		})
	}
}

func TestAnEstablishedConnectionStopsBothWays(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	var l net.Listener
	o.hosts[2].Do(t, func() {
		var err error
		if l, err = net.Listen("tcp", netip.AddrPortFrom(host4(2), 7000).String()); err != nil {
			t.Error(err)
		}
	})
	defer l.Close()
	var client, server net.Conn
	o.hosts[1].Do(t, func() {
		var err error
		if client, err = net.DialTimeout("tcp", l.Addr().String(), patience); err != nil {
			t.Error(err)
		}
	})
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer server.Close()
	back := newStream(t, o.hosts[2], host4(1))
	back.send(50)
	o.apply(t, infected())
	atNeighbour, atHost := newTap(t, o.hosts[2], "eth0"), newTap(t, o.hosts[1], "eth0")
	for _, c := range []net.Conn{client, server} {
		if _, err := c.Write([]byte("numbered payload")); err != nil {
			t.Error(err)
		}
	}
	back.send(1000) // long enough for the connection to repeat itself several times
	if got := numbers(atNeighbour.frames(false)); len(got) != 0 {
		t.Errorf("%d frames with payload reached the neighbour", len(got))
	}
	if got := numbers(atHost.frames(false)); len(got) > begun {
		t.Errorf("%d frames with payload of the neighbour reached the held host", len(got))
	}
	o.apply(t)
	b := make([]byte, 16)
	for _, c := range []net.Conn{server, client} { // TCP itself repeats what was lost
		c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(b); err != nil || string(b[:n]) != "numbered payload" {
			t.Errorf("after the release: %q, %v", b[:n], err)
		}
	}
}

// TestTheOthersNoticeNothing counts every frame that leaves by the port, and
// what the others lose meanwhile.
func TestTheOthersNoticeNothing(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	for _, h := range o.hosts[1:] { // everybody has met everybody
		for _, to := range []netip.Addr{host4(1), host4(2), host4(3), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1")} {
			if !pings(t, h, to) {
				t.Fatalf("%v does not answer before", to)
			}
		}
	}
	out, atRouter := newTap(t, o.gw, "p1"), newTap(t, o.gw, "wan0")
	lost := make(chan string, 8)
	start := func(host int, to string) {
		o.hosts[host].Do(t, func() {
			cmd, text := exec.Command("ping", "-q", "-i0.01", "-c300", "-W2", to), &bytes.Buffer{}
			cmd.Stdout = text
			if err := cmd.Start(); err != nil { // here: only what starts here is in the namespace
				t.Error(err)
			}
			go func() {
				cmd.Wait()
				lost <- text.String()
			}()
		})
	}
	began := time.Now()
	start(2, host4(3).String())
	start(3, host6(2).String())
	start(2, "192.0.2.1")
	start(3, "198.51.100.1")
	start(4, host4(2).String())
	o.apply(t, infected())
	for range 5 {
		if text := <-lost; !strings.Contains(text, " 0% packet loss") {
			t.Errorf("a neighbour lost frames:\n%s", text)
		}
	}
	macs, addrs, err := o.base.Never()
	if err != nil {
		t.Fatal(err)
	}
	ours := fromUs(o, out.frames(true))
	for _, f := range ours {
		m, ok := parse(f)
		switch {
		case !ok:
			t.Errorf("not a message: % x", f)
		case slices.Contains(macs, m.dst) || !unicast(m.dst):
			t.Errorf("sent to %v", m.dst)
		case slices.Contains(addrs, m.from):
			t.Errorf("told where %v is", m.from)
		case m.dst != hostMAC(1) && m.from != host4(1) && m.from != host6(1) && m.from != local6(1):
			t.Errorf("told %v about %v, which is nobody held", m.dst, m.from)
		}
	}
	if n := len(fromUs(o, atRouter.frames(true))); n != 0 {
		t.Errorf("%d frames left by the uplink", n)
	}
	// 2 neighbours with 3 addresses each, both ways: 12 things to say, in two
	// forms, twice, at the beginning; then the repetition, and a correction of each
	// of the few broadcasts of these pings.
	took := time.Since(began)
	if n := len(ours); n < 12 || n > 2*48+24*int(took/time.Second) {
		t.Errorf("%d frames in %v", n, took)
	}
	if sent := o.segment.Stats().Sent; sent != uint64(len(ours)) {
		t.Errorf("%d frames counted, %d on the wire", sent, len(ours))
	}
	t.Logf("%d frames in %v", len(ours), took)
}

// fromUs picks the frames whose source is the MAC that we speak from.
func fromUs(o *segmentOffice, frames [][]byte) (out [][]byte) {
	own := o.segment.Nowhere()
	for _, f := range frames {
		if len(f) >= 14 && string(f[6:12]) == string(own[:]) {
			out = append(out, f)
		}
	}
	return out
}

func TestTheHeldHostStillFindsTheGateway(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	o.apply(t, infected())
	o.hosts[1].Run(t, "ip neigh flush dev eth0")
	for _, to := range []string{"192.0.2.1", "2001:db8:1::1"} {
		var l net.Listener
		o.gw.Do(t, func() {
			var err error
			if l, err = net.Listen("tcp", net.JoinHostPort(to, "53")); err != nil {
				t.Error(err)
			}
		})
		o.hosts[1].Do(t, func() {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(to, "53"), patience)
			if err != nil {
				t.Errorf("DNS at %s: %v", to, err)
				return
			}
			c.Close()
		})
		l.Close()
	}
}

// quickNeighbours makes a host's caches forget in seconds what takes them a
// minute: entries are believed for 0.5 to 1.5 s, then asked for.
func quickNeighbours(t testing.TB, o *segmentOffice) {
	t.Helper()
	for _, h := range o.hosts[1:4] {
		for _, family := range []string{"ipv4", "ipv6"} {
			n := "net." + family + ".neigh.eth0."
			h.Run(t, "sysctl -qw "+n+"base_reachable_time_ms=1000 "+n+"delay_first_probe_time=1 "+n+"retrans_time_ms=200")
		}
	}
}

// TestItHoldsWhileCachesAskAgain lets the kernels' own upkeep run many times:
// probes by unicast, broadcast questions after failures, answers of others.
func TestItHoldsWhileCachesAskAgain(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	quickNeighbours(t, o)
	streams := []*stream{newStream(t, o.hosts[1], host4(2)), newStream(t, o.hosts[1], host6(3))}
	for _, s := range streams {
		s.send(20)
	}
	o.apply(t, infected())
	taps := []*tap{newTap(t, o.hosts[2], "eth0"), newTap(t, o.hosts[3], "eth0")}
	for range 4 {
		for i, s := range streams {
			s.send(500)
			if got := numbers(taps[i].frames(false)); len(got) > 0 {
				t.Errorf("stream %d: %d of 500 datagrams arrived", i, len(got))
			}
		}
		pings(t, o.hosts[2], host4(1)) // the neighbour looks for it too
		pings(t, o.hosts[3], host6(1))
	}
}

func TestASilentNeighbourIsCoveredFromItsFirstWord(t *testing.T) {
	o := newSegmentOffice(t, onSwitch(1), onSwitch(2)) // host 3 is not known
	o.apply(t, infected())
	at, out := newTap(t, o.hosts[3], "eth0"), newTap(t, o.gw, "p1")
	s := newStream(t, o.hosts[1], host4(3)) // the host asks for it, as a scanning worm does
	first := s.send(1500)
	// Its answer and ours race; what waited for the answer may pass.
	got := numbers(at.frames(false))
	if len(got) > 0 && got[len(got)-1] >= first+begun {
		t.Errorf("%d of 1500 datagrams reached a neighbour that was never heard", len(got))
	}
	t.Logf("leaked to a neighbour that was never heard: %d of 1500", len(got))
	if !slices.ContainsFunc(out.frames(true), func(f []byte) bool {
		m, ok := parse(f)
		return ok && m.asks && m.src == gwMAC && m.target == host4(3)
	}) {
		t.Error("the gateway did not ask for the neighbour")
	}
	eventually(t, "the neighbour is found", func() bool {
		r, _ := o.segment.Report("infected")
		return r.Told == 2
	})
	if pings(t, o.hosts[3], host4(1)) {
		t.Error("the neighbour reaches the held host")
	}
	o.apply(t)
	eventually(t, "the released host reaches it", func() bool { return pings(t, o.hosts[1], host4(3)) })
}

func TestAHostThatFightsIsBestEffortAndOthersArePutToNoTrouble(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	o.apply(t, infected())
	toNeighbour := newTap(t, o.hosts[2], "eth0")
	s := newStream(t, o.hosts[1], host4(2))
	announce := arpFrame(hostMAC(1), netcontain.MAC{255, 255, 255, 255, 255, 255}, fromRequest, hostMAC(1), host4(1), netcontain.MAC{}, host4(2))
	raw := rawSocket(t, o.hosts[1])
	began := time.Now()
	for range 2000 { // it claims its address a thousand times a second
		raw(announce)
		s.send(1)
	}
	ours := fromUs(o, toNeighbour.frames(false))
	// One neighbour is told of one address at most twice a second, in two forms,
	// and of the two others by the opening.
	took := time.Since(began)
	if n := len(ours); n > 2*(2+int(took/neighbourGap))+12 {
		t.Errorf("the neighbour was sent %d frames in %v", n, took)
	}
	if r, _ := o.segment.Report("infected"); r.Spoke < 100 {
		t.Errorf("it spoke %d times", r.Spoke)
	}
	// What no message undoes: an entry that the host's owner wrote, and whoever
	// sends frames of its own making. Only the cable helps; plan says so.
	o.hosts[1].Run(t, "ip neigh replace "+host4(3).String()+" lladdr "+hostMAC(3).String()+" nud permanent dev eth0")
	third := newTap(t, o.hosts[3], "eth0")
	newStream(t, o.hosts[1], host4(3)).send(20)
	if got := numbers(third.frames(false)); len(got) == 0 {
		t.Error("a static entry is overcome: say so in the package comment")
	}
	// The answers go nowhere all the same, so that no connection comes about.
	for _, h := range []int{2, 3} {
		eventually(t, "the neighbours believe us again", func() bool { return believes(t, o, h, host4(1)) == o.segment.Nowhere().String() })
	}
}

func TestAProtectedNeighbourIsSentNothingAndIsNotFoundAllTheSame(t *testing.T) {
	known := everybody()
	known[1].Quiet = true
	o := newSegmentOffice(t, known...)
	s := newStream(t, o.hosts[1], host4(2))
	s.send(20)
	at := newTap(t, o.hosts[2], "eth0")
	o.apply(t, infected())
	first := s.send(1500)
	frames := at.frames(false)
	if n := len(fromUs(o, frames)); n != 0 {
		t.Errorf("it was sent %d frames", n)
	}
	if got := numbers(frames); len(got) > 0 && got[len(got)-1] >= first+begun {
		t.Errorf("%d datagrams reached it", len(got))
	}
}

// believes says where a host has an address in its cache.
func believes(t testing.TB, o *segmentOffice, host int, a netip.Addr) string {
	t.Helper()
	for _, line := range strings.Split(o.hosts[host].Run(t, "ip neigh show dev eth0"), "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[0] == a.String() && f[1] == "lladdr" {
			return f[2]
		}
	}
	return ""
}

func TestReleaseTellsBothSidesTheTruthAtOnce(t *testing.T) {
	for _, end := range []string{"release", "close"} {
		t.Run(end, func(t *testing.T) {
			o := newSegmentOffice(t, everybody()...)
			for _, a := range []netip.Addr{host4(2), host6(2), host4(3)} {
				if !pings(t, o.hosts[1], a) {
					t.Fatalf("%v does not answer before", a)
				}
			}
			o.apply(t, infected())
			lie := o.segment.Nowhere().String()
			eventually(t, "both sides believe", func() bool {
				return believes(t, o, 1, host4(2)) == lie && believes(t, o, 1, host6(2)) == lie && believes(t, o, 2, host4(1)) == lie && believes(t, o, 3, host4(1)) == lie
			})
			if end == "close" {
				o.segment.Close()
			} else {
				o.apply(t)
			}
			for _, b := range []struct {
				host, of int
				addr     netip.Addr
			}{{1, 2, host4(2)}, {1, 2, host6(2)}, {1, 3, host4(3)}, {2, 1, host4(1)}, {2, 1, host6(1)}, {3, 1, host4(1)}} {
				eventually(t, "the truth is believed", func() bool { return believes(t, o, b.host, b.addr) == hostMAC(b.of).String() })
			}
		})
	}
}

// TestCachesHealByThemselvesWhenWeDie stops without a word, as a crash does.
// With the kernel's usual timers it takes up to 45 s until an entry is asked
// for, 5 s of waiting and 3 probes of 1 s; here these are 1.5, 1 and 0.6 s.
func TestCachesHealByThemselvesWhenWeDie(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	quickNeighbours(t, o)
	pings(t, o.hosts[1], host4(2))
	o.apply(t, infected())
	if pings(t, o.hosts[1], host4(2)) {
		t.Fatal("not held")
	}
	o.segment.mu.Lock()
	o.segment.closed = true
	for name := range o.segment.ports {
		o.segment.drop(name)
	}
	o.segment.mu.Unlock()
	eventually(t, "the two find each other by themselves", func() bool { return pings(t, o.hosts[1], host4(2)) })
	if pings(t, o.hosts[1], host4(4)) {
		t.Error("the sets let it through to another port")
	}
}

// TestNoFrameOfOursIsCaptured opens the taps of the gateway's own capture: what
// it would not have seen, no detector takes for an attack, and no inventory
// believes.
func TestNoFrameOfOursIsCaptured(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	var live *capture.Live
	o.gw.Do(t, func() {
		var err error
		live, err = capture.OpenLive(capture.LiveConfig{Taps: []capture.Tap{{Name: "p1", In: true}, {Name: "p2", In: true}, {Name: "br0", Out: true}}})
		if err != nil {
			t.Error(err)
		}
	})
	defer live.Close()
	o.apply(t, infected())
	pings(t, o.hosts[1], host4(2))
	pings(t, o.hosts[2], host4(1))
	o.apply(t)
	eventually(t, "a last frame passes", func() bool { return pings(t, o.hosts[4], host4(2)) })
	own, seen, other := o.segment.Nowhere(), 0, 0
	for {
		var f capture.Frame
		if err := live.Next(&f); err != nil {
			break
		}
		if string(f.Data[6:12]) == string(own[:]) {
			seen++
		} else {
			other++
		}
	}
	if sent := o.segment.Stats().Sent; seen != 0 || other == 0 || sent == 0 {
		t.Errorf("of %d frames sent %d were captured, beside %d others", sent, seen, other)
	}
}

func TestTheUplinkAndWhomNobodyMayHoldAreRefused(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	out := newTap(t, o.gw, "wan0")
	h := infected()
	h.Shared = []string{"wan0"}
	if err := o.segment.Apply(t.Context(), netcontain.Policy{Hosts: []netcontain.Host{h}}); err == nil || !strings.Contains(err.Error(), "wan0: not a port of br0") {
		t.Errorf("the uplink's device: error %v", err)
	}
	if got, _ := o.segment.Observed(t.Context()); len(got.Hosts) != 0 {
		t.Errorf("it says that it holds %v", got.Hosts)
	}
	if n := len(fromUs(o, out.frames(true))); n != 0 {
		t.Errorf("%d frames left by the uplink", n)
	}
	for what, change := range map[string]func(*netcontain.Host){
		"02:00:00:00:00:fe": func(h *netcontain.Host) { h.MACs = append(h.MACs, netcontain.MAC{2, 0, 0, 0, 0, 0xfe}) },
		"192.0.2.1":         func(h *netcontain.Host) { h.Addrs = append(h.Addrs, netip.MustParseAddr("192.0.2.1")) },
	} {
		h := infected()
		change(&h)
		var never *netcontain.NeverError
		if err := o.segment.Apply(t.Context(), netcontain.Policy{Hosts: []netcontain.Host{h}}); !errors.As(err, &never) || never.Entry != what {
			t.Errorf("%s: error %v", what, err)
		}
	}
	o.segment.cfg.Never = func() ([]netcontain.MAC, []netip.Addr, error) { return nil, nil, nil }
	if err := o.segment.Apply(t.Context(), netcontain.Policy{Hosts: []netcontain.Host{infected()}}); err == nil {
		t.Error("it begins without knowing the gateway")
	}
	if sent := o.segment.Stats().Sent; sent != 0 {
		t.Errorf("%d frames sent", sent)
	}
}

func TestAFloodOfQuestionsIsReadInMeasureAndEnds(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	o.apply(t, infected())
	send := rawSocket(t, o.hosts[1])
	announce := arpFrame(hostMAC(1), broadcast, fromRequest, hostMAC(1), host4(1), netcontain.MAC{}, host4(2))
	began := time.Now()
	for range 20 * readPerSecond {
		send(announce)
	}
	r, _ := o.segment.Report("infected")
	if most := readPerSecond * (1 + time.Since(began).Seconds()); float64(r.Spoke) > most+100 || r.Spoke == 0 {
		t.Errorf("%d messages read of %d, at most %.0f", r.Spoke, 20*readPerSecond, most)
	}
	eventually(t, "the neighbour believes us again", func() bool { return believes(t, o, 2, host4(1)) == o.segment.Nowhere().String() })
	if pings(t, o.hosts[1], host4(2)) {
		t.Error("the flood got it through")
	}
}

func TestWhoIsBehindAnotherPortIsNoNeighbour(t *testing.T) {
	o := newSegmentOffice(t, onSwitch(1), onSwitch(2)) // host 4, on p2, is not known
	at := newTap(t, o.hosts[4], "eth0")
	o.apply(t, infected())
	o.hosts[4].Run(t, "ip neigh flush dev eth0")
	for _, to := range []netip.Addr{host4(2), host6(2)} { // its questions leave by p1, too
		if !pings(t, o.hosts[4], to) {
			t.Fatalf("%v does not answer", to)
		}
	}
	o.hosts[3].Run(t, "ip neigh flush dev eth0")
	if !pings(t, o.hosts[3], host4(2)) {
		t.Fatal("host 3 does not find host 2")
	}
	eventually(t, "host 3 is taken up, which is on the switch", func() bool {
		r, _ := o.segment.Report("infected")
		return r.Told == 2
	})
	if n := len(fromUs(o, at.frames(false))); n != 0 {
		t.Errorf("it was sent %d frames", n)
	}
	o.segment.mu.Lock()
	defer o.segment.mu.Unlock()
	if o.segment.book.learned["p1"][hostMAC(4)] != nil {
		t.Error("it was taken for a neighbour on p1")
	}
}

func TestAPortThatComesBackIsHeldByTheNextApply(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	o.apply(t, infected())
	o.gw.Run(t, "ip link del p1")
	p := netcontain.Policy{Hosts: []netcontain.Host{infected()}}
	if got, _ := o.segment.Observed(t.Context()); len(got.Hosts) != 0 {
		t.Error("it says that it holds by a port that is gone")
	}
	if err := o.segment.Apply(t.Context(), p); err == nil || !strings.Contains(err.Error(), "p1") {
		t.Errorf("error %v", err)
	}
	wire(t, o.gw, "p1", o.sw, "up1")
	o.sw.Run(t, "ip link set up1 master switch up")
	o.gw.Run(t, "ip link set p1 master br0 up")
	o.apply(t, infected())
	o.hosts[1].Run(t, "ip neigh flush dev eth0")
	eventually(t, "the host is told again", func() bool { return believes(t, o, 1, host4(2)) == o.segment.Nowhere().String() })
}

func TestAHostAtLevelWatchIsLeftAlone(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	h := infected()
	h.Level = netcontain.Watch
	if err := o.segment.Apply(t.Context(), netcontain.Policy{Hosts: []netcontain.Host{h}}); err != nil {
		t.Error(err)
	}
	if sent := o.segment.Stats().Sent; sent != 0 {
		t.Errorf("%d frames sent", sent)
	}
}

func TestAnIncompleteConfigIsNamed(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "no Never") || !strings.Contains(err.Error(), "no Neighbours") {
		t.Errorf("error %v", err)
	}
}

// BenchmarkAnswer measures from a held host's question to our answer at its own
// device.
func BenchmarkAnswer(b *testing.B) {
	o := newSegmentOffice(b, everybody()...)
	o.apply(b, infected())
	send, at := rawSocket(b, o.hosts[1]), newTap(b, o.hosts[1], "eth0")
	question := arpFrame(hostMAC(1), broadcast, fromRequest, hostMAC(1), host4(1), netcontain.MAC{}, host4(2))
	var took []time.Duration
	for b.Loop() {
		time.Sleep(20 * time.Millisecond) // within the rate
		at.frames(false)
		begin := time.Now()
		send(question)
		for len(fromUs(o, at.frames(false))) == 0 {
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkApplyToLastFrame measures from the call of Apply, sets and segment
// together, to the sending of the last datagram that still reached a neighbour on
// the switch, at 5,000 datagrams a second.
func BenchmarkApplyToLastFrame(b *testing.B) {
	o := newSegmentOffice(b, everybody()...)
	s, at := newStream(b, o.hosts[1], host4(2)), newTap(b, o.hosts[2], "eth0")
	var took []time.Duration
	for b.Loop() {
		eventually(b, "it reaches its neighbour", func() bool {
			s.send(1)
			return len(numbers(at.frames(false))) > 0
		})
		base, sentAt, done := s.sent, make([]time.Time, 0, 1000), make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(200 * time.Microsecond)
			defer tick.Stop()
			for range 1000 {
				<-tick.C
				sentAt = append(sentAt, time.Now())
				s.conn.Write(binary.BigEndian.AppendUint32([]byte("numbered"), s.sent))
				s.sent++
			}
		}()
		time.Sleep(10 * time.Millisecond)
		begin := time.Now()
		o.apply(b, infected())
		<-done
		last := time.Duration(0)
		if got := numbers(at.frames(false)); len(got) > 0 {
			last = max(0, sentAt[got[len(got)-1]-base].Sub(begin))
		}
		took = append(took, last)
		o.apply(b)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
}
