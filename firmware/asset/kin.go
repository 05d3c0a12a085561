package asset

import (
	"cmp"
	"fmt"
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

// Kin returns the other Ethernet addresses of a device, those that follow first.
func (v *Inventory) Kin(q Query) []Kin {
	v.mu.RLock()
	defer v.mu.RUnlock()
	k := &kinship{v: v, q: q, s: v.byID[q.ID], known: map[ID]Kin{}, others: map[string]bool{}}
	for _, old := range q.Known {
		if old.Follows {
			k.known[old.ID] = old
		}
	}
	if k.s == nil || k.s.MAC.IsZero() {
		k.s = nil
		return k.gone(nil)
	}
	k.own = k.ownClaims()
	k.look()
	var all []*found // pointers: a hostile device can make thousands, which are sorted
	for e := range k.candidates() {
		if f, ok := k.weigh(e); ok {
			all = append(all, &f)
		}
	}
	var out []Kin
	for _, f := range limited(all) {
		out = append(out, k.kin(f))
	}
	return k.gone(out)
}

// found is a candidate for which something speaks.
type found struct {
	e   *entry
	w   weight
	old Kin // it follows already, with this reason; zero: it does not
}

// kinship is one question under way.
type kinship struct {
	v      *Inventory
	q      Query
	s      *entry
	own    []Claim    // what s said before it was held
	known  map[ID]Kin // follow already
	varied bool       // s said several names or identifiers before it was held

	// Asked for every candidate, of which a hostile device can make thousands.
	others map[string]bool // contested, by claim
	alone  bool            // nobody else has used the port
	grown  bool            // the office is known long enough
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
		return found{e, w, old}, true
	case e.Router && verdict == 0:
		w.follows, w.doubt = false, doubtNever
	}
	return found{e: e, w: w}, true
}

// weight is what speaks for a device so far.
type weight struct {
	evidence []string
	detail   map[string]string
	follows  bool
	doubt    doubt
}

func (w *weight) add(word string, follows bool) {
	if !slices.Contains(w.evidence, word) {
		w.evidence = append(w.evidence, word)
	}
	w.follows = w.follows || follows
}

func (w *weight) say(word, detail string) {
	if w.detail == nil {
		w.detail = map[string]string{}
	}
	w.detail[word] = detail
}

// byClaims weighs what both say.
func (k *kinship) byClaims(e *entry, w *weight) {
	theirsVary := several(e.Identity.Claims)
	contradict := theirsVary || k.contradict(e)
	for _, own := range k.own {
		theirs, ok := e.said(own.Key)
		if !ok {
			continue
		}
		word := EvHost
		switch kind, rest, _ := strings.Cut(own.Key, ":"); kind {
		case "duid", "cid":
			word = EvClientID
		case "name":
			word = EvName
			host, _ := hostOf(own.Key)
			w.say(word, host)
		case "mac":
			word = EvBuilt
		default:
			w.say(word, rest)
		}
		why := doubtWeak
		if strength(own.Key) > weak {
			switch {
			case k.varied || theirsVary:
				why = doubtVaried
			case contradict:
				why = doubtContradict
			default:
				why = k.doubts(e, own, theirs)
			}
		}
		if why != doubtNone && (w.doubt == doubtNone || w.doubt == doubtWeak) {
			w.doubt = why
		}
		if word != EvHost || !slices.Contains(w.evidence, EvName) { // the same said twice
			w.add(word, why == doubtNone)
		}
		if why == doubtNone && !k.fresh(e) {
			w.add(EvTurns, true)
		}
	}
}

// said finds a claim of a device. Its own Ethernet address is one.
func (e *entry) said(key string) (Claim, bool) {
	if key == string(e.ID) { // "mac:" and the address, both
		return Claim{Key: key, First: e.FirstSeen, Last: e.LastSeen, Times: oldTimes}, true
	}
	i := slices.IndexFunc(e.Identity.Claims, func(c Claim) bool { return c.Key == key })
	if i < 0 {
		return Claim{}, false
	}
	return e.Identity.Claims[i], true
}

// doubts says why a claim that both make does not let e follow by itself, when
// they contradict each other in nothing.
func (k *kinship) doubts(e *entry, own, theirs Claim) doubt {
	switch {
	case k.fresh(e) && e.MovedFrom != "":
		return doubtMoved
	case k.fresh(e) && k.contested(own.Key):
		return doubtContested
	case k.fresh(e):
		return doubtNone
	case e.Identity.Dropped > 0:
		return doubtVaried
	case !k.established(e, own, theirs):
		return doubtHistory
	case k.contested(own.Key):
		return doubtContested
	}
	return doubtNone
}

