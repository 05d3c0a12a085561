package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// How long things are kept.
const (
	DefaultKeep = 400 * 24 * time.Hour
	MinimumKeep = 90 * 24 * time.Hour // no setting and no full disk goes below it
	// MaximumJump is how far the clock may have gone since the gateway last knew
	// the time before a person has to confirm it: a clock that is a year ahead,
	// by a battery, a time server or an attacker, would empty the vault.
	MaximumJump = 30 * 24 * time.Hour
)

// RetentionPolicy is what the owner sets.
type RetentionPolicy struct {
	Keep  time.Duration // bundles and finished incidents; 0: DefaultKeep
	Quota int64         // bytes of all bundles together; 0: none
}

func (p RetentionPolicy) keep() time.Duration { return cmp.Or(p.Keep, DefaultKeep) }

// Validate refuses what would delete too early.
func (p RetentionPolicy) Validate() error {
	if p.keep() < MinimumKeep {
		return fmt.Errorf("keep %v: evidence is kept for 90 days at least", p.Keep)
	}
	if p.Quota < 0 {
		return errors.New("quota below zero")
	}
	return nil
}

// KeptBundle is what retention has to know of a bundle.
type KeptBundle struct {
	ID       string
	Incident string
	Sealed   time.Time
	Timed    bool  // the clock was synchronised when it was sealed
	Size     int64 // bytes on disk, its package included
	Held     bool
}

// KeptIncident is an incident that is closed or dismissed.
type KeptIncident struct {
	ID    string
	Since time.Time // when it was last touched; see store.Finished
}

// RetentionState is everything that a plan follows from.
type RetentionState struct {
	Bundles   []KeptBundle   // Vault.Kept
	Incidents []KeptIncident // finished ones
	Trusted   bool           // the clock is synchronised now
	LastKnown time.Time      // when the clock was believed for the last time: at the last run, or by a person
	Confirmed bool           // a person has confirmed the clock after a jump
}

// Wait says why nothing may be deleted now.
type Wait string

// Reasons to wait.
const (
	WaitNot    Wait = ""
	WaitClock  Wait = "clock_untrusted" // until it is synchronised
	WaitJumped Wait = "clock_jumped"    // until a person has confirmed the date
)

// Reason is why a bundle is to go.
type Reason string

// Reasons of a plan.
const (
	ReasonAge   Reason = "age"
	ReasonQuota Reason = "quota"
)

// Deletion is one bundle to go.
type Deletion struct {
	ID     string
	Reason Reason
	Size   int64
}

// RetentionPlan is what is to go, and what cannot be met.
type RetentionPlan struct {
	Wait      Wait
	Delete    []Deletion // in this order
	Incidents []string   // ids: their rows, journal and findings file
	Over      int64      // bytes above the quota that remain: a person has to lift a hold, or add a disk
	Undated   []string   // lifted bundles whose age is not known: only a person deletes them
}

// PlanRetention says what may be deleted at now. It never names a bundle under
// hold, one younger than MinimumKeep, or one that was sealed while nobody knew
// the time; an incident goes only after its bundle. The ledger is not in it: it
// is never shortened.
func PlanRetention(s RetentionState, p RetentionPolicy, now time.Time) (RetentionPlan, error) {
	if err := p.Validate(); err != nil {
		return RetentionPlan{}, fmt.Errorf("plan retention: %w", err)
	}
	plan := RetentionPlan{Wait: s.wait(now)}
	var total int64
	var free []KeptBundle // lifted, and their age is known
	for _, b := range s.Bundles {
		total += b.Size
		switch {
		case b.Held:
		case !b.Timed || b.Sealed.IsZero():
			plan.Undated = append(plan.Undated, b.ID)
		default:
			free = append(free, b)
		}
	}
	if plan.Wait == WaitNot {
		total -= plan.bundles(free, p, total, now)
		plan.incidents(s, p, now)
	}
	if p.Quota > 0 {
		plan.Over = max(0, total-p.Quota)
	}
	return plan, nil
}

func (s RetentionState) wait(now time.Time) Wait {
	switch {
	case !s.Trusted:
		return WaitClock
	case !s.Confirmed && (s.LastKnown.IsZero() || now.Sub(s.LastKnown) > MaximumJump):
		return WaitJumped
	}
	return WaitNot
}

// bundles names the oldest first and returns how many bytes that frees.
func (plan *RetentionPlan) bundles(free []KeptBundle, p RetentionPolicy, total int64, now time.Time) (freed int64) {
	slices.SortFunc(free, func(a, b KeptBundle) int { return cmp.Or(a.Sealed.Compare(b.Sealed), cmp.Compare(a.ID, b.ID)) })
	for _, b := range free {
		d := Deletion{ID: b.ID, Size: b.Size, Reason: ReasonAge}
		switch age := now.Sub(b.Sealed); {
		case age > p.keep():
		case age > MinimumKeep && p.Quota > 0 && total-freed > p.Quota:
			d.Reason = ReasonQuota
		default:
			continue
		}
		plan.Delete = append(plan.Delete, d)
		freed += b.Size
	}
	return freed
}

func (plan *RetentionPlan) incidents(s RetentionState, p RetentionPolicy, now time.Time) {
	sealed := map[string]bool{}
	for _, b := range s.Bundles { // one that goes now counts: its incident goes next time
		sealed[b.Incident], sealed[b.ID] = true, true
	}
	for _, i := range s.Incidents {
		if !sealed[i.ID] && !i.Since.IsZero() && now.Sub(i.Since) > p.keep() {
			plan.Incidents = append(plan.Incidents, i.ID)
		}
	}
}
