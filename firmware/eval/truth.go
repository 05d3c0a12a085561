package eval

import (
	_ "embed"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// families says which detectors name each label's behaviour. The first is the
// strict one; the others describe the same deed from another side, as a worm
// is a host scan, and a device under control calls home.
var families = []struct {
	label     string
	detectors []string
}{
	{"scan", []string{"host_scan", "port_scan", "arp_scan", "worm"}},
	{"worm", []string{"worm", "lateral_movement", "host_scan"}},
	{"iot-botnet", []string{"worm", "host_scan", "beacon", "c2_channel", "flood"}},
	{"arp-spoof", []string{"arp_spoof", "mac_conflict"}},
	{"rogue-dhcp", []string{"rogue_dhcp", "flood"}},
	{"dns-tunnel", []string{"dns_tunnel"}},
	{"beacon-c2", []string{"beacon", "c2_channel", "tls_anomaly"}},
	{"tls-malware", []string{"tls_anomaly", "beacon", "c2_channel", "ioc_match"}},
	{"exfil", []string{"exfiltration"}},
	{"bruteforce", []string{"brute_force"}},
	{"lateral-smb", []string{"lateral_movement", "worm", "beacon", "c2_channel"}},
	{"ransomware-smb", []string{"smb_ransom"}},
}

func familyOf(label string) (detectors []string, known bool) {
	for _, f := range families {
		if f.label == label {
			return f.detectors, true
		}
	}
	return nil, false
}

// spreads are the labels of devices that contact one peer after the other:
// for them the damage is counted in peers.
var spreads = []string{"scan", "worm", "iot-botnet"}

// corrections.tsv holds the truth of captures whose claim names nobody.
//
//go:embed corrections.tsv
var corrections string

// Truth is who did it, and when it began.
type Truth struct {
	Addrs []netip.Addr
	MACs  []flow.MAC
	Not   []netip.Prefix // with no address given: everybody but these
	Start time.Duration  // since the first packet
}

// TruthOf reads it from the claim or, where the claim cannot be read, from the
// list of corrections. ok is false when nobody is named.
func TruthOf(c Capture) (t Truth, ok bool) {
	t, ok = corrected(c.File)
	if !ok {
		t = parseClaim(c.Label, c.Claim)
	}
	t.Start = startOf(c.Claim)
	return t, len(t.Addrs)+len(t.MACs)+len(t.Not) > 0
}

// corrected looks for a row: the end of the file's name, who did it, why the
// claim does not do.
func corrected(file string) (t Truth, ok bool) {
	for line := range strings.Lines(corrections) {
		row := strings.Split(strings.TrimSpace(line), "\t")
		if len(row) < 3 || strings.HasPrefix(row[0], "#") || !strings.HasSuffix(file, row[0]) {
			continue
		}
		for who := range strings.FieldsSeq(row[1]) {
			if not, found := strings.CutPrefix(who, "!"); found {
				t.Not = append(t.Not, netip.MustParsePrefix(not))
				continue
			}
			t.add(who)
		}
		return t, true
	}
	return Truth{}, false
}

func (t *Truth) add(who string) {
	var m flow.MAC
	if m.UnmarshalText([]byte(who)) == nil && !m.IsZero() {
		t.MACs = append(t.MACs, m)
	} else if a, err := netip.ParseAddr(who); err == nil && !slices.Contains(t.Addrs, a) {
		t.Addrs = append(t.Addrs, a)
	}
}

const (
	ipv4 = `\d{1,3}(?:\.\d{1,3}){3}`
	mac  = `(?:[0-9a-f]{2}:){5}[0-9a-f]{2}`
)

var (
	// The one whom a claim names first, and what it says of it in brackets:
	// "90:8d:78:a8:e1:43 (192.168.0.60) sends …".
	subject = regexp.MustCompile(`(` + mac + `|` + ipv4 + `)(?:/\.(\d+))?\)?(?: \((` + mac + `|` + ipv4 + `)\))?`)
	// Whoever stands left of an arrow, or on either side of a double one.
	leftOf = regexp.MustCompile(`(` + ipv4 + `)(?::\d+)?(?: \([^)]*\))? (?:->|<->)`)
	bothOf = regexp.MustCompile(`<-> (` + ipv4 + `)`)
	// Of an address that changed hands, every card that claimed it but the
	// rightful one's.
	claimant = regexp.MustCompile(`(real )?(` + mac + `)`)
	begins   = regexp.MustCompile(`\bt\+(\d+(?:\.\d+)?)`)
)

func parseClaim(label, claim string) (t Truth) {
	if m := subject.FindStringSubmatch(claim); m != nil {
		t.add(m[1])
		t.add(m[3])
		if m[2] != "" { // "172.18.39.5/.6"
			t.add(m[1][:strings.LastIndexByte(m[1], '.')+1] + m[2])
		}
	}
	for _, m := range leftOf.FindAllStringSubmatch(claim, -1) {
		t.add(m[1])
	}
	for _, m := range bothOf.FindAllStringSubmatch(claim, -1) {
		t.add(m[1])
	}
	if label == "arp-spoof" {
		for _, m := range claimant.FindAllStringSubmatch(claim, -1) {
			if m[1] == "" {
				t.add(m[2])
			}
		}
	}
	return t
}

func startOf(claim string) time.Duration {
	m := begins.FindStringSubmatch(claim)
	if m == nil {
		return 0
	}
	s, _ := strconv.ParseFloat(m[1], 64)
	return time.Duration(s * float64(time.Second))
}

// Did says that the device is one of those who did it.
func (t Truth) Did(h detect.Host) bool {
	if !h.MAC.IsZero() && slices.Contains(t.MACs, h.MAC) {
		return true
	}
	if t.is(h.IP) {
		return true
	}
	return slices.ContainsFunc(h.IPs, t.is)
}

func (t Truth) is(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	if len(t.Not) > 0 {
		return !slices.ContainsFunc(t.Not, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return slices.Contains(t.Addrs, a.Unmap())
}
