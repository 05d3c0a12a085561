package incident

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func device(n byte) asset.Asset {
	mac := flow.MAC{2, 0, 0, 0, 0xab, n}
	return asset.Asset{ID: asset.ID("mac:" + mac.String()), MAC: mac, Kind: asset.KindComputer, FirstSeen: noon, LastSeen: noon}
}

// in brings a fresh incident into a state by legal inputs alone.
func in(t *testing.T, s State) Incident {
	t.Helper()
	i := Incident{ID: "x", State: Open, Asset: device(1), Level: Watch, Action: Suggest, Opened: noon, Updated: noon, Since: noon}
	ways := map[State][]Kind{
		Open: {}, Containing: {InPress}, Contained: {InPress, InApplied, InProven},
		Eradicating: {InPress, InApplied, InProven, InTick}, Probation: {InPress, InApplied, InProven, InRelease},
		Closed: {InPress, InApplied, InProven, InRelease, InExpired}, ContainFailed: {InPress, InApplyFailed}, Dismissed: {InDismiss},
	}
	for _, k := range ways[s] {
		if k == InRelease {
			i = ticked(i)
		}
		i, _ = Step(i, sample(k))
	}
	if i.State != s {
		t.Fatalf("the way to %s ended in %s", s, i.State)
	}
	return i
}

// ticked has everything done that a release needs, without a line of history.
func ticked(i Incident) Incident {
	i = i.clone()
	for n := range i.Checklist {
		i.Checklist[n].At, i.Checklist[n].By = noon, "web:sato"
	}
	return i
}

// tickedOnly has one item done.
func tickedOnly(i Incident, key string) Incident {
	i = i.clone()
	for n := range i.Checklist {
		if i.Checklist[n].Key == key {
			i.Checklist[n].At, i.Checklist[n].By = noon, "web:sato"
		}
	}
	return i
}

func sample(k Kind) Input {
	in := Input{Kind: k, At: noon.Add(time.Minute), By: "web:sato", Note: "note", Level: Isolate, Proof: Proof{Grade: Proven}}
	switch k {
	case InPress:
		in.By = ByButton
	case InTick, InUntick:
		in.Item = "cause"
	case InLower:
		in.Level = Limit
	case InAuto:
		in.By = ByAuto
	case InFinding:
		in.Finding = detect.Finding{Time: in.At, First: noon, Detector: "worm", Score: .9, Confidence: detect.Medium}
		in.Assessment = Assessment{Score: .9, Confidence: detect.Medium, Action: Suggest}
	case InLeaked:
		in.Proof = Proof{Grade: NotIsolated, Leaked: 3}
	}
	return in
}

