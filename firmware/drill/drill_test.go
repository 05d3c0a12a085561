package drill

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var nine = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

var addrs = cmpopts.EquateComparable(netip.Addr{})

func after(s int) time.Time { return nine.Add(time.Duration(s) * time.Second) }

// sample is a sensible input of each kind, s seconds after the start.
func sample(k Kind, s int) Input {
	in := Input{Kind: k, At: after(s)}
	switch k {
	case InReady:
		in.Device = Device{MAC: "02:53:4b:00:00:01", IP: netip.MustParseAddr("192.168.77.200"), Port: "drill0"}
	case InDetected:
		in.Incident = "20261127-090010-0001"
	case InPressed:
		in.By = "button"
	case InSealed:
		in.Bundle = "/evidence/bundles/x"
	case InStop:
		in.By = "web:Sato"
	}
	return in
}

// way is how a drill that goes well comes into each state.
var way = []Kind{InReady, InBad, InDetected, InShown, InPressed, InProven, InSealed}

// in brings a new drill into a state by legal inputs, two seconds apart.
func in(t *testing.T, s State) Drill {
	t.Helper()
	d := New(nine, "web:Sato", 0)
	for n, k := range way {
		if d.State == s && k != InBad && k != InShown {
			break
		}
		d, _ = Step(d, sample(k, 2*(n+1)))
	}
	if d.State != s {
		t.Fatalf("the way to %s ended in %s", s, d.State)
	}
	return d
}

// steps is the state machine as a table: a row per input, a column per state.
// "=" stays; behind a colon is how it ends.
var steps = map[Kind]string{
	//          preparing          | acting             | asking             | isolating          | sealing            | ended
	InReady:    "acting            | =                  | =                  | =                  | =                  | =",
	InBad:      "=                 | =                  | =                  | =                  | =                  | =",
	InDetected: "=                 | asking             | =                  | =                  | =                  | =",
	InShown:    "=                 | =                  | =                  | =                  | =                  | =",
	InPressed:  "=                 | =                  | isolating          | =                  | =                  | =",
	InProven:   "=                 | =                  | =                  | sealing            | =                  | =",
	InUnproven: "=                 | =                  | =                  | ended: not_proven  | ended: not_proven  | =",
	InSealed:   "=                 | =                  | =                  | =                  | ended: passed      | =",
	InTick:     "=                 | =                  | =                  | =                  | =                  | =",
	InStop:     "ended: stopped    | ended: stopped     | ended: stopped     | ended: stopped     | ended: stopped     | =",
	InYield:    "ended: yielded    | ended: yielded     | ended: yielded     | ended: yielded     | ended: yielded     | =",
	InCopied:   "ended: copied     | ended: copied      | ended: copied      | ended: copied      | ended: copied      | =",
	InBroken:   "ended: broken     | ended: broken      | ended: broken      | ended: broken      | ended: broken      | =",
	InRestart:  "ended: interrupted| ended: interrupted | ended: interrupted | ended: interrupted | ended: interrupted | =",
}

// late is the row of a tick when the time of the state is over.
const late = "ended: broken | ended: not_detected | ended: nobody_pressed | ended: not_proven | ended: not_sealed | ="

func check(t *testing.T, d Drill, in Input, cell string) {
	t.Helper()
	next, cmds := Step(d, in)
	state, outcome, _ := strings.Cut(strings.TrimSpace(cell), ":")
	want, out := State(state), Outcome(strings.TrimSpace(outcome))
	if state == "=" {
		want, out = d.State, d.Outcome
	}
	var do []Command
	switch {
	case want == Ended && d.State != Ended:
		do = []Command{CleanUp}
	case want == Acting && d.State != Acting:
		do = []Command{Misbehave}
	}
	if next.State != want || next.Outcome != out || !slices.Equal(cmds, do) {
		t.Errorf("%s in %s: got %s %q %v, want %s %q %v", in.Kind, d.State, next.State, next.Outcome, cmds, want, out, do)
	}
	if state == "=" && next != d && in.Kind != InBad && in.Kind != InShown {
		t.Errorf("%s in %s changed the drill: %s", in.Kind, d.State, cmp.Diff(d, next, addrs))
	}
}

func TestEveryStateAndInputHasItsPlaceInTheTable(t *testing.T) {
	for _, k := range Kinds() {
		cells := strings.Split(steps[k], "|")
		if len(cells) != len(States()) {
			t.Errorf("input %s: %d cells for %d states", k, len(cells), len(States()))
			continue
		}
		for n, s := range States() {
			check(t, in(t, s), sample(k, 20), cells[n])
		}
	}
}

func TestEveryStateEndsWithItsTime(t *testing.T) {
	for n, s := range States() {
		d := in(t, s)
		tick := Input{Kind: InTick, At: d.Started.Add(24 * time.Hour)}
		if end, runs := d.Deadline(); runs {
			tick.At = end
			check(t, d, Input{Kind: InTick, At: end.Add(-time.Nanosecond)}, "=")
		}
		check(t, d, tick, strings.Split(late, "|")[n])
	}
}

