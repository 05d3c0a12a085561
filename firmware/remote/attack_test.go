package remote

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sekisho/firmware/remote/wire"
)

// raw sends bytes over one TLS connection and reads all answers until the
// gateway closes it.
func (o *office) raw(request string, certs ...tls.Certificate) string {
	o.t.Helper()
	c, err := tls.Dial("tcp", o.addr, o.tls(certs...))
	if err != nil {
		o.t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, request) }() // a refusal may come before the end
	answer, _ := io.ReadAll(c)                        // a reset is an answer too
	return string(answer)
}

// refusals is how often strangers were turned away, by reason, once the gateway
// has stopped.
func (o *office) refusals() map[string]int64 {
	o.t.Helper()
	out := map[string]int64{}
	for _, e := range o.entries("remote.refused") {
		if e.Actor != "stranger" {
			o.t.Errorf("actor %q", e.Actor)
		}
		out[e.Detail["reason"].(string)] += number(o.t, e, "times")
	}
	return out
}

func TestWhoeverIsNotEnrolledGetsNothing(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	p.granted("i-1")
	revoked := o.enrolled("Old")
	revoked.must(http.StatusOK, revoked.call("GET", wire.PathStatus, nil, nil)) // the connection stays open
	if err := o.Revoke(revoked.reply.Vendor, "owner"); err != nil {
		t.Fatal(err)
	}
	nobody := o.newcomer("no certificate")
	nobody.client.Transport.(*http.Transport).TLSClientConfig = o.tls()
	n := int64(0)
	for _, who := range []*person{nobody, o.newcomer("wrong certificate"), revoked} {
		for _, rt := range table() {
			if rt.path == wire.PathEnroll {
				continue
			}
			path := strings.Replace(rt.path, "{id}", "i-1", 1)
			who.refused(http.StatusUnauthorized, wire.CodeNotEnrolled, who.call(rt.method, path, nil, nil))
			n++
		}
		who.refused(http.StatusUnauthorized, wire.CodeNotEnrolled, who.call("GET", "/", nil, nil))
		n++
	}
	nobody.refused(http.StatusUnauthorized, wire.CodeNotEnrolled, nobody.call("POST", wire.PathEnroll, wire.EnrollRequest{Secret: o.invite(), Name: "X"}, nil))
	o.stop()
	if o.shelf.opened != 0 {
		t.Error("evidence was opened")
	}
	if got := o.refusals(); got[reasonNoCert] != n/3+1 || got[reasonCertificate] != 2*n/3 {
		t.Errorf("recorded %v of %d", got, n)
	}
	if e := o.entries("remote.refused"); len(e) != 2 || e[0].Subject != "127.0.0.1" {
		t.Errorf("entries %+v", e)
	}
	o.start()
	revoked.refused(http.StatusUnauthorized, wire.CodeNotEnrolled, revoked.call("GET", wire.PathStatus, nil, nil))
}

func TestNothingBelowTLS13IsSpoken(t *testing.T) {
	o := openOffice(t, nil)
	c := o.tls(newCert(t))
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", o.addr, c); err == nil {
		conn.Close()
		t.Error("TLS 1.2 was accepted")
	}
	if plain, err := http.Get("http://" + o.addr + wire.PathStatus); err == nil && plain.StatusCode < 400 {
		t.Errorf("without TLS: %d", plain.StatusCode)
	}
	o.stop()
	if got := o.refusals(); got[reasonSilent] != 2 {
		t.Errorf("recorded %v", got)
	}
}