// steps is the state machine as a table: a row per input, a column per state.
// "x" refused, "=" stays; what follows are the commands.
var steps = map[Kind]string{
	//                open                                             | containing | contained | eradicating | probation | closed | contain_failed | dismissed
	InFinding:      "= | = | = | = | closed: notify relapse | x | = | x",
	InPress:        "containing: set_level isolate, freeze_evidence, notify containing | = | = | = | containing: set_level isolate, freeze_evidence, notify containing | x | containing: set_level isolate, freeze_evidence, notify containing | x",
	InRequest:      "containing: set_level isolate, freeze_evidence, notify containing | = | = | = | containing: set_level isolate, freeze_evidence, notify containing | x | containing: set_level isolate, freeze_evidence, notify containing | x",
	InAuto:         "containing: set_level isolate, freeze_evidence, notify containing | = | = | = | containing: set_level isolate, freeze_evidence, notify containing | x | x | x",
	InApplied:      "x | =: prove_isolation | = | = | = | x | containing: prove_isolation | x",
	InApplyFailed:  "x | contain_failed: notify contain_failed | contain_failed: notify contain_failed | contain_failed: notify contain_failed | =: notify release_failed | x | = | x",
	InProven:       "x | x | = | = | x | x | x | x",
	InLeaked:       "x | contain_failed: notify contain_failed | contain_failed: notify contain_failed | contain_failed: notify contain_failed | x | x | = | x",
	InFrozen:       "= | = | = | = | = | = | = | =: unpin_evidence",
	InFreezeFailed: "=: notify evidence | =: notify evidence | =: notify evidence | =: notify evidence | =: notify evidence | = | =: notify evidence | =",
	InSealed:       "x | =: notify sealed | =: notify sealed, unpin_evidence | =: notify sealed, unpin_evidence | =: notify sealed, unpin_evidence | =: notify sealed, unpin_evidence | =: notify sealed | x",
	InSealFailed:   "x | =: notify evidence | =: notify evidence | =: notify evidence | =: notify evidence | =: notify evidence | =: notify evidence | x",
	InRelease:      "x | x | x | x | x | x | x | x", // nothing is done yet, see ready
	InTick:         "x | = | eradicating | = | x | x | = | x",
	InUntick:       "x | = | = | = | x | x | = | x",
	InLower:        "x | =: set_level limit, freeze_evidence, notify containing | containing: set_level limit, freeze_evidence, notify containing | containing: set_level limit, freeze_evidence, notify containing | x | x | containing: set_level limit, freeze_evidence, notify containing | x",
	InUndo:         "x | x | x | x | x | x | x | x", // a person held it, see byPolicy
	InExpired:      "x | x | x | x | closed: notify closed | x | x | x",
	InDismiss:      "dismissed: notify dismissed | x | x | x | =: notify dismissed | x | x | x", // nobody has agreed yet, see ready
	InUnteach:      "x | x | x | x | = | = | x | =",
	InDeadline:     "x | contain_failed: notify contain_failed | x | x | x | x | x | x",
	InRestart:      "=: freeze_evidence | =: set_level isolate, freeze_evidence | =: set_level isolate, freeze_evidence, seal_bundle | =: set_level isolate, freeze_evidence, seal_bundle | =: release, freeze_evidence, seal_bundle | =: seal_bundle | =: set_level isolate, freeze_evidence | =",
	InDrillOver:    "x | x | x | x | x | x | x | x", // it is none, see drilled
}

func TestEveryStateAndInputHasItsPlaceInTheTable(t *testing.T) {
	for _, k := range Kinds() {
		cells := strings.Split(steps[k], "|")
		if len(cells) != len(States()) {
			t.Errorf("input %s: %d cells for %d states", k, len(cells), len(States()))
			continue
		}
		for n, s := range States() {
			check(t, in(t, s), sample(k), cells[n])
		}
	}
}

// ready has the gate with everything done, and for a false alarm with what that
// needs, in every state.
var ready = map[Kind]string{
	InRelease: "x | probation: release, notify released, seal_bundle | probation: release, notify released, seal_bundle | probation: release, notify released, seal_bundle | x | x | probation: release, notify released, seal_bundle | x",
	InDismiss: "dismissed: notify dismissed | probation: release, notify released, seal_bundle, notify dismissed | probation: release, notify released, seal_bundle, notify dismissed | probation: release, notify released, seal_bundle, notify dismissed | =: notify dismissed | x | probation: release, notify released, seal_bundle, notify dismissed | x",
}

func TestTheGateOpensWhenWhatItNeedsIsDone(t *testing.T) {
	done := map[Kind]func(Incident) Incident{InRelease: ticked, InDismiss: func(i Incident) Incident { return tickedOnly(i, agreed) }}
	for k, row := range ready {
		for n, s := range States() {
			check(t, done[k](in(t, s)), sample(k), strings.Split(row, "|")[n])
		}
	}
}

// byPolicy has what depends on who decided: for a device that policy holds, and
// one that it released by time.
var byPolicy = map[Kind]string{
	//           containing | contained | eradicating | contain_failed | probation
	InUndo:     "open: release, notify undone | open: release, notify undone | open: release, notify undone | open: release, notify undone | containing: set_level isolate, freeze_evidence, notify containing",
	InDeadline: "contain_failed: notify contain_failed | probation: release, notify released, seal_bundle | probation: release, notify released, seal_bundle | x | x",
	InDismiss:  "probation: release, notify released, seal_bundle, notify dismissed | probation: release, notify released, seal_bundle, notify dismissed | probation: release, notify released, seal_bundle, notify dismissed | probation: release, notify released, seal_bundle, notify dismissed | =: notify dismissed",
}

func TestWhatPolicyDidHasItsPlaceInTheTableToo(t *testing.T) {
	for k, row := range byPolicy {
		for n, s := range []State{Containing, Contained, Eradicating, ContainFailed, Probation} {
			input := sample(k)
			if k == InDeadline {
				input.By = ByPolicy
			}
			check(t, automatic(t, s), input, strings.Split(row, "|")[n])
		}
	}
}

