//go:build twin

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/image/twin"
	"sekisho/image/twin/i2cwave"
	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// tryout is a twin with the program of tryouttest, a disk, a NIC wired to a
// host in a namespace, and GPIO.
type tryout struct {
	*twin.Machine
	config twin.Config
	host   *nstest.NS
	gpio   *twin.GPIO
}

func newTryout(t *testing.T) *tryout {
	t.Helper()
	dir, ctx := t.TempDir(), t.Context()
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
	must(twin.BuildGuest(ctx, "sekisho/image/twin/tryouttest", file("init")))
	must(twin.WriteInitramfs(file("initramfs"), kernel, file("init"), "virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "gpio-pl061", "i2c-gpio", "i2c-dev", "rtc-pl031", "crc32c_generic", "ext4"))
	must(os.WriteFile(file("raw"), nil, 0o600))
	must(os.Truncate(file("raw"), 32<<20))
	out, err := exec.Command("/usr/sbin/mkfs.ext4", "-q", file("raw")).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	must(twin.MakeDisk(ctx, file("disk"), file("raw"), 32<<20))
	o := &tryout{host: nstest.New(t), config: twin.Config{Kernel: kernel, Initramfs: file("initramfs"), Disk: file("disk"), GPIO: true, Control: true,
		I2C: &twin.I2C{SDA: 0, SCL: 1}, DeviceTree: file("devicetree")}}
	must(twin.MakeDeviceTree(ctx, file("devicetree"), o.config))
	o.boot(t)
	o.host.Run(t, "ip addr add 192.0.2.2/24 dev eth0")
	o.host.Run(t, "ip link set eth0 up")
	return o
}

func (o *tryout) boot(t *testing.T) {
	t.Helper()
	var tap *os.File
	var err error
	o.host.Do(t, func() { tap, err = twin.OpenTap("eth0") })
	if err != nil {
		t.Fatal(err)
	}
	o.config.NICs = []twin.NIC{{MAC: "52:54:00:00:00:01", Tap: tap}}
	// Not the test's own context: that ends before the clean-up.
	if o.Machine, err = twin.Start(context.Background(), o.config); err != nil {
		t.Fatal(err)
	}
	m := o.Machine
	t.Cleanup(func() { _ = m.Cut() })
	if o.gpio, err = o.GPIO(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.ready(t)
}

func (o *tryout) ready(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if line, err := o.Await(ctx, "READY", "FAILED"); err != nil || line != "READY" {
		t.Fatal(line, err)
	}
}

func (o *tryout) call(t *testing.T, op string, in, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := o.Call(ctx, op, in, out); err != nil {
		t.Fatal(err)
	}
}

// edge waits for the lamp to change to a level.
func (o *tryout) edge(t *testing.T, high bool) twin.Edge {
	t.Helper()
	for {
		select {
		case e := <-o.gpio.Edges():
			if e.Line == lamp && e.High == high {
				return e
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("the lamp is not %t", high)
		}
	}
}

func TestTheMachineIsDrivenAndWatchedFromOutsideInTheTwin(t *testing.T) {
	o := newTryout(t)
	t.Run("control", func(t *testing.T) {
		var back string
		o.call(t, "echo", "word", &back)
		if back != "word" {
			t.Errorf("echo %q", back)
		}
		for op, want := range map[string]string{"fail": "as asked", "none": "no operation", "huge": "an answer of"} {
			if err := o.Call(t.Context(), op, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", op, err)
			}
		}
	})
	t.Run("GPIO", func(t *testing.T) {
		for _, high := range []bool{true, false, true, false} {
			at, err := o.gpio.Set(t.Context(), button, high)
			if err != nil {
				t.Fatal(err)
			}
			if e := o.edge(t, high); e.At.Before(at) || o.gpio.High(lamp) != high {
				t.Errorf("the lamp changed %v before the button, or is not %t", at.Sub(e.At), high)
			}
		}
		if _, err := o.gpio.Set(t.Context(), 99, true); err == nil {
			t.Error("a line that does not exist was set")
		}
	})
	t.Run("wire", func(t *testing.T) { o.host.Run(t, "ping -q -c 1 -W 5 192.0.2.1") })
}

// heard collects what is said on the bus.
type heard struct {
	mu   sync.Mutex
	all  []i2cwave.Message
	last time.Time
}

func (h *heard) take(m i2cwave.Message, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all, h.last = append(h.all, m), at
}

// out returns what was said since the last time, and when the last of it ended.
func (h *heard) out(t *testing.T, b *twin.Bus) (all []i2cwave.Message, last time.Time) {
	t.Helper()
	err := b.Still(t.Context(), func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		all, last, h.all = h.all, h.last, nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, last
}

func TestTheBusIsReadOffItsLinesInTheTwin(t *testing.T) {
	o := newTryout(t)
	var h heard
	bus, err := o.Bus(t.Context(), o.gpio, h.take)
	if err != nil {
		t.Fatal(err)
	}
	every := make([]byte, 1025) // as long as a whole picture, and every byte there is
	for i := range every {
		every[i] = byte(i * 7)
	}
	for range 3 {
		begun := time.Now().Truncate(time.Microsecond)
		o.call(t, "i2c", message{0x3c, every}, nil)
		ended := time.Now()
		all, at := h.out(t, bus)
		if d := cmp.Diff([]i2cwave.Message{{Addr: 0x3c, Data: every, Stopped: true}}, all); d != "" {
			t.Fatal(d)
		}
		if at.Before(begun) || at.After(ended) {
			t.Errorf("sent from %v to %v, and said to be at %v", begun, ended, at)
		}
		t.Log("sent in", at.Sub(begun))
	}
	t.Run("nobody there is an address without an answer", func(t *testing.T) {
		if err := bus.Unplug(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := o.Call(t.Context(), "i2c", message{0x3c, []byte{1}}, nil); err == nil || !strings.Contains(err.Error(), unix.ENXIO.Error()) {
			t.Errorf("sent to nobody: %v", err)
		}
		got, _ := h.out(t, bus)
		for _, m := range got {
			if !m.Refused || len(m.Data) > 0 {
				t.Errorf("nobody took %+v", m)
			}
		}
		if len(got) == 0 {
			t.Error("nothing was sent")
		}
		if err := bus.Plug(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.call(t, "i2c", message{0x3d, []byte{2}}, nil)
		got, _ = h.out(t, bus)
		if d := cmp.Diff([]i2cwave.Message{{Addr: 0x3d, Data: []byte{2}, Stopped: true}}, got); d != "" {
			t.Error(d)
		}
	})
	t.Run("the other lines go on", func(t *testing.T) {
		if _, err := o.gpio.Set(t.Context(), button, true); err != nil {
			t.Fatal(err)
		}
		o.edge(t, true)
	})
}

func TestASavedMachineComesBackWithDiskAndClockInTheTwin(t *testing.T) {
	o := newTryout(t)
	o.call(t, "note", "before", nil)
	if err := o.Save(t.Context(), "base"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		o.call(t, "note", "after", nil)
		begun := time.Now()
		if err := o.Load(t.Context(), "base"); err != nil {
			t.Fatal(err)
		}
		var text string
		o.call(t, "read", nil, &text)
		t.Log("loaded and answered in", time.Since(begun))
		if text != `"before"` {
			t.Errorf("the disk says %s", text)
		}
		if err := o.SetClock(t.Context()); err != nil {
			t.Fatal(err)
		}
		var guest time.Time
		o.call(t, "time", nil, &guest)
		if d := time.Since(guest); d < -time.Second || d > time.Minute {
			t.Errorf("the guest's clock is %v behind", d)
		}
	}
	if _, err := o.gpio.Set(t.Context(), button, true); err != nil {
		t.Fatal(err)
	}
	o.edge(t, true)
	o.host.Run(t, "ping -q -c 1 -W 5 192.0.2.1")
	if err := o.Load(t.Context(), "never"); err == nil {
		t.Error("loaded what was never saved")
	}
}

// carrier says whether the host's cable has a machine at its other end.
func (o *tryout) carrier(t *testing.T) (on bool) {
	t.Helper()
	o.host.Do(t, func() {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			t.Error(err)
			return
		}
		on = link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
	})
	return on
}

func TestAPowerCutLeavesWhatWasSyncedInTheTwin(t *testing.T) {
	o := newTryout(t)
	o.call(t, "note", "synced", nil)
	if !o.carrier(t) {
		t.Error("the host has no carrier while the machine runs")
	}
	if err := o.Cut(); err != nil {
		t.Fatal(err)
	}
	if o.carrier(t) {
		t.Error("the host has a carrier after the power cut")
	}
	o.boot(t)
	var text string
	o.call(t, "read", nil, &text)
	if text != `"synced"` {
		t.Errorf("the disk says %s", text)
	}
	o.host.Run(t, "ping -q -c 1 -W 5 192.0.2.1")
	if err := o.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); strings.Count(strings.Join(o.Console(), "\n"), "READY") < 2; { // again
		if time.Now().After(deadline) {
			t.Fatal("the guest did not start anew")
		}
		time.Sleep(20 * time.Millisecond) // only polling shows it
	}
}
