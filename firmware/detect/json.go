package detect

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// wireHost and wireFinding are the contract of `replay --json` and of
// findings.jsonl (DESIGN section 7). Fields are added, never renamed.
type wireHost struct {
	MAC  string       `json:"mac,omitempty"`
	IP   *netip.Addr  `json:"ip,omitempty"`
	IPs  []netip.Addr `json:"ips"`
	Name string       `json:"name,omitempty"`
}

type wireFinding struct {
	Type       string     `json:"type"`
	Time       time.Time  `json:"time"`
	Detector   string     `json:"detector"`
	Technique  string     `json:"technique"`
	Host       Host       `json:"host"`
	Peers      []Host     `json:"peers"`
	PeerCount  int        `json:"peer_count"`
	Score      float64    `json:"score"`
	Confidence Confidence `json:"confidence"`
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Title      string     `json:"title"`
	Explain    string     `json:"explain"`
	TitleJA    string     `json:"title_ja"`
	ExplainJA  string     `json:"explain_ja"`
}

// MarshalJSON implements json.Marshaler.
func (h Host) MarshalJSON() ([]byte, error) {
	w := wireHost{IPs: h.IPs, Name: h.Name}
	if w.IPs == nil {
		w.IPs = []netip.Addr{}
	}
	if !h.MAC.IsZero() {
		w.MAC = h.MAC.String()
	}
	if h.IP.IsValid() {
		w.IP = &h.IP
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Host) UnmarshalJSON(b []byte) error {
	var w wireHost
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*h = Host{IPs: w.IPs, Name: w.Name}
	if len(h.IPs) == 0 {
		h.IPs = nil
	}
	if w.IP != nil {
		h.IP = *w.IP
	}
	if w.MAC == "" {
		return nil
	}
	m, err := parseMAC(w.MAC)
	h.MAC = m
	return err
}

func parseMAC(s string) (flow.MAC, error) {
	var m flow.MAC
	n, err := fmt.Sscanf(s, "%02x:%02x:%02x:%02x:%02x:%02x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5])
	if err != nil || n != len(m) || m.String() != s {
		return flow.MAC{}, fmt.Errorf("finding: %q is not a MAC address", s)
	}
	return m, nil
}

// MarshalJSON writes the contract's line, without a line end.
func (f Finding) MarshalJSON() ([]byte, error) {
	w := wireFinding{
		Type: "finding", Time: f.Time.UTC(), Detector: f.Detector, Technique: f.Technique, Host: f.Host,
		Peers: f.Peers, PeerCount: f.PeerCount, Score: f.Score, Confidence: f.Confidence,
		First: f.First.UTC(), Last: f.Last.UTC(), Title: f.Title.EN, Explain: f.Explain.EN,
		TitleJA: f.Title.JA, ExplainJA: f.Explain.JA,
	}
	if w.Peers == nil {
		w.Peers = []Host{}
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads such a line back.
func (f *Finding) UnmarshalJSON(b []byte) error {
	var w wireFinding
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	if w.Type != "finding" {
		return fmt.Errorf("finding: line is of type %q", w.Type)
	}
	for _, t := range []*time.Time{&w.Time, &w.First, &w.Last} {
		// RFC 3339 has four digits for the year; a zone can lead out of them.
		if *t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
			return fmt.Errorf("finding: year %d cannot be written", t.Year())
		}
	}
	*f = Finding{
		Time: w.Time, Detector: w.Detector, Technique: w.Technique, Host: w.Host, Peers: w.Peers,
		PeerCount: w.PeerCount, Score: w.Score, Confidence: w.Confidence, First: w.First, Last: w.Last,
		Title: Text{EN: w.Title, JA: w.TitleJA}, Explain: Text{EN: w.Explain, JA: w.ExplainJA},
	}
	if len(f.Peers) == 0 {
		f.Peers = nil
	}
	return nil
}
