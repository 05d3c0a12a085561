package ledger

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// ProveTree returns the proof that the tree of the first size entries only adds
// to that of the first old ones: for whoever holds two checkpoints and asks while
// the ledger goes on growing. CheckConsistency checks it.
func (l *Ledger) ProveTree(old, size int64) (tlog.TreeProof, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if old < 1 || old > size || size > int64(len(l.ends)) {
		return nil, fmt.Errorf("prove ledger consistency from %d to %d: out of range", old, size)
	}
	return tlog.ProveTree(size, old, l.reader())
}
