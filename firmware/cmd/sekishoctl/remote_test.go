package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/pquerna/otp/totp"
	"golang.org/x/mod/sumdb/tlog"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
	"sekisho/firmware/remote"
	"sekisho/firmware/remote/wire"
)

// office is a gateway's side of vendor access, the real one, with one sealed and
// encrypted bundle.
type office struct {
	*remote.Server
	t        *testing.T
	vault    *evidence.Vault
	identity string // file
	stop     func()
	line     *cutter
	ledger   *swapped

	mu    sync.Mutex
	owner func(remote.GrantView) error // what the owner does about a question
}

const bundleBytes = 3 << 20

func newOffice(t *testing.T) *office {
	t.Helper()
	dir := t.TempDir()
	o := &office{t: t, identity: filepath.Join(dir, "identity")}
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
	must(t, err)
	l := openLedger(t, key)
	o.ledger = &swapped{key: key}
	o.ledger.Store(l)
	secret, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(o.identity, []byte(secret.String()+"\n"), 0o600))
	o.vault, err = evidence.OpenVault(evidence.VaultConfig{Dir: filepath.Join(dir, "bundles"), Ledger: l, Recipients: []age.Recipient{secret.Recipient()}})
	must(t, err)
	t.Cleanup(func() { thaw(t, filepath.Join(dir, "bundles")) })
	_, err = o.vault.Seal(t.Context(), evidence.BundleInput{ID: "B-1", Incident: "INC-7", Packets: bigCapture})
	must(t, err)

	o.line = newCutter(t)
	served := make(chan struct{})
	o.Server, err = remote.New(remote.Config{Dir: filepath.Join(dir, "remote"), Addr: o.line.behind, Office: "Example Ltd.", Version: "test",
		Ledger: o.ledger, DeviceKey: key.Public(), Evidence: o, BytesPerSecond: 100 << 20,
		Changed: o.changed, Logger: slog.New(&signalHandler{text: "vendor access is served", done: served})})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Cleanup(o.stop)
	<-served
	return o
}

func openLedger(t *testing.T, key *ledger.Key) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.TempDir(), ledger.Config{Key: key})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// swapped is a ledger that somebody may put another in the place of.
type swapped struct {
	atomic.Pointer[ledger.Ledger]
	key *ledger.Key
}

func (s *swapped) Append(e ledger.Entry) (int64, error) { return s.Load().Append(e) }
func (s *swapped) Checkpoint() ([]byte, error)          { return s.Load().Checkpoint() }
func (s *swapped) Size() int64                          { return s.Load().Size() }
func (s *swapped) ProveTree(old, size int64) (tlog.TreeProof, error) {
	return s.Load().ProveTree(old, size)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bigCapture is more than fits into the buffers of a connection.
func bigCapture(_ context.Context, w io.Writer) (evidence.Extraction, error) {
	b := capture.AppendSHB(nil, capture.Section{})
	b = capture.AppendIDB(b, capture.Interface{Link: capture.LinkEthernet})
	frame := capture.Frame{Time: time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC).UnixNano(), Data: make([]byte, 1024), OrigLen: 1024}
	n := uint64(0)
	for ; len(b) < bundleBytes; n++ {
		b = capture.AppendEPB(b, &frame, 0)
	}
	_, err := w.Write(b)
	return evidence.Extraction{Packets: n}, err
}

func (o *office) Incidents() []wire.Incident {
	return []wire.Incident{{ID: "INC-8", State: "open"}, {ID: "INC-7", State: "contained", Opened: time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)}}
}

func (o *office) Package(incident string) (wire.Package, error) {
	r, p, err := o.OpenPackage(incident)
	if err != nil {
		return wire.Package{}, err
	}
	return p, r.Close()
}

func (o *office) OpenPackage(incident string) (io.ReadSeekCloser, wire.Package, error) {
	if incident != "INC-7" {
		return nil, wire.Package{}, fs.ErrNotExist
	}
	r, p, err := o.vault.OpenPackage("B-1")
	return r, wire.Package{Name: p.Name, Size: p.Size, SHA256: p.SHA256, Encrypted: p.Encrypted, Sealed: p.Sealed}, err
}

