package asset_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
)

const day = 24 * time.Hour

// sign is when the incident begins: ten days after the office is first seen.
const sign = 10 * day

// self is what a device says when it asks for an address.
type self struct {
	mac   int
	port  int // 9 is the access point's
	name  string
	duid  string
	class string
}

// scene is an office whose devices come and go.
type scene struct {
	v   *asset.Inventory
	now time.Duration
}

func newScene() *scene {
	return &scene{v: asset.New(asset.Config{
		PortName: func(i uint32) string {
			if i == 9 {
				return "wlan0"
			}
			return fmt.Sprintf("port%d", i)
		},
		Shared: func(port string) bool { return port == "wlan0" },
	})}
}

func (s *scene) meta(d self) flow.Meta {
	m := meta(d.mac, s.now)
	m.Iface = uint32(d.port)
	return m
}

func (s *scene) ask(d self) {
	e := &flow.DHCP{Meta: s.meta(d), Type: 1, ClientMAC: mac(d.mac), Hostname: d.name, VendorClass: d.class, Params: []byte{1, 3, 6}}
	if d.duid != "" {
		e.ClientID = append([]byte{255, 0, 0, 0, byte(d.mac)}, d.duid...)
	}
	s.v.Observe(e)
}

// use lets time pass until then; who is there asks again every half hour, and is
// heard every minute.
func (s *scene) use(until time.Duration, there ...self) {
	for ; s.now < until; s.now += time.Minute {
		for _, d := range there {
			if s.now%(30*time.Minute) == 0 {
				s.ask(d)
			}
			s.v.Observe(&flow.ARP{Meta: s.meta(d), Op: 1, SenderMAC: mac(d.mac), SenderIP: ip(d.mac), TargetIP: ip(1)})
		}
		s.v.Observe(&flow.Tick{Meta: flow.Meta{Time: start.Add(s.now)}})
	}
}

// kin asks for the kin of a device that was held a minute after the first sign.
func (s *scene) kin(of self, known ...asset.Kin) (follow, suggest []asset.ID) {
	for _, k := range s.v.Kin(query(of, known...)) {
		if k.Follows {
			follow = append(follow, k.ID)
		} else {
			suggest = append(suggest, k.ID)
		}
	}
	return follow, suggest
}

func query(of self, known ...asset.Kin) asset.Query {
	return asset.Query{ID: id(of.mac), FirstSign: start.Add(sign), Held: start.Add(sign + time.Minute), Known: known}
}

func (s *scene) want(t *testing.T, of self, follow, suggest []asset.ID) {
	t.Helper()
	gotFollow, gotSuggest := s.kin(of)
	slices.Sort(gotSuggest)
	slices.Sort(suggest)
	if !slices.Equal(gotFollow, follow) || !slices.Equal(gotSuggest, suggest) {
		text, _ := json.MarshalIndent(s.v.Kin(query(of)), "", " ")
		t.Errorf("follow %v, want %v; suggested %v, want %v\n%s", gotFollow, follow, gotSuggest, suggest, text)
	}
}

func list(of ...self) (out []asset.ID) {
	for _, d := range of {
		out = append(out, id(d.mac))
	}
	return out
}

var (
	printer   = self{mac: 50, port: 5, name: "printer-2f"} // so that the office is known
	wired     = self{mac: 11, port: 1, name: "keiri-pc", duid: "\x00\x04keiri", class: "MSFT 5.0"}
	wireless  = self{mac: 12, port: 9, name: "keiri-pc", duid: "\x00\x04keiri", class: "MSFT 5.0"}
	colleague = self{mac: 20, port: 2, name: "tanaka-pc", duid: "\x00\x04tanaka", class: "MSFT 5.0"}
)

// as is a device with another address, elsewhere.
func (d self) as(mac, port int) self {
	d.mac, d.port = mac, port
	return d
}

func TestLaptopUsedByCableAndByRadioInTurnsIsOneDevice(t *testing.T) {
	s := newScene()
	for at := day; at <= sign; at += day { // by day at the desk, by night in the meeting room
		s.use(at-12*time.Hour, printer, wired)
		s.use(at, printer, wireless)
	}
	s.want(t, wired, list(wireless), nil)
	s.want(t, wireless, list(wired), nil)
}

