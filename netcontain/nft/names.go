package nft

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"

	"sekisho/netcontain"
)

// NameLife is how long an address that dnsmasq found for a name of the allow
// list stays reachable after the last answer from upstream. dnsmasq adds nothing
// for an answer out of its cache, so it must outlive the cache's time and the
// client's, an hour each (AllowFile); the rest is for a download that began in
// time. It is also how long an address that the name has left stays open.
const NameLife = 6 * time.Hour

// nameTTL is the longest that dnsmasq and its clients may keep an answer.
const nameTTL = time.Hour

// maxNames bounds each set of addresses by name: the owner of an allowed domain
// could answer with any number. The kernel refuses more, and dnsmasq logs it.
const maxNames = 1024

const namePrefix = "allow_name_"

// AllowFile returns dnsmasq's settings (2.87 or later, started after the first
// Apply) that put the addresses of names, and of everything below them, into
// our sets. What is no name of letters, digits, hyphens and dots is left out.
func AllowFile(names []string) []byte {
	var out bytes.Buffer
	out.WriteString("# Written by sekisho from network.allow_names; changes are lost.\n")
	if len(names) == 0 {
		return out.Bytes()
	}
	fmt.Fprintf(&out, "# An address stays reachable for %s after the last answer from upstream.\n", NameLife)
	fmt.Fprintf(&out, "max-ttl=%d\nmax-cache-ttl=%[1]d\n", int(nameTTL.Seconds()))
	var sets []string
	for _, version := range "46" {
		for _, family := range []string{"bridge", "inet"} {
			sets = append(sets, fmt.Sprintf("%c#%s#%s#%sip%[1]c", version, family, Table, namePrefix))
		}
	}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if isName(n) { // one line each: dnsmasq reads 1,024 bytes of a line
			fmt.Fprintf(&out, "nftset=/%s/%s\n", n, strings.Join(sets, ","))
		}
	}
	return out.Bytes()
}

func isName(n string) bool {
	return n != "" && len(n) <= 253 && strings.Trim(n, ".") == n && strings.Trim(strings.ToLower(n), "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// named is what dnsmasq put into our sets as last seen, by family and set, so
// that it can be put back when somebody took the tables away.
type named map[string][]nameEntry

type nameEntry struct {
	addr netip.Addr
	end  time.Time
}

func nameKey(s *nftables.Set) string { return familyName[s.Table.Family] + " " + s.Name }

// note remembers the content of one set, and returns what has to be written to
// it: an element that has the set's own lifetime would never be renewed. The
// kernel (6.12 and later) renews one only when its lifetime is another than the
// one that is asked for, so each gets what is left as a lifetime of its own.
func (n named) note(s *nftables.Set, elements []nftables.SetElement, now time.Time) (stamp []nftables.SetElement) {
	var entries []nameEntry
	for _, el := range elements {
		a, ok := netip.AddrFromSlice(el.Key)
		if !ok || el.Expires <= 0 {
			continue
		}
		entries = append(entries, nameEntry{a, now.Add(el.Expires)})
		if own := min(el.Expires, NameLife-time.Second); el.Timeout == 0 && own >= time.Second {
			stamp = append(stamp, nftables.SetElement{Key: el.Key, Timeout: own})
		}
	}
	n[nameKey(s)] = entries
	return stamp
}

// elements returns what was last seen in a set, with the time that is left.
func (n named) elements(s *nftables.Set, now time.Time) []nftables.SetElement {
	var out []nftables.SetElement
	for _, e := range n[nameKey(s)] {
		if left := e.end.Sub(now); left >= time.Second {
			out = append(out, nftables.SetElement{Key: e.addr.AsSlice(), Timeout: min(left, NameLife-time.Second)})
		}
	}
	return out
}

// addrs returns every address that a name has opened: those that it has outside
// the near networks.
func (n named) addrs(near []netip.Prefix) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, entries := range n {
		for _, e := range entries {
			if !slices.ContainsFunc(near, func(p netip.Prefix) bool { return p.Contains(e.addr) }) {
				out[e.addr] = true
			}
		}
	}
	return out
}

// lookNames notes what dnsmasq has put into the sets of names since the last
// look, and gives it a lifetime of its own. What cannot be read stays as noted.
func (e *Enforcer) lookNames(tables []*table) {
	stamped := false
	for _, t := range tables {
		for _, s := range t.sets {
			if !s.HasTimeout {
				continue
			}
			elements, err := e.nft.GetSetElements(s)
			if err != nil {
				continue
			}
			stamp := e.names.note(s, elements, time.Now())
			byName := *s
			byName.ID = 0
			if err := e.addElements(&byName, stamp); err == nil && len(stamp) > 0 {
				stamped = true
			}
		}
	}
	if stamped {
		// It may fail when the tables change at this moment; the next look tries again.
		_ = e.nft.Flush()
	}
}

// special are the networks that are nobody's on the internet (RFC 6890): a name
// that points there must not open what is behind the uplink.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/8"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/9"), netip.MustParsePrefix("ff00::/8"),
}

// near are the networks that a name never opens: the gateway's own, which are
// the office's and the provider's access, and those that are nobody's.
func near(connected []netip.Prefix) []netip.Prefix {
	return netcontain.Policy{Allow: slices.Concat(special, connected)}.Canonical().Allow
}
