package offsite

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"sekisho/firmware/durable"
)

const (
	fsyncExtension = "fsync@openssh.com"
	sshGreeting    = 30 * time.Second
)

// SFTPConfig says which server. Every field is needed.
type SFTPConfig struct {
	Address string // host:port
	User    string
	Folder  string // on the server; made when it is missing
	HostKey string // the server's line of known_hosts, from whoever runs it
	KeyFile string // our private key; made, with its folder, when it is missing
	Line    *Line
}

// SFTP copies to a server that it knows by its key, and is known to by ours.
type SFTP struct {
	c      SFTPConfig
	ssh    *ssh.ClientConfig
	public string
}

var _ Target = (*SFTP)(nil)

// NewSFTP checks the settings and makes our key when there is none. It does not
// connect.
func NewSFTP(c SFTPConfig) (*SFTP, error) {
	if _, port, err := net.SplitHostPort(c.Address); err != nil || port == "" || c.User == "" || c.Folder == "" || c.Line == nil {
		return nil, errors.New("sftp target: address (host:port), user, folder and line are needed")
	}
	host, err := parseHostKey(c.HostKey)
	if err != nil {
		return nil, fmt.Errorf("sftp target: %w", err)
	}
	key, err := loadOrMakeKey(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("sftp target: key: %w", err)
	}
	s := &SFTP{c: c, public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey()))) + " sekisho"}
	s.ssh = &ssh.ClientConfig{User: c.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: func(_ string, _ net.Addr, shown ssh.PublicKey) error {
			if string(shown.Marshal()) != string(host.Marshal()) {
				return ErrIdentity
			}
			return nil
		},
		HostKeyAlgorithms: hostAlgorithms(host.Type())}
	return s, nil
}

// hostAlgorithms keeps the server from showing another of its keys than the one
// that was pinned. An RSA key signs with SHA-2 (RFC 8332), never with SHA-1.
func hostAlgorithms(kind string) []string {
	if kind == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{kind}
}

// parseHostKey reads one line of known_hosts (sshd(8)).
func parseHostKey(line string) (ssh.PublicKey, error) {
	marker, _, key, _, rest, err := ssh.ParseKnownHosts([]byte(line))
	if err != nil || marker != "" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New(`host key: write the server's one line of known_hosts: "host ssh-ed25519 AAAA…"`)
	}
	return key, nil
}

func loadOrMakeKey(file string) (ssh.Signer, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		return ssh.ParsePrivateKey(data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "sekisho")
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromSigner(private)
}

// PublicKey is our line for authorized_keys on the server; the page shows it.
func (s *SFTP) PublicKey() string { return s.public }

// Place implements Target. The server is asked when something is put there.
func (s *SFTP) Place(context.Context) (string, error) {
	return "sftp://" + s.c.User + "@" + s.c.Address + path.Join("/", s.c.Folder), nil
}

// Put implements Target: an upload that was cut goes on where it ended, is read
// back whole, and only then gets its name.
func (s *SFTP) Put(ctx context.Context, o Object) (Copy, error) {
	if err := checkName(o.Name); err != nil {
		return Copy{}, err
	}
	client, closeAll, err := s.connect(ctx)
	if err != nil {
		return Copy{}, asSFTP(ctx, err)
	}
	defer closeAll()
	if err := s.put(ctx, client, o); err != nil {
		return Copy{}, asSFTP(ctx, err)
	}
	return Copy{Name: path.Join(s.c.Folder, o.Name), Size: o.Size, SHA256: o.hex()}, nil
}

// connect logs in. The connection ends with ctx too: sftp calls know no context.
func (s *SFTP) connect(ctx context.Context) (*sftp.Client, func(), error) {
	dialing, cancel := context.WithTimeout(ctx, sshGreeting)
	defer cancel()
	conn, err := s.c.Line.Dial(dialing, "tcp", s.c.Address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	late := context.AfterFunc(dialing, func() { _ = conn.Close() })
	fail := func(err error) (*sftp.Client, func(), error) {
		stop()
		_ = conn.Close()
		return nil, nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, s.c.Address, s.ssh)
	if err != nil {
		return fail(err)
	}
	if !late() {
		return fail(fmt.Errorf("%w: no log-in within %s", ErrNoAddress, sshGreeting))
	}
	logged := ssh.NewClient(c, channels, requests)
	client, err := sftp.NewClient(logged)
	if err != nil {
		_ = logged.Close()
		return fail(err)
	}
	return client, func() {
		stop()
		_ = client.Close()
		_ = logged.Close()
	}, nil
}

func (s *SFTP) put(ctx context.Context, client *sftp.Client, o Object) error {
	if err := client.MkdirAll(s.c.Folder); err != nil {
		return err
	}
	name := path.Join(s.c.Folder, o.Name)
	switch there, err := remoteHolds(ctx, client, name, o); {
	case err == nil && !there:
		return fmt.Errorf("%s: %w", name, ErrConflict)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	tmp := name + partial
	if err := send(ctx, client, tmp, o); err != nil {
		return err
	}
	same, err := remoteHolds(ctx, client, tmp, o)
	if err == nil && !same {
		// Perhaps what an earlier upload left was bad: the next begins anew.
		err = errors.Join(fmt.Errorf("%s: %w", name, ErrDamaged), client.Remove(tmp))
	}
	if err != nil {
		return err
	}
	// The plain rename, on purpose: posix-rename@openssh.com would replace what
	// somebody has put under the name meanwhile.
	return client.Rename(tmp, name)
}

// send writes o, from where an earlier upload ended. Writes go one after the
// other, so that a cut leaves no hole before the end of the file.
func send(ctx context.Context, client *sftp.Client, tmp string, o Object) error {
	f, err := client.OpenFile(tmp, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	offset, err := resumeAt(f, o.Size)
	if err == nil {
		err = sendFrom(ctx, f, o, offset)
	}
	if _, offered := client.HasExtension(fsyncExtension); err == nil && offered {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// resumeAt returns how much is there; a file that is longer begins anew.
func resumeAt(f *sftp.File, size int64) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() > size {
		return 0, f.Truncate(0)
	}
	return f.Seek(info.Size(), io.SeekStart)
}

func sendFrom(ctx context.Context, f *sftp.File, o Object, offset int64) error {
	from, err := o.reader(ctx, offset)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = io.Copy(f, from)
	return err
}

// remoteHolds reads a file of the server to its end and compares.
func remoteHolds(ctx context.Context, client *sftp.Client, name string, o Object) (bool, error) {
	info, err := client.Lstat(name)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() != o.Size {
		return false, nil
	}
	f, err := client.Open(name)
	if err != nil {
		return false, err
	}
	same, err := o.same(ctx, f)
	return same, errors.Join(err, f.Close())
}

// asSFTP names what a server says.
func asSFTP(ctx context.Context, err error) error {
	var network net.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrIdentity), errors.Is(err, ErrSource), errors.Is(err, ErrNoAddress):
		return err
	case errors.Is(err, fs.ErrPermission), strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, sftp.ErrSSHFxConnectionLost):
		return fmt.Errorf("%w: %w", ErrNoAddress, err)
	}
	return err
}
