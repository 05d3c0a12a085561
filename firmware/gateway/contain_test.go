package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/netcontain"
	"sekisho/netcontain/probe"
)

// says has a device announce an address by ARP.
func says(p *Pipeline, at time.Time, mac flow.MAC, addr string) {
	p.inventory.Observe(&flow.ARP{
		Meta: flow.Meta{Time: at, SrcMAC: mac}, Op: 2, SenderMAC: mac, SenderIP: netip.MustParseAddr(addr),
	})
}

func TestAnAddressThatAHeldDeviceTookByItsOwnWordIsNotHeldWithIt(t *testing.T) {
	lan := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	liar, neighbour := flow.MAC{2, 0, 0, 0, 0, 1}, flow.MAC{2, 0, 0, 0, 0, 2}
	clock := start
	g := &Gateway{parts: Parts{Pipeline: NewPipeline(PipelineConfig{LAN: lan})}, now: func() time.Time { return clock }}
	p := g.parts.Pipeline
	says(p, clock, neighbour, "192.0.2.12")
	says(p, clock, liar, "192.0.2.11")
	clock = clock.Add(10 * time.Minute) // the neighbour has been quiet, and its claim is old
	says(p, clock, liar, "192.0.2.12")
	says(p, clock, liar, "192.0.2.13") // nobody's
	addrs := func() []netip.Addr {
		h := g.known(netcontain.Host{ID: "i", MACs: []netcontain.MAC{netcontain.MAC(liar)}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.12")}})
		slices.SortFunc(h.Addrs, netip.Addr.Compare)
		return slices.Compact(h.Addrs)
	}
	own := []netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.13")}
	if got := addrs(); !slices.Equal(got, own) {
		t.Errorf("held by %v, want %v", got, own)
	}
	clock = clock.Add(neighbourFor + time.Hour) // whoever had it has been gone for weeks
	says(p, clock, liar, "192.0.2.11")
	if got := addrs(); !slices.Contains(got, netip.MustParseAddr("192.0.2.12")) {
		t.Errorf("an address that nobody else uses any more: held by %v", got)
	}
}

// wires is a Prover whose watches say what the test wants. A proof takes 3 s of
// the bench's clock when the host is silent, as a real one does.
type wires struct {
	b       *proofBench
	watched []netcontain.Host
	say     probe.Result
	err     error
	blind   error // of Watch
}

func (w *wires) Watch(_ context.Context, h netcontain.Host) (Watch, error) {
	w.watched = append(w.watched, h)
	return w, w.blind
}

func (w *wires) Prove(context.Context, time.Time) (probe.Result, error) {
	if w.say.FramesFromHost == 0 {
		w.b.clock = w.b.clock.Add(3 * time.Second)
	}
	return w.say, w.err
}

func (w *wires) Blind() bool  { return false }
func (w *wires) Close() error { return nil }

// proofBench is the core's part in proofs, one step at a time: a held device and
// a clock.
type proofBench struct {
	*Gateway
	clock time.Time
	wire  *wires
	id    string
	asked []time.Duration // when proofs began, after the start
}

func newProofBench(t *testing.T) *proofBench {
	t.Helper()
	b := &proofBench{clock: start}
	b.wire = &wires{b: b, say: silence}
	now := func() time.Time { return b.clock }
	b.Gateway = &Gateway{
		parts: Parts{Pipeline: NewPipeline(PipelineConfig{}), Prover: b.wire}, log: slog.New(slog.DiscardHandler), now: now,
		desk: incident.NewDesk(incident.Policy{}), faults: newFaults(), requests: make(chan func()), results: make(chan result, 4),
		watches: map[string]hostWatch{}, proving: map[string]bool{}, proveAt: map[string]time.Time{}, proofs: map[string]proofs{},
	}
	mac := flow.MAC{2, 0, 0, 0, 0, 1}
	c := b.desk.Request(b.clock, asset.Asset{ID: asset.ID("mac:" + mac.String()), MAC: mac}, incident.Isolate, "web:Aoba", "")
	b.id = c.Incident.ID
	b.Gateway.watch(t.Context(), c.Incident)
	b.step(t, incident.Input{Kind: incident.InApplied, Level: incident.Isolate})
	return b
}

func (b *proofBench) step(t *testing.T, in incident.Input) incident.Incident {
	t.Helper()
	in.At = b.clock
	c, err := b.desk.Apply(b.id, in)
	if err != nil {
		t.Fatal(err)
	}
	return c.Incident
}

// proof runs one proof to its end.
func (b *proofBench) proof(t *testing.T) incident.Incident {
	t.Helper()
	b.asked = append(b.asked, b.clock.Sub(start))
	b.prove(t.Context(), b.id)
	(<-b.requests)()
	b.work.Wait()
	return b.step(t, (<-b.results).in)
}

// until goes on to the next proof that is due, and runs it.
func (b *proofBench) next(t *testing.T) incident.Incident {
	t.Helper()
	b.clock = b.proveAt[b.id]
	return b.proof(t)
}

var (
	silence = probe.Result{Verdict: probe.BestEffort, Text: probe.Text{EN: "no answer", JA: "応答なし"}}
	heard   = probe.Result{Verdict: probe.Proven, FramesFromHost: 2, Text: probe.Text{EN: "proven", JA: "確認済み"}}
)

func TestASilentHostIsAskedAgainSoonAndThenAsOftenAsOthers(t *testing.T) {
	b := newProofBench(t)
	i := b.proof(t)
	lines, text := len(i.History), i.Proof.Text
	for range 6 {
		if i = b.next(t); i.Proof.Grade != incident.BestEffort || i.Proof.Text != text || len(i.History) != lines {
			t.Errorf("it does not stay as it is: %+v, history %d, was %d", i.Proof, len(i.History), lines)
		}
	}
	s := time.Second
	if want := []time.Duration{0, 6 * s, 12 * s, 18 * s, 24 * s, 30 * s, 63 * s}; !slices.Equal(b.asked, want) {
		t.Errorf("asked after %v, want %v", b.asked, want)
	}
}

func TestAHostThatAnswersLateIsProvenAtTheNextQuestion(t *testing.T) {
	b := newProofBench(t)
	b.proof(t)
	b.wire.say = heard
	i := b.next(t)
	if i.Proof.Grade != incident.Proven || i.State != incident.Contained || b.asked[1] != 6*time.Second {
		t.Errorf("%+v after %v", i.Proof, b.asked)
	}
	b.next(t)
	if got := b.asked[2] - b.asked[1]; got != proveEvery {
		t.Errorf("a proven host is asked again after %v", got)
	}
	b.wire.say = silence // switched off, say: asked soon once more
	b.next(t)
	from := len(b.asked) - 1
	b.next(t)
	if got := b.asked[from+1] - b.asked[from]; got != 6*time.Second {
		t.Errorf("asked again after %v", got)
	}
}

func TestOtherDoubtsAreNoReasonToAskSoon(t *testing.T) {
	for name, say := range map[string]probe.Result{
		"shared port": {Verdict: probe.BestEffort, FramesFromHost: 3},
		"lost frames": {Verdict: probe.BestEffort, FramesFromHost: 0, Drops: 4},
		"leaks":       {Verdict: probe.NotIsolated, FramesLeaked: 1},
	} {
		b := newProofBench(t)
		b.wire.say = say
		b.proof(t)
		if got := b.proveAt[b.id].Sub(b.clock); got != proveEvery {
			t.Errorf("%s: asked again after %v", name, got)
		}
	}
	b := newProofBench(t)
	b.wire.err = errors.New("no sockets")
	if i := b.proof(t); i.Proof.Grade != incident.BestEffort || b.proveAt[b.id].Sub(b.clock) != proveEvery {
		t.Errorf("%+v", i.Proof)
	}
	b.wire.err = nil
	b.unwatch(b.id)
	if len(b.proofs) != 0 {
		t.Errorf("remembered for ever: %v", b.proofs)
	}
}

func TestAProofSaysWhatItDidNotCount(t *testing.T) {
	b := newProofBench(t)
	b.wire.say = heard
	if i := b.proof(t); i.Proof.Text.EN != "proven" {
		t.Errorf("%+v", i.Proof.Text)
	}
	follower := flow.MAC{2, 0, 0, 0, 0, 2}
	b.clock = b.clock.Add(time.Minute)
	i, _ := b.desk.Get(b.id)
	c, _ := b.desk.Relate(b.clock, b.id, []asset.Kin{{ID: "mac:02:00:00:00:00:02", MAC: follower, Follows: true}})
	if i = c.Incident; len(i.Asset.Kin) != 1 {
		t.Fatalf("%+v", i.Asset)
	}
	b.Gateway.watch(t.Context(), i)
	if n := len(b.wire.watched); n != 2 || len(b.wire.watched[1].MACs) != 2 {
		t.Fatalf("watched %+v", b.wire.watched)
	}
	at := b.clock.In(time.Local).Format("15:04:05")
	for range 2 {
		i = b.next(t)
		if !strings.HasPrefix(i.Proof.Text.EN, "proven Another address") || !strings.Contains(i.Proof.Text.EN, at) ||
			!strings.Contains(i.Proof.Text.JA, at) || i.Proof.Grade != incident.Proven {
			t.Errorf("%+v", i.Proof)
		}
	}
}

func TestAWireThatCannotBeWatchedIsTriedAgainButNotAllTheTime(t *testing.T) {
	b := newProofBench(t)
	b.unwatch(b.id)
	b.wire.watched, b.wire.blind = nil, errors.New("no such device")
	look := func() {
		i, _ := b.desk.Get(b.id)
		b.Gateway.watch(t.Context(), i)
	}
	for range 4 * int(refreshEvery/time.Second) {
		look()
		b.clock = b.clock.Add(beat)
	}
	if n := len(b.wire.watched); n != 1 {
		t.Errorf("tried %d times in %v", n, refreshEvery)
	}
	b.wire.blind = nil
	look()
	if _, ok := b.watches[b.id]; !ok || len(b.wire.watched) != 2 {
		t.Errorf("not watched when it can be; tried %d times", len(b.wire.watched))
	}
}
