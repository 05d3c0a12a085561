package detect_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// login plays one attempt and its answer; the try takes took.
func (o *office) login(from netip.Addr, to netip.Addr, service string, port uint16, user string, r flow.LoginResult, took time.Duration) {
	l := flow.Login{Client: netip.AddrPortFrom(from, 40000), Server: netip.AddrPortFrom(to, port),
		Service: service, User: user, Result: flow.LoginTried}
	l.Meta = flow.Meta{Time: o.now, SrcMAC: o.macOf(from), DstMAC: o.macOf(to)}
	o.play(&l)
	o.now = o.now.Add(took)
	a := l
	a.Meta = flow.Meta{Time: o.now, SrcMAC: l.DstMAC, DstMAC: l.SrcMAC}
	a.FromServer, a.Result = true, r
	o.play(&a)
}

func (o *office) macOf(a netip.Addr) flow.MAC {
	if b := a.As4(); b[0] == 192 {
		return mac(int(b[3]))
	}
	return gatewayMAC
}

// session plays a whole TCP connection.
func (o *office) session(from, to netip.Addr, port uint16, took time.Duration, sent, received uint64) {
	c := flow.Conn{Meta: flow.Meta{Time: o.now, SrcMAC: o.macOf(from), DstMAC: o.macOf(to)}, Proto: 6,
		Client: netip.AddrPortFrom(from, 40000), Server: netip.AddrPortFrom(to, port),
		ClientMAC: o.macOf(from), ServerMAC: o.macOf(to), Start: o.now}
	for _, s := range []flow.ConnState{flow.ConnAttempt, flow.ConnEstablished, flow.ConnClosed} {
		e := c
		e.State, e.Prev = s, max(s, 1)-1
		if s != flow.ConnAttempt {
			e.RecvPackets = 1
		}
		if s == flow.ConnClosed {
			o.now = o.now.Add(took)
			e.Time, e.Sent, e.Received = o.now, sent, received
		}
		o.play(&e)
	}
}

const (
	refused = flow.LoginFailed
	let     = flow.LoginOK
)

func TestBruteForceFindsAListOfPasswordsForOneName(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 12 {
		o.login(ip(10), ip(20), "ftp", 21, "taro", refused, 2*time.Second)
		o.now = o.now.Add(20 * time.Millisecond)
	}
	o.want("brute_force", detect.Medium)
	f := o.last("brute_force")
	if f.Host.IP != ip(10) || f.Peers[0].IP != ip(20) || f.Technique != "T1110.001" {
		t.Errorf("host %v, peers %v, %s", f.Host.IP, f.Peers, f.Technique)
	}
}

func TestBruteForceIsSureOfAListOfNames(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 40 {
		o.login(ip(10), ip(20), "smb", 445, fmt.Sprintf("user%d", i%20), refused, 5*time.Millisecond)
		o.now = o.now.Add(5 * time.Millisecond)
	}
	o.want("brute_force", detect.High)
}

func TestBruteForceFindsSlowSpraying(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 12 {
		o.login(ip(10), ip(20), "smb", 445, fmt.Sprintf("user%d", i), refused, 5*time.Millisecond)
		o.now = o.now.Add(10 * time.Minute)
	}
	o.want("brute_force", detect.Medium)
	if f := o.last("brute_force"); f.Technique != "T1110.003" {
		t.Errorf("technique %s", f.Technique)
	}
}

func TestBruteForceSaysThatAGuessWasRight(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 12 {
		o.login(ip(10), ip(20), "ftp", 21, "taro", refused, time.Second)
	}
	before := len(o.found)
	o.login(ip(10), ip(20), "ftp", 21, "taro", let, time.Second)
	if len(o.found) != before+1 {
		t.Fatalf("the success is not told\n%s", o.dump())
	}
}

func TestBruteForceForgivesWhoeverMistypes(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for day := range 10 {
		for range 2 + day%3 {
			o.login(ip(10), ip(20), "ftp", 21, "taro", refused, time.Second)
			o.now = o.now.Add(6 * time.Second)
		}
		o.login(ip(10), ip(20), "ftp", 21, "taro", let, time.Second)
		o.now = o.now.Add(3 * time.Hour)
	}
	o.quiet()
}

// One name in many spellings is one person who has forgotten, not spraying.
func TestBruteForceTakesSpellingsOfANameForOne(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 20 {
		names := []string{"taro", "Taro", `OFFICE\taro`, "taro@office.example", "TARO", `.\taro`}
		o.login(ip(10), ip(20), "smb", 445, names[i%len(names)], refused, time.Second)
		o.now = o.now.Add(8 * time.Second)
	}
	o.want("brute_force", detect.Low)
}

