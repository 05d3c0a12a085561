package evidence

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"unicode/utf8"
)

// Subject is one device whose data somebody asked to have removed: everything
// that it is known by, and the pseudonym that takes its place.
type Subject struct {
	Match     Match
	Pseudonym string // "purged-" and 64 random bits: it cannot be led back

	terms []term // longest first
}

// term is one text that the device is known by, in lower case.
type term struct {
	text string
	v6   bool
}

// NewSubject wants at least one address or name. A name of a single character is
// refused: it would be found everywhere. An address that other devices had at
// other times brings along what is about them: leave such a one out.
func NewSubject(m Match, names []string) (Subject, error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	s := Subject{Match: m, Pseudonym: "purged-" + hex.EncodeToString(random[:])}
	for _, mac := range m.MACs {
		if mac != [6]byte{} {
			text := net.HardwareAddr(mac[:]).String()
			s.terms = append(s.terms, term{text: "mac:" + text}, term{text: text}, term{text: strings.ReplaceAll(text, ":", "-")})
		}
	}
	for _, a := range m.Addrs {
		if a = a.Unmap(); a.IsValid() && !a.IsUnspecified() {
			s.terms = append(s.terms, term{text: "ip:" + a.String(), v6: a.Is6()}, term{text: a.String(), v6: a.Is6()})
		}
	}
	for _, n := range names {
		if n = strings.TrimSpace(n); utf8.RuneCountInString(n) < 2 {
			return Subject{}, fmt.Errorf("name %q is too short to be looked for", n)
		}
		s.terms = append(s.terms, term{text: lower(n)})
		if form := inJSON(n); form != n {
			s.terms = append(s.terms, term{text: lower(form)})
		}
	}
	if len(s.terms) == 0 {
		return Subject{}, errors.New("a device without address and name")
	}
	slices.SortFunc(s.terms, func(a, b term) int { return cmp.Or(len(b.text)-len(a.text), strings.Compare(a.text, b.text)) })
	return s, nil
}

// inJSON is how a name stands in the files of a bundle: "R&D" as R\u0026D.
func inJSON(name string) string {
	text, _ := json.Marshal(name) // never fails for a string
	return string(text[1 : len(text)-1])
}

// lower changes ASCII letters only, so that places in the text stay the same.
func lower(text string) string {
	out := []byte(text)
	for n, c := range out {
		if 'A' <= c && c <= 'Z' {
			out[n] += 'a' - 'A'
		}
	}
	return string(out)
}

// Matches says whether text names the device, whatever the case of its letters:
// as a word of its own, so that 192.0.2.7 is not found in 192.0.2.70, nor PC-7
// in PC-77 or PC-7-old.
func (s Subject) Matches(text string) bool {
	start, _ := s.find(lower(text), 0)
	return start >= 0
}

// Replace puts the pseudonym in the place of everything that names the device.
func (s Subject) Replace(text string) string {
	low := lower(text)
	var out strings.Builder
	done := 0
	for {
		start, end := s.find(low, done)
		if start < 0 {
			break
		}
		out.WriteString(text[done:start])
		out.WriteString(s.Pseudonym)
		done = end
	}
	out.WriteString(text[done:])
	return out.String()
}

// find returns the first place at or after from that names the device, the
// longest of several; -1 when there is none.
func (s Subject) find(low string, from int) (start, end int) {
	start = -1
	for _, t := range s.terms {
		if at := t.find(low, from); at >= 0 && (start < 0 || at < start) {
			start, end = at, at+len(t.text)
		}
	}
	return start, end
}

// find returns where low, in lower case, has the term as a word, or -1.
func (t term) find(low string, from int) int {
	for {
		n := strings.Index(low[from:], t.text)
		if n < 0 {
			return -1
		}
		start, end := from+n, from+n+len(t.text)
		if !t.joined(low, start-1, start) && !t.joined(low, end, end-1) {
			return start
		}
		from = start + 1
	}
}

// joined says that the character at neighbour, if there is one, goes on with the
// word whose outermost character is at edge.
func (t term) joined(low string, neighbour, edge int) bool {
	if neighbour < 0 || neighbour >= len(low) {
		return false
	}
	c := low[neighbour]
	return inWord(low[edge]) && (inWord(c) || c == '-' || c == '_') || t.v6 && c == ':'
}

func inWord(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
