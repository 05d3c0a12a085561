package asset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// Identity is what speaks for or against a device being the same as another
// one. Claims are the device's own words, and anybody can say them; the rest is
// what was seen, and what people said. See Kin for what is made of it.
type Identity struct {
	Claims   []Claim   `json:"claims,omitempty"`
	Dropped  int       `json:"dropped,omitempty"`  // claims that there was no room for
	Turns    []Turn    `json:"turns,omitempty"`    // kept by the device with the lower ID
	Taken    []Taken   `json:"taken,omitempty"`    // latest last
	Verdicts []Verdict `json:"verdicts,omitempty"` // oldest first
}

// Claim is one thing that a device says of itself. Its Key begins with what it
// is: "duid:" (RFC 8415, 11; also inside a client identifier of RFC 4361),
// "cid:" (any other client identifier that is not just the own Ethernet
// address), "name:" (DHCP host name with a hash of what kind of client asks),
// "mac:" (an Ethernet address that it built an IPv6 address from, RFC 4291,
// appendix A), "host:" (a name by whatever protocol).
type Claim struct {
	Key   string    `json:"key"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Times int       `json:"times"` // counted once in claimApart
}

// Turn is how two devices that claim the same have been active: one after the
// other, as the interfaces of one machine are, or at the same time.
type Turn struct {
	With     ID        `json:"with"`
	Since    time.Time `json:"since"`
	Swaps    int       `json:"swaps"`          // one fell silent, and the other spoke: up to maxSwaps
	Together int       `json:"together"`       // minutes in which both spoke: up to maxSwaps
	Last     ID        `json:"last,omitempty"` // the one that spoke alone last
	both     bool      // in the last sample: the minute of a change is not yet together
}

// Taken is an address that the device announced, and that another one had. A
// lease is not among them: an address that the server gave is nobody else's.
type Taken struct {
	Addr netip.Addr `json:"ip"`
	From ID         `json:"from"`
	At   time.Time  `json:"at"`
}

// Verdict is a person's word on whether two Ethernet addresses are one device.
type Verdict struct {
	With ID        `json:"with"`
	Same bool      `json:"same"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

const (
	maxClaims   = 12 // an office machine has four or five: DUID, name, host names
	maxTurns    = 8
	maxPaired   = 256 // devices that keep turns: an office has a few dozen with two interfaces
	maxTaken    = 4
	maxVerdicts = 32
	maxSwaps    = 100
	maxRaw      = 32 // bytes of an identifier that are kept as they are; longer ones as a hash

	// A name that more devices claim than one person has is a name of a model or
	// of an image: nothing is learnt from how they take turns.
	maxClaimants = 8
	// A claim counts again after this: a client that asks ten times in a minute
	// has not said it ten times.
	claimApart = 10 * time.Minute
	// What a device has not said for this long it does not say any more. A month is
	// longer than a holiday.
	claimFor = 30 * 24 * time.Hour
	// How often it is looked who of two is active.
	sampleEvery = time.Minute
)

// claims notes that a device said something of itself. A device that says too
// much keeps what it said most often and longest ago: a held one must not be
// able to talk its old name out of memory.
func (v *Inventory) claims(e *entry, key string, t time.Time) {
	if e == nil || e.MAC.IsZero() || key == "" {
		return
	}
	list := e.Identity.Claims
	if i := slices.IndexFunc(list, func(c Claim) bool { return c.Key == key }); i >= 0 {
		if t.Sub(list[i].Last) >= claimApart {
			list[i].Last = t
			list[i].Times++
			v.mark(e)
		}
		return
	}
	list = append(list, Claim{Key: key, First: t, Last: t, Times: 1})
	v.byKey[key] = append(v.byKey[key], e)
	for i := len(list) - 2; i >= 0; i-- { // the new one stays
		if t.Sub(list[i].Last) > claimFor {
			v.unsaid(e, list[i].Key)
			list = slices.Delete(list, i, i+1)
		}
	}
	if len(list) > maxClaims {
		weakest := 0
		for i, c := range list {
			if w := list[weakest]; c.Times < w.Times || c.Times == w.Times && !c.First.Before(w.First) {
				weakest = i
			}
		}
		v.unsaid(e, list[weakest].Key)
		list = slices.Delete(list, weakest, weakest+1)
		e.Identity.Dropped++
	}
	e.Identity.Claims = list
	if strength(key) > weak {
		v.pair(e, key, t)
	}
	v.mark(e)
}

// unsaid takes a device out of the index of a claim.
func (v *Inventory) unsaid(e *entry, key string) {
	all := slices.DeleteFunc(v.byKey[key], func(o *entry) bool { return o == e })
	if len(all) == 0 {
		delete(v.byKey, key)
		return
	}
	v.byKey[key] = all
}

// pair begins to watch how the claimants of one thing take turns.
func (v *Inventory) pair(e *entry, key string, t time.Time) {
	all := v.byKey[key]
	if len(all) > maxClaimants {
		return
	}
	for _, o := range all {
		if o == e || v.turn(e, o) != nil {
			continue
		}
		a, b := ordered(e, o)
		if len(a.Identity.Turns) >= maxTurns || len(v.paired) >= maxPaired && v.paired[a.ID] == nil {
			continue // without it they are never taken for one device without a person
		}
		a.Identity.Turns = append(a.Identity.Turns, Turn{With: b.ID, Since: t})
		v.paired[a.ID] = a
	}
}

func ordered(x, y *entry) (a, b *entry) {
	if x.ID < y.ID {
		return x, y
	}
	return y, x
}

// turn is what is known of how two devices take turns; nil: nothing.
func (v *Inventory) turn(x, y *entry) *Turn {
	a, b := ordered(x, y)
	for i := range a.Identity.Turns {
		if a.Identity.Turns[i].With == b.ID {
			return &a.Identity.Turns[i]
		}
	}
	return nil
}

// sample looks who of each pair was active lately. It is called with every tick.
func (v *Inventory) sample(now time.Time) {
	if since := now.Sub(v.sampled); since >= 0 && since < sampleEvery {
		return
	}
	v.sampled = now
	active := func(e *entry) bool { return now.Sub(e.LastSeen) < sampleEvery }
	for _, a := range v.paired {
		for i := range a.Identity.Turns {
			t := &a.Identity.Turns[i]
			b := v.byID[t.With]
			if b == nil {
				continue
			}
			before := t.Swaps + t.Together
			t.look(a.ID, active(a), active(b))
			if t.Swaps+t.Together != before {
				v.mark(a)
			}
		}
	}
}

// look counts one sample: own is the device that keeps the turn.
func (t *Turn) look(own ID, ownActive, otherActive bool) {
	if ownActive && otherActive {
		if t.both { // two samples on end: not just the minute of the change
			t.Together = min(t.Together+1, maxSwaps)
		}
		t.both = true
		return
	}
	t.both = false
	who := own
	switch {
	case otherActive:
		who = t.With
	case !ownActive:
		return
	}
	if t.Last != "" && t.Last != who {
		t.Swaps = min(t.Swaps+1, maxSwaps)
	}
	t.Last = who
}

// took notes that a device announced what was another's address.
func (v *Inventory) took(e, from *entry, a netip.Addr, t time.Time) {
	if e.MAC.IsZero() || from.MAC.IsZero() {
		return
	}
	e.Identity.Taken = append(e.Identity.Taken, Taken{Addr: a, From: from.ID, At: t})
	if n := len(e.Identity.Taken); n > maxTaken {
		e.Identity.Taken = slices.Delete(e.Identity.Taken, 0, n-maxTaken)
	}
}

// leased says that the server gave an address: it was not taken.
func (e *entry) leased(a netip.Addr) {
	e.Identity.Taken = slices.DeleteFunc(e.Identity.Taken, func(t Taken) bool { return t.Addr == a })
}

// Judge keeps a person's word on whether two Ethernet addresses are one device,
// or takes it back when same is nil. Either may have been forgotten meanwhile,
// not both. It reports whether it was kept.
func (v *Inventory) Judge(a, b ID, same *bool, by string, at time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if a == b || macOf(a).IsZero() || macOf(b).IsZero() {
		return false
	}
	kept := false
	for _, pair := range [][2]ID{{a, b}, {b, a}} {
		e := v.byID[pair[0]]
		if e == nil {
			continue
		}
		list := slices.DeleteFunc(e.Identity.Verdicts, func(d Verdict) bool { return d.With == pair[1] })
		if same != nil {
			list = append(list, Verdict{With: pair[1], Same: *same, By: by, At: at.UTC()})
		}
		e.Identity.Verdicts = slices.Delete(list, 0, max(0, len(list)-maxVerdicts))
		v.place(e)
		v.mark(e)
		kept = true
	}
	return kept
}

// Judged is a person's word on two devices, either of which may have been
// forgotten: 1 the same, -1 not the same, 0 nobody said anything.
func (v *Inventory) Judged(a, b ID) int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.judged(a, b)
}

