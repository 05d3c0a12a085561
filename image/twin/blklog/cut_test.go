package blklog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// disk is what each sector of an image is filled with.
func disk(t *testing.T, image []byte) string {
	t.Helper()
	var out []byte
	for s := range len(image) / sector {
		part := image[s*sector : (s+1)*sector]
		if !bytes.Equal(part, bytes.Repeat(part[:1], sector)) {
			t.Fatalf("sector %d is torn inside", s)
		}
		out = append(out, part[0])
	}
	return string(out)
}

// cuts returns the images that n cuts after all requests leave, and how often.
func cuts(t *testing.T, d Drive, n int, requests ...request) map[string]int {
	t.Helper()
	l := mustOpen(t, encode(requests...))
	random := rand.New(rand.NewPCG(7, 7))
	seen := map[string]int{}
	r := NewReplay(l, d, bytes.Repeat([]byte{'-'}, 4*sector))
	for range n {
		image, _, err := r.Cut(len(l.Entries), random)
		if err != nil {
			t.Fatal(err)
		}
		seen[disk(t, image)]++
	}
	return seen
}

func wantImages(t *testing.T, seen map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("image %q never came", w)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("images %v, want %q", seen, want)
	}
}

func TestWhatWasFlushedStaysAndWhatCameAfterIsAnySubset(t *testing.T) {
	wantImages(t, cuts(t, Drive{}, 400, request{0, 1, 0, 'a'}, request{0, 0, Flush, 0}, request{1, 1, 0, 'b'}, request{2, 1, 0, 'c'}),
		"a---", "ab--", "a-c-", "abc-")
}

func TestAWriteIsTornBetweenAnySectors(t *testing.T) {
	wantImages(t, cuts(t, Drive{}, 400, request{0, 3, 0, 'a'}),
		"----", "aaa-", "a---", "-a--", "--a-", "aa--", "-aa-", "a-a-")
}

func TestAWriteWithFUAStaysAndSaysNothingOfEarlierOnes(t *testing.T) {
	wantImages(t, cuts(t, Drive{}, 200, request{0, 1, 0, 'a'}, request{1, 1, FUA, 'b'}), "-b--", "ab--")
}

func TestALaterWriteIsNeverUndoneByAnEarlierOne(t *testing.T) {
	wantImages(t, cuts(t, Drive{}, 400, request{0, 1, 0, 'a'}, request{0, 1, 0, 'b'}, request{0, 0, Flush, 0}), "b---")
}

func TestADriveThatLiesLosesWhatWasFlushed(t *testing.T) {
	wantImages(t, cuts(t, Drive{Lies: true, Holds: 2}, 200, request{0, 1, 0, 'a'}, request{1, 1, FUA, 'b'}, request{0, 0, Flush, 0}),
		"a---", "ab--")
}

func TestCutsGoForwardAndStayOnTheDisk(t *testing.T) {
	l := mustOpen(t, encode(request{0, 1, 0, 'a'}, request{0, 0, Flush, 0}, request{4, 1, FUA, 'z'}))
	random := rand.New(rand.NewPCG(7, 7))
	r := NewReplay(l, Drive{}, make([]byte, 4*sector))
	if _, loose, err := r.Cut(1, random); err != nil || loose != 1 {
		t.Errorf("%d writes at stake, %v", loose, err)
	}
	if _, loose, err := r.Cut(2, random); err != nil || loose != 0 {
		t.Errorf("%d writes at stake behind the flush, %v", loose, err)
	}
	if _, _, err := r.Cut(1, random); err == nil {
		t.Error("back before what is settled")
	}
	if _, _, err := r.Cut(4, random); err == nil {
		t.Error("after more requests than there are")
	}
	if _, _, err := r.Cut(3, random); !errors.Is(err, ErrFormat) {
		t.Errorf("a write past the end of the disk: %v", err)
	}
}

func TestTheSameSeedMakesTheSameImage(t *testing.T) {
	l := mustOpen(t, encode(request{0, 4, 0, 'a'}, request{1, 2, 0, 'b'}, request{2, 2, 0, 'c'}))
	image := func(seed uint64) string {
		b, _, err := NewReplay(l, Drive{}, make([]byte, 4*sector)).Cut(3, rand.New(rand.NewPCG(seed, 0)))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	different := false
	for seed := range uint64(20) {
		first, second := image(seed), image(seed)
		if first != second {
			t.Fatalf("seed %d: two images", seed)
		}
		different = different || first != image(0)
	}
	if !different {
		t.Error("every seed makes the same image")
	}
}
