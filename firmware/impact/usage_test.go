package impact

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
)

var (
	monday  = time.Date(2026, 4, 20, 9, 0, 0, 0, time.UTC)
	gateMAC = mac(254)
	gateIP  = ip(254)
)

func mac(n int) flow.MAC { return flow.MAC{0x00, 0x16, 0x3e, 0, byte(n >> 8), byte(n)} }

func ip(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, byte(n >> 8), byte(n)}) }

var outside = netip.MustParseAddr("203.0.113.9")

// office plays events to an inventory and to a Usage, as the gateway does.
type office struct {
	t        testing.TB
	inv      *asset.Inventory
	use      *Usage
	now      time.Time
	suspects map[flow.MAC]bool
}

func newOffice(t testing.TB, change func(*Config)) *office {
	o := &office{t: t, now: monday, suspects: map[flow.MAC]bool{}}
	o.inv = asset.New(asset.Config{Self: []flow.MAC{gateMAC}, SelfAddrs: []netip.Addr{gateIP}})
	c := Config{Assets: o.inv, Suspect: func(m flow.MAC) bool { return o.suspects[m] }}
	if change != nil {
		change(&c)
	}
	o.use = New(c)
	o.play(&flow.ARP{Meta: flow.Meta{Time: o.now, SrcMAC: gateMAC}, Op: 1, SenderMAC: gateMAC, SenderIP: gateIP, TargetIP: ip(1)})
	return o
}

func (o *office) play(ev flow.Event) {
	o.inv.Observe(ev)
	o.use.Observe(ev)
}

// talk is one whole connection of a second, answers included.
type talk struct {
	from, to       int // numbers of MAC and address; to 0: the internet, behind the gateway
	proto          uint8
	port, cport    uint16
	sent, received uint64
	mid            bool
}

func (o *office) talk(c talk) {
	o.t.Helper()
	if c.cport == 0 {
		c.cport = 50000
	}
	if c.proto == 0 {
		c.proto = protoTCP
	}
	e := flow.Conn{
		Meta: flow.Meta{Time: o.now, SrcMAC: mac(c.from), DstMAC: mac(c.to)}, State: flow.ConnEstablished, Prev: flow.ConnAttempt, Proto: c.proto, MidStream: c.mid,
		Client: netip.AddrPortFrom(ip(c.from), c.cport), Server: netip.AddrPortFrom(ip(c.to), c.port), ClientMAC: mac(c.from), ServerMAC: mac(c.to), Start: o.now, SentPackets: 2, RecvPackets: 2,
	}
	if c.to == 0 {
		e.Server, e.ServerMAC, e.DstMAC = netip.AddrPortFrom(outside, c.port), gateMAC, gateMAC
	}
	if c.from == 0 {
		e.Client, e.ClientMAC, e.SrcMAC = netip.AddrPortFrom(outside, c.cport), gateMAC, gateMAC
	}
	o.play(&e)
	e.State, e.Prev, e.Sent, e.Received = flow.ConnClosed, flow.ConnEstablished, c.sent, c.received
	o.play(&e)
}

// uses is a client that works with a server: twice, minutes apart.
func (o *office) uses(from, to int, port uint16) {
	for range 2 {
		o.talk(talk{from: from, to: to, port: port, sent: 400, received: 900})
		o.wait(2 * time.Minute)
	}
}

// wait lets packet time pass, with a tick an hour.
func (o *office) wait(d time.Duration) {
	end := o.now.Add(d)
	for n := o.now.Add(time.Hour); n.Before(end); n = n.Add(time.Hour) {
		o.use.Observe(&flow.Tick{Meta: flow.Meta{Time: n}})
	}
	o.now = end
}

func (o *office) preview(n int) Preview {
	return o.use.Preview(Device{ID: asset.ID("mac:" + mac(n).String()), MACs: []flow.MAC{mac(n)}}, o.now)
}

// stops is a preview in one word each: "files 4".
func stops(p Preview) string {
	var out []string
	for _, s := range p.Stops {
		out = append(out, fmt.Sprintf("%s %d", s.Service, s.Clients))
	}
	return strings.Join(out, ", ")
}

func (o *office) want(n int, want string) {
	o.t.Helper()
	if got := stops(o.preview(n)); got != want {
		o.t.Errorf("device %d serves %q, want %q", n, got, want)
	}
}

