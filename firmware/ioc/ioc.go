// Package ioc holds indicators of compromise: lists of domains, addresses,
// URLs and fingerprints that somebody published as bad.
//
// The gateway fills a Set from files and URLs and gives it to the detectors. A
// list is somebody else's word: it is read as hostile input, its memory is
// bounded, entries that would match the office itself or half the internet are
// refused, and a broken list never replaces a good one.
package ioc

import (
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Kind is what an indicator matches.
type Kind uint8

// Kinds of indicators.
const (
	Domain Kind = iota // the name and everything below it
	Addr
	CIDR
	URL    // host and path, without scheme; a prefix match up to a path segment
	JA3    // 32 hex digits, client or server
	JA4    // FoxIO JA4 or JA4S
	SHA1   // of a certificate's DER, 40 hex digits
	SHA256 // of a certificate's DER, 64 hex digits
)

var kindNames = [...]string{"domain", "address", "network", "url", "ja3", "ja4", "certificate sha1", "certificate sha256"}

func (k Kind) String() string { return kindNames[k] }

// Entry is one line of a list, in canonical form (see Canonical).
type Entry struct {
	Kind    Kind
	Value   string
	Expires time.Time // zero: as long as its list
}

// Match is an indicator that applies.
type Match struct {
	Kind   Kind
	Value  string // as listed
	Source string // name of the list
	Trust  string // what the owner said of the list: low, medium or high
}

// Canonical brings a value into the form in which it is compared, and finds
// its kind. It undoes the usual defanging (hxxp, [.], (.)). The error says why
// a value is refused.
func Canonical(text string) (Kind, string, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	s = refang.Replace(s)
	switch {
	case s == "":
		return 0, "", errEmpty
	case len(s) > maxValue:
		return 0, "", errLong
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if scheme != "http" && scheme != "https" && scheme != "hxxp" && scheme != "hxxps" && scheme != "tcp" && scheme != "ftp" {
			return 0, "", errKind
		}
		return canonicalURL(rest)
	}
	if k, ok := hexKind(s); ok {
		return k, s, nil
	}
	if isJA4(s) {
		return JA4, s, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return canonicalPrefix(p)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return canonicalAddr(a)
	}
	if ap, err := netip.ParseAddrPort(s); err == nil { // address:port, as C2 lists have it
		return canonicalAddr(ap.Addr())
	}
	if strings.Contains(s, "/") {
		return canonicalURL(s)
	}
	return canonicalDomain(s)
}

const maxValue = 2048 // RFC 9110 section 4.1 recommends 8,000 for URLs; lists stay far below

var refang = strings.NewReplacer("[.]", ".", "(.)", ".", "[:]", ":", "hxxp", "http", "[://]", "://")

func hexKind(s string) (Kind, bool) {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return 0, false
		}
	}
	switch len(s) {
	case 32:
		return JA3, true
	case 40:
		return SHA1, true
	case 64:
		return SHA256, true
	}
	return 0, false
}

// isJA4 recognises the shape a_b_c of FoxIO's JA4 and JA4S.
func isJA4(s string) bool {
	p := strings.Split(s, "_")
	if len(p) != 3 || len(p[2]) != 12 || s[0] != 't' && s[0] != 'q' && s[0] != 'd' {
		return false
	}
	return len(p[0]) == 10 && len(p[1]) == 12 || len(p[0]) == 7 && len(p[1]) == 4
}

func canonicalAddr(a netip.Addr) (Kind, string, error) {
	a = a.Unmap().WithZone("")
	if a.IsPrivate() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return 0, "", errOffice
	}
	return Addr, a.String(), nil
}

// Widest networks that a list may name: a /8 is what one organisation was ever
// given, a /19 of IPv6 the largest allocation of a registry (RIPE-NCC, 2a0x).
const (
	widest4 = 8
	widest6 = 19
)

func canonicalPrefix(p netip.Prefix) (Kind, string, error) {
	p = p.Masked()
	if p.Addr().Is4In6() || p.Addr().Zone() != "" {
		return 0, "", errKind
	}
	if p.IsSingleIP() {
		return canonicalAddr(p.Addr())
	}
	if p.Addr().Is4() && p.Bits() < widest4 || p.Addr().Is6() && p.Bits() < widest6 {
		return 0, "", errWide
	}
	for _, own := range reserved {
		if p.Overlaps(own) {
			return 0, "", errOffice
		}
	}
	return CIDR, p.String(), nil
}

// reserved are the networks that are nobody's on the internet (RFC 6890): a
// list that names them would match the office itself.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("::1/128"),
}

func canonicalDomain(s string) (Kind, string, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, "*."), "."), ".")
	if host, port, ok := strings.Cut(s, ":"); ok && port != "" && strings.Trim(port, "0123456789") == "" {
		s = host
	}
	name, err := idna.Lookup.ToASCII(s)
	if err != nil || !strings.Contains(name, ".") || len(name) > 253 || !plainName(name) {
		return 0, "", errKind
	}
	if suffix, _ := publicsuffix.PublicSuffix(name); suffix == name {
		return 0, "", errWide
	}
	switch name {
	case "localhost.localdomain", "local.localdomain":
		return 0, "", errOffice
	}
	return Domain, name, nil
}

// plainName checks what idna lets pass: labels that are not empty, and a last
// one that is no number, as that of a mistyped address is (RFC 3696 section 2).
func plainName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return strings.Trim(s[strings.LastIndexByte(s, '.')+1:], "0123456789") != ""
}

// canonicalURL keeps host and path; one without a path is its host.
func canonicalURL(s string) (Kind, string, error) {
	s, _, _ = strings.Cut(s, "#")
	host, path, _ := strings.Cut(s, "/")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	k, name, err := Canonical(host)
	if err != nil || k != Domain && k != Addr {
		return 0, "", errKind
	}
	if path == "" {
		return k, name, nil
	}
	return URL, name + "/" + path, nil
}
