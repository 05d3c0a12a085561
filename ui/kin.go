package ui

import "sekisho/firmware/incident"

// kinPart is what an incident shows of the other Ethernet addresses of its
// device, those that are held with it and those that a person is asked about.
type kinPart struct {
	W    map[string]string
	ID   string // of the incident
	Of   string // of the device
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
