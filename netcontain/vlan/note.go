package vlan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sekisho/netcontain"
)

const (
	maxVLAN  = 4094 // IEEE 802.1Q, 9.6: 4095 is reserved
	maxAlias = 255  // IFALIASZ of linux/if.h, less the zero
)

// note is what a port's alias says of us, behind the owner's own alias: where
// the port was, and for whom it was moved. The kernel keeps it with the port
// for as long as the port exists, also when it leaves the bridge.
//
//	desk 4 sekisho vlan=99 pvid=10 untagged=10 host=inc-7
//
// A note of vlan 0 is of a port that is held no more; only its link is still
// down.
type note struct {
	vlan     uint16     // the quarantine VLAN that it was moved to
	was      membership // what the owner had given it
	isolated bool       // the owner had set the flag
	down     bool       // its link is down by us, and to be set up again
	host     string     // netcontain.Host.ID
}

func (n note) zero() bool { return n.vlan == 0 && !n.down }

// marker stands between the owner's alias and ours.
const marker = "sekisho"

var errTooLong = errors.New("the port's own alias leaves no room for a note of what to restore")

// join returns the alias that holds both.
func (n note) join(owner string) (string, error) {
	if n.zero() {
		return owner, nil
	}
	words := []string{marker}
	if n.vlan != 0 {
		words = append(words, "vlan="+number(n.vlan), "pvid="+number(n.was.pvid))
		for _, l := range []struct {
			key string
			ids []uint16
		}{{"untagged", n.was.untagged}, {"tagged", n.was.tagged}} {
			if len(l.ids) > 0 {
				words = append(words, l.key+"="+ranges(l.ids))
			}
		}
		if n.isolated {
			words = append(words, "isolated")
		}
	}
	if n.down {
		words = append(words, "down")
	}
	if n.vlan != 0 {
		words = append(words, "host="+escape(n.host))
	}
	return beside(owner, words)
}

func beside(owner string, words []string) (string, error) {
	text := strings.Join(words, " ")
	if owner != "" {
		text = owner + " " + text
	}
	if len(text) > maxAlias {
		return "", errTooLong
	}
	return text, nil
}

// split finds our words at the end of an alias. What is not exactly a note is
// the owner's.
func split(alias string) (owner string, words []string) {
	at := strings.LastIndex(alias, marker+" ")
	if at < 0 || at > 0 && alias[at-1] != ' ' {
		return alias, nil
	}
	return alias[:max(0, at-1)], strings.Split(alias[at+len(marker)+1:], " ")
}

// parseNote takes an alias apart. The note is zero when there is none.
func parseNote(alias string) (string, note) {
	owner, words := split(alias)
	n, ok := readNote(words)
	if !ok {
		return alias, note{}
	}
	return owner, n
}

func readNote(words []string) (n note, ok bool) {
	seen := map[string]bool{}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		if seen[key] {
			return note{}, false
		}
		seen[key] = true
		ok := true
		switch key {
		case "vlan":
			n.vlan, ok = parseID(value)
		case "pvid":
			if value != "0" {
				n.was.pvid, ok = parseID(value)
			}
		case "untagged":
			n.was.untagged, ok = parseRanges(value)
		case "tagged":
			n.was.tagged, ok = parseRanges(value)
		case "host":
			n.host, ok = unescape(value)
		case "isolated":
			n.isolated, ok = true, w == key
		case "down":
			n.down, ok = true, w == key
		default:
			ok = false
		}
		if !ok {
			return note{}, false
		}
	}
	if n.vlan == 0 {
		return n, len(words) == 1 && n.down
	}
	return n, seen["pvid"] && n.host != "" && n.was.sound()
}

// deviceNote is what the alias of the quarantine's own device says of us, so
// that only what we added is removed.
type deviceNote struct {
	self    bool         // the bridge's membership in the VLAN
	address netip.Prefix // on a device that we did not make
}

func (n deviceNote) join(owner string) (string, error) {
	if n == (deviceNote{}) {
		return owner, nil
	}
	words := []string{marker}
	if n.self {
		words = append(words, "self")
	}
	if n.address.IsValid() {
		words = append(words, "address="+n.address.String())
	}
	return beside(owner, words)
}

