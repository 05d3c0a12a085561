package remote

import (
	"errors"
	"testing"
	"time"

	"sekisho/firmware/remote/wire"
)

var noon = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

func grantIn(s wire.GrantState) grant {
	return grant{ID: "g", Vendor: "v", Incident: "i", State: s, Asked: noon.Add(-time.Minute), Since: noon.Add(-time.Minute), Until: noon.Add(time.Hour)}
}

func TestEveryPairOfGrantStateAndInput(t *testing.T) {
	const none = wire.GrantState("") // refused, nothing changes
	table := map[wire.GrantState]map[act]wire.GrantState{
		wire.GrantWaiting: {actApprove: wire.GrantActive, actDeny: wire.GrantDenied, actEnd: wire.GrantEnded, actLapse: wire.GrantWaiting},
		wire.GrantActive:  {actApprove: none, actDeny: none, actEnd: wire.GrantEnded, actLapse: wire.GrantActive},
		wire.GrantDenied:  {actApprove: none, actDeny: none, actEnd: none, actLapse: wire.GrantDenied},
		wire.GrantEnded:   {actApprove: none, actDeny: none, actEnd: none, actLapse: wire.GrantEnded},
		wire.GrantExpired: {actApprove: none, actDeny: none, actEnd: none, actLapse: wire.GrantExpired},
	}
	for from, row := range table {
		for what, want := range row {
			g, err := grantIn(from).step(input{act: what, at: noon, by: "owner", until: noon.Add(2 * time.Hour)})
			if want == none {
				if !errors.Is(err, ErrOver) || g != grantIn(from) {
					t.Errorf("%s + %s: %+v, %v", from, what, g, err)
				}
				continue
			}
			if err != nil || g.State != want {
				t.Errorf("%s + %s: %s, %v, want %s", from, what, g.State, err, want)
			}
			if decided := want != from; decided && g.By != "owner" {
				t.Errorf("%s + %s: by %q", from, what, g.By)
			}
		}
	}
}

func TestTimeEndsAGrantWhoeverAsks(t *testing.T) {
	for _, s := range []wire.GrantState{wire.GrantWaiting, wire.GrantActive} {
		g := grantIn(s)
		for _, c := range []struct {
			at   time.Time
			open bool
		}{
			{g.Until.Add(-1), true}, {g.Until, false}, {g.Until.Add(time.Hour), false},
			{g.Asked.Add(-clockSlack), true}, {g.Asked.Add(-clockSlack - 1), false}, // the clock has gone back
		} {
			if got := g.at(c.at).open(); got != c.open {
				t.Errorf("%s at %s: open %v", s, c.at, got)
			}
			for _, what := range []act{actApprove, actDeny, actEnd} {
				if _, err := g.step(input{act: what, at: c.at, until: c.at.Add(time.Hour)}); err == nil && !c.open {
					t.Errorf("%s at %s was taken from %s", what, c.at, s)
				}
			}
		}
	}
	if _, err := grantIn(wire.GrantWaiting).step(input{act: actApprove, at: noon, until: noon}); err == nil {
		t.Error("an approval for no time at all was taken")
	}
}
