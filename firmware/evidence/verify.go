package evidence

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
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
	Drill       bool           `json:"drill,omitempty"` // of an exercise: nothing of it was real but the handling
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
	Timestamp   *Timestamp     `json:"timestamp,omitempty"`
	Entries     []ledger.Entry `json:"-"` // the extract, oldest first; see ledger.ActionRedacted
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

// Verify checks a bundle completely: the signature, every hash, that no file is
// missing or extra, the ledger extract against its checkpoint, the packets to
// the last one, and the time-stamp when there is one. path is the bag's folder
// or its package; of a package every byte counts, and nothing is unpacked to
// disk. Its error is a *FileError where a file is to blame.
func Verify(path string, o VerifyOptions) (Report, error) {
	src, err := openSource(path, o.Identities)
	if err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", path, err)
	}
	defer src.Close()
	v := verifier{src: src, options: o, sums: map[string]string{}}
	if err := v.run(); err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", path, err)
	}
	v.report.Path = path
	return v.report, nil
}

type verifier struct {
	src     source
	options VerifyOptions
	sums    map[string]string // as the manifests say
	meta    seal
	facts   pcapFacts
	key     note.Verifier
	report  Report
}

func (v *verifier) run() error {
	steps := []func() error{v.src.exact, v.signature, v.timestamp, v.manifests, v.payload, v.oxum, v.ledger, v.packets}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	m := v.meta
	v.report.ID, v.report.Incident = m.ID, m.Incident
	v.report.Signer, v.report.Key, v.report.Fingerprint = v.key.Name(), m.Key, ledger.Fingerprint(m.Key)
	v.report.Sealed, v.report.First, v.report.Last = m.Sealed, m.First, m.Last
	v.report.Packets, v.report.Bytes, v.report.Entry = m.Packets, m.Bytes, m.Entry
	return nil
}

// small reads a file that is held in memory whole.
func (v *verifier) small(name string) ([]byte, error) {
	f, err := v.src.open(name)
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
	if err := v.src.matches(v.meta); err != nil {
		return err
	}
	if want := v.options.Key; want != "" {
		if want != v.meta.Key && want != ledger.Fingerprint(v.meta.Key) {
			return broken(signatureFile, "signed by %s (%s), which is not the trusted key", v.key.Name(), ledger.Fingerprint(v.meta.Key))
		}
		v.report.Trusted = true
	}
	return nil
}

func (v *verifier) timestamp() error {
	switch there, meant := v.src.stamped(), v.meta.Timestamp == Timestamped; {
	case there && !meant:
		return broken(timestampFile, "this file does not belong to the bundle")
	case !there && meant:
		return broken(timestampFile, "missing")
	case !there:
		return nil
	}
	signed, err := v.small(signatureFile)
	if err != nil {
		return err
	}
	data, err := v.small(timestampFile)
	if err != nil {
		return err
	}
	t, err := openTimestamp(data, signed, v.key)
	if err != nil {
		return &FileError{timestampFile, err}
	}
	v.report.Timestamp = &Timestamp{Time: t.info.Time, Authority: t.signer.Subject.String()}
	if roots := v.options.TimestampRoots; roots != nil {
		if err := t.trusted(roots); err != nil {
			return broken(timestampFile, "%s is not a trusted authority: %w", t.signer.Subject, err)
		}
		v.report.Timestamp.Trusted = true
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

// check reads a file once: for its hash, and what is in it when it is packets.
func (v *verifier) check(name string) error {
	f, err := v.src.open(name)
	if err != nil {
		return &FileError{name, err}
	}
	defer f.Close()
	sum := &countedHash{w: io.Discard, h: sha256.New()}
	var malformed error
	if name == packetsFile {
		v.facts, malformed = readPcap(io.TeeReader(f, sum))
	}
	if _, err := io.Copy(sum, f); err != nil {
		return &FileError{name, err}
	}
	hash := hex.EncodeToString(sum.h.Sum(nil))
	if hash != v.sums[name] {
		return broken(name, "it was changed: SHA-256 is %s, not %s", hash, v.sums[name])
	}
	if malformed != nil {
		return &FileError{name, malformed}
	}
	v.report.Files = append(v.report.Files, ReportFile{Name: name, Size: sum.n, SHA256: hash})
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
	v.report.Drill = strings.HasSuffix(string(data), "\n"+drillInfo)
	return nil
}

func (v *verifier) packets() error {
	m, facts := v.meta, v.facts
	if facts.Packets != m.Packets || facts.Bytes != m.Bytes || !facts.First.Equal(m.First) || !facts.Last.Equal(m.Last) {
		return broken(packetsFile, "%d packets of %d bytes, signed were %d of %d", facts.Packets, facts.Bytes, m.Packets, m.Bytes)
	}
	return nil
}