// automatic brings a fresh incident into a state without a person.
func automatic(t *testing.T, s State) Incident {
	t.Helper()
	i := in(t, Open)
	ways := map[State][]Kind{
		Containing: {InAuto}, Contained: {InAuto, InApplied, InProven}, Eradicating: {InAuto, InApplied, InProven, InTick},
		ContainFailed: {InAuto, InApplyFailed}, Probation: {InAuto, InApplied, InProven, InDeadline},
	}
	for _, k := range ways[s] {
		input := sample(k)
		if k == InDeadline {
			input.By = ByPolicy
		}
		i, _ = Step(i, input)
	}
	if i.State != s || i.Automatic.At.IsZero() {
		t.Fatalf("the way to %s ended in %s, %+v", s, i.State, i.Automatic)
	}
	return i
}

// atLimit has the inputs whose meaning depends on the level: for a device that
// is being limited, limited, and for which that failed.
var atLimit = map[Kind]string{
	//              containing | contained | contain_failed
	InPress:       "=: set_level isolate, freeze_evidence, notify containing | containing: set_level isolate, freeze_evidence, notify containing | containing: set_level isolate, freeze_evidence, notify containing",
	InAuto:        "=: set_level isolate, freeze_evidence, notify containing | containing: set_level isolate, freeze_evidence, notify containing | x",
	InApplied:     "contained: notify limited, seal_bundle | = | contained: notify limited, seal_bundle",
	InApplyFailed: "contain_failed: notify contain_failed | contain_failed: notify contain_failed | =",
	InProven:      "x | x | x",
	InLeaked:      "x | x | x",
	InLower:       "x | x | x",
	InRestart:     "=: set_level limit, freeze_evidence | =: set_level limit, freeze_evidence, seal_bundle | =: set_level limit, freeze_evidence",
}

func TestALimitedDeviceHasItsPlaceInTheTableToo(t *testing.T) {
	for k, row := range atLimit {
		for n, s := range []State{Containing, Contained, ContainFailed} {
			input := sample(k)
			if k == InApplied || k == InApplyFailed {
				input.Level = Limit
			}
			check(t, limited(t, s), input, strings.Split(row, "|")[n])
		}
	}
}

// limited brings a fresh incident into a state at Limit.
func limited(t *testing.T, s State) Incident {
	t.Helper()
	i := in(t, Open)
	ways := map[State][]Kind{Containing: {InRequest}, Contained: {InRequest, InApplied}, ContainFailed: {InRequest, InApplyFailed}}
	for _, k := range ways[s] {
		input := sample(k)
		input.Level = Limit
		i, _ = Step(i, input)
	}
	if i.State != s || i.Level != Limit {
		t.Fatalf("the way to %s ended in %s at %s", s, i.State, i.Level)
	}
	return i
}

// check steps once and compares with a cell of a table.
func check(t *testing.T, before Incident, input Input, cell string) {
	t.Helper()
	s, k := before.State, input.Kind
	after, commands := Step(before, input)
	got := string(after.State)
	last := Transition{}
	if len(after.History) > 0 {
		last = after.History[len(after.History)-1]
	}
	grew := len(after.History) - len(before.History)
	switch {
	case grew == 1 && last.Refused:
		if got = "x"; after.State != s || len(commands) != 0 || last.Note == "" {
			t.Errorf("%s, %s: refused, yet it changed something or gave no reason", s, k)
		}
	case after.State == s:
		got = "="
	case grew != 1 || last.From != s || last.To != after.State || last.Input != k:
		t.Errorf("%s, %s: transition is not in the history: %+v", s, k, last)
	}
	for c, command := range commands {
		got += map[bool]string{true: ": ", false: ", "}[c == 0] + command.String()
	}
	if want := strings.TrimSpace(cell); got != want {
		t.Errorf("%s, %s: got %q, table says %q", s, k, got, want)
	}
}

// What a person reads is whole, or says that it is not: never half a character.
func TestALongTextIsCutVisibly(t *testing.T) {
	whole := strings.Repeat("量", maxText/3)
	if got := bounded(whole); got != whole {
		t.Errorf("%d bytes were cut to %d", len(whole), len(got))
	}
	got := bounded(whole + "量")
	if kept, cut := strings.CutSuffix(got, "…"); !cut || len(got) > maxText || len(got) < maxText-5 || !strings.HasPrefix(whole, kept) {
		t.Errorf("cut to %d bytes, ending in %q", len(got), got[max(0, len(got)-9):])
	}
}

