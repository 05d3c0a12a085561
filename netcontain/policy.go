package netcontain

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// MaxID is the longest Host.ID in bytes: it travels in a kernel comment.
const MaxID = 100

// ErrNever matches every NeverError.
var ErrNever = errors.New("must never be contained")

// NeverError names the entry of a policy that would have cut off the gateway
// or its uplink. The whole policy was refused, and nothing was changed.
type NeverError struct {
	Host  string // Host.ID, or "allow list"
	Entry string // the address that must not be held
	Why   string // whose address it is
}

func (e *NeverError) Error() string {
	return fmt.Sprintf("host %q: %s is %s and %v; the whole policy was refused", e.Host, e.Entry, e.Why, ErrNever)
}

// Is makes errors.Is(err, ErrNever) true.
func (e *NeverError) Is(target error) bool { return target == ErrNever }

// Validate reports everything that no enforcer can hold: hosts without an ID,
// with an ID used twice or too long, with an unknown level, or with nothing to
// recognise them by.
func (p Policy) Validate() error {
	var errs []error
	seen := make(map[string]bool, len(p.Hosts))
	for i, h := range p.Hosts {
		switch {
		case h.ID == "":
			errs = append(errs, fmt.Errorf("hosts[%d]: no ID", i))
		case len(h.ID) > MaxID:
			errs = append(errs, fmt.Errorf("hosts[%d]: ID of %d bytes, at most %d", i, len(h.ID), MaxID))
		case seen[h.ID]:
			errs = append(errs, fmt.Errorf("hosts[%d]: ID %q used twice", i, h.ID))
		case h.Level > Isolate:
			errs = append(errs, fmt.Errorf("host %q: level %d unknown", h.ID, h.Level))
		case len(h.MACs) == 0 && len(h.Addrs) == 0 && len(h.Ports) == 0:
			errs = append(errs, fmt.Errorf("host %q: neither MAC nor address nor port", h.ID))
		}
		seen[h.ID] = true
	}
	for _, a := range p.Allow {
		if !a.IsValid() {
			errs = append(errs, errors.New("allow list: invalid prefix"))
		}
	}
	return errors.Join(errs...)
}

// Canonical returns the policy in the one form in which two equal policies are
// deeply equal, and which Observed returns: sorted, without repetition,
// IPv4-mapped addresses as IPv4, zones removed, addresses that identify nobody
// (unspecified, multicast, broadcast, loopback; an attacker may have sent from
// them) left out. What two hosts claim belongs to the stricter one, then to
// the lower ID, so that the claim of an attacker loosens nothing. Prefixes
// inside other prefixes of the allow list are left out.
func (p Policy) Canonical() Policy {
	out := Policy{Lockdown: p.Lockdown, Allow: canonicalPrefixes(p.Allow)}
	hosts := slices.Clone(p.Hosts)
	slices.SortStableFunc(hosts, func(a, b Host) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), cmp.Compare(a.ID, b.ID))
	})
	macs, addrs, ports := map[MAC]bool{}, map[netip.Addr]bool{}, map[string]bool{}
	for _, h := range hosts {
		c := Host{ID: h.ID, Level: h.Level}
		for _, m := range h.MACs {
			if m != (MAC{}) && m[0]&1 == 0 && !macs[m] {
				macs[m] = true
				c.MACs = append(c.MACs, m)
			}
		}
		for _, a := range h.Addrs {
			a = a.Unmap().WithZone("")
			if identifies(a) && !addrs[a] {
				addrs[a] = true
				c.Addrs = append(c.Addrs, a)
			}
		}
		for _, n := range h.Ports {
			if n != "" && !ports[n] {
				ports[n] = true
				c.Ports = append(c.Ports, n)
			}
		}
		if len(c.MACs)+len(c.Addrs)+len(c.Ports) == 0 {
			continue // everything is held under another ID already
		}
		slices.SortFunc(c.MACs, func(a, b MAC) int { return bytes.Compare(a[:], b[:]) })
		slices.SortFunc(c.Addrs, netip.Addr.Compare)
		slices.Sort(c.Ports)
		c.By, c.Shared = sorted(h.By), sorted(h.Shared)
		out.Hosts = append(out.Hosts, c)
	}
	slices.SortFunc(out.Hosts, func(a, b Host) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// sorted returns the distinct values, nil when there are none.
func sorted[T cmp.Ordered](in []T) []T {
	if len(in) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(in)))
}

// identifies says whether frames from a can be told to be one host's.
func identifies(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func canonicalPrefixes(in []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(in))
	for _, p := range in {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		if p.IsValid() {
			all = append(all, p.Masked())
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var out []netip.Prefix
	for _, p := range all {
		if n := len(out); n > 0 && out[n-1].Contains(p.Addr()) {
			continue // sorted: a wider prefix stands before what it holds
		}
		out = append(out, p)
	}
	return out
}

// IsZero says that the policy asks nothing of the kernel.
func (p Policy) IsZero() bool { return len(p.Hosts) == 0 && len(p.Allow) == 0 && !p.Lockdown }
