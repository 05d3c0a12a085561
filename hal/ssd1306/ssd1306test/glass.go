package ssd1306test

import (
	"image"
	"image/color"
	"image/png"
	"io"

	"sekisho/hal/ssd1306"
)

const width = ssd1306.Width

// Picture returns what a person sees, in the layout of the driver's Draw: a bit
// is set where a pixel gives light. The display has to be on, with its high voltage.
func (m *Model) Picture() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	pix := make([]byte, width*m.cfg.Height/8)
	for y := range m.cfg.Height {
		for x := range width {
			if m.lit(x, y) {
				pix[y/8*width+x] |= 1 << (y % 8)
			}
		}
	}
	return pix
}

// lit follows one pixel of the glass back to its bit in memory. The common
// modules have SEG127 and the last COM where a person sees the upper left corner
// when their pins are on top.
func (m *Model) lit(x, y int) bool {
	r := &m.reg
	if !m.powered || !r.On || !r.Pump {
		return false
	}
	if m.cfg.UpsideDown {
		x, y = width-1-x, m.cfg.Height-1-y
	}
	row, scanned := m.row(m.cfg.Height - 1 - y)
	switch {
	case !scanned:
		return false
	case r.AllOn:
		return true
	}
	line := (row + r.StartLine) % (8 * pages)
	column := width - 1 - x // the segment; the SSD1306's memory is by segment
	if m.cfg.Controller == ssd1306.SH1106 {
		column += (columns - width) / 2 // SEG2 to SEG129 are wired
		if r.SegmentsDown {
			column = columns - 1 - column
		}
	}
	return m.ram[line/8][column]>>(line%8)&1 == 1 != r.Inverse
}

// row returns which row of the scan drives a line of the glass, counted from
// COM0's end, and whether there is one.
func (m *Model) row(line int) (int, bool) {
	pin := line // 32 rows: sequential
	if m.cfg.Height == 64 {
		pin = line/2 + line%2*32 // alternative (table 10-3)
	}
	com := pin
	if m.reg.ComPins&0x20 != 0 { // left and right exchanged
		com = (com + 32) % 64
	}
	if m.reg.ComPins&0x10 != 0 {
		com = com%32*2 + com/32
	}
	if m.reg.ComsDown { // tables 10-1 and 10-2
		com = m.reg.Multiplex - 1 - com
	}
	row := (com + m.reg.Offset + 64) % 64
	return row, row < m.reg.Multiplex
}

// WritePNG writes what a person sees, each pixel scale wide and, from a scale of
// 4 on, with the dark gap that is between pixels.
func (m *Model) WritePNG(w io.Writer, scale int) error {
	scale = max(scale, 1)
	pix := m.Picture()
	height := len(pix) / width * 8
	out := image.NewPaletted(image.Rect(0, 0, width*scale, height*scale),
		color.Palette{color.Gray{Y: 0}, color.Gray{Y: 255}})
	for i := range out.Pix {
		x, y := i%out.Stride, i/out.Stride
		gap := scale >= 4 && (x%scale == 0 || y%scale == 0)
		if x, y := x/scale, y/scale; !gap && pix[y/8*width+x]>>(y%8)&1 == 1 {
			out.Pix[i] = 1
		}
	}
	return png.Encode(w, out)
}
