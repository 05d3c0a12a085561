package nft

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sekisho/netcontain"
	"sekisho/netcontain/nstest"
)

// dnsmasq runs the real one inside a namespace until the test ends.
func dnsmasq(t *testing.T, ns *nstest.NS, settings string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dnsmasq.conf")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file="+file, "--pid-file=", "--user=root", "--log-facility=-",
		"--no-resolv", "--no-hosts", "--bind-interfaces", "--except-interface=lo")
	var said bytes.Buffer
	cmd.Stderr = &said
	ns.Do(t, func() {
		if err := cmd.Start(); err != nil {
			t.Errorf("dnsmasq: %v", err)
		}
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("dnsmasq:\n%s", &said)
		}
	})
}

// resolver asks as host would, without any library's cache.
type resolver struct {
	host   *nstest.NS
	server string
}

// addrs returns the answer's addresses; it asks again until the server answers.
func (r resolver) addrs(t *testing.T, name string, kind dnsmessage.Type) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if got, ok := r.ask(t, name, kind); ok {
			return got
		}
	}
	t.Fatalf("no answer for %s", name)
	return nil
}

func (r resolver) ask(t *testing.T, name string, kind dnsmessage.Type) (out []string, ok bool) {
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: kind, Class: dnsmessage.ClassINET}}}
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r.host.Do(t, func() {
		c, err := net.DialTimeout("udp", r.server, patience)
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		b := make([]byte, 4096)
		if _, err = c.Write(packed); err != nil {
			return
		}
		n, err := c.Read(b)
		var m dnsmessage.Message
		if err != nil || m.Unpack(b[:n]) != nil || m.RCode != dnsmessage.RCodeSuccess {
			return
		}
		ok = true
		for _, a := range m.Answers {
			switch body := a.Body.(type) {
			case *dnsmessage.AResource:
				out = append(out, netip.AddrFrom4(body.A).String())
			case *dnsmessage.AAAAResource:
				out = append(out, netip.AddrFrom16(body.AAAA).String())
			}
		}
	})
	return out, ok
}

// allowed are the names of the owner's list in these tests, each with what its
// own DNS says. All of it but the first two is an attempt to get inside.
var allowed = map[string][]string{
	"update.example":     {"203.0.113.9", "2001:db8:9::9"},
	"cdn.update.example": {"203.0.113.11"},
	"office.example":     {"192.0.2.12", "2001:db8:1::12"},
	"gateway.example":    {"192.0.2.1", "198.51.100.2", "2001:db8:2::2"},
	"router.example":     {"198.51.100.1"},
	"upstream.example":   {"192.168.77.9"},
}

// namedOffice is an office whose gateway runs dnsmasq with our settings, and an
// internet where another one answers.
func namedOffice(t *testing.T) (*office, resolver) {
	t.Helper()
	o := newOffice(t)
	for _, a := range []string{"203.0.113.11/32", "203.0.113.10/32", "192.168.77.9/32"} {
		o.inet.Run(t, "ip addr add "+a+" dev eth0")
	}
	o.inet.Run(t, "ip addr add 2001:db8:9::9/128 dev eth0 nodad")
	o.gw.Run(t, "ip route add default via 2001:db8:2::1")
	o.apply(t, netcontain.Policy{}) // before dnsmasq, as at boot
	upstream := "interface=eth0\nlocal=/example/\nhost-record=other.example,203.0.113.10\n"
	for name, addrs := range allowed {
		for _, a := range addrs {
			upstream += fmt.Sprintf("host-record=%s,%s\n", name, a)
		}
	}
	dnsmasq(t, o.inet, upstream)
	dnsmasq(t, o.gw, string(AllowFile([]string{"update.example", "office.example", "gateway.example", "router.example", "upstream.example"}))+
		"interface=br0\nserver=198.51.100.1\n")
	return o, resolver{o.hosts[1], "192.0.2.1:53"}
}

func (r resolver) all(t *testing.T) {
	t.Helper()
	for name, want := range allowed {
		got := append(r.addrs(t, name, dnsmessage.TypeA), r.addrs(t, name, dnsmessage.TypeAAAA)...)
		if len(got) != len(want) {
			t.Fatalf("%s is %v, want %v", name, got, want)
		}
	}
	r.addrs(t, "other.example", dnsmessage.TypeA)
}

