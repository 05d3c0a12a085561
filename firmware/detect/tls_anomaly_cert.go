package detect

import (
	"math"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// tlsLongest is the longest that a public authority ever signed for since the
// baseline requirements of the CA/Browser Forum (version 1.0, section 9.4,
// 2012): 60 months, and less in every version after.
const tlsLongest = 60*31*24*time.Hour + 24*time.Hour

// certFor says that a certificate names host: RFC 6125 section 6.4, the common
// name where there are no other names.
func certFor(e *flow.TLSCert, host string) bool {
	if len(e.Names) == 0 {
		return matches(e.CommonName, host)
	}
	for _, n := range e.Names {
		if matches(n, host) {
			return true
		}
	}
	// The event carries sixteen names; a longer list may hold it.
	return len(e.Names) >= 16
}

// matches takes a wildcard for exactly one label.
func matches(pattern, host string) bool {
	host = strings.TrimSuffix(host, ".")
	if rest, ok := strings.CutPrefix(pattern, "*."); ok {
		_, tail, ok := strings.Cut(host, ".")
		return ok && strings.EqualFold(rest, tail)
	}
	return strings.EqualFold(pattern, host)
}

// placeholderCert says that whoever made a certificate left in what a tool or
// a manual proposes: nothing, the reserved names of RFC 2606 and RFC 6761, or the
// texts of the openssl.cnf that OpenSSL and Red Hat ship.
func placeholderCert(e *flow.TLSCert) bool {
	cn := strings.ToLower(e.CommonName)
	if cn == "" && len(e.Names) == 0 {
		return true
	}
	for _, name := range [...]string{"localhost", "example", "example.com", "example.org", "example.net", "test", "invalid"} {
		if under(cn, name) {
			return true
		}
	}
	for _, text := range [...]string{"Internet Widgits Pty Ltd", "Default Company Ltd", "Some-State", "Default City"} {
		if strings.Contains(e.Subject, text) {
			return true
		}
	}
	return false
}

// madeUpName is what it is worth that organisation or unit in a name is of
// random letters, in nats. The ratio of likelihoods bounds how often a true name
// looks so (Markov's inequality); of the two fields the better one is taken,
// which costs a bit. Words under six letters are acronyms.
func madeUpName(name string) float64 {
	bits := 0.0
	for _, field := range [...]string{"O=", "OU="} {
		for _, word := range strings.Fields(attribute(name, field)) {
			if word = strings.ToLower(word); len(word) >= 6 && letters(word) {
				bits = max(bits, randomness(word)-1)
			}
		}
	}
	return min(bits*math.Ln2, madeUpMost)
}

func letters(s string) bool {
	for i := range len(s) {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return true
}

// attribute finds an attribute of a distinguished name in text (RFC 2253).
func attribute(subject, name string) string {
	for subject != "" {
		part, rest := nextAttribute(subject)
		if v, ok := strings.CutPrefix(part, name); ok {
			return v
		}
		subject = rest
	}
	return ""
}

// nextAttribute cuts at the first comma or plus that is not escaped.
func nextAttribute(s string) (part, rest string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ',', '+':
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
