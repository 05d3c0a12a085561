package offsite

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newSFTP(t *testing.T, c SFTPConfig) *SFTP {
	t.Helper()
	s, err := NewSFTP(c)
	must(t, err)
	return s
}

func TestAServerWithAnotherKeyGetsNothing(t *testing.T) {
	server := startSSHD(t)
	c := server.c
	c.HostKey = "127.0.0.1 " + writeHostKey(t, filepath.Join(t.TempDir(), "other"))
	_, err := put(t, newSFTP(t, c), objectOf("inc-1.tar", []byte("x")))
	wantError(t, err, ErrIdentity)
	// A key of a kind that the server has none of is no way around.
	c.HostKey = "127.0.0.1 ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg="
	_, err = put(t, newSFTP(t, c), objectOf("inc-1.tar", []byte("x")))
	wantError(t, err, ErrIdentity)
	if _, err := os.Stat(server.c.Folder); err == nil {
		t.Error("something was written")
	}
}

func TestAServerThatDoesNotKnowOurKeySaysWhatToDo(t *testing.T) {
	c := startSSHD(t).c
	c.KeyFile = filepath.Join(t.TempDir(), "another.key")
	_, err := put(t, newSFTP(t, c), objectOf("inc-1.tar", []byte("x")))
	wantError(t, err, ErrDenied)
	if p := explain(err); !strings.Contains(p.Help.EN, "public key") {
		t.Errorf("help is %q", p.Help.EN)
	}
}

func TestAFolderThatForbidsToWriteIsARefusal(t *testing.T) {
	c := startSSHD(t).c
	c.Folder = "/proc/evidence"
	if _, err := put(t, newSFTP(t, c), objectOf("inc-1.tar", []byte("x"))); err == nil {
		t.Error("written to /proc")
	}
}

// cutAt uploads until so many bytes were read, and returns what is left there.
func cutAt(t *testing.T, server *sshServer, o Object, at int64) []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Progress = func(done int64) {
		if done >= at {
			cancel()
		}
	}
	if _, err := newSFTP(t, server.c).Put(ctx, o); err == nil {
		t.Fatal("a cut upload is called done")
	}
	left, err := os.ReadFile(filepath.Join(server.c.Folder, o.Name+partial))
	must(t, err)
	return left
}

func TestACutUploadGoesOnWhereItEnded(t *testing.T) {
	server := startSSHD(t)
	data := contents("x", 4<<20)
	o := objectOf("inc-1.tar", data)
	left := cutAt(t, server, o, 3<<20)
	if len(left) == 0 || !bytes.HasPrefix(data, left) {
		t.Fatalf("%d bytes are left, not a beginning", len(left))
	}
	// What is left is spoilt: only who goes on behind it finds that out.
	left[0] ^= 1
	name := filepath.Join(server.c.Folder, o.Name)
	must(t, os.WriteFile(name+partial, left, 0o600))
	_, err := put(t, newSFTP(t, server.c), o)
	wantError(t, err, ErrDamaged)
	if _, err := os.Stat(name + partial); err == nil {
		t.Error("what is spoilt stays, and spoils the next try")
	}
	if _, err := put(t, newSFTP(t, server.c), o); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); !bytes.Equal(got, data) || err != nil {
		t.Errorf("the copy differs (%v)", err)
	}
}

func TestALeftoverThatIsLongerThanTheBundleBeginsAnew(t *testing.T) {
	server := startSSHD(t)
	o := objectOf("inc-1.tar", contents("x", 1000))
	must(t, os.MkdirAll(server.c.Folder, 0o755))
	must(t, os.WriteFile(filepath.Join(server.c.Folder, o.Name+partial), make([]byte, 5000), 0o600))
	if _, err := put(t, newSFTP(t, server.c), o); err != nil {
		t.Fatal(err)
	}
}

func TestAServerThatSaysNothingDoesNotHoldUpTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if conn, err := l.Accept(); err == nil {
			defer conn.Close()
			cancel() // the gateway is switched off now
			_, _ = conn.Read(make([]byte, 1<<10))
			_, _ = conn.Read(make([]byte, 1<<10)) // until the other side hangs up
		}
	}()
	c := SFTPConfig{Address: l.Addr().String(), User: "u", Folder: "f", HostKey: "h " + writeHostKey(t, filepath.Join(t.TempDir(), "h")),
		KeyFile: filepath.Join(t.TempDir(), "k"), Line: NewLine(0)}
	_, err = newSFTP(t, c).Put(ctx, objectOf("inc-1.tar", []byte("x")))
	wantError(t, err, context.Canceled)
}

func TestOurKeyIsMadeOnceAndIsOursAlone(t *testing.T) {
	c := startSSHD(t).c
	first, again := newSFTP(t, c).PublicKey(), newSFTP(t, c).PublicKey()
	if first != again || !strings.HasPrefix(first, "ssh-ed25519 ") {
		t.Errorf("the key was %q, is %q", first, again)
	}
	if info, err := os.Stat(c.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key is %v (%v)", info.Mode(), err)
	}
}

func TestUnsafeSettingsOfSFTPAreRefused(t *testing.T) {
	dir := t.TempDir()
	host := "[nas]:2022 " + writeHostKey(t, filepath.Join(dir, "h"))
	good := SFTPConfig{Address: "nas:22", User: "u", Folder: "f", HostKey: host, KeyFile: filepath.Join(dir, "k"), Line: NewLine(0)}
	if _, err := NewSFTP(good); err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "bad"), []byte("no key"), 0o600))
	for name, change := range map[string]func(*SFTPConfig){
		"no host key":   func(c *SFTPConfig) { c.HostKey = "" },
		"two host keys": func(c *SFTPConfig) { c.HostKey = host + "\n" + host },
		"revoked":       func(c *SFTPConfig) { c.HostKey = "@revoked " + host },
		"no port":       func(c *SFTPConfig) { c.Address = "nas" },
		"no user":       func(c *SFTPConfig) { c.User = "" },
		"no folder":     func(c *SFTPConfig) { c.Folder = "" },
		"bad key":       func(c *SFTPConfig) { c.KeyFile = filepath.Join(dir, "bad") },
	} {
		c := good
		change(&c)
		if _, err := NewSFTP(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTheFirstStartMakesOurKeyAndItsFolder(t *testing.T) {
	host := "127.0.0.1 " + writeHostKey(t, filepath.Join(t.TempDir(), "host"))
	c := SFTPConfig{Address: "127.0.0.1:22", User: "u", Folder: "/in", HostKey: host, Line: NewLine(0),
		KeyFile: filepath.Join(t.TempDir(), "offsite", "sftp.key")}
	first := newSFTP(t, c).PublicKey()
	if again := newSFTP(t, c).PublicKey(); again != first {
		t.Errorf("the next start shows %q, not %q", again, first)
	}
	for path, want := range map[string]os.FileMode{c.KeyFile: 0o600, filepath.Dir(c.KeyFile): os.ModeDir | 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}
