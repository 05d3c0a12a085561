// Package detect turns events into findings: one detector per file, each a
// published model with its limits written down beside it.
//
// The gateway and `sekisho replay` call it. Detectors know packet time only:
// no clock, no I/O, no randomness, so that two replays give the same bytes.
package detect

import (
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// Detector observes every event and returns findings, rarely. Findings of one
// detector about one host and cause are repeated only when they say more.
type Detector interface {
	Name() string
	Observe(flow.Event) []Finding
}

// Confidence is a band with a stated meaning, expected false alarms in an
// office of 50 devices: low, several a week; medium, one a month; high, less
// than one a year. Only high may isolate without a person.
type Confidence string

// The three bands.
const (
	Low    Confidence = "low"
	Medium Confidence = "medium"
	High   Confidence = "high"
)

// Text is one message in the two languages of the product.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja"`
}

// In returns the text in lang, "ja" or "en".
func (t Text) In(lang string) string {
	if lang == "ja" {
		return t.JA
	}
	return t.EN
}

// Host names one device as the detector knew it. IPs holds every known
// address, IP the one that the finding is about.
type Host struct {
	MAC  flow.MAC
	IP   netip.Addr
	IPs  []netip.Addr
	Name string
}

// Finding is one observed behaviour of one host.
type Finding struct {
	Time       time.Time // packet time at which it was decided
	Detector   string    // contract name, DESIGN section 7
	Technique  string    // MITRE ATT&CK id
	Host       Host      // who did it
	Peers      []Host    // whom it touched, at most 16
	PeerCount  int       // all distinct peers, also those not listed
	Score      float64   // probability that the model gives, 0 to 1
	Confidence Confidence
	First      time.Time // first and last packet that it rests on
	Last       time.Time
	Title      Text
	Explain    Text // made of observed numbers
}
