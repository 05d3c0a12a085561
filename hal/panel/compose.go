package panel

import (
	"fmt"
	"image"
	"strings"
	"time"

	"sekisho/hal"
)

// content is a page before it becomes pixels: a bright title bar and up to
// three more rows that together are 49 pixels high.
type content struct {
	drill string // marking in front of the title, empty when none
	title string
	right string // at the end of the title bar, as far as there is room
	body  []row
}

type rowKind uint8

const (
	textRow  rowKind = iota // 12 high, left
	bigRow                  // 26 high, left: a name
	midRow                  // 26 high, centred: one word or number
	deedRow                 // 12 high, bright: what to do
	barRow                  // 12 high: moving bar
	pairRow                 // 37 high: two labelled numbers
	hugeRow                 // 37 high, centred, three times the size
	paraRow                 // 37 high: up to three lines of text
	softRow                 // 12 high, centred
	nameRow                 // 12 high, bold: a name where there is less room
	blankRow                // nothing, as high as a text row
	turnRow                 // 12 high, left: two texts in turn
)

func (k rowKind) height() int {
	switch k {
	case bigRow, midRow:
		return 26
	case pairRow, hugeRow, paraRow:
		return 37
	}
	return 12
}

type row struct {
	kind           rowKind
	text           string
	label          string // pair: above the first number; bar: unused
	label2, text2  string // pair: the second number
	unit1, unit2   string
	progress, span int  // bar
	second         bool // turn: text2 is shown now
}

// compose decides what a page says.
func compose(s hal.Status, page int, h Hold) content {
	w := lang(s)
	c := content{title: w.title[s.State]}
	if s.Drill {
		c.drill = w.drill
	}
	if c.title == "" {
		c.title = w.title[hal.Fault]
	}
	switch {
	case h.Phase != HoldNone:
		c.hold(w, h, s)
	case asks(s):
		c.title, c.right = w.askTitle, s.ApprovalFor
		c.body = []row{{kind: bigRow, text: s.Approval}, {kind: textRow, text: w.askWhat}, {kind: deedRow, text: w.askHold}}
		if s.State == hal.Isolated {
			c.body[1] = row{kind: textRow, text: w.keepOn}
		}
	default:
		locked, own := lockdownPage(s, page)
		if locked {
			c.lockdown(w, s)
		} else {
			c.state(w, s, own)
		}
	}
	return c
}

// lockdown says what is cut off, whom to ask and how it ends: never by the
// button, for the same reason as a release.
func (c *content) lockdown(w words, s hal.Status) {
	c.title = w.lockTitle
	c.body = []row{{kind: bigRow, text: w.lockWhat}, {kind: textRow, text: contact(w, s)}, {kind: deedRow, text: w.lockEnd}}
}

// hold says what letting go of the button would do.
func (c *content) hold(w words, h Hold, s hal.Status) {
	switch h.Phase {
	case HoldApprove:
		c.title, c.right = w.askTitle, s.ApprovalFor
		c.body = []row{{kind: bigRow, text: s.Approval}, {kind: textRow, text: w.askWhat}, {kind: deedRow, text: w.letGoApprove}}
	case HoldCountdown:
		left := int((h.Left + time.Second - 1) / time.Second)
		c.title = w.countTitle
		c.body = []row{{kind: midRow, text: fmt.Sprintf(w.countSeconds, left)}, {kind: blankRow}, {kind: deedRow, text: w.countCancel}}
	case HoldArmed:
		c.title = w.armTitle
		c.body = []row{{kind: midRow, text: "!"}, {kind: blankRow}, {kind: deedRow, text: w.armLetGo}}
	default:
		c.title = w.stuckTitle
		c.body = []row{{kind: paraRow, text: w.stuck}, {kind: textRow, text: s.FaultCall}}
	}
}

