// Package hal says what a front panel is: one button, one RGB lamp, one small
// one-bit screen. Drivers live in the packages below.
//
// The gateway shows a Status and reads presses. A panel never decides
// anything, and a broken one never stops the gateway.
package hal

import (
	"context"
	"time"
)

// State selects lamp, rhythm and page; see the table in hal/panel.
type State uint8

// States in rising order of urgency.
const (
	Normal State = iota
	Learning
	Attention   // a suspect waits for a press
	Isolating   // the press was taken, the proof is not there yet
	Isolated    // proven on the wire
	NotIsolated // not proven on the wire: pull the cable
	Fault
	VendorConnected
)

// Device is what a page says of one host.
type Device struct {
	Name  string // as the owner knows it
	Addr  string // current address
	Place string // port or place
}

// Status is everything that a panel shows. Texts are already in Lang.
type Status struct {
	State State
	Drill bool   // adds the drill marking to every page
	Lang  string // "ja" or "en"
	Now   time.Time

	Devices    int           // normal: active devices
	PacketDays float64       // normal: days of packets that the spool holds
	LastDrill  time.Time     // normal: zero when never
	DrillTook  time.Duration // normal: from the lamp to the press in the last drill; zero when not known
	LearnLeft  time.Duration // learning

	Suspect Device // attention and later
	What    string // attention: what it does, one line
	// Impact is what isolating the suspect stops for others, one line; empty:
	// nothing is known to stop.
	Impact  string
	Waiting int // further suspects behind this one
	// AskedUntil is until when one more press carries out what the first one
	// asked for; zero when a single press does, or nobody has pressed yet.
	AskedUntil time.Time
	Since      time.Time // isolated: since when
	Cable      string    // not isolated: what to pull
	// BestEffort says of NotIsolated that the block is in force and only its
	// proof is missing, so that nobody reads it as a failure.
	BestEffort bool
	// Lockdown says that the whole office is cut off. It adds a page: in front
	// of a calm state's own, behind that of a device that needs attention.
	Lockdown bool

	Vendor      string // name of the outside IT vendor
	VendorPhone string
	VendorUntil time.Time // vendor connected: end of the granted access
	Held        int       // vendor connected: devices that are isolated meanwhile
	// VendorOnline says that a vendor has access while something more urgent is
	// shown: the lamp tells of both.
	VendorOnline bool
	// Approval names the vendor whose access waits for a hold of 3 s, and
	// ApprovalID the request itself; empty when none waits. Without them a long
	// hold never means approval.
	Approval    string
	ApprovalID  string
	ApprovalFor string // what it asks to see: the device, or the incident
	FaultText   string
	FaultCall   string // whom to call

	// Target identifies what a press would act on; empty when a press only
	// turns the page. It comes back in Press.
	Target string
}

// Gesture is what a person did with the button.
type Gesture uint8

// Gestures of DESIGN section 6.
const (
	Short Gesture = iota
	Hold3         // held for 3 s: approve the waiting vendor access
	Hold8         // held for 8 s: office-wide lockdown
)

// Press is one completed gesture, with what the screen named at the time.
type Press struct {
	Gesture Gesture
	Target  string    // Status.Target that was on the screen; of Hold3, Status.ApprovalID
	At      time.Time // of the edge that began it
	// Again says that the screen asked for a second press by then. Two quick
	// presses are no answer to a question that nobody has seen yet.
	Again bool
	// Page says that it came from the web page, or a program in its place: whoever
	// it was did not stand at the box.
	Page bool
}

// Panel is a front panel. Show never blocks on hardware: it replaces what is
// to be shown. Presses is closed when Run returns.
type Panel interface {
	Show(Status)
	Presses() <-chan Press
	Run(ctx context.Context) error
}
