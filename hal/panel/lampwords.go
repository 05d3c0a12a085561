package panel

import "sekisho/hal"

// LampWords is the lamp in words, its colour and its rhythm, for people who do
// not see the colour and for places that have none. lang is "ja" or "en".
func LampWords(s hal.Status, lang string) string {
	w := lampEnglish
	if lang == "ja" {
		w = lampJapanese
	}
	text := w.state[known(s.State)]
	if s.Lockdown && !urgent(s.State) {
		text = w.lockdown
	}
	if s.VendorOnline && s.State != hal.VendorConnected {
		text += w.vendor
	}
	if s.Drill {
		text += w.drill
	}
	return text
}

// lampWords say what Lamp does.
type lampWords struct {
	state         [hal.VendorConnected + 1]string
	lockdown      string
	vendor, drill string // the marks that stand before a state's own rhythm
}

var lampJapanese = lampWords{
	state: [...]string{
		hal.Normal: "緑、点灯", hal.Learning: "緑、ゆっくり点滅", hal.Attention: "黄色、2回ずつ点滅",
		hal.Isolating: "赤、速い点滅", hal.Isolated: "赤、点灯", hal.NotIsolated: "赤と黄色が交互に点灯",
		hal.Fault: "黄色、ゆっくり点滅", hal.VendorConnected: "青、3回ずつ点滅",
	},
	lockdown: "赤、長く1回と短く1回", vendor: "、合間に青が3回", drill: "、合間に青が長く1回",
}

var lampEnglish = lampWords{
	state: [...]string{
		hal.Normal: "green, steady", hal.Learning: "green, slow blink", hal.Attention: "amber, double blink",
		hal.Isolating: "red, fast blink", hal.Isolated: "red, steady", hal.NotIsolated: "red and amber in turn",
		hal.Fault: "amber, slow blink", hal.VendorConnected: "blue, triple blink",
	},
	lockdown: "red, one long and one short", vendor: ", three blue blinks between", drill: ", one long blue blink between",
}