func TestAnUnknownInputIsRefused(t *testing.T) {
	i, commands := Step(in(t, Open), Input{Kind: "nonsense", At: noon})
	if len(commands) != 0 || !i.History[0].Refused {
		t.Errorf("got %v, %+v", commands, i.History)
	}
}

func TestWhatIsSealedIsPinnedNoLonger(t *testing.T) {
	unpins := func(i Incident, k Kind) (Incident, bool) {
		next, c := Step(i, sample(k))
		return next, slices.Contains(c, Command(UnpinEvidence{}))
	}
	sealed, done := unpins(in(t, Contained), InSealed)
	if !done {
		t.Error("the pin stays although the bundle is complete")
	}
	if _, done := unpins(sealed, InFrozen); !done {
		t.Error("a pin that came after the bundle stays")
	}
	if _, done := unpins(sealed, InRestart); !done {
		t.Error("a power cut before the pin was taken off leaves it there")
	}
	// A device that still gets through is worth its packets until it is stopped.
	leaks, done := unpins(in(t, ContainFailed), InSealed)
	if done {
		t.Error("unpinned while frames get through")
	}
	if _, done := unpins(ticked(leaks), InRelease); !done {
		t.Error("the pin stays after the release")
	}
}

func TestHeldFromIsTheProofOrElseTheOrder(t *testing.T) {
	if at := in(t, Open).HeldFrom(); !at.IsZero() {
		t.Errorf("never held, yet from %s", at)
	}
	i := in(t, ContainFailed)
	ordered := i.Decision.At
	release := sample(InRelease)
	release.At = noon.Add(time.Hour)
	if i, _ = Step(ticked(i), release); !i.HeldFrom().Equal(ordered) {
		t.Errorf("never proven: from %s, ordered at %s", i.HeldFrom(), ordered)
	}
	i, _ = Step(in(t, Containing), sample(InApplied))
	proof := sample(InProven)
	proof.At = noon.Add(2 * time.Minute)
	if i, _ = Step(i, proof); !i.HeldFrom().Equal(proof.At) {
		t.Errorf("proven: from %s", i.HeldFrom())
	}
}

func TestProofCountsOnlyAfterTheLevelIsInForce(t *testing.T) {
	i := in(t, Containing)
	if i, _ = Step(i, sample(InProven)); i.State != Containing {
		t.Fatalf("an early proof led to %s", i.State)
	}
	i, _ = Step(i, sample(InApplied))
	i, commands := Step(i, sample(InProven))
	if i.State != Contained || i.Contained.IsZero() || i.Proof.Grade != Proven {
		t.Errorf("got %s, %+v", i.State, i.Proof)
	}
	if diff := cmp.Diff([]Command{Notify{NoticeContained}, SealBundle{}}, commands); diff != "" {
		t.Error(diff)
	}
}

func TestAProofThatCountsLeaksIsNone(t *testing.T) {
	i, _ := Step(in(t, Containing), sample(InApplied))
	p := sample(InProven)
	p.Proof = Proof{Grade: Proven, Leaked: 1}
	if i, _ = Step(i, p); i.State != ContainFailed || i.Proof.Grade != NotIsolated {
		t.Errorf("got %s, %+v", i.State, i.Proof)
	}
}

func TestAHeldDeviceIsProvenAgainAfterARestart(t *testing.T) {
	i, _ := Step(in(t, Contained), sample(InRestart))
	i, commands := Step(i, sample(InApplied))
	if diff := cmp.Diff([]Command{ProveIsolation{}}, commands); diff != "" {
		t.Error(diff)
	}
	if i, _ = Step(i, sample(InLeaked)); i.State != ContainFailed {
		t.Errorf("a leak after the restart left it %s", i.State)
	}
}

func TestReleaseAndDismissalAreNeverAGesture(t *testing.T) {
	for _, k := range []Kind{InRelease, InDismiss, InTick, InLower, InUndo} {
		for _, by := range []string{"", ByButton, ByPage, ByAuto, ByPolicy, ByGateway, "web", "web: "} {
			input := sample(k)
			input.By = by
			if i, c := Step(ticked(automatic(t, Contained)), input); i.State != Contained || len(c) != 0 {
				t.Errorf("%s by %q led to %s, %v", k, by, i.State, c)
			}
		}
	}
}