func TestReplayedAndWrongCodesAreRefusedAndLockAndARestartForgivesNothing(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	code := p.code()
	g, got := p.ask("i-1", code)
	p.must(http.StatusCreated, got)
	if err := o.Deny(g.ID, "owner"); err != nil {
		t.Fatal(err)
	}
	o.restart()
	_, got = p.ask("i-1", code)
	p.refused(http.StatusForbidden, wire.CodeWrong, got)
	for range freeTries - 2 {
		_, got = p.ask("i-1", "000000x")
		p.refused(http.StatusForbidden, wire.CodeWrong, got)
	}
	o.restart()
	_, got = p.ask("i-1", "000000x")
	p.refused(http.StatusForbidden, wire.CodeWrong, got)
	if got.detail.Retry != 60 || got.header.Get("Retry-After") != "60" {
		t.Errorf("the lock is not told: %+v", got)
	}
	o.restart()
	_, got = p.ask("i-1", p.code()) // 30 s later
	p.refused(http.StatusTooManyRequests, wire.CodeLocked, got)
	if got.detail.Retry != 30 || o.Vendors()[0].LockedUntil.IsZero() {
		t.Errorf("locked for %+v", got)
	}
	o.clock.pass(30 * time.Second)
	_, got = p.ask("i-1", p.reply.RecoveryCodes[0])
	p.must(http.StatusCreated, got)
	_, got = p.ask("i-1", p.reply.RecoveryCodes[0])
	p.refused(http.StatusForbidden, wire.CodeWrong, got)
	var story []string
	for _, e := range o.entries("remote.ask") {
		story = append(story, fmt.Sprint(e.Detail["status"], e.Detail["code"], e.Detail["proof"]))
	}
	want := "201<nil>totp 403wrong_code<nil> 403wrong_code<nil> 403wrong_code<nil> 403wrong_code<nil> 403wrong_code<nil> 429locked<nil> 201<nil>recovery code 403wrong_code<nil>"
	if strings.Join(story, " ") != want {
		t.Errorf("recorded\n%s\nwant\n%s", strings.Join(story, " "), want)
	}
}

func TestPathTricksLeadNowhereAndAreRecorded(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	p.granted("i-1")
	tricks := []string{"/", "/v1", "/v1/", "//v1/status", "/v1//status", "/v1/./status", "/v1/../v1/status", "/V1/status", "/v1/status/", "/v1/status%2f", "/v1/%73tatus/..",
		"/v1/incidents/../../../etc/passwd", "/v1/incidents/..%2f..%2fetc%2fpasswd/bundle", "/v1/incidents/%2e%2e/bundle", "/v1/incidents/i-1%2f..%2fi-2/bundle",
		"/v1/incidents/i-1%00/bundle", "/v1/incidents/i-1%ff/bundle", "/v1/incidents/i-1\\..\\i-2/bundle", "/v1/incidents/I-1/bundle", "/v1/incidents//bundle",
		"/v1/incidents/i-1/bundle/../../i-2/bundle", "/v1/incidents/" + strings.Repeat("a", 5000) + "/bundle", "/v1/grants/..", "/v1/grants/%2e%2e"}
	before := len(o.entries("remote.unknown")) + len(o.entries("remote.download")) + len(o.entries("remote.grant"))
	for _, trick := range tricks {
		answer := o.raw("GET "+trick+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", p.cert)
		if !strings.HasPrefix(answer, "HTTP/1.1 404 ") || !strings.Contains(answer, wire.CodeUnknown) {
			t.Errorf("%.80s: %.200q", trick, answer)
		}
	}
	for _, line := range []string{"POST " + wire.PathStatus, "PUT /v1/grants", "OPTIONS *", "CONNECT 10.0.0.1:22", "TRACE /v1/status", "GET http://10.0.0.1/"} {
		if answer := o.raw(line+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", p.cert); !strings.HasPrefix(answer, "HTTP/1.1 404 ") {
			t.Errorf("%s: %.200q", line, answer)
		}
	}
	after := len(o.entries("remote.unknown")) + len(o.entries("remote.download")) + len(o.entries("remote.grant"))
	if after-before != len(tricks)+6 {
		t.Errorf("%d of %d are recorded", after-before, len(tricks)+6)
	}
	if o.shelf.opened != 0 {
		t.Error("evidence was opened")
	}
}

func TestHugeHeadersAndBodiesAreRefused(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	huge := strings.Repeat("x", 1<<20)
	for name, header := range map[string]string{"value": "A: " + huge, "name": huge + ": a", "many": strings.Repeat("A: b\r\n", 1<<16), "line": ""} {
		path := wire.PathStatus
		if name == "line" {
			path += "?" + huge
		}
		if answer := o.raw("GET "+path+" HTTP/1.1\r\nHost: x\r\n"+header+"\r\n\r\n", p.cert); answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 431 ") {
			t.Errorf("%s: %.200q", name, answer)
		}
	}
	for name, body := range map[string]string{"one string": `{"incident":"` + huge + `"}`, "deep": strings.Repeat("[", 1<<20)} {
		answer := o.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", wire.PathGrants, len(body), body), p.cert)
		if answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 413 ") {
			t.Errorf("body %s: %.200q", name, answer)
		}
	}
	for _, body := range []string{"", "{", "null x", `{"incident":"i-1"} {}`, `{"incident":"i-1","admin":true}`, `[]`, `{"minutes":1e99}`, strings.Repeat("[", 4000)} {
		answer := o.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", wire.PathGrants, len(body), body), p.cert)
		if !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
			t.Errorf("body %.40s: %.200q", body, answer)
		}
	}
	p.must(http.StatusOK, p.call("GET", wire.PathStatus, nil, nil))
	if got := len(o.entries("remote.ask")); got != 10 {
		t.Errorf("%d questions are recorded, want 10", got)
	}
	o.stop()
	if got := o.refusals(); got[reasonSilent] != 4 {
		t.Errorf("recorded %v", got)
	}
}

