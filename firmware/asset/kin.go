package asset

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// One device has several Ethernet addresses: wired and wireless, a new random
// one every day, another one because its user (or malware) changed it. All of
// them have to be held with it, and nobody else's may be. What a device says of
// itself is a claim that anybody can copy, so these are the rules:
//
//  1. The device that the evidence is about is always held, whatever it says it
//     is: copying somebody's name excludes nobody from being held.
//  2. A device that was never seen before the incident follows by itself when it
//     carries what the held device said of itself before it was held, when it
//     takes one of its addresses without a lease, or when it is on a port that
//     nobody else has used: it has no life of its own that could be cut off.
//     What the held device says only afterwards counts for nothing, or it could
//     pull a colleague's new telephone in by saying its name.
//  3. That holds only where the claim is the held device's own. When anybody else
//     with a history said the same and was active beside it, the newcomer may be
//     that one's; when the device went by several names, as a docking station
//     does for the laptops of all, it is not known whose the newcomer is. A
//     person is asked.
//  4. A device with a history follows only when both said the same, and nothing
//     else, again and again, since long before the incident; when they took turns
//     in both directions; and when they were never active together. Whoever copies
//     the director's name in passing does none of that. All others who say the
//     same are shown to a person.
//     The same goes for a newcomer that was seen on two ports: the held device may
//     have sent in its name.
//  5. Never by itself: this gateway, routers, protected devices, what a person
//     called another device, and more than maxFollow.
//  6. What follows stays until the release, or until a person says that it is
//     another device: the held one must not be able to talk it free.
type Kin struct {
	ID         ID           `json:"id"`
	MAC        flow.MAC     `json:"mac"`
	Name       string       `json:"name,omitempty"`
	Addrs      []netip.Addr `json:"ips,omitempty"`
	Port       string       `json:"port,omitempty"`
	Follows    bool         `json:"follows"` // held with the device; else a person is asked
	Confidence string       `json:"confidence"`
	Evidence   []string     `json:"evidence"` // of the Ev… words, strongest first
	Why        Text         `json:"why"`
	FirstSeen  time.Time    `json:"first_seen"`
	LastSeen   time.Time    `json:"last_seen"`
}

// Text is one message in the two languages of the product.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja"`
}

// What kinship rests on.
const (
	EvPerson   = "person"    // somebody said so
	EvClientID = "client_id" // DHCP identifier
	EvName     = "name"      // DHCP host name and kind of client
	EvBuilt    = "eui64"     // the one's Ethernet address inside the other's identifier or IPv6 address
	EvAddress  = "address"   // took an address without a lease
	EvPort     = "port"      // on a port that nobody else has used
	EvTurns    = "turns"     // take turns
	EvHost     = "host_name" // the same name by whatever protocol
	EvBefore   = "before"    // was held with it before
	EvAfter    = "after"     // appeared where the other fell silent
)

const (
	maxFollow  = 16 // Ethernet addresses beside the device's own; the latest seen stay
	maxOld     = 3  // of them with a history: wired, wireless, dock
	maxSuggest = 8

	// Seen first so shortly before the first sign, a device is new all the same:
	// malware that changes the address does so before it begins. It is the time for
	// which a change of port makes a device doubtful, too.
	freshMargin = 10 * time.Minute
	// How long before the first sign kinship of devices with a history has to be
	// known: malware is found the same night, or after days in which it lay low. An
	// identifier takes more trouble to copy than a name.
	strongMargin, mediumMargin = 24 * time.Hour, 7 * 24 * time.Hour
	oldTimes                   = 3 // claims of either, claimApart apart
	oldSwaps                   = 4 // two in each direction
	// Fell silent as the other appeared: the change of a phone's address or of a
	// cable takes seconds, a new lease at most a minute (RFC 2131, 4.1).
	handover = 2 * time.Minute
	// Who was on a port within two weeks still is: a colleague on holiday.
	portFor = 14 * 24 * time.Hour
	// An office that is known for less than a day has colleagues whom nobody has
	// seen yet: that somebody is new on a port says nothing.
	officeAge = 24 * time.Hour
)

// Query asks for the kin of one device, for an incident.
type Query struct {
	ID        ID
	FirstSign time.Time
	Held      time.Time        // when it was decided to hold it; zero: it is not held
	Known     []Kin            // what was found before
	Never     func(Asset) bool // devices that may not follow, besides those of rule 5; nil: none
}

// weighAtOnce is how many candidates are weighed while the pipeline waits: half a
// millisecond's work. A hostile device can make thousands.
const weighAtOnce = 128