// contradict says that both say things of which one device says only one.
func (k *kinship) contradict(e *entry) bool {
	return several(k.own, e.Identity.Claims)
}

// contested says that a device with a history of its own says the same as s
// (rule 3). Who was gone before s appeared is none: it may have been s under the
// address of yesterday.
func (k *kinship) contested(key string) bool {
	if _, asked := k.others[key]; !asked {
		k.others[key] = k.claimedByOthers(key)
	}
	return k.others[key]
}

func (k *kinship) claimedByOthers(key string) bool {
	all := k.v.byKey[key]
	if text, ok := strings.CutPrefix(key, "mac:"); ok {
		if owner := k.v.byID[ID("mac:"+text)]; owner != nil {
			all = append(slices.Clone(all), owner)
		}
	}
	own, _ := k.s.said(key)
	for _, m := range all {
		theirs, _ := m.said(key)
		_, known := k.known[m.ID]
		if m == k.s || known || k.fresh(m) || !theirs.First.Before(k.q.FirstSign) || k.s.verdict(m.ID) > 0 ||
			m.LastSeen.Before(k.s.FirstSeen.Add(handover)) || k.established(m, own, theirs) {
			continue
		}
		return true
	}
	return false
}

// established is rule 4 for a device with a history.
func (k *kinship) established(e *entry, own, theirs Claim) bool {
	margin := mediumMargin
	if strength(own.Key) == strong {
		margin = strongMargin
	}
	by := k.q.FirstSign.Add(-margin)
	t := k.v.turn(k.s, e)
	return !own.First.After(by) && !theirs.First.After(by) && own.Times >= oldTimes && theirs.Times >= oldTimes &&
		t != nil && t.Swaps >= oldSwaps && t.Together == 0 &&
		!k.varied && !several(e.Identity.Claims) && !k.contradict(e)
}

