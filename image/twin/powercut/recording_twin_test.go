//go:build twin

package powercut

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"sekisho/image/twin"
	"sekisho/image/twin/blklog"
)

// recording is a log with the promises in it.
type recording struct {
	before []byte
	log    *blklog.Log
	marks  []markedPromise
}

type markedPromise struct {
	at int // index of the mark's entry
	Promise
}

func openRecording(t *testing.T, dir string) *recording {
	t.Helper()
	before, err := os.ReadFile(filepath.Join(dir, "before"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	log, err := blklog.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{before: before, log: log}
	for i, e := range log.Entries {
		if !e.Writes() || e.Sector < FilesystemBytes/int64(log.SectorSize) {
			continue
		}
		data, err := log.Data(e)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := decodeMark(data)
		if !ok || p.N != int64(len(r.marks)+1) {
			t.Fatalf("entry %d: promise %d expected, got %+v", i, len(r.marks)+1, p)
		}
		r.marks = append(r.marks, markedPromise{i, p})
	}
	if len(r.marks) < promisesWanted || r.flushes() == 0 {
		t.Fatalf("%d promises and %d flushes in the log, %d promises were made", len(r.marks), r.flushes(), promisesWanted)
	}
	return r
}

func (r *recording) flushes() (n int) {
	for _, e := range r.log.Entries {
		if e.Flags&blklog.Flush != 0 {
			n++
		}
	}
	return n
}

// at returns what was promised before the power went after n requests.
func (r *recording) at(n int) []Promise {
	var out []Promise
	for _, m := range r.marks {
		if m.at < n {
			out = append(out, m.Promise)
		}
	}
	return out
}

// moments chooses when the power goes, in order: anywhere; right after a
// promise, when least time has passed to make it good; right before a flush of
// several writes, when most is at stake.
func (r *recording) moments(random *rand.Rand, n int) []int {
	var full []int
	writes := 0
	for i, e := range r.log.Entries {
		switch {
		case e.Flags&blklog.Flush == 0:
			writes++
			continue
		case writes > 1:
			full = append(full, i)
		}
		writes = 0
	}
	out := make([]int, n)
	for i := range out {
		switch i % 3 {
		case 0:
			out[i] = random.IntN(len(r.log.Entries) + 1)
		case 1:
			out[i] = r.marks[random.IntN(len(r.marks))].at + 1
		case 2:
			out[i] = full[random.IntN(len(full))]
		}
	}
	slices.Sort(out)
	return out
}

type verdict struct {
	images int
	loose  int     // writes left to chance, of all images
	broken []error // one for each image that breaks promises
}

// cut makes images of the drive and checks each.
func (r *recording) cut(t *testing.T, d blklog.Drive, seed uint64, images int) verdict {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	replay := blklog.NewReplay(r.log, d, r.before)
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(runtime.GOMAXPROCS(0))
	v := verdict{images: images}
	var mu sync.Mutex
	dir := fastFolder(t)
	for k, n := range r.moments(random, images) {
		image, loose, err := replay.Cut(n, random)
		if err != nil {
			t.Fatal(err)
		}
		v.loose += loose
		g.Go(func() error {
			if err := examine(ctx, filepath.Join(dir, fmt.Sprint(k)), image, r.at(n)); err != nil {
				mu.Lock()
				v.broken = append(v.broken, fmt.Errorf("image %d, power cut after request %d of %d: %w", k, n, len(r.log.Entries), err))
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return v
}

// examine boots from the image, as far as that goes without a machine.
func examine(ctx context.Context, dir string, image []byte, given []Promise) error {
	files, disk := filepath.Join(dir, "files"), filepath.Join(dir, "disk")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return err
	}
	defer removeAll(dir)
	if err := writeSparse(disk, image); err != nil {
		return err
	}
	if err := readBack(ctx, disk, files); err != nil {
		return err
	}
	return check(ctx, files, given)
}

// keep saves the recording of a failed run, so that it can be cut again.
func (r *recording) keep(t *testing.T, dir string, seed uint64) {
	cache, err := twin.CacheFolder()
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(cache, fmt.Sprint("failed-", seed))
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"before", "log"} {
		if err := copyHead(filepath.Join(to, name), filepath.Join(dir, name), max(r.log.Size, int64(len(r.before)))); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("again: go test -tags twin ./image/twin/powercut -args -recording %s -seed %d -images %d", to, seed, *imagesFlag)
}

// copyHead copies size bytes at most.
func copyHead(to, from string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, size))
	return errors.Join(err, out.Close())
}