// Kin returns the other Ethernet addresses of a device, those that follow first.
// Between its steps the inventory may learn more, which is for the next question.
func (v *Inventory) Kin(q Query) []Kin {
	k := &kinship{v: v, q: q, known: map[ID]Kin{}, weighed: map[ID]bool{}, others: map[string]bool{}}
	for _, old := range q.Known {
		if old.Follows {
			k.known[old.ID] = old
		}
	}
	var all []*found // pointers: they are sorted
	for some := range slices.Chunk(k.begin(), weighAtOnce) {
		all = append(all, k.weighAll(some)...)
	}
	return k.end(limited(all))
}

// found is a candidate for which something speaks.
type found struct {
	e    *entry
	id   ID
	last time.Time // it was seen
	w    weight
	old  Kin // it follows already, with this reason; zero: it does not
}

// kinship is one question under way.
type kinship struct {
	v      *Inventory
	q      Query
	s      *entry
	own    []Claim    // what s said before it was held
	known  map[ID]Kin // follow already
	varied bool       // s said several names or identifiers before it was held

	weighed map[ID]bool // of known

	// Asked for every candidate, of which a hostile device can make thousands.
	others map[string]bool // contested, by claim
	alone  bool            // nobody else has used the port
	grown  bool            // the office is known long enough
}

// begin looks the device up, and those for which anything may speak.
func (k *kinship) begin() []*entry {
	k.v.mu.RLock()
	defer k.v.mu.RUnlock()
	if k.s = k.v.byID[k.q.ID]; k.s == nil || k.s.MAC.IsZero() {
		k.s = nil
		return nil
	}
	k.own = k.ownClaims()
	k.look()
	return slices.Collect(maps.Keys(k.candidates()))
}

func (k *kinship) weighAll(some []*entry) (out []*found) {
	k.v.mu.RLock()
	defer k.v.mu.RUnlock()
	for _, e := range some {
		if k.v.byID[e.ID] != e {
			continue // forgotten meanwhile
		}
		if _, known := k.known[e.ID]; known {
			k.weighed[e.ID] = true
		}
		if f, ok := k.weigh(e); ok {
			out = append(out, &f)
		}
	}
	return out
}

func (k *kinship) end(all []*found) (out []Kin) {
	k.v.mu.RLock()
	defer k.v.mu.RUnlock()
	for _, f := range all {
		switch {
		case k.v.byID[f.id] == f.e:
			out = append(out, k.kin(f))
		case f.old.Follows: // forgotten meanwhile: rule 6
			out = append(out, f.old)
		}
	}
	return k.gone(out)
}

// ownClaims is what the device said of itself until it was held, its Ethernet
// address included: rule 2.
func (k *kinship) ownClaims() []Claim {
	own := []Claim{{Key: "mac:" + k.s.MAC.String(), First: k.s.FirstSeen, Last: k.s.LastSeen, Times: oldTimes}}
	for _, c := range k.s.Identity.Claims {
		if k.q.Held.IsZero() || !c.First.After(k.q.Held) {
			own = append(own, c)
		}
	}
	k.varied = several(own)
	return own
}

// several says that the claims are of more than one device. It is asked for every
// candidate, and allocates nothing.
func several(lists ...[]Claim) bool {
	host, duid := "", ""
	for _, claims := range lists {
		for _, c := range claims {
			if h, ok := hostOf(c.Key); ok {
				if host != "" && h != host {
					return true
				}
				host = h
			}
			if strings.HasPrefix(c.Key, "duid:") {
				if duid != "" && duid != c.Key {
					return true
				}
				duid = c.Key
			}
		}
	}
	return false
}

// candidates are devices for which anything speaks at all.
func (k *kinship) candidates() map[*entry]bool {
	out := map[*entry]bool{}
	add := func(e *entry) {
		if e != nil && e != k.s && !e.MAC.IsZero() {
			out[e] = true
		}
	}
	for _, c := range k.own {
		for _, e := range k.v.byKey[c.Key] {
			add(e)
		}
		if text, ok := strings.CutPrefix(c.Key, "mac:"); ok {
			add(k.v.byID[ID("mac:"+text)])
		}
	}
	for _, d := range k.s.Identity.Verdicts {
		add(k.v.byID[d.With])
	}
	for id := range k.known {
		add(k.v.byID[id])
	}
	for _, e := range k.v.byMAC {
		if k.fresh(e) && (e.Port == k.s.Port && e.Port != "" || len(e.Identity.Taken) > 0) {
			add(e)
		}
	}
	return out
}

