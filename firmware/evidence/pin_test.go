package evidence

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// stuckDisk hangs in one operation on segments, as a failing USB disk does,
// until it is let go.
type stuckDisk struct {
	systemDisk
	op      string
	reached chan struct{} // closed when the operation is asked for
	letGo   chan struct{}
}

func newStuckDisk(op string) *stuckDisk {
	return &stuckDisk{op: op, reached: make(chan struct{}), letGo: make(chan struct{})}
}

func (d *stuckDisk) wait(op string) {
	if op != d.op {
		return
	}
	select {
	case <-d.reached:
	default:
		close(d.reached)
	}
	<-d.letGo
}

func (d *stuckDisk) link(from, to string) error {
	d.wait("link")
	return d.systemDisk.link(from, to)
}

func (d *stuckDisk) remove(path string) error {
	d.wait("remove")
	return d.systemDisk.remove(path)
}

// links makes what links are to be made, and counts those of a pin.
func links(t *testing.T, s *Spool, id string) int {
	t.Helper()
	for s.store.linkNext() {
	}
	names, err := filepath.Glob(filepath.Join(s.store.pinPath(id), "*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// A blocked call would end this test at its time limit.
func TestADiskThatHangsWhileLinkingHoldsUpNobodyAndNothingPinnedIsRemoved(t *testing.T) {
	d, c, now := newStuckDisk("link"), smallSpool(), base
	c.Now = func() time.Time { return now }
	c.MaxBytes *= 2
	dir := t.TempDir()
	s := mustSpool(t, dir, c, d)
	feed(t, s, 0, 100)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	<-d.reached
	if st := s.Stats(); st.Pins != 1 || st.PinnedBytes == 0 || s.Health() != nil {
		t.Errorf("while linking: %+v, %v", st, s.Health())
	}
	feed(t, s, 100, 300) // into segments begun meanwhile, so followed
	want := s.Stats().Segments
	now = base.Add(24 * time.Hour)
	feed(t, s, 400, 6000) // the ring turns
	close(d.letGo)
	if got := links(t, s, "A"); got != want || want < 2 {
		t.Errorf("%d segments are linked, want %d", got, want)
	}
	if st := s.Stats(); st.Pins != 1 || st.DiskBytes > c.MaxBytes {
		t.Errorf("pinned: %+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	x, _ := extract(t, mustSpool(t, dir, c, systemDisk{}), "A", wanted)
	if x.Packets < 200 || !x.First.Equal(base) || len(x.Damaged) != 0 {
		t.Errorf("extracted %+v", x)
	}
}

// tellingDisk tells of each link.
type tellingDisk struct {
	systemDisk
	linked chan string
}

func (d tellingDisk) link(from, to string) error {
	defer func() { d.linked <- filepath.Base(from) }()
	return d.systemDisk.link(from, to)
}

// A link that is never made would end this test at its time limit.
func TestAPinThatReachesFurtherBackLinksWhatItTakesUp(t *testing.T) {
	c, d := smallSpool(), tellingDisk{linked: make(chan string, 100)}
	c.PinFollow = 1
	s := mustSpool(t, t.TempDir(), c, d)
	feed(t, s, 0, 200)
	want := s.Stats().Segments
	if want < 2 {
		t.Fatalf("%d segments", want)
	}
	if err := s.Pin("A", base.Add(time.Hour)); err != nil { // the one being written
		t.Fatal(err)
	}
	linked := map[string]bool{<-d.linked: true}
	links(t, s, "A") // and nothing is on its way any more
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	for range want - 1 {
		linked[<-d.linked] = true
	}
	if len(linked) != want {
		t.Errorf("linked %v of %d segments", linked, want)
	}
}

// linklessDisk loses every link, as a power cut does that comes first.
type linklessDisk struct{ systemDisk }

func (linklessDisk) link(_, _ string) error { return nil }

func TestAPinHoldsAfterAPowerCutBeforeItsLinksWereMade(t *testing.T) {
	dir, c, now := t.TempDir(), smallSpool(), base
	c.Now = func() time.Time { return now }
	s := mustSpool(t, dir, c, linklessDisk{})
	feed(t, s, 0, 100)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	feed(t, s, 100, 300) // followed
	want := s.Stats()
	if got := links(t, s, "A"); got != 0 || want.Segments < 2 {
		t.Fatalf("%d links of %d segments", got, want.Segments)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.MaxBytes *= 2
	now = base.Add(24 * time.Hour)
	s = mustSpool(t, dir, c, systemDisk{})
	if got := links(t, s, "A"); got != want.Segments || s.Stats().PinnedBytes != s.Stats().DiskBytes {
		t.Errorf("%d links of %d segments, %+v", got, want.Segments, s.Stats())
	}
	feed(t, s, 400, 3000)
	if x, _ := extract(t, s, "A", wanted); !x.First.Equal(base) || x.Packets < 200 {
		t.Errorf("extracted %+v", x)
	}
}

func TestIncidentsShareSegmentsAndTheLastOneLetsThemGo(t *testing.T) {
	c := smallSpool()
	c.PinFollow = 1
	now := base
	c.Now = func() time.Time { return now }
	s := mustSpool(t, t.TempDir(), c, systemDisk{})
	feed(t, s, 0, 200)
	shared := s.Stats().DiskBytes
	for _, id := range []string{"A", "B"} {
		if err := s.Pin(id, base); err != nil {
			t.Fatal(err)
		}
	}
	now = base.Add(time.Hour)
	if st := s.Stats(); st.PinnedBytes != shared || st.DiskBytes != shared {
		t.Errorf("two pins of the same segments: %+v", st)
	}
	if err := s.Unpin("A"); err != nil {
		t.Fatal(err)
	}
	feed(t, s, 200, 4000)
	if x, _ := extract(t, s, "B", wanted); !x.First.Equal(base) {
		t.Errorf("without A, B has lost packets: %+v", x)
	}
	if err := s.Unpin("B"); err != nil {
		t.Fatal(err)
	}
	feed(t, s, 4200, 4000)
	if st := s.Stats(); !st.Oldest.After(base) || st.PinnedBytes != 0 || st.DiskBytes > c.MaxBytes {
		t.Errorf("without both: %+v", st)
	}
}

func TestAPinFromBeforeRangesHoldsWhatItLinked(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, smallSpool(), systemDisk{})
	feed(t, s, 0, 100)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	want := links(t, s, "A")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := `{"from":"2026-04-01T09:00:00Z","made":"2026-04-01T09:00:00Z"}`
	for _, text := range []string{old, "damaged", `{"segments":[[5,1]]}`} {
		if err := os.WriteFile(filepath.Join(s.store.pinPath("A"), pinFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s = mustSpool(t, dir, smallSpool(), systemDisk{})
		if got := links(t, s, "A"); got != want || s.Stats().PinnedBytes == 0 {
			t.Errorf("%s: %d links, want %d, %+v", text, got, want, s.Stats())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPinnedSegmentThatIsGoneIsTold(t *testing.T) {
	dir, c := t.TempDir(), smallSpool()
	c.MaxBytes *= 2
	s := mustSpool(t, dir, c, linklessDisk{}) // with a link it would come back
	feed(t, s, 0, 600)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	n := s.Stats().Segments
	if err := s.Close(); err != nil || n < 4 {
		t.Fatalf("%d segments, %v", n, err)
	}
	lost := []uint64{2, uint64(n) - 1, uint64(n)} // two of them the newest
	for _, seq := range lost {
		if err := os.Remove(s.store.path(seq)); err != nil {
			t.Fatal(err)
		}
	}
	want := seqs{{2, 2}, {uint64(n) - 1, uint64(n)}}.names()
	for range 2 { // and after another start
		s = mustSpool(t, dir, c, linklessDisk{})
		feed(t, s, 600, 100) // no new segment takes the place of one that is gone
		if x, _ := extract(t, s, "A", wanted); !slices.Equal(x.Damaged, want) || x.Packets == 0 {
			t.Errorf("damaged %v, want %v", x.Damaged, want)
		}
		if err := s.Pin("A", base); err != nil { // writes the promise anew
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Against a plain set, numbers in any order.
func TestSeqsIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r seqs
		set := map[uint64]bool{}
		for _, n := range rapid.SliceOfN(rapid.Uint64Range(1, 40), 0, 60).Draw(t, "numbers") {
			r.add(n)
			set[n] = true
		}
		for _, n := range rapid.SliceOfN(rapid.Uint64Range(1, 40), 0, 3).Draw(t, "ranges") {
			r.join([2]uint64{n, n + n%5})
			for n, end := n, n+n%5; n <= end; n++ {
				set[n] = true
			}
		}
		var ring []*segment
		for _, n := range slices.Compact(slices.Sorted(slices.Values(rapid.SliceOf(rapid.Uint64Range(1, 45)).Draw(t, "ring")))) {
			ring = append(ring, &segment{seq: n})
		}
		gone := r.without(ring)
		for n := range uint64(46) {
			here := slices.ContainsFunc(ring, func(g *segment) bool { return g.seq == n })
			if gone.has(n) != (set[n] && !here) {
				t.Fatalf("%v without the ring has %d: %t", r, n, gone.has(n))
			}
			if r.has(n) != set[n] {
				t.Fatalf("%v has %d: %t", r, n, r.has(n))
			}
		}
		for i := 1; i < len(r); i++ {
			if r[i-1][1]+1 >= r[i][0] {
				t.Fatalf("%v touch or are out of order", r)
			}
		}
		if !r.valid() || (len(r) > 0 && !set[r.last()]) {
			t.Fatalf("%v is not valid", r)
		}
	})
}

func TestADiskThatHangsWhileRemovingHoldsUpNobody(t *testing.T) {
	d := newStuckDisk("remove")
	s := mustSpool(t, t.TempDir(), smallSpool(), d)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			s.Write(frameAt(i, ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 200)))
			if i%20 == 0 {
				_ = s.Flush()
			}
		}
	}()
	<-d.reached
	st := s.Stats()
	if err := s.Pin("A", base); err != nil { // what is being removed is passed over
		t.Error(err)
	}
	if got := links(t, s, "A"); got != st.Segments-1 {
		t.Errorf("%d segments pinned of %d, one of which is leaving", got, st.Segments)
	}
	if err := s.Unpin("A"); err != nil {
		t.Error(err)
	}
	close(d.letGo)
	<-done
	if st := s.Stats(); st.DiskBytes > smallSpool().MaxBytes || st.Drops != 0 {
		t.Errorf("afterwards %+v", st)
	}
}

func TestASegmentThatCannotBeRemovedIsKeptAndTheNextGoes(t *testing.T) {
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	feed(t, s, 0, 600)
	s.store.mu.Lock()
	first, second, all := s.store.segments[0].seq, s.store.segments[1].seq, len(s.store.segments)
	s.store.mu.Unlock()
	path := s.store.path(first)
	for _, err := range []error{os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !s.store.evictOldest() {
		t.Fatal("nothing was removed")
	}
	if _, err := os.Stat(s.store.path(second)); err == nil {
		t.Error("the second segment is still there")
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if g := s.store.segments[0]; g.seq != first || g.leaving || len(s.store.segments) != all-1 {
		t.Errorf("the ring has %d segments, the first is %+v", len(s.store.segments), g)
	}
}

// crowdedDisk is one of twenty segments.
type crowdedDisk struct {
	systemDisk
	free int64
}

func (d *crowdedDisk) room(string) (free, size int64) { return d.free, 20 * 64 << 10 }

func TestTheRingLeavesRoomForBundlesOnADiskSmallerThanItsLimit(t *testing.T) {
	c, d := smallSpool(), &crowdedDisk{free: 3 * 64 << 10}
	c.MaxBytes *= 4
	s := mustSpool(t, t.TempDir(), c, d)
	minutes := func(from, n int) {
		for i := from; i < from+n; i++ {
			s.Write(at(time.Duration(i) * time.Minute))
			if err := s.Flush(); err != nil { // fills a page up
				t.Fatal(err)
			}
		}
	}
	minutes(0, 200)
	if st := s.Stats(); st.Segments < 8 || st.Drops != 0 {
		t.Fatalf("on an empty disk: %+v", st)
	}
	d.free = 64 << 10 // a segment fits, and nothing else then
	minutes(200, 40)
	st := s.Stats()
	if st.DiskBytes > 2*c.SegmentBytes || st.Segments == 0 || st.Drops != 0 || s.Health() != nil {
		t.Errorf("on a full disk: %+v, %v", st, s.Health())
	}
	if held := int64(math.Round(st.Days * st.DayBytes)); held != st.DiskBytes {
		t.Errorf("the days are those of %d bytes, the ring has %d", held, st.DiskBytes)
	}
}
