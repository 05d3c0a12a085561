package crashtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
)

// writes are the system calls that change what is on disk, as Go and SQLite
// make them.
const writes = "write,pwrite64,writev,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,fchmod,fchmodat,chmod"

const (
	cuts    = 1000
	workers = 2
	lives   = 20 // cuts that one set of files has to survive one after another

	errorsEvery = 2 // of the writes, one in so many meets an error too
)

// promise is what the files in one folder have to hold.
type promise struct {
	dir   string
	acked []string // "kind id"
}

// moment is one write of the work: the n-th call of its kind, as strace counts.
type moment struct {
	call string
	n    int
}

func (m moment) String() string { return fmt.Sprintf("%s %d", m.call, m.n) }

// run starts the work in dir and lets happen what to it at a moment, in
// strace's words; empty: nothing. It returns whether the work came to its own
// end.
func (p *promise) run(t *testing.T, at moment, what string) (ended bool) {
	t.Helper()
	args := []string{"-e", "trace=" + at.call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", at.call, what, at.n)}
	if what == "" {
		args = []string{"-e", "trace=none"}
	}
	_, ended = p.trace(t, args...)
	return ended
}

// plain builds this very test once more, without the race detector: it starts
// a thousand times, and what it does with the disk is the same.
var plain = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.Getenv(binDir), "work")
	out, err := exec.Command("go", "test", "-c", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

func worker(t *testing.T) string {
	t.Helper()
	path, err := plain()
	if err != nil {
		t.Fatalf("build the work: %v", err)
	}
	return path
}

// trace runs the work under strace and returns what that wrote.
func (p *promise) trace(t *testing.T, args ...string) (log []byte, ended bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "strace")
	cmd := exec.Command("strace", slices.Concat([]string{"-f", "-qq", "-o", file}, args, []string{worker(t)})...)
	cmd.Env = append(os.Environ(), workDir+"="+p.dir)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run strace: %v (Debian: apt-get install strace)", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		if ack, ok := strings.CutPrefix(lines.Text(), "ack "); ok {
			p.acked = append(p.acked, ack)
		}
	}
	log, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return log, err == nil
}

// moments are all writes of the work's own thread in a second round, in order.
// strace writes "PID call(arguments" for each, and the PID that writes most is
// that thread.
func moments(t *testing.T) (all []moment) {
	t.Helper()
	log, ended := begun(t).trace(t, "-e", "trace="+writes)
	if !ended {
		t.Fatal("without a cut the work did not end")
	}
	byThread := map[string][]moment{}
	seen := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		pid, rest, _ := strings.Cut(lines.Text(), " ")
		call, _, isCall := strings.Cut(strings.TrimSpace(rest), "(")
		if !isCall || strings.ContainsAny(call, "<+ ") {
			continue
		}
		seen[pid+call]++
		byThread[pid] = append(byThread[pid], moment{call, seen[pid+call]})
		if len(byThread[pid]) > len(all) {
			all = byThread[pid]
		}
	}
	return all
}

// check opens everything as the next start would, and holds it against what
// was acknowledged.
func (p *promise) check(t *testing.T, what string) {
	t.Helper()
	s, err := open(p.dir)
	if err != nil {
		t.Errorf("%s: start afterwards: %v", what, err)
		return
	}
	for _, ack := range p.acked {
		if err := s.holds(p.dir, ack); err != nil {
			t.Errorf("%s: %s was acknowledged: %v", what, ack, err)
		}
	}
	if err := s.offersNothingHalf(p.dir); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if err := s.close(); err != nil {
		t.Errorf("%s: close: %v", what, err)
	}
}

func (s parts) holds(dir, ack string) error {
	kind, id, _ := strings.Cut(ack, " ")
	n, err := number(id)
	if err != nil {
		return err
	}
	switch kind {
	case "incident":
		all, err := s.store.Incidents(context.Background())
		for _, i := range all {
			if i.ID == id {
				return err
			}
		}
		return fmt.Errorf("not in the database: %w", errors.Join(err, fs.ErrNotExist))
	case "policy":
		data, err := os.ReadFile(filepath.Join(dir, "policy.json"))
		if err == nil && string(data) < id { // a later one may have replaced it
			err = fmt.Errorf("the policy is that of %q", data)
		}
		return err
	case "entry":
		e, err := s.ledger.Entries(n, n+1)
		if err == nil && e[0].Subject != id && e[0].Action != ledger.ActionRedacted { // which Open has held against its order
			err = fmt.Errorf("entry %d is about %s", n, e[0].Subject)
		}
		return err
	case "frame":
		return s.kept(n)
	case "pin":
		for _, have := range s.spool.Pins() {
			if have == id {
				return nil
			}
		}
		return fs.ErrNotExist
	case "redact":
		e, err := s.ledger.Entries(n, n+1)
		if err == nil && e[0].Action != ledger.ActionRedacted {
			err = fmt.Errorf("entry %d still says %s", n, e[0].Subject)
		}
		return err
	case "lift":
		if s.vault.Held(id) && !s.buried(id) {
			return errors.New("it is under hold")
		}
		return nil
	case "delete":
		if _, err := os.Lstat(filepath.Join(dir, "bundles", id)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("it is there: %w", err)
		}
		if !s.buried(id) {
			return errors.New("it left no tombstone")
		}
		return nil
	case "bundle":
		if s.buried(id) { // a later round deleted it
			return nil
		}
		r, err := evidence.Verify(filepath.Join(dir, "bundles", id), evidence.VerifyOptions{Key: s.ledger.Key().Public()})
		if err == nil && r.Packets == 0 {
			err = errors.New("it holds no packet")
		}
		return err
	}
	return fmt.Errorf("what is %q?", kind)
}