func (v *Inventory) judged(a, b ID) int {
	for _, pair := range [][2]ID{{a, b}, {b, a}} {
		if e := v.byID[pair[0]]; e != nil && e.verdict(pair[1]) != 0 {
			return e.verdict(pair[1])
		}
	}
	return 0
}

// verdict is what a device keeps of that.
func (e *entry) verdict(other ID) int {
	for _, d := range e.Identity.Verdicts {
		if d.With == other && d.Same {
			return 1
		} else if d.With == other {
			return -1
		}
	}
	return 0
}

// The three worths of a claim. The first is made to tell one machine from all
// others; the second does so in most offices; the third is shouted by whoever
// likes.
const (
	weak = iota
	medium
	strong
)

func strength(key string) int {
	kind, _, _ := strings.Cut(key, ":")
	switch kind {
	case "duid", "cid":
		return strong
	case "name", "mac":
		return medium
	}
	return weak
}

// hostOf is the host name of a "name:" claim.
func hostOf(key string) (string, bool) {
	text, ok := strings.CutPrefix(key, "name:")
	host, _, _ := strings.Cut(text, "|")
	return host, ok
}

// saysDHCP takes what a DHCP client says of itself, where the client itself sent
// the frame: a relay's, or anybody's in another's name, says nothing.
func (v *Inventory) saysDHCP(d *entry, e *flow.DHCP) {
	v.claims(d, clientKey(e.ClientID, d.MAC), e.Time)
	if e.Type != 1 && e.Type != 3 { // an INFORM asks for other things than a DISCOVER and a REQUEST
		return
	}
	if host := hostKey(e.Hostname); host != "" {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s\x00%x", e.VendorClass, e.Params)
		v.claims(d, fmt.Sprintf("name:%s|%016x", host, h.Sum64()), e.Time)
		v.claims(d, "host:"+host, e.Time)
	}
}

