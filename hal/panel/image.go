package panel

import (
	"image"
	"image/color"
	"image/png"
	"io"
)

// The largest screen, in pixels.
const (
	Width  = 128
	Height = 64
)

// Size is which of the two kinds of screen there is. Both are Width wide.
type Size uint8

// Sizes of screens.
const (
	Tall Size = iota // 64 rows
	Low              // 32 rows
)

// Rows is how many rows of pixels the screen has.
func (z Size) Rows() int {
	if z == Low {
		return Height / 2
	}
	return Height
}

// Image is one picture of the screen, one bit a pixel. Pix is laid out as the
// SSD1306 keeps its memory (datasheet section 8.7): byte page*128+x holds the
// eight pixels (x, page*8) to (x, page*8+7), least significant bit on top. A
// driver sends Data as it is. Images are comparable with ==; the zero Image is
// a dark screen of 64 rows.
type Image struct {
	Pix  [Width * Height / 8]byte
	Size Size
}

// Data is the part of Pix that the screen has.
func (m *Image) Data() []byte { return m.Pix[:Width*m.Size.Rows()/8] }

var _ image.Image = (*Image)(nil)

var palette = color.Palette{color.Gray{Y: 0}, color.Gray{Y: 255}}

// ColorModel implements image.Image.
func (m *Image) ColorModel() color.Model { return palette }

// Bounds implements image.Image.
func (m *Image) Bounds() image.Rectangle { return image.Rect(0, 0, Width, m.Size.Rows()) }

// At implements image.Image; outside the screen it is dark.
func (m *Image) At(x, y int) color.Color {
	if m.Lit(x, y) {
		return palette[1]
	}
	return palette[0]
}

// Lit says whether a pixel is on. Outside the screen none is.
func (m *Image) Lit(x, y int) bool {
	if x < 0 || y < 0 || x >= Width || y >= m.Size.Rows() {
		return false
	}
	return m.Pix[y/8*Width+x]>>(y%8)&1 == 1
}

// Set turns a pixel on or off. Outside the screen it does nothing.
func (m *Image) Set(x, y int, on bool) {
	if x < 0 || y < 0 || x >= Width || y >= m.Size.Rows() {
		return
	}
	bit := byte(1) << (y % 8)
	if on {
		m.Pix[y/8*Width+x] |= bit
		return
	}
	m.Pix[y/8*Width+x] &^= bit
}

// fill sets every pixel of a rectangle.
func (m *Image) fill(r image.Rectangle, on bool) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			m.Set(x, y, on)
		}
	}
}

// invert flips every pixel of a rectangle.
func (m *Image) invert(r image.Rectangle) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			m.Set(x, y, !m.Lit(x, y))
		}
	}
}

// WritePNG writes the picture as a 1-bit PNG, each pixel scale pixels wide.
func (m *Image) WritePNG(w io.Writer, scale int) error {
	scale = max(scale, 1)
	out := image.NewPaletted(image.Rect(0, 0, Width*scale, m.Size.Rows()*scale), palette)
	for y := range m.Size.Rows() * scale {
		for x := range Width * scale {
			if m.Lit(x/scale, y/scale) {
				out.Pix[y*out.Stride+x] = 1
			}
		}
	}
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	return enc.Encode(w, out)
}
