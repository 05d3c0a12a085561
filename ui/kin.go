package ui

import (
	"strconv"

	"sekisho/firmware/incident"
)

// kinPart is what an incident shows of the other Ethernet addresses of its
// device, those that are held with it and those that a person is asked about.
type kinPart struct {
	W    map[string]string
	ID   string // of the incident
	Of   string // of the device
	Same string // what following means now
	Hint string // what it means to say that one that follows is another device
	All  []kinView
	Live bool // a person's word still does something
}

type kinView struct {
	ID, Name, Where, Why string
	Follows              bool
}

// kin is nil when there is nothing to show.
func kin(i incident.Incident, l string) *kinPart {
	if len(i.Asset.Kin) == 0 {
		return nil
	}
	w := wordsIn(l)
	p := &kinPart{W: w, ID: i.ID, Of: string(i.Asset.ID), Live: i.State.Held() || i.Waiting()}
	p.Same, p.Hint = w["kin_was"], ""
	switch {
	case i.State.Held():
		p.Same, p.Hint = w["kin_same"], w["kin_other_hint"]
	case p.Live:
		p.Same, p.Hint = w["kin_would"], w["kin_would_hint"]
	}
	for _, k := range i.Asset.Kin {
		v := kinView{ID: string(k.ID), Name: k.Name, Where: k.MAC.String(), Why: k.Why.EN, Follows: k.Follows}
		if v.Name == "" {
			v.Name = w["unnamed"]
		}
		if k.Port != "" {
			v.Where = w["port"] + " " + k.Port + ", " + v.Where
		}
		if l != "en" {
			v.Why = k.Why.JA
		}
		p.All = append(p.All, v)
	}
	return p
}

// along says in a line each what is held with the device, or would be, and what a
// person is asked about; nothing when it has no other address.
func along(i incident.Incident, w map[string]string) (out []string) {
	follow := 0
	for _, k := range i.Asset.Kin {
		if k.Follows {
			follow++
		}
	}
	say := func(key string, n int) {
		if n > 0 {
			out = append(out, put(w[key], strconv.Itoa(n)))
		}
	}
	switch {
	case i.State.Held():
		say("along_held", follow)
	case i.Waiting():
		say("along_would", follow)
	default:
		return nil
	}
	say("along_ask", len(i.Asset.Kin)-follow)
	return out
}