func TestALimitedHostReachesWhatTheListNamesAndNoNameOpensTheOffice(t *testing.T) {
	o, r := namedOffice(t)
	reach := map[string]bool{
		serve(t, o.inet, "203.0.113.9:7000").addr:          true,
		serve(t, o.inet, "[2001:db8:9::9]:7000").addr:      true,
		serve(t, o.inet, "203.0.113.11:7000").addr:         true, // below a name of the list
		serve(t, o.inet, "203.0.113.10:7000").addr:         false,
		serve(t, o.hosts[2], "192.0.2.12:7000").addr:       false,
		serve(t, o.hosts[2], "[2001:db8:1::12]:7000").addr: false,
		serve(t, o.gw, "192.0.2.1:7000").addr:              false,
		serve(t, o.gw, "198.51.100.2:7000").addr:           false,
		serve(t, o.gw, "[2001:db8:2::2]:7000").addr:        false,
		serve(t, o.inet, "198.51.100.1:7000").addr:         false,
		serve(t, o.inet, "192.168.77.9:7000").addr:         false,
	}
	for to := range reach {
		connected(t, o.hosts[1], to)
	}
	o.apply(t, policyOf(held(1, netcontain.Limit)))
	for to := range reach {
		if alive(dial(t, o.hosts[1], to)) {
			t.Errorf("reaches %s before any name was asked for", to)
		}
	}
	r.all(t)
	sets := o.gw.Run(t, "nft list set bridge sekisho allow_name_ip4") + o.gw.Run(t, "nft list set inet sekisho allow_name_ip6")
	for _, a := range []string{"203.0.113.9", "192.0.2.12", "192.0.2.1 ", "198.51.100.2", "192.168.77.9", "2001:db8:1::12"} {
		if !strings.Contains(sets, a) {
			t.Fatalf("dnsmasq did not add %s, so nothing is shown:\n%s", a, sets)
		}
	}
	for to, want := range reach {
		if want {
			connected(t, o.hosts[1], to)
		} else if alive(dial(t, o.hosts[1], to)) {
			t.Errorf("limited host reaches %s", to)
		}
	}
	if _, err := o.enforcer.Observed(t.Context()); err != nil {
		t.Errorf("what dnsmasq added counts as altered: %v", err)
	}
	// Another host that is limited now keeps its connection to a named address.
	old, cut := connected(t, o.hosts[3], "203.0.113.9:7000"), connected(t, o.hosts[3], "203.0.113.10:7000")
	o.apply(t, policyOf(held(1, netcontain.Limit), held(3, netcontain.Limit)))
	if !answers(old, 10*time.Second) || alive(cut) {
		t.Error("to be limited cut a connection to a named address, or left another")
	}
	o.apply(t, netcontain.Policy{})
	o.hosts[1].Run(t, "ip neigh flush dev eth0")
	for to := range reach {
		connected(t, o.hosts[1], to)
	}
}

// left returns how long an address has left in the bridge table's set of names,
// and whether it has a lifetime of its own; zero when it is not in it.
func left(t *testing.T, o *office, a string) (expires time.Duration, own bool) {
	t.Helper()
	for _, s := range tablesOf(o.enforcer.cfg)[0].sets {
		if s.Name != namePrefix+"ip4" {
			continue
		}
		elements, err := o.enforcer.nft.GetSetElements(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, el := range elements {
			if got, _ := netip.AddrFromSlice(el.Key); got == netip.MustParseAddr(a) {
				return el.Expires, el.Timeout != 0
			}
		}
	}
	return 0, false
}

func TestAnAddressIsRenewedByEveryAnswerFromUpstreamAndExpiresWithoutOne(t *testing.T) {
	o, r := namedOffice(t)
	world := serve(t, o.inet, "203.0.113.9:7000")
	o.apply(t, policyOf(held(1, netcontain.Limit)))
	r.addrs(t, "update.example", dnsmessage.TypeA)
	if at, own := left(t, o, "203.0.113.9"); at <= NameLife-time.Minute || own {
		t.Fatalf("added with %v left, a lifetime of its own: %t", at, own)
	}
	if _, err := o.enforcer.Observed(t.Context()); err != nil { // the reconciler's look
		t.Fatal(err)
	}
	if at, own := left(t, o, "203.0.113.9"); at <= NameLife-time.Minute || !own {
		t.Errorf("after a look: %v left, a lifetime of its own: %t", at, own)
	}
	o.gw.Run(t, "nft add element bridge sekisho allow_name_ip4 { 203.0.113.9 timeout 90s expires 80s }") // as if hours had passed
	if at, _ := left(t, o, "203.0.113.9"); at > 90*time.Second {
		t.Fatalf("%v left: this kernel does not change the lifetime of an element (before Linux 6.12)", at)
	}
	r.addrs(t, "update.example", dnsmessage.TypeA)
	if at, _ := left(t, o, "203.0.113.9"); at <= NameLife-time.Minute {
		t.Errorf("%v left after another answer", at)
	}
	for _, family := range []string{"bridge", "inet"} {
		o.gw.Run(t, "nft add element "+family+" sekisho allow_name_ip4 { 203.0.113.9 timeout 200ms expires 200ms }")
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if at, _ := left(t, o, "203.0.113.9"); at == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not expire")
		}
	}
	if alive(dial(t, o.hosts[1], world.addr)) {
		t.Error("reached after the address has expired")
	}
	r.addrs(t, "update.example", dnsmessage.TypeA)
	connected(t, o.hosts[1], world.addr)
}

