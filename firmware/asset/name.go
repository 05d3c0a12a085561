package asset

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxName = 63 // a DNS label (RFC 1035, 2.3.4)

// nameRank orders where names come from: what the device tells a server it
// depends on before what it shouts.
var nameRank = map[string]int{"owner": 5, "dhcp": 4, "mdns": 3, "nbns": 2, "llmnr": 1}

// name takes a name unless a better one is known. A source may correct itself.
func (v *Inventory) name(d *entry, s, from string) {
	if nameRank[d.NameFrom] > nameRank[from] {
		return
	}
	s = cleanName(s)
	if s == "" || strings.EqualFold(s, "localhost") || s == d.Name && from == d.NameFrom {
		return
	}
	d.Name, d.NameFrom = s, from
	v.kindByHostname(d, s)
	v.mark(d)
}

// cleanName makes a stranger's text safe to show: no control characters, no
// characters that turn the writing direction or cannot be seen, bounded.
func cleanName(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) || !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			continue
		}
		if n == maxName {
			break
		}
		b.WriteRune(r)
		n++
	}
	return strings.Trim(b.String(), " .")
}