func TestAProtectedDeviceIsAskedForTwice(t *testing.T) {
	fresh := in(t, Open)
	fresh.Guard = GuardTwice
	once, commands := Step(fresh, sample(InPress))
	if once.State != Open || len(commands) != 1 || commands[0] != (Notify{NoticeAskAgain}) {
		t.Fatalf("first press: %s, %v", once.State, commands)
	}
	late := sample(InPress)
	late.At = late.At.Add(askWindow + time.Second)
	if i, _ := Step(once, late); i.State != Open {
		t.Error("a press long after the first one was taken for the second")
	}
	if i, _ := Step(once, sample(InPress)); i.State != Containing {
		t.Errorf("second press: %s", i.State)
	}
	if i, _ := Step(once, sample(InAuto)); i.State != Open {
		t.Error("policy counted as the second ask")
	}
}

func TestTheGatewayIsNeverContained(t *testing.T) {
	for _, k := range []Kind{InPress, InRequest, InAuto} {
		i := in(t, Open)
		i.Asset.Gateway = true
		if i, c := Step(i, sample(k)); i.State != Open || len(c) != 0 {
			t.Errorf("%s: %s, %v", k, i.State, c)
		}
	}
}

func TestALimitIsToldAsALimit(t *testing.T) {
	i := limited(t, Contained)
	if i.Proof.Grade != Limited || i.Proof.Text.EN == "" || i.Proof.Text.JA == "" || !i.Contained.IsZero() || !i.Raisable() || i.Waiting() {
		t.Errorf("%+v, contained %s, raisable %v", i.Proof, i.Contained, i.Raisable())
	}
	i, _ = Step(i, sample(InPress))
	i, _ = Step(i, sample(InApplied))
	if i, _ = Step(i, sample(InProven)); i.Proof.Grade != Proven || i.Contained.IsZero() || i.Raisable() {
		t.Errorf("raised: %+v, raisable %v", i.Proof, i.Raisable())
	}
}

func TestLimitIsRaisedToIsolateByAPress(t *testing.T) {
	limit := sample(InRequest)
	limit.Level = Limit
	i, _ := Step(in(t, Open), limit)
	i, _ = Step(i, Input{Kind: InApplied, At: noon, Level: Limit})
	i, c := Step(i, sample(InPress))
	if i.State != Containing || i.Level != Isolate || c[0] != (SetLevel{Isolate}) {
		t.Fatalf("got %s at %s, %v", i.State, i.Level, c)
	}
	if i, _ = Step(i, Input{Kind: InApplied, At: noon, Level: Limit}); i.Applied {
		t.Error("the late result for limit counted for isolate")
	}
}

func TestReleaseByTimeNeedsTheOwnersWord(t *testing.T) {
	input := sample(InDeadline)
	input.By = ByPolicy
	if i, _ := Step(automatic(t, Contained), input); i.State != Probation {
		t.Errorf("the owner's deadline led to %s", i.State)
	}
	if i, _ := Step(in(t, Contained), input); i.State != Contained {
		t.Errorf("a person's isolation ended by time: %s", i.State)
	}
}

func TestHistoryIsBoundedAndKeepsItsBeginning(t *testing.T) {
	i := in(t, Contained)
	first := i.History[0]
	for n := 0; n < 3*maxHistory; n++ {
		i, _ = Step(i, sample(InPress))
	}
	if len(i.History) != maxHistory || i.HistoryDropped != 3*maxHistory+3-maxHistory {
		t.Errorf("%d lines, %d dropped", len(i.History), i.HistoryDropped)
	}
	if i.History[0] != first {
		t.Error("the first line is gone")
	}
}

func TestStepLeavesTheOldSnapshotAlone(t *testing.T) {
	before := in(t, Eradicating)
	before, _ = Step(before, sample(InFinding))
	copied := before.clone()
	for _, k := range Kinds() {
		Step(before, sample(k))
	}
	if diff := cmp.Diff(copied, before, cmp.Comparer(func(a, b asset.Asset) bool { return a.ID == b.ID })); diff != "" {
		t.Error(diff)
	}
}
