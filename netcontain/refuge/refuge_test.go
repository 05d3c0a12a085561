package refuge

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func testConfig() Config {
	return Config{
		Addr4: netip.MustParseAddr("192.0.2.1"), Addr6: netip.MustParseAddr("2001:db8::1"),
		Vendor: "<b>Vendor</b>", VendorPhone: "03-0000-0000", Log: slog.New(slog.DiscardHandler),
	}
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

func TestCaptivePortalChecksAreRedirectedToThePage(t *testing.T) {
	h := Handler(testConfig())
	for _, url := range []string{
		"http://connectivitycheck.gstatic.com/generate_204", // Android
		"http://captive.apple.com/hotspot-detect.html",      // iOS, macOS
		"http://www.msftconnecttest.com/connecttest.txt",    // Windows
		"http://detectportal.firefox.com/canonical.html",    // Firefox
		"http://nmcheck.gnome.org/check_network_status.txt", // NetworkManager
		"http://192.0.2.1/%0d%0aSet-Cookie:x", "http://intranet.example/",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
		if w.Code != http.StatusFound || w.Header().Get("Location") != "http://192.0.2.1/" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d to %q", url, w.Code, w.Header().Get("Location"))
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "http://192.0.2.1/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestPageSaysWhatToDoInBothLanguages(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(testConfig()).ServeHTTP(w, httptest.NewRequest("GET", "http://192.0.2.1/", nil))
	for _, want := range []string{"電源を切らないでください", "Do not switch it off", "03-0000-0000", "&lt;b&gt;Vendor", "このあと", "What happens next"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(w.Body.String(), "<b>Vendor") {
		t.Error("the vendor's name is not escaped")
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