func TestLaptopWithBothAtOnceIsOnlySuggested(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired, wireless)
	s.want(t, wired, nil, list(wireless))
}

func TestInTurnsMeansNeverTogetherAndMoreThanOnce(t *testing.T) {
	s := newScene()
	for at := day; at <= sign; at += day {
		s.use(at-13*time.Hour, printer, wired)
		s.use(at-12*time.Hour, printer, wired, wireless)
		s.use(at, printer, wireless)
	}
	s.want(t, wired, nil, list(wireless))

	s = newScene()
	s.use(sign-4*day, printer, wired)
	s.use(sign-4*day+time.Hour, printer, wireless)
	s.use(sign-3*day, printer, wired)
	s.use(sign, printer, wireless) // another machine with the old one's name
	s.want(t, wireless, nil, list(wired))
}

func TestKinshipThatIsYoungerThanTheIncidentsMarginIsOnlySuggested(t *testing.T) {
	s := newScene()
	s.use(sign-6*time.Hour, printer, wired)
	for range 6 {
		s.use(s.now+30*time.Minute, printer, wireless)
		s.use(s.now+30*time.Minute, printer, wired)
	}
	s.want(t, wired, nil, list(wireless))
}

func TestNewAddressWithTheHeldDevicesIdentityFollows(t *testing.T) {
	changed := wired.as(77, 3) // on another port
	for what, d := range map[string]self{
		"identifier": {mac: 77, port: 3, duid: wired.duid, class: "other"},
		"name":       {mac: 77, port: 3, name: wired.name, class: wired.class},
		"both":       changed,
	} {
		s := newScene()
		s.use(sign, printer, wired, colleague)
		s.want(t, wired, nil, nil)
		s.use(s.now+time.Hour, printer, colleague, d)
		t.Log(what)
		s.want(t, wired, list(d), nil)
	}
	s := newScene()
	s.use(sign-5*time.Minute, printer, wired, colleague) // just before the first sign
	s.use(sign+time.Minute, printer, colleague, changed)
	s.want(t, wired, list(changed), nil)
}

func TestPhoneWithANewAddressEveryDay(t *testing.T) {
	s := newScene()
	phone := self{port: 9, name: "sato-phone", class: "android-dhcp-14"}
	for n := range 10 {
		s.use(time.Duration(n+1)*day, printer, phone.as(100+n, 9))
	}
	today := phone.as(109, 9)
	tomorrow := phone.as(110, 9)
	s.use(sign+time.Hour, printer, tomorrow)
	follow, suggest := s.kin(today)
	if !slices.Equal(follow, list(tomorrow)) {
		t.Errorf("follow %v, suggested %v", follow, suggest)
	}
	if len(suggest) > 8 {
		t.Errorf("%d suggestions", len(suggest))
	}
}

func TestWhoeverCopiesAColleagueTakesNobodyAlongAndIsHeldHimself(t *testing.T) {
	copied := colleague.as(wired.mac, wired.port)
	newLaptop := colleague.as(88, 9) // the colleague's, first seen after the incident

	t.Run("after the isolation", func(t *testing.T) {
		s := newScene()
		s.use(sign+2*time.Minute, printer, wired, colleague)
		s.use(s.now+time.Hour, printer, copied, colleague, newLaptop)
		s.want(t, wired, nil, nil) // the held one is the query itself: it stays held
	})
	t.Run("before the first sign", func(t *testing.T) {
		s := newScene()
		s.use(sign-2*time.Hour, printer, wired, colleague)
		s.use(sign, printer, copied, colleague)
		s.use(sign+time.Hour, printer, copied, colleague, newLaptop)
		s.want(t, wired, nil, list(newLaptop, colleague))
	})
	t.Run("from its first day on", func(t *testing.T) {
		s := newScene()
		s.use(2*day, printer, colleague)
		s.use(sign, printer, copied, colleague)
		s.use(sign+time.Hour, printer, copied, colleague, newLaptop)
		s.want(t, wired, nil, list(newLaptop, colleague))
	})
	t.Run("and takes a new address under the copied name on its own port", func(t *testing.T) {
		s := newScene()
		s.use(sign-2*time.Hour, printer, wired, colleague)
		s.use(sign+time.Minute, printer, copied, colleague)
		again := copied.as(99, copied.port)
		s.use(s.now+time.Hour, printer, colleague, again)
		s.want(t, wired, list(again), list(colleague))
	})
}

