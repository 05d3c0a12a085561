package refuge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func testConfig() Config {
	return Config{
		Addr4: netip.MustParseAddr("192.0.2.1"), Addr6: netip.MustParseAddr("2001:db8::1"),
		Vendor: "<b>Vendor</b>", VendorPhone: "03-0000-0000", Log: slog.New(slog.DiscardHandler),
	}
}

func fixed(addr4, addr6 netip.Addr) names {
	return func() (netip.Addr, netip.Addr) { return addr4, addr6 }
}

func query(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDNSNamesOnlyTheGateway(t *testing.T) {
	cfg := testConfig()
	for kind, want := range map[dnsmessage.Type]dnsmessage.ResourceBody{
		dnsmessage.TypeA:    &dnsmessage.AResource{A: cfg.Addr4.As4()},
		dnsmessage.TypeAAAA: &dnsmessage.AAAAResource{AAAA: cfg.Addr6.As16()},
		dnsmessage.TypeTXT:  nil,
	} {
		var m dnsmessage.Message
		if err := m.Unpack(Answer(query(t, "x.evil.example.", kind), cfg.Addr4, cfg.Addr6)); err != nil {
			t.Fatal(err)
		}
		if m.ID != 7 || !m.Response || m.RCode != dnsmessage.RCodeSuccess {
			t.Errorf("%v: header %+v", kind, m.Header)
		}
		if want == nil {
			if len(m.Answers) != 0 {
				t.Errorf("%v: answered %v", kind, m.Answers)
			}
			continue
		}
		if len(m.Answers) != 1 || m.Answers[0].Body.GoString() != want.GoString() || m.Answers[0].Header.TTL != 0 {
			t.Errorf("%v: answered %v", kind, m.Answers)
		}
	}
}

func TestDNSIgnoresAnswersAndRefusesNonsense(t *testing.T) {
	cfg := testConfig()
	q := query(t, "a.example.", dnsmessage.TypeA)
	response := bytes.Clone(q)
	response[2] |= 0x80
	for name, b := range map[string][]byte{"a response": response, "too short": q[:5], "too long": make([]byte, maxQuery+1)} {
		if a := Answer(b, cfg.Addr4, cfg.Addr6); a != nil {
			t.Errorf("%s was answered", name)
		}
	}
	update := bytes.Clone(q)
	update[2] |= 5 << 3
	if a := Answer(update, cfg.Addr4, cfg.Addr6); len(a) < 4 || a[3]&15 != byte(dnsmessage.RCodeNotImplemented) {
		t.Errorf("dynamic update: answered %x", a)
	}
	if a := Answer(q[:14], cfg.Addr4, cfg.Addr6); len(a) < 4 || a[3]&15 != byte(dnsmessage.RCodeFormatError) {
		t.Errorf("cut question: answered %x", a)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(query(f, "a.example.", dnsmessage.TypeA))
	f.Add([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	cfg := testConfig()
	f.Fuzz(func(t *testing.T, b []byte) {
		a := Answer(b, cfg.Addr4, cfg.Addr6)
		if a == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(a); err != nil {
			t.Fatalf("unreadable answer %x: %v", a, err)
		}
		if !m.Response || len(m.Answers) > 1 || len(a) > 12+260+4+12+16+260 {
			t.Fatalf("answer of %d bytes to %d: %+v", len(a), len(b), m)
		}
	})
}

// portalChecks is what the systems ask to find out whether they are on the
// internet, the answer that would tell them so, and what happens with ours.
// Sources: the makers' documentation and open source as named.
var portalChecks = []struct{ system, url, expects, opens string }{
	{"Windows 10, 11 (NCSI)", "http://www.msftconnecttest.com/connecttest.txt", "200 \"Microsoft Connect Test\"", "the browser at /redirect, which is sent on to the page"},
	{"Windows 7, 8 (NCSI)", "http://www.msftncsi.com/ncsi.txt", "200 \"Microsoft NCSI\"", "a balloon that opens the browser"},
	{"Windows, the browser that it opens", "http://www.msftconnecttest.com/redirect", "a redirect to msn.com", "the page"},
	{"iOS, macOS (CNA)", "http://captive.apple.com/hotspot-detect.html", "200 \"Success\"", "the sign-in sheet by itself"},
	{"Android, ChromeOS (NetworkMonitor)", "http://connectivitycheck.gstatic.com/generate_204", "204", "the sign-in notification"},
	{"Android, fallback", "http://www.google.com/gen_204", "204", "the same"},
	{"Android of Chinese makers", "http://connect.rom.miui.com/generate_204", "204", "the same"},
	{"Firefox (captivedetect)", "http://detectportal.firefox.com/canonical.html", "200 with a known refresh tag", "a bar \"log in to the network\""},
	{"Firefox, IPv4 and IPv6 apart", "http://detectportal.firefox.com/success.txt?ipv6", "200 \"success\"", "the same"},
	{"GNOME (NetworkManager)", "http://nmcheck.gnome.org/check_network_status.txt", "200 \"NetworkManager is online\"", "the portal window"},
	{"KDE", "http://networkcheck.kde.org/", "200 \"OK\"", "a notification"},
	{"Ubuntu", "http://connectivity-check.ubuntu.com/", "204", "the portal window"},
	{"Debian", "http://network-test.debian.org/nm", "200 \"NetworkManager is online\"", "the portal window"},
	{"Kindle", "http://spectrum.s3.amazonaws.com/kindle-wifi/wifistub.html", "200 with a known id", "the browser"},
	{"a person", "http://intranet.example/", "", "the page"},
}

func TestCaptivePortalChecksAreRedirectedToThePage(t *testing.T) {
	cfg := testConfig()
	h := handler(cfg, fixed(cfg.Addr4, cfg.Addr6))
	for _, c := range portalChecks {
		for from, home := range map[string]string{"192.0.2.23:4000": "http://192.0.2.1/", "[2001:db8::23]:4000": "http://[2001:db8::1]/"} {
			for _, method := range []string{"GET", "HEAD"} {
				r := httptest.NewRequest(method, c.url, nil)
				r.RemoteAddr = from
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusFound || w.Header().Get("Location") != home || w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("%s from %s: %d to %q", c.system, from, w.Code, w.Header().Get("Location"))
				}
			}
		}
	}
}

func TestNothingThatAHostSendsComesBackToIt(t *testing.T) {
	cfg := testConfig()
	h := handler(cfg, fixed(cfg.Addr4, cfg.Addr6))
	for _, c := range []struct {
		method, url, host string
		code              int
	}{
		{"GET", "/%0d%0aSet-Cookie:x", "192.0.2.1", 302}, {"GET", "/<script>", "192.0.2.1", 302}, {"GET", "/", "evil\"<script>", 302},
		{"GET", "/", "[", 302}, {"GET", "/", "", 302}, {"GET", "/", "192.0.2.1:80", 200}, {"GET", "/", "[2001:db8::1]", 200},
		{"POST", "/", "192.0.2.1", 405}, {"CONNECT", "/", "192.0.2.1", 405},
	} {
		r := httptest.NewRequest("GET", "http://192.0.2.1/", nil)
		r.Method, r.Host, r.RequestURI = c.method, c.host, c.url
		r.URL.Path = c.url
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		all := fmt.Sprint(w.Header()) + w.Body.String()
		if w.Code != c.code || strings.Contains(all, "script>") || strings.Contains(all, "Set-Cookie") {
			t.Errorf("%s %q at %q: %d %s", c.method, c.url, c.host, w.Code, w.Header())
		}
	}
}

func TestAnIPv6HostIsServedWhereTheGatewayHasNoAddressToName(t *testing.T) {
	cfg := testConfig()
	h := handler(cfg, fixed(cfg.Addr4, netip.Addr{}))
	get := func(path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "http://x.example"+path, nil)
		r.RemoteAddr = "[fe80::23%eth0]:4000"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := get("/generate_204"); w.Code != 302 || w.Header().Get("Location") != "/" {
		t.Errorf("%d %q", w.Code, w.Header().Get("Location"))
	}
	if w := get("/"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
}

func page(t *testing.T, cfg Config) string {
	t.Helper()
	r := httptest.NewRequest("GET", "http://192.0.2.1/", nil)
	r.RemoteAddr = "192.0.2.23:4000"
	w := httptest.NewRecorder()
	handler(cfg, fixed(cfg.Addr4, cfg.Addr6)).ServeHTTP(w, r)
	return w.Body.String()
}

func TestPageSaysWhatToDoInBothLanguages(t *testing.T) {
	p := page(t, testConfig())
	for _, want := range []string{
		"電源を切らないでください", "Do not switch it off", `href="tel:03-0000-0000"`, "&lt;b&gt;Vendor", "このあと", "What happens next",
		"隔離されています", "is isolated", "いま行うこと", "What to do now", "連絡先", "Whom to call",
	} {
		if !strings.Contains(p, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, never := range []string{"<b>Vendor", "<script", "http://", "https://", "隔離した時刻"} { // it works without anything else
		if strings.Contains(p, never) {
			t.Errorf("the page has %q", never)
		}
	}
	quiet := testConfig()
	quiet.VendorPhone = ""
	if p := page(t, quiet); strings.Contains(p, "tel:") || !strings.Contains(p, "担当者") {
		t.Error("without a vendor it must name the person in charge, and nobody else")
	}
}

func TestPageSaysSinceWhenWhereThatIsKnown(t *testing.T) {
	cfg := testConfig()
	at := time.Date(2026, 4, 24, 14, 5, 0, 0, time.Local)
	cfg.Since = func(a netip.Addr) time.Time {
		if a == netip.MustParseAddr("192.0.2.23") {
			return at
		}
		return time.Time{}
	}
	if p := page(t, cfg); !strings.Contains(p, "隔離した時刻：4月24日 14:05") || !strings.Contains(p, "Isolated since 24 April, 14:05") {
		t.Error("it does not say since when")
	}
	at = time.Time{}
	if p := page(t, cfg); strings.Contains(p, "隔離した時刻") || strings.Contains(p, "since 1 January") {
		t.Error("it invents a time")
	}
}

func TestAWrongQuarantineIsRefused(t *testing.T) {
	good := Quarantine{Interface: "br0.666", Prefix: quarantineNet, Prefix6: UniqueLocal(nil)}
	for name, change := range map[string]func(*Config){
		"the bridge itself":           func(c *Config) { c.Quarantine.Interface = c.Interface },
		"no address":                  func(c *Config) { c.Quarantine.Prefix = netip.Prefix{} },
		"the network for an address":  func(c *Config) { c.Quarantine.Prefix = quarantineNet.Masked() },
		"two addresses":               func(c *Config) { c.Quarantine.Prefix = netip.MustParsePrefix("172.30.66.1/31") },
		"IPv6 for IPv4":               func(c *Config) { c.Quarantine.Prefix = UniqueLocal(nil) },
		"an IPv6 network of no hosts": func(c *Config) { c.Quarantine.Prefix6 = netip.MustParsePrefix("fd00::1/128") },
	} {
		cfg := testConfig()
		cfg.Interface, cfg.Quarantine = "br0", good
		if err := cfg.validate(); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if s, err := Listen(t.Context(), cfg); err == nil {
			s.Close()
			t.Errorf("%s was taken", name)
		}
	}
}

// A host takes an answer from the address that it asked only, and so does
// address translation. Routing alone would answer from the first address.
func TestDNSAnswersFromTheAddressThatWasAsked(t *testing.T) {
	s, err := Listen(t.Context(), testConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	dnsPort, _ := s.Ports()
	for asked, from := range map[string]string{"127.0.0.1": "127.0.0.1", "127.0.0.2": "127.0.0.1", "::1": "::1"} {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
		// A connected socket: the kernel keeps answers of other addresses from it.
		c, err := d.DialContext(ctx, "udp", netip.AddrPortFrom(netip.MustParseAddr(asked), dnsPort).String())
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, maxQuery)
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write(query(t, "anything.example.", dnsmessage.TypeA)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(buf); err != nil || n == 0 {
			t.Errorf("asked at %s: %v", asked, err)
		}
		c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestServerAnswersByUDPAndTCPAndEndsWithItsContext(t *testing.T) {
	s, err := Listen(t.Context(), testConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	dnsPort, httpPort := s.Ports()
	for _, network := range []string{"udp", "tcp"} {
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), dnsPort).String())
		}}
		got, err := r.LookupNetIP(ctx, "ip4", "anything.example.")
		if err != nil || len(got) != 1 || got[0].Unmap() != testConfig().Addr4 {
			t.Errorf("%s: %v, %v", network, got, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), httpPort).String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "192.0.2.1"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if !bytes.Contains(body, []byte("isolated")) {
		t.Errorf("page: %s", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}
