//go:build twin

package powercut

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/image/twin"
	"sekisho/image/twin/blklog"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "seed of the power cuts; 0: a new one")
	recordingFlag = flag.String("recording", "", "folder of a recording that a failed run kept: cut that one again")
	imagesFlag    = flag.Int("images", 160, "crash images of the honest drive; of the lying one, a quarter")
)

const (
	promisesWanted = 600     // then the recording ends
	logBytes       = 1 << 30 // sparse
	lyingHolds     = 64      // writes in the cache of the drive that lies
)

// TestPromisesSurvivePowerCutsInTheTwin is the lane: the appliance's packages
// work in the twin, QEMU records its disk, and the power is cut in the
// recording. Each run has its control, a drive that ignores flushes: if the
// checks did not catch that one, they would prove nothing of the honest one.
func TestPromisesSurvivePowerCutsInTheTwin(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	dir, begun := *recordingFlag, time.Now()
	if dir == "" {
		dir = fastFolder(t)
		record(t, dir)
	}
	recorded := time.Since(begun)
	r := openRecording(t, dir)
	honest := r.cut(t, blklog.Drive{}, seed, *imagesFlag)
	lying := r.cut(t, blklog.Drive{Lies: true, Holds: lyingHolds}, seed, max(1, *imagesFlag/4))
	for _, err := range honest.broken[:min(5, len(honest.broken))] {
		t.Errorf("%.2000s", err)
	}
	if 2*len(lying.broken) < lying.images {
		t.Errorf("control: a drive that ignores flushes was caught in %d of %d images: the checks are blind", len(lying.broken), lying.images)
	}
	t.Logf("power cuts: %d promises, %d requests, %d flushes recorded in %.0f s; honest drive: %d of %d images broke a promise, %.1f writes at stake in each; "+
		"control: lying drive caught in %d of %d; seed %d, %.0f s in all", len(r.marks), len(r.log.Entries), r.flushes(), recorded.Seconds(),
		len(honest.broken), honest.images, float64(honest.loose)/float64(honest.images), len(lying.broken), lying.images, seed, time.Since(begun).Seconds())
	if t.Failed() && *recordingFlag == "" {
		r.keep(t, dir, seed)
	}
}

// fastFolder is in memory where there is room for that: what the checks sync
// has to last no longer than they do.
func fastFolder(t *testing.T) string {
	t.Helper()
	const memory, need = "/dev/shm", 1 << 30
	var fs unix.Statfs_t
	if err := unix.Statfs(memory, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < need {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "sekisho-twin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// record runs the work in the twin and leaves in dir: before, the disk as it
// was; log, what was written to it.
func record(t *testing.T, dir string) {
	t.Helper()
	ctx := t.Context()
	file := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cache, err := twin.CacheFolder()
	must(err)
	kernel, err := twin.FetchKernel(ctx, cache)
	must(err)
	must(twin.BuildGuest(ctx, "sekisho/image/twin/powercut/init", file("init")))
	must(twin.WriteInitramfs(file("initramfs"), kernel, file("init"), "virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"))
	must(makeDisk(ctx, file("before")))
	for name, size := range map[string]int64{"disk": 0, "log": logBytes} {
		must(os.WriteFile(file(name), nil, 0o600))
		must(os.Truncate(file(name), size))
	}
	before, err := os.ReadFile(file("before"))
	must(err)
	must(writeSparse(file("disk"), before))
	m, err := twin.Start(ctx, twin.Config{Kernel: kernel, Initramfs: file("initramfs"), Args: twin.LoggedDrive(file("disk"), file("log"))})
	must(err)
	line, err := m.Await(ctx, fmt.Sprintf("PROMISE %d ", promisesWanted), "FAILED")
	if err != nil || line[0] == 'F' {
		t.Fatal(line, err)
	}
	must(m.Stop())
	t.Log("kernel", kernel.Version)
}
