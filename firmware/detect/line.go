package detect

import (
	"time"

	"sekisho/firmware/flow"
)

// line knows when the internet was last heard. While the line is down every
// call to the outside fails, and whoever makes many (an administrator's tool
// that logs in to ten servers) looks like a scanner.
type line struct{ heard time.Time }

// lineProof is how fresh the last answer has to be for a failure to be the
// target's and not the line's: as long as the worm counter remembers a miss.
const lineProof = leakEvery

func (n *network) listen(ev flow.Event) {
	switch e := ev.(type) {
	case *flow.Conn:
		if e.State == flow.ConnEstablished && n.onLAN(e.Client.Addr()) && !n.onLAN(e.Server.Addr()) {
			n.line.heard = e.Time
		}
	case *flow.Activity:
		if e.FromServer && n.onLAN(e.Client.Addr()) && !n.onLAN(e.Server.Addr()) {
			n.line.heard = e.Time
		}
	}
}

// lineDoubt says that a failed contact may be the fault of the line: it went
// outside, to a service that offices use there, and nothing has answered from
// there lately.
func (n *network) lineDoubt(c contact) bool {
	since := c.at.Sub(n.line.heard)
	up := !n.line.heard.IsZero() && since <= lineProof && since >= -lineProof
	return !up && !n.onLAN(c.to) && !neverOutside(c.port)
}
