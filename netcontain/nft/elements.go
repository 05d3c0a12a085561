package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"

	"sekisho/netcontain"
)

var levels = []netcontain.Level{netcontain.Watch, netcontain.Limit, netcontain.Isolate}

// elementsOf returns what the set of that name holds under p. The comment of an
// element is the host's ID, from which Observed puts the hosts together again.
func elementsOf(set string, p netcontain.Policy, net surroundings) []nftables.SetElement {
	switch set {
	case "gateway_ip4", "gateway_ip6":
		return addrElements(net.gateway, strings.HasSuffix(set, "4"))
	case "own_ip4", "own_ip6":
		return addrElements(net.own, strings.HasSuffix(set, "4"))
	case "near_ip4", "near_ip6":
		return intervals(net.near, strings.HasSuffix(set, "4"))
	case "quarantine_device":
		if net.quarantine == "" {
			return nil
		}
		return []nftables.SetElement{{Key: ifname(net.quarantine)}}
	case "allow_ip4", "allow_ip6":
		return intervals(p.Allow, strings.HasSuffix(set, "4"))
	case "address_unknown":
		return addressUnknown(p)
	}
	level, kind, _ := strings.Cut(set, "_")
	var out []nftables.SetElement
	for _, h := range p.Hosts {
		if h.Level.String() == level {
			out = append(out, hostElements(h, kind)...)
		}
	}
	return out
}

func addrElements(addrs []netip.Addr, four bool) []nftables.SetElement {
	var out []nftables.SetElement
	for _, a := range addrs {
		if a.Is4() == four {
			out = append(out, nftables.SetElement{Key: a.AsSlice()})
		}
	}
	return out
}

func hostElements(h netcontain.Host, kind string) []nftables.SetElement {
	var keys [][]byte
	switch kind {
	case "mac":
		for _, m := range h.MACs {
			keys = append(keys, m[:])
		}
	case "ip4", "ip6":
		for _, a := range h.Addrs {
			if a.Is4() == (kind == "ip4") {
				keys = append(keys, a.AsSlice())
			}
		}
	case "port":
		for _, n := range h.Ports {
			keys = append(keys, ifname(n))
		}
	}
	var out []nftables.SetElement
	for _, k := range keys {
		out = append(out, nftables.SetElement{Key: slices.Clone(k), Comment: h.ID})
	}
	return out
}

// addressUnknown lists MACs of hosts of which no address is known: they may
// speak to the gateway from any but the gateway's.
func addressUnknown(p netcontain.Policy) []nftables.SetElement {
	var out []nftables.SetElement
	for _, h := range p.Hosts {
		if len(h.Addrs) > 0 || h.Level == netcontain.Watch {
			continue
		}
		out = append(out, hostElements(h, "mac")...)
	}
	return out
}

