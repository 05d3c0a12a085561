package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sekisho/firmware/durable"
	"sekisho/firmware/ledger"
)

// retentionFolder, in the vault, holds a signed note for each lifted hold
// (ID.lift) and for each bundle that was deleted (ID.HASH.tombstone).
const (
	retentionFolder = ".retention"
	liftSuffix      = ".lift"
	liftHeader      = "sekisho.lift/v1"
	maxWords        = 512 // bytes of a name or reason that a person gives
	maxNote         = 64 << 10
)

// ErrHeld says that a bundle is under hold: a person has to lift it first.
var ErrHeld = errors.New("the bundle is under hold")

// Hold is whether a bundle may be deleted, and who said so.
type Hold struct {
	ID   string    `json:"id"`
	Held bool      `json:"held"`
	By   string    `json:"by,omitempty"` // who lifted it
	Why  string    `json:"why,omitempty"`
	At   time.Time `json:"at,omitzero"`
}

// lift is the note that a hold was lifted. It names the very bundle, so that
// another one under the same id is held all the same.
type lift struct {
	ID          string    `json:"id"`
	TagManifest string    `json:"tagmanifest_sha256"`
	By          string    `json:"by"`
	Why         string    `json:"why"`
	At          time.Time `json:"at"`
	Entry       int64     `json:"ledger_entry"`
}

// Held says whether the bundle must not be deleted: every bundle, until a person
// lifts its hold. What cannot be read or does not verify counts as held.
func (v *Vault) Held(id string) bool {
	m, err := v.sealOf(id)
	if err != nil {
		return true
	}
	_, lifted := v.lifted(m)
	return !lifted
}

// Holds returns the hold of every bundle, by id.
func (v *Vault) Holds() ([]Hold, error) {
	bundles, err := v.folders()
	if err != nil {
		return nil, fmt.Errorf("list holds: %w", err)
	}
	out := make([]Hold, len(bundles))
	for n, id := range bundles {
		out[n] = Hold{ID: id, Held: true}
		if m, err := v.sealOf(id); err == nil {
			if l, ok := v.lifted(m); ok {
				out[n] = Hold{ID: id, By: l.By, Why: l.Why, At: l.At}
			}
		}
	}
	return out, nil
}

// SetHold lifts the hold of a bundle, or puts it back. Lifting is in the ledger
// before it takes effect, and no change when it is lifted already and the ledger
// still says so: a purge may have redacted the entry. Putting back
// takes effect even when the ledger does not take the entry, and the error says
// so; it is recorded every time, so that no earlier lift counts any more. by and
// why are at most 512 bytes; lifting needs both. It waits for no seal.
func (v *Vault) SetHold(id string, on bool, by, why string) error {
	v.holds.Lock()
	defer v.holds.Unlock()
	m, err := v.sealOf(id)
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	if on {
		err = v.putBack(m, by, why)
	} else if err = checkWords(by, why); err == nil {
		err = v.lift(m, by, why)
	}
	if err != nil {
		return fmt.Errorf("hold of bundle %s: %w", id, err)
	}
	return nil
}

func (v *Vault) lift(m seal, by, why string) error {
	if l, lifted := v.lifted(m); lifted && v.stillLifted(l) == nil {
		return nil
	}
	l := lift{ID: m.ID, TagManifest: m.TagManifest, By: by, Why: why, At: v.c.Now().UTC()}
	var err error
	if l.Entry, err = v.record("bundle.lift", m.ID, by, map[string]any{"why": why}); err != nil {
		return err
	}
	if err := v.step("lift"); err != nil {
		return err
	}
	_, err = v.writeNote(m.ID+liftSuffix, liftHeader, l)
	return err
}

func (v *Vault) putBack(m seal, by, why string) error {
	path := v.retentionPath(m.ID + liftSuffix)
	err := os.Remove(path)
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return named(err)
	}
	_, err = v.record("bundle.hold", m.ID, by, map[string]any{"why": why})
	return err
}

func (v *Vault) record(action, id, by string, detail map[string]any) (int64, error) {
	return v.c.Ledger.Append(ledger.Entry{Time: v.c.Now().UTC(), Actor: by, Action: action, Subject: id, Detail: detail})
}

