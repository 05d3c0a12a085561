// Package eve reads the alerts of a Suricata that runs beside the gateway: its
// EVE log, one JSON object a line.
//
// The gateway runs a Follower where the settings name such a log. The log
// describes what strangers sent, so every line is hostile input: its length is
// bounded, what cannot be read is counted, and a flood of alerts becomes few
// findings.
package eve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unicode"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// Alert is what is read of an event of type "alert" (Suricata user guide, EVE
// JSON format).
type Alert struct {
	Time           time.Time
	Src, Dst       netip.AddrPort
	SrcMAC, DstMAC flow.MAC // zero unless Suricata logs ethernet
	Proto          string
	SID, Rev       uint64
	Signature      string // at most 160 bytes
	Category       string
	Severity       int // 1 is the most severe
	Technique      string
	Blocked        bool
}

// line is the wire form.
type line struct {
	Timestamp string     `json:"timestamp"`
	Type      string     `json:"event_type"`
	SrcIP     netip.Addr `json:"src_ip"`
	SrcPort   uint16     `json:"src_port"`
	DstIP     netip.Addr `json:"dest_ip"`
	DstPort   uint16     `json:"dest_port"`
	Proto     string     `json:"proto"`
	Ether     struct {
		Src string `json:"src_mac"`
		Dst string `json:"dest_mac"`
	} `json:"ether"`
	Alert *struct {
		Action    string `json:"action"`
		SID       uint64 `json:"signature_id"`
		Rev       uint64 `json:"rev"`
		Signature string `json:"signature"`
		Category  string `json:"category"`
		Severity  int    `json:"severity"`
		Metadata  struct {
			Technique []string `json:"mitre_technique_id"`
		} `json:"metadata"`
	} `json:"alert"`
}

// ErrOther says that a line is well-formed and no alert.
var ErrOther = errors.New("eve: not an alert")

// Parse reads one line.
func Parse(b []byte) (Alert, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return Alert{}, fmt.Errorf("eve: %w", err)
	}
	if l.Type != "alert" {
		return Alert{}, ErrOther
	}
	at, err := time.Parse("2006-01-02T15:04:05.999999999-0700", l.Timestamp)
	if err != nil {
		at, err = time.Parse(time.RFC3339Nano, l.Timestamp)
	}
	switch {
	case err != nil:
		return Alert{}, fmt.Errorf("eve: %w", err)
	case l.Alert == nil || l.Alert.Signature == "":
		return Alert{}, errors.New("eve: alert without a signature")
	case !l.SrcIP.IsValid() || !l.DstIP.IsValid():
		return Alert{}, errors.New("eve: alert without addresses")
	}
	a := Alert{
		Time: at.UTC(), Src: netip.AddrPortFrom(plain(l.SrcIP), l.SrcPort), Dst: netip.AddrPortFrom(plain(l.DstIP), l.DstPort), Proto: short(l.Proto, 16),
		SID: l.Alert.SID, Rev: l.Alert.Rev, Signature: short(l.Alert.Signature, 160), Category: short(l.Alert.Category, 160), Severity: l.Alert.Severity,
		Blocked: l.Alert.Action == "blocked",
	}
	_ = a.SrcMAC.UnmarshalText([]byte(l.Ether.Src)) // absent or odd: unknown
	_ = a.DstMAC.UnmarshalText([]byte(l.Ether.Dst))
	if t := l.Alert.Metadata.Technique; len(t) > 0 && technique(t[0]) {
		a.Technique = t[0]
	}
	return a, nil
}

// plain drops the zone, which in text may be anything.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// short bounds a text, and takes control characters out of it, and those that
// can reverse a line on a screen.
func short(s string, n int) string {
	out := make([]rune, 0, min(len(s), n))
	size := 0
	for _, r := range s {
		if !unicode.IsGraphic(r) || r == '\ufffd' {
			r = '?'
		}
		if size += len(string(r)); size > n {
			break
		}
		out = append(out, r)
	}
	return string(out)
}

// technique recognises a MITRE ATT&CK id.
func technique(s string) bool {
	if len(s) != 5 && len(s) != 9 || s[0] != 'T' || len(s) == 9 && s[5] != '.' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if i != 5 && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

// Finding says what an alert means for a device of the office; false when no
// device of the office takes part.
//
// Suricata's rules name whom they saw sending. Between two devices of the
// office that is the one reported; with the outside it is the device inside,
// since a rule may have seen the answer of a control server. Where the outside
// called (its port is the higher one) the device may be the victim: medium at
// most. Severity 1 reaches
// trust, 2 stays a band below, the rest is low: a rule is somebody's word, as
// an indicator list is.
func (a Alert) Finding(onLAN func(netip.Addr) bool, trust detect.Confidence) (detect.Finding, bool) {
	who, other, mac, otherMAC := a.Src, a.Dst, a.SrcMAC, a.DstMAC
	if !onLAN(who.Addr()) {
		who, other, mac, otherMAC = other, who, otherMAC, mac
	}
	if !onLAN(who.Addr()) {
		return detect.Finding{}, false
	}
	if !onLAN(other.Addr()) {
		otherMAC = flow.MAC{} // the router's
	}
	conf := detect.Low
	switch {
	case a.Severity == 1 && trust == detect.High && !onLAN(a.Src.Addr()) && a.Src.Port() >= a.Dst.Port():
		conf = detect.Medium
	case a.Severity == 1:
		conf = trust
	case a.Severity == 2 && trust == detect.High:
		conf = detect.Medium
	}
	tech := a.Technique
	if tech == "" {
		tech = "T1071"
	}
	name := who.Addr().String()
	return detect.Finding{
		Time: a.Time, Detector: "eve", Technique: tech,
		Host:  detect.Host{MAC: mac, IP: who.Addr(), IPs: []netip.Addr{who.Addr()}},
		Peers: []detect.Host{{MAC: otherMAC, IP: other.Addr(), IPs: []netip.Addr{other.Addr()}}}, PeerCount: 1,
		Score: score(conf), Confidence: conf, First: a.Time, Last: a.Time,
		Title: detect.Text{
			EN: fmt.Sprintf("Suricata raised an alert about %s", name),
			JA: fmt.Sprintf("Suricata が %s について警告しました", name),
		},
		Explain: detect.Text{
			EN: fmt.Sprintf("Rule %d, %q (%s, severity %d), matched traffic between %s and %s.", a.SID, a.Signature, a.Category, a.Severity, a.Src, a.Dst),
			JA: fmt.Sprintf("ルール %d「%s」（%s、重大度 %d）が、%s と %s の間の通信に一致しました。", a.SID, a.Signature, a.Category, a.Severity, a.Src, a.Dst),
		},
	}, true
}

func score(c detect.Confidence) float64 {
	switch c {
	case detect.High:
		return 0.99
	case detect.Medium:
		return 0.85
	}
	return 0.5
}
