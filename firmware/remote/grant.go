package remote

import (
	"errors"
	"fmt"
	"time"

	"sekisho/firmware/remote/wire"
)

// ErrOver says that a grant does not wait, or is not active, any more.
var ErrOver = errors.New("this access is over, or was decided already")

// clockSlack is how far the clock may go back (a correction) before what was
// recorded later than now is taken as void: a gateway that starts without a
// correct clock must not keep an old access open.
const clockSlack = 2 * time.Minute

// grant is one access to one incident's evidence. It changes by step alone.
type grant struct {
	ID       string          `json:"id"`
	Vendor   string          `json:"vendor"` // id of the enrolment
	Name     string          `json:"name"`   // how the vendor was called when asking
	Incident string          `json:"incident"`
	Reason   string          `json:"reason"`
	Wished   time.Duration   `json:"wished"` // 0: not said
	State    wire.GrantState `json:"state"`
	Asked    time.Time       `json:"asked"`
	Since    time.Time       `json:"since,omitzero"` // approved
	Until    time.Time       `json:"until"`          // of the question, then of the access; then when it was over
	By       string          `json:"by,omitempty"`   // who approved, then who ended it
}

type act string

const (
	actApprove act = "approve"
	actDeny    act = "deny"
	actEnd     act = "end"
	actLapse   act = "lapse" // time has passed
)

// input is what happens to a grant.
type input struct {
	act   act
	at    time.Time
	by    string
	until time.Time // of an approval
}

func (g grant) open() bool { return g.State == wire.GrantWaiting || g.State == wire.GrantActive }

// at is the grant as it stands at that time: one whose time is over has expired
// whether or not anybody has written it down.
func (g grant) at(now time.Time) grant {
	begun := g.Asked
	if g.State == wire.GrantActive {
		begun = g.Since
	}
	if g.open() && (!now.Before(g.Until) || now.Before(begun.Add(-clockSlack))) {
		g.State = wire.GrantExpired
	}
	return g
}

// step is the whole life of a grant. What does not fit the state is ErrOver and
// changes nothing; to let time pass is never an error.
func (g grant) step(in input) (grant, error) {
	g = g.at(in.at)
	switch {
	case in.act == actLapse:
		return g, nil
	case in.act == actApprove && g.State == wire.GrantWaiting:
		if !in.until.After(in.at) {
			return g, errors.New("approve access: it would be over at once")
		}
		g.State, g.Since, g.Until, g.By = wire.GrantActive, in.at, in.until, in.by
		return g, nil
	case in.act == actDeny && g.State == wire.GrantWaiting:
		g.State, g.Until, g.By = wire.GrantDenied, in.at, in.by
		return g, nil
	case in.act == actEnd && g.open():
		g.State, g.Until, g.By = wire.GrantEnded, in.at, in.by
		return g, nil
	}
	return g, fmt.Errorf("%s access %s: %w", in.act, g.ID, ErrOver)
}

// wire is what the vendor may see of it.
func (g grant) wire() wire.Grant {
	return wire.Grant{ID: g.ID, Incident: g.Incident, State: g.State, Asked: g.Asked, Until: g.Until}
}