// intervals writes prefixes as the kernel keeps them: a start, and the first
// address after, which the last prefix of the address space does not have.
func intervals(prefixes []netip.Prefix, four bool) []nftables.SetElement {
	var out []nftables.SetElement
	for _, p := range prefixes {
		if p.Addr().Is4() != four {
			continue
		}
		out = append(out, nftables.SetElement{Key: p.Addr().AsSlice()})
		if end := lastOf(p).Next(); end.IsValid() {
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// prefixesOf reads intervals back. A range that is no prefix cannot be ours.
func prefixesOf(elements []nftables.SetElement) ([]netip.Prefix, error) {
	var starts, ends []netip.Addr
	for _, el := range elements {
		a, ok := netip.AddrFromSlice(el.Key)
		if !ok {
			return nil, fmt.Errorf("allow list: key of %d bytes", len(el.Key))
		}
		if el.IntervalEnd {
			ends = append(ends, a)
		} else {
			starts = append(starts, a)
		}
	}
	slices.SortFunc(starts, netip.Addr.Compare)
	slices.SortFunc(ends, netip.Addr.Compare)
	var out []netip.Prefix
	for _, start := range starts {
		i := slices.IndexFunc(ends, func(end netip.Addr) bool { return start.Less(end) })
		found := false
		for bits := 0; bits <= start.BitLen() && !found; bits++ {
			p := netip.PrefixFrom(start, bits)
			if p.Masked() != p {
				continue
			}
			next := lastOf(p).Next()
			found = (i < 0 && !next.IsValid()) || (i >= 0 && next == ends[i])
			if found {
				out = append(out, p)
			}
		}
		if !found {
			return nil, &netcontain.AlteredError{What: fmt.Sprintf("allow list: no prefix at %s", start)}
		}
	}
	return out, nil
}

// Observed reads back from the kernel what it holds now, in canonical form. It
// returns the zero Policy when our tables are not there. When they would not do
// what they say it returns a *netcontain.AlteredError, and a
// *netcontain.OutdatedError when they are as written, but the gateway's own
// addresses have changed since; beside either error the policy is what was
// found. It also looks at what dnsmasq has put into the sets of names.
func (e *Enforcer) Observed(ctx context.Context) (netcontain.Policy, error) {
	if err := ctx.Err(); err != nil {
		return netcontain.Policy{}, fmt.Errorf("observe containment: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	net, err := e.surroundings()
	if err != nil {
		return netcontain.Policy{}, fmt.Errorf("observe containment: %w", err)
	}
	p, err := e.look(net)
	if err == nil && net.trouble != nil {
		err = &netcontain.AlteredError{What: net.trouble.Error()}
	}
	if err == nil {
		e.lookNames(tablesOf(e.cfg))
	}
	if err != nil {
		err = fmt.Errorf("observe containment: %w", err)
	}
	return p, err
}

func (e *Enforcer) observed(net surroundings) (netcontain.Policy, error) {
	print, err := e.fingerprint()
	switch {
	case err != nil:
		return netcontain.Policy{}, err
	case print == "" && e.known:
		return netcontain.Policy{}, &netcontain.AlteredError{What: "tables of ours are gone"}
	case print == "":
		return netcontain.Policy{}, nil
	}
	tables := tablesOf(e.cfg)
	p, contents, err := e.read(tables)
	switch {
	case e.known && print != e.rules: // then also what could not be read is of no account
		return p, &netcontain.AlteredError{What: "tables, chains or rules of ours are not as written"}
	case err != nil:
		return p, err
	}
	return p, e.agree(p, net, tables, contents)
}

// read puts the policy together from the sets of the bridge table, which has
// all of it, and returns the text of every set, table by table.
func (e *Enforcer) read(tables []*table) (netcontain.Policy, []map[string]string, error) {
	var p netcontain.Policy
	contents := make([]map[string]string, len(tables))
	hosts := map[string]*netcontain.Host{}
	var errs []error
	for i, t := range tables {
		contents[i] = map[string]string{}
		for _, s := range t.sets {
			if s.HasTimeout {
				continue // dnsmasq's: nothing there is altered
			}
			elements, err := e.nft.GetSetElements(s)
			if err != nil {
				errs = append(errs, fmt.Errorf("read set %s: %w", s.Name, err))
				continue
			}
			contents[i][s.Name] = text(elements)
			if i > 0 {
				continue
			}
			if strings.HasPrefix(s.Name, "allow_ip") {
				prefixes, err := prefixesOf(elements)
				errs = append(errs, err)
				p.Allow = append(p.Allow, prefixes...)
			} else {
				errs = append(errs, collect(hosts, s.Name, elements))
			}
		}
	}
	for _, h := range hosts {
		p.Hosts = append(p.Hosts, *h)
	}
	var err error
	p.Lockdown, err = e.lockdown(tables...)
	return p.Canonical(), contents, errors.Join(append(errs, err)...)
}

// collect adds the elements of one set to the hosts that their comments name.
func collect(hosts map[string]*netcontain.Host, set string, elements []nftables.SetElement) error {
	name, kind, _ := strings.Cut(set, "_")
	i := slices.IndexFunc(levels, func(l netcontain.Level) bool { return l.String() == name })
	if i < 0 {
		return nil
	}
	for _, el := range elements {
		h := hosts[el.Comment]
		if h == nil {
			h = &netcontain.Host{ID: el.Comment, Level: levels[i]}
			hosts[el.Comment] = h
		}
		if h.Level != levels[i] || el.Comment == "" {
			return &netcontain.AlteredError{What: fmt.Sprintf("set %s holds an element that is not ours", set)}
		}
		switch kind {
		case "mac":
			h.MACs = append(h.MACs, netcontain.MAC(el.Key))
		case "port":
			h.Ports = append(h.Ports, strings.TrimRight(string(el.Key), "\x00"))
		default:
			if a, ok := netip.AddrFromSlice(el.Key); ok {
				h.Addrs = append(h.Addrs, a)
			}
		}
	}
	return nil
}

// lockdown reads the one rule that says so, which both tables must have.
func (e *Enforcer) lockdown(tables ...*table) (bool, error) {
	count := 0
	for _, t := range tables {
		rules, err := e.nft.GetRules(t.nft, &nftables.Chain{Name: lockdownChain, Table: t.nft})
		if err != nil {
			return false, fmt.Errorf("read lockdown: %w", err)
		}
		count += len(rules)
	}
	if count == 1 {
		return false, &netcontain.AlteredError{What: "lockdown in one table only"}
	}
	return count > 0, nil
}

// agree checks that every set of both tables says the same as the hosts put
// together, and as the gateway's own addresses did when they were written.
func (e *Enforcer) agree(p netcontain.Policy, net surroundings, tables []*table, contents []map[string]string) error {
	then := net
	if e.known {
		then = e.net
	}
	var outdated error
	for i, t := range tables {
		for _, s := range t.sets {
			if s.HasTimeout {
				continue
			}
			if contents[i][s.Name] != text(elementsOf(s.Name, p, then)) {
				return &netcontain.AlteredError{What: fmt.Sprintf("set %s of table %s is not as written", s.Name, familyName[t.nft.Family])}
			}
			if contents[i][s.Name] != text(elementsOf(s.Name, p, net)) {
				outdated = &netcontain.OutdatedError{What: "the gateway's own addresses have changed"}
			}
		}
	}
	return outdated
}

var familyName = map[nftables.TableFamily]string{nftables.TableFamilyBridge: "bridge", nftables.TableFamilyINet: "inet"}

// text is a set's content without its order. The kernel may name an element
// twice while its table grows.
func text(elements []nftables.SetElement) string {
	lines := make([]string, 0, len(elements))
	for _, el := range elements {
		lines = append(lines, elementText(el))
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

func elementText(el nftables.SetElement) string {
	return fmt.Sprintf("%x %t %s", el.Key, el.IntervalEnd, el.Comment)
}

// fingerprint is a text of our chains and rules as the kernel gives them back,
// without the lockdown rule; empty when neither table is there.
func (e *Enforcer) fingerprint() (string, error) {
	var out strings.Builder
	for _, family := range []nftables.TableFamily{nftables.TableFamilyBridge, nftables.TableFamilyINet} {
		tables, err := e.nft.ListTablesOfFamily(family)
		if err != nil {
			return "", fmt.Errorf("list tables: %w", err)
		}
		for _, t := range tables {
			if t.Name != Table {
				continue
			}
			if err := e.printTable(&out, t); err != nil {
				return "", err
			}
		}
	}
	return out.String(), nil
}

func (e *Enforcer) printTable(out *strings.Builder, t *nftables.Table) error {
	fmt.Fprintf(out, "table %d flags %d\n", t.Family, t.Flags)
	chains, err := e.nft.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, c := range chains {
		if c.Table.Name != Table {
			continue
		}
		fmt.Fprintf(out, "chain %s %s", c.Name, c.Type)
		if c.Hooknum != nil && c.Priority != nil && c.Policy != nil {
			fmt.Fprintf(out, " %d %d %d", *c.Hooknum, *c.Priority, *c.Policy)
		}
		out.WriteByte('\n')
		if c.Name == lockdownChain {
			continue
		}
		rules, err := e.nft.GetRules(t, c)
		if err != nil {
			return fmt.Errorf("list rules of %s: %w", c.Name, err)
		}
		for _, r := range rules { // a replaced rule gets a new handle
			fmt.Fprintf(out, "rule %d %d %s\n", r.Handle, len(r.Exprs), r.UserData)
		}
	}
	return nil
}
