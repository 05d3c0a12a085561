package netcontain_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
)

// hangs is an access point that does not answer for a while, as hostapd does:
// its Apply ends with its context, and by itself at its own limit.
type hangs struct {
	netcontaintest.Fake
	takes time.Duration
	ended int // by the context
}

func (h *hangs) Apply(ctx context.Context, p netcontain.Policy) error {
	select {
	case <-ctx.Done():
		h.ended++
		return ctx.Err()
	case <-time.After(h.takes):
		return h.Fake.Apply(ctx, p)
	}
}

// onWiFi is isolated, held by the access point too.
func onWiFi(ids ...string) netcontain.Policy {
	p := isolated(ids...)
	for i := range p.Hosts {
		p.Hosts[i].By = []netcontain.Mechanism{netcontain.ByWiFi}
	}
	return p
}

const moment = 50 * time.Millisecond

// promptly is a reconciler over sets and one access point.
func promptly(t *testing.T, takes time.Duration) (*netcontain.Reconciler, *netcontaintest.Fake, *hangs) {
	t.Helper()
	sets, ap := &netcontaintest.Fake{}, &hangs{takes: takes}
	l := netcontain.Layers{Base: sets, More: map[netcontain.Mechanism]netcontain.Enforcer{netcontain.ByWiFi: netcontain.NewPrompt(ap, moment)}}
	r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: l, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	return r, sets, ap
}

func TestAnAccessPointThatHangsDelaysNoOtherIsolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, sets, ap := promptly(t, time.Second)
		began := time.Now()
		for n, p := range []netcontain.Policy{onWiFi("a"), onWiFi("a", "b"), onWiFi("a", "b", "c")} {
			if err := r.Set(t.Context(), p); !errors.Is(err, netcontain.ErrUnderWay) || !netcontain.SetsInForce(err) {
				t.Errorf("press %d: %v", n, err)
			}
			if took := time.Since(began); took > time.Duration(n+1)*moment {
				t.Errorf("press %d is over after %v", n, took)
			}
			if got, _ := sets.Observed(t.Context()); len(got.Hosts) != n+1 {
				t.Errorf("press %d: the sets hold %d", n, len(got.Hosts))
			}
		}
		synctest.Wait()
		if ap.ended != 2 {
			t.Errorf("%d policies were replaced by the next, want 2", ap.ended)
		}
		if d, err := r.Check(t.Context()); err != nil || !d.Empty() {
			t.Errorf("afterwards: drift %s, error %v", d, err)
		}
		if got, _ := ap.Fake.Observed(t.Context()); len(got.Hosts) != 3 || ap.Applied() != 1 {
			t.Errorf("the access point holds %d, applied %d times", len(got.Hosts), ap.Applied())
		}
	})
}

func TestAnIsolationDoesNotWaitForALookThatWaitsForAnAccessPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, sets, _ := promptly(t, time.Second)
		_ = r.Set(t.Context(), onWiFi("a"))
		looked := make(chan error)
		go func() {
			_, err := r.Check(t.Context())
			looked <- err
		}()
		synctest.Wait() // it waits for what is under way
		began := time.Now()
		if err := r.Set(t.Context(), onWiFi("a", "b")); !netcontain.SetsInForce(err) {
			t.Error(err)
		}
		if err := <-looked; !errors.Is(err, netcontain.ErrGaveWay) {
			t.Errorf("the look says %v", err)
		}
		if got, _ := sets.Observed(t.Context()); len(got.Hosts) != 2 || time.Since(began) > moment {
			t.Errorf("the sets hold %d after %v", len(got.Hosts), time.Since(began))
		}
		synctest.Wait()
		time.Sleep(time.Second) // what is under way ends inside the bubble
	})
}

func TestAnAccessPointThatAnswersIsWaitedForAndBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, ap := promptly(t, moment/2)
		if err := r.Set(t.Context(), onWiFi("a")); err != nil {
			t.Error(err)
		}
		ap.Fail(errors.New("no such radio"))
		if err := r.Set(t.Context(), onWiFi("a", "b")); err == nil || errors.Is(err, netcontain.ErrUnderWay) {
			t.Errorf("its own error is lost: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := netcontain.NewPrompt(ap, moment).Apply(ended, onWiFi("a")); !errors.Is(err, context.Canceled) {
			t.Errorf("applied although the context had ended: %v", err)
		}
	})
}

func TestAPromptEnforcerIsOneLikeAnyOther(t *testing.T) {
	never := netip.MustParseAddr("192.0.2.1")
	netcontaintest.Conform(t, netcontain.NewPrompt(&netcontaintest.Fake{NeverAddrs: []netip.Addr{never}}, time.Minute), never)
}
