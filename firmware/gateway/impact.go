package gateway

import (
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/firmware/impact"
	"sekisho/firmware/incident"
)

// whose tells the memory of uses which device a MAC belongs to, and its name
// for people.
func (p *Pipeline) whose(m flow.MAC) (asset.ID, string) {
	a, ok := p.inventory.ByMAC(m)
	if !ok {
		return asset.ID("mac:" + m.String()), m.String()
	}
	return a.ID, deviceName(a)
}

// Impact says what isolating a device at now would stop.
func (p *Pipeline) Impact(a asset.Asset, now time.Time) impact.Preview {
	d := impact.Device{ID: a.ID, FirstSeen: a.FirstSeen}
	if !a.MAC.IsZero() {
		d.MACs = append([]flow.MAC{a.MAC}, asset.Following(a.Kin)...)
	}
	return p.uses.Preview(d, now)
}

// Impact returns what isolating a device would stop; false for a device that is
// not known. It may be called from any goroutine.
func (w web) Impact(id asset.ID) (impact.Preview, bool) {
	a, ok := w.parts.Pipeline.inventory.Get(id)
	if !ok {
		return impact.Preview{}, false
	}
	a.Kin = kinNow(w.View().Incidents, id)
	return w.parts.Pipeline.Impact(a, w.now()), true
}

// kinNow is what would be isolated along with a device: the page has to say the
// same as the panel.
func kinNow(all []incident.Incident, id asset.ID) []asset.Kin {
	for _, i := range slices.Backward(all) {
		if i.Asset.ID == id && i.State.Live() {
			return i.Asset.Kin
		}
	}
	return nil
}

// impactShown bounds how often the panel's line is worked out anew: a week's
// uses do not change within it, and the core draws four times a second.
const impactShown = 5 * time.Second

// brief is the panel's line about one device, kept for a moment. The core owns it.
type brief struct {
	id   asset.ID
	at   time.Time
	text string
}

// impactOf is what isolating the device stops, in the one line of the small
// screen; empty when nothing is known to stop.
func (g *Gateway) impactOf(a asset.Asset, now time.Time) string {
	if age := now.Sub(g.brief.at); g.brief.id != a.ID || age < 0 || age >= impactShown {
		g.brief = brief{a.ID, now, g.parts.Pipeline.Impact(a, now).Brief().In(g.cfg.Lang)}
	}
	return g.brief.text
}
