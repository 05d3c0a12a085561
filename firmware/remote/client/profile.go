package client

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sekisho/firmware/durable"
	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

// The files of a profile.
const (
	factsFile      = "profile.json"
	keyFile        = "client.key"
	certFile       = "client.crt"
	checkpointFile = "checkpoint" // signed; the newest that was verified
	seenFile       = "seen.json"  // the incidents of the last look
	lockFile       = "lock"
)

const profileVersion = 1

// Facts is profile.json: what was agreed at the enrolment. Nothing in it, and
// nothing of the second factor anywhere in the profile, is secret but client.key.
type Facts struct {
	Version   int       `json:"version"`
	Office    string    `json:"office"`
	Vendor    string    `json:"vendor"` // id of this enrolment at the gateway
	Name      string    `json:"name"`
	Address   string    `json:"address"`    // host:port
	ServerPin string    `json:"server_pin"` // of the gateway's TLS key, as curl's --pinnedpubkey takes it
	DeviceKey string    `json:"device_key"` // verifier key of bundles and checkpoints
	Enrolled  time.Time `json:"enrolled"`
}

// Profile is one enrolment on this computer's disk.
type Profile struct {
	Facts
	Dir    string
	pin    wire.Pin
	cert   tls.Certificate
	device note.Verifier
}

// DefaultHome is the folder of the profiles: the user's configuration folder,
// where the system keeps one for each user.
func DefaultHome() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the profiles: %w", err)
	}
	return filepath.Join(dir, "sekisho"), nil
}

// OpenProfile reads the profile name in home. Its error wraps ErrNoProfile when
// there is none.
func OpenProfile(home, name string) (*Profile, error) {
	if !validName(name) {
		return nil, fmt.Errorf("open profile %q: %w", name, ErrName)
	}
	p := &Profile{Dir: filepath.Join(home, name)}
	if err := p.load(); err != nil {
		return nil, fmt.Errorf("open profile %s: %w", p.Dir, err)
	}
	return p, nil
}

func (p *Profile) load() error {
	data, err := os.ReadFile(filepath.Join(p.Dir, factsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoProfile
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &p.Facts); err != nil {
		return fmt.Errorf("%s: %w", factsFile, err)
	}
	if p.Version != profileVersion {
		return fmt.Errorf("%s: version %d is not of this sekishoctl", factsFile, p.Version)
	}
	if _, _, err := net.SplitHostPort(p.Address); err != nil {
		return fmt.Errorf("%s: %w", factsFile, err)
	}
	if p.pin, err = parsePin(p.ServerPin); err != nil {
		return fmt.Errorf("%s: %w", factsFile, err)
	}
	if p.device, err = note.NewVerifier(p.DeviceKey); err != nil {
		return fmt.Errorf("%s: device key: %w", factsFile, err)
	}
	p.cert, err = tls.LoadX509KeyPair(p.CertFile(), p.KeyFile())
	return err
}

// CertFile is the client certificate's path, PEM.
func (p *Profile) CertFile() string { return filepath.Join(p.Dir, certFile) }

// KeyFile is the client key's path, PEM.
func (p *Profile) KeyFile() string { return filepath.Join(p.Dir, keyFile) }

// Checkpoint is the newest signed checkpoint that was verified.
func (p *Profile) Checkpoint() ([]byte, error) {
	return os.ReadFile(filepath.Join(p.Dir, checkpointFile))
}

// kept is Checkpoint, parsed.
func (p *Profile) kept() ([]byte, ledger.Checkpoint, error) {
	signed, err := p.Checkpoint()
	if err != nil {
		return nil, ledger.Checkpoint{}, err
	}
	c, err := ledger.ParseCheckpoint(signed, p.device)
	if err != nil {
		return nil, ledger.Checkpoint{}, fmt.Errorf("kept %w", err)
	}
	return signed, c, nil
}

// parsePin reads wire.Pin's Curl form.
func parsePin(text string) (wire.Pin, error) {
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "sha256//"))
	if err != nil || len(sum) != len(wire.Pin{}) || wire.Pin(sum).Curl() != text {
		return wire.Pin{}, errors.New("server_pin is not sha256//…")
	}
	return wire.Pin(sum), nil
}

// lock keeps a second sekishoctl from changing the profile meanwhile.
func (p *Profile) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(p.Dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockWait(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // the system drops the lock with the file
}

// create writes a whole profile beside its place and moves it there, so that
// there is never half of one.
func (p *Profile) create(certPEM, keyPEM, checkpoint []byte) error {
	facts, err := json.MarshalIndent(p.Facts, "", "  ")
	if err != nil {
		return err
	}
	home := filepath.Dir(p.Dir)
	tmp, err := os.MkdirTemp(home, draftPrefix)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{keyFile, keyPEM}, {certFile, certPEM}, {checkpointFile, checkpoint}, {factsFile, append(facts, '\n')}} {
		if err := durable.WriteFile(filepath.Join(tmp, f.name), f.data, 0o600); err != nil {
			return errors.Join(err, os.RemoveAll(tmp))
		}
	}
	if err := os.Rename(tmp, p.Dir); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return durable.SyncDir(home)
}

// draftPrefix marks a profile that is not whole yet. validName refuses it.
const draftPrefix = ".enrol-"

// removeDrafts takes away what a run left that was killed long ago.
func removeDrafts(home string, now time.Time) {
	entries, _ := os.ReadDir(home)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), draftPrefix) && now.Sub(info.ModTime()) > time.Hour {
			_ = os.RemoveAll(filepath.Join(home, e.Name())) // it harms nobody
		}
	}
}

// validName says whether s may be a file's name everywhere: it is also the form
// of every id that the gateway gives.
func validName(s string) bool {
	const also = "._-"
	if s == "" || len(s) > 64 || strings.ContainsAny(s[:1], also) || strings.HasSuffix(s, ".") {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(also, r) {
			return false
		}
	}
	return true
}
