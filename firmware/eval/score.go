package eval

import (
	"fmt"
	"slices"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
)

// Run is what one capture's replay said.
type Run struct {
	Findings  []detect.Finding
	Incidents []incident.Line
	Packets   uint64
	Start     time.Time // of the first packet
	Hours     int       // hours in which packets came, counted from the first packet
	Damaged   bool
	Differs   bool  // a second replay gave other bytes
	Err       error // a panic, or an error that is not damage
	Contacts  *Contacts
}

// Alarm is one finding in the words of a report.
type Alarm struct {
	Detector   string            `json:"detector"`
	Confidence detect.Confidence `json:"confidence"`
	Host       string            `json:"host"`
	After      float64           `json:"after_s"` // since the first packet
	Explain    string            `json:"explain"`
}

// Score is the judgement of one capture.
type Score struct {
	File    string `json:"file"`
	Label   string `json:"label"`
	ByHand  bool   `json:"by_hand"`
	Claim   string `json:"claim"`
	Packets uint64 `json:"packets"`
	Hours   int    `json:"hours"`

	// Of an attack: found is a finding of the label's family about the right
	// device; strict, one by the label's first detector.
	Found  bool   `json:"found"`
	Strict bool   `json:"strict"`
	By     *Alarm `json:"by,omitempty"` // the first that counts
	// Surest is the highest confidence among those that count.
	Surest detect.Confidence `json:"surest,omitempty"`
	// Radius is the number of peers contacted before By; -1: not measured.
	Radius int `json:"radius"`
	// Astray are findings of the family about devices that the claim does not name.
	Astray []Alarm `json:"astray,omitempty"`

	// Of every capture.
	Findings []Count `json:"findings,omitempty"`
	// Isolated are devices that would have been isolated without a person, and
	// are not named by the claim: in peace, all of them.
	Isolated []string `json:"isolated_wrongly,omitempty"`
	Acted    bool     `json:"isolated_rightly"`
	// Alarms are, in peace, the findings that somebody is told of.
	Alarms   []Alarm  `json:"alarms,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// Count is how often a detector spoke with one confidence.
type Count struct {
	Detector   string            `json:"detector"`
	Confidence detect.Confidence `json:"confidence"`
	N          int               `json:"n"`
}

// Judge compares a replay with the truth.
func Judge(c Capture, r Run) Score {
	s := Score{File: c.File, Label: c.Label, ByHand: c.ByHand, Claim: c.Claim, Packets: r.Packets, Hours: max(r.Hours, 1), Radius: -1}
	truth, named := TruthOf(c)
	if c.Attack() {
		if !named {
			s.Problems = append(s.Problems, "the claim names nobody, and no correction does")
		}
		s.find(truth, r)
	}
	for _, f := range r.Findings {
		s.count(f)
		if f.Explain.EN == "" || f.Explain.JA == "" || f.Title.EN == "" || f.Title.JA == "" {
			s.Problems = append(s.Problems, f.Detector+" explains nothing in one of the languages")
		}
		if c.Peaceful() && f.Confidence != detect.Low {
			s.Alarms = append(s.Alarms, alarm(f, r.Start))
		}
	}
	s.act(c, truth, r.Incidents)
	if r.Differs {
		s.Problems = append(s.Problems, "two replays differ")
	}
	if r.Err != nil {
		s.Problems = append(s.Problems, r.Err.Error())
	}
	return s
}

// find looks for the first finding of the family about the right device.
func (s *Score) find(truth Truth, r Run) {
	family, _ := familyOf(s.Label)
	for _, f := range r.Findings {
		if !slices.Contains(family, f.Detector) {
			continue
		}
		if !truth.Did(f.Host) {
			s.Astray = append(s.Astray, alarm(f, r.Start))
			continue
		}
		s.Strict = s.Strict || f.Detector == family[0]
		if rank(f.Confidence) > rank(s.Surest) {
			s.Surest = f.Confidence
		}
		if s.Found {
			continue
		}
		s.Found = true
		first := alarm(f, r.Start)
		s.By = &first
		if r.Contacts != nil && slices.Contains(spreads, s.Label) {
			s.Radius = r.Contacts.Radius(f, r.Start.Add(truth.Start))
		}
	}
}

func (s *Score) count(f detect.Finding) {
	i := slices.IndexFunc(s.Findings, func(c Count) bool { return c.Detector == f.Detector && c.Confidence == f.Confidence })
	if i < 0 {
		i = len(s.Findings)
		s.Findings = append(s.Findings, Count{Detector: f.Detector, Confidence: f.Confidence})
	}
	s.Findings[i].N++
}

func (s *Score) act(c Capture, truth Truth, incidents []incident.Line) {
	for _, i := range incidents {
		if i.Action != incident.AutoIsolate {
			continue
		}
		h := detect.Host{IP: i.Host.IP, IPs: i.Host.IPs}
		h.MAC.UnmarshalText([]byte(i.Host.MAC)) //nolint:errcheck // what cannot be read matches nobody
		if c.Attack() && truth.Did(h) {
			s.Acted = true
			continue
		}
		s.Isolated = append(s.Isolated, fmt.Sprintf("%s %s by %v", h.MAC, h.IP, i.Detectors))
	}
}

// OverBudget says that more findings asked for attention than an office bears:
// one in each started hour.
func (s Score) OverBudget() bool { return len(s.Alarms) > s.Hours }

func rank(c detect.Confidence) int {
	return slices.Index([]detect.Confidence{"", detect.Low, detect.Medium, detect.High}, c)
}

func alarm(f detect.Finding, start time.Time) Alarm {
	a := Alarm{Detector: f.Detector, Confidence: f.Confidence, Host: f.Host.MAC.String(), After: f.Time.Sub(start).Seconds(), Explain: f.Explain.EN}
	if f.Host.IP.IsValid() {
		a.Host = f.Host.IP.String()
	}
	return a
}
