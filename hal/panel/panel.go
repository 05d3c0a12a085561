// Package panel draws the front panel and reads its button: a hal.Status
// becomes a one-bit picture and a lamp rhythm, edges of a line become gestures.
//
// Every panel driver calls it. It is pure: it never reads a clock, never
// touches hardware and never decides what a gesture leads to.
package panel

import (
	"strings"

	"sekisho/hal"
)

// Render draws a page of a status for a screen of 64 rows. Pages wrap around.
func Render(s hal.Status, page int) *Image { return RenderHold(s, page, Hold{}) }

// RenderHold draws a page, or what a press in progress is about to do.
func RenderHold(s hal.Status, page int, h Hold) *Image { return RenderOn(Tall, s, page, h) }

// RenderOn draws for a screen of a size. What does not fit at once takes turns
// by s.Now, as long as that is known.
func RenderOn(z Size, s hal.Status, page int, h Hold) *Image {
	m := &Image{Size: z}
	c, now := compose(s, page, h), turnAt(s.Now)
	if z == Low {
		m.slide(c, now)
	} else {
		m.page(c, now)
	}
	return m
}

// Lines is the text of a page, for screen readers and logs: what the screen
// shows in turn is all there, a text without end is as short as it is drawn.
func Lines(s hal.Status, page int, h Hold) []string {
	c := compose(s, page, h)
	var lines []string
	add := func(words ...string) {
		for i, w := range words {
			words[i] = clip(w)
		}
		if l := strings.TrimSpace(strings.Join(words, " ")); l != "" {
			lines = append(lines, l)
		}
	}
	add(c.drill, c.title, c.right)
	for _, r := range c.body {
		if r.kind == pairRow {
			add(r.figures[0].String())
			add(r.figures[1].String())
		}
		add(r.texts...)
	}
	return lines
}