func TestWhoWorksWithAServerIsCountedOnceByServiceAndDevice(t *testing.T) {
	o := newOffice(t, nil)
	for client := 10; client < 14; client++ {
		o.uses(client, 1, 445)
		o.uses(client, 1, 139) // another port of the same
	}
	o.uses(10, 1, 9100)
	o.uses(10, 2, 631)
	o.want(1, "files 4, print 1")
	o.want(2, "print 1")
	o.want(10, "")
	p := o.preview(1)
	if p.Clients != 4 || !p.Stops[0].Last.Equal(o.now.Add(-10*time.Minute)) || p.Stops[0].Days != [days]int{4} {
		t.Errorf("%+v at %v", p, o.now)
	}
	if want := []string{mac(13).String(), mac(12).String()}; !slices.Equal(p.Stops[0].Names[:2], want) {
		t.Errorf("names %v, the latest first", p.Stops[0].Names)
	}
	if got := p.Sentence(); got.EN != "Isolating it stops shared files for 4 devices and printing for 1 device." || got.JA != "隔離すると、4台の共有フォルダー、1台の印刷が使えなくなります。" {
		t.Errorf("%+v", got)
	}
}

func TestEveryServiceThatPeopleMissHasItsClass(t *testing.T) {
	for _, c := range []struct {
		proto        uint8
		port         uint16
		client       uint16
		want         Service // empty: nobody would miss it
		unsureCounts bool
	}{
		{6, 445, 50000, Files, true}, {6, 2049, 900, Files, true}, {6, 548, 50000, Files, true}, {6, 9100, 50000, Print, true}, {6, 631, 50000, Print, true}, {6, 515, 721, Print, true},
		{6, 993, 50000, Mail, true}, {6, 5432, 50000, Database, true}, {6, 5003, 50000, Database, true}, {6, 443, 50000, Web, true}, {17, 443, 50000, Web, true},
		{6, 3389, 50000, Remote, true}, {17, 88, 50000, SignIn, true}, {6, 389, 50000, SignIn, true}, {17, 53, 50000, Names, true}, {17, 67, 68, Names, true}, {6, 873, 50000, Backup, true},
		{17, 5060, 5060, Phone, true}, {6, 554, 50000, Camera, true}, {6, 7777, 50000, Other, true}, {17, 7777, 50000, Other, true},
		{6, 7777, 4000, Other, false}, // nobody saw who called whom
		{6, 49152, 50000, "", false}, {17, 40000, 50000, "", false}, {17, 17500, 17500, "", false}, {17, 137, 137, "", false}, {17, 5353, 5353, "", false}, {17, 1900, 50000, "", false}, {17, 123, 50000, "", false},
		{1, 445, 0, "", false},
	} {
		for _, mid := range []bool{false, true} {
			o := newOffice(t, nil)
			for range 2 {
				o.talk(talk{from: 10, to: 1, proto: c.proto, port: c.port, cport: c.client, sent: 300, received: 300, mid: mid})
				o.wait(2 * time.Minute)
			}
			want := string(c.want) + " 1"
			if c.want == "" || mid && !c.unsureCounts {
				want = ""
			}
			if got := stops(o.preview(1)); got != want {
				t.Errorf("protocol %d port %d from %d, opening missed %v: %q, want %q", c.proto, c.port, c.client, mid, got, want)
			}
		}
	}
}

func TestAScannerMakesNobodyAServer(t *testing.T) {
	for name, scan := range map[string]func(o *office, victim int){
		"half open, nothing said": func(o *office, v int) { o.talk(talk{from: 66, to: v, port: 445}) },
		"connects and sends, no answer": func(o *office, v int) {
			for range 3 {
				o.talk(talk{from: 66, to: v, port: 80, sent: 100})
				o.wait(time.Minute)
			}
		},
		"reads the banner once":  func(o *office, v int) { o.talk(talk{from: 66, to: v, port: 22, sent: 20, received: 600}) },
		"is told a lot, by many": func(o *office, v int) { o.talk(talk{from: 66, to: v, port: 445, sent: 30000, received: 30000}) },
		"comes again to many": func(o *office, v int) {
			o.talk(talk{from: 66, to: v, port: 445, sent: 900, received: 900})
			o.wait(3 * time.Minute)
			o.talk(talk{from: 66, to: v, port: 445, sent: 900, received: 900})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, nil)
			for victim := 1; victim <= 20; victim++ {
				scan(o, victim)
			}
			for victim := 1; victim <= 20; victim++ {
				o.want(victim, "")
			}
			o.uses(10, 1, 445) // the others' work still counts
			o.want(1, "files 1")
		})
	}
}