// fresh says that a device has no history from before the incident.
func (k *kinship) fresh(e *entry) bool {
	return !e.FirstSeen.Before(k.q.FirstSign.Add(-freshMargin))
}

// never says that a device must not follow, whatever speaks for it.
func (k *kinship) never(e *entry) bool {
	return e.Gateway || e.Protected || k.q.Never != nil && k.q.Never(e.Asset)
}

// weigh says what speaks for one device, and what follows from it.
func (k *kinship) weigh(e *entry) (found, bool) {
	verdict := k.s.verdict(e.ID)
	if verdict < 0 || e.Gateway {
		return found{}, false
	}
	old, known := k.known[e.ID]
	var w weight
	if verdict > 0 {
		w.add(EvPerson, true)
	}
	k.byClaims(e, &w)
	if k.fresh(e) {
		k.byPlace(e, &w)
	}
	switch {
	case len(w.evidence) == 0 && !known:
		return found{}, false
	case k.never(e):
		w.follows, w.doubt = false, doubtNever
	case known: // rule 6, and the reason stays what it was
		w.evidence, w.follows = old.Evidence, true
		return found{e, e.ID, e.LastSeen, w, old}, true
	case e.Router && verdict == 0:
		w.follows, w.doubt = false, doubtNever
	}
	return found{e: e, id: e.ID, last: e.LastSeen, w: w}, true
}

// look asks once whether nobody but the device, and what follows it, has used its
// port lately, and whether anybody has been known for a day.
func (k *kinship) look() {
	k.alone = true
	for _, m := range k.v.byMAC {
		if m.Gateway {
			continue
		}
		k.grown = k.grown || k.q.FirstSign.Sub(m.FirstSeen) >= officeAge
		if _, known := k.known[m.ID]; m == k.s || m.Port != k.s.Port || known {
			continue
		}
		if k.s.verdict(m.ID) < 0 || !k.fresh(m) && k.q.FirstSign.Sub(m.LastSeen) <= portFor {
			k.alone = false
		}
	}
}

// gone adds those that follow and were not weighed: they have been forgotten, or
// the device itself has. A person's word, and what may never follow, count all the
// same.
func (k *kinship) gone(out []Kin) []Kin {
	for _, old := range k.q.Known {
		e := k.v.byID[old.ID]
		if !old.Follows || k.weighed[old.ID] || e != nil && k.never(e) || k.v.judged(k.q.ID, old.ID) < 0 {
			continue
		}
		out = append(out, old)
	}
	return out
}

// limited keeps the latest of those that follow, few of those with a history, and
// the best suggestions.
func limited(all []*found) []*found {
	slices.SortFunc(all, func(a, b *found) int {
		if a.w.follows != b.w.follows {
			return b2i(b.w.follows) - b2i(a.w.follows)
		}
		return cmp.Or(b.w.rank()-a.w.rank(), b.last.Compare(a.last), cmp.Compare(a.id, b.id))
	})
	follow, old, suggest := 0, 0, 0
	return slices.DeleteFunc(all, func(f *found) bool {
		switch {
		case !f.w.follows:
			suggest++
			return suggest > maxSuggest
		case slices.Contains(f.w.evidence, EvTurns):
			if old++; old > maxOld {
				return true
			}
		}
		follow++
		return follow > maxFollow
	})
}

// Following are the Ethernet addresses of those that follow.
func Following(all []Kin) (out []flow.MAC) {
	for _, k := range all {
		if k.Follows {
			out = append(out, k.MAC)
		}
	}
	return out
}

func (k *kinship) kin(f *found) Kin {
	e := f.e
	out := Kin{
		ID: e.ID, MAC: e.MAC, Name: e.Name, Addrs: slices.Clone(e.Addrs), Port: e.Port, Follows: f.w.follows,
		Confidence: f.w.confidence(), Evidence: slices.Clone(f.w.evidence), FirstSeen: e.FirstSeen, LastSeen: e.LastSeen,
	}
	if f.old.Follows {
		out.Confidence, out.Why = f.old.Confidence, f.old.Why
		return out
	}
	out.Why = f.w.text(k.fresh(e))
	return out
}

// Together makes kin of a device that was held together with another one before.
func Together(a Asset) Kin {
	return Kin{
		ID: a.ID, MAC: a.MAC, Name: a.Name, Addrs: slices.Clone(a.Addrs), Port: a.Port, Follows: true, Confidence: "medium", Evidence: []string{EvBefore},
		Why:       Text{"It was held as the same device before.", "以前にも同じ機器として遮断しています。"},
		FirstSeen: a.FirstSeen, LastSeen: a.LastSeen,
	}
}
