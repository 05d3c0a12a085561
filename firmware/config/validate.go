package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Validate lists every problem, each with its key path and what to write
// instead.
func (c Config) Validate() []error {
	var p problems
	c.validateOffice(&p)
	c.validateNetwork(&p)
	c.validateStorage(&p)
	c.validateEvidence(&p)
	c.validatePolicy(&p)
	p.check(c.Drill.Limit >= Duration(30*time.Second) && c.Drill.Limit <= Duration(time.Hour), "drill.limit", "%v is not between 30s and 1h", time.Duration(c.Drill.Limit))
	p.check(c.Decoy.Count >= 0 && c.Decoy.Count <= 16, "decoy.count", "%d is not between 0 and 16", c.Decoy.Count)
	c.validateDetection(&p)
	c.validateRemote(&p)
	c.validateCopy(&p)
	c.validatePanel(&p)
	if _, _, err := net.SplitHostPort(c.Web.Listen); err != nil {
		p.add("web.listen", "%q is not host:port; write for example \"127.0.0.1:8080\"", c.Web.Listen)
	}
	return p
}

type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
}

func (p *problems) check(ok bool, key, format string, args ...any) {
	if !ok {
		p.add(key, format, args...)
	}
}

func (p *problems) oneOf(key, got string, allowed ...string) {
	for _, a := range allowed {
		if got == a {
			return
		}
	}
	p.add(key, "%q is not one of %s", got, strings.Join(allowed, ", "))
}

func (c Config) validateOffice(p *problems) {
	p.check(c.Office.Name != "", "office.name", "is empty; write the name that reports carry")
	p.oneOf("office.lang", c.Office.Lang, "ja", "en")
}

func (c Config) validateNetwork(p *problems) {
	n := c.Network
	seen := map[string]string{}
	name := func(key, v string) {
		// IFNAMSIZ is 16 with the final zero (linux/if.h).
		p.check(v != "" && len(v) < 16 && !strings.ContainsAny(v, "/ \t"), key, "%q is not an interface name", v)
		if other, dup := seen[v]; dup {
			p.add(key, "%q is already %s", v, other)
		}
		seen[v] = key
	}
	name("network.bridge", n.Bridge)
	name("network.wan", n.WAN)
	p.check(len(n.Ports) > 0, "network.ports", "is empty; name the bridge's ports, for example [\"lan1\", \"lan2\"]")
	for i, port := range n.Ports {
		name(fmt.Sprintf("network.ports[%d]", i), port)
	}
	p.check(len(n.LAN) > 0, "network.lan", "is empty; write the office's network, for example [\"192.168.10.0/24\"]")
	for i, lan := range n.LAN {
		p.check(lan == lan.Masked(), fmt.Sprintf("network.lan[%d]", i), "%s has host bits set; write %s", lan, lan.Masked())
	}
	n.validateContainment(p)
	pool := n.DHCPPool
	if pool != (Range{}) {
		p.check(pool.First.IsValid() && pool.Last.IsValid() && pool.First.Compare(pool.Last) <= 0,
			"network.dhcp_pool", "first must not be after last")
		p.check(contained(n.LAN, pool.First) && contained(n.LAN, pool.Last), "network.dhcp_pool", "is not inside network.lan")
	}
}

func (n Network) validateContainment(p *problems) {
	for i, name := range n.AllowNames {
		p.check(isDomain(name), fmt.Sprintf("network.allow_names[%d]", i), "%q is not a domain name such as \"update.example\"", name)
	}
	p.check(n.DNSMasq == "" || filepath.IsAbs(n.DNSMasq), "network.dnsmasq", "%q is not an absolute path", n.DNSMasq)
	for i, a := range n.Allow {
		key := fmt.Sprintf("network.allow[%d]", i)
		p.check(a == a.Masked(), key, "%s has host bits set; write %s", a, a.Masked())
		for _, lan := range n.LAN {
			// 0.0.0.0/0 overlaps, and says what it does: the whole internet.
			p.check(!lan.Overlaps(a) || a.Bits() == 0, key, "%s is in network.lan; a limited device reaches no other device, whatever is listed", a)
		}
	}
	// A bridge puts every port into VLAN 1 by default (vlan_default_pvid): the
	// office is there.
	p.check(n.QuarantineVLAN <= 4094 && n.QuarantineVLAN != 1, "network.quarantine_vlan", "%d is not between 2 and 4094; 0 switches it off", n.QuarantineVLAN)
	if n.QuarantineVLAN != 0 {
		q := n.Quarantine
		p.check(isGateway(q), "network.quarantine", "%s is not a private IPv4 address with its network, such as \"172.30.66.1/24\"", q)
		for _, lan := range n.LAN {
			p.check(!lan.Overlaps(q), "network.quarantine", "overlaps %s of network.lan", lan)
		}
	}
	for i, s := range n.Switches {
		p.check(slices.Contains(n.Ports, s), fmt.Sprintf("network.switches[%d]", i), "%q is not one of network.ports", s)
	}
	for i, w := range n.WiFi {
		p.check(slices.Contains(n.Ports, w), fmt.Sprintf("network.wifi[%d]", i), "%q is not one of network.ports", w)
	}
	p.check(len(n.WiFi) == 0 || filepath.IsAbs(n.Hostapd), "network.hostapd", "%q is not an absolute path", n.Hostapd)
}

