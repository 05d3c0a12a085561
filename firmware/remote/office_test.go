package remote

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 { // a fresh namespace has its loopback down
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip link set lo up: %v %s\ninstall iproute2\n", err, out)
			os.Exit(1)
		}
	}
	os.Exit(nstest.Main(m))
}

// clock is the office's time; it stands still until a test moves it.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }

// brittle is a ledger whose disk may fail.
type brittle struct {
	*ledger.Ledger
	broken atomic.Bool
	grown  chan struct{} // filled after an entry; one reader
}

var errDisk = errors.New("disk is gone")

func (b *brittle) Append(e ledger.Entry) (int64, error) {
	if b.broken.Load() {
		return 0, errDisk
	}
	defer func() {
		select {
		case b.grown <- struct{}{}:
		default:
		}
	}()
	return b.Ledger.Append(e)
}

func (b *brittle) Checkpoint() ([]byte, error) {
	if b.broken.Load() {
		return nil, errDisk
	}
	return b.Ledger.Checkpoint()
}

// shelf is evidence in memory.
type shelf struct {
	mu     sync.Mutex
	files  map[string][]byte // by incident; nil: not sealed
	opened int
}

func (s *shelf) Incidents() []wire.Incident {
	at := time.Date(2026, 4, 1, 8, 0, 0, 0, time.UTC)
	return []wire.Incident{{ID: "i-2", State: "contained", Opened: at, Updated: at}, {ID: "i-1", State: "closed", Opened: at, Updated: at}, {ID: "i-0", State: "open", Opened: at, Updated: at}}
}

func (s *shelf) Package(id string) (wire.Package, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data := s.files[id]
	if data == nil {
		return wire.Package{}, fmt.Errorf("package %s: %w", id, fs.ErrNotExist)
	}
	sum := sha256.Sum256(data)
	return wire.Package{Name: id + ".tar", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}, nil
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

func (s *shelf) OpenPackage(id string) (io.ReadSeekCloser, wire.Package, error) {
	p, err := s.Package(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	return reader{bytes.NewReader(s.files[id])}, p, err
}

// office is a gateway that serves on loopback, and its owner.
type office struct {
	*Server
	t      *testing.T
	clock  *clock
	ledger *brittle
	shelf  *shelf
	dir    string
	addr   string
	tune   func(*Config, *limits)
	told   atomic.Int64 // how often the panel was told of a change
	stop   func()
}

const bundleSize = 1 << 20

func openOffice(t *testing.T, tune func(*Config, *limits)) *office {
	t.Helper()
	dir := t.TempDir()
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	files := map[string][]byte{"i-1": make([]byte, bundleSize), "i-2": make([]byte, bundleSize)}
	for _, f := range files {
		_, _ = rand.Read(f)
	}
	o := &office{t: t, clock: &clock{}, ledger: &brittle{Ledger: l, grown: make(chan struct{}, 1)}, shelf: &shelf{files: files}, dir: dir, tune: tune}
	o.clock.ns.Store(time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC).UnixNano())
	o.start()
	t.Cleanup(func() { o.stop() })
	return o
}

func (o *office) config() Config {
	return Config{Dir: filepath.Join(o.dir, "remote"), Addr: "127.0.0.1:8443", Office: "Example", Version: "test", Ledger: o.ledger,
		DeviceKey: o.ledger.Key().Public(), Evidence: o.shelf, BytesPerSecond: 1 << 30, Now: o.clock.now, Logger: slog.New(slog.DiscardHandler),
		Changed: func() { // what a panel does
			o.told.Add(1)
			_, _, _ = o.Active(), o.Waiting(), o.Vendors()
		}}
}

func (o *office) start() {
	o.t.Helper()
	ln, err := Listen("", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	c, lim := o.config(), usual
	lim.tick = 5 * time.Millisecond
	lim.burst, lim.connsEach, lim.connects, lim.connectsBurst = 10_000, 64, 10_000, 10_000
	if o.tune != nil {
		o.tune(&c, &lim)
	}
	if o.Server, err = New(c); err != nil {
		o.t.Fatal(err)
	}
	o.Server.limits = lim
	o.addr = ln.Addr().String()
	o.Server.listen = func() (net.Listener, error) { return ln, nil }
	o.stop = o.run()
}

// run runs the server until the function that it returns is called.
func (o *office) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Server.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !o.ledger.broken.Load() {
			o.t.Errorf("run: %v", err)
		}
	})
}

func (o *office) restart() {
	o.t.Helper()
	o.stop()
	o.start()
}

// entries are those of one action since the start.
func (o *office) entries(action string) []ledger.Entry {
	o.t.Helper()
	all, err := o.ledger.Entries(0, o.ledger.Size())
	if err != nil {
		o.t.Fatal(err)
	}
	var out []ledger.Entry
	for _, e := range all {
		if e.Action == action {
			out = append(out, e)
		}
	}
	return out
}