// buried says that a bundle was deleted, which leaves a tombstone; one that is
// there still does not count.
func (s parts) buried(id string) bool {
	stones, err := s.vault.Tombstones()
	return err == nil && slices.ContainsFunc(stones, func(t evidence.Tombstone) bool { return t.ID == id })
}

// kept looks for a frame by its bytes, in whatever the ring holds.
func (s parts) kept(n int64) error {
	const pin = "check"
	if err := s.spool.Pin(pin, base.Add(-time.Hour)); err != nil {
		return err
	}
	at := time.Unix(0, frame(n).Time)
	var b bytes.Buffer
	_, err := s.spool.Extract(context.Background(), pin, evidence.Match{MACs: [][6]byte{victim}}, at, at, &b, nil)
	if err != nil {
		return err
	}
	if found, err := holdsFrame(&b, frame(n).Data); err != nil || !found {
		return errors.Join(err, fmt.Errorf("frame %d is not in the ring", n))
	}
	return s.spool.Unpin(pin)
}

func holdsFrame(r io.Reader, data []byte) (bool, error) {
	src, err := capture.OpenReader("extract", r)
	if err != nil {
		return false, err
	}
	defer src.Close()
	var f capture.Frame
	for {
		if err := src.Next(&f); errors.Is(err, io.EOF) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		if bytes.Equal(f.Data, data) {
			return true, nil
		}
	}
}

// offersNothingHalf verifies every bundle that is offered, acknowledged or not.
func (s parts) offersNothingHalf(dir string) error {
	listed, err := s.vault.List()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(dir, "bundles"))
	if err != nil {
		return err
	}
	offered := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		offered++
		if _, err := evidence.Verify(filepath.Join(dir, "bundles", e.Name()), evidence.VerifyOptions{}); err != nil {
			return fmt.Errorf("offered, but: %w", err)
		}
	}
	if offered != len(listed) {
		return fmt.Errorf("%d folders, %d bundles listed", offered, len(listed))
	}
	return nil
}

// fresh is a folder whose read-only bags can be removed after the test.
func fresh(t *testing.T) *promise {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "crash")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o755)
			}
			return err
		})
	})
	return &promise{dir: dir}
}

// begun has one round behind it, whose end the next one brings.
func begun(t *testing.T) *promise {
	t.Helper()
	p := fresh(t)
	if !p.run(t, moment{}, "") {
		t.Errorf("a round without a fault did not end")
	}
	return p
}

// onAll runs job 0, 1, 2 … on all workers, as long as more says so.
func onAll(more func(k int) bool, job func(worker, k int)) {
	var group sync.WaitGroup
	var next atomic.Int64
	for w := range workers {
		group.Go(func() {
			for k := int(next.Add(1)) - 1; more(k); k = int(next.Add(1)) - 1 {
				job(w, k)
			}
		})
	}
	group.Wait()
}

// TestTheWorkComesToItsEnd is what makes the other tests mean something.
func TestTheWorkComesToItsEnd(t *testing.T) {
	p := fresh(t)
	for range 2 {
		if !p.run(t, moment{}, "") {
			t.Fatalf("without a cut it ended after %q", p.acked)
		}
	}
	if len(p.acked) != 16 {
		t.Errorf("without a cut it acknowledged %q", p.acked)
	}
	p.check(t, "no cut")
	if all := moments(t); len(all) < 100 {
		t.Errorf("only %d writes were seen in a round: the work hides from the lane", len(all))
	}
}

func TestAfterAKillAtAnyWriteEverythingAcknowledgedIsThereAndNothingHalfMade(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	all := moments(t)
	var killed atomic.Int64
	var chains [workers]*promise
	var age [workers]int
	var dice [workers]*rand.Rand
	for w := range workers {
		dice[w] = rand.New(rand.NewPCG(seed, uint64(w)))
	}
	more := func(k int) bool { return k < len(all) || killed.Load() < cuts && k < 4*cuts && !t.Failed() }
	onAll(more, func(w, k int) {
		var at moment
		if k < len(all) { // first each write of a round in turn
			chains[w], age[w], at = begun(t), lives, all[k]
		} else { // then any, again and again on the same files
			if age[w] == lives {
				chains[w], age[w] = begun(t), 0
			}
			age[w]++
			at = all[dice[w].IntN(len(all))]
		}
		if !chains[w].run(t, at, "signal=SIGKILL") {
			killed.Add(1)
		}
		chains[w].check(t, fmt.Sprintf("seed %d, cut %d, killed at %v", seed, k, at))
	})
	t.Logf("seed %d: %d writes a round, %d kills", seed, len(all), killed.Load())
	if killed.Load() < cuts {
		t.Errorf("only %d kills", killed.Load())
	}
}

// A disk that refuses is no kill: the work may stop, but it must not
// acknowledge what is not there, and the next start must work.
func TestAfterAnErrorOfTheDiskAtAnyWriteNothingIsPromisedThatIsNotThere(t *testing.T) {
	all := moments(t)
	for _, errno := range []string{"EIO", "ENOSPC"} {
		t.Run(errno, func(t *testing.T) {
			var stopped atomic.Int64
			n := len(all) / errorsEvery
			onAll(func(k int) bool { return k < n }, func(_, k int) {
				at := all[k*errorsEvery]
				p := begun(t)
				if !p.run(t, at, "error="+errno) {
					stopped.Add(1)
				}
				p.check(t, fmt.Sprintf("%s at %v", errno, at))
			})
			t.Logf("%d of %d faults stopped the work", stopped.Load(), n)
			if stopped.Load() < int64(n/2) {
				t.Errorf("only %d of %d faults were noticed", stopped.Load(), n)
			}
		})
	}
}