// dhcp6 does the same for DHCPv6.
func (v *Inventory) dhcp6(e *flow.DHCP6) {
	v.source(e.SrcMAC, e.Src, &e.Meta)
	d := v.byMAC[e.SrcMAC]
	if d == nil {
		return
	}
	v.where(d, &e.Meta)
	v.name(d, e.Hostname, "dhcp")
	v.claims(d, duidKey(e.ClientID), e.Time)
	if host := hostKey(e.Hostname); host != "" {
		v.claims(d, "host:"+host, e.Time)
	}
}

// clientKey reads option 61 (RFC 2132, 9.14; RFC 4361, 6.1). The client's own
// Ethernet address says nothing that the frame did not say; another's is a claim
// to be that one.
func clientKey(id []byte, own flow.MAC) string {
	switch {
	case len(id) < 2:
		return ""
	case id[0] == 255 && len(id) > 5: // an interface number of four bytes, then the DUID
		return duidKey(id[5:])
	case id[0] == 1 && len(id) == 7:
		return macKey(flow.MAC(id[1:7]), own)
	}
	return "cid:" + raw(id)
}

func duidKey(duid []byte) string {
	if len(duid) < 3 {
		return ""
	}
	return "duid:" + raw(duid)
}

func macKey(m, own flow.MAC) string {
	if m == own || m.IsZero() || m.IsGroup() {
		return ""
	}
	return "mac:" + m.String()
}

func raw(b []byte) string {
	if len(b) > maxRaw {
		sum := sha256.Sum256(b)
		b = sum[:16]
	}
	return hex.EncodeToString(b)
}

// hostKey is a host name as it is compared: the first label, small letters;
// empty when it is a name that comes with the device and that others have too.
func hostKey(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(cleanName(name)), ".")
	if generic(name) {
		return ""
	}
	return name
}

// Names that devices have when nobody gave them one, and what model names begin
// with: "iPhone", "Galaxy-S21", "MacBook-Pro-2". A name with more behind it, as
// DESKTOP-4F7Q2KD or iPhone-Tanaka, tells devices apart.
var (
	factoryNames = []string{
		"", "localhost", "android", "desktop", "laptop", "windows", "pc", "my-pc", "user-pc", "host", "unknown", "none",
		"ubuntu", "debian", "fedora", "kali", "linux", "raspberrypi", "openwrt", "espressif", "esp32", "printer", "camera", "router",
	}
	modelNames = []string{"iphone", "ipad", "galaxy", "pixel", "xperia", "aquos", "redmi", "oppo", "macbook-pro", "macbook-air", "macbookpro", "macbookair", "imac", "mac-mini", "macmini"}
)

const modelSuffix = 5 // "-S21", "-2", " Pro": what may follow in a model's name

func generic(name string) bool {
	return slices.Contains(factoryNames, name) || slices.ContainsFunc(modelNames, func(m string) bool {
		rest, ok := strings.CutPrefix(name, m)
		return ok && len(rest) <= modelSuffix
	})
}

// builtFrom is the Ethernet address inside an IPv6 interface identifier
// (modified EUI-64, RFC 4291, appendix A).
func builtFrom(a netip.Addr) (flow.MAC, bool) {
	if !a.Is6() {
		return flow.MAC{}, false
	}
	b := a.As16()
	if b[11] != 0xff || b[12] != 0xfe {
		return flow.MAC{}, false
	}
	return flow.MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}, true
}

// IsZero says that nothing is known.
func (i Identity) IsZero() bool {
	return len(i.Claims)+len(i.Turns)+len(i.Taken)+len(i.Verdicts)+i.Dropped == 0
}

// clone copies what the inventory goes on writing to.
func (i Identity) clone() Identity {
	i.Claims, i.Turns = slices.Clone(i.Claims), slices.Clone(i.Turns)
	i.Taken, i.Verdicts = slices.Clone(i.Taken), slices.Clone(i.Verdicts)
	return i
}

// forgotten takes a device that is gone out of what is kept of pairs. A person's
// word stays with the other, for the day when it comes back.
func (v *Inventory) forgotten(e *entry) {
	for _, c := range e.Identity.Claims {
		v.unsaid(e, c.Key)
	}
	delete(v.paired, e.ID)
	for id, a := range v.paired {
		a.Identity.Turns = slices.DeleteFunc(a.Identity.Turns, func(t Turn) bool { return t.With == e.ID })
		if len(a.Identity.Turns) == 0 {
			delete(v.paired, id)
		}
	}
}
