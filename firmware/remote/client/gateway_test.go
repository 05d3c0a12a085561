package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"bytes"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

const testSecret = "AAECAwQFBgcICQoLDA0ODw"

// gateway is a server that answers as package wire says, until a test puts an
// answer of its own in the place of one.
type gateway struct {
	*httptest.Server
	t       *testing.T
	key     *ledger.Key
	ledger  *ledger.Ledger
	content []byte // of the package

	mu       sync.Mutex
	instead  map[string]http.HandlerFunc // by path
	requests []*http.Request
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, instead: map[string]http.HandlerFunc{}, content: bytes.Repeat([]byte("evidence "), 200_000)}
	var err error
	if g.key, err = ledger.LoadOrCreateKey(filepath.Join(t.TempDir(), "key")); err != nil {
		t.Fatal(err)
	}
	g.ledger = g.newLedger("boot", "find")
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathEnroll, g.enroll)
	mux.HandleFunc("GET "+wire.PathIncidents, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, wire.Incidents{Incidents: []wire.Incident{{ID: "INC-7", State: "contained", Bundle: g.pkg()}}})
	})
	mux.HandleFunc("GET "+wire.PathBundle, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+g.pkg().SHA256+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(g.content))
	})
	mux.HandleFunc("GET "+wire.PathCheckpoint, func(w http.ResponseWriter, _ *http.Request) {
		signed, err := g.ledger.Checkpoint()
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(signed)
	})
	mux.HandleFunc("GET "+wire.PathConsistency, g.consistency)
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.requests = append(g.requests, r)
		h := g.instead[r.URL.Path]
		g.mu.Unlock()
		if h == nil {
			h = mux.ServeHTTP
		}
		h(w, r)
	}))
	g.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	g.Config.ErrorLog = log.New(io.Discard, "", 0) // handlers that break off are the point
	g.StartTLS()
	t.Cleanup(g.Close)
	return g
}

// newLedger is a ledger of the device's key with these actions in it.
func (g *gateway) newLedger(actions ...string) *ledger.Ledger {
	g.t.Helper()
	l, err := ledger.Open(g.t.TempDir(), ledger.Config{Key: g.key})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = l.Close() })
	for _, action := range actions {
		if _, err := l.Append(ledger.Entry{Time: time.Unix(0, 0).UTC(), Actor: "test", Action: action, Subject: "x"}); err != nil {
			g.t.Fatal(err)
		}
	}
	return l
}

func (g *gateway) enroll(w http.ResponseWriter, r *http.Request) {
	var ask wire.EnrollRequest
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.Secret != testSecret {
		refuse(w, http.StatusForbidden, wire.ErrorDetail{Code: wire.CodeInvitation, Message: "used up"})
		return
	}
	reply(w, g.enrolment())
}

func (g *gateway) enrolment() wire.EnrollReply {
	signed, err := g.ledger.Checkpoint()
	if err != nil {
		g.t.Error(err)
	}
	return wire.EnrollReply{Vendor: "v-1", Office: "Example Ltd.", OTPAuth: "otpauth://totp/x?secret=JBSWY3DP",
		RecoveryCodes: []string{"AAAAA-BBBBB"}, DeviceKey: g.key.Public(), Checkpoint: string(signed)}
}

func (g *gateway) consistency(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.ParseInt(r.FormValue("from"), 10, 64)
	proof, err := g.ledger.ProveConsistency(from)
	if err != nil {
		refuse(w, http.StatusBadRequest, wire.ErrorDetail{Code: wire.CodeBad, Message: err.Error()})
		return
	}
	out := wire.Consistency{From: from, To: g.ledger.Size()}
	for _, h := range proof {
		out.Proof = append(out.Proof, h.String())
	}
	reply(w, out)
}

func (g *gateway) pkg() *wire.Package {
	sum := sha256.Sum256(g.content)
	return &wire.Package{Name: "B-1.tar", Size: int64(len(g.content)), SHA256: hex.EncodeToString(sum[:])}
}

// answer puts h in the place of path's own answer; nil takes it away again.
func (g *gateway) answer(path string, h http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.instead[path] = h
}

// asked is what has been asked for since the last call.
func (g *gateway) asked() []*http.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.requests
	g.requests = nil
	return out
}

func (g *gateway) invitation() wire.Invitation {
	addr := g.Listener.Addr().(*net.TCPAddr)
	return wire.Invitation{Host: addr.IP.String(), Port: uint16(addr.Port), Pin: wire.PinOf(g.Certificate()), Secret: testSecret}
}

// vendor enrols; its pauses take no time and are recorded.
func (g *gateway) vendor() (*Client, *[]time.Duration) {
	g.t.Helper()
	p, _, err := Enroll(g.t.Context(), Enrolment{Home: g.t.TempDir(), Profile: "office", Invitation: g.invitation(), Name: "Anna"})
	if err != nil {
		g.t.Fatal(err)
	}
	g.asked()
	return g.client(p)
}

func (g *gateway) client(p *Profile) (*Client, *[]time.Duration) {
	c := New(p)
	g.t.Cleanup(c.Close)
	var pauses []time.Duration
	c.pause = func(ctx context.Context, d time.Duration) error {
		pauses = append(pauses, d)
		return context.Cause(ctx)
	}
	return c, &pauses
}

func reply(w http.ResponseWriter, body any) { _ = json.NewEncoder(w).Encode(body) }

func refuse(w http.ResponseWriter, status int, detail wire.ErrorDetail) {
	w.WriteHeader(status)
	reply(w, wire.Error{Error: detail})
}

// breakOff ends the connection in the middle of an answer.
func breakOff(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
