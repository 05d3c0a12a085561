package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sekisho/firmware/durable"
)

const (
	deleting        = ".deleting-" // folder names of what is on its way out
	tombstoneSuffix = ".tombstone"
	tombstoneHeader = "sekisho.tombstone/v1"
)

// Tombstone is what stays of a deleted bundle: whoever has a copy can match it
// by TagManifest, the SHA-256 of its tagmanifest-sha256.txt.
type Tombstone struct {
	ID          string    `json:"id"`
	Incident    string    `json:"incident"`
	Sealed      time.Time `json:"sealed"`
	Packets     uint64    `json:"packets"`
	TagManifest string    `json:"tagmanifest_sha256"`
	By          string    `json:"by"`
	Why         string    `json:"why"`
	Deleted     time.Time `json:"deleted"`
	Entry       int64     `json:"ledger_entry"` // of the deletion

	// Note is the C2SP signed note that says all this.
	Note string `json:"-"`
}

func (t Tombstone) file() string { return t.ID + "." + t.TagManifest[:16] + tombstoneSuffix }

// OpenTombstone verifies the note of a tombstone with the device's verifier key
// ("name+hash+base64") and reads it.
func OpenTombstone(signed []byte, key string) (Tombstone, error) {
	k, err := note.NewVerifier(key)
	if err != nil {
		return Tombstone{}, fmt.Errorf("tombstone: %w", err)
	}
	return openTombstone(signed, k)
}

func openTombstone(signed []byte, k note.Verifier) (Tombstone, error) {
	var t Tombstone
	err := openNote(signed, tombstoneHeader, k, &t)
	if err == nil {
		err = validID(t.ID)
	}
	if err == nil && len(t.TagManifest) != 64 {
		err = errors.New("no hash")
	}
	if err != nil {
		return Tombstone{}, fmt.Errorf("tombstone: %w", err)
	}
	t.Note = string(signed)
	return t, nil
}

// Delete removes a bundle whose hold was lifted, with its package, and leaves a
// tombstone. The ledger has the entry first, then the tombstone is on disk, then
// the bundle goes: what a power cut or an error after the tombstone leaves undone
// is done at the next start or the next call; one before it leaves the bundle,
// and the entry of a deletion that is to be repeated. A bundle under hold is
// ErrHeld; one that was deleted already is no error. It waits for a seal that is
// under way.
//
// What it cannot do: copies elsewhere stay, and the disk overwrites the blocks
// when it likes.
func (v *Vault) Delete(id, by, why string) (Tombstone, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.prepare(); err != nil {
		return Tombstone{}, fmt.Errorf("delete bundle %s: %w", id, err)
	}
	v.finishDeletions()
	t, err := v.delete(id, by, why)
	if errors.Is(err, fs.ErrNotExist) {
		if old, ok := v.tombstoneOf(id); ok {
			return old, nil
		}
	}
	if err != nil {
		return Tombstone{}, fmt.Errorf("delete bundle %s: %w", id, err)
	}
	return t, nil
}

// tombstoneOf is the newest one of that id.
func (v *Vault) tombstoneOf(id string) (t Tombstone, ok bool) {
	all, _ := v.Tombstones() // none, when they cannot be read
	for _, t := range slices.Backward(all) {
		if t.ID == id {
			return t, true
		}
	}
	return Tombstone{}, false
}

func (v *Vault) delete(id, by, why string) (Tombstone, error) {
	if err := checkWords(by, why); err != nil {
		return Tombstone{}, err
	}
	t, err := v.withdraw(id, by, why)
	if err != nil {
		return Tombstone{}, err
	}
	return t, v.clear(id)
}

// withdraw buries and hides a bundle, if its hold is lifted; nobody can put it
// back in between.
func (v *Vault) withdraw(id, by, why string) (Tombstone, error) {
	v.holds.Lock()
	defer v.holds.Unlock()
	m, err := v.sealOf(id)
	if err != nil {
		return Tombstone{}, err
	}
	l, lifted := v.lifted(m)
	if !lifted {
		return Tombstone{}, ErrHeld
	}
	if err := v.stillLifted(l); err != nil {
		return Tombstone{}, err
	}
	t, err := v.bury(m, by, why)
	if err != nil {
		return Tombstone{}, err
	}
	return t, v.takeAway(id)
}

// bury writes the ledger entry and the tombstone.
func (v *Vault) bury(m seal, by, why string) (Tombstone, error) {
	t := Tombstone{ID: m.ID, Incident: m.Incident, Sealed: m.Sealed, Packets: m.Packets, TagManifest: m.TagManifest,
		By: by, Why: why, Deleted: v.c.Now().UTC()}
	var err error
	t.Entry, err = v.record("bundle.delete", m.ID, by, map[string]any{"incident": m.Incident, "sealed": m.Sealed,
		"tagmanifest_sha256": m.TagManifest, "packets": m.Packets, "why": why})
	if err == nil {
		err = v.step("entry")
	}
	if err == nil {
		t.Note, err = v.writeNote(t.file(), tombstoneHeader, t)
	}
	if err == nil {
		err = v.step("tombstone")
	}
	return t, err
}

