package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sekisho/firmware/durable"
)

// Between a ledger's folder and the UTC time at which it was put aside.
const damagedMark = ".damaged-"

// maxReason bounds what the first entry tells, bytes.
const maxReason = 1 << 10

// OpenAside is Open, except that a ledger which does not match its checkpoint
// is put aside, whole and unchanged, under dir+".damaged-"+UTC time, and a new
// one is begun: isolation must not wait until somebody has looked into it. The
// first entry of the new ledger, "ledger.begin", names the old folder and the
// reason. aside is the old folder's path when this call put one aside, or
// completed what a power cut had interrupted: a person has to be told, and a
// size that was kept for Config.AtLeast begins anew.
func OpenAside(dir string, c Config) (l *Ledger, aside string, err error) {
	c.defaults()
	l, err = Open(dir, c)
	reason := err
	if errors.Is(err, ErrTampered) {
		if aside, err = moveAside(dir, c); err != nil {
			return nil, "", fmt.Errorf("put damaged ledger aside: %w", errors.Join(err, reason))
		}
		c.Logger.Error("ledger is damaged, another is begun", "aside", aside, "reason", reason)
		c.AtLeast = 0 // it was about the one that is put aside
		l, err = Open(dir, c)
	}
	if err != nil {
		return nil, aside, err
	}
	if l.Size() > 0 {
		return l, "", nil
	}
	if aside == "" { // nothing was, or the power went before the first entry
		if aside = lastAside(dir); aside == "" {
			return l, "", nil
		}
		reason = errors.New("not known any more: the power went while it was put aside")
	}
	if err := l.begin(aside, reason, c); err != nil {
		return nil, aside, errors.Join(fmt.Errorf("begin ledger: %w", err), l.Close())
	}
	return l, aside, nil
}

func (l *Ledger) begin(aside string, reason error, c Config) error {
	text := reason.Error()
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	_, err := l.Append(Entry{
		Time: c.Now().UTC(), Actor: "gateway", Action: "ledger.begin", Subject: filepath.Base(aside),
		Detail: map[string]any{"folder": aside, "reason": strings.ToValidUTF8(text, "?")},
	})
	return err
}

// moveAside gives the folder a name that nothing has yet.
func moveAside(dir string, c Config) (string, error) {
	base := dir + damagedMark + c.Now().UTC().Format("20060102-150405")
	to := base
	for n := 2; ; n++ {
		_, err := os.Lstat(to)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		to = fmt.Sprintf("%s-%d", base, n)
	}
	if err := os.Rename(dir, to); err != nil {
		return "", err
	}
	return to, durable.SyncDir(filepath.Dir(dir))
}

// lastAside is the newest folder that was put aside, or empty.
func lastAside(dir string) string {
	var last string
	entries, _ := os.ReadDir(filepath.Dir(dir)) // Open has just used it
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(dir)+damagedMark) {
			last = filepath.Join(filepath.Dir(dir), e.Name())
		}
	}
	return last
}
