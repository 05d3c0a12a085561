package evidence

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sekisho/firmware/durable"
	"sekisho/firmware/ledger"
)

// Files of a bag (RFC 8493) that are not payload.
const (
	bagitText       = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
	manifestFile    = "manifest-sha256.txt"
	tagManifestFile = "tagmanifest-sha256.txt"
	signatureFile   = "signature.note"
	timestampFile   = "signature.tsr" // the one file that may be missing; it covers the signature
	ledgerFile      = "ledger/entries.jsonl"
	checkpointFile  = "ledger/checkpoint"
	packetsFile     = "data/host.pcapng"
	sealHeader      = "sekisho.bundle/v1"
)

var payloadFiles = []string{"data/assets.json", "data/completeness.json", "data/findings.jsonl", "data/flows.jsonl",
	packetsFile, "data/incident.json", "data/report.html"}

var tagFiles = []string{"bag-info.txt", "bagit.txt", checkpointFile, ledgerFile, manifestFile}

// provenEntry is one line of the ledger extract.
type provenEntry struct {
	Index  int64            `json:"index"`
	Proof  tlog.RecordProof `json:"proof"`
	Record string           `json:"record"` // as ledger.Lines has it: as hashed or redacted, with its newline
}

// bag writes a bag's files and remembers their hashes.
type bag struct {
	dir   string
	sums  map[string]string // slash path -> hex SHA-256
	sizes map[string]int64
}

func newBag(dir string) *bag {
	return &bag{dir: dir, sums: map[string]string{}, sizes: map[string]int64{}}
}

type countedHash struct {
	w io.Writer
	h hash.Hash
	n int64
}

func (c *countedHash) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.h.Write(p[:n])
	c.n += int64(n)
	return n, err
}

// add writes one file, once: synced, its length checked, read-only.
func (b *bag) add(name string, write func(io.Writer) error) error {
	path := filepath.Join(b.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(f, 256<<10)
	sum := &countedHash{w: buf, h: sha256.New()}
	err = write(sum)
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if info, statErr := f.Stat(); err == nil && statErr == nil && info.Size() != sum.n {
		err = fmt.Errorf("%d bytes written, %d on disk", sum.n, info.Size())
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.sums[name] = hex.EncodeToString(sum.h.Sum(nil))
	b.sizes[name] = sum.n
	return nil
}

func (b *bag) addBytes(name string, data []byte) error {
	return b.add(name, func(w io.Writer) error { _, err := w.Write(data); return err })
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (b *bag) manifest(prefix string) []byte {
	return b.lines(func(name string) bool { return strings.HasPrefix(name, prefix) })
}

func (b *bag) tagManifest() []byte {
	return b.lines(func(name string) bool { return !strings.HasPrefix(name, "data/") })
}

// lines is the form that sha256sum -c reads too.
func (b *bag) lines(take func(string) bool) []byte {
	var names []string
	for name := range b.sums {
		if take(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []byte
	for _, name := range names {
		out = fmt.Appendf(out, "%s  %s\n", b.sums[name], name)
	}
	return out
}

// drillInfo is the last line of bag-info.txt of an exercise.
const drillInfo = "Sekisho-Drill: yes\n"

func (b *bag) info(m seal, software string, drill bool) []byte {
	var total int64
	var files int
	for name, n := range b.sizes {
		if strings.HasPrefix(name, "data/") {
			total += n
			files++
		}
	}
	clean := strings.NewReplacer("\n", " ", "\r", " ")
	info := fmt.Appendf(nil, "Bag-Software-Agent: %s\nBagging-Date: %s\nExternal-Identifier: %s\nPayload-Oxum: %d.%d\nSekisho-Incident: %s\n",
		clean.Replace(software), m.Sealed.Format(time.DateOnly), m.ID, total, files, clean.Replace(m.Incident))
	if drill {
		info = append(info, drillInfo...)
	}
	return info
}

// freeze makes the folders read-only and durable, from the inside out.
func freeze(dir string) error {
	var folders []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Reverse(folders)
	for _, path := range folders {
		if err := durable.SyncDir(path); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o555); err != nil {
			return err
		}
	}
	return nil
}

// seal is the text that the device signs.
type seal struct {
	ID, Incident, Key, TagManifest string
	Packets, Bytes                 uint64
	First, Last, Sealed            time.Time
	Entry                          int64
	Timestamp                      TimestampState
}

func (m seal) bundle() Bundle {
	return Bundle{ID: m.ID, Sealed: m.Sealed, Packets: m.Packets, Bytes: m.Bytes, First: m.First, Last: m.Last, Entry: m.Entry,
		Timestamp: m.Timestamp}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (m seal) text() string {
	text := fmt.Sprintf("%s\nid %s\nincident %q\nkey %s\npackets %d\nbytes %d\nfirst %s\nlast %s\nsealed %s\nledger-entry %d\ntagmanifest-sha256 %s\n",
		sealHeader, m.ID, m.Incident, m.Key, m.Packets, m.Bytes, stamp(m.First), stamp(m.Last), stamp(m.Sealed), m.Entry, m.TagManifest)
	if m.Timestamp != NoTimestamp {
		text += fmt.Sprintf("timestamp %s\n", m.Timestamp)
	}
	return text
}

// sealFields reads the text without believing it yet.
func sealFields(text string) (seal, error) {
	var m seal
	var first, last, sealed string
	lines := strings.Split(text, "\n")
	if len(lines) < 12 || len(lines) > 13 || lines[0] != sealHeader {
		return m, errors.New("not a bundle's signature")
	}
	if len(lines) == 13 {
		m.Timestamp = TimestampState(strings.TrimPrefix(lines[11], "timestamp "))
		if m.Timestamp != Timestamped && m.Timestamp != TimestampFailed {
			return m, errors.New("not a bundle's signature")
		}
	}
	_, err := fmt.Sscanf(strings.Join(lines[3:11], "\n"), "key %s\npackets %d\nbytes %d\nfirst %s\nlast %s\nsealed %s\nledger-entry %d\ntagmanifest-sha256 %s",
		&m.Key, &m.Packets, &m.Bytes, &first, &last, &sealed, &m.Entry, &m.TagManifest)
	if err != nil {
		return m, errors.New("not a bundle's signature")
	}
	m.ID = strings.TrimPrefix(lines[1], "id ")
	if _, err := fmt.Sscanf(lines[2], "incident %q", &m.Incident); err != nil {
		return m, errors.New("not a bundle's signature")
	}
	for _, f := range []struct {
		text string
		to   *time.Time
	}{{first, &m.First}, {last, &m.Last}, {sealed, &m.Sealed}} {
		if f.text == "-" {
			continue
		}
		if *f.to, err = time.Parse(time.RFC3339Nano, f.text); err != nil {
			return m, fmt.Errorf("time %q", f.text)
		}
	}
	if m.text() != text {
		return m, errors.New("not in canonical form")
	}
	return m, validID(m.ID)
}

// openSeal verifies signature.note. A nil verifier takes the key that the note
// itself names: then only the hash chain is proved, not who made it.
func openSeal(data []byte, v note.Verifier) (seal, error) {
	text, _, ok := strings.Cut(string(data), "\n\n")
	if !ok {
		return seal{}, errors.New("not a signed note")
	}
	m, err := sealFields(text + "\n")
	if err != nil {
		return seal{}, err
	}
	if v == nil {
		if v, err = note.NewVerifier(m.Key); err != nil {
			return seal{}, errors.New("the signer's key is malformed")
		}
	}
	if _, err := ledger.OpenNote(data, v); err != nil {
		return seal{}, err
	}
	return m, nil
}
