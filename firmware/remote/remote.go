// Package remote lets the outside IT vendor fetch sealed evidence: an HTTPS API
// (package wire), enrolments by invitation, and accesses that the owner grants
// for one incident and a limited time.
//
// The gateway runs one Server; the web page and the panel use the owner's side
// of it (Invite, Waiting, Approve, End, Revoke …). It must never listen on the
// WAN, never give out anything before the ledger has taken the entry about it,
// never open more than what the owner approved, and never let a stranger use up
// memory, disk or the office's line.
//
// Who is who: client and server know each other by the SHA-256 of their public
// keys, exchanged through the invitation; there is no authority, no password and
// no default. The certificate opens the list of incidents, without names. Asking
// for an access needs a code of the person as well (RFC 6238, or a recovery
// code), the access itself needs the owner.
//
// What is recorded: every enrolment, question, decision, code, download (begin
// and end, with bytes) is a ledger entry of its own, before its effect, and so is
// what makes no sense. A vendor can cause one such entry a second, after a burst
// of 60. Requests that only look (status, lists, checkpoints, an unchanged grant)
// and those for a grant that is not the caller's are one entry at once, and one
// an hour for all that follow from the same source with the same outcome. What
// strangers do is counted a source and minute, and told in at most 288 entries a
// day beyond the first 100.
//
// Everything with a plain curl, where PIN is the invitation's wire.Pin.Curl:
//
//	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=vendor -keyout key.pem -out cert.pem
//	c() { curl --tlsv1.3 -k --pinnedpubkey "$PIN" --cert cert.pem --key key.pem "$@"; }
//	c https://GATEWAY:8443/v1/enroll -d '{"secret":"SECRET","name":"Example IT"}'
//	c https://GATEWAY:8443/v1/incidents
//	c https://GATEWAY:8443/v1/grants -d '{"incident":"ID","reason":"analysis","code":"123456","minutes":60}'
//	c "https://GATEWAY:8443/v1/grants/GRANT?wait=30s"
//	c https://GATEWAY:8443/v1/incidents/ID/bundle -o ID.tar -C -
//
// -k switches off only what does not apply, the check against authorities; the
// pinned key is still compared.
package remote

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/time/rate"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

// Evidence is what can be asked for. Its methods are called from several
// goroutines.
type Evidence interface {
	// Incidents is the list, newest first, without Bundle and Grant.
	Incidents() []wire.Incident
	// Package describes the sealed bundle of an incident that Incidents lists;
	// errors wrap fs.ErrNotExist when there is none.
	Package(incident string) (wire.Package, error)
	// OpenPackage opens it: the same bytes every time.
	OpenPackage(incident string) (io.ReadSeekCloser, wire.Package, error)
}

// Ledger is what of a ledger.Ledger is used.
type Ledger interface {
	Append(ledger.Entry) (int64, error)
	Checkpoint() ([]byte, error)
	Size() int64
	ProveTree(old, size int64) (tlog.TreeProof, error)
}

var _ Ledger = (*ledger.Ledger)(nil)

// Config says where and with what. Dir, Addr, Ledger, DeviceKey, Evidence and
// Logger are required.
type Config struct {
	Dir       string // keys and state, mode 0700: STATE/remote
	Interface string // "wg0" or "br0": nothing that comes in elsewhere is answered
	Addr      string // address and port to listen on
	// Listen opens the socket, each time anew; nil: Listen(Interface, Addr). A
	// service manager that hands one over knows where it is bound.
	Listen    func() (net.Listener, error)
	Host      string // name or address in invitations; default: that of Addr, else the interface's first
	Office    string
	Version   string
	Ledger    Ledger
	DeviceKey string // verifier key of ledger and bundles (C2SP)
	Evidence  Evidence

	BytesPerSecond int           // of all downloads together; default 2,000,000
	MaxConns       int           // default 64
	Grant          time.Duration // of an approval that names none; default 8 h
	MaxGrant       time.Duration // no approval is longer; default 24 h

	// Changed, if not nil, is called after something that the owner's side
	// shows has changed. It must not block; it may call the Server.
	Changed func()
	Now     func() time.Time // default time.Now
	Logger  *slog.Logger
}