// state says what the state's page says.
func (c *content) state(w words, s hal.Status, page int) {
	name := s.Suspect.Name
	if name == "" {
		name = s.Suspect.Addr
	}
	if name == "" {
		name = w.unknown
	}
	switch s.State {
	case hal.Normal:
		c.right = clock(s.Now)
		c.normal(w, s, page)
	case hal.Learning:
		c.right = clock(s.Now)
		left := max(1, int((s.LearnLeft+24*time.Hour-1)/(24*time.Hour)))
		c.body = []row{{kind: midRow, text: fmt.Sprintf(w.left, left)}}
		for _, l := range wrap(w.learning, Width, 2) {
			c.body = append(c.body, row{kind: softRow, text: l})
		}
	case hal.Attention:
		c.right = s.Suspect.Place
		if s.Waiting > 0 {
			c.title += fmt.Sprintf(" 1/%d", s.Waiting+1)
		}
		c.body = []row{{kind: bigRow, text: name}, {kind: textRow, text: s.What}, {kind: deedRow, text: w.press}}
		if left := s.AskedUntil.Sub(s.Now); left > 0 { // nothing is done yet: say so, and what does it
			sec := int((left + time.Second - 1) / time.Second)
			c.title = w.againTitle
			c.body[1].text = fmt.Sprintf(w.againLeft, sec/60, sec%60)
			c.body[2].text = w.again
		}
		if s.Impact != "" { // never smaller letters: the name decides what is isolated
			c.body[1].kind, c.body[1].text2 = turnRow, s.Impact
			c.body[1].second = s.Now.Unix()/turn%2 == 1
		}
	case hal.Isolating:
		// The bar says "still working", not how far: nobody knows that.
		c.body = []row{{kind: bigRow, text: name}, {kind: barRow, progress: int(s.Now.UnixMilli() / 100 % 32), span: 32}, {kind: softRow, text: w.isolatingTo}}
	case hal.Isolated:
		if !s.Since.IsZero() {
			c.right = fmt.Sprintf(w.since, clock(s.Since))
		}
		c.body = []row{{kind: bigRow, text: name}, {kind: deedRow, text: w.keepOn}, {kind: textRow, text: contact(w, s)}}
	case hal.NotIsolated:
		cable := s.Cable
		if cable == "" {
			cable = s.Suspect.Place
		}
		c.body = []row{{kind: textRow, text: name}, {kind: deedRow, text: w.pull}, {kind: midRow, text: cable}}
		if s.BestEffort {
			c.title = w.bestTitle
			c.body[1].text = w.pullToBeSure
		}
	case hal.VendorConnected:
		if s.Held > 0 {
			c.right = fmt.Sprintf(w.held, min(s.Held, 99))
		}
		what := w.vendorSees
		if !s.VendorUntil.IsZero() {
			what = fmt.Sprintf(w.vendorUntil, clock(s.VendorUntil))
		}
		c.body = []row{{kind: bigRow, text: s.Vendor}, {kind: textRow, text: what}, {kind: deedRow, text: w.vendorEnd}}
	default:
		c.body = []row{{kind: paraRow, text: s.FaultText}, {kind: textRow, text: s.FaultCall}}
	}
}

// turn is how long each of two texts stays, seconds: Japanese film subtitles
// count four characters a second, and a line has about ten.
const turn = 3

// contact is the telephone of whoever helps, with the name where it fits.
func contact(w words, s hal.Status) string {
	if s.VendorPhone == "" {
		return s.Vendor
	}
	if both := strings.TrimSpace(s.Vendor + " " + s.VendorPhone); width(both, true) <= Width {
		return both
	}
	return w.call + s.VendorPhone
}

