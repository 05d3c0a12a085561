package dummy

import (
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The runtime never ends a process's first thread, not even when the goroutine that
// is locked to it ends: it would stay in the device's namespace for good.
func TestTheFirstThreadOfTheProcessStaysInItsNamespace(t *testing.T) {
	const own = "/proc/self/ns/net"
	before, err := os.Readlink(own)
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{}
	if d.space, err = newSpace(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() }) //nolint:errcheck
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				err := d.inside(func() error {
					if unix.Gettid() == unix.Getpid() {
						t.Error("the first thread is in the device's namespace")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if after, err := os.Readlink(own); after != before {
		t.Errorf("it is in %s, was in %s, %v", after, before, err)
	}
}