// changed lets the owner answer, as the web page would.
func (o *office) changed() {
	o.mu.Lock()
	owner := o.owner
	o.mu.Unlock()
	if owner == nil {
		return
	}
	go func() {
		for _, g := range o.Waiting() {
			if err := owner(g); err != nil && !errors.Is(err, remote.ErrOver) { // told twice
				o.t.Error(err)
			}
		}
	}()
}

func (o *office) decides(owner func(remote.GrantView) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owner = owner
}

// invite makes an invitation that leads through the line.
func (o *office) invite() string {
	o.t.Helper()
	text, err := o.Invite("person:test")
	must(o.t, err)
	v, err := wire.ParseInvitation(text)
	must(o.t, err)
	v.Port = uint16(o.line.front.Addr().(*net.TCPAddr).Port)
	return v.String()
}

// cutter is a line to the server that can be cut after some bytes.
type cutter struct {
	front  net.Listener
	behind string       // address of the server
	left   atomic.Int64 // bytes to the vendor until the cut; 0: none comes
}

func newCutter(t *testing.T) *cutter {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := &cutter{behind: free.Addr().String()}
	must(t, free.Close()) // the server listens there from now on
	c.front, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = c.front.Close() })
	go func() {
		for {
			conn, err := c.front.Accept()
			if err != nil {
				return
			}
			go c.carry(conn)
		}
	}()
	return c
}