func parseDeviceNote(alias string) (string, deviceNote) {
	owner, words := split(alias)
	var n deviceNote
	for _, w := range words {
		switch value, ok := strings.CutPrefix(w, "address="); {
		case w == "self" && !n.self:
			n.self = true
		case ok && !n.address.IsValid():
			p, err := netip.ParsePrefix(value)
			if err != nil {
				return alias, deviceNote{}
			}
			n.address = p
		default:
			return alias, deviceNote{}
		}
	}
	return owner, n
}

func number(v uint16) string { return strconv.Itoa(int(v)) }

func parseID(s string) (uint16, bool) {
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err == nil && v >= 1 && v <= maxVLAN && s[0] != '0' && s[0] != '+'
}

// ranges writes sorted VLANs as "10,20-30".
func ranges(ids []uint16) string {
	var b strings.Builder
	for i := 0; i < len(ids); {
		last := i
		for last+1 < len(ids) && ids[last+1] == ids[last]+1 {
			last++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(number(ids[i]))
		if last > i {
			b.WriteString("-" + number(ids[last]))
		}
		i = last + 1
	}
	return b.String()
}

// parseRanges takes only what ranges writes: sorted, so never more than there
// are VLANs.
func parseRanges(s string) ([]uint16, bool) {
	var out []uint16
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, ok := parseID(from)
		b := a
		if isRange && ok {
			b, ok = parseID(to)
			ok = ok && b > a
		}
		if !ok || len(out) > 0 && a <= out[len(out)-1] {
			return nil, false
		}
		for v := a; v <= b; v++ {
			out = append(out, v)
		}
	}
	return out, ranges(out) == s
}

// escape makes one word of an ID, whatever its bytes.
func escape(id string) string {
	var b strings.Builder
	for _, c := range []byte(id) {
		if c > ' ' && c < 0x7f && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(v))
		i += 2
	}
	id := string(b)
	return id, id != "" && len(id) <= netcontain.MaxID && escape(id) == s
}

// membership is a port's VLANs. A VLAN leaves the port untagged or tagged;
// frames that come in without a tag belong to pvid, or are dropped when it is 0.
type membership struct {
	pvid             uint16
	untagged, tagged []uint16 // sorted
}

// alone is the membership of a port that is in one VLAN, untagged.
func alone(id uint16) membership { return membership{pvid: id, untagged: []uint16{id}} }

func (m membership) equal(o membership) bool {
	return m.pvid == o.pvid && slices.Equal(m.untagged, o.untagged) && slices.Equal(m.tagged, o.tagged)
}

func (m membership) has(id uint16) bool {
	return slices.Contains(m.untagged, id) || slices.Contains(m.tagged, id)
}

// all returns every VLAN, sorted.
func (m membership) all() []uint16 {
	return slices.Sorted(slices.Values(slices.Concat(m.untagged, m.tagged)))
}

func (m membership) without(id uint16) membership {
	is := func(v uint16) bool { return v == id }
	out := membership{pvid: m.pvid, untagged: slices.DeleteFunc(slices.Clone(m.untagged), is), tagged: slices.DeleteFunc(slices.Clone(m.tagged), is)}
	if out.pvid == id {
		out.pvid = 0
	}
	return out
}

// sound says that the lists are sorted and exclude each other, and that the
// port is in its PVID.
func (m membership) sound() bool {
	all := m.all()
	return len(slices.Compact(slices.Clone(all))) == len(all) && slices.IsSorted(m.untagged) && slices.IsSorted(m.tagged) &&
		(m.pvid == 0 || m.has(m.pvid))
}

// union is m and what o has beside it.
func (m membership) union(o membership) membership {
	out := membership{pvid: m.pvid, untagged: slices.Clone(m.untagged), tagged: slices.Clone(m.tagged)}
	for _, v := range o.untagged {
		if !m.has(v) {
			out.untagged = append(out.untagged, v)
		}
	}
	for _, v := range o.tagged {
		if !m.has(v) {
			out.tagged = append(out.tagged, v)
		}
	}
	slices.Sort(out.untagged)
	slices.Sort(out.tagged)
	return out
}

// notAccess says why the port is not one that a single host is plugged into,
// empty when it is.
func (m membership) notAccess() string {
	switch {
	case len(m.tagged) > 0:
		return "it is a trunk, with tagged VLANs " + ranges(m.tagged)
	case len(m.untagged) > 1:
		return "it carries several VLANs, " + ranges(m.untagged)
	case m.pvid == 0 || len(m.untagged) == 0:
		return "it has no VLAN for untagged frames"
	}
	return ""
}
