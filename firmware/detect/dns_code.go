package detect

import (
	"math"
	"strings"
)

// nameCode is an adaptive code for the names that one client asks under one
// domain. It is lossless, so its length bounds from above what the names can
// tell, as the size of the compressed names does in Paxson et al. (section
// 4.1, gzip); unlike gzip it needs no copy of them:
//
//   - what a name has in common with the beginning of the one before is a
//     length, 6 bits;
//   - a label that was there before is an index into those that were;
//   - other characters are coded one by one with the frequencies so far
//     (Krichevsky and Trofimov, IEEE Trans. Inf. Theory 27(2), 1981).
//
// Case is left out: resolvers change it at random (draft-vixie-dnsext-dns0x20).
type nameCode struct {
	count [symbols]uint16
	total float64
	last  string
}

// 26 letters, 10 digits, hyphen, underscore, dot, any other octet.
const (
	symbols  = 40
	symDot   = 38
	symOther = 39

	prefixBits = 6 // a label has at most 63 octets (RFC 1035 section 2.3.4)
	otherBits  = 8
)

func symbol(c byte) int {
	switch {
	case c >= 'a' && c <= 'z':
		return int(c - 'a')
	case c >= '0' && c <= '9':
		return 26 + int(c-'0')
	case c == '-':
		return 36
	case c == '_':
		return 37
	case c == '.':
		return symDot
	}
	return symOther
}

// bits codes one name, without its domain. seen tells whether a label was
// there before, and notes it; known is how many were.
func (m *nameCode) bits(name string, known int, seen func(label string) bool) float64 {
	rest, cost := name, 0.0
	if n := commonPrefix(name, m.last); n >= 2 {
		rest, cost = name[n:], prefixBits
	}
	m.last = name
	for first := true; rest != ""; first = false {
		label, tail, more := strings.Cut(rest, ".")
		whole := !first || len(rest) == len(name)
		if whole && seen(label) {
			cost += math.Log2(float64(2 + known))
		} else {
			cost += m.text(label)
		}
		if more {
			cost += m.char(symDot)
		}
		rest = tail
	}
	return cost + m.char(symDot)
}

func (m *nameCode) text(s string) float64 {
	cost := 0.0
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) { // one octet, written \ddd
			i += 3
			cost += m.char(symOther) + otherBits
			continue
		}
		k := symbol(s[i])
		cost += m.char(k)
		if k == symOther {
			cost += otherBits
		}
	}
	return cost
}

func (m *nameCode) char(k int) float64 {
	p := (float64(m.count[k]) + 0.5) / (m.total + symbols/2)
	if m.count[k]++; m.count[k] == math.MaxUint16 {
		m.total = 0
		for i := range m.count {
			m.count[i] /= 2
			m.total += float64(m.count[i])
		}
	} else {
		m.total++
	}
	return -math.Log2(p)
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
