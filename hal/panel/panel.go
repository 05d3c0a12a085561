// Package panel draws the front panel and reads its button: a hal.Status
// becomes a 128x64 one-bit picture and a lamp rhythm, edges of a line become
// gestures.
//
// Every panel driver calls it. It is pure: it never reads a clock, never
// touches hardware and never decides what a gesture leads to.
package panel

import "sekisho/hal"

// Pages is how many pages a status has; a press without a target turns them.
func Pages(s hal.Status) int {
	n := statePages(s)
	if s.Lockdown {
		n++
	}
	return n
}

func statePages(s hal.Status) int {
	if s.State == hal.Normal && !asks(s) {
		return 3
	}
	return 1
}

// lockdownPage says whether a page is that of the office-wide lockdown, else
// which of the state's own pages it is.
func lockdownPage(s hal.Status, page int) (bool, int) {
	if !s.Lockdown {
		return false, page
	}
	n := Pages(s)
	page = ((page % n) + n) % n
	if urgent(s.State) {
		return page == n-1, page
	}
	return page == 0, page - 1
}

// urgent says that a device needs somebody now: nothing stands before it.
func urgent(s hal.State) bool {
	return s == hal.Attention || s == hal.Isolating || s == hal.NotIsolated
}

// Shows says what a press acts on while a page of the status is shown.
func Shows(s hal.Status) Shown {
	shown := Shown{Target: s.Target}
	if asks(s) {
		shown.Approve = s.ApprovalID
	}
	return shown
}

// asks says whether the page asks for the approval of a vendor. Nothing that
// is urgent gives way to it.
func asks(s hal.Status) bool {
	if s.Lockdown {
		return false
	}
	switch s.State {
	case hal.Normal, hal.Learning, hal.VendorConnected, hal.Isolated:
		return s.Approval != "" && s.ApprovalID != "" && s.Target == ""
	}
	return false
}

// Render draws a page of a status. Pages wrap around.
func Render(s hal.Status, page int) *Image {
	return RenderHold(s, page, Hold{})
}

// RenderHold draws a page, or what a press in progress is about to do.
func RenderHold(s hal.Status, page int, h Hold) *Image {
	m := new(Image)
	c := compose(s, page, h)
	m.header(c)
	y := 14
	for _, l := range c.body {
		m.row(y, l)
		y += l.kind.height()
	}
	return m
}

// Lines is the text of a page, for screen readers and logs.
func Lines(s hal.Status, page int, h Hold) []string {
	c := compose(s, page, h)
	head := c.title
	if c.drill != "" {
		head = c.drill + " " + head
	}
	if c.right != "" {
		head += " " + c.right
	}
	lines := []string{head}
	for _, l := range c.body {
		switch {
		case l.kind == pairRow:
			lines = append(lines, l.label+" "+l.text, l.label2+" "+l.text2)
		case l.kind == turnRow:
			lines = append(lines, l.text+" "+l.text2)
		case l.text != "":
			lines = append(lines, l.text)
		}
	}
	return lines
}
