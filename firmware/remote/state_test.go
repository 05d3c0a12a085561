package remote

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/remote/wire"
)

// jam makes every write of the state fail, for root too.
func (o *office) jam(on bool) {
	o.t.Helper()
	tmp := filepath.Join(o.dir, "remote", "state.json.tmp")
	var err error
	if on {
		err = os.MkdirAll(filepath.Join(tmp, "x"), 0o700)
	} else {
		err = os.RemoveAll(tmp)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

func TestWhatOpensCountsWhenItIsOnDiskAndWhatClosesCountsAtOnce(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	active := p.granted("i-1")
	waiting, got := p.ask("i-2", p.code())
	p.must(http.StatusCreated, got)
	code := p.code()

	o.jam(true)
	if _, err := o.Approve(waiting.ID, "owner", 0); err == nil || len(o.Active()) != 1 {
		t.Errorf("approved without a trace: %v", err)
	}
	for _, c := range []string{code, "000000x"} { // right and wrong are not told apart
		_, got = p.ask("i-2", c)
		p.refused(http.StatusServiceUnavailable, wire.CodeUnavailable, got)
	}
	if err := o.End(active.ID, "owner"); err == nil {
		t.Error("an end that is not on disk was called done")
	}
	p.refused(http.StatusForbidden, wire.CodeNoGrant, p.call("GET", bundlePath("i-1"), nil, nil))
	if err := o.Revoke(p.reply.Vendor, "owner"); err == nil || len(o.Vendors()) != 0 {
		t.Errorf("a revocation that is not on disk: %v", err)
	}
	p.refused(http.StatusUnauthorized, wire.CodeNotEnrolled, p.call("GET", wire.PathStatus, nil, nil))

	o.jam(false)
	if err := o.Revoke(p.reply.Vendor, "owner"); err != nil {
		t.Errorf("once more: %v", err)
	}
	o.restart()
	if len(o.Vendors())+len(o.Active())+len(o.Waiting()) != 0 {
		t.Errorf("%+v, %+v", o.Vendors(), o.Active())
	}
}

func TestTheEndOfAnAccessIsRecordedOnceHoweverOftenTheStateCannotBeWritten(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	p.granted("i-1")
	p.granted("i-2")
	o.stop() // no ticks but those below
	o.jam(true)
	o.clock.pass(2 * time.Hour)
	for range 3 {
		if err := o.expire(o.clock.now()); err == nil || len(o.entries("remote.expire")) != 2 {
			t.Errorf("%v, %+v", err, o.entries("remote.expire"))
		}
	}
	o.jam(false)
	for range 2 {
		if err := o.expire(o.clock.now()); err != nil || len(o.entries("remote.expire")) != 2 {
			t.Errorf("%v, %+v", err, o.entries("remote.expire"))
		}
	}
	for _, g := range o.book.state().Grants {
		if g.State != wire.GrantExpired {
			t.Errorf("written down as %+v", g)
		}
	}
}

func TestKeyAndStateAreForTheGatewayAlone(t *testing.T) {
	o := openOffice(t, nil)
	o.enrolled("V")
	o.stop()
	pin := o.Pin()
	for _, name := range []string{"state.json", "server.pem"} {
		path := filepath.Join(o.dir, "remote", name)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, spoil := range map[string]func() error{
			"open to others": func() error { return os.Chmod(path, 0o640) },
			"cut":            func() error { return os.WriteFile(path, good[:len(good)/2], 0o600) },
			"empty":          func() error { return os.WriteFile(path, nil, 0o600) },
			"of another time": func() error {
				return os.WriteFile(path, []byte(strings.Replace(string(good), `"version": 1`, `"version": 2`, 1)), 0o600)
			},
		} {
			if what == "of another time" && name != "state.json" {
				continue
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if _, err := New(o.config()); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s that is %s: %v", name, what, err)
			}
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := New(o.config())
	if err != nil || s.Pin() != pin {
		t.Errorf("the key has changed: %v", err)
	}
	if leaf := s.cert.Leaf; leaf.NotAfter.Year() != 9999 || s.tlsConfig().MinVersion != tls.VersionTLS13 {
		t.Errorf("certificate until %s", leaf.NotAfter)
	}
}

func TestGrantsThatAreOverAreForgottenOldestFirst(t *testing.T) {
	var s state
	for i := range 2 * maxGrants {
		g := grantIn(wire.GrantEnded)
		if i == 0 {
			g = grantIn(wire.GrantActive)
		}
		s.Grants = append(s.Grants, g)
		s.prune()
	}
	if len(s.Grants) != maxGrants || s.Grants[0].State != wire.GrantActive {
		t.Errorf("%d grants, first %s", len(s.Grants), s.Grants[0].State)
	}
}

func TestAnImpossibleConfigIsRefused(t *testing.T) {
	o := openOffice(t, nil)
	for what, change := range map[string]func(*Config){
		"no folder": func(c *Config) { c.Dir = "" }, "no address": func(c *Config) { c.Addr = "" }, "no port": func(c *Config) { c.Addr = "192.0.2.1" },
		"no ledger": func(c *Config) { c.Ledger = nil }, "no evidence": func(c *Config) { c.Evidence = nil }, "no logger": func(c *Config) { c.Logger = nil },
		"negative": func(c *Config) { c.BytesPerSecond = -1 }, "nowhere to call": func(c *Config) { c.Interface, c.Addr = "", "0.0.0.0:8443" },
		"nowhere at all": func(c *Config) { c.Interface, c.Addr = "", ":8443" },
	} {
		c := o.config()
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
}
