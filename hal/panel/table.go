package panel

import "sekisho/hal"

// look is what the panel makes of one state: a row of the table of DESIGN
// section 6. Its title stands in words, once for each language.
type look struct {
	lamp   Pattern
	urgent bool   // a device needs somebody now: nothing stands before its page
	asks   bool   // a vendor's request may take the place of its pages
	pages  []page // a press without a target turns them
}

// page writes one page of a status.
type page func(c *content, w words, s hal.Status)

// looks is the table. "Steady" red has a short dip every three seconds, so that
// it cannot be taken for steady green.
//
// What stands above the states, the first that applies:
//
//	on the screen                                   for the lamp
//	1  a press in progress                          -
//	2  the lockdown's page, where nothing is urgent its rhythm in place of the state's
//	3  a vendor's request for access                -
//	4  the state's own pages                        its rhythm
//	   the drill's word in the title                one long blue blink before all that
//	   (a vendor's page is a state)                 three blue blinks before a more urgent rhythm
var looks = [...]look{
	hal.Normal: {
		lamp:  Pattern{{green, 1000}},
		asks:  true,
		pages: []page{figuresPage, clockPage, drillPage},
	},
	hal.Learning: {
		lamp:  Pattern{{green, 1500}, {off, 1500}},
		asks:  true,
		pages: []page{learningPage},
	},
	hal.Attention: {
		lamp:   Pattern{{amber, 150}, {off, 150}, {amber, 150}, {off, 850}},
		urgent: true,
		pages:  []page{suspectPage},
	},
	hal.Isolating: {
		lamp:   Pattern{{red, 170}, {off, 170}},
		urgent: true,
		pages:  []page{isolatingPage},
	},
	hal.Isolated: {
		lamp:  Pattern{{red, 2700}, {off, 300}},
		asks:  true,
		pages: []page{isolatedPage},
	},
	hal.NotIsolated: {
		lamp:   Pattern{{red, 600}, {off, 120}, {amber, 240}, {off, 120}},
		urgent: true,
		pages:  []page{cablePage},
	},
	hal.Fault: {
		lamp:  Pattern{{amber, 400}, {off, 2600}},
		pages: []page{faultPage},
	},
	hal.VendorConnected: {
		lamp:  Pattern{{blue, 150}, {off, 150}, {blue, 150}, {off, 150}, {blue, 150}, {off, 1250}},
		asks:  true,
		pages: []page{vendorPage},
	},
}

// What is laid over the lamp of a state.
var (
	lockdownLamp = Pattern{{red, 900}, {off, 200}, {red, 200}, {off, 700}} // long, short
	vendorMark   = Pattern{{blue, 150}, {off, 150}, {blue, 150}, {off, 150}, {blue, 150}, {off, 500}}
	drillMark    = Pattern{{blue, 900}, {off, 400}}
)

// known is the state, or Fault for one that the table does not know.
func known(s hal.State) hal.State {
	if int(s) < len(looks) {
		return s
	}
	return hal.Fault
}

func lookOf(s hal.State) look { return looks[known(s)] }

// urgent says that a device needs somebody now: nothing stands before it.
func urgent(s hal.State) bool { return lookOf(s).urgent }

// Pages is how many pages a status has; a press without a target turns them.
func Pages(s hal.Status) int { return len(pagesOf(s)) }

// pagesOf is what a press without a target turns through.
func pagesOf(s hal.Status) []page {
	own := lookOf(s.State).pages
	switch {
	case asks(s):
		return []page{askPage}
	case !s.Lockdown:
		return own
	case urgent(s.State):
		return append(own[:len(own):len(own)], lockdownPage)
	}
	return append([]page{lockdownPage}, own...)
}

// asks says whether the page asks for the approval of a vendor. Nothing that
// is urgent gives way to it.
func asks(s hal.Status) bool {
	return lookOf(s.State).asks && !s.Lockdown && s.Approval != "" && s.ApprovalID != "" && s.Target == ""
}

// Shows says what a press acts on while a page of the status is shown.
func Shows(s hal.Status) Shown {
	shown := Shown{Target: s.Target}
	switch {
	case asks(s):
		shown.Approve, shown.Name = s.ApprovalID, s.Approval
	case s.Target == "":
		if Pages(s) > 1 {
			shown.Deed = DeedPage
		}
	case s.State == hal.VendorConnected:
		shown.Deed, shown.Name = DeedEndVendor, s.Vendor
	default:
		shown.Deed, shown.Name, shown.Again = DeedIsolate, nameOf(s), s.AskedUntil.After(s.Now)
	}
	shown.Name = clip(shown.Name) // it is remembered
	return shown
}

// Continues says that a status goes on with what the one before it showed, so
// that the page which a person has turned to stays.
func Continues(before, s hal.Status) bool {
	return s.State == before.State && s.Target == before.Target && s.ApprovalID == before.ApprovalID && s.Lockdown == before.Lockdown
}