// dialFrom connects from another address of loopback: another source.
func (o *office) dialFrom(n int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(n))}}
	return d.Dial("tcp", o.addr)
}

func TestSlowClientsAreCutAndDoNotKeepTheVendorOut(t *testing.T) {
	o := openOffice(t, func(_ *Config, l *limits) {
		l.header, l.body, l.write = time.Second, time.Second, time.Second
	})
	p := o.enrolled("V")
	starts := []string{"GET /v1/status HTTP/1.1\r\nHost: x\r\nA: ", "POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", "", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"}
	var wg sync.WaitGroup
	for i, start := range starts {
		for _, handshake := range []bool{true, false} {
			c, err := o.dialFrom(100 + i)
			if err != nil {
				t.Fatal(err)
			}
			if handshake {
				tc := tls.Client(c, o.tls(p.cert))
				if err := tc.Handshake(); err != nil {
					t.Fatal(err)
				}
				c = tc
			}
			_, _ = io.WriteString(c, start)
			wg.Go(func() { _, _ = io.Copy(io.Discard, c); c.Close() }) // ends when the gateway closes
		}
	}
	p.must(http.StatusOK, p.call("GET", wire.PathStatus, nil, nil))
	wg.Wait()
	o.stop()
	if got := o.refusals(); got[reasonSilent] != 6 { // two of those with a handshake were requests
		t.Errorf("recorded %v", got)
	}
}

func TestTenThousandConnectionsAreServedOrRefusedInBoundedMemory(t *testing.T) {
	const many, sources = 10_000, 40
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < many+1000 {
		files.Cur, files.Max = many+1000, max(files.Max, many+1000)
		if err = errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files)); err != nil {
			t.Fatalf("this test needs %d open files; raise the limit (ulimit -n): %v", many+1000, err)
		}
	}
	o := openOffice(t, func(_ *Config, l *limits) {
		l.header, l.connsEach, l.connects, l.connectsBurst = time.Second, usual.connsEach, usual.connects, usual.connectsBurst
	})
	p := o.enrolled("V")
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := heap()
	conns := make([]net.Conn, many)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < many; i += 8 {
				c, err := o.dialFrom(2 + i%sources)
				if err == nil {
					conns[i] = c
				} else if !errors.Is(err, syscall.ECONNRESET) { // refused while it was being made
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if grown := int64(heap()) - int64(before); grown > 48<<20 { // the test's own 10,000 ends included
		t.Errorf("memory has grown by %d MB", grown>>20)
	}
	reached := 0
	for _, c := range conns { // each one ends without having been told anything
		if c == nil {
			continue
		}
		reached++
		if data, _ := io.ReadAll(c); len(data) != 0 {
			t.Errorf("a stranger was told %q", data)
		}
		c.Close()
	}
	p.client.CloseIdleConnections() // to come in by the same door
	if reached < many/2 {
		t.Errorf("only %d connections were open at the same time", reached)
	}
	p.must(http.StatusOK, p.call("GET", wire.PathStatus, nil, nil))
	o.stop()
	got := o.refusals()
	if got[reasonTooMany]+got[reasonSilent] != many || got[reasonTooMany] < many/2 || len(o.entries("remote.refused")) > 2*sources {
		t.Errorf("recorded %v in %d entries", got, len(o.entries("remote.refused")))
	}
}

func TestAVendorCannotFillTheLedger(t *testing.T) {
	o := openOffice(t, func(_ *Config, l *limits) { l.burst = 20 })
	p := o.enrolled("V")
	size := o.ledger.Size()
	for range 100 {
		_, got := p.ask("i-1", "000000x")
		if got.status == http.StatusTooManyRequests && got.detail.Code == wire.CodeBusy && got.header.Get("Retry-After") == "" {
			t.Fatal("no Retry-After")
		}
	}
	if grown := o.ledger.Size() - size; grown != 21 { // 20 and one for the rest
		t.Errorf("100 requests made %d entries", grown)
	}
	o.clock.pass(time.Second)
	_, got := p.ask("i-1", "000000x")
	p.refused(http.StatusTooManyRequests, wire.CodeLocked, got)
	o.stop()
	if e := o.entries("remote.busy"); len(e) != 2 || number(t, e[0], "times")+number(t, e[1], "times") != 80 {
		t.Errorf("recorded %+v", e)
	}
}

func TestWhatTheLedgerDoesNotTakeIsNotGivenOut(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	p.granted("i-1")
	invited := o.newcomer("W")
	secret := o.invite()
	code := p.code()
	p.must(http.StatusOK, p.call("GET", wire.PathIncidents, nil, nil)) // so that the next is only counted
	o.ledger.broken.Store(true)
	for _, rt := range table() {
		path := strings.Replace(rt.path, "{id}", "i-1", 1)
		switch {
		case rt.path == wire.PathEnroll:
			invited.refused(http.StatusServiceUnavailable, wire.CodeUnavailable, invited.call("POST", path, wire.EnrollRequest{Secret: secret, Name: "W"}, nil))
		case rt.path == wire.PathGrants:
			_, got := p.ask("i-2", code)
			p.refused(http.StatusServiceUnavailable, wire.CodeUnavailable, got)
		default:
			resp, err := p.get(path)
			if err != nil {
				t.Fatal(err)
			}
			data, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable || bytes.Contains(data, []byte("i-2")) || len(data) > 300 {
				t.Errorf("%s %s: %d %.100q", rt.method, path, resp.StatusCode, data)
			}
		}
	}
	if _, err := o.Invite("owner"); !errors.Is(err, errDisk) {
		t.Errorf("invitation: %v", err)
	}
	o.ledger.broken.Store(false)
	invited.must(http.StatusCreated, invited.call("POST", wire.PathEnroll, wire.EnrollRequest{Secret: secret, Name: "W"}, nil))
	g, got := p.ask("i-2", code) // neither the invitation nor the code was used up
	p.must(http.StatusCreated, got)
	o.ledger.broken.Store(true)
	if _, err := o.Approve(g.ID, "owner", 0); !errors.Is(err, errDisk) || len(o.Active()) != 1 {
		t.Errorf("approved unrecorded: %+v, %v", o.Active(), err)
	}
}

// clumsy is evidence with a mistake in it.
type clumsy struct{ *shelf }

func (clumsy) OpenPackage(string) (io.ReadSeekCloser, wire.Package, error) { panic("mistake") }

func TestAMistakeOfOursEndsOneConnection(t *testing.T) {
	var said bytes.Buffer
	o := openOffice(t, func(c *Config, _ *limits) {
		c.Evidence, c.Logger = clumsy{c.Evidence.(*shelf)}, slog.New(slog.NewTextHandler(&said, nil))
	})
	p := o.enrolled("V")
	p.granted("i-1")
	if resp, err := p.get(bundlePath("i-1")); err == nil {
		resp.Body.Close()
		t.Errorf("answered %s", resp.Status)
	}
	p.must(http.StatusOK, p.call("GET", wire.PathStatus, nil, nil))
	if o.stop(); !strings.Contains(said.String(), "mistake") {
		t.Errorf("log %q", said.String())
	}
}
