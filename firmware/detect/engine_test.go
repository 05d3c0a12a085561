package detect_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// mixed plays a busy, hostile quarter of an hour.
func mixed(o *office) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		from := 10 + r.IntN(6)
		switch r.IntN(6) {
		case 0:
			o.arp(uint16(1+r.IntN(2)), mac(from), ip(r.IntN(30)), ip(r.IntN(256)))
		case 1:
			o.ping(from, ip(r.IntN(256)), r.IntN(2) == 0)
		case 2:
			lease(o, 2+3*uint8(r.IntN(2)), r.IntN(4), ip(from), ip(r.IntN(4)))
		default:
			o.tcp(from, ip(r.IntN(256)), uint16(440+r.IntN(20)), flow.ConnState(1+r.IntN(3)))
		}
		o.wait(time.Duration(r.IntN(400)) * time.Millisecond)
	}
}

func TestTwoReplaysGiveIdenticalBytes(t *testing.T) {
	var runs [2][]byte
	for i := range runs {
		o := newOffice(t, detect.Config{Decoys: func() []netip.Addr { return []netip.Addr{ip(201)} }})
		mixed(o)
		b, err := json.Marshal(o.found)
		if err != nil {
			t.Fatal(err)
		}
		if len(o.found) < 20 {
			t.Fatalf("only %d findings: the script proves nothing", len(o.found))
		}
		runs[i] = b
	}
	if !bytes.Equal(runs[0], runs[1]) {
		t.Error("two replays differ")
	}
}

func TestFindingsAreComplete(t *testing.T) {
	o := newOffice(t, detect.Config{Decoys: func() []netip.Addr { return []netip.Addr{ip(201)} }})
	mixed(o)
	for _, f := range o.found {
		ok := !f.Time.IsZero() && !f.First.IsZero() && !f.Last.Before(f.First) && strings.HasPrefix(f.Technique, "T1") &&
			f.Score > 0 && f.Score <= 1 && f.PeerCount >= 1 && len(f.Peers) <= 16 && len(f.Peers) > 0 &&
			f.Title.EN != "" && f.Title.JA != "" && f.Explain.EN != "" && strings.HasSuffix(f.Explain.JA, "。") &&
			(f.Host.IP.IsValid() || !f.Host.MAC.IsZero())
		if !ok {
			t.Errorf("%s: incomplete: %+v", f.Detector, f)
		}
	}
}

func TestJSONIsTheContractAndComesBack(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 5 {
		o.tcp(10, ip(50+i), 445, flow.ConnUnanswered)
	}
	f := o.last("worm")
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"type", "time", "detector", "technique", "host", "peers", "score", "confidence", "first", "last",
		"title", "explain", "title_ja", "explain_ja", "peer_count"} {
		if _, ok := m[k]; !ok {
			t.Errorf("no %q in %s", k, b)
		}
	}
	host := m["host"].(map[string]any)
	if m["type"] != "finding" || host["mac"] != mac(10).String() || host["ip"] != "192.168.0.10" || len(host["ips"].([]any)) != 1 {
		t.Errorf("line %s", b)
	}
	var back detect.Finding
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, back, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{`{"type":"incident"}`, `{"type":"finding","host":{"mac":"zz"}}`, `[]`} {
		if json.Unmarshal([]byte(bad), &back) == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

// A stranger who invents addresses must not fill the memory, and what he costs
// is counted.
func TestInventedAddressesStayBounded(t *testing.T) {
	e := detect.New(detect.Config{})
	now := time.Unix(1e9, 0).UTC()
	const n = 400_000
	for i := range n {
		m := flow.Meta{Time: now, SrcMAC: flow.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}}
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		b := netip.AddrFrom4([4]byte{10, byte(i), byte(i >> 8), byte(i >> 16)})
		switch i % 4 {
		case 0:
			e.Observe(&flow.ARP{Meta: m, Op: 1, SenderMAC: m.SrcMAC, SenderIP: a, TargetIP: b})
		case 1:
			e.Observe(&flow.Conn{Meta: m, State: flow.ConnUnanswered, Proto: 6, Client: netip.AddrPortFrom(a, 1), Server: netip.AddrPortFrom(b, 445), ClientMAC: m.SrcMAC})
		case 2:
			e.Observe(&flow.ICMP{Meta: m, Src: a, Dst: b, Type: 8})
		case 3:
			e.Observe(&flow.DHCP{Meta: m, Src: a, Type: 2, FromServer: true, YourIP: b, ServerID: a, ClientMAC: m.SrcMAC})
		}
		if i%1000 == 0 {
			now = now.Add(time.Second)
			e.Observe(&flow.Tick{Meta: flow.Meta{Time: now}})
		}
	}
	total, evicted := 0, uint64(0)
	s := e.Stats()
	for name := range s.Entries {
		total += s.Entries[name]
		evicted += s.Evicted[name]
	}
	if total > 400_000 || evicted < n/8 {
		t.Errorf("%d entries held, %d evictions counted: %+v", total, evicted, s)
	}
}

func TestOneSourceWithManyPeersStaysBounded(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 10_000 {
		o.tcp(10, net4(i), 445, flow.ConnUnanswered)
	}
	f := o.last("host_scan")
	if f.PeerCount > 4096 || len(f.Peers) != 16 {
		t.Errorf("%d peers counted, %d listed", f.PeerCount, len(f.Peers))
	}
	if len(o.found) > 40 {
		t.Errorf("%d findings of one cause: it repeats itself", len(o.found))
	}
}

func BenchmarkObserveEstablished(b *testing.B) {
	o := newOffice(b, detect.Config{})
	ev := &flow.Conn{Meta: o.meta(mac(10)), State: flow.ConnEstablished, Proto: 6, Client: netip.AddrPortFrom(ip(10), 4000),
		Server: netip.AddrPortFrom(net4(1), 443), ClientMAC: mac(10), RecvPackets: 1}
	o.play(ev)
	b.ReportAllocs()
	for b.Loop() {
		o.eng.Observe(ev)
	}
}

func BenchmarkObserveScan(b *testing.B) {
	o := newOffice(b, detect.Config{})
	ev := &flow.Conn{Meta: o.meta(mac(10)), State: flow.ConnUnanswered, Proto: 6, Client: netip.AddrPortFrom(ip(10), 4000), ClientMAC: mac(10)}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		ev.Server = netip.AddrPortFrom(net4(i), 445)
		o.eng.Observe(ev)
	}
}
