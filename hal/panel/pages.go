package panel

import (
	"fmt"
	"strings"
	"time"

	"sekisho/hal"
)

// nameOf is what the suspect is called, empty when nothing is known of it. A
// name of spaces is none.
func nameOf(s hal.Status) string {
	if name := strings.TrimSpace(s.Suspect.Name); name != "" {
		return name
	}
	return s.Suspect.Addr
}

// suspect is the row that names the suspect.
func suspect(kind rowKind, w words, s hal.Status) row {
	r := say(kind, w.named(nameOf(s)))
	r.tells = s.Suspect.Addr
	return r
}

// figuresPage is the first of the calm pages.
func figuresPage(c *content, w words, s hal.Status) {
	c.right = clock(s.Now)
	drill := w.none
	if !s.LastDrill.IsZero() {
		drill = s.LastDrill.Format(w.date)
	}
	c.body = []row{
		{kind: pairRow, figures: [2]figure{{w.devices, count(s.Devices), w.deviceUnit}, {w.days, days(s.PacketDays), w.dayUnit}}},
		say(softRow, w.lastDrill+" "+drill),
	}
}

func clockPage(c *content, w words, s hal.Status) {
	day := ""
	if !s.Now.IsZero() {
		day = s.Now.Format(w.fullDate) + " " + w.weekday[s.Now.Weekday()]
	}
	c.body = []row{say(hugeRow, clock(s.Now)), say(softRow, day)}
}

func drillPage(c *content, w words, s hal.Status) {
	c.right = clock(s.Now)
	if s.LastDrill.IsZero() {
		c.body = []row{say(softRow, w.lastDrill), say(midRow, w.never), say(softRow, w.noDrill)}
		return
	}
	ago := w.ago(s.LastDrill, s.Now)
	since := say(softRow, ago)
	if s.DrillTook > 0 {
		since.texts = []string{w.took(s.DrillTook), ago}
	}
	c.body = []row{say(softRow, w.lastDrill), say(midRow, s.LastDrill.Format(w.date)), since}
}

func learningPage(c *content, w words, s hal.Status) {
	c.right = clock(s.Now)
	left := w.lastDay
	if n := int((s.LearnLeft + 24*time.Hour - 1) / (24 * time.Hour)); n > 1 {
		left = fmt.Sprintf(w.left, n)
	}
	c.body = []row{say(midRow, left)}
	for _, l := range set(w.learning).wrap(Width) {
		c.body = append(c.body, say(softRow, l.String()))
	}
}

func suspectPage(c *content, w words, s hal.Status) {
	c.right, c.on = s.Suspect.Place, nameOf(s)
	if s.Waiting > 0 {
		c.title += fmt.Sprintf(" 1/%d", s.Waiting+1)
	}
	what, deed := s.What, w.press
	if left := s.AskedUntil.Sub(s.Now); left > 0 { // nothing is done yet: say so, and what does it
		sec := int((left + time.Second - 1) / time.Second)
		c.title, c.low = w.againTitle, w.againLow
		what, deed = fmt.Sprintf(w.againLeft, sec/60, sec%60), w.again
	}
	// The impact takes turns rather than room: the name decides what is isolated.
	c.body = []row{suspect(bigRow, w, s), say(textRow, what, s.Impact), say(deedRow, deed)}
}

// isolatingPage has a bar that says "still working", not how far: nobody knows
// that.
func isolatingPage(c *content, w words, s hal.Status) {
	const block, steps = 260, 16
	at := int(s.Now.UnixMilli() / 100 % (2 * steps))
	if at > steps {
		at = 2*steps - at
	}
	from := at * (1000 - block) / steps
	c.body = []row{suspect(bigRow, w, s), {kind: barRow, bar: gauge{from, from + block}}, say(softRow, w.isolatingTo)}
}

func isolatedPage(c *content, w words, s hal.Status) {
	if !s.Since.IsZero() {
		c.right = clock(s.Since)
	}
	c.body = []row{suspect(bigRow, w, s), say(deedRow, w.keepOn), say(textRow, contact(w, s))}
}

func cablePage(c *content, w words, s hal.Status) {
	cable := s.Cable
	if cable == "" {
		cable = s.Suspect.Place
	}
	c.body = []row{suspect(textRow, w, s), say(deedRow, w.pull), say(midRow, cable)}
	if s.BestEffort {
		c.title = w.bestTitle
		c.body[1] = say(deedRow, w.pullToBeSure)
	}
}