// A scanner, a NAS mount or a mail client keeps trying what it has stored.
func TestBruteForceIsLowForAStalePassword(t *testing.T) {
	for _, every := range []time.Duration{2 * time.Second, 10 * time.Second, 5 * time.Minute} {
		o := newOffice(t, detect.Config{})
		for range 500 {
			for range 4 { // four drives, one click
				o.login(ip(10), ip(20), "smb", 445, "scanner", refused, 5*time.Millisecond)
			}
			o.now = o.now.Add(every)
		}
		o.want("brute_force", detect.Low)
		if len(o.found) > 10 {
			t.Errorf("every %s: %d findings for one stored password", every, len(o.found))
		}
	}
}

// NTLM over HTTP is refused once before each log-in, and a page has parts.
func TestBruteForceIsQuietAboutChallenges(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 200 {
		o.login(ip(10), ip(20), "http", 80, "", refused, 5*time.Millisecond)
		o.login(ip(10), ip(20), "http", 80, "taro", let, 5*time.Millisecond)
	}
	o.quiet()
}

// A mail gateway logs in for everybody; some of them have forgotten.
func TestBruteForceIsNotSureOfWhoeverLogsInForMany(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 2000 {
		r := let
		if i%10 == 3 {
			r = refused
		}
		o.login(ip(10), ip(20), "ldap", 389, fmt.Sprintf("user%d", i%40), r, 10*time.Millisecond)
	}
	o.quiet()
}

// Strangers guess at a mail server, which passes every guess to the directory.
func TestBruteForceIsNotSureOfWhoeverPassesGuessesOn(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 60 {
		o.login(ip(10), ip(20), "ldap", 389, fmt.Sprintf("user%d", i%8), let, 10*time.Millisecond)
	}
	for i := range 300 {
		o.login(ip(10), ip(20), "ldap", 389, fmt.Sprintf("guess%d", i), refused, 10*time.Millisecond)
	}
	o.want("brute_force", detect.Medium)
}

// The same before anybody honest came by, since the gateway was just started.
func TestBruteForceIsNotSureOfServicesThatOthersAskFor(t *testing.T) {
	for service, port := range map[string]uint16{"ldap": 389, "http": 80, "imap": 143, "pop3": 110, "smtp": 587} {
		o := newOffice(t, detect.Config{})
		for i := range 300 {
			o.login(ip(10), ip(20), service, port, fmt.Sprintf("guess%d", i), refused, 10*time.Millisecond)
		}
		o.want("brute_force", detect.Medium)
	}
}

// Shares are tried as a guest before a name is asked for: that neither speaks
// for a guesser nor pays for one.
func TestBruteForceLeavesGuestsOut(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 50 {
		o.login(ip(11), ip(20), "smb", 445, "", refused, 5*time.Millisecond)
	}
	o.quiet()
	for i := range 40 {
		o.login(ip(10), ip(20), "smb", 445, "", let, 5*time.Millisecond)
		o.login(ip(10), ip(20), "smb", 445, fmt.Sprintf("user%d", i), refused, 5*time.Millisecond)
	}
	o.want("brute_force", detect.High)
}

func TestBruteForceSeesOneClientTryManyServers(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 10 {
		o.login(ip(10), ip(100+i), "smb", 445, "administrator", refused, 10*time.Millisecond)
		o.now = o.now.Add(time.Minute)
	}
	o.want("brute_force", detect.Medium)
	if f := o.last("brute_force"); f.PeerCount < 8 || f.Technique != "T1110.003" {
		t.Errorf("%d servers, %s", f.PeerCount, f.Technique)
	}
}

func TestBruteForceTellsOfStrangersOncePerServer(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for s := range 12 {
		for range 30 {
			o.login(net4(s), ip(20), "ftp", 21, "admin", refused, 100*time.Millisecond)
		}
	}
	o.want("brute_force", detect.Medium)
	if n := len(o.found); n > 6 {
		t.Errorf("%d findings\n%s", n, o.dump())
	}
	if f := o.found[0]; f.Host.IP != net4(0) {
		t.Errorf("host %v", f.Host.IP)
	}
}

func TestBruteForceAddsUpManyStrangersOfFewTries(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for s := range 20 {
		for range 3 {
			o.login(net4(s), ip(20), "ftp", 21, fmt.Sprintf("user%d", s), refused, time.Second)
		}
		o.now = o.now.Add(time.Minute)
	}
	o.want("brute_force", detect.Medium)
}

func TestBruteForceKnowsGuessingOverSSHByItsShape(t *testing.T) {
	for _, every := range []time.Duration{0, 5 * time.Second, 15 * time.Second} {
		o := newOffice(t, detect.Config{})
		for range 60 {
			o.session(ip(10), ip(20), 22, 4*time.Second, 1300, 1500)
			o.now = o.now.Add(every)
		}
		o.want("brute_force", detect.Medium)
		if f := o.last("brute_force"); f.Host.IP != ip(10) || f.Peers[0].IP != ip(20) {
			t.Errorf("host %v, peers %v", f.Host.IP, f.Peers)
		}
	}
}

