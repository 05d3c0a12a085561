package ledger

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a signed tree head (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string // name of the signing key
	Size   int64  // entries
	Root   tlog.Hash
}

func signCheckpoint(k *Key, size int64, root tlog.Hash) ([]byte, error) {
	return k.Sign(fmt.Sprintf("%s\n%d\n%s\n", k.Name(), size, root))
}

// maxSize of a ledger, entries. tlog never comes to an end with a size above
// 1<<62, and whoever signs a bundle chooses the size that we read.
const maxSize = 1 << 48

// ParseCheckpoint verifies signed against v and reads it strictly.
func ParseCheckpoint(signed []byte, v note.Verifier) (Checkpoint, error) {
	text, err := OpenNote(signed, v)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != v.Name() {
		return Checkpoint{}, errors.New("checkpoint: not origin, size and hash")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > maxSize || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("checkpoint: size %q", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil || root.String() != lines[2] {
		return Checkpoint{}, fmt.Errorf("checkpoint: hash %q", lines[2])
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// OpenNote verifies a C2SP signed note that carries exactly one signature, by
// v, and returns its text. It is stricter than note.Open: every byte of msg is
// accounted for, so that no change at all goes unnoticed.
func OpenNote(msg []byte, v note.Verifier) (string, error) {
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		return "", err
	}
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return "", errors.New("note: not exactly one signature")
	}
	// base64 leaves bits unused and note.Open lets them be anything.
	sig, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(sig) < 4 || binary.BigEndian.Uint32(sig) != v.KeyHash() {
		return "", errors.New("note: malformed signature")
	}
	want := n.Text + "\n— " + v.Name() + " " + base64.StdEncoding.EncodeToString(sig) + "\n"
	if !bytes.Equal(msg, []byte(want)) {
		return "", errors.New("note: signature is not in canonical form")
	}
	return n.Text, nil
}