func TestADrillThatGoesWellKnowsItsTimes(t *testing.T) {
	d := in(t, Ended)
	want := Drill{
		ID: "drill-20261127-090000.000", By: "web:Sato", State: Ended, Outcome: Passed, Limit: DefaultLimit,
		Device: sample(InReady, 0).Device, Incident: "20261127-090010-0001", Bundle: "/evidence/bundles/x", PressedBy: "button",
		Started: nine, Since: after(14), FirstBad: after(4), Detected: after(6), Shown: after(8), Pressed: after(10), Proven: after(12),
		Sealed: after(14), Ended: after(14),
	}
	if diff := cmp.Diff(want, d, addrs); diff != "" {
		t.Error(diff)
	}
	for name, f := range map[string]func() (time.Duration, bool){"detection": d.Detection, "reaction": d.Reaction, "isolation": d.Isolation} {
		if got, ok := f(); got != 2*time.Second || !ok {
			t.Errorf("%s took %v, %v", name, got, ok)
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back Drill
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, back, addrs); diff != "" {
		t.Errorf("written and read again: %s", diff)
	}
}

// Who stops a drill at once and begins another must not write over the first, and
// what is left of the first must not be taken for the second's.
func TestTwoDrillsOfOneSecondAreTwo(t *testing.T) {
	one, other := New(nine, "web:Sato", 0), New(nine.Add(20*time.Millisecond), "web:Sato", 0)
	if one.ID >= other.ID {
		t.Errorf("%s, then %s", one.ID, other.ID)
	}
}

func TestAPersonHasTheWholeLimitFromWhenTheScreenAsked(t *testing.T) {
	d, _ := Step(New(nine, "web:Sato", time.Minute), sample(InReady, 1))
	d, _ = Step(d, sample(InDetected, 10))
	d, _ = Step(d, sample(InShown, 30))
	if end, _ := d.Deadline(); end != after(90) {
		t.Errorf("the person has until %v, want %v", end, after(90))
	}
	d, _ = Step(d, sample(InShown, 60)) // drawn once more
	if end, _ := d.Deadline(); end != after(90) {
		t.Errorf("a second picture moved the end to %v", end)
	}
}

func TestAPressOlderThanThePictureTookNoTime(t *testing.T) {
	d := in(t, Asking)
	d, _ = Step(d, Input{Kind: InPressed, At: d.Shown.Add(-30 * time.Millisecond), By: "button"})
	if took, ok := d.Reaction(); took != 0 || !ok {
		t.Errorf("the reaction took %v, %v", took, ok)
	}
}

// Whatever happens in whatever order: a drill that ended stays as it is, it is
// cleaned up exactly once, and it misbehaves at most once and never after that.
func TestAnyOrderEndsCleanAndOnlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, cleaned, acted, s := New(nine, "web:Sato", time.Minute), 0, 0, 0
		for range rapid.IntRange(0, 60).Draw(t, "length") {
			s += rapid.IntRange(0, 40).Draw(t, "pause")
			next, cmds := Step(d, sample(rapid.SampledFrom(Kinds()).Draw(t, "input"), s))
			if d.State == Ended && d != next {
				t.Fatal("an ended drill changed")
			}
			if acted > 0 && next.State == Preparing || cleaned > 0 && slices.Contains(cmds, Misbehave) {
				t.Fatal("it began again")
			}
			for _, c := range cmds {
				cleaned, acted = cleaned+b2i(c == CleanUp), acted+b2i(c == Misbehave)
			}
			d = next
		}
		if want := b2i(d.State == Ended); cleaned != want || acted > 1 {
			t.Fatalf("cleaned up %d times, want %d; misbehaved %d times", cleaned, want, acted)
		}
		if d.Outcome == Passed && (d.Pressed.IsZero() || d.Proven.IsZero() || d.Bundle == "") {
			t.Fatal("passed without a press, a proof or evidence")
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestPeopleAreToldEverythingInBothLanguages(t *testing.T) {
	told := map[Text]bool{}
	say := func(what string, text Text) {
		t.Helper()
		if text.In("en") == "" || text.In("ja") == "" || text.EN == text.JA || told[text] {
			t.Errorf("%s: %+v", what, text)
		}
		told[text] = true
	}
	for _, s := range States() {
		if s != Ended {
			say(string(s), in(t, s).Now())
		}
	}
	for _, o := range Outcomes() {
		d := in(t, Ended)
		d.Outcome = o
		say(string(o), d.Remark())
	}
	for _, r := range Refusals() {
		say(string(r), r.Text())
	}
	if got := in(t, Ended).Remark(); !strings.Contains(got.JA, "2秒") || !strings.Contains(got.EN, "2 seconds") {
		t.Errorf("the time is not told: %+v", got)
	}
}

func TestSpansReadLikeSpeech(t *testing.T) {
	for d, want := range map[time.Duration]Text{
		0: {"0 seconds", "0秒"}, 1400 * time.Millisecond: {"1 second", "1秒"}, 14 * time.Second: {"14 seconds", "14秒"},
		time.Minute: {"1 minute", "1分"}, 125 * time.Second: {"2 minutes 5 seconds", "2分5秒"},
	} {
		if got := Span(d); got != want {
			t.Errorf("%v: %+v, want %+v", d, got, want)
		}
	}
}
