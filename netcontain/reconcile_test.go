package netcontain_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
)

var (
	discard = slog.New(slog.DiscardHandler)
	gateway = netip.MustParseAddr("192.0.2.1")
)

func isolated(ids ...string) netcontain.Policy {
	var p netcontain.Policy
	for i, id := range ids {
		p.Hosts = append(p.Hosts, netcontain.Host{ID: id, MACs: []netcontain.MAC{{2, 0, 0, 0, 0, byte(i + 1)}}, Level: netcontain.Isolate})
	}
	return p
}

func reconciler(t *testing.T, f *netcontaintest.Fake, change func(*netcontain.Config)) *netcontain.Reconciler {
	t.Helper()
	cfg := netcontain.Config{Enforcer: f, Log: discard}
	if change != nil {
		change(&cfg)
	}
	r, err := netcontain.NewReconciler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSetAppliesBeforeItReturns(t *testing.T) {
	f := &netcontaintest.Fake{}
	r := reconciler(t, f, nil)
	if err := r.Set(t.Context(), isolated("a")); err != nil {
		t.Fatal(err)
	}
	got, _ := f.Observed(t.Context())
	if d := netcontain.Diff(isolated("a"), got); !d.Empty() {
		t.Error(d)
	}
}

func TestNothingIsTouchedBeforeTheFirstSet(t *testing.T) {
	f := &netcontaintest.Fake{}
	f.Tamper(isolated("from before the restart"))
	r := reconciler(t, f, nil)
	if d, err := r.Check(t.Context()); err != nil || !d.Empty() || f.Applied() != 0 {
		t.Errorf("drift %v, error %v, applied %d times", d, err, f.Applied())
	}
}

func TestDriftIsRepairedWithinASecondAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &netcontaintest.Fake{}
		reported := make(chan netcontain.Drift, 8)
		r := reconciler(t, f, func(c *netcontain.Config) {
			c.OnDrift = func(d netcontain.Drift, err error) { reported <- d }
		})
		if err := r.Set(t.Context(), isolated("a")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		f.Tamper(netcontain.Policy{})
		start := time.Now()
		d := <-reported
		if took := time.Since(start); took > time.Second || len(d.Missing) != 1 || d.Missing[0].ID != "a" {
			t.Errorf("after %v: %s", took, d)
		}
		if got, _ := f.Observed(ctx); len(got.Hosts) != 1 {
			t.Error("not repaired")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAChangeIsLookedAtWithoutWaitingForTheTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &netcontaintest.Fake{}
		changes, reported := make(chan struct{}), make(chan netcontain.Drift)
		r := reconciler(t, f, func(c *netcontain.Config) {
			c.Every, c.Changes = time.Hour, changes
			c.OnDrift = func(d netcontain.Drift, err error) { reported <- d }
		})
		if err := r.Set(t.Context(), isolated("a")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		f.Tamper(isolated("a", "b"))
		start := time.Now()
		changes <- struct{}{}
		if d := <-reported; len(d.Extra) != 1 || time.Since(start) != 0 {
			t.Errorf("after %v: %s", time.Since(start), d)
		}
		cancel()
		<-done
	})
}

func TestAFailedApplyIsTriedAgain(t *testing.T) {
	f := &netcontaintest.Fake{}
	r := reconciler(t, f, nil)
	broken := errors.New("no buffer space")
	f.Fail(broken)
	if err := r.Set(t.Context(), isolated("a")); !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	f.Fail(nil)
	if d, err := r.Check(t.Context()); err != nil || len(d.Missing) != 1 {
		t.Errorf("drift %s, error %v", d, err)
	}
	if d, err := r.Check(t.Context()); err != nil || !d.Empty() {
		t.Errorf("not repaired: drift %s, error %v", d, err)
	}
}

func TestARefusedPolicyLeavesTheOneBefore(t *testing.T) {
	f := &netcontaintest.Fake{NeverAddrs: []netip.Addr{gateway}}
	r := reconciler(t, f, nil)
	if err := r.Set(t.Context(), isolated("a")); err != nil {
		t.Fatal(err)
	}
	bad := isolated("a", "b")
	bad.Hosts[1].Addrs = []netip.Addr{gateway}
	err := r.Set(t.Context(), bad)
	if !errors.Is(err, netcontain.ErrNever) || !strings.Contains(err.Error(), "192.0.2.1") || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("error %v", err)
	}
	if d := netcontain.Diff(isolated("a"), r.Desired()); !d.Empty() {
		t.Errorf("desired changed: %s", d)
	}
}

