package remote

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"

	"golang.org/x/mod/sumdb/tlog"
	"log/slog"
)

func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"incident":"i-1","reason":"r","code":"123456","minutes":60}`))
	f.Add([]byte(`{"secret":"AAECAwQFBgcICQoLDA0ODw","name":"名"}`))
	f.Add([]byte(`{"minutes":1e3} x`))
	f.Add([]byte(strings.Repeat("[", 5000)))
	s := Server{cfg: Config{MaxGrant: 24 * time.Hour, Evidence: &shelf{}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		var ask wire.GrantRequest
		if decode(data, &ask) == nil && s.askable(ask) == nil {
			if !plain(ask.Reason, maxReason) || ask.Minutes < 0 || ask.Minutes > maxMinutes || len(ask.Code) > maxCode || ask.Incident == "" {
				t.Fatalf("taken: %+v", ask)
			}
		}
		var enroll wire.EnrollRequest
		if decode(data, &enroll) == nil && plain(enroll.Name, maxName) && strings.ContainsAny(enroll.Name, "\x00\n\r\u202e\x1b") {
			t.Fatalf("taken: %+v", enroll)
		}
	})
}

// FuzzCodes holds that no text is a code unless it is spelled as one.
func FuzzCodes(f *testing.F) {
	s, _, codes, err := newSecrets("Office", "Vendor")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("123456")
	f.Add("00000-00000-00000-00000")
	f.Add(strings.Repeat("é", 40))
	f.Fuzz(func(t *testing.T, code string) {
		mine, right := s, ""
		for _, c := range codes {
			if normal(c) == normal(code) {
				right = c
			}
		}
		if mine.accept(code, noon) && right == "" && len(normal(code)) != 6 || len(mine.Recovery) < len(s.Recovery) != (right != "") {
			t.Fatalf("%q was taken", code)
		}
	})
}

// void is a ledger that counts.
type void struct{ entries int }

func (v *void) Append(e ledger.Entry) (int64, error) {
	line, err := e.Line()
	if err == nil {
		_, err = ledger.ParseEntry(line) // what strangers send must not spoil it
	}
	v.entries++
	return int64(v.entries), err
}
func (v *void) Checkpoint() ([]byte, error)                  { return []byte("signed\n"), nil }
func (v *void) Size() int64                                  { return 7 }
func (v *void) ProveTree(_, _ int64) (tlog.TreeProof, error) { return nil, nil }

// FuzzRequests sends whole requests past the HTTP parser, as a vendor without
// any access and as a stranger: neither may ever open evidence, and each of the
// vendor's is recorded.
func FuzzRequests(f *testing.F) {
	for _, line := range []string{"GET /v1/status", "HEAD /v1/incidents/i-1/bundle", "GET /v1/incidents/../i-1/bundle", "DELETE /v1/grants/%2e", "CONNECT x:1", "OPTIONS *", "GET /v1/consistency?from=1&to=2", "GET http://h/v1/checkpoint"} {
		f.Add([]byte(line + " HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\n\r\n"))
	}
	f.Add([]byte("POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 56\r\n\r\n" + `{"incident":"i-1","reason":"r","code":"1","minutes":60}` + "\n"))
	log := &void{}
	evidence := &shelf{files: map[string][]byte{"i-1": []byte("evidence")}}
	s, err := New(Config{Dir: f.TempDir(), Addr: "127.0.0.1:1", Ledger: log, DeviceKey: "k", Evidence: evidence, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	s.limits.requests = 1e9
	known, err := x509.ParseCertificate(newCert(f).Certificate[0])
	if err != nil {
		f.Fatal(err)
	}
	if err := s.book.change(func(st *state) error {
		st.Vendors = []vendor{{ID: "v", Name: "V", Pin: wire.PinOf(known).String()}}
		return nil
	}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, certs := range [][]*x509.Certificate{nil, {known}} {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
			if err != nil {
				return
			}
			r.RemoteAddr, r.TLS = "192.0.2.9:1234", &tls.ConnectionState{PeerCertificates: certs}
			before := log.entries
			delete(s.tempo, "v") // its pace is not the question
			s.polls = newPolls(s.append)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if evidence.opened != 0 || w.Code/100 == 3 || w.Code >= 500 {
				t.Fatalf("%q: %d %s", data, w.Code, w.Body)
			}
			if certs == nil && w.Code != http.StatusUnauthorized || certs != nil && log.entries != before+1 {
				t.Fatalf("%q: %d %s, %d entries", data, w.Code, w.Body, log.entries-before)
			}
		}
	})
}