func TestTwoPhonesThatAreCalledAfterTheirModelAreTwoDevices(t *testing.T) {
	for _, name := range []string{"iPhone", "DESKTOP", "Galaxy-S21", "MacBook-Pro-2", "android"} {
		s := newScene()
		one := self{mac: 31, port: 9, name: name, class: "x"}
		s.use(sign, printer, one, one.as(32, 9))
		s.use(sign+time.Hour, printer, one, one.as(32, 9), one.as(33, 9)) // a visitor's
		t.Log(name)
		s.want(t, one, nil, nil)
	}
}

func TestTwoLaptopsFromOneImageAreTwoDevices(t *testing.T) {
	s := newScene()
	clone := wired.as(21, 2)
	clone.name = "eigyo-pc"
	newest := wired.as(22, 3) // set up from the image after the incident
	newest.name = "soumu-pc"
	s.use(sign, printer, wired, clone)
	s.use(sign+time.Hour, printer, wired, clone, newest)
	follow, _ := s.kin(wired)
	if len(follow) != 0 {
		t.Errorf("%v follow a clone of their image", follow)
	}
}

func TestDockingStationOfSeveralLaptopsTakesNobodyAlong(t *testing.T) {
	dock := func(d self) self { return d.as(60, 4) }
	s := newScene()
	for at := day; at <= sign; at += 2 * day {
		s.use(at-12*time.Hour, printer, dock(wired), colleague.as(20, 9))
		s.use(at, printer, wireless, colleague.as(20, 9))
		s.use(at+12*time.Hour, printer, dock(colleague), wireless)
		s.use(at+day, printer, colleague.as(20, 9), wireless)
	}
	for _, held := range []self{wireless, colleague, dock(wired)} {
		if follow, suggest := s.kin(held); len(follow) != 0 || len(suggest) == 0 {
			t.Errorf("of %s %v follow, %v are suggested", held.name, follow, suggest)
		}
		for _, k := range s.v.Kin(query(held)) {
			if !strings.Contains(k.Why.EN, "docking station") || !strings.Contains(k.Why.JA, "ドッキングステーション") {
				t.Errorf("%+v", k.Why)
			}
		}
	}
}

func TestVirtualMachineOnAHostIsNotTheHost(t *testing.T) {
	s := newScene()
	guest := self{mac: 13, port: 1, name: "build-vm", duid: "\x00\x04vm"}
	s.use(sign+time.Hour, printer, wired, guest)
	s.want(t, wired, nil, nil)
	s.want(t, guest, nil, nil)
}

func TestNewcomerOnThePortThatOnlyTheHeldDeviceUsesFollows(t *testing.T) {
	newcomer := self{mac: 70, port: 1}
	s := newScene()
	s.use(sign, printer, wired)
	s.use(sign+time.Minute, printer, newcomer)
	s.want(t, wired, list(newcomer), nil)

	t.Run("not where a colleague shares the port", func(t *testing.T) {
		s := newScene()
		s.use(sign-5*day, printer, wired, colleague.as(20, 1)) // on holiday since
		s.use(sign, printer, wired)
		s.use(sign+time.Hour, printer, newcomer)
		s.want(t, wired, nil, list(newcomer)) // it appeared as the other fell silent
	})
	t.Run("not at the access point", func(t *testing.T) {
		s := newScene()
		s.use(sign, printer, wireless)
		s.use(sign+time.Minute, printer, newcomer.as(70, 9))
		s.want(t, wireless, nil, list(newcomer))
	})
	t.Run("not in an office that is hardly known", func(t *testing.T) {
		s := newScene()
		s.now = sign - time.Hour
		s.use(sign, printer, wired)
		s.use(sign+time.Minute, printer, newcomer)
		s.want(t, wired, nil, list(newcomer))
	})
	t.Run("not a colleague who plugs in there", func(t *testing.T) {
		s := newScene()
		s.use(sign, printer, wired, colleague)
		s.use(sign+time.Hour, printer, colleague.as(20, 1))
		s.want(t, wired, nil, nil)
	})
}