// recorded waits until there are want entries of an action.
func (o *office) recorded(action string, want int) []ledger.Entry {
	o.t.Helper()
	for {
		if got := o.entries(action); len(got) >= want {
			return got
		}
		<-o.ledger.grown // for ever, if nothing comes: the test's time limit tells
	}
}

// person is a vendor's tool and authenticator.
type person struct {
	o      *office
	name   string
	cert   tls.Certificate
	client *http.Client
	reply  wire.EnrollReply
	secret string
}

func newCert(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1, 0)} // dates are not looked at
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (o *office) tls(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: certs, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if wire.PinOf(cs.PeerCertificates[0]) != o.Pin() {
				return errors.New("another gateway")
			}
			return nil
		}}
}

func (o *office) newcomer(name string) *person {
	o.t.Helper()
	p := &person{o: o, name: name, cert: newCert(o.t)}
	tr := &http.Transport{TLSClientConfig: o.tls(p.cert)}
	o.t.Cleanup(tr.CloseIdleConnections)
	p.client = &http.Client{Transport: tr}
	return p
}

// enrolled is a vendor that the owner has invited.
func (o *office) enrolled(name string) *person {
	o.t.Helper()
	p := o.newcomer(name)
	p.enroll(o.invite())
	return p
}

func (o *office) invite() string {
	o.t.Helper()
	line, err := o.Invite("person:page")
	if err != nil {
		o.t.Fatal(err)
	}
	inv, err := wire.ParseInvitation(line)
	if err != nil || inv.Pin != o.Pin() || inv.Addr() != "127.0.0.1:8443" {
		o.t.Fatalf("invitation %+v, %v", inv, err)
	}
	return inv.Secret
}

func (p *person) enroll(secret string) {
	p.o.t.Helper()
	p.must(http.StatusCreated, p.call("POST", wire.PathEnroll, wire.EnrollRequest{Secret: secret, Name: p.name}, &p.reply))
	key, err := otp.NewKeyFromURL(p.reply.OTPAuth)
	if err != nil {
		p.o.t.Fatal(err)
	}
	p.secret = key.Secret()
}

// code is what the authenticator shows; it is a new one each time, because each
// works once.
func (p *person) code() string {
	p.o.t.Helper()
	p.o.clock.pass(totpPeriod * time.Second)
	code, err := totp.GenerateCode(p.secret, p.o.clock.now())
	if err != nil {
		p.o.t.Fatal(err)
	}
	return code
}

// outcome is an answer as far as tests look at it.
type outcome struct {
	status int
	detail wire.ErrorDetail
	header http.Header
}

func (p *person) call(method, path string, body, into any) outcome {
	p.o.t.Helper()
	var b io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			p.o.t.Fatal(err)
		}
		b = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(p.o.t.Context(), method, "https://"+p.o.addr+path, b)
	if err != nil {
		p.o.t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.o.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.o.t.Fatalf("%s %s: %v", method, path, err)
	}
	var refusal wire.Error
	if resp.StatusCode >= 300 {
		into = &refusal
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			p.o.t.Fatalf("%s %s: %d %q: %v", method, path, resp.StatusCode, data, err)
		}
	}
	return outcome{status: resp.StatusCode, header: resp.Header, detail: refusal.Error}
}

func (p *person) must(status int, got outcome) {
	p.o.t.Helper()
	if got.status != status {
		p.o.t.Fatalf("status %d %+v, want %d", got.status, got.detail, status)
	}
}

func (p *person) refused(status int, code string, got outcome) {
	p.o.t.Helper()
	if got.status != status || got.detail.Code != code || got.detail.Message == "" {
		p.o.t.Errorf("status %d %+v, want %d %s", got.status, got.detail, status, code)
	}
}

func (p *person) ask(incident, code string) (wire.Grant, outcome) {
	p.o.t.Helper()
	var g wire.Grant
	got := p.call("POST", wire.PathGrants, wire.GrantRequest{Incident: incident, Reason: "analysis", Code: code, Minutes: 60}, &g)
	return g, got
}

// granted is an access that the owner has approved.
func (p *person) granted(incident string) wire.Grant {
	p.o.t.Helper()
	g, got := p.ask(incident, p.code())
	p.must(http.StatusCreated, got)
	if _, err := p.o.Approve(g.ID, "person:panel", 0); err != nil {
		p.o.t.Fatal(err)
	}
	return g
}

func bundlePath(incident string) string { return "/v1/incidents/" + incident + "/bundle" }

func (p *person) get(path string, header ...string) (*http.Response, error) {
	p.o.t.Helper()
	req, err := http.NewRequestWithContext(p.o.t.Context(), "GET", "https://"+p.o.addr+path, nil)
	if err != nil {
		p.o.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return p.client.Do(req)
}

// fetch reads a whole answer.
func (p *person) fetch(path string, header ...string) (int, []byte, http.Header) {
	p.o.t.Helper()
	resp, err := p.get(path, header...)
	if err != nil {
		p.o.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.o.t.Fatal(err)
	}
	return resp.StatusCode, data, resp.Header
}
