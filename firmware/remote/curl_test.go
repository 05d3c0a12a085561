package remote

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pquerna/otp"

	"sekisho/firmware/remote/wire"
)

// curler runs curl as the package comment says, with p's certificate.
func (p *person) curler(dir string) func(pin, path string, args ...string) ([]byte, error) {
	t := p.o.t
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("curl is needed: apt-get install curl")
	}
	key, err := x509.MarshalPKCS8PrivateKey(p.cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: p.cert.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(pin, path string, args ...string) ([]byte, error) {
		args = append([]string{"-sSf", "--tlsv1.3", "-k", "--pinnedpubkey", pin, "--cert", "cert.pem", "--key", "key.pem", "https://" + p.o.addr + path}, args...)
		cmd := exec.CommandContext(t.Context(), "curl", args...)
		cmd.Dir = dir
		return cmd.Output()
	}
}

func TestCurlIsEnough(t *testing.T) {
	o := openOffice(t, nil)
	p := o.newcomer("Example IT")
	dir := t.TempDir()
	curl := p.curler(dir)
	ask := func(path string, into any, args ...string) {
		t.Helper()
		out, err := curl(o.Pin().Curl(), path, args...)
		if err == nil {
			err = json.Unmarshal(out, into)
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", path, err, out)
		}
	}
	if out, err := curl(wire.Pin{}.Curl(), wire.PathStatus); err == nil {
		t.Errorf("another gateway's key was accepted: %s", out)
	}
	ask(wire.PathEnroll, &p.reply, "-d", `{"secret":"`+o.invite()+`","name":"Example IT"}`)
	key, err := otp.NewKeyFromURL(p.reply.OTPAuth)
	if err != nil {
		t.Fatal(err)
	}
	p.secret = key.Secret()
	var list wire.Incidents
	ask(wire.PathIncidents, &list)
	id := list.Incidents[0].ID
	var g wire.Grant
	ask(wire.PathGrants, &g, "-d", `{"incident":"`+id+`","reason":"analysis","code":"`+p.code()+`","minutes":60}`)
	if _, err := o.Approve(g.ID, "owner", 0); err != nil {
		t.Fatal(err)
	}
	if ask("/v1/grants/"+g.ID+"?wait=30s", &g); g.State != wire.GrantActive {
		t.Errorf("access %+v", g)
	}
	want := o.shelf.files[id]
	file := filepath.Join(dir, "ID.tar")
	if err := os.WriteFile(file, want[:bundleSize/3], 0o600); err != nil { // a third came before the cut
		t.Fatal(err)
	}
	_, err = curl(o.Pin().Curl(), bundlePath(id), "-o", "ID.tar", "-C", "-")
	if got, readErr := os.ReadFile(file); err != nil || readErr != nil || !bytes.Equal(got, want) {
		t.Errorf("%v %v, %d bytes", err, readErr, len(got))
	}
	if e := o.recorded("remote.download", 1); e[0].Detail["range"] != "bytes=349525-" {
		t.Errorf("recorded %+v", e)
	}
}