func TestNewcomerThatTakesTheHeldDevicesAddressFollowsUnlessItWasLeased(t *testing.T) {
	taker := self{mac: 71, port: 9}
	claim := func(s *scene) {
		s.v.Observe(&flow.ARP{Meta: s.meta(taker), Op: 2, SenderMAC: mac(71), SenderIP: ip(wired.mac)})
	}
	s := newScene()
	s.use(sign, printer, wired)
	s.use(sign+5*time.Minute, printer)
	claim(s)
	s.want(t, wired, list(taker), nil)

	s = newScene()
	s.use(sign, printer, wired)
	s.use(sign+5*time.Minute, printer)
	s.v.Observe(&flow.DHCP{Meta: meta(1, s.now), Type: 5, FromServer: true, Src: ip(1), YourIP: ip(wired.mac), ClientMAC: mac(71)})
	claim(s)
	s.want(t, wired, nil, nil)

	s = newScene() // a static address first, then the server's
	s.use(sign, printer, wired)
	s.use(sign+5*time.Minute, printer)
	claim(s)
	s.v.Observe(&flow.DHCP{Meta: meta(1, s.now), Type: 5, FromServer: true, Src: ip(1), YourIP: ip(wired.mac), ClientMAC: mac(71)})
	s.want(t, wired, nil, nil)
}

func TestIPv6AddressBuiltFromTheHeldDevicesMACFollows(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired)
	s.use(sign+time.Hour, printer)
	m := mac(wired.mac)
	a := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
	random := self{mac: 72, port: 9}
	s.v.Observe(&flow.NDP{Meta: s.meta(random), Type: 136, Src: a, Target: a})
	s.want(t, wired, list(random), nil)
}

func TestAPersonsWordDecidesAndOutlivesARestart(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired, wireless)
	yes, no := true, false
	if !s.v.Judge(id(12), id(11), &yes, "web:Sato", start.Add(s.now)) {
		t.Fatal("not kept")
	}
	s.want(t, wired, list(wireless), nil)
	restarted := newScene()
	restarted.v.Restore(s.v.All())
	restarted.want(t, wired, list(wireless), nil)
	restarted.want(t, wireless, list(wired), nil)

	changed := wired.as(77, 3)
	s.use(sign+time.Hour, printer, changed)
	known := s.v.Kin(query(wired))
	s.v.Judge(id(11), id(12), &no, "web:Sato", start.Add(s.now))
	s.v.Judge(id(11), id(77), &no, "web:Sato", start.Add(s.now))
	if follow, suggest := s.kin(wired, known...); len(follow)+len(suggest) != 0 {
		t.Errorf("%v and %v are still the same device", follow, suggest)
	}
	s.v.Judge(id(11), id(77), nil, "web:Sato", start.Add(s.now))
	s.want(t, wired, nil, list(changed)) // now that the other laptop is one of its own, it may be that one's
	for _, pair := range [][2]asset.ID{{id(11), id(11)}, {"ip:192.168.0.9", id(11)}, {id(200), id(201)}} {
		if s.v.Judge(pair[0], pair[1], &yes, "web:Sato", start) {
			t.Errorf("a word on %v was kept", pair)
		}
	}
}

func TestGatewayRoutersAndProtectedDevicesNeverFollow(t *testing.T) {
	changed := wired.as(77, 1)
	base := func() *scene {
		s := newScene()
		s.use(sign, printer, wired)
		s.use(sign+time.Minute, printer, changed)
		return s
	}
	s := base()
	s.v.SetProtected(id(77), true)
	s.want(t, wired, nil, list(changed))
	yes := true
	s.v.Judge(id(11), id(77), &yes, "web:Sato", start)
	s.want(t, wired, nil, list(changed)) // that one only a person isolates, asked twice
	if why := s.v.Kin(query(wired))[0].Why; !strings.Contains(why.EN, "isolate it by itself") || strings.Contains(why.EN, "has to decide") {
		t.Errorf("a person who decided is asked again: %+v", why)
	}

	s = base()
	s.v.Observe(&flow.Conn{Meta: meta(50, s.now), State: flow.ConnEstablished, Proto: 6, RecvPackets: 1, ClientMAC: mac(50), ServerMAC: mac(77),
		Client: netip.AddrPortFrom(ip(50), 4000), Server: netip.MustParseAddrPort("203.0.113.1:443")}) // forwards for others
	s.want(t, wired, nil, list(changed))

	s = base()
	q := query(wired)
	q.Never = func(a asset.Asset) bool { return a.ID == id(77) }
	if kin := s.v.Kin(q); len(kin) != 1 || kin[0].Follows {
		t.Errorf("kin %+v", kin)
	}
}

