package offsite

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// The mark tells one stick from another: a small text that people may read too.
const (
	usbMark   = "medium.txt"
	markLimit = 4 << 10
	markLead  = "Sekisho evidence, medium "
)

func readMark(dir *os.Root) (string, error) {
	info, err := dir.Lstat(usbMark)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > markLimit {
		return "", fmt.Errorf("%s: %w", usbMark, ErrConflict)
	}
	data, err := dir.ReadFile(usbMark)
	if err != nil {
		return "", err
	}
	id, ok := strings.CutPrefix(strings.TrimSpace(string(data)), markLead)
	if raw, err := hex.DecodeString(id); !ok || err != nil || len(raw) != 8 {
		return "", fmt.Errorf("%s: %w", usbMark, ErrConflict)
	}
	return id, nil
}

func writeMark(dir *os.Root) (string, error) {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails, crypto/rand
	id := hex.EncodeToString(raw)
	tmp := usbMark + partial
	if err := ignoreMissing(dir.Remove(tmp)); err != nil {
		return "", err
	}
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(markLead + id + "\r\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = dir.Rename(tmp, usbMark)
	}
	if err == nil {
		err = syncDir(dir)
	}
	return id, err
}
