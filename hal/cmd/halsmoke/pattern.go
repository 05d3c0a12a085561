package main

import (
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
	"sekisho/hal/ssd1306"
)

// pattern is a picture that shows one way in which a screen may be wrong.
type pattern struct {
	name   string
	lit    func(x, y, height int) bool // nil: a page of the panel
	levels []uint8                     // brightness, one after the other
	each   time.Duration
}

func patterns() []pattern {
	return []pattern{
		// A frame and a mark at the upper left: a screen that is shifted by two columns
		// has the other controller, one that is mirrored stands on its head.
		{name: "corners", lit: func(x, y, h int) bool {
			return x == 0 || y == 0 || x == ssd1306.Width-1 || y == h-1 || x < 16 && y < 8
		}},
		{name: "all-on", lit: func(int, int, int) bool { return true }}, // dead pixels
		// Every other pixel, and every other row: wrong rows show as broad stripes.
		{name: "grey", lit: func(x, y, h int) bool {
			if x < ssd1306.Width/2 {
				return (x+y)%2 == 0
			}
			return y%2 == 0
		}},
		{name: "text"},
		{name: "contrast", lit: func(x, y, h int) bool { return x/8%2 == 0 }, levels: []uint8{ssd1306.Night, ssd1306.Day, 255, ssd1306.Day}, each: time.Second},
	}
}

// draw returns the picture as ssd1306.Display.Draw takes it.
func (p pattern) draw(height int, lang string) []byte {
	if p.lit == nil {
		size := panel.Tall
		if height == panel.Low.Rows() {
			size = panel.Low
		}
		return panel.RenderOn(size, sample(lang), 0, panel.Hold{}).Data()
	}
	pix := make([]byte, ssd1306.Width*height/8)
	for y := range height {
		for x := range ssd1306.Width {
			if p.lit(x, y, height) {
				pix[y/8*ssd1306.Width+x] |= 1 << (y % 8)
			}
		}
	}
	return pix
}

// sample is a page as the gateway shows it.
func sample(lang string) hal.Status {
	s := hal.Status{State: hal.Attention, Lang: lang, Suspect: hal.Device{Name: "keiri-pc", Place: "Port 1"}, What: "Tries all neighbours"}
	if lang == "ja" {
		s.Suspect, s.What = hal.Device{Name: "経理のPC", Place: "ポート1"}, "周囲を調査中"
	}
	return s
}
