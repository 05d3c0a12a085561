// Package incident decides: it correlates findings per device, says whether
// nobody, a person or the gateway itself should act, and moves each incident
// through its states.
//
// The gateway feeds it findings, presses and results, journals the incident it
// returns, and only then executes the commands; replay uses it without
// executing any. It is pure: time is passed in, nothing is read or written. It
// must never isolate the gateway itself, isolate a router or a protected device
// without a person, or let a held device go without somebody's release.
package incident

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// State is where an incident stands.
type State string

// States. Open to Closed is the way of a handled incident.
const (
	Open          State = "open"           // noticed; nothing is blocked
	Containing    State = "containing"     // blocking was ordered, the proof is not there yet
	Contained     State = "contained"      // isolated, proven on the wire or as far as the mechanism goes; or limited, see Proof.Grade
	Eradicating   State = "eradicating"    // still held, the device is being cleaned
	Probation     State = "probation"      // back on the network, watched closely
	Closed        State = "closed"         // probation passed, or a relapse opened the next incident; see Lesson for what a person called it
	ContainFailed State = "contain_failed" // ordered, but frames still pass: pull the cable
	Dismissed     State = "dismissed"      // a person called it a false alarm while nothing was held, or it faded
)

// States lists every state.
func States() []State {
	return []State{Open, Containing, Contained, Eradicating, Probation, Closed, ContainFailed, Dismissed}
}

// Live says that the incident can still move.
func (s State) Live() bool { return s != Closed && s != Dismissed }

// Held says that the device must be kept at the incident's level.
func (s State) Held() bool {
	return s == Containing || s == Contained || s == Eradicating || s == ContainFailed
}

// Level is a containment level by its name in netcontain.
type Level string

// Levels in rising order.
const (
	Watch   Level = "watch"
	Limit   Level = "limit"
	Isolate Level = "isolate"
)

func (l Level) rank() int {
	switch l {
	case Limit:
		return 1
	case Isolate:
		return 2
	}
	return 0
}

// Action is what policy made of the evidence.
type Action string

// Actions in rising order.
const (
	None        Action = "none"
	Suggest     Action = "suggest"
	AutoIsolate Action = "auto_isolate"
)

// Guard says who may hold a device.
type Guard string

// Guards. An ordinary device has GuardNone.
const (
	GuardNone  Guard = ""          // policy or a person
	GuardTwice Guard = "ask_twice" // a person, who is asked again: protected devices, routers
	GuardNever Guard = "never"     // nobody: the gateway itself and its uplink
)

// Who acts when no person on the web page ("web:NAME") does.
const (
	ByAuto   = "auto"
	ByButton = "button"
	ByPage   = "page"   // a press on the picture of the panel, by who knows whom
	ByPolicy = "policy" // a deadline that the owner set

	ByGateway = "gateway" // takes up what was held before a restart
)

// Grade says how well containment is proven.
type Grade string

// Grades of proof.
const (
	Proven      Grade = "proven"       // nothing passed on the wire
	BestEffort  Grade = "best_effort"  // neighbours behind an unmanaged switch may still hear it
	NotIsolated Grade = "not_isolated" // frames passed, or no proof came
	Limited     Grade = "limited"      // held at Limit as ordered; nothing is claimed about the wire
)

// Proof is what was seen on the wire after containment.
type Proof struct {
	Grade   Grade       `json:"grade"`
	Text    detect.Text `json:"text"`
	At      time.Time   `json:"at"`
	Blocked uint64      `json:"blocked"` // frames that the device tried to send in vain
	Leaked  uint64      `json:"leaked"`  // frames that got through after containment
}

// Decision is who ordered containment and why.
type Decision struct {
	At    time.Time   `json:"at"`
	By    string      `json:"by"`
	Level Level       `json:"level"`
	Why   detect.Text `json:"why"`
}

// Transition is one line of the history. Refused inputs stand in it too, with
// From equal to To.
type Transition struct {
	At      time.Time `json:"at"`
	From    State     `json:"from"`
	To      State     `json:"to"`
	Input   Kind      `json:"input"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`
	Refused bool      `json:"refused,omitempty"`
}

// Peer is a device that the suspect touched.
type Peer struct {
	MAC string     `json:"mac,omitempty"`
	IP  netip.Addr `json:"ip"`
}

// Observation is everything that one detector said about the device: the
// strongest finding, how often, and from when to when.
type Observation struct {
	Detector   string            `json:"detector"`
	Technique  string            `json:"technique,omitempty"`
	Count      int               `json:"count"`
	First      time.Time         `json:"first"`
	Last       time.Time         `json:"last"`
	Score      float64           `json:"score"`      // of the strongest finding
	Confidence detect.Confidence `json:"confidence"` // of the strongest finding
	Weight     float64           `json:"weight"`     // log-odds as of Last
	Title      detect.Text       `json:"title"`
	Explain    detect.Text       `json:"explain"`
	Peers      []Peer            `json:"peers,omitempty"` // at most maxPeers
	PeerCount  int               `json:"peer_count"`
}

// Bounds of what one incident keeps; what goes beyond is counted.
const (
	maxObservations = 32
	maxPeers        = 16
	maxHistory      = 200
	keepHistory     = 20   // the first lines are never dropped
	maxText         = 1024 // bytes; a Japanese sentence takes twice those of an English one
)