// The held device sends in the name of somebody who came after the incident.
func TestTheHeldDeviceCannotPullANewcomerInByPosingAsIt(t *testing.T) {
	visitor := self{mac: 79, port: 3}
	for what, pose := range map[string]func(*scene){
		"on its own port": func(s *scene) {
			s.v.Observe(&flow.ARP{Meta: s.meta(visitor.as(79, 1)), Op: 1, SenderMAC: mac(79), SenderIP: ip(79), TargetIP: ip(1)})
		},
		"with its own identity": func(s *scene) { s.ask(wired.as(79, 1)) },
		"with its own address": func(s *scene) {
			s.now += 10 * time.Minute // its owner has to be silent
			s.v.Observe(&flow.ARP{Meta: s.meta(wired), Op: 2, SenderMAC: mac(79), SenderIP: ip(wired.mac), TargetIP: ip(1)})
		},
	} {
		s := newScene()
		s.use(sign, printer, wired)
		s.use(sign+time.Hour, printer, visitor)
		pose(s)
		if follow, _ := s.kin(wired); len(follow) != 0 {
			t.Errorf("%s: %v follow", what, follow)
		}
	}
}

func TestAForgottenDeviceIsNamedByNobodyAnyMore(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired, wireless)
	no := false
	s.v.Judge(id(11), id(12), &no, "web:Sato", start)
	s.use(sign+5*time.Minute, printer, wired)
	s.v.Observe(&flow.ARP{Meta: s.meta(wired), Op: 2, SenderMAC: mac(11), SenderIP: ip(12)})
	if a, _ := s.v.Get(id(11)); len(a.Identity.Taken) == 0 || len(a.Identity.Turns) == 0 || len(a.Identity.Verdicts) == 0 {
		t.Fatalf("nothing to forget: %+v", a.Identity)
	}
	s.v.Changed()
	s.v.Forget(id(12))
	a, _ := s.v.Get(id(11))
	if text, _ := json.Marshal(a); strings.Contains(string(text), mac(12).String()) {
		t.Errorf("%s", text)
	}
	if !slices.Contains(s.v.Changed(), id(11)) {
		t.Error("the store is not told")
	}
}

func TestWhatFollowsCannotTalkItselfFree(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired, colleague)
	changed := wired.as(77, 3)
	s.use(sign+time.Minute, printer, colleague, changed)
	known := s.v.Kin(query(wired))
	if len(known) != 1 || !known[0].Follows {
		t.Fatalf("kin %+v", known)
	}
	other := colleague.as(77, 3)
	s.use(s.now+time.Hour, printer, colleague, other)
	for range 20 { // says so much that its old name has no room left
		other.name += "x"
		s.ask(other)
	}
	after := s.v.Kin(query(wired, known...))
	if len(after) == 0 || after[0].ID != id(77) || !after[0].Follows || after[0].Why != known[0].Why {
		t.Errorf("kin %+v", after)
	}
	s.v.Forget(id(77))
	if after := s.v.Kin(query(wired, known...)); len(after) != 1 || !after[0].Follows {
		t.Errorf("forgotten, and let go: %+v", after)
	}
}

