package ioc

import (
	"bytes"
	"crypto/sha256"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// MaxEntries bounds what one Set holds: at 34 bytes each, about 34 MB.
const MaxEntries = 1_000_000

// List is what one source says, read and accepted.
type List struct {
	Name    string
	Trust   string // low, medium or high; empty: medium
	Entries []Entry
	Expires time.Time // of all entries that have no time of their own; zero: never
}

// Set answers look-ups over all lists. It never changes, so any number of
// goroutines may read it. A nil Set matches nothing.
type Set struct {
	index    []record // sorted by key
	sources  []source
	prefixes []int // lengths of networks present: 0..32 IPv4, 128+bits IPv6
	Dropped  int   // entries beyond MaxEntries
}

type source struct{ name, trust string }

// record is one entry by the first half of the SHA-256 of kind and value: an
// entry that collides with another cannot be made (2^64 work), and half a
// million of them fit where the texts would not.
type record struct {
	key     [16]byte
	expires uint32 // Unix time in minutes; 0: never
	source  uint16
}

func keyOf(k Kind, value string) [16]byte {
	var buf [256]byte
	b := append(append(buf[:0], byte(k)), value...)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// NewSet indexes lists. Where two list the same, the one that is trusted more
// answers, then the one that comes first.
func NewSet(lists []List) *Set {
	s := &Set{}
	lengths := map[int]struct{}{}
	order := slices.Clone(lists)
	slices.SortStableFunc(order, func(a, b List) int { return trustRank(b.Trust) - trustRank(a.Trust) })
	for _, l := range order[:min(len(order), 1<<16-1)] {
		if l.Trust == "" {
			l.Trust = "medium"
		}
		s.sources = append(s.sources, source{l.Name, l.Trust})
		for _, e := range l.Entries {
			if len(s.index) >= MaxEntries {
				s.Dropped++
				continue
			}
			if e.Expires.IsZero() || !l.Expires.IsZero() && l.Expires.Before(e.Expires) {
				e.Expires = l.Expires
			}
			if e.Kind == CIDR {
				if p, err := netip.ParsePrefix(e.Value); err == nil {
					lengths[prefixLength(p)] = struct{}{}
				}
			}
			s.index = append(s.index, record{keyOf(e.Kind, e.Value), minutes(e.Expires), uint16(len(s.sources) - 1)})
		}
	}
	slices.SortStableFunc(s.index, func(a, b record) int { return bytes.Compare(a.key[:], b.key[:]) })
	s.index = slices.Clip(s.index)
	for n := range lengths {
		s.prefixes = append(s.prefixes, n)
	}
	slices.Sort(s.prefixes)
	slices.Reverse(s.prefixes) // the narrowest network first
	return s
}

func trustRank(t string) int {
	switch t {
	case "high":
		return 2
	case "low":
		return 0
	}
	return 1
}

func minutes(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(max(1, t.Unix()/60))
}

func prefixLength(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 128 + p.Bits()
	}
	return p.Bits()
}

// Len is the number of entries.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.index)
}

func (s *Set) find(k Kind, value string, at time.Time) (Match, bool) {
	if s == nil || len(s.index) == 0 {
		return Match{}, false
	}
	key := keyOf(k, value)
	i, ok := slices.BinarySearchFunc(s.index, key, func(r record, k [16]byte) int { return bytes.Compare(r.key[:], k[:]) })
	for ; ok && i < len(s.index) && s.index[i].key == key; i++ {
		r := s.index[i]
		if r.expires == 0 || at.Unix()/60 < int64(r.expires) {
			src := s.sources[r.source]
			return Match{k, value, src.name, src.trust}, true
		}
	}
	return Match{}, false
}

// Domain looks a name up, and every domain that it is below.
func (s *Set) Domain(name string, at time.Time) (Match, bool) {
	name = strings.TrimSuffix(name, ".")
	for depth := 0; depth < 16 && strings.Contains(name, "."); depth++ {
		if m, ok := s.find(Domain, name, at); ok {
			return m, true
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return Match{}, false
}

// Addr looks an address up, then the networks that it is in.
func (s *Set) Addr(a netip.Addr, at time.Time) (Match, bool) {
	if s.Len() == 0 || !a.IsValid() {
		return Match{}, false
	}
	a = a.Unmap().WithZone("")
	if m, ok := s.find(Addr, a.String(), at); ok {
		return m, true
	}
	for _, n := range s.prefixes {
		if a.Is6() != (n >= 128) {
			continue
		}
		p, err := a.Prefix(n & 127)
		if n == 256 || err != nil {
			continue
		}
		if m, ok := s.find(CIDR, p.String(), at); ok {
			return m, true
		}
	}
	return Match{}, false
}

// URL looks up host and path of a request, and every folder above it.
func (s *Set) URL(host, path string, at time.Time) (Match, bool) {
	if s.Len() == 0 {
		return Match{}, false
	}
	if h, port, ok := strings.Cut(host, ":"); ok && strings.Trim(port, "0123456789") == "" {
		host = h
	}
	path = strings.ToLower(strings.TrimPrefix(path, "/"))
	for depth := 0; depth < 32 && path != ""; depth++ {
		if m, ok := s.find(URL, host+"/"+path, at); ok {
			return m, true
		}
		if folder, ok := strings.CutSuffix(path, "/"); ok {
			path = folder
			continue
		}
		i := strings.LastIndexAny(path, "/?")
		if i < 0 {
			break
		}
		if path[i] == '/' {
			i++ // the folder with its slash comes first
		}
		path = path[:i]
	}
	return Match{}, false
}

// Fingerprint looks up a JA3, a JA4 or a certificate hash, in lower-case hex.
func (s *Set) Fingerprint(k Kind, value string, at time.Time) (Match, bool) {
	if value == "" {
		return Match{}, false
	}
	return s.find(k, value, at)
}
