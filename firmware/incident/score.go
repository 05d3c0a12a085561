package incident

import (
	"cmp"
	"math"
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// The evidence model. A finding weighs the log-odds of its score, kept inside
// the range of its band, because a band is a promise about false alarms and a
// score is only what one model believes:
//
//	low 0..0.7 · medium 1.4..2.5 · high 4.6..6
//
// A weight halves every halfLife after the detector last spoke. One detector
// counts once, with its strongest finding: repetition is no new evidence. So
// does a family of detectors that see one deed (families). What is left is still
// about one device and not independent, so the weights, strongest first, are
// discounted by powers of 3/4 before they are added. The sum is read back as a
// band: at 4.6 (odds of 100 to 1) high, at 1.4 (4 to 1) medium.
//
// What follows: lows alone never become high (their sum stays under 2.8), nor
// do lows tip one medium over (2.5 + 2.1 = 4.6 is the limit that is not
// reached); two mediums and a low, or three mediums, of different families, do.
//
// On a device that was let back on the network a moment ago the sum starts higher,
// see probation.go.
const (
	halfLife   = 30 * time.Minute
	discount   = 0.75
	mediumOdds = 1.4
	highOdds   = 4.6
)

// families names the detectors that one honest cause sets off together, since
// they read the same packets. A telephone's network finder asks by ARP, pings,
// tries ports and meets the decoys; an inventory program fails to log in and
// looks at services; a backup to a box of one's own keeps time, has a
// certificate of its own and sends much; whoever asks for odd names does it to
// both judges of names; a home router plugged in wrongly gives leases,
// announces prefixes and has somebody's address; a port that was opened is a
// new service and a weakness. A detector that is not here is its own family:
// what somebody else says of a device (ioc_match, eve), or of files (smb_ransom).
var families = map[string]string{
	"host_scan": "search", "port_scan": "search", "arp_scan": "search", "worm": "search", "flood": "search", "decoy_touch": "search",
	"brute_force": "entry", "lateral_movement": "entry",
	"beacon": "call", "c2_channel": "call", "tls_anomaly": "call", "exfiltration": "call",
	"dns_tunnel": "names", "dga": "names",
	"arp_spoof": "posing", "mac_conflict": "posing", "name_spoof": "posing", "rogue_dhcp": "posing", "rogue_ra": "posing",
	"new_asset": "weakness", "new_service": "weakness", "policy": "weakness", "cleartext_credentials": "weakness",
}

// Assessment is what policy made of the evidence at one moment.
type Assessment struct {
	Score      float64 // 0 to 1, four decimals
	Confidence detect.Confidence
	Action     Action
	Level      Level // for AutoIsolate
	Guard      Guard
	Why        detect.Text
	Allowed    detect.Text // for AutoIsolate: which limits leave room for it
}

func weight(f detect.Finding) float64 {
	p := f.Score
	if math.IsNaN(p) {
		p = 0
	}
	p = min(max(p, 0.0001), 0.9999)
	odds := math.Log(p / (1 - p))
	switch f.Confidence {
	case detect.High:
		return min(max(odds, highOdds), 6)
	case detect.Medium:
		return min(max(odds, mediumOdds), 2.5)
	}
	return min(max(odds, 0), 0.7)
}

func decayed(w float64, age time.Duration) float64 {
	if age <= 0 {
		return w
	}
	return w * math.Exp2(-float64(age)/float64(halfLife))
}

// odds adds the evidence up as of now.
func odds(found []Observation, now time.Time) float64 {
	weights := make([]float64, 0, len(found))
	first := make(map[string]int, len(found)) // family to its weight
	for _, o := range found {
		w, family := decayed(o.Weight, now.Sub(o.Last)), cmp.Or(families[o.Detector], o.Detector)
		if n, ok := first[family]; ok {
			weights[n] = max(weights[n], w)
			continue
		}
		first[family] = len(weights)
		weights = append(weights, w)
	}
	slices.SortFunc(weights, func(a, b float64) int { return cmp.Compare(b, a) })
	sum, factor := 0.0, 1.0
	for _, w := range weights {
		sum += w * factor
		factor *= discount
	}
	return sum
}

func band(odds float64) detect.Confidence {
	const rounding = 1e-9
	switch {
	case odds >= highOdds-rounding:
		return detect.High
	case odds >= mediumOdds-rounding:
		return detect.Medium
	}
	return detect.Low
}

// probability is rounded: processors differ in the last bit of a logarithm.
func probability(odds float64) float64 {
	return math.Round(1e4/(1+math.Exp(-odds))) / 1e4
}

// observe adds a finding to the device's evidence and says whether its
// detector had spoken before.
func (i *Incident) observe(f detect.Finding) (repeated bool) {
	w := weight(f)
	for n := range i.Findings {
		o := &i.Findings[n]
		if o.Detector != f.Detector {
			continue
		}
		old := decayed(o.Weight, f.Time.Sub(o.Last))
		if w >= old {
			fresh := observation(f, w)
			fresh.Count, fresh.First = o.Count, o.First
			fresh.PeerCount = max(fresh.PeerCount, o.PeerCount)
			if f.First.Before(fresh.First) && !f.First.IsZero() {
				fresh.First = f.First
			}
			*o = fresh
		}
		o.Count++
		if w < old && f.Time.After(o.Last) {
			o.Weight, o.Last = old, f.Time
		}
		return true
	}
	if len(i.Findings) >= maxObservations {
		i.Dropped++
		return true
	}
	i.Findings = append(i.Findings, observation(f, w))
	return false
}

func observation(f detect.Finding, w float64) Observation {
	o := Observation{
		Detector: bounded(f.Detector), Technique: bounded(f.Technique), Count: 1,
		First: f.First, Last: f.Time, Score: f.Score, Confidence: f.Confidence, Weight: w,
		Title:     detect.Text{EN: bounded(f.Title.EN), JA: bounded(f.Title.JA)},
		Explain:   detect.Text{EN: bounded(f.Explain.EN), JA: bounded(f.Explain.JA)},
		PeerCount: max(f.PeerCount, len(f.Peers)),
	}
	if o.First.IsZero() {
		o.First = f.Time
	}
	if math.IsNaN(o.Score) || math.IsInf(o.Score, 0) {
		o.Score = 0 // JSON has neither
	}
	for _, p := range f.Peers[:min(len(f.Peers), maxPeers)] {
		peer := Peer{IP: p.IP}
		if !p.MAC.IsZero() {
			peer.MAC = p.MAC.String()
		}
		o.Peers = append(o.Peers, peer)
	}
	return o
}

// guard says who may hold the device.
func (p Policy) guard(a asset.Asset) Guard {
	switch {
	case a.Gateway || slices.Contains(p.Never, a.ID):
		return GuardNever
	case a.Protected || a.Router || slices.Contains(p.Protected, a.ID):
		return GuardTwice
	}
	return GuardNone
}