func TestBruteForceKnowsSSHByItsBannerOnAnyPort(t *testing.T) {
	for _, named := range []bool{true, false} {
		o := newOffice(t, detect.Config{})
		if named {
			o.play(&flow.Banner{Meta: o.meta(mac(20)), Client: netip.AddrPortFrom(ip(10), 40000),
				Server: netip.AddrPortFrom(ip(20), 2222), FromServer: true, Service: "ssh", Text: "SSH-2.0-OpenSSH_9.2"})
		}
		for range 20 {
			o.session(ip(10), ip(20), 2222, 3*time.Second, 1300, 1500)
		}
		if got := o.best("brute_force") == detect.Medium; got != named {
			t.Errorf("named %t: found %t", named, got)
		}
	}
}

func TestBruteForceIsQuietAboutOrdinarySSH(t *testing.T) {
	type work struct {
		name           string
		every, took    time.Duration
		sent, received uint64
		n              int
	}
	for _, w := range []work{
		{"banner check", time.Second, 10 * time.Millisecond, 30, 40, 600},
		{"check each minute", time.Minute, 2 * time.Second, 3000, 3500, 600},
		{"git fetch each minute", time.Minute, 700 * time.Millisecond, 2900, 4200, 600},
		{"backup", 10 * time.Second, 30 * time.Second, 4e6, 20000, 200},
		{"admin's sessions", 20 * time.Minute, 15 * time.Minute, 60000, 400000, 40},
		{"script of short commands", 3 * time.Second, 300 * time.Millisecond, 3000, 3500, 25},
	} {
		t.Run(w.name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			for range w.n {
				o.session(ip(10), ip(20), 22, w.took, w.sent, w.received)
				o.now = o.now.Add(w.every - min(w.took, w.every))
			}
			if b := o.best("brute_force"); b != "" {
				t.Errorf("%s\n%s", b, o.dump())
			}
		})
	}
}

// A far server makes short commands long: submodules fetched one by one.
func TestBruteForceAllowsForDistance(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 40 {
		from, to := netip.AddrPortFrom(ip(10), 40000), netip.AddrPortFrom(net4(1), 22)
		c := flow.Conn{Meta: o.meta(mac(10)), Proto: 6, Client: from, Server: to, ClientMAC: mac(10), ServerMAC: gatewayMAC, Start: o.now}
		o.play(&c)
		c.State, c.RecvPackets, c.Time = flow.ConnEstablished, 1, o.now.Add(150*time.Millisecond)
		o.play(&c)
		o.now = o.now.Add(2500 * time.Millisecond)
		c.State, c.Prev, c.Time, c.Sent, c.Received = flow.ConnClosed, flow.ConnEstablished, o.now, 3000, 5500
		o.play(&c)
	}
	if b := o.best("brute_force"); b != "" {
		t.Errorf("%s\n%s", b, o.dump())
	}
}

// Playbooks mix short commands with copies of modules.
func TestBruteForceIsQuietAboutAutomationOverSSH(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 100 {
		o.session(ip(10), ip(20), 22, 500*time.Millisecond, 3000, 3500)
		o.session(ip(10), ip(20), 22, 900*time.Millisecond, 120000, 5000)
		o.session(ip(10), ip(20), 22, 2*time.Second, 3200, 4500)
	}
	if b := o.best("brute_force"); b != "" {
		t.Errorf("%s\n%s", b, o.dump())
	}
}

func TestBruteForceKnowsRefusedDesktopsByShape(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 15 {
		o.session(ip(10), ip(20), 3389, 800*time.Millisecond, 1800, 2600)
	}
	o.want("brute_force", detect.Medium)

	screen := newOffice(t, detect.Config{}) // each guess is shown the log-in screen
	for range 15 {
		screen.session(ip(10), ip(20), 3389, 8*time.Second, 9000, 120000)
	}
	screen.want("brute_force", detect.Medium)

	desk := newOffice(t, detect.Config{})
	for range 30 {
		desk.session(ip(10), ip(20), 3389, 2*time.Hour, 2e6, 90e6)
		desk.session(ip(11), ip(20), 3389, 20*time.Millisecond, 19, 19) // health check
	}
	desk.quiet()
}

func TestBruteForceIsAtMostLowAboutMailPolls(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 100 {
		for range 5 {
			o.session(ip(10), net4(9), 995, 400*time.Millisecond, 900, 5000)
		}
		o.wait(5 * time.Minute)
	}
	if b := o.best("brute_force"); b != "" && b != detect.Low {
		t.Errorf("%s\n%s", b, o.dump())
	}
}