// normal is three pages: the figures, the clock, the last drill.
func (c *content) normal(w words, s hal.Status, page int) {
	drill := w.none
	if !s.LastDrill.IsZero() {
		drill = s.LastDrill.Format(w.date)
	}
	switch ((page % 3) + 3) % 3 {
	case 0:
		c.body = []row{
			{kind: pairRow, label: w.devices, text: count(s.Devices), unit1: w.deviceUnit,
				label2: w.days, text2: days(s.PacketDays), unit2: w.dayUnit},
			{kind: softRow, text: w.lastDrill + drill},
		}
	case 1:
		c.right = ""
		day := ""
		if !s.Now.IsZero() {
			day = s.Now.Format(w.fullDate) + " " + w.weekday[s.Now.Weekday()]
		}
		c.body = []row{{kind: hugeRow, text: clock(s.Now)}, {kind: softRow, text: day}}
	default:
		ago := w.noDrill
		if s.LastDrill.IsZero() {
			drill = w.never
		}
		if !s.LastDrill.IsZero() {
			n := int(s.Now.Sub(s.LastDrill).Hours() / 24)
			ago = fmt.Sprintf(w.daysAgo, n)
			if n <= 0 {
				ago = w.todayAgo
			}
		}
		c.body = []row{{kind: softRow, text: strings.TrimSpace(w.lastDrill)}, {kind: midRow, text: drill}, {kind: softRow, text: ago}}
	}
}

// header draws the bright bar. A drill shows its marking in a dark box.
func (m *Image) header(c content) {
	x := 2
	if c.drill != "" {
		dw := width(c.drill, true)
		m.put(x+2, 0, c.drill, 1, true)
		x += dw + 6
	}
	end := Width - 2
	c.right = string(bounded(c.right))
	tw := min(width(c.title, true), end-x)
	if rw := width(c.right, true); c.right != "" && rw > 0 {
		room := end - x - tw - 6
		if room >= 24 { // less would be an ellipsis and nothing else
			m.line(end-min(rw, room), end, 0, c.right, rightAlign)
			end -= min(rw, room) + 4
		}
	}
	m.line(x, end, 0, c.title, leftAlign)
	m.invert(image.Rect(0, 0, Width, 14))
	if c.drill != "" {
		m.invert(image.Rect(1, 1, x-2, 13))
	}
}

// row draws one row of the body from y.
func (m *Image) row(y int, r row) {
	switch r.kind {
	case textRow:
		m.text(y, r.text)
	case turnRow:
		if r.second {
			m.text(y, r.text2)
		} else {
			m.text(y, r.text)
		}
	case softRow:
		m.line(0, Width, y, r.text, centre)
	case bigRow:
		m.big(y, r.text, leftAlign)
	case midRow:
		m.big(y, r.text, centre)
	case deedRow:
		m.line(1, Width-1, y, r.text, centre)
		m.invert(image.Rect(0, y, Width, y+12))
	case barRow:
		m.bar(y, r.progress, r.span)
	case pairRow:
		m.pair(y, r)
	case hugeRow:
		m.put((Width-3*width(r.text, false))/2, y-1, r.text, 3, false)
	case paraRow:
		for i, l := range wrap(r.text, Width, 3) {
			m.text(y+i*12, l)
		}
	}
}

// bar draws a frame with a block that wanders from side to side.
func (m *Image) bar(y, at, span int) {
	m.fill(image.Rect(0, y+2, Width, y+10), true)
	m.fill(image.Rect(1, y+3, Width-1, y+9), false)
	if at > span/2 {
		at = span - at
	}
	const block = 32
	x := 3 + at*(Width-6-block)/(span/2)
	m.fill(image.Rect(x, y+5, x+block, y+7), true)
}

// pair draws two numbers side by side, labels above and units after.
func (m *Image) pair(y int, r row) {
	m.cell(0, 60, y, r.label, r.text, r.unit1)
	m.cell(62, Width, y, r.label2, r.text2, r.unit2)
	for yy := y + 1; yy < y+36; yy += 2 {
		m.Set(60, yy, true)
	}
}

func (m *Image) cell(x0, x1, y int, label, number, unit string) {
	m.line(x0, x1, y, label, centre)
	w := 2*width(number, false) + width(unit, true)
	x := x0 + max(0, (x1-x0-w)/2)
	m.put(x, y+11, number, 2, false)
	m.put(x+2*width(number, false)+1, y+22, unit, 1, true)
}
