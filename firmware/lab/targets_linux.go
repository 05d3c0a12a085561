package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// serveSSH starts a real SSH server on the NAS, with nobody who could log in.
// Dropbear runs under any account, also in a user namespace.
func serveSSH(ctx context.Context, o *Office) error {
	nas := o.Host("nas")
	key := filepath.Join(o.config.Dir, "ssh-key")
	if out, err := nas.Command(ctx, "dropbearkey", "-t", "ed25519", "-f", key).CombinedOutput(); err != nil {
		return fmt.Errorf("make the SSH server's key: %w: %s", err, out)
	}
	s, err := o.run("dropbear on nas", nas.Command(context.WithoutCancel(ctx), "dropbear", "-F", "-E", "-m", "-r", key, "-p", addrPort(nas.Addr(), 22), "-P", key+".pid"))
	if err != nil {
		return err
	}
	return ready(ctx, s, nas, addrPort(nas.Addr(), 22))
}

// The tunnel's domain, the address inside of it, and what both ends know.
const (
	tunnelDomain = "t.tunnel.test"
	tunnelServer = "172.31.255.1"
	tunnelSecret = "lab"
)

// serveTunnel starts the far end of a DNS tunnel, to which the internet's name
// server sends the questions for its domain.
func serveTunnel(ctx context.Context, o *Office) error {
	_, err := o.run("iodined", o.Internet.Command(context.WithoutCancel(ctx), "iodined", "-f", "-c", "-P", tunnelSecret,
		"-l", dropServer.String(), tunnelServer+"/30", tunnelDomain))
	return err
}

// serveDrop lets the drop point take what it is given, and give nothing.
func serveDrop(_ context.Context, o *Office) error {
	l, err := o.Internet.Listen("tcp", addrPort(dropServer, 80))
	if err != nil {
		return fmt.Errorf("serve the drop point: %w", err)
	}
	o.serveHTTP(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // a cut upload is what is hoped for
		w.WriteHeader(http.StatusOK)
	}))
	return nil
}

// adminHosts are computers whose administrator's share is open.
var adminHosts = []string{"eigyo-note", "soumu-pc", "shacho-note"}

const impacketDir = "/usr/share/doc/python3-impacket/examples/"

// adminUser may log in there. It is the account that smbd itself runs as: it
// cannot become another one.
const (
	adminUser   = "nobody"
	adminSecret = "lab"
)

// serveAdmin starts smbd on computers, as Windows machines serve ADMIN$.
func serveAdmin(ctx context.Context, o *Office) error {
	for _, name := range adminHosts {
		h := o.Host(name)
		conf, err := o.configureShare(h, "ADMIN$", filepath.Join(o.config.Dir, name+"-admin"))
		if err != nil {
			return err
		}
		cmd := h.Command(ctx, "smbpasswd", "-L", "-c", conf, "-s", "-a", adminUser)
		cmd.Stdin = strings.NewReader(adminSecret + "\n" + adminSecret + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("make an account on %s: %w: %s", name, err, out)
		}
		if err := giveAway(filepath.Join(o.config.Dir, name+"-smbd")); err != nil {
			return err
		}
		if err := o.serveShare(ctx, h, conf); err != nil {
			return err
		}
	}
	return nil
}

// giveAway hands a folder and what is in it to the account that smbd runs as.
func giveAway(dir string) error {
	if !wholeMachine() {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
}

// scratchFolders makes folders that smbd, another account, may write to.
func scratchFolders(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := giveAway(dir); err != nil {
			return err
		}
	}
	return nil
}