func (c *Config) check() error {
	if c.Dir == "" || c.Addr == "" || c.Ledger == nil || c.DeviceKey == "" || c.Evidence == nil || c.Logger == nil {
		return errors.New("vendor access: folder, address, ledger, device key, evidence and logger are required")
	}
	if c.Host == "" {
		host, _, err := net.SplitHostPort(c.Addr)
		if err != nil {
			return fmt.Errorf("vendor access: %w", err)
		}
		c.Host = host
	}
	if a, err := netip.ParseAddr(c.Host); err == nil && a.IsUnspecified() {
		c.Host = ""
	}
	if c.Host == "" && c.Interface == "" {
		return errors.New("vendor access: a host that vendors can reach is required where the address says all")
	}
	defaulted(&c.BytesPerSecond, 2_000_000)
	defaulted(&c.MaxConns, 64)
	defaulted(&c.Grant, 8*time.Hour)
	defaulted(&c.MaxGrant, 24*time.Hour)
	c.Grant = min(c.Grant, c.MaxGrant)
	if c.BytesPerSecond < 0 || c.MaxConns < 0 || c.Grant < 0 {
		return errors.New("vendor access: a limit is negative")
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

func defaulted[T int | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// limits are for slow and greedy clients; tests shorten them.
type limits struct {
	header, body, write, idle time.Duration // body and write: from the last step
	headerBytes               int
	bodyBytes                 int64
	connsEach                 int           // from one source
	connects                  rate.Limit    // new connections a second; a tenth of it from one source
	connectsBurst             int           // a quarter of it from one source
	wait                      time.Duration // longest long poll
	tick                      time.Duration // between looks at the clock
	retry                     time.Duration // of an interface that is not there
	requests                  rate.Limit    // of one vendor, a second
	burst                     int
}

var usual = limits{
	header: 10 * time.Second, body: 10 * time.Second, write: 30 * time.Second, idle: 2 * time.Minute,
	headerBytes: 8 << 10, bodyBytes: 4 << 10, connsEach: 8, connects: 50, connectsBurst: 128,
	wait: 30 * time.Second, tick: time.Second, retry: 10 * time.Second,
	requests: 1, burst: 60,
}

// Server is the gateway's side of the API. All methods are for concurrent use.
type Server struct {
	cfg    Config
	limits limits
	cert   tls.Certificate
	pin    wire.Pin
	listen func() (net.Listener, error)
	index  func() int // of the interface; another one is another interface

	book      *book
	polls     *polls
	strangers *strangers
	line      *rate.Limiter // bytes, of all downloads together
	mux       *http.ServeMux

	mu    sync.Mutex
	tempo map[string]*rate.Limiter // requests, by vendor

	lapsed map[string]bool // grants whose end is in the ledger, not yet in the state; owned by expire
}

// New reads the state in c.Dir, or begins it, and does not listen yet.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("vendor access: %w", err)
	}
	s := &Server{cfg: c, limits: usual, tempo: map[string]*rate.Limiter{}, lapsed: map[string]bool{}}
	s.line = rate.NewLimiter(rate.Limit(c.BytesPerSecond), chunk)
	if s.listen = c.Listen; s.listen == nil {
		s.listen = func() (net.Listener, error) { return Listen(c.Interface, c.Addr) }
	}
	s.index = func() int { return interfaceIndex(c.Interface) }
	var err error
	if s.cert, err = serverKey(filepath.Join(c.Dir, "server.pem")); err != nil {
		return nil, err
	}
	s.pin = wire.PinOf(s.cert.Leaf)
	if s.book, err = openBook(filepath.Join(c.Dir, "state.json"), c.Changed); err != nil {
		return nil, err
	}
	s.polls = newPolls(s.append)
	s.strangers = newStrangers(s.append)
	s.mux = s.routes()
	return s, nil
}

// Pin is the server's key as vendors pin it.
func (s *Server) Pin() wire.Pin { return s.pin }