func TestAddressesOfNamesOutliveFlushAndRestart(t *testing.T) {
	o, r := namedOffice(t)
	world := serve(t, o.inet, "203.0.113.9:7000")
	p := policyOf(held(1, netcontain.Limit))
	c, err := netcontain.NewReconciler(netcontain.Config{Enforcer: o.enforcer, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Set(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r.addrs(t, "update.example", dnsmessage.TypeA)
	o.gw.Run(t, "nft add element bridge sekisho allow_name_ip4 { 203.0.113.9 timeout 1h expires 50m }")
	if _, err := c.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.gw.Run(t, "nft flush ruleset")
	o.gw.Run(t, "nft add table ip office")
	o.gw.Run(t, "nft add chain ip office post { type nat hook postrouting priority 100 ; }")
	o.gw.Run(t, "nft add rule ip office post oifname wan0 masquerade")
	if d, err := c.Check(t.Context()); err != nil || d.Empty() {
		t.Fatalf("drift %s, error %v", d, err)
	}
	if at, _ := left(t, o, "203.0.113.9"); at > 50*time.Minute || at < 45*time.Minute {
		t.Errorf("%v left after the tables were put back, there were 50 minutes", at)
	}
	connected(t, o.hosts[1], world.addr)
	o.enforcer.Close()
	o.gw.Do(t, func() { o.enforcer, err = New(o.enforcer.cfg) })
	if err != nil {
		t.Fatal(err)
	}
	o.apply(t, p) // the first one replaces the tables
	if at, _ := left(t, o, "203.0.113.9"); at > 50*time.Minute || at < 45*time.Minute {
		t.Errorf("%v left after a restart", at)
	}
	o.apply(t, netcontain.Policy{})
	o.enforcer.Close()
	if at := o.gw.Run(t, "nft list set bridge sekisho allow_name_ip4"); !strings.Contains(at, "203.0.113.9") {
		t.Error("closed with nobody held, it forgot the addresses of names")
	}
	o.gw.Do(t, func() { o.enforcer, err = New(o.enforcer.cfg) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheSetsOfNamesAreBounded(t *testing.T) {
	o := newOffice(t)
	o.apply(t, netcontain.Policy{})
	var many []string
	for i := range maxNames + 1 {
		many = append(many, fmt.Sprintf("203.0.%d.%d", i/250, i%250))
	}
	o.gw.Run(t, "nft add element inet sekisho allow_name_ip4 { "+strings.Join(many[:maxNames], ",")+" }")
	o.gw.Do(t, func() {
		if err := exec.Command("nft", "add element inet sekisho allow_name_ip4 { "+many[maxNames]+" }").Run(); err == nil {
			t.Errorf("%d addresses were taken", maxNames+1)
		}
	})
	o.enforcer.giveUp()
	o.apply(t, netcontain.Policy{}) // a full set is put back, too
	if got := strings.Count(o.gw.Run(t, "nft list set inet sekisho allow_name_ip4"), "expires"); got != maxNames {
		t.Errorf("%d of %d addresses after the tables were replaced", got, maxNames)
	}
}

func TestOnlyNamesGetIntoDnsmasqsSettings(t *testing.T) {
	got := string(AllowFile([]string{"b.example", "a.example", "a.example", "x/y", "c.example/#", "d.example\nserver=1.2.3.4", "", ".", strings.Repeat("a", 254)}))
	want := `# Written by sekisho from network.allow_names; changes are lost.
# An address stays reachable for 6h0m0s after the last answer from upstream.
max-ttl=3600
max-cache-ttl=3600
nftset=/a.example/4#bridge#sekisho#allow_name_ip4,4#inet#sekisho#allow_name_ip4,6#bridge#sekisho#allow_name_ip6,6#inet#sekisho#allow_name_ip6
nftset=/b.example/4#bridge#sekisho#allow_name_ip4,4#inet#sekisho#allow_name_ip4,6#bridge#sekisho#allow_name_ip6,6#inet#sekisho#allow_name_ip6
`
	if got != want {
		t.Errorf("settings:\n%s", got)
	}
	if got := string(AllowFile(nil)); strings.Count(got, "\n") != 1 {
		t.Errorf("without names:\n%s", got)
	}
}

func TestTheSettingsOutliveDnsmasqsCache(t *testing.T) {
	if NameLife < 2*nameTTL+time.Minute { // the cache's time, then the client's
		t.Errorf("an address lives for %v, an answer for twice %v", NameLife, nameTTL)
	}
}