// takeAway hides the bundle in one step.
func (v *Vault) takeAway(id string) error {
	hidden := filepath.Join(v.dir, deleting+id)
	if err := removeSealed(hidden); err != nil {
		return named(err)
	}
	if err := os.Rename(filepath.Join(v.dir, id), hidden); err != nil {
		return named(err)
	}
	if err := durable.SyncDir(v.dir); err != nil {
		return named(err)
	}
	return v.step("hidden")
}

// clear removes what a hidden bundle leaves: itself, and its package and the
// lifted hold, unless another bundle has the id by now. It may be repeated.
func (v *Vault) clear(id string) error {
	if err := removeSealed(filepath.Join(v.dir, deleting+id)); err != nil {
		return named(err)
	}
	if err := v.step("removed"); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(v.dir, id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := v.removePackage(id); err != nil {
		return named(err)
	}
	if err := os.Remove(v.retentionPath(id + liftSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return named(err)
	}
	return v.step("cleared")
}

// Tombstones returns what was deleted, oldest first. One that cannot be read is
// logged; one whose bundle is there, because its hold was put back just in time
// or a copy was, is left out.
func (v *Vault) Tombstones() ([]Tombstone, error) {
	all, err := v.tombstones()
	if err != nil {
		return nil, fmt.Errorf("list tombstones: %w", err)
	}
	all = slices.DeleteFunc(all, func(t Tombstone) bool {
		m, err := v.sealOf(t.ID)
		return err == nil && m.TagManifest == t.TagManifest
	})
	slices.SortFunc(all, func(a, b Tombstone) int { return a.Deleted.Compare(b.Deleted) })
	return all, nil
}

func (v *Vault) tombstones() ([]Tombstone, error) {
	entries, err := os.ReadDir(v.retentionPath(""))
	if _, away := os.Stat(v.dir); away == nil && errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing was deleted yet
	}
	if err != nil {
		return nil, named(err)
	}
	var out []Tombstone
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), tombstoneSuffix) {
			continue
		}
		var t Tombstone
		signed, err := v.noteBytes(e.Name())
		if err == nil {
			t, err = openTombstone(signed, v.c.Ledger.Key().Verifier())
		}
		if err != nil {
			v.c.Logger.Warn("tombstone cannot be read", "file", e.Name(), "error", err)
			continue
		}
		out = append(out, t)
	}
	return out, nil
}

// finishDeletions makes up for a power cut. A bundle goes only while the note
// that its hold was lifted is there. What does not work is logged and done at
// the next start: sealing must not wait for it. It wants mu held.
func (v *Vault) finishDeletions() {
	all, err := v.tombstones()
	for _, t := range all {
		err = errors.Join(err, v.finishDeletion(t))
	}
	if err != nil {
		v.c.Logger.Error("a deleted bundle could not be removed to its end", "error", err)
	}
}

func (v *Vault) finishDeletion(t Tombstone) error {
	if stays, err := v.withdrawAgain(t); stays || err != nil {
		return err
	}
	return v.clear(t.ID)
}

// withdrawAgain hides the bundle of a tombstone, unless its hold was put back.
func (v *Vault) withdrawAgain(t Tombstone) (stays bool, err error) {
	v.holds.Lock()
	defer v.holds.Unlock()
	m, err := v.sealOf(t.ID)
	if err != nil || m.TagManifest != t.TagManifest {
		return false, nil // it is hidden already, or another has the id
	}
	l, lifted := v.lifted(m)
	if !lifted || v.stillLifted(l) != nil {
		return true, nil
	}
	return false, v.takeAway(t.ID)
}

// Kept returns what retention has to know of every bundle, by id. One that
// cannot be read counts as held.
func (v *Vault) Kept() ([]KeptBundle, error) {
	ids, err := v.folders()
	if err != nil {
		return nil, fmt.Errorf("list kept bundles: %w", err)
	}
	out := make([]KeptBundle, len(ids))
	for n, id := range ids {
		out[n] = KeptBundle{ID: id, Held: true, Size: v.sizeOf(id)}
		m, err := v.sealOf(id)
		if err != nil {
			v.c.Logger.Warn("bundle cannot be read and is kept", "error", err)
			continue
		}
		_, lifted := v.lifted(m)
		out[n].Incident, out[n].Sealed, out[n].Timed, out[n].Held = m.Incident, m.Sealed, v.timed(id), !lifted
	}
	return out, nil
}

// sizeOf is the bundle's size with its package; what cannot be read is nothing.
func (v *Vault) sizeOf(id string) int64 {
	var total int64
	add := func(info fs.FileInfo, err error) {
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	_ = filepath.WalkDir(filepath.Join(v.dir, id), func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			add(d.Info())
		}
		return nil
	})
	for _, path := range v.packageFiles(id) {
		add(os.Lstat(path))
	}
	return total
}

// timed says that the clock was synchronised when the bundle was sealed.
func (v *Vault) timed(id string) bool {
	var c Completeness
	data, err := os.ReadFile(filepath.Join(v.dir, id, "data", "completeness.json"))
	return err == nil && json.Unmarshal(data, &c) == nil && c.ClockSynced
}