func TestAnAdministratorWhoComesBackOnAnotherDayCountsAgain(t *testing.T) {
	o := newOffice(t, nil)
	for range 2 {
		for server := 1; server <= 12; server++ {
			o.talk(talk{from: 10, to: server, port: 443, sent: 9000, received: 90000})
		}
		o.wait(24 * time.Hour)
	}
	o.want(1, "web 1")
}

func TestAPrintJobCountsAlthoughThePrinterSaysNothing(t *testing.T) {
	o := newOffice(t, nil)
	o.talk(talk{from: 10, to: 1, port: 9100, sent: 90000})
	o.want(1, "print 1")
}

func TestALongTransferCountsWhileItRuns(t *testing.T) {
	o := newOffice(t, nil)
	o.talk(talk{from: 10, to: 1, port: 22}) // the inventory learns whose addresses these are
	a := flow.Activity{Meta: flow.Meta{Time: o.now, SrcMAC: mac(1)}, Proto: protoTCP, Client: netip.AddrPortFrom(ip(10), 50001), Server: netip.AddrPortFrom(ip(1), 445),
		ClientMAC: mac(10), ServerMAC: mac(1), FromServer: true, Sent: 2000, Received: usedMuch, RecvPackets: 20}
	o.use.Observe(&a)
	o.want(1, "files 1")
}

func TestASuspectTeachesNothingAndWhatWasKnownOfItStays(t *testing.T) {
	o := newOffice(t, nil)
	o.uses(66, 1, 445)
	o.wait(24 * time.Hour)
	o.uses(10, 1, 445)
	o.uses(66, 1, 445)
	o.talk(talk{from: 66, to: 3, port: 445, sent: 60000, received: 60000}) // an exploit, before anybody knew
	o.want(3, "files 1")
	o.suspects[mac(66)] = true
	o.want(3, "") // the day of the attack
	for victim := 1; victim < 5; victim++ {
		o.uses(66, victim, 5900)
	}
	o.uses(11, 66, 80) // lured
	o.want(1, "files 2")
	o.want(2, "")
	o.want(66, "")
	// Somebody took nine days to decide: the server is used all the time.
	delete(o.suspects, mac(66))
	o.suspects[mac(1)] = true
	for range 9 {
		o.wait(24 * time.Hour)
		o.uses(10, 1, 445)
	}
	o.want(1, "files 1")
}

func TestLeasesDNSAndSignInCount(t *testing.T) {
	o := newOffice(t, nil)
	o.play(&flow.ARP{Meta: flow.Meta{Time: o.now, SrcMAC: mac(1)}, Op: 1, SenderMAC: mac(1), SenderIP: ip(1), TargetIP: ip(2)})
	for _, client := range []int{10, 11} {
		o.play(&flow.DHCP{Meta: flow.Meta{Time: o.now, SrcMAC: mac(1), DstMAC: mac(client)}, Src: ip(1), Dst: ip(client), Type: 5, ClientMAC: mac(client), YourIP: ip(client), ServerID: ip(1), FromServer: true})
	}
	for range 2 {
		o.talk(talk{from: 10, to: 1, proto: protoUDP, port: 53, sent: 40, received: 80})
		o.talk(talk{from: 12, to: 1, proto: protoUDP, port: 88, sent: 200, received: 1200})
		o.wait(2 * time.Minute)
	}
	o.want(1, "names 2, sign_in 1")
}

func TestTheGatewayServesNobodyThatCouldLoseIt(t *testing.T) {
	o := newOffice(t, nil)
	o.uses(10, 254, 53)
	o.uses(254, 1, 445) // its own probes
	o.want(254, "")
	o.want(1, "")
	if p := o.preview(10); len(p.Uses) != 0 {
		t.Errorf("a held device keeps the gateway's DNS, but the preview says %v", p.Uses)
	}
}