// isGateway says whether q can be our address and network in the quarantine: not
// the network's own address or its broadcast, and private (RFC 1918), since no
// packet from or to there is ever routed.
func isGateway(q netip.Prefix) bool {
	if !q.IsValid() || !q.Addr().Is4() || !q.Addr().IsPrivate() || q.Bits() < 16 || q.Bits() > 28 {
		return false
	}
	return q.Addr() != q.Masked().Addr() && q.Contains(q.Addr().Next())
}

// isDomain says whether a name can stand in dnsmasq's settings: labels of
// letters, digits and hyphens (RFC 1123, 2.1), no wildcard, no final dot.
func isDomain(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return strings.Contains(name, ".")
}

func contained(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// smallest ring that still rotates: the segment being written, one being
// pinned and some to drop.
const minSegments = 4

func (c Config) validateStorage(p *problems) {
	s := c.Storage
	p.check(filepath.IsAbs(s.State), "storage.state", "%q is not an absolute path", s.State)
	p.check(filepath.IsAbs(s.Evidence), "storage.evidence", "%q is not an absolute path", s.Evidence)
	p.check(s.Segment >= 1<<20, "storage.segment", "must be at least 1MiB")
	p.check(s.Spool >= minSegments*s.Segment, "storage.spool", "must hold at least %d segments", minSegments)
}

func (c Config) validatePolicy(p *problems) {
	pol := c.Policy
	p.check(pol.MaxHosts >= 1, "policy.max_hosts", "must be at least 1; set policy.auto_isolate = false to leave every decision to a person")
	p.check(pol.MaxPercent >= 1 && pol.MaxPercent <= 100, "policy.max_percent", "%d is not between 1 and 100", pol.MaxPercent)
	p.check(pol.Window > 0, "policy.window", "must be positive")
	p.check(pol.ReleaseAfter == 0 || pol.ReleaseAfter >= Duration(time.Minute), "policy.release_after", "must be at least 1m; 0 never releases by time")
	p.check(pol.Probation >= Duration(time.Hour), "policy.probation", "must be at least 1h")
	for i, m := range pol.Protected {
		if hw, err := net.ParseMAC(m); err != nil || len(hw) != 6 {
			p.add(fmt.Sprintf("policy.protected[%d]", i), "%q is not a MAC address such as \"02:00:5e:00:53:01\"", m)
		}
	}
	if _, _, err := pol.Hours(); err != nil {
		p.add("policy.business_hours", "%v", err)
	}
}

func (c Config) validateDetection(p *problems) {
	p.check(c.Detect.Learn > 0, "detect.learn", "must be positive; a week is the shortest span with every weekday")
	p.oneOf("eve.trust", c.Eve.Trust, "low", "medium", "high")
	p.check(c.Eve.File == "" || filepath.IsAbs(c.Eve.File), "eve.file", "%q is not an absolute path", c.Eve.File)
	seen := map[string]bool{}
	for i, l := range c.Indicators {
		key := fmt.Sprintf("indicators[%d]", i)
		p.check(l.Name != "" && len(l.Name) <= 64 && strings.Trim(l.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") == "", key+".name",
			"%q: write lower-case letters, digits and hyphens, at most 64", l.Name)
		p.check(!seen[l.Name], key+".name", "%q is there twice", l.Name)
		seen[l.Name] = true
		p.check((l.URL == "") != (l.File == ""), key, "write either url or file")
		p.check(l.File == "" || filepath.IsAbs(l.File), key+".file", "%q is not an absolute path", l.File)
		p.check(l.URL == "" || isURL(l.URL, "http", "https"), key+".url", "%q is no http or https address", l.URL)
		if l.Format != "" {
			p.oneOf(key+".format", l.Format, "auto", "plain", "hosts", "csv", "stix", "misp")
		}
		if l.Trust != "" {
			p.oneOf(key+".trust", l.Trust, "low", "medium", "high")
		}
		p.check(l.Refresh >= 0 && (l.Refresh == 0 || time.Duration(l.Refresh) >= time.Minute), key+".refresh", "must be at least 1m")
		p.check(l.MaxAge >= 0, key+".max_age", "must not be negative")
	}
}

// Hours returns the begin and end of business hours as time since local
// midnight; both are zero when there are none.
func (p Policy) Hours() (from, to time.Duration, err error) {
	if p.BusinessHours == "" {
		return 0, 0, nil
	}
	a, b, _ := strings.Cut(p.BusinessHours, "-")
	from, errFrom := clock(a)
	to, errTo := clock(b)
	if errFrom != nil || errTo != nil || from >= to {
		return 0, 0, fmt.Errorf("%q is not a span of the day such as \"09:00-18:00\"", p.BusinessHours)
	}
	return from, to, nil
}

func clock(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", strings.TrimSpace(s))
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}