func TestBruteForceStaysBounded(t *testing.T) {
	o := newOffice(t, detect.Config{MaxHosts: 64})
	for i := range 100000 {
		o.login(net4(i), ip(20), "ftp", 21, fmt.Sprintf("u%d", i), refused, time.Millisecond)
	}
	s := o.eng.Stats()
	if s.Entries["brute_force"] > 4*64+64+1024+4096+1024 || s.Evicted["brute_force"] == 0 {
		t.Errorf("%d entries, %d evicted", s.Entries["brute_force"], s.Evicted["brute_force"])
	}
}

func TestBruteForceKnowsAWebFormFilledInFromAList(t *testing.T) {
	for _, varied := range []bool{true, false} {
		o := newOffice(t, detect.Config{})
		for i := range 40 {
			size := int64(30)
			if varied {
				size += int64(i % 9)
			}
			h := flow.HTTP{Meta: o.meta(mac(10)), ConnID: uint64(i + 1), Client: netip.AddrPortFrom(ip(10), 40000),
				Server: netip.AddrPortFrom(ip(20), 80), Number: 1, Method: "POST", Path: "/login", Length: size}
			o.play(&h)
			o.play(&flow.Login{Meta: h.Meta, ConnID: h.ConnID, Client: h.Client, Server: h.Server,
				Service: "http", Mechanism: "form", Result: flow.LoginTried, Cleartext: true})
			o.now = o.now.Add(time.Second)
		}
		if got := o.best("brute_force") == detect.Medium; got != varied {
			t.Errorf("lengths varied %t: found %t\n%s", varied, got, o.dump())
		}
	}
}

func TestBruteForceHintsAtShortSessionsWithManyServers(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 15 {
		o.session(ip(10), ip(100+i), 22, 2*time.Second, 1300, 1500)
	}
	o.want("brute_force", detect.Low)

	play := newOffice(t, detect.Config{})
	for i := range 15 { // a playbook: facts, then modules
		play.session(ip(10), ip(100+i), 22, 2*time.Second, 3000, 3500)
		play.session(ip(10), ip(100+i), 22, 2*time.Second, 120000, 3500)
	}
	play.quiet()
}

// overSSH plays a connection by SSH whose answers were inferred.
func (o *office) overSSH(id uint64, from, to netip.Addr, results ...flow.LoginResult) {
	for _, r := range results {
		l := flow.Login{ConnID: id, Client: netip.AddrPortFrom(from, 40000), Server: netip.AddrPortFrom(to, 22), Service: "ssh"}
		l.Meta = flow.Meta{Time: o.now, SrcMAC: o.macOf(from), DstMAC: o.macOf(to)}
		o.play(&l)
		o.now = o.now.Add(2 * time.Second)
		l.Meta = flow.Meta{Time: o.now, SrcMAC: o.macOf(to), DstMAC: o.macOf(from)}
		l.FromServer, l.Result = true, r
		o.play(&l)
	}
	c := flow.Conn{Meta: flow.Meta{Time: o.now, SrcMAC: o.macOf(from), DstMAC: o.macOf(to)}, ID: id, Proto: 6,
		Client: netip.AddrPortFrom(from, 40000), Server: netip.AddrPortFrom(to, 22), ClientMAC: o.macOf(from), ServerMAC: o.macOf(to),
		Start: o.now.Add(-2 * time.Second), State: flow.ConnClosed, Prev: flow.ConnEstablished, Sent: 1300, Received: 1500, RecvPackets: 9}
	o.play(&c)
}

func TestBruteForceIsSureOfAListOverSSH(t *testing.T) {
	for _, c := range []struct {
		pause time.Duration
		list  []flow.LoginResult
		want  detect.Confidence
	}{
		{300 * time.Millisecond, []flow.LoginResult{refused, refused, refused, refused}, detect.High},
		{300 * time.Millisecond, []flow.LoginResult{refused}, detect.Medium}, // one stored password, tried in a loop
	} {
		o := newOffice(t, detect.Config{})
		for i := range 60 {
			o.overSSH(uint64(i+1), ip(10), ip(20), c.list...)
			o.now = o.now.Add(c.pause)
		}
		o.want("brute_force", c.want)
	}
}

func TestBruteForceIsQuietAboutShortSessionsThatWereLetIn(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 300 { // as often as a list, and as short
		o.overSSH(uint64(i+1), ip(10), ip(20+i%40), let)
		o.now = o.now.Add(100 * time.Millisecond)
	}
	for i := range 30 { // a wrong password first
		o.overSSH(uint64(i+1000), ip(11), ip(20), refused, let)
	}
	o.quiet()
}