// lifted reads the note, and takes it only for this very bundle.
func (v *Vault) lifted(m seal) (lift, bool) {
	var l lift
	signed, err := v.noteBytes(m.ID + liftSuffix)
	if err == nil {
		err = openNote(signed, liftHeader, v.c.Ledger.Key().Verifier(), &l)
	}
	return l, err == nil && l.ID == m.ID && l.TagManifest == m.TagManifest
}

// stillLifted holds the note against the ledger: an old one that came back, with
// a restored folder for instance, does not undo a hold that was put back.
func (v *Vault) stillLifted(l lift) error {
	const many = 512
	for from, size := l.Entry, v.c.Ledger.Size(); from < size; from += many {
		entries, err := v.c.Ledger.Entries(from, min(from+many, size))
		if err != nil {
			return err
		}
		for n, e := range entries {
			first := from+int64(n) == l.Entry
			if first && (e.Action != "bundle.lift" || e.Subject != l.ID) {
				return fmt.Errorf("%w: ledger entry %d does not lift it", ErrHeld, l.Entry)
			}
			if e.Action == "bundle.hold" && e.Subject == l.ID {
				return fmt.Errorf("%w: ledger entry %d puts it back", ErrHeld, from+int64(n))
			}
		}
	}
	if l.Entry < 0 || l.Entry >= v.c.Ledger.Size() {
		return fmt.Errorf("%w: the ledger does not know that it was lifted", ErrHeld)
	}
	return nil
}

// sealOf reads the signature of the bundle in that folder.
func (v *Vault) sealOf(id string) (seal, error) {
	if err := validID(id); err != nil {
		return seal{}, err
	}
	data, err := os.ReadFile(filepath.Join(v.dir, id, signatureFile))
	if err != nil {
		return seal{}, fmt.Errorf("bundle %s: %w", id, err)
	}
	m, err := openSeal(data, v.c.Ledger.Key().Verifier())
	if err == nil && m.ID != id {
		err = fmt.Errorf("it is bundle %q", m.ID)
	}
	if err != nil {
		return seal{}, fmt.Errorf("bundle %s: %w", id, err)
	}
	return m, nil
}

// folders are the names of the bundles, readable or not.
func (v *Vault) folders() ([]string, error) {
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return nil, named(err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && validID(e.Name()) == nil {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

func (v *Vault) retentionPath(name string) string {
	return filepath.Join(v.dir, retentionFolder, name)
}

// writeNote publishes a statement, one line of JSON under a header, signed with
// the device's key, and returns the note.
func (v *Vault) writeNote(name, header string, statement any) (string, error) {
	line, err := json.Marshal(statement)
	if err != nil {
		return "", err
	}
	signed, err := v.c.Ledger.Key().Sign(header + "\n" + string(line) + "\n")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(v.retentionPath(""), 0o755); err != nil {
		return "", named(err)
	}
	if err := durable.SyncDir(v.dir); err != nil {
		return "", named(err)
	}
	if err := durable.WriteFile(v.retentionPath(name), signed, 0o644); err != nil {
		return "", named(err)
	}
	return string(signed), nil
}

// noteBytes reads a note; nobody writes one longer than maxNote.
func (v *Vault) noteBytes(name string) ([]byte, error) {
	f, err := os.Open(v.retentionPath(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxNote))
}

func openNote(signed []byte, header string, key note.Verifier, into any) error {
	text, err := ledger.OpenNote(signed, key)
	if err != nil {
		return err
	}
	line, ok := strings.CutPrefix(text, header+"\n")
	if !ok {
		return fmt.Errorf("not a note of %s", header)
	}
	return json.Unmarshal([]byte(line), into)
}

// checkWords wants to know who and why.
func checkWords(by, why string) error {
	for _, text := range []string{by, why} {
		if strings.TrimSpace(text) == "" || len(text) > maxWords {
			return fmt.Errorf("who and why have to be said, in at most %d bytes each", maxWords)
		}
	}
	return nil
}