func TestWhatMustNotBeHeldGoesAlsoWhenTheDeviceItselfIsForgotten(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired, colleague)
	s.use(sign+time.Minute, printer, colleague, wired.as(77, 3), wired.as(78, 3), wired.as(79, 3))
	known := s.v.Kin(query(wired))
	s.v.Forget(id(wired.mac))
	s.v.SetProtected(id(77), true)
	other := false
	s.v.Judge(id(78), id(wired.mac), &other, "web:Sato", start.Add(s.now))
	if s.v.Judged(id(wired.mac), id(78)) != -1 || s.v.Judged(id(78), id(79)) != 0 {
		t.Error("a person's word is not found from both sides")
	}
	s.want(t, wired, nil, nil)
	if follow, _ := s.kin(wired, known...); !slices.Equal(follow, list(self{mac: 79})) {
		t.Errorf("of %d that were held, %v still are", len(known), follow)
	}
}

func TestInventedAddressesAreBounded(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired)
	for n := range 300 {
		s.now += time.Second
		s.ask(wired.as(1000+n, 1))
	}
	s.now = sign + time.Hour
	kin := s.v.Kin(query(wired))
	if len(kin) != 16 || kin[0].ID != id(1299) {
		t.Errorf("%d kin, the first %s: want the 16 latest", len(kin), kin[0].ID)
	}
}

func TestAHeldDeviceCannotWashItsIdentityAway(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired)
	s.v.Pin(list(wired))
	for n := range 5000 {
		s.v.Observe(&flow.ARP{Meta: meta(1000+n, sign+time.Minute), Op: 1, SenderMAC: mac(1000 + n), SenderIP: ip(200)})
	}
	changed := wired.as(77, 3)
	s.now = sign + time.Hour
	s.ask(changed)
	if kin := s.v.Kin(query(wired)); len(kin) == 0 || !slices.ContainsFunc(kin, func(k asset.Kin) bool { return k.ID == id(77) && k.Follows }) {
		t.Errorf("kin %+v", kin)
	}
	s.v.Pin(nil)
	for n := range 5000 {
		s.v.Observe(&flow.ARP{Meta: meta(10000+n, sign+2*time.Hour), Op: 1, SenderMAC: mac(10000 + n), SenderIP: ip(200)})
	}
	if _, ok := s.v.Get(id(11)); ok {
		t.Error("released, and never forgotten")
	}
}

func TestKinIsExplainedInBothLanguages(t *testing.T) {
	s := newScene()
	s.use(sign, printer, wired, wireless, colleague)
	s.use(sign+time.Hour, printer, wired.as(77, 1))
	for _, k := range s.v.Kin(query(wired)) {
		if k.Why.EN == "" || k.Why.JA == "" || strings.Contains(k.Why.EN+k.Why.JA, "%!") || strings.Contains(k.Why.EN+k.Why.JA, "%s") || len(k.Evidence) == 0 || k.Confidence == "" {
			t.Errorf("kin %+v", k)
		}
		if k.Follows != strings.Contains(k.Why.EN, "treated as the same device") || k.Follows == strings.Contains(k.Why.JA, "担当者が判断してください") {
			t.Errorf("follows %v: %+v", k.Follows, k.Why)
		}
	}
}

func TestIdentityOutlivesARestart(t *testing.T) {
	s := newScene()
	for at := day; at <= sign; at += day {
		s.use(at-12*time.Hour, printer, wired)
		s.use(at, printer, wireless)
	}
	text, err := json.Marshal(s.v.All())
	if err != nil {
		t.Fatal(err)
	}
	var all []asset.Asset
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	after := newScene()
	after.v.Restore(all)
	if a, b := s.v.Kin(query(wired)), after.v.Kin(query(wired)); !reflect.DeepEqual(a, b) || len(a) != 1 {
		t.Errorf("before %+v\nafter %+v", a, b)
	}
}