func TestARouterInTheOfficeStopsWhatGoesThroughIt(t *testing.T) {
	o := newOffice(t, nil)
	for _, n := range []int{20, 10, 11} {
		o.play(&flow.ARP{Meta: flow.Meta{Time: o.now, SrcMAC: mac(n)}, Op: 1, SenderMAC: mac(n), SenderIP: ip(n), TargetIP: ip(1)})
	}
	for range 2 {
		for _, client := range []int{10, 11} {
			e := flow.Conn{Meta: flow.Meta{Time: o.now, SrcMAC: mac(client), DstMAC: mac(20)}, State: flow.ConnEstablished, Proto: protoTCP,
				Client: netip.AddrPortFrom(ip(client), 50000), Server: netip.AddrPortFrom(outside, 443), ClientMAC: mac(client), ServerMAC: mac(20), RecvPackets: 3}
			o.play(&e)
			e.State, e.Sent, e.Received = flow.ConnClosed, 500, 5000
			o.play(&e)
		}
		o.wait(2 * time.Minute)
	}
	o.want(20, "network 2")
}

func TestVisitorsFromTheInternetAreNamedAsSuch(t *testing.T) {
	o := newOffice(t, nil)
	o.uses(0, 1, 443)
	p := o.preview(1)
	if stops(p) != "web 0" || !p.Stops[0].Outside || p.Clients != 0 {
		t.Fatalf("%+v", p)
	}
	o.uses(10, 1, 443)
	if got := o.preview(1).Sentence(); got.EN != "Isolating it stops web pages in the office for 1 device and from the internet." || got.JA != "隔離すると、1台の社内のウェブ画面（社外からの利用も）が使えなくなります。" {
		t.Errorf("%+v", got)
	}
}

func TestSeveralMACsOfOneDeviceAreOneClientAndOneServer(t *testing.T) {
	names := map[flow.MAC]asset.ID{mac(10): "laptop", mac(11): "laptop", mac(1): "nas", mac(2): "nas"}
	o := newOffice(t, func(c *Config) { c.Name = func(m flow.MAC) (asset.ID, string) { return names[m], string(names[m]) } })
	o.uses(10, 1, 445)
	o.uses(11, 2, 445)
	o.uses(1, 2, 445) // itself, by its other card
	p := o.use.Preview(Device{ID: "nas", MACs: []flow.MAC{mac(1), mac(2)}}, o.now)
	if stops(p) != "files 1" || !slices.Equal(p.Stops[0].Names, []string{"laptop"}) {
		t.Errorf("%+v", p)
	}
}

func TestAWeekIsRememberedByDayAndThenForgotten(t *testing.T) {
	o := newOffice(t, nil)
	o.uses(10, 1, 445)
	o.wait(3 * 24 * time.Hour)
	o.uses(11, 1, 445)
	if p := o.preview(1); p.Stops[0].Days != [days]int{0: 1, 3: 1} || p.Watched != 4 {
		t.Errorf("%v, watched %d", p.Stops[0].Days, p.Watched)
	}
	o.wait(4*24*time.Hour - time.Hour)
	o.want(1, "files 2")
	o.wait(2 * time.Hour)
	o.want(1, "files 1")
	o.wait(4 * 24 * time.Hour)
	o.want(1, "")
	if got := o.preview(1).Sentence().JA; got != "この7日間に、この機器をサーバーとして使った機器は見つかっていません。" {
		t.Error(got)
	}
}

func TestItSaysForHowLongItHasWatched(t *testing.T) {
	o := newOffice(t, nil)
	empty := New(Config{Assets: o.inv}).Preview(Device{ID: "x"}, o.now)
	if got := empty.Sentence(); !strings.Contains(got.EN, "not known yet") || !empty.Since.IsZero() {
		t.Errorf("%+v", got)
	}
	o.uses(10, 0, 443)
	o.wait(3 * time.Hour)
	if got := o.preview(1).Sentence(); got.EN != "Nobody was seen using this device as a server since 20 Apr 09:00, when watching it began." ||
		got.JA != "見はじめた4月20日09:00から、この機器をサーバーとして使った機器は見つかっていません。" {
		t.Errorf("%+v", got)
	}
	o.wait(30 * 24 * time.Hour)
	p := o.use.Preview(Device{ID: "new", MACs: []flow.MAC{mac(1)}, FirstSeen: o.now.Add(-time.Hour)}, o.now)
	if !p.Since.Equal(o.now.Add(-time.Hour)) || !strings.Contains(p.Sentence().EN, "20 May 11:04") {
		t.Errorf("a new device: since %v: %s", p.Since, p.Sentence().EN)
	}
}

