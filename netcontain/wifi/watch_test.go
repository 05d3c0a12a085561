package wifi

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

// watch runs a watcher until the test ends.
func watch(t *testing.T, r *rig) *Watcher {
	t.Helper()
	w, err := NewWatcher(r.Config)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// next waits for an event of that kind.
func next(t *testing.T, w *Watcher, k Kind) Event {
	t.Helper()
	for {
		select {
		case e := <-w.Events():
			if e.Kind == k {
				return e
			}
		case <-t.Context().Done():
			t.Fatalf("never %s", k)
		}
	}
}

func TestStationsThatComeAndGoAreTold(t *testing.T) {
	r, aps := fakeHostapds(t)
	w := watch(t, r)
	next(t, w, Up)
	next(t, w, Up)
	aps[1].say("<3>WPS-SOMETHING else")
	aps[1].say("<3>AP-STA-CONNECTED 02:00:00:00:00:05 auth_alg=open keyid=desk")
	if e := next(t, w, Connected); e != (Event{AP: "wlan1", Kind: Connected, MAC: mac(5), KeyID: "desk"}) {
		t.Errorf("%+v", e)
	}
	select {
	case <-w.Changes():
	case <-t.Context().Done():
	}
	aps[1].say("<3>AP-STA-DISCONNECTED 02:00:00:00:00:05")
	if e := next(t, w, Disconnected); e != (Event{AP: "wlan1", Kind: Disconnected, MAC: mac(5)}) {
		t.Errorf("%+v", e)
	}
}

func TestAHostapdThatStartsAgainIsHeardAgain(t *testing.T) {
	for name, end := range map[string]func(*fake){
		"crash":  func(f *fake) { f.close() },
		"orders": func(f *fake) { f.say("<3>CTRL-EVENT-TERMINATING "); f.close() },
		"hung":   func(f *fake) { f.set(func(f *fake) { f.hung = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, aps := fakeHostapds(t)
			r.Interfaces = r.Interfaces[:1]
			w := watch(t, r)
			next(t, w, Up)
			end(aps[0])
			next(t, w, Down)
			if name == "hung" {
				aps[0].set(func(f *fake) { f.hung = false })
			} else {
				aps[0].open()
			}
			next(t, w, Up)
			aps[0].say("<3>AP-STA-CONNECTED 02:00:00:00:00:05")
			next(t, w, Connected)
		})
	}
}

func TestAnEndedWatcherLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := NewWatcher(Config{Folder: t.TempDir(), Interfaces: []string{"wlan0", "wlan1"}, Log: quiet})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAnEndedWatcherTellsHostapd(t *testing.T) {
	r, aps := fakeHostapds(t)
	w, err := NewWatcher(r.Config)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	next(t, w, Up)
	next(t, w, Up)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	until(t, "both were told", func() bool { return aps[0].asked("DETACH")+aps[1].asked("DETACH") == 2 })
}

func TestEventsThatNobodyTakesAreCounted(t *testing.T) {
	w, err := NewWatcher(Config{Folder: t.TempDir(), Interfaces: []string{"wlan0"}, Log: quiet})
	must(t, err)
	for range maxEvents + 3 {
		w.tell(Event{Kind: Connected})
	}
	if w.Lost() != 3 || len(w.Events()) != maxEvents || len(w.Changes()) != 1 {
		t.Errorf("lost %d, waiting %d, changes %d", w.Lost(), len(w.Events()), len(w.Changes()))
	}
}

func TestKindsHaveNames(t *testing.T) {
	if got := fmt.Sprint(Connected, Disconnected, Up, Down, Kind(9)); !strings.HasPrefix(got, "connected disconnected up down unknown") {
		t.Error(got)
	}
}
