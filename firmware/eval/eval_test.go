package eval

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
)

var (
	start = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	bad   = netip.MustParseAddr("192.0.2.66")
	other = netip.MustParseAddr("192.0.2.7")
)

func finding(detector string, c detect.Confidence, host netip.Addr, after time.Duration) detect.Finding {
	text := detect.Text{EN: "numbers", JA: "数字"}
	return detect.Finding{Detector: detector, Confidence: c, Host: detect.Host{IP: host, IPs: []netip.Addr{host}}, Time: start.Add(after), Title: text, Explain: text}
}

var worm = Capture{File: "w.pcap", Label: "worm", Claim: "192.0.2.66 -> 100 hosts tcp/445, t+10..20s", ByHand: true}

func TestAManifestIsRead(t *testing.T) {
	const head = "file\tlabel\texpected_detections\tverified\n"
	got, err := ReadManifest(strings.NewReader(head + "a.pcap\tworm\t192.0.2.66 -> all\thand\nb.pcap\tbenign\tnone\trule\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || !got[0].ByHand || !got[0].Attack() || got[1].ByHand || !got[1].Peaceful() {
		t.Errorf("got %+v", got)
	}
	for text, want := range map[string]string{
		head + "a.pcap\twrom\tx\thand\n": "label \"wrom\"", // it would count as found by nobody's fault
		head + "a.pcap\tworm\n":          "line 2",
		"file\tlabel\n":                  "no column",
	} {
		if _, err := ReadManifest(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestAClaimNamesWhoDidIt(t *testing.T) {
	for claim, want := range map[string]string{
		"192.0.2.1 -> 192.0.2.2 port 22":                              "192.0.2.1",
		"192.0.2.1 (02:00:00:00:00:01) SYN to C2 198.51.100.1:50":     "192.0.2.1 02:00:00:00:00:01",
		"02:00:00:00:00:01 (192.0.2.1) sends OFFER 192.0.2.9":         "192.0.2.1 02:00:00:00:00:01",
		"agent 192.0.2.1 -> server 192.0.2.2 udp/7":                   "192.0.2.1",
		"192.0.2.1 <-> 192.0.2.2 100 echo":                            "192.0.2.1 192.0.2.2",
		"192.0.2.1 -> 192.0.2.2:445, shell 192.0.2.2 -> 192.0.2.1:44": "192.0.2.1 192.0.2.2",
		"a workstation (192.0.2.5/.6) -> server 192.0.2.2":            "192.0.2.5 192.0.2.6",
		"192.0.2.1 pings 18 hosts":                                    "192.0.2.1",
		"192.0.2.1 -> tcp/445 of .138; 192.0.2.3 answers":             "192.0.2.1",
		"many sources": "",
	} {
		truth, ok := TruthOf(Capture{File: "x.pcap", Label: "scan", Claim: claim})
		var got []string
		for _, a := range truth.Addrs {
			got = append(got, a.String())
		}
		for _, m := range truth.MACs {
			got = append(got, m.String())
		}
		if strings.Join(got, " ") != want || ok != (want != "") {
			t.Errorf("%q names %v, want %q", claim, got, want)
		}
	}
}

func TestOfASpoofedAddressTheRightfulOwnerIsNotAccused(t *testing.T) {
	truth, _ := TruthOf(Capture{Label: "arp-spoof", Claim: "192.0.2.8 (02:00:00:00:00:08) claims gateway 192.0.2.1 (real 02:00:00:00:00:01), then 02:00:00:00:00:09"})
	for mac, want := range map[string]bool{"02:00:00:00:00:08": true, "02:00:00:00:00:09": true, "02:00:00:00:00:01": false} {
		var h detect.Host
		if err := h.MAC.UnmarshalText([]byte(mac)); err != nil {
			t.Fatal(err)
		}
		if truth.Did(h) != want {
			t.Errorf("%s did it: %v", mac, !want)
		}
	}
}

func TestEveryCorrectionIsReadable(t *testing.T) {
	rows := 0
	for line := range strings.Lines(corrections) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		rows++
		row := strings.Split(strings.TrimSpace(line), "\t")
		if len(row) != 3 || row[2] == "" {
			t.Fatalf("%q is not file, who, why", line)
		}
		truth, ok := TruthOf(Capture{File: "some/folder/" + row[0], Label: "scan", Claim: "192.0.2.99 -> x"})
		if !ok || len(truth.Addrs)+len(truth.MACs)+len(truth.Not) != len(strings.Fields(row[1])) {
			t.Errorf("%q is read as %+v", line, truth)
		}
		if truth.Did(detect.Host{IP: netip.MustParseAddr("192.0.2.99")}) && len(truth.Not) == 0 {
			t.Errorf("%q does not replace the claim", line)
		}
	}
	if rows == 0 {
		t.Error("there are none")
	}
}

func TestEverybodyButTheScannedIsWhoDidIt(t *testing.T) {
	truth := Truth{Not: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	if truth.Did(detect.Host{IP: other}) || !truth.Did(detect.Host{IP: netip.MustParseAddr("198.51.100.1")}) || truth.Did(detect.Host{}) {
		t.Error("the scanned network, or nobody, is accused")
	}
}

func TestAFindingCountsOnlyWhenDetectorAndDeviceAreRight(t *testing.T) {
	for name, c := range map[string]struct {
		finding       detect.Finding
		found, strict bool
		astray        int
	}{
		"right":           {finding("worm", detect.High, bad, time.Minute), true, true, 0},
		"another side":    {finding("host_scan", detect.Low, bad, time.Minute), true, false, 0},
		"wrong device":    {finding("worm", detect.High, other, time.Minute), false, false, 1},
		"wrong detector":  {finding("beacon", detect.High, bad, time.Minute), false, false, 0},
		"nobody is named": {finding("worm", detect.High, netip.Addr{}, time.Minute), false, false, 1},
	} {
		s := Judge(worm, Run{Findings: []detect.Finding{c.finding}, Start: start})
		if s.Found != c.found || s.Strict != c.strict || len(s.Astray) != c.astray {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestTheFirstFindingThatCountsIsReported(t *testing.T) {
	s := Judge(worm, Run{Start: start, Findings: []detect.Finding{
		finding("worm", detect.High, other, time.Second), finding("host_scan", detect.Low, bad, 2*time.Second), finding("worm", detect.High, bad, 3*time.Second),
	}})
	if s.By == nil || s.By.Detector != "host_scan" || s.By.After != 2 || s.Surest != detect.High || !s.Strict {
		t.Errorf("got %+v", s)
	}
}

func TestPeersBeforeTheFindingAreCounted(t *testing.T) {
	c := &Contacts{}
	at := func(s float64) flow.Meta { return flow.Meta{Time: start.Add(time.Duration(s * 1e9))} }
	conn := func(s float64, from netip.Addr, to string, state, prev flow.ConnState) {
		m := at(s)
		c.Observe(&flow.Conn{Meta: m, Start: m.Time, State: state, Prev: prev, Client: netip.AddrPortFrom(from, 1), Server: netip.AddrPortFrom(netip.MustParseAddr(to), 445)})
	}
	conn(1, bad, "192.0.2.100", flow.ConnAttempt, flow.ConnAttempt) // before it began
	conn(10, bad, "192.0.2.101", flow.ConnAttempt, flow.ConnAttempt)
	conn(11, bad, "192.0.2.101", flow.ConnAttempt, flow.ConnAttempt)      // again
	conn(12, bad, "192.0.2.102", flow.ConnEstablished, flow.ConnAttempt)  // only the opening counts
	conn(12, other, "192.0.2.103", flow.ConnAttempt, flow.ConnAttempt)    // somebody else
	conn(40, bad, "192.0.2.104", flow.ConnAttempt, flow.ConnAttempt)      // after the finding
	c.Observe(&flow.ICMP{Meta: at(13), Src: bad, Dst: other, Type: 8})    // a ping
	c.Observe(&flow.ICMP{Meta: at(13), Src: bad, Dst: nth(105), Type: 0}) // an answer
	c.Observe(&flow.ARP{Meta: at(14), Op: 1, SenderIP: bad, TargetIP: nth(106)})
	c.Observe(&flow.ARP{Meta: at(14), Op: 1, SenderIP: bad, TargetIP: bad})                        // an announcement
	c.Observe(&flow.ARP{Meta: at(14), Op: 1, SenderIP: netip.IPv4Unspecified(), TargetIP: nth(9)}) // a probe
	s := Judge(worm, Run{Start: start, Contacts: c, Findings: []detect.Finding{finding("worm", detect.High, bad, 30*time.Second)}})
	if s.Radius != 3 {
		t.Errorf("%d peers, want .101, .7 and .106", s.Radius)
	}
}

func nth(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }

func TestPeaceIsMeasuredInHours(t *testing.T) {
	quiet := Capture{File: "q.pcap", Label: "benign"}
	two := []detect.Finding{finding("beacon", detect.Medium, bad, 0), finding("beacon", detect.Medium, other, 0), finding("dga", detect.Low, bad, 0)}
	if s := Judge(quiet, Run{Start: start, Findings: two}); !s.OverBudget() {
		t.Error("two in the first hour are borne")
	}
	if s := Judge(quiet, Run{Start: start, Findings: two, Hours: 2}); s.OverBudget() {
		t.Error("two in two hours are too many")
	}
	if s := Judge(quiet, Run{Start: start, Findings: two[1:]}); s.OverBudget() || len(s.Alarms) != 1 {
		t.Error("findings of low confidence ask for attention")
	}
}

func TestAnIdleYearIsNoHourOfPeace(t *testing.T) {
	var c Clock
	for _, at := range []time.Duration{0, time.Second, 90 * time.Minute, 8760 * time.Hour} {
		c.Tick(start.Add(at).UnixNano())
	}
	if c.Hours() != 3 || c.First() != start.UnixNano() {
		t.Errorf("%d hours", c.Hours())
	}
}

func TestAWrongIsolationIsSeenEverywhere(t *testing.T) {
	cut := func(ip netip.Addr) []incident.Line {
		return []incident.Line{{Action: incident.AutoIsolate, Host: incident.Host{IP: ip, IPs: []netip.Addr{ip}}}, {Action: incident.Suggest, Host: incident.Host{IP: other}}}
	}
	if s := Judge(worm, Run{Incidents: cut(bad)}); !s.Acted || len(s.Isolated) != 0 {
		t.Errorf("the worm: %+v", s)
	}
	if s := Judge(worm, Run{Incidents: cut(other)}); s.Acted || len(s.Isolated) != 1 {
		t.Errorf("its victim: %+v", s)
	}
	if s := Judge(Capture{Label: "benign", Claim: worm.Claim}, Run{Incidents: cut(bad)}); s.Acted || len(s.Isolated) != 1 {
		t.Errorf("in peace: %+v", s)
	}
}

func TestEachMissedTargetIsNamed(t *testing.T) {
	good := func() ([]Score, Cost) {
		return []Score{
			Judge(worm, Run{Start: start, Findings: []detect.Finding{finding("worm", detect.High, bad, 0)}}),
			Judge(Capture{Label: "benign"}, Run{}),
			Judge(Capture{Label: "malformed"}, Run{}),
		}, Cost{MalformedPeak: 100 << 20, PacketsPerCPU: 2e6, SuricataPerCPU: 2e5, TimesSuricata: 10}
	}
	scores, cost := good()
	if r := Summarise(scores, cost, nil); len(r.Missed) != 0 {
		t.Fatalf("missed %v", r.Missed)
	}
	for want, spoil := range map[string]func([]Score, *Cost){
		"by hand is 0.0 %":        func(s []Score, _ *Cost) { s[0].Found = false },
		"worm by hand is 0 of 1":  func(s []Score, _ *Cost) { s[0].Found = false },
		"all labelled captures":   func(s []Score, _ *Cost) { s[0].Found = false },
		"6 peers":                 func(s []Score, _ *Cost) { s[0].Radius = 6 },
		"1 devices of peaceful":   func(s []Score, _ *Cost) { s[1].Isolated = []string{"x"} },
		"high confidence, wanted": func(s []Score, _ *Cost) { s[1].Findings = []Count{{"worm", detect.High, 1}} },
		"an hour":                 func(s []Score, _ *Cost) { s[1].Alarms = make([]Alarm, 2) },
		"crash, differ":           func(s []Score, _ *Cost) { s[2] = Judge(Capture{Label: "malformed"}, Run{Err: errors.New("panic")}) },
		"differ or":               func(s []Score, _ *Cost) { s[1] = Judge(Capture{Label: "benign"}, Run{Differs: true}) },
		"malformed set took":      func(_ []Score, c *Cost) { c.MalformedPeak = 201 << 20 },
		"malformed set crashed":   func(_ []Score, c *Cost) { c.MalformedCrashed = true },
		"4.0 times":               func(_ []Score, c *Cost) { c.TimesSuricata = 4 },
	} {
		scores, cost := good()
		spoil(scores, &cost)
		r := Summarise(scores, cost, nil)
		if !slices.ContainsFunc(r.Missed, func(m string) bool { return strings.Contains(m, want) }) {
			t.Errorf("missed %v, want %q", r.Missed, want)
		}
		var b strings.Builder
		if err := r.Write(&b, true); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("the report does not say %q: %v", want, err)
		}
	}
}

func TestWhatIsNotMeasuredIsSaid(t *testing.T) {
	var b strings.Builder
	if err := Summarise(nil, Cost{}, []string{"the ratio"}).Write(&b, false); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "not measured: the ratio") || strings.Contains(b.String(), "speed:") {
		t.Errorf("got %s", b.String())
	}
}

func TestAReplayIsReadBack(t *testing.T) {
	f := finding("worm", detect.High, bad, time.Second)
	line, err := f.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	out := string(line) + "\n" + `{"type":"incident","action":"auto_isolate","host":{"mac":"02:00:00:00:00:01","ip":"192.0.2.66","ips":["192.0.2.66"]}}` +
		"\n" + `{"type":"summary","packets":12}` + "\n"
	r, err := ParseReplay([]byte(out))
	if err != nil || len(r.Findings) != 1 || len(r.Incidents) != 1 || r.Packets != 12 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if s := Judge(worm, r); !s.Found || !s.Acted {
		t.Errorf("got %+v", s)
	}
	if _, err := ParseReplay([]byte("finding\n")); err == nil {
		t.Error("a line that is no JSON was accepted")
	}
}