func TestAServiceThatNobodyUsedBeforeTodayIsMarked(t *testing.T) {
	o := newOffice(t, nil)
	o.uses(10, 1, 445)
	if o.preview(1).Stops[0].New {
		t.Error("on the first day everything is new, which says nothing")
	}
	o.wait(5 * 24 * time.Hour)
	o.uses(11, 1, 445)
	o.uses(11, 1, 8080)
	p := o.preview(1)
	if stops(p) != "files 2, web 1" || p.Stops[0].New || !p.Stops[1].New || !strings.Contains(p.Sentence().JA, "（今日初めて）") {
		t.Errorf("%+v", p.Stops)
	}
}

func TestWhatItsOwnUserLosesIsListed(t *testing.T) {
	o := newOffice(t, nil)
	o.uses(10, 0, 443)
	o.uses(10, 1, 445)
	p := o.preview(10)
	if !slices.Equal(p.Uses, []Service{Files, Internet}) {
		t.Fatalf("%v", p.Uses)
	}
	if got := p.OwnUse(); got.EN != "On the device itself these stop: shared files and the internet." || got.JA != "この機器の利用者は、共有フォルダー・インターネットを使えなくなります。" {
		t.Errorf("%+v", got)
	}
	o.wait(8 * 24 * time.Hour)
	if p := o.preview(10); len(p.Uses) != 0 || p.OwnUse().EN != "" {
		t.Errorf("%v", p.Uses)
	}
}

func TestAWrongClockInTheFutureIsForgottenWhenItIsSetRight(t *testing.T) {
	o := newOffice(t, nil)
	o.now = monday.AddDate(12, 0, 0)
	o.uses(10, 1, 445)
	o.now = monday
	o.talk(talk{from: 10, to: 1, port: 445, sent: 400, received: 400})
	if p := o.preview(1); stops(p) != "files 1" || !p.Stops[0].Last.Equal(monday) {
		t.Errorf("%+v", p)
	}
	o.wait(8 * 24 * time.Hour)
	o.want(1, "")
}

func TestInventedClientsDoNotPushOutRealOnesAndTheLossIsSaid(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.MaxRelations, c.MaxDevices = 64, 64 })
	for client := 10; client < 14; client++ {
		o.uses(client, 1, 445)
	}
	for stranger := 1000; stranger < 3000; stranger++ {
		o.talk(talk{from: stranger, to: 1, port: 80, sent: 100, received: 400})
	}
	s := o.use.Stats()
	if s.Relations > 64 || s.Devices > 64 || s.Evicted < 1900 {
		t.Errorf("%+v", s)
	}
	p := o.preview(1)
	if stops(p) != "files 4" || !p.Incomplete || !strings.Contains(p.Sentence().EN, "There may be more") {
		t.Errorf("%s, incomplete %v", stops(p), p.Incomplete)
	}
	o.wait(8 * 24 * time.Hour)
	if o.preview(1).Incomplete {
		t.Error("what was lost more than a week ago is not missing any more")
	}
}

func TestAForgottenDeviceIsInNoRelation(t *testing.T) {
	o := newOffice(t, nil)
	o.uses(10, 1, 445)
	o.uses(11, 1, 445)
	o.uses(1, 2, 80)
	o.use.Forget(mac(10))
	o.want(1, "files 1")
	o.use.Forget(mac(1))
	o.want(1, "")
	o.want(2, "")
	data, err := o.use.Snapshot()
	if err != nil || strings.Contains(string(data), mac(1).String()) || strings.Contains(string(data), mac(10).String()) {
		t.Errorf("%s %v", data, err)
	}
}

func TestTheSmallScreensLineFits(t *testing.T) {
	for s := range briefs {
		for _, n := range []int{1, 12, 250} {
			p := Preview{Clients: n, Stops: []Stop{{Service: s, Clients: n}, {Service: Other, Clients: 1}}}
			b := p.Brief()
			if len(b.EN) > 22 || cells(b.JA) > 21 {
				t.Errorf("%q %q", b.EN, b.JA)
			}
			p.Stops = p.Stops[:1]
			if b := p.Brief(); len(b.EN) > 22 || cells(b.JA) > 23 {
				t.Errorf("%q %q", b.EN, b.JA)
			}
		}
	}
	if b := (Preview{Clients: 4, Stops: []Stop{{Service: Files, Clients: 4}}}).Brief(); b.EN != "Stops files: 4" || b.JA != "影響:共有ファイル4台" {
		t.Errorf("%+v", b)
	}
	if b := (Preview{}).Brief(); b.EN != "" || b.JA != "" {
		t.Errorf("%+v", b)
	}
}

