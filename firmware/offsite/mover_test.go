package offsite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var errDown = errors.New("server is down")

func fakeMover(t *testing.T, dir string, b *box, f *fake, c *clock) *Mover {
	t.Helper()
	return mustMover(t, Config{Dir: dir, Bundles: b, Checkpoint: b.checkpoint, Now: c.now, Rand: func() float64 { return 0.5 },
		Targets: []Named{{Name: "one", Kind: KindUSB, Target: f}}})
}

func wantNames(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("copied are %q, want %q", got, want)
	}
}

func TestWhatIsSealedWhileAStickIsAwayIsCopiedWhenItIsBack(t *testing.T) {
	b, f := newBox(map[string]int{"inc-1": 100}), newFake("")
	m := fakeMover(t, t.TempDir(), b, f, newClock())
	if s := drain(t, m); s.State != Away || s.Waiting != 1 || s.Unplug || s.Problem != nil {
		t.Errorf("without a stick: %+v", s)
	}
	b.seal("inc-2", 200)
	m.Notice()
	if s := drain(t, m); s.Waiting != 2 {
		t.Errorf("sealed meanwhile: %+v", s)
	}
	f.insert("stick a")
	if s := drain(t, m); s.State != Idle || s.Waiting != 0 || s.Copied != 2 || !s.Unplug || s.Last.Size == 0 {
		t.Errorf("with a stick: %+v", s)
	}
	wantNames(t, f.taken(), "inc-1.tar", "inc-1.sha256", "inc-2.tar", "inc-2.sha256", "checkpoint-9")
}

func TestEveryStickGetsEverythingAndNoneTwice(t *testing.T) {
	b, f := newBox(map[string]int{"inc-1": 100}), newFake("stick a")
	m := fakeMover(t, t.TempDir(), b, f, newClock())
	for range 2 {
		for _, stick := range []string{"stick a", "stick b"} {
			f.insert(stick)
			if s := drain(t, m); s.Waiting != 0 {
				t.Errorf("%s: %+v", stick, s)
			}
		}
	}
	want := []string{"inc-1.tar", "inc-1.sha256", "checkpoint-8"}
	wantNames(t, f.taken(), append(want, want...)...)
	if got := m.Copies("inc-1")["one"]; len(got) != 2 || got[0].Place != "stick a" || got[1].Place != "stick b" {
		t.Errorf("copies are %+v", got)
	}
}

func TestARestartForgetsNothingAndCopiesNothingTwice(t *testing.T) {
	dir, b, f, c := t.TempDir(), newBox(map[string]int{"inc-1": 100, "inc-2": 100}), newFake("stick a"), newClock()
	f.failWith(func(name string) error {
		if name == "inc-2.tar" {
			return ErrConflict
		}
		return nil
	})
	before := drain(t, fakeMover(t, dir, b, f, c))
	f.taken()
	after := drain(t, fakeMover(t, dir, b, f, c))
	wantNames(t, f.taken())
	if after.Copied != 1 || after.Waiting != 1 || after.Last != before.Last {
		t.Errorf("after the restart: %+v\nbefore: %+v", after, before)
	}
	if after.Problem == nil || !after.Problem.Next.Equal(before.Problem.Next) || after.Problem.Tries != 1 {
		t.Errorf("the problem is %+v, was %+v", after.Problem, before.Problem)
	}
}

func TestOneBadBundleDoesNotHoldUpTheOthers(t *testing.T) {
	b, f := newBox(map[string]int{"a-bad": 100, "good": 100}), newFake("stick a")
	f.failWith(func(name string) error {
		if strings.HasPrefix(name, "a-bad") {
			return fmt.Errorf("%s: %w", name, ErrTooLarge)
		}
		return nil
	})
	s := drain(t, fakeMover(t, t.TempDir(), b, f, newClock()))
	if s.Copied != 1 || s.Waiting != 1 || s.Problem == nil || !strings.Contains(s.Problem.Help.EN, "exFAT") || !s.Unplug {
		t.Errorf("status is %+v", s)
	}
	wantNames(t, f.taken(), "a-bad.tar", "good.tar", "good.sha256", "checkpoint-9")
}

func TestAServerThatIsDownIsTriedLaterAndLaterAndThenGetsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := newBox(map[string]int{"inc-1": 100, "inc-2": 100}), newFake("server")
		f.failWith(func(string) error { return errDown })
		m := mustMover(t, Config{Bundles: b, Checkpoint: b.checkpoint, Rand: func() float64 { return 1 },
			Targets: []Named{{Name: "s3", Kind: KindS3, Target: f}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(48 * time.Hour) // of the bubble
		synctest.Wait()
		s := m.Status()[0]
		if s.State != Waiting || s.Waiting != 2 || s.Problem == nil || s.Problem.Next.Before(time.Now()) {
			t.Errorf("while it is down: %+v", s)
		}
		checkPauses(t, f.times)
		f.failWith(nil)
		f.taken()
		if !m.Retry("s3") || m.Retry("s4") {
			t.Error("a target is not told from none")
		}
		synctest.Wait()
		if s := m.Status()[0]; s.State != Idle || s.Waiting != 0 || s.Problem != nil {
			t.Errorf("when it is back: %+v", s)
		}
		b.seal("inc-3", 50)
		m.Notice()
		synctest.Wait()
		if got := f.taken(); !slices.Contains(got, "inc-3.sha256") {
			t.Errorf("a seal is not noticed: %q", got)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// checkPauses wants pauses that double up to the longest; what was due meanwhile
// for the other bundle does not make them shorter.
func checkPauses(t *testing.T, times []time.Time) {
	t.Helper()
	if len(times) < 12 || len(times) > 24 {
		t.Fatalf("tried %d times in two days", len(times))
	}
	for i := 1; i < len(times); i++ {
		got, want := times[i].Sub(times[i-1]), pause(i, 1)
		if got < want || got > want+time.Second {
			t.Errorf("pause %d is %s, want %s", i, got, want)
		}
	}
}

func TestPausesGrowAreBoundedAndSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 1<<30).Draw(t, "failures")
		r := rapid.Float64Range(0, 0.999).Draw(t, "random")
		p := pause(n, r)
		if p < firstPause/2 || p > longestPause || p > pause(n+1, r) {
			t.Fatalf("pause is %s, then %s", p, pause(n+1, r))
		}
		if pause(n, 0) >= pause(n, 0.9) {
			t.Fatal("chance changes nothing")
		}
	})
}

