//go:build twin

package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
	"sekisho/image/twin"
)

// kernel is a twin with the program of linetest, and its lines seen from outside.
type kernel struct {
	*twin.Machine
	gpio *twin.GPIO
}

func boot(t *testing.T) *kernel {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, ctx := t.TempDir(), t.Context()
	cache, err := twin.CacheFolder()
	must(err)
	debian, err := twin.FetchKernel(ctx, cache)
	must(err)
	init, initramfs := filepath.Join(dir, "init"), filepath.Join(dir, "initramfs")
	must(twin.BuildGuest(ctx, "sekisho/hal/rpi/linetest", init))
	must(twin.WriteInitramfs(initramfs, debian, init, "virtio_mmio", "virtio_console", "gpio-pl061"))
	// Not the test's own context: that ends before the clean-up.
	m, err := twin.Start(context.Background(), twin.Config{Kernel: debian, Initramfs: initramfs, GPIO: true, Control: true})
	must(err)
	t.Cleanup(func() {
		_ = m.Cut()
		if t.Failed() {
			t.Logf("the console:\n%s", strings.Join(m.Console(), "\n"))
		}
	})
	gpio, err := m.GPIO(ctx)
	must(err)
	ready, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	_, err = m.Await(ready, "READY")
	must(err)
	return &kernel{m, gpio}
}

func (k *kernel) call(t *testing.T, op string, in, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := k.Call(ctx, op, in, out); err != nil {
		t.Fatalf("%s: %v", op, err)
	}
}

func (k *kernel) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) { // only polling shows it
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (k *kernel) part(t *testing.T, name string) string {
	t.Helper()
	var parts map[string]string
	k.call(t, "parts", nil, &parts)
	return parts[name]
}

// TestThePanelOnRealLinesInTheTwin is hal/rpi on Debian's kernel, the button pushed
// and the lamp seen from outside.
func TestThePanelOnRealLinesInTheTwin(t *testing.T) {
	k := boot(t)
	k.await(t, "the button to be told busy", func() bool { return strings.Contains(k.part(t, "button"), "in use by something else") })
	k.await(t, "the missing light to be told", func() bool { return strings.Contains(k.part(t, "blue"), `no line "9"`) })
	k.call(t, "show", hal.Status{State: hal.Attention, Lang: "en", Target: "a"}, nil)
	k.await(t, "amber", func() bool { return k.gpio.High(6) && k.gpio.High(7) }) // the button's trouble is not the lamp's
	k.call(t, "free", nil, nil)
	k.await(t, "the button to come", func() bool { return k.part(t, "button") == "<nil>" })

	var period time.Duration
	k.call(t, "debounce", nil, &period)
	if period != 5*time.Millisecond {
		t.Errorf("the kernel debounces for %v", period)
	}
	var pressed []hal.Press
	for n := 1; n <= 3; n++ {
		for _, down := range []bool{true, false} {
			if _, err := k.gpio.Set(t.Context(), 5, down); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond) // a finger's time
		}
		k.await(t, "the press", func() bool {
			k.call(t, "pressed", nil, &pressed)
			return len(pressed) >= n
		})
	}
	time.Sleep(10 * panel.Debounce) // for one too many
	k.call(t, "pressed", nil, &pressed)
	if len(pressed) != 3 {
		t.Errorf("three pushes were %d presses", len(pressed))
	}
	for _, p := range pressed {
		if p.Gesture != hal.Short || p.Target != "a" {
			t.Errorf("a push was %+v", p)
		}
	}
	var took time.Duration
	k.call(t, "stop", nil, &took)
	t.Logf("the panel ended in %v of the guest", took)
	if took > 2*time.Second {
		t.Errorf("the panel took %v to end", took)
	}
	k.await(t, "darkness", func() bool { return !k.gpio.High(6) && !k.gpio.High(7) })
}
