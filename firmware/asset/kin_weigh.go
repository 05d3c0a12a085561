package asset

import (
	"cmp"
	"slices"
	"strings"
)

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
