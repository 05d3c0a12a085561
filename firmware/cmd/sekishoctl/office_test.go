package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
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
