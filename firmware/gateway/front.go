package gateway

import (
	"context"

	"sekisho/firmware/detect"
	"sekisho/firmware/health"
	"sekisho/hal"
)

// panelChecks has one check for each part of a panel that knows its parts.
func (g *Gateway) panelChecks() []health.Check {
	front, ok := g.parts.Panel.(interface{ Parts() []hal.Part })
	if !ok {
		return nil
	}
	var checks []health.Check
	for _, part := range front.Parts() {
		c := health.Check{Name: panelCheck + part.Name, Probe: func(context.Context) error {
			for _, p := range front.Parts() {
				if p.Name == part.Name {
					return p.Err
				}
			}
			return nil
		}}
		c.Title, c.Help = panelText(part.Name)
		checks = append(checks, c)
	}
	return checks
}

// panelCheck begins the name of every such check.
const panelCheck = "panel:"

// panelText says what a part is, and what to do without it: first what helps now,
// then what to mend.
func panelText(part string) (title, help health.Text) {
	light := func(en, ja string) {
		title = health.Text{EN: "The lamp's " + en + " light", JA: "本体のランプ（" + ja + "）"}
		help = health.Text{
			EN: "The lamp may show a wrong colour: go by the screen, or by this page. Ask the IT vendor to check panel." + part + " in the settings.",
			JA: "ランプの色が正しく出ないことがあります。本体の画面か、このページで確認してください。IT事業者に、設定の panel." + part + " を確かめるよう依頼してください。",
		}
	}
	switch part {
	case "button":
		return health.Text{EN: "The button", JA: "本体のボタン"}, health.Text{
			EN: "Use this page instead of the button. See that nothing presses it. If that does not help, ask the IT vendor to check its two wires, and panel.button in the settings.",
			JA: "ボタンの代わりに、このページから操作できます。ボタンが押されたままになっていないか、確認してください。直らない場合は、ボタンの2本の配線と設定の panel.button を確かめるよう、IT事業者に依頼してください。",
		}
	case "screen":
		return health.Text{EN: "The small screen", JA: "本体の小さな画面"}, health.Text{
			EN: "Lamp, button and this page go on working; if the screen still names a device, the button means that one. Push the screen's four wires in again: it comes back by itself. If it does not, ask the IT vendor to check panel.screen, panel.screen_bus and panel.screen_address in the settings.",
			JA: "ランプ・ボタン・このページは、そのまま使えます。画面に機器の名前が残っている間、ボタンはその機器に対して働きます。画面の4本の線を差し直すと、自動で表示が戻ります。戻らない場合は、設定の panel.screen・panel.screen_bus・panel.screen_address を確かめるよう、IT事業者に依頼してください。",
		}
	case "buzzer":
		return health.Text{EN: "The buzzer", JA: "本体のブザー"}, health.Text{
			EN: "Nothing is heard when something happens: look at the lamp now and then. Ask the IT vendor to check panel.buzzer in the settings.",
			JA: "異常が起きても音が鳴りません。ときどきランプを確認してください。IT事業者に、設定の panel.buzzer を確かめるよう依頼してください。",
		}
	case "red":
		light("red", "赤")
	case "green":
		light("green", "緑")
	case "blue":
		light("blue", "青")
	}
	return title, help
}

// panelFault is what the panel's other parts show of one that is missing.
func panelFault(check string) (detect.Text, bool) {
	switch check {
	case panelCheck + "button":
		return detect.Text{EN: "Button out of order", JA: "ボタンが使えません"}, true
	case panelCheck + "screen":
		return detect.Text{EN: "Screen out of order", JA: "画面が映りません"}, true
	case panelCheck + "red", panelCheck + "green", panelCheck + "blue":
		return detect.Text{EN: "Lamp out of order", JA: "ランプが故障"}, true
	}
	return detect.Text{}, false
}