// Incident is a snapshot: a value, safe to keep. Step never changes what an
// older snapshot holds.
type Incident struct {
	ID             string            `json:"id"` // 20261123-013005-ab12: sorts by time, safe as a file name
	State          State             `json:"state"`
	Asset          asset.Asset       `json:"asset"`
	Guard          Guard             `json:"guard,omitempty"`
	Drill          bool              `json:"drill,omitempty"`
	Previous       string            `json:"previous,omitempty"` // the incident that this one is a relapse of
	Findings       []Observation     `json:"findings"`
	Dropped        int               `json:"dropped,omitempty"` // findings of detectors beyond the bound
	Score          float64           `json:"score"`             // 0 to 1, as of Updated
	Confidence     detect.Confidence `json:"confidence"`
	Action         Action            `json:"action"` // what policy came to while it was open; never back to none
	Why            detect.Text       `json:"why"`
	Level          Level             `json:"level"` // wanted
	Applied        bool              `json:"applied"`
	Decision       Decision          `json:"decision"`
	Proof          Proof             `json:"proof"`
	Asked          time.Time         `json:"asked"`  // first of two asks for a guarded device
	Frozen         time.Time         `json:"frozen"` // evidence was pinned
	Bundle         string            `json:"bundle,omitempty"`
	LastSealTry    time.Time         `json:"last_seal_try,omitzero"` // when it failed; zero while a try runs, or all is well
	Checklist      []Item            `json:"checklist,omitempty"`    // of the return to the network; from when it was first held
	Automatic      Automatic         `json:"automatic,omitzero"`     // the latest thing that policy did by itself
	Until          time.Time         `json:"until,omitzero"`         // end of the latest probation
	Opened         time.Time         `json:"opened"`
	Updated        time.Time         `json:"updated"`
	Since          time.Time         `json:"since"`     // of State
	Contained      time.Time         `json:"contained"` // first proven
	Closed         time.Time         `json:"closed"`
	Lesson         Lesson            `json:"lesson,omitzero"` // what a person's word about it teaches
	History        []Transition      `json:"history"`
	HistoryDropped int               `json:"history_dropped,omitempty"`
}

// UnmarshalJSON restores the Ethernet address, which the asset's own JSON
// leaves to its ID, and what former versions wrote otherwise.
func (i *Incident) UnmarshalJSON(b []byte) error {
	type plain Incident
	former := struct {
		*plain
		Steps []string `json:"steps"`
	}{plain: (*plain)(i)}
	if err := json.Unmarshal(b, &former); err != nil {
		return fmt.Errorf("decode incident: %w", err)
	}
	if len(i.Checklist) == 0 {
		i.formerSteps(former.Steps)
	}
	if text, ok := strings.CutPrefix(string(i.Asset.ID), "mac:"); ok {
		if mac, err := net.ParseMAC(text); err == nil && len(mac) == len(i.Asset.MAC) {
			copy(i.Asset.MAC[:], mac)
		}
	}
	return nil
}

// DesiredLevel is what must be in force for the device now.
func (i Incident) DesiredLevel() Level {
	if i.State.Held() {
		return i.Level
	}
	return Watch
}

// HeldFrom is when the device was stopped, as far as is known: when that was
// first proven, else when it was ordered. Zero when it was never held.
func (i Incident) HeldFrom() time.Time {
	if !i.Contained.IsZero() {
		return i.Contained
	}
	return i.Decision.At
}

// Waiting says that a person is asked to decide.
func (i Incident) Waiting() bool { return i.State == Open && i.Action == Suggest }

// Raisable says that the device is limited, and that a press or a request would
// isolate it.
func (i Incident) Raisable() bool { return i.State == Contained && i.Level == Limit }

// Host is one device in a line of replay.
type Host struct {
	MAC  string       `json:"mac,omitempty"`
	IP   netip.Addr   `json:"ip"`
	IPs  []netip.Addr `json:"ips"`
	Name string       `json:"name,omitempty"`
}

// Line is what replay prints of an incident, a contract with scripts.
type Line struct {
	Type       string            `json:"type"` // "incident"
	ID         string            `json:"id"`
	Host       Host              `json:"host"`
	State      State             `json:"state"`
	Opened     time.Time         `json:"opened"`
	Detectors  []string          `json:"detectors"` // in the order in which they spoke
	Score      float64           `json:"score"`
	Confidence detect.Confidence `json:"confidence"`
	Action     Action            `json:"action"`
	Level      Level             `json:"level"`
	Why        string            `json:"why"`
	WhyJA      string            `json:"why_ja"`
}

// Line describes the incident in one line.
func (i Incident) Line() Line {
	l := Line{
		Type: "incident", ID: i.ID, State: i.State, Opened: i.Opened, Detectors: []string{},
		Host:  Host{IPs: append([]netip.Addr{}, i.Asset.Addrs...), Name: i.Asset.Name},
		Score: i.Score, Confidence: i.Confidence, Action: i.Action, Level: i.Level,
		Why: i.Why.EN, WhyJA: i.Why.JA,
	}
	if !i.Asset.MAC.IsZero() {
		l.Host.MAC = i.Asset.MAC.String()
	}
	if len(i.Asset.Addrs) > 0 { // people know a device by its IPv4 address
		l.Host.IP = i.Asset.Addrs[max(0, slices.IndexFunc(i.Asset.Addrs, netip.Addr.Is4))]
	}
	for _, f := range i.Findings {
		l.Detectors = append(l.Detectors, f.Detector)
	}
	return l
}