func TestAHostWithoutAddressesDoesNotStopTheOthers(t *testing.T) {
	f := &netcontaintest.Fake{}
	p := isolated("a")
	p.Hosts = append(p.Hosts, netcontain.Host{ID: "ghost", Level: netcontain.Isolate})
	if err := reconciler(t, f, nil).Set(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.Observed(t.Context()); len(got.Hosts) != 1 || got.Hosts[0].ID != "a" {
		t.Errorf("held %+v", got.Hosts)
	}
}

func TestRefinementIsAppliedAndItsFailureNeitherDelaysNorLoosensContainment(t *testing.T) {
	f := &netcontaintest.Fake{}
	var fail error
	r := reconciler(t, f, func(c *netcontain.Config) {
		c.Refine = func(p netcontain.Policy) (netcontain.Policy, error) {
			p = p.Canonical()
			p.Hosts[0].Ports = []string{"lan1"}
			return p, fail
		}
	})
	if err := r.Set(t.Context(), isolated("a")); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.Observed(t.Context()); len(got.Hosts[0].Ports) != 1 {
		t.Error("not refined")
	}
	fail = errors.New("bridge gone")
	if err := r.Set(t.Context(), isolated("a", "b")); err != nil {
		t.Error(err)
	}
	for range 2 {
		got, _ := f.Observed(t.Context())
		if len(got.Hosts) != 2 || !slices.Equal(got.Hosts[0].Ports, []string{"lan1"}) || len(got.Hosts[1].Ports) != 0 {
			t.Errorf("held %+v", got)
		}
		if d, err := r.Check(t.Context()); err != nil || !d.Empty() {
			t.Errorf("drift %s, error %v", d, err)
		}
	}
	free := isolated("a")
	free.Hosts[0].Level = netcontain.Limit
	if err := r.Set(t.Context(), free); err != nil {
		t.Error(err)
	}
	if got, _ := f.Observed(t.Context()); len(got.Hosts[0].Ports) != 0 {
		t.Errorf("a port that was held for another level is held on: %+v", got)
	}
}

// slow is an enforcer, one of whose parts hangs for as long as its context lets
// it.
type slow struct {
	netcontaintest.Fake
	looking chan struct{} // a look began
	hangs   atomic.Bool
}

func (s *slow) Observed(ctx context.Context) (netcontain.Policy, error) {
	if s.hangs.Load() {
		s.looking <- struct{}{}
		<-ctx.Done()
		return netcontain.Policy{}, &netcontain.AlteredError{What: ctx.Err().Error()}
	}
	return s.Fake.Observed(ctx)
}

func TestANewPolicyDoesNotWaitForALookThatHangs(t *testing.T) {
	e := &slow{looking: make(chan struct{})}
	r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: e, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), isolated("a")); err != nil {
		t.Fatal(err)
	}
	e.hangs.Store(true)
	checked := make(chan error)
	go func() {
		_, err := r.Check(t.Context())
		checked <- err
	}()
	<-e.looking
	e.hangs.Store(false)
	if err := r.Set(t.Context(), isolated("a", "b")); err != nil { // hangs for good when it waits
		t.Fatal(err)
	}
	if err := <-checked; !errors.Is(err, netcontain.ErrGaveWay) || netcontain.SetsInForce(err) {
		t.Errorf("the look says %v", err)
	}
	if got, _ := e.Fake.Observed(t.Context()); len(got.Hosts) != 2 || e.Applied() != 2 {
		t.Errorf("held %+v, applied %d times", got.Hosts, e.Applied())
	}
	if d, err := r.Check(t.Context()); err != nil || !d.Empty() {
		t.Errorf("afterwards: drift %s, error %v", d, err)
	}
}

// laborious takes its time for every look.
type laborious struct {
	netcontaintest.Fake
	looks int
}

func (l *laborious) Observed(ctx context.Context) (netcontain.Policy, error) {
	l.looks++
	time.Sleep(10 * time.Millisecond)
	return l.Fake.Observed(ctx)
}

func TestAnEndlessRowOfChangesCostsHalfAProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, changes := &laborious{}, make(chan struct{})
		r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: e, Log: discard, Changes: changes})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Set(t.Context(), isolated("a")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		for ctx.Err() == nil {
			select {
			case changes <- struct{}{}:
			case <-ctx.Done():
			}
		}
		<-done
		if e.looks < 45 || e.looks > 51 {
			t.Errorf("%d looks of 10 ms in a second", e.looks)
		}
	})
}

func TestTheEndOfAFailureIsReported(t *testing.T) {
	f := &netcontaintest.Fake{}
	var reports []error
	r := reconciler(t, f, func(c *netcontain.Config) {
		c.OnDrift = func(_ netcontain.Drift, err error) { reports = append(reports, err) }
	})
	f.Fail(errors.New("no buffer space"))
	if err := r.Set(t.Context(), isolated("a")); err == nil {
		t.Fatal("no error")
	}
	f.Fail(nil)
	f.Tamper(isolated("a")) // what was asked for is there after all
	for range 2 {
		if d, err := r.Check(t.Context()); err != nil || !d.Empty() {
			t.Errorf("drift %s, error %v", d, err)
		}
	}
	if len(reports) != 1 || reports[0] != nil {
		t.Errorf("reported %v", reports)
	}
}

func TestAFailureThatGoesOnFillsNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &netcontaintest.Fake{}
		var log bytes.Buffer
		told := 0
		r := reconciler(t, f, func(c *netcontain.Config) {
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			c.OnDrift = func(netcontain.Drift, error) { told++ }
		})
		f.Fail(errors.New("no buffer space"))
		_ = r.Set(t.Context(), isolated("a"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(2*time.Minute + time.Second)
		cancel()
		<-done
		if lines := strings.Count(log.String(), "\n"); lines < 2 || lines > 3 || told < 200 {
			t.Errorf("%d lines, told %d times:\n%s", lines, told, log.String())
		}
	})
}

// altered says that somebody changed the rules, as often as told.
type altered struct {
	netcontaintest.Fake
	times int
}

func (a *altered) Observed(ctx context.Context) (netcontain.Policy, error) {
	p, err := a.Fake.Observed(ctx)
	if a.times--; a.times >= 0 {
		err = &netcontain.AlteredError{What: "tables are gone"}
	}
	return p, err
}

func TestWhatWasInForceGoesBackBeforeTheNetworkIsAsked(t *testing.T) {
	e := &altered{}
	var whenAsked []int // how often the enforcer had been applied
	port := "lan1"
	r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: e, Log: discard, Refine: func(p netcontain.Policy) (netcontain.Policy, error) {
		whenAsked = append(whenAsked, e.Applied())
		p = p.Canonical()
		p.Hosts[0].Ports = []string{port}
		return p, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), isolated("a")); err != nil {
		t.Fatal(err)
	}
	e.times = 1
	if d, err := r.Check(t.Context()); err != nil || d.Altered == "" {
		t.Errorf("drift %s, error %v", d, err)
	}
	if n := whenAsked[len(whenAsked)-1]; n != 2 || e.Applied() != 2 {
		t.Errorf("the network was asked after %d of %d times", n, e.Applied())
	}
	e.times, port = 1, "lan2"
	if d, err := r.Check(t.Context()); err != nil || d.Altered == "" {
		t.Errorf("drift %s, error %v", d, err)
	}
	if p, _ := e.Fake.Observed(t.Context()); p.Hosts[0].Ports[0] != "lan2" || e.Applied() != 4 {
		t.Errorf("held %+v, applied %d times", p.Hosts, e.Applied())
	}
	e.Fail(errors.New("no buffer space"))
	e.times = 1
	if _, err := r.Check(t.Context()); err == nil {
		t.Error("a failed repair is no error")
	}
}

func TestWhatTwoClaimBelongsToTheStricterOne(t *testing.T) {
	shared := netip.MustParseAddr("192.0.2.9")
	p := netcontain.Policy{Hosts: []netcontain.Host{
		{ID: "a", Level: netcontain.Limit, Addrs: []netip.Addr{shared, netip.MustParseAddr("192.0.2.8")}},
		{ID: "b", Level: netcontain.Isolate, Addrs: []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.9"), netip.IPv4Unspecified()}},
	}}.Canonical()
	if len(p.Hosts[0].Addrs) != 1 || len(p.Hosts[1].Addrs) != 1 || p.Hosts[1].Addrs[0] != shared {
		t.Errorf("%+v", p.Hosts)
	}
}

func TestCanonicalIsAFixedPointAndIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p netcontain.Policy
		for i := range rapid.IntRange(0, 5).Draw(t, "hosts") {
			h := netcontain.Host{ID: string(rune('a' + i)), Level: netcontain.Level(rapid.IntRange(0, 2).Draw(t, "level"))}
			for range rapid.IntRange(0, 3).Draw(t, "addrs") {
				h.Addrs = append(h.Addrs, netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "addr")}))
			}
			p.Hosts = append(p.Hosts, h)
		}
		for range rapid.IntRange(0, 5).Draw(t, "prefixes") {
			p.Allow = append(p.Allow, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "net")}), rapid.IntRange(0, 32).Draw(t, "bits")))
		}
		c := p.Canonical()
		if d := netcontain.Diff(c, c.Canonical()); !d.Empty() {
			t.Fatalf("not a fixed point: %s", d)
		}
		turned := netcontain.Policy{Hosts: rapid.Permutation(p.Hosts).Draw(t, "order"), Allow: rapid.Permutation(p.Allow).Draw(t, "allow order")}
		if d := netcontain.Diff(p, turned); !d.Empty() {
			t.Fatalf("order matters: %s", d)
		}
	})
}

func TestInvalidPoliciesAreNamed(t *testing.T) {
	for want, p := range map[string]netcontain.Policy{
		"no ID":       {Hosts: []netcontain.Host{{MACs: []netcontain.MAC{{2}}}}},
		"used twice":  {Hosts: append(isolated("a").Hosts, isolated("a").Hosts...)},
		"neither MAC": {Hosts: []netcontain.Host{{ID: "a"}}},
		"level 9":     {Hosts: []netcontain.Host{{ID: "a", MACs: []netcontain.MAC{{2}}, Level: 9}}},
		"at most 100": isolated(strings.Repeat("x", 101)),
	} {
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}
