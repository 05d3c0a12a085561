package evidence

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const day = 24 * time.Hour

// aged is a lifted bundle of 10 bytes, sealed so many days before base.
func aged(id string, days int) KeptBundle {
	return KeptBundle{ID: id, Incident: id, Sealed: base.Add(-time.Duration(days) * day), Timed: true, Size: 10}
}

func held(b KeptBundle) KeptBundle { b.Held = true; return b }

func untimed(b KeptBundle) KeptBundle { b.Timed = false; return b }

func TestWhatIsPlanned(t *testing.T) {
	old := aged("old", 401)
	for name, c := range map[string]struct {
		bundles []KeptBundle
		policy  RetentionPolicy
		change  func(*RetentionState)
		want    RetentionPlan
	}{
		"nothing": {},
		"by age, oldest first": {
			bundles: []KeptBundle{aged("new", 400), old, aged("older", 500), held(aged("held", 900))},
			want:    RetentionPlan{Delete: []Deletion{{"older", ReasonAge, 10}, {"old", ReasonAge, 10}}},
		},
		"by a shorter setting": {
			bundles: []KeptBundle{aged("b", 91), aged("a", 90)}, policy: RetentionPolicy{Keep: 90 * day},
			want: RetentionPlan{Delete: []Deletion{{"b", ReasonAge, 10}}},
		},
		"by quota, no more than needed": {
			bundles: []KeptBundle{aged("c", 100), aged("b", 200), aged("a", 300)}, policy: RetentionPolicy{Quota: 15},
			want: RetentionPlan{Delete: []Deletion{{"a", ReasonQuota, 10}, {"b", ReasonQuota, 10}}},
		},
		"age frees what the quota wants": {
			bundles: []KeptBundle{aged("b", 200), old}, policy: RetentionPolicy{Quota: 10},
			want: RetentionPlan{Delete: []Deletion{{"old", ReasonAge, 10}}},
		},
		"what is held or young stays over the quota, and that is said": {
			bundles: []KeptBundle{held(aged("h", 900)), aged("a", 90)}, policy: RetentionPolicy{Quota: 1},
			want: RetentionPlan{Over: 19},
		},
		"the age is not known": {
			bundles: []KeptBundle{untimed(old), {ID: "zero", Timed: true, Size: 1}}, policy: RetentionPolicy{Quota: 5},
			want: RetentionPlan{Over: 6, Undated: []string{"old", "zero"}},
		},
		"the clock is not synchronised": {
			bundles: []KeptBundle{old}, policy: RetentionPolicy{Quota: 4}, change: func(s *RetentionState) { s.Trusted = false; s.Confirmed = true },
			want: RetentionPlan{Wait: WaitClock, Over: 6},
		},
		"the clock has jumped": {
			bundles: []KeptBundle{old}, change: func(s *RetentionState) { s.LastKnown = base.Add(-MaximumJump - 1) },
			want: RetentionPlan{Wait: WaitJumped},
		},
		"nobody knows when the gateway last ran": {
			bundles: []KeptBundle{old}, change: func(s *RetentionState) { s.LastKnown = time.Time{} },
			want: RetentionPlan{Wait: WaitJumped},
		},
		"a person has confirmed the jump": {
			bundles: []KeptBundle{old}, change: func(s *RetentionState) { s.LastKnown, s.Confirmed = time.Time{}, true },
			want: RetentionPlan{Delete: []Deletion{{"old", ReasonAge, 10}}},
		},
		"an incident goes after its bundle": {
			bundles: []KeptBundle{old},
			change: func(s *RetentionState) {
				long := base.Add(-401 * day)
				s.Incidents = []KeptIncident{{"old", long}, {"bare", long}, {"young", long.Add(2 * day)}, {"zero", time.Time{}}}
			},
			want: RetentionPlan{Delete: []Deletion{{"old", ReasonAge, 10}}, Incidents: []string{"bare"}},
		},
	} {
		s := RetentionState{Bundles: c.bundles, Trusted: true, LastKnown: base.Add(-day)}
		if c.change != nil {
			c.change(&s)
		}
		got, err := PlanRetention(s, c.policy, base)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestLessThanNinetyDaysIsRefused(t *testing.T) {
	for _, p := range []RetentionPolicy{{Keep: 90*day - 1}, {Keep: -day}, {Quota: -1}} {
		if _, err := PlanRetention(RetentionState{Trusted: true, LastKnown: base}, p, base); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}

func TestNoPlanEverTouchesWhatIsHeldYoungOrUndated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := base.Add(time.Duration(rapid.IntRange(-800, 800).Draw(t, "now")) * day)
		s := RetentionState{Trusted: rapid.Bool().Draw(t, "trusted"), Confirmed: rapid.Bool().Draw(t, "confirmed"),
			LastKnown: base.Add(time.Duration(rapid.IntRange(-900, 100).Draw(t, "known")) * day)}
		p := RetentionPolicy{Keep: time.Duration(rapid.IntRange(90, 600).Draw(t, "keep")) * day, Quota: rapid.Int64Range(0, 200).Draw(t, "quota")}
		var total int64
		for n := range rapid.IntRange(0, 12).Draw(t, "bundles") {
			b := KeptBundle{ID: fmt.Sprint(n), Sealed: base.Add(time.Duration(rapid.IntRange(-900, 100).Draw(t, "age")) * day),
				Timed: rapid.Bool().Draw(t, "timed"), Held: rapid.Bool().Draw(t, "held"), Size: rapid.Int64Range(0, 50).Draw(t, "size")}
			s.Bundles = append(s.Bundles, b)
			total += b.Size
		}
		plan, err := PlanRetention(s, p, now)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Trusted && len(plan.Delete) > 0 {
			t.Fatal("deletes while the clock is not trusted")
		}
		for _, d := range plan.Delete {
			b := s.Bundles[slices.IndexFunc(s.Bundles, func(b KeptBundle) bool { return b.ID == d.ID })]
			if b.Held || !b.Timed || now.Sub(b.Sealed) < MinimumKeep {
				t.Fatalf("deletes %+v", b)
			}
			total -= b.Size
		}
		if p.Quota > 0 && plan.Over != max(0, total-p.Quota) {
			t.Fatalf("over by %d of %d, quota %d", plan.Over, total, p.Quota)
		}
	})
}
