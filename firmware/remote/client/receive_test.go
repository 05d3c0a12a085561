package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
)

// seal makes the gateway's package the one of a bundle that l records.
func (g *gateway) seal(l *ledger.Ledger, recipients ...age.Recipient) {
	g.t.Helper()
	dir := g.t.TempDir()
	v, err := evidence.OpenVault(evidence.VaultConfig{Dir: dir, Ledger: l, Recipients: recipients})
	if err != nil {
		g.t.Fatal(err)
	}
	_, err = v.Seal(g.t.Context(), evidence.BundleInput{ID: "B-1", Incident: "INC-7",
		Packets: func(_ context.Context, w io.Writer) (evidence.Extraction, error) {
			b := capture.AppendIDB(capture.AppendSHB(nil, capture.Section{}), capture.Interface{Link: capture.LinkEthernet})
			b = capture.AppendEPB(b, &capture.Frame{Time: time.Unix(1e9, 0).UnixNano(), Data: make([]byte, 60), OrigLen: 60}, 0)
			_, err := w.Write(b)
			return evidence.Extraction{Packets: 1}, err
		}})
	if err != nil {
		g.t.Fatal(err)
	}
	r, _, err := v.OpenPackage("B-1")
	if err == nil {
		g.content, err = io.ReadAll(r)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	_ = r.Close()
	g.thaw(filepath.Join(dir, "B-1"))
}

// thaw lets the test's folders be removed.
func (g *gateway) thaw(dir string) {
	g.t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error { return os.Chmod(path, 0o755) })
	})
}

// pulled downloads and receives the package.
func (g *gateway) pulled(c *Client, identities ...age.Identity) (evidence.Report, error) {
	g.t.Helper()
	d := g.download()
	g.thaw(filepath.Join(filepath.Dir(d.Path), "B-1"))
	if err := c.Download(g.t.Context(), d); err != nil {
		g.t.Fatal(err)
	}
	r, err := c.Receive(g.t.Context(), d.Path, identities)
	if again, err2 := c.Receive(g.t.Context(), d.Path, identities); again.Path != r.Path || (err == nil) != (err2 == nil) {
		g.t.Errorf("again: %v, %v; at first %v, %v", again.Path, err2, r.Path, err)
	}
	return r, err
}

func TestWhatIsReceivedIsVerified(t *testing.T) {
	secret, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string][]age.Recipient{"plain": nil, "encrypted": {secret.Recipient()}} {
		g := newGateway(t)
		c, _ := g.vendor()
		g.seal(g.ledger, to...)
		r, err := g.pulled(c, secret)
		if err != nil || r.Packets != 1 || !r.Trusted || r.Incident != "INC-7" || filepath.Base(r.Path) != "B-1" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if kept, err := c.profile.Checkpoint(); err != nil || !bytes.Equal(kept, g.signed()) {
			t.Errorf("%s: the checkpoint after the seal is not kept: %v", name, err)
		}
	}
}

func TestABundleIsAsOldAsItIsAndStillReceived(t *testing.T) {
	g := newGateway(t)
	g.seal(g.ledger)
	g.append("more")
	c, _ := g.vendor() // keeps a checkpoint that is newer than the bundle's
	if _, err := g.pulled(c); err != nil {
		t.Error(err)
	}
}

func TestWhatDoesNotVerifyIsNotReceived(t *testing.T) {
	secret, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var file *evidence.FileError
	var tampered *TamperError
	for name, x := range map[string]struct {
		make func(*gateway)
		want any // target of errors.As, or an error for errors.Is
	}{
		"another device's": {func(g *gateway) {
			stranger := newGateway(t)
			stranger.seal(stranger.ledger)
			g.content = stranger.content
		}, &file},
		"another history":   {func(g *gateway) { g.seal(g.newLedger("boot", "nothing")) }, &tampered},
		"a byte of it":      {func(g *gateway) { g.seal(g.ledger); g.content[len(g.content)/2] ^= 1 }, &file},
		"no identity":       {func(g *gateway) { g.seal(g.ledger, secret.Recipient()) }, evidence.ErrEncrypted},
		"no package at all": {func(*gateway) {}, &file},
	} {
		g := newGateway(t)
		c, _ := g.vendor()
		x.make(g)
		r, err := g.pulled(c)
		is, plain := x.want.(error)
		if plain && !errors.Is(err, is) || !plain && !errors.As(err, x.want) {
			t.Errorf("%s: %T %v", name, err, err)
		}
		if r.Packets != 0 && !errors.As(err, &tampered) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