// byPlace weighs where a device without a history appeared.
func (k *kinship) byPlace(e *entry, w *weight) {
	if e.MovedFrom != "" {
		return // who was really where is not known: see doubtMoved
	}
	for _, t := range e.Identity.Taken {
		if t.From == k.s.ID && !t.At.Before(k.q.FirstSign.Add(-freshMargin)) {
			w.add(EvAddress, true)
			w.say(EvAddress, t.Addr.String())
		}
	}
	if e.Port == "" || e.Port != k.s.Port {
		return
	}
	w.say(EvPort, e.Port)
	switch {
	case k.v.shared != nil && k.v.shared(e.Port) || !k.alone:
		silent := e.FirstSeen.Sub(k.s.LastSeen)
		if silent >= 0 && silent <= handover && !k.q.Held.IsZero() {
			w.add(EvAfter, false)
			w.doubt = cmp.Or(w.doubt, doubtWeak)
		}
	case !k.grown:
		w.add(EvPort, false)
		w.doubt = cmp.Or(w.doubt, doubtYoung)
	default:
		w.add(EvPort, true)
	}
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

// gone adds those that follow and were not weighed: they have been forgotten
// meanwhile, or the device itself has. A person's word, and what may never follow,
// count all the same.
func (k *kinship) gone(out []Kin) []Kin {
	for _, old := range k.q.Known {
		e := k.v.byID[old.ID]
		if !old.Follows || e != nil && (k.s != nil || k.never(e)) || k.v.judged(k.q.ID, old.ID) < 0 {
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
		return cmp.Or(b.w.rank()-a.w.rank(), b.e.LastSeen.Compare(a.e.LastSeen), cmp.Compare(a.e.ID, b.e.ID))
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

// rank puts a person's word and old kin before newcomers, of which a hostile
// device can make any number, and good suggestions before poor ones.
func (w *weight) rank() int {
	switch {
	case slices.Contains(w.evidence, EvPerson):
		return 3
	case slices.Contains(w.evidence, EvTurns):
		return 2
	case !w.follows && w.confidence() != "low":
		return 1
	}
	return 0
}

// confidence is "high" only for what needs no person any more.
func (w *weight) confidence() string {
	best := "low"
	for _, word := range w.evidence {
		switch word {
		case EvPerson, EvClientID:
			if w.follows {
				return "high"
			}
			best = "medium"
		case EvName, EvBuilt, EvAddress, EvPort, EvBefore:
			best = "medium"
		}
	}
	return best
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
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

// doubt is why a person is asked.
type doubt string

const (
	doubtNone       doubt = ""
	doubtWeak       doubt = "weak"
	doubtContested  doubt = "contested"
	doubtVaried     doubt = "varied"
	doubtContradict doubt = "contradict"
	doubtHistory    doubt = "history"
	doubtYoung      doubt = "young"
	doubtMoved      doubt = "moved"
	doubtNever      doubt = "never"
)

var doubtText = map[doubt]Text{
	doubtWeak:       {"Several devices may look like that.", "ほかの機器でも同じように見えることがあります。"},
	doubtContested:  {"Another device of the office says the same of itself.", "社内の別の機器も同じ情報を名乗っています。"},
	doubtVaried:     {"One of the two has gone by several names, as a docking station does.", "一方は複数の名前で使われてきました（ドッキングステーションなど）。"},
	doubtContradict: {"In other respects the two contradict each other.", "ほかの情報は一致していません。"},
	doubtHistory:    {"It was used before the incident, and is not known to be the same device.", "この事案の前から使われており、同じ機器だという確証はありません。"},
	doubtYoung:      {"The gateway has known this office for less than a day.", "ゲートウェイがこの事務所を見始めてから、まだ1日たっていません。"},
	doubtMoved:      {"It was seen on two ports: another device may pose as it.", "2つのポートで見つかっており、別の機器がなりすましている可能性があります。"},
	doubtNever:      {"It is protected, or forwards for others.", "保護対象の機器、または通信を中継する機器です。"},
}

var evidenceText = map[string]Text{
	EvPerson:   {"A person said that it is the same device.", "担当者が同じ機器だと判断しました。"},
	EvClientID: {"It uses the same DHCP identifier.", "同じ DHCP 識別子を使っています。"},
	EvName:     {"It has the same host name (%s) and is the same kind of system.", "機器の名前（%s）とシステムの種類が同じです。"},
	EvBuilt:    {"Its address is made from the other's MAC address.", "アドレスが、もう一方の MAC アドレスから作られています。"},
	EvAddress:  {"It took over the address %s without a lease.", "アドレス %s を、割り当てを受けずに引き継ぎました。"},
	EvPort:     {"It is on port %s, which only this device has used.", "この機器だけが使ってきたポート %s につながっています。"},
	EvTurns:    {"The two have long been used in turns.", "以前から交互に使われています。"},
	EvHost:     {"It calls itself by the same name (%s).", "同じ名前（%s）を名乗っています。"},
	EvAfter:    {"It appeared at the same place when the other fell silent.", "もう一方の通信が止まった直後に、同じ場所に現れました。"},
}

// text explains in both languages what speaks for it and what is done.
func (w *weight) text(fresh bool) Text {
	var en, ja []string
	for _, word := range w.evidence {
		t := evidenceText[word]
		if detail, ok := w.detail[word]; ok && strings.Contains(t.EN, "%s") {
			t = Text{fmt.Sprintf(t.EN, detail), fmt.Sprintf(t.JA, detail)}
		}
		en, ja = append(en, t.EN), append(ja, t.JA)
	}
	switch {
	case !w.follows && w.doubt == doubtNever: // whatever a person says about kinship
		d := doubtText[doubtNever]
		en = append(en, d.EN, "It is not held along with another one; isolate it by itself if that has to be.")
		ja = append(ja, d.JA, "ほかの機器と一緒には止めません。必要なときは、この機器を個別に隔離してください。")
	case !w.follows:
		d := doubtText[cmp.Or(w.doubt, doubtWeak)]
		en = append(en, d.EN, "It looks like the same device; a person has to decide.")
		ja = append(ja, d.JA, "同じ機器の可能性があります。担当者が判断してください。")
	case fresh:
		en = append(en, "It was not seen before the incident, and is treated as the same device.")
		ja = append(ja, "この事案の前には見られなかったため、同じ機器として扱います。")
	default:
		en, ja = append(en, "It is treated as the same device."), append(ja, "同じ機器として扱います。")
	}
	return Text{EN: strings.Join(en, " "), JA: strings.Join(ja, "")}
}

// Together makes kin of a device that was held together with another one before.
func Together(a Asset) Kin {
	return Kin{
		ID: a.ID, MAC: a.MAC, Name: a.Name, Addrs: slices.Clone(a.Addrs), Port: a.Port, Follows: true, Confidence: "medium", Evidence: []string{EvBefore},
		Why:       Text{"It was held as the same device before.", "以前にも同じ機器として遮断しています。"},
		FirstSeen: a.FirstSeen, LastSeen: a.LastSeen,
	}
}
