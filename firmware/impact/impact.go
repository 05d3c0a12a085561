// Package impact says what isolating a device would stop: who used it as a
// server in the last week, and for what. A person reads that before deciding.
//
// The gateway feeds it every flow event from the pipeline and asks for a
// Preview when a device is shown. It knows packet time only. It must never
// decide anything, never hold up the pipeline, and never let what a suspect
// does now make itself or others look important.
package impact

import (
	"net/netip"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// Week is how far back a use counts: the shortest span that has every weekday,
// so that what runs on Mondays only is seen on a Friday.
const Week = 7 * 24 * time.Hour

const days = 7

// Assets answers whose a MAC is. *asset.Inventory does.
type Assets interface {
	Role(flow.MAC, netip.Addr) asset.Role
	ByAddr(netip.Addr) (asset.Asset, bool)
}

var _ Assets = (*asset.Inventory)(nil)

// Config of a Usage. Assets must not be nil.
type Config struct {
	Assets Assets
	LAN    []netip.Prefix // the office's own networks; nil: asset.DefaultLAN
	// Suspect says that nothing new is to be learnt of a device: neither as a
	// client (a worm is nobody's customer) nor as a server (whom it lures is
	// not served). It must not block; nil: nobody.
	Suspect func(flow.MAC) bool
	// Name says which device a MAC belongs to and how people call it; several
	// MACs may have one ID. It is asked outside of Observe. Nil: "mac:" + MAC.
	Name func(flow.MAC) (asset.ID, string)
	// Zone is where a day begins and ends; nil: UTC.
	Zone *time.Location
	// MaxRelations bounds memory: one relation is one client that uses one
	// service class of one server. 0: 16384, which is 250 devices that use 20
	// servers for three things each. One takes about 300 bytes.
	MaxRelations int
	// MaxDevices bounds the clients whose own use is remembered; 0: 4096, as
	// many as the inventory keeps.
	MaxDevices int
}

// Device is the one in question, with every MAC that it is known by.
type Device struct {
	ID        asset.ID
	MACs      []flow.MAC
	FirstSeen time.Time // zero: not known
}

// Preview is what isolating a device would stop, as far as it was seen.
type Preview struct {
	Device asset.ID `json:"device"`
	// Since is from when on this device could have been seen serving: at most a
	// week ago, later when the device or this memory is younger. Zero: nothing
	// was ever watched.
	Since time.Time `json:"since,omitzero"`
	// Watched is on how many of the last seven days any traffic was seen.
	Watched int `json:"watched_days"`
	// Stops are the services that others lose, most clients first.
	Stops []Stop `json:"stops"`
	// Clients is how many different devices lose something.
	Clients int `json:"clients"`
	// Uses is what the device's own user loses.
	Uses []Service `json:"uses"`
	// Incomplete says that memory was full at some time, so that there may be more.
	Incomplete bool `json:"incomplete,omitempty"`

	at time.Time // of the question
}

// Stop is one service that stops.
type Stop struct {
	Service Service   `json:"service"`
	Clients int       `json:"clients"`           // different devices of the office
	Names   []string  `json:"names,omitempty"`   // of at most maxNames of them, the latest first
	Outside bool      `json:"outside,omitempty"` // used from the internet too
	Last    time.Time `json:"last"`              // packet time of the latest use
	Days    [days]int `json:"days"`              // clients by day, today first
	// New says that nobody used it before the last 24 hours, although the device
	// was watched for longer. Malware that serves others looks like that.
	New bool `json:"new,omitempty"`
}

const maxNames = 5

// Stats counts what the bounds cost.
type Stats struct {
	Relations int
	Devices   int
	Evicted   uint64 // relations and devices forgotten to make room
	Probing   uint64 // relations not counted: their client tried one server after another
}

// Words of a sentence in both languages.
type text = detect.Text