// TestKinshipHoldsForAnyOffice lets devices say anything, anywhere.
func TestKinshipHoldsForAnyOffice(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newScene()
		names := []string{"", "a-pc", "b-pc", "iPhone"}
		ids := []string{"", "\x00\x04a", "\x00\x04b"}
		for range rapid.IntRange(1, 60).Draw(r, "events") {
			s.now += time.Duration(rapid.IntRange(0, 2000).Draw(r, "minutes")) * time.Minute
			s.ask(self{
				mac: rapid.IntRange(2, 9).Draw(r, "mac"), port: rapid.SampledFrom([]int{1, 2, 9}).Draw(r, "port"),
				name: rapid.SampledFrom(names).Draw(r, "name"), duid: rapid.SampledFrom(ids).Draw(r, "duid"),
			})
			s.v.Observe(&flow.Tick{Meta: flow.Meta{Time: start.Add(s.now)}})
		}
		s.v.SetProtected(id(3), true)
		q := asset.Query{ID: id(2), FirstSign: start.Add(sign), Held: start.Add(sign + time.Minute)}
		for _, k := range s.v.Kin(q) {
			a, ok := s.v.Get(k.ID)
			switch {
			case !ok || k.ID == q.ID:
				r.Fatalf("kin %s", k.ID)
			case k.Follows && (a.Protected || a.Router || a.Gateway):
				r.Fatalf("%s follows", k.ID)
			case k.Follows && a.FirstSeen.Before(q.FirstSign.Add(-10*time.Minute)) && !slices.Contains(k.Evidence, asset.EvTurns):
				r.Fatalf("%s has a history and follows: %v", k.ID, k.Evidence)
			}
		}
		again := newScene()
		again.v.Restore(s.v.All())
		if a, b := s.v.Kin(q), again.v.Kin(q); !reflect.DeepEqual(a, b) {
			r.Fatalf("%+v\nafter a restart\n%+v", a, b)
		}
	})
}

// FuzzIdentity gives a device any identifier and any name: nothing panics,
// what is kept is bounded, and a device is never its own kin.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte{255, 0, 0, 0, 1, 0, 4, 1, 2, 3}, "pc", []byte{0, 4, 1, 2, 3})
	f.Add([]byte{1, 0, 0x16, 0x3e, 0, 0, 1}, "", []byte{})
	f.Add([]byte{}, "a.b.c|d:e", []byte(strings.Repeat("x", 300)))
	f.Fuzz(func(t *testing.T, client []byte, name string, duid []byte) {
		v := asset.New(asset.Config{})
		for n := range 30 {
			v.Observe(&flow.DHCP{Meta: meta(1, time.Duration(n)*time.Hour), Type: 1, ClientMAC: mac(1), ClientID: append(client, byte(n/15)), Hostname: fmt.Sprint(name, n/10)})
			v.Observe(&flow.DHCP6{Meta: meta(1, time.Duration(n)*time.Hour), Type: 1, ClientID: duid, Hostname: name})
			v.Observe(&flow.DHCP{Meta: meta(2, time.Duration(n)*time.Hour), Type: 1, ClientMAC: mac(2), ClientID: client, Hostname: name})
		}
		a, _ := v.Get(id(1))
		if len(a.Identity.Claims) > 12 {
			t.Errorf("%d claims", len(a.Identity.Claims))
		}
		for _, c := range a.Identity.Claims {
			if len(c.Key) > 300 {
				t.Errorf("a claim of %d bytes", len(c.Key))
			}
		}
		for _, k := range v.Kin(asset.Query{ID: id(1), FirstSign: start}) {
			if k.ID == id(1) {
				t.Error("a device is its own kin")
			}
		}
	})
}

// The inventory goes on learning between the steps of a question. Whoever follows
// is in every answer, once, whether it is there, has just been forgotten, or is back.
func TestWhoFollowsIsInEveryAnswerWhileTheInventoryForgets(t *testing.T) {
	s := &scene{v: asset.New(asset.Config{Max: 64, PortName: func(i uint32) string { return fmt.Sprintf("port%d", i) }})}
	s.use(sign, printer, wired)
	s.v.Pin(list(wired))
	follower := wired.as(999, 1)
	s.ask(follower)
	q := query(wired)
	q.Known = s.v.Kin(q)
	if len(q.Known) != 1 || !q.Known[0].Follows {
		t.Fatalf("%+v", q.Known)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 20000 {
			s.now += time.Millisecond
			s.ask(printer.as(1000+n, 3)) // strangers to the device
			if n%100 == 0 {
				s.ask(follower)
			}
		}
	}()
	for asks := 0; ; asks++ {
		times := 0
		for _, k := range s.v.Kin(q) {
			if k.ID == q.Known[0].ID && k.Follows {
				times++
			}
		}
		if times != 1 {
			t.Fatalf("ask %d: in the answer %d times", asks, times)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