func TestDeletingABundleKeepsTheRecordOfItsCopies(t *testing.T) {
	dir, b, f, c := t.TempDir(), newBox(map[string]int{"copied": 10}), newFake("stick a"), newClock()
	m := fakeMover(t, dir, b, f, c)
	drain(t, m)
	f.failWith(func(string) error { return ErrConflict })
	b.seal("never", 10)
	m.Notice()
	drain(t, m)
	b.remove("copied")
	b.remove("never")
	m.Notice()
	s := drain(t, m)
	if s.Waiting != 0 || s.Problem != nil || len(m.Copies("copied")["one"]) != 1 {
		t.Errorf("status is %+v, copies %+v", s, m.Copies("copied"))
	}
	if again := fakeMover(t, dir, b, f, c); drain(t, again).Waiting != 0 || len(again.Copies("copied")["one"]) != 1 {
		t.Error("the record does not survive a restart")
	}
	if _, err := os.Stat(filepath.Join(dir, "one", "bundle-never.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a record of nothing is left: %v", err)
	}
}

func TestTheNewestCheckpointFollowsEveryCopyAndEveryDay(t *testing.T) {
	b, f, c := newBox(map[string]int{"inc-1": 10}), newFake("stick a"), newClock()
	m := fakeMover(t, t.TempDir(), b, f, c)
	drain(t, m)
	f.taken()
	b.seal("inc-2", 10)
	b.entries = 20
	c.add(-time.Hour) // the clock was ahead; that must not make it due for ever
	m.Notice()
	drain(t, m)
	wantNames(t, f.taken(), "inc-2.tar", "inc-2.sha256", "checkpoint-20")
	b.entries = 30
	c.add(checkpointEvery - time.Minute)
	drain(t, m)
	wantNames(t, f.taken())
	c.add(time.Minute)
	drain(t, m)
	wantNames(t, f.taken(), "checkpoint-30")
}

func TestARecordThatCannotBeReadIsAskedOfTheTarget(t *testing.T) {
	dir, b, f, c := t.TempDir(), newBox(map[string]int{"inc-1": 10}), newFake("stick a"), newClock()
	drain(t, fakeMover(t, dir, b, f, c))
	path := filepath.Join(dir, "one", "bundle-inc-1.json")
	for name, text := range map[string]string{"half": `{"key":"bundle-inc-1","co`, "another": `{"key":"bundle-inc-9"}`, "empty": "", "huge": strings.Repeat(" ", maxRecord+1)} {
		f.taken()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := drain(t, fakeMover(t, dir, b, f, c)); s.Copied != 1 || s.Problem != nil {
			t.Errorf("%s: %+v", name, s)
		}
		wantNames(t, f.taken(), "inc-1.tar", "inc-1.sha256")
	}
}

func TestAClockThatWasAheadKeepsNothingWaiting(t *testing.T) {
	dir, b, f, c := t.TempDir(), newBox(map[string]int{"inc-1": 10}), newFake("stick a"), newClock()
	f.failWith(func(string) error { return ErrConflict })
	c.add(10 * 365 * 24 * time.Hour)
	drain(t, fakeMover(t, dir, b, f, c))
	f.failWith(nil)
	if s := drain(t, fakeMover(t, dir, b, f, newClock())); s.Copied != 1 {
		t.Errorf("after the clock was set: %+v", s)
	}
}

func TestTheLedgerHearsOfACopyBeforeItIsRecorded(t *testing.T) {
	dir, b, f := t.TempDir(), newBox(map[string]int{"inc-1": 10}), newFake("stick a")
	var heard []string
	m := mustMover(t, Config{Dir: dir, Bundles: b, Checkpoint: b.checkpoint, Targets: []Named{{Name: "one", Kind: KindUSB, Target: f}},
		Copied: func(target, bundle string, c Copy) {
			if _, err := os.Stat(filepath.Join(dir, target, "bundle-"+bundle+".json")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("recorded before: %v", err)
			}
			heard = append(heard, target+" "+bundle+" "+c.Place)
		}})
	drain(t, m)
	wantNames(t, heard, "one inc-1 stick a")
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	b, f := newBox(nil), newFake("x")
	good := Named{Name: "nas", Kind: KindSFTP, Target: f}
	for name, c := range map[string]Config{
		"no vault":  {Checkpoint: b.checkpoint, Targets: []Named{good}},
		"no ledger": {Bundles: b, Targets: []Named{good}},
		"a path":    {Bundles: b, Checkpoint: b.checkpoint, Targets: []Named{{Name: "../x", Target: f}}},
		"nothing":   {Bundles: b, Checkpoint: b.checkpoint, Targets: []Named{{Name: "nas"}}},
		"twice":     {Bundles: b, Checkpoint: b.checkpoint, Targets: []Named{good, good}},
	} {
		c.Dir = t.TempDir()
		if _, err := New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
