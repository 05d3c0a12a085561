package ledger

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"sekisho/firmware/durable"
)

// Key is the device's Ed25519 key, which signs checkpoints and bundles. Its
// name, "sekisho-" and eight hex digits, comes from the public key.
type Key struct {
	signer   note.Signer
	verifier note.Verifier
	public   string
}

// LoadOrCreateKey reads the key at path, or makes one there, mode 0600. A key
// that others may read, or a damaged one, is an error: replacing it silently
// would orphan everything that it signed.
func LoadOrCreateKey(path string) (*Key, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = createKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("device key %s: mode %o lets others read it; run chmod 600 on it", path, info.Mode().Perm())
	}
	k, err := parseKey(strings.TrimSuffix(string(data), "\n"))
	if err != nil {
		return nil, fmt.Errorf("device key %s: %w", path, err)
	}
	return k, nil
}

func createKey(path string) ([]byte, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(pub)
	name := "sekisho-" + hex.EncodeToString(id[:4])
	vkey, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	seed := append([]byte{1}, priv.Seed()...) // 1: Ed25519, as in C2SP signed-note
	skey := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s\n", name, v.KeyHash(), base64.StdEncoding.EncodeToString(seed))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return []byte(skey), durable.WriteFile(path, []byte(skey), 0o600)
}

func parseKey(skey string) (*Key, error) {
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, errors.New("not a signing key")
	}
	parts := strings.SplitN(skey, "+", 5) // base64 has "+" of its own
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, errors.New("not an Ed25519 signing key")
	}
	pub := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), pub)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	return &Key{signer: signer, verifier: v, public: vkey}, nil
}

// Name is the key's name.
func (k *Key) Name() string { return k.signer.Name() }

// Public is the verifier key in C2SP form, "name+hash+base64": what a vendor
// keeps and gives to sekishoctl.
func (k *Key) Public() string { return k.public }

// Verifier checks what the key signed.
func (k *Key) Verifier() note.Verifier { return k.verifier }

// Fingerprint is what a person compares with the device's panel.
func (k *Key) Fingerprint() string { return Fingerprint(k.public) }

// Sign returns text (ending in a newline) as a C2SP signed note.
func (k *Key) Sign(text string) ([]byte, error) {
	return note.Sign(&note.Note{Text: text}, k.signer)
}

// Fingerprint shortens a verifier key to 128 bits of its SHA-256, in groups of
// four hex digits. It is empty when vkey is not a key.
func Fingerprint(vkey string) string {
	if _, err := note.NewVerifier(vkey); err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(vkey))
	text := hex.EncodeToString(sum[:16])
	groups := make([]string, 0, 8)
	for i := 0; i < len(text); i += 4 {
		groups = append(groups, text[i:i+4])
	}
	return strings.Join(groups, "-")
}