func (c *cutter) carry(vendor net.Conn) {
	defer vendor.Close()
	server, err := net.Dial("tcp", c.behind)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, vendor)
		_ = server.Close()
	}()
	buf := make([]byte, 8<<10)
	for {
		n, err := server.Read(buf)
		if left := c.left.Load(); left > 0 && c.left.Add(-min(int64(n), left)) == 0 {
			return
		}
		if _, werr := vendor.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// signalHandler closes done at the first record of this text.
type signalHandler struct {
	text string
	once sync.Once
	done chan struct{}
}

func (h *signalHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *signalHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *signalHandler) WithGroup(string) slog.Handler            { return h }
func (h *signalHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.text {
		h.once.Do(func() { close(h.done) })
	}
	return nil
}

// vendor runs sekishoctl and says what it printed.
func vendor(t *testing.T, want int, input string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if exit := (program{t.Context(), strings.NewReader(input), &out, &out}).run(args); exit != want {
		t.Fatalf("sekishoctl %s: exit %d, want %d\n%s", strings.Join(args, " "), exit, want, out.String())
	}
	return out.String()
}

func says(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
}

// enrol returns the secret of the authenticator and the recovery codes.
func enrol(t *testing.T, o *office) (secret string, recovery []string) {
	t.Helper()
	invitation := o.invite()
	out := vendor(t, 0, invitation+"\n", "enroll", "-", "--name", "Anna")
	says(t, out, "Example Ltd.", "shown now and never again", "fingerprint", "--pinnedpubkey 'sha256//")
	uri, err := url.Parse(regexp.MustCompile(`otpauth://\S+`).FindString(out))
	must(t, err)
	says(t, vendor(t, 1, "", "enroll", invitation, "--profile", "again"), "used up", "Ask the owner for a new one")
	says(t, vendor(t, 2, "", "enroll", o.invite()), "profile of this name already", "--profile")
	return uri.Query().Get("secret"), regexp.MustCompile(`(?m)^   [0-9A-Z]{5}(-[0-9A-Z]{5})+$`).FindAllString(out, -1)
}

func TestFromTheInvitationToVerifiedEvidence(t *testing.T) {
	o := newOffice(t)
	t.Setenv("SEKISHO_HOME", filepath.Join(t.TempDir(), "home"))
	t.Chdir(t.TempDir())
	says(t, vendor(t, 2, "", "incidents"), "Enrol first")
	secret, recovery := enrol(t, o)
	says(t, vendor(t, 0, "", "incidents"), "INC-8     open", "not sealed yet", "B-1.tar.age", "MB")
	says(t, vendor(t, 1, "", "pull", "INC-8"), "not sealed yet", "watch tells when")
	says(t, vendor(t, 1, "", "pull", "INC-9"), `no incident "INC-9"`)
	says(t, vendor(t, 2, "", "pull", "INC-7"), "no code was given")
	says(t, vendor(t, 1, "", "pull", "INC-7", "--code", "xxxxxx"), "wrong", "next code")

	o.decides(func(g remote.GrantView) error { return o.Deny(g.ID, "person:test") })
	code, err := totp.GenerateCode(secret, time.Now())
	must(t, err)
	says(t, vendor(t, 1, code+"\n", "pull", "INC-7"), "hold the button", "the owner has refused")

	o.decides(func(g remote.GrantView) error {
		if g.Reason != "night shift" || g.Wished != 2*time.Hour {
			t.Errorf("asked %+v", g)
		}
		o.line.left.Store(bundleBytes / 2)
		_, err := o.Approve(g.ID, "person:test", 0)
		return err
	})
	out := vendor(t, 1, "", "pull", "INC-7", "--code", strings.TrimSpace(recovery[0]), "--reason", "night shift", "--hours", "2")
	says(t, out, "Approved", "the line was cut", "100 %", "--identity")
	if _, err := os.Stat("INC-7.tar.age"); err != nil || o.Active()[0].Bytes < bundleBytes || o.Active()[0].Bytes > bundleBytes*3/2 {
		t.Errorf("%v after %d bytes", err, o.Active()[0].Bytes)
	}
	verifies(t, o)

	says(t, vendor(t, 0, "", "end", "INC-7"), "has ended")
	says(t, vendor(t, 0, "", "end", "INC-7"), "no access to end")
	must(t, os.Mkdir("again", 0o755))
	says(t, vendor(t, 2, "", "pull", "INC-7", "--dir", "again"), "no code was given") // the access is over
	leaves(t, o)
}

// verifies goes on with the package that was downloaded, without any access.
func verifies(t *testing.T, o *office) {
	t.Helper()
	t.Cleanup(func() { thaw(t, "B-1") })
	for range 2 { // the second time the folder is there already
		out := vendor(t, 0, "", "pull", "INC-7", "--identity", o.identity)
		says(t, out, "is there already", "OK  ", "B-1\n", "incident INC-7", "packets", "proven to continue")
	}
	says(t, vendor(t, 0, "", "verify", "--profile", "default", "--json", "B-1"), `"trusted":true`)
	says(t, vendor(t, 0, "", "verify", "--profile", "default", "--identity", o.identity, "INC-7.tar.age"), "OK  INC-7.tar.age")
	says(t, vendor(t, 1, "", "verify", "INC-7.tar.age"), "encrypted", "--identity")
	says(t, vendor(t, 0, "", "show", "B-1"), "bundle.seal")
	watches(t)
	thaw(t, "B-1")
	must(t, os.WriteFile("B-1/data/flows.jsonl", []byte("x"), 0o644))
	says(t, vendor(t, 1, "", "pull", "INC-7", "--identity", o.identity), "data/flows.jsonl", "Do not use it")
}

// watches until the news have come, and finds none the next time.
func watches(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := &stopper{text: "new incident INC-7", stop: cancel}
	if exit := (program{ctx, nil, out, out}).run([]string{"watch"}); exit != 0 {
		t.Errorf("watch: exit %d", exit)
	}
	says(t, out.String(), "the ledger holds", "new incident INC-8: open", "INC-7: evidence is sealed")
	if out := vendor(t, 0, "", "watch", "--once"); strings.Contains(out, "INC-8") {
		t.Errorf("told twice: %s", out)
	}
}

// stopper calls stop, as Ctrl-C would, when a text has been written.
type stopper struct {
	bytes.Buffer
	text string
	stop func()
}

func (s *stopper) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.String(), s.text) {
		s.stop()
	}
	return n, err
}

// leaves is what the vendor sees of the end of an enrolment, and of the gateway.
func leaves(t *testing.T, o *office) {
	t.Helper()
	honest := o.ledger.Swap(openLedger(t, o.ledger.key))
	says(t, vendor(t, 1, "", "watch"), "*** ALARM ***", "shrunk", "Both checkpoints were saved as evidence: ", "alarm-")
	says(t, vendor(t, 1, "", "watch", "--json"), `"event":"alarm"`, `"saved":"`)
	o.ledger.Store(honest)
	must(t, o.Revoke(o.Vendors()[0].ID, "person:test"))
	says(t, vendor(t, 1, "", "incidents"), "Ask for a new invitation")
	says(t, vendor(t, 1, "", "watch"), "Ask for a new invitation") // trying again would not help
	o.stop()
	says(t, vendor(t, 3, "", "incidents"), "cannot be reached", "Check the line")
	says(t, vendor(t, 3, "", "watch", "--once", "--json"), `"event":"trouble"`)
}
