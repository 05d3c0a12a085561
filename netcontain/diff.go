package netcontain

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Drift is how what the kernel holds differs from what was asked.
type Drift struct {
	Missing  []Host // asked for, not held at all
	Changed  []Host // held otherwise than asked; as asked
	Extra    []Host // held, not asked for; as held
	Allow    bool   // the allow lists differ
	Lockdown bool   // one of both is in lockdown
	Altered  string // what of the enforcer's own rules was changed, empty when nothing
}

// Diff compares two policies. It is pure; the order of hosts, addresses and
// prefixes does not matter.
func Diff(desired, observed Policy) Drift {
	d, o := desired.Canonical(), observed.Canonical()
	drift := Drift{
		Allow:    !slices.Equal(d.Allow, o.Allow),
		Lockdown: d.Lockdown != o.Lockdown,
	}
	held := make(map[string]Host, len(o.Hosts))
	for _, h := range o.Hosts {
		held[h.ID] = h
	}
	for _, h := range d.Hosts {
		is, ok := held[h.ID]
		switch {
		case !ok:
			drift.Missing = append(drift.Missing, h)
		case !reflect.DeepEqual(h, is):
			drift.Changed = append(drift.Changed, h)
		}
		delete(held, h.ID)
	}
	for _, h := range o.Hosts {
		if _, left := held[h.ID]; left {
			drift.Extra = append(drift.Extra, h)
		}
	}
	return drift
}

// Empty says that there is no difference.
func (d Drift) Empty() bool {
	return len(d.Missing)+len(d.Changed)+len(d.Extra) == 0 && !d.Allow && !d.Lockdown && d.Altered == ""
}

// String names every difference in one line, for the log.
func (d Drift) String() string {
	var parts []string
	for _, group := range []struct {
		word  string
		hosts []Host
	}{{"missing", d.Missing}, {"changed", d.Changed}, {"extra", d.Extra}} {
		for _, h := range group.hosts {
			parts = append(parts, fmt.Sprintf("%s %s (%s)", group.word, h.ID, h.Level))
		}
	}
	if d.Allow {
		parts = append(parts, "allow list differs")
	}
	if d.Lockdown {
		parts = append(parts, "lockdown differs")
	}
	if d.Altered != "" {
		parts = append(parts, d.Altered)
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
