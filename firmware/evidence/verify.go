package evidence

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"sekisho/firmware/ledger"
)

// VerifyOptions says whom to trust. The zero value trusts whoever signed.
type VerifyOptions struct {
	// Key is a verifier key ("name+hash+base64") or its fingerprint. Without it
	// the signer is self-asserted: compare the fingerprint with the device.
	Key string
	// OldCheckpoint is a checkpoint that was kept from the same device earlier;
	// the bundle's must not be older, nor differ at the same size.
	OldCheckpoint []byte
	// Identities decrypt a .tar.age.
	Identities []age.Identity
	// TimestampRoots are the roots of time-stamping authorities that are trusted.
	// Without them a time-stamp is checked, but proves only what its issuer says.
	TimestampRoots *x509.CertPool
}

// Report says what a verified bundle is.
type Report struct {
	Path        string         `json:"path"`
	ID          string         `json:"id"`
	Incident    string         `json:"incident"`
	Signer      string         `json:"signer"`
	Key         string         `json:"key"`
	Fingerprint string         `json:"fingerprint"`
	Trusted     bool           `json:"trusted"` // the signer is the one that was asked for
	Sealed      time.Time      `json:"sealed"`
	First       time.Time      `json:"first,omitzero"`
	Last        time.Time      `json:"last,omitzero"`
	Packets     uint64         `json:"packets"`
	Bytes       uint64         `json:"bytes"` // captured bytes
	Entry       int64          `json:"ledger_entry"`
	LedgerSize  int64          `json:"ledger_size"`
	Entries     []ledger.Entry `json:"-"` // the extract, oldest first
	Files       []ReportFile   `json:"files"`
}

// ReportFile is one file of the bag.
type ReportFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// FileError names the first broken file of a bag.
type FileError struct {
	File   string
	Reason error
}

func (e *FileError) Error() string { return e.File + ": " + e.Reason.Error() }

func (e *FileError) Unwrap() error { return e.Reason }

func broken(file, format string, args ...any) error {
	return &FileError{File: file, Reason: fmt.Errorf(format, args...)}
}

// Verify checks the bag at dir completely: the signature, every hash, that no
// file is missing or extra, the ledger extract against its checkpoint, and the
// packets to the last one. Its error is a *FileError where a file is to blame.
func Verify(dir string, o VerifyOptions) (Report, error) {
	v := verifier{dir: dir, options: o, sums: map[string]string{}}
	if err := v.run(); err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", dir, err)
	}
	return v.report, nil
}

type verifier struct {
	dir     string
	options VerifyOptions
	sums    map[string]string // as the manifests say
	meta    seal
	key     note.Verifier
	report  Report
}

func (v *verifier) run() error {
	steps := []func() error{v.exactFiles, v.signature, v.manifests, v.payload, v.oxum, v.ledger, v.packets}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	m := v.meta
	v.report.Path, v.report.ID, v.report.Incident = v.dir, m.ID, m.Incident
	v.report.Signer, v.report.Key, v.report.Fingerprint = v.key.Name(), m.Key, ledger.Fingerprint(m.Key)
	v.report.Sealed, v.report.First, v.report.Last = m.Sealed, m.First, m.Last
	v.report.Packets, v.report.Bytes, v.report.Entry = m.Packets, m.Bytes, m.Entry
	return nil
}

func (v *verifier) file(name string) string { return filepath.Join(v.dir, filepath.FromSlash(name)) }

// small reads a file that is held in memory whole.
func (v *verifier) small(name string) ([]byte, error) {
	f, err := os.Open(v.file(name))
	if err != nil {
		return nil, &FileError{name, err}
	}
	defer f.Close()
	const limit = 64 << 20
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, &FileError{name, err}
	}
	if len(data) > limit {
		return nil, broken(name, "longer than %d bytes", limit)
	}
	return data, nil
}

