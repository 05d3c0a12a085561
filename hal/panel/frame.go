package panel

import (
	"errors"

	"sekisho/hal"
)

// Frame is what a panel shows at one moment.
type Frame struct {
	Seq    uint64 // rises with every Show, page turn and step of a hold
	Image  Image
	Lamp   Color   // light at this moment
	Rhythm Pattern // from which Lamp was taken
	// LampWords says the rhythm, in the language of Status.
	LampWords string
	Lines     []string // the picture in words
	Status    hal.Status
	Hold      Hold
	Page      int
}

// Why a press that came with a target of its own was refused.
var (
	// ErrTargetChanged: the screen no longer names what the person pressed for.
	ErrTargetChanged = errors.New("panel: the screen names something else now")
	// ErrBusy: nobody has taken the earlier presses yet.
	ErrBusy = errors.New("panel: earlier presses are not taken yet")
	// ErrNotAsked: no vendor access waits for approval.
	ErrNotAsked = errors.New("panel: no access waits for approval")
)
