package offsite

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
)

// every runs a test against each kind of target.
func every(t *testing.T, test func(t *testing.T, p place)) {
	for name, p := range places(t) {
		t.Run(name, func(t *testing.T) { test(t, p) })
	}
}

func readAllOrNil(r io.Reader) []byte {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil
	}
	return data
}

func put(t *testing.T, target Target, o Object) (Copy, error) {
	t.Helper()
	if _, err := target.Place(t.Context()); err != nil {
		t.Fatal(err)
	}
	return target.Put(t.Context(), o)
}

func TestACopyIsTheBundleByteForByteAndCountsOnce(t *testing.T) {
	every(t, func(t *testing.T, p place) {
		for name, size := range map[string]int{"one-byte.tar": 1, "page.tar": 4096, "odd.tar.age": 12345, "parts.tar": 11<<20 + 3} {
			data := contents(name, size)
			var last int64
			o := objectOf(name, data)
			o.Progress = func(done int64) { last = max(last, done) }
			var before Copy
			for range 2 { // the second by a target that knows nothing, as after a restart
				c, err := put(t, p.target(), o)
				if err != nil {
					t.Fatal(err)
				}
				if before.Version != c.Version || !before.Until.Equal(c.Until) && !before.Until.IsZero() {
					if before.Size != 0 {
						t.Errorf("%s: another version was made: %+v, then %+v", name, before, c)
					}
				}
				before = c
			}
			if !bytes.Equal(p.read(name), data) || before.Size != int64(size) || before.SHA256 != o.hex() {
				t.Errorf("%s: the copy differs: %+v", name, before)
			}
			if n := p.versions(name); n != 1 {
				t.Errorf("%s stands there %d times", name, n)
			}
			if last != int64(size) {
				t.Errorf("%s: progress ended at %d of %d", name, last, size)
			}
		}
	})
}

func TestWhatStandsUnderTheNameIsNeverOverwritten(t *testing.T) {
	every(t, func(t *testing.T, p place) {
		theirs, ours := contents("theirs", 5000), contents("ours", 5000)
		for name, there := range map[string][]byte{"same-size.tar": theirs, "shorter.tar": theirs[:100], "longer.tar": append(bytes.Clone(ours), 0)} {
			p.plant(name, there)
			_, err := put(t, p.target(), objectOf(name, ours))
			wantError(t, err, ErrConflict)
			if !bytes.Equal(p.read(name), there) || p.versions(name) != 1 {
				t.Errorf("%s was changed", name)
			}
		}
	})
}

func TestADamagedSourceNeverBecomesACopy(t *testing.T) {
	every(t, func(t *testing.T, p place) {
		for name, size := range map[string]int{"small.tar": 3000, "large.tar": 6 << 20} {
			good := contents(name, size)
			flipped := bytes.Clone(good)
			flipped[0] ^= 1
			for kind, data := range map[string][]byte{"flipped": flipped, "short": good[:size-1]} {
				o := objectOf(kind+name, good)
				o.Open = objectOf(name, data).Open
				_, err := put(t, p.target(), o)
				wantError(t, err, ErrSource)
				if p.versions(kind+name) != 0 {
					t.Errorf("%s stands there", kind+name)
				}
			}
		}
	})
}

func TestAnUploadThatWasCutIsMadeWholeLater(t *testing.T) {
	every(t, func(t *testing.T, p place) {
		for name, cut := range map[string]int64{"begin.tar": 1, "middle.tar": 6 << 20, "end.tar": 12<<20 - 1} {
			data := contents(name, 12<<20)
			o := objectOf(name, data)
			ctx, cancel := context.WithCancel(t.Context())
			var passed atomic.Bool
			o.Progress = func(done int64) {
				if done >= cut && !passed.Swap(true) {
					cancel()
				}
			}
			target := p.target()
			if _, err := target.Place(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := target.Put(ctx, o); err == nil {
				t.Errorf("%s: a cut upload is called done", name)
			}
			if p.versions(name) != 0 {
				t.Errorf("%s: half a file has the name", name)
			}
			if _, err := put(t, p.target(), o); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p.read(name), data) || p.versions(name) != 1 {
				t.Errorf("%s: the copy differs", name)
			}
		}
	})
}

func TestANameThatSomeTargetWouldBendIsRefused(t *testing.T) {
	every(t, func(t *testing.T, p place) {
		for _, name := range []string{"", "../up.tar", "a/b.tar", ".hidden", "CON.tar", "end."} {
			_, err := p.target().Put(t.Context(), objectOf(name, []byte("x")))
			wantError(t, err, ErrName)
		}
	})
}