// exactFiles allows exactly the files of a bundle: no more, no links.
func (v *verifier) exactFiles() error {
	want := slices.Concat(payloadFiles, tagFiles, []string{tagManifestFile, signatureFile})
	slices.Sort(want)
	info, err := os.Lstat(v.dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("not a folder")
	}
	seen := map[string]bool{}
	err = filepath.WalkDir(v.dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(v.dir, path)
		name := filepath.ToSlash(rel)
		switch {
		case err != nil:
			return &FileError{name, err}
		case d.IsDir():
			if name != "." && name != "data" && name != "ledger" {
				return broken(name, "this folder does not belong to the bundle")
			}
			return nil
		case !d.Type().IsRegular():
			return broken(name, "not a regular file")
		case !slices.Contains(want, name):
			return broken(name, "this file does not belong to the bundle")
		}
		seen[name] = true
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range want {
		if !seen[name] {
			return broken(name, "missing")
		}
	}
	return nil
}

func (v *verifier) signature() error {
	data, err := v.small(signatureFile)
	if err != nil {
		return err
	}
	if v.meta, err = openSeal(data, nil); err != nil {
		return broken(signatureFile, "the signature does not hold: %w", err)
	}
	if v.key, err = note.NewVerifier(v.meta.Key); err != nil {
		return &FileError{signatureFile, err}
	}
	if want := v.options.Key; want != "" {
		if want != v.meta.Key && want != ledger.Fingerprint(v.meta.Key) {
			return broken(signatureFile, "signed by %s (%s), which is not the trusted key", v.key.Name(), ledger.Fingerprint(v.meta.Key))
		}
		v.report.Trusted = true
	}
	return nil
}

func (v *verifier) manifests() error {
	data, err := v.small(tagManifestFile)
	if err != nil {
		return err
	}
	if hexSum(data) != v.meta.TagManifest {
		return broken(tagManifestFile, "it is not the one that was signed")
	}
	if err := v.parse(tagManifestFile, data, tagFiles); err != nil {
		return err
	}
	for _, name := range tagFiles {
		if err := v.check(name); err != nil {
			return err
		}
	}
	if data, err = v.small(manifestFile); err != nil {
		return err
	}
	if text, err := v.small("bagit.txt"); err != nil || string(text) != bagitText {
		return broken("bagit.txt", "not the declaration of a BagIt 1.0 bag")
	}
	return v.parse(manifestFile, data, payloadFiles)
}

// parse takes a manifest that names exactly want, in order.
func (v *verifier) parse(name string, data []byte, want []string) error {
	lines := strings.Split(string(data), "\n")
	if len(lines) != len(want)+1 || lines[len(want)] != "" {
		return broken(name, "it lists %d files, a bundle has %d", len(lines)-1, len(want))
	}
	for i, line := range lines[:len(want)] {
		sum, file, _ := strings.Cut(line, "  ")
		if file != want[i] || len(sum) != 2*sha256.Size {
			return broken(name, "line %d is not about %s", i+1, want[i])
		}
		v.sums[file] = sum
	}
	return nil
}

func (v *verifier) check(name string) error {
	f, err := os.Open(v.file(name))
	if err != nil {
		return &FileError{name, err}
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return &FileError{name, err}
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if sum != v.sums[name] {
		return broken(name, "it was changed: SHA-256 is %s, not %s", sum, v.sums[name])
	}
	v.report.Files = append(v.report.Files, ReportFile{Name: name, Size: n, SHA256: sum})
	return nil
}

func (v *verifier) payload() error {
	for _, name := range payloadFiles {
		if err := v.check(name); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) oxum() error {
	data, err := v.small("bag-info.txt")
	if err != nil {
		return err
	}
	var total int64
	for _, f := range v.report.Files {
		if strings.HasPrefix(f.Name, "data/") {
			total += f.Size
		}
	}
	for _, want := range []string{fmt.Sprintf("\nPayload-Oxum: %d.%d\n", total, len(payloadFiles)), "\nExternal-Identifier: " + v.meta.ID + "\n"} {
		if !strings.Contains(string(data), want) {
			return broken("bag-info.txt", "it does not say %q", strings.TrimSpace(want))
		}
	}
	return nil
}

// ledger checks every entry of the extract against the checkpoint, and that
// the last one is the seal of this very manifest.
func (v *verifier) ledger() error {
	signed, err := v.small(checkpointFile)
	if err != nil {
		return err
	}
	c, err := ledger.ParseCheckpoint(signed, v.key)
	if err != nil {
		return &FileError{checkpointFile, err}
	}
	if err := v.older(c); err != nil {
		return &FileError{checkpointFile, err}
	}
	v.report.LedgerSize = c.Size
	data, err := v.small(ledgerFile)
	if err != nil {
		return err
	}
	next := int64(-1)
	for line := range bytes.Lines(data) {
		var p provenEntry
		if err := json.Unmarshal(line, &p); err != nil {
			return &FileError{ledgerFile, err}
		}
		if next >= 0 && p.Index != next {
			return broken(ledgerFile, "entry %d follows %d", p.Index, next-1)
		}
		next = p.Index + 1
		if err := ledger.CheckInclusion(p.Proof, c, p.Index, []byte(p.Record)); err != nil {
			return &FileError{ledgerFile, err}
		}
		e, err := ledger.ParseEntry([]byte(p.Record))
		if err != nil {
			return &FileError{ledgerFile, err}
		}
		v.report.Entries = append(v.report.Entries, e)
	}
	if next != v.meta.Entry+1 {
		return broken(ledgerFile, "the entry of the seal is missing")
	}
	last := v.report.Entries[len(v.report.Entries)-1]
	manifest, err := v.small(manifestFile)
	if err != nil {
		return err
	}
	if last.Action != "bundle.seal" || last.Subject != v.meta.ID || last.Detail["manifest_sha256"] != hexSum(manifest) {
		return broken(ledgerFile, "entry %d is not the seal of this bundle", v.meta.Entry)
	}
	return nil
}

// older holds the checkpoint against one that was kept before. A proof that the
// ledger only grew in between needs the device; without it a shrunken ledger
// and a rewritten one of the same size are noticed.
func (v *verifier) older(c ledger.Checkpoint) error {
	if len(v.options.OldCheckpoint) == 0 {
		return nil
	}
	old, err := ledger.ParseCheckpoint(v.options.OldCheckpoint, v.key)
	if err != nil {
		return fmt.Errorf("the older one: %w", err)
	}
	if old.Size > c.Size {
		return fmt.Errorf("the ledger had %d entries before and %d now: %w", old.Size, c.Size, ledger.ErrTampered)
	}
	if old.Size == c.Size && old.Root != c.Root {
		return fmt.Errorf("another ledger of the same %d entries: %w", c.Size, ledger.ErrTampered)
	}
	return nil
}

func (v *verifier) packets() error {
	const name = "data/host.pcapng"
	facts, err := readPcapFile(v.file(name))
	if err != nil {
		return &FileError{name, err}
	}
	m := v.meta
	if facts.Packets != m.Packets || facts.Bytes != m.Bytes || !facts.First.Equal(m.First) || !facts.Last.Equal(m.Last) {
		return broken(name, "%d packets of %d bytes, signed were %d of %d", facts.Packets, facts.Bytes, m.Packets, m.Bytes)
	}
	return nil
}

// pcapFacts is what a capture file holds.
type pcapFacts struct {
	Packets, Bytes uint64
	First, Last    time.Time
}

func readPcapFile(path string) (pcapFacts, error) {
	f, err := os.Open(path)
	if err != nil {
		return pcapFacts{}, err
	}
	defer f.Close()
	w := newWalker(f)
	if kind, _, err := w.next(); err != nil || kind != kindSHB {
		return pcapFacts{}, errors.New("not a pcapng file")
	}
	x := newIndex()
	x.overflow = true // addresses do not matter here
	if _, err := x.blocks(w); err != io.EOF {
		return pcapFacts{}, err
	}
	out := pcapFacts{Packets: x.packets, Bytes: x.bytes}
	if x.packets > 0 {
		out.First, out.Last = time.Unix(0, x.first).UTC(), time.Unix(0, x.last).UTC()
	}
	return out, nil
}