func faultPage(c *content, _ words, s hal.Status) {
	c.body = []row{say(paraRow, s.FaultText), say(textRow, s.FaultCall)}
}

func vendorPage(c *content, w words, s hal.Status) {
	if s.Held > 0 {
		c.right = fmt.Sprintf(w.held, min(s.Held, 99))
	}
	what := w.vendorSees
	if !s.VendorUntil.IsZero() {
		what = fmt.Sprintf(w.vendorUntil, clock(s.VendorUntil))
	}
	c.on = s.Vendor
	c.body = []row{say(bigRow, s.Vendor), say(textRow, what), say(deedRow, w.vendorEnd)}
}

func askPage(c *content, w words, s hal.Status) {
	c.title, c.right, c.on = w.askTitle, s.ApprovalFor, s.Approval
	what := w.askWhat
	if s.State == hal.Isolated {
		what = w.keepOn
	}
	c.body = []row{say(bigRow, s.Approval), say(textRow, what), say(deedRow, w.askHold)}
}

// lockdownPage says what is cut off, whom to ask and how it ends: never by the
// button, for the same reason as a release.
func lockdownPage(c *content, w words, s hal.Status) {
	c.title, c.low = w.lockTitle, w.lockLow
	c.body = []row{say(bigRow, w.lockWhat), say(textRow, contact(w, s)), say(deedRow, w.lockEnd)}
}

// contact is the telephone of whoever helps, with the name where it fits.
func contact(w words, s hal.Status) string {
	if s.VendorPhone == "" {
		return s.Vendor
	}
	if both := strings.TrimSpace(s.Vendor + " " + s.VendorPhone); set(both).width(true) <= Width {
		return both
	}
	return w.call + s.VendorPhone
}

// hold says what letting go of the button would do, and where holding on leads.
// It speaks of what the press acts on, which may no longer be what the status
// names.
func (c *content) hold(w words, s hal.Status, h Hold) {
	c.still, c.on = true, h.On.Name
	who := say(bigRow, h.On.Name)
	way := row{kind: barRow, bar: gauge{0, part(h.Held, HoldLong)}}
	switch h.Phase {
	case HoldAsking, HoldApprove:
		c.title = w.askTitle
		way.bar.to = part(h.Held, HoldShort)
		deed := w.letGoApprove
		if h.Phase == HoldAsking {
			deed = fmt.Sprintf(w.approveIn, seconds(HoldShort-h.Held))
		}
		c.body = []row{who, way, say(deedRow, deed)}
	case HoldLeads:
		c.title, c.low = w.leads, w.leadsLow
		if s.Lockdown {
			c.title, c.low = w.lockTitle, w.lockLow // there is nothing more that holding on could do
		}
		switch h.On.Deed {
		case DeedIsolate:
			c.on = w.named(h.On.Name)
			who.texts[0] = c.on
		case DeedNone, DeedPage:
			who = say(bigRow, w.leadsWhat)
			if s.Lockdown {
				who.texts[0] = w.lockWhat
			}
		}
		c.body = []row{who, way, say(deedRow, w.letGo[h.On.Deed])}
	case HoldCountdown, HoldArmed:
		c.title, c.on = w.countTitle, ""
		if s.Drill {
			c.title = w.countReal // the gesture does the same in a drill
		}
		number, deed := fmt.Sprintf(w.countSeconds, seconds(h.Left)), w.countCancel
		c.low = fmt.Sprintf(w.countLow, seconds(h.Left))
		if h.Phase == HoldArmed {
			number, deed, c.low = "!", w.armLetGo, ""
		}
		c.body = []row{say(midRow, number), way, say(deedRow, deed)}
		if s.Lockdown {
			c.title, c.low = w.lockTitle, w.lockLow
			c.body = []row{say(bigRow, w.lockWhat), way, say(deedRow, w.letGo[DeedNone])}
		}
	default:
		c.title = w.stuckTitle
		c.still, c.on = false, ""
		c.body = []row{say(paraRow, w.stuck), say(textRow, s.FaultCall)}
	}
}

// part is how much of a time has passed, in thousandths.
func part(d, of time.Duration) int { return int(min(max(d, 0), of) * 1000 / of) }

// seconds rounds up, so that a countdown does not end with a zero.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