// cells is the width of a text, a Japanese character being two.
func cells(s string) (n int) {
	for _, r := range s {
		n += min(len(string(r)), 2)
	}
	return n
}

func TestEveryServiceHasItsWords(t *testing.T) {
	for _, s := range services {
		if titles[s].EN == "" || titles[s].JA == "" {
			t.Errorf("%s has no title", s)
		}
		if b := briefs[s]; s != Internet && (b.en == "" || b.ja == "" || b.more == "") {
			t.Errorf("%s has no brief", s)
		}
	}
}

// Whatever comes in whatever order: bounds hold, and a client is never counted
// twice, nor a device for itself.
func TestAnyTrafficStaysWithinTheBounds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o := newOffice(t, func(c *Config) { c.MaxRelations, c.MaxDevices = 20, 8 })
		for range rapid.IntRange(0, 200).Draw(r, "events") {
			o.talk(talk{
				from: rapid.IntRange(0, 30).Draw(r, "from"), to: rapid.IntRange(0, 30).Draw(r, "to"), mid: rapid.Bool().Draw(r, "mid"),
				proto: rapid.SampledFrom([]uint8{protoTCP, protoUDP, 1}).Draw(r, "proto"), port: rapid.SampledFrom([]uint16{0, 53, 80, 445, 9100, 7777, 40000}).Draw(r, "port"),
				sent: rapid.Uint64Range(0, 40000).Draw(r, "sent"), received: rapid.Uint64Range(0, 40000).Draw(r, "received"),
			})
			o.suspects[mac(rapid.IntRange(0, 30).Draw(r, "suspect"))] = rapid.Bool().Draw(r, "is")
			o.now = o.now.Add(time.Duration(rapid.Int64Range(-int64(48*time.Hour), int64(48*time.Hour)).Draw(r, "later")))
		}
		if s := o.use.Stats(); s.Relations > 20 || s.Devices > 8 || s.Relations != o.use.fresh.Len()+o.use.known.Len() {
			r.Fatalf("%+v", s)
		}
		for n := range 31 {
			p := o.preview(n)
			for _, s := range p.Stops {
				if s.Clients > p.Clients || s.Clients == 0 && !s.Outside || slices.Contains(s.Names, mac(n).String()) {
					r.Fatalf("device %d: %+v", n, p)
				}
			}
		}
	})
}

func TestTheOrderOfEqualTimesMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var talks []talk
		for range rapid.IntRange(1, 40).Draw(r, "talks") {
			talks = append(talks, talk{from: rapid.IntRange(10, 20).Draw(r, "from"), to: rapid.IntRange(1, 4).Draw(r, "to"),
				port: rapid.SampledFrom([]uint16{80, 445, 631}).Draw(r, "port"), sent: 10, received: rapid.Uint64Range(0, 40000).Draw(r, "received")})
		}
		play := func(all []talk) (out []string) {
			o := newOffice(t, nil)
			for n := 1; n <= 20; n++ { // everybody's address is known before
				o.play(&flow.ARP{Meta: flow.Meta{Time: o.now, SrcMAC: mac(n)}, Op: 1, SenderMAC: mac(n), SenderIP: ip(n), TargetIP: ip(1)})
			}
			for _, c := range all {
				o.talk(c)
			}
			for n := 1; n <= 4; n++ {
				out = append(out, fmt.Sprint(o.preview(n)))
			}
			return out
		}
		if one, two := play(talks), play(rapid.Permutation(talks).Draw(r, "order")); !slices.Equal(one, two) {
			r.Fatalf("%v\n%v", one, two)
		}
	})
}

func TestStampsOfAWeekComeInAnyOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		hours := rapid.SliceOfN(rapid.Int64Range(0, 23), 1, 20).Draw(r, "hours") // within clockWrong
		var a, b stamps
		add := func(s *stamps, h int64) { s.add(monday.Add(time.Duration(h)*time.Hour).UnixNano(), int32(h/6)) }
		for _, h := range hours {
			add(&a, h)
		}
		for _, h := range rapid.Permutation(hours).Draw(r, "order") {
			add(&b, h)
		}
		if a != b {
			r.Fatalf("%+v %+v", a, b)
		}
	})
}
