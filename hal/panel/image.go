package panel

import (
	"image"
	"image/color"
	"image/png"
	"io"
)

// Size of the screen in pixels.
const (
	Width  = 128
	Height = 64
)

// Image is one picture of the screen, one bit a pixel. Pix is laid out as the
// SSD1306 keeps its memory (datasheet section 8.7): byte page*128+x holds the
// eight pixels (x, page*8) to (x, page*8+7), least significant bit on top. The
// driver sends it as it is. Images are comparable with ==.
type Image struct {
	Pix [Width * Height / 8]byte
}

var _ image.Image = (*Image)(nil)

var palette = color.Palette{color.Gray{Y: 0}, color.Gray{Y: 255}}

// ColorModel implements image.Image.
func (m *Image) ColorModel() color.Model { return palette }

// Bounds implements image.Image.
func (m *Image) Bounds() image.Rectangle { return image.Rect(0, 0, Width, Height) }

// At implements image.Image; outside the screen it is dark.
func (m *Image) At(x, y int) color.Color {
	if m.Lit(x, y) {
		return palette[1]
	}
	return palette[0]
}

// Lit says whether a pixel is on. Outside the screen none is.
func (m *Image) Lit(x, y int) bool {
	if x < 0 || y < 0 || x >= Width || y >= Height {
		return false
	}
	return m.Pix[y/8*Width+x]>>(y%8)&1 == 1
}

// Set turns a pixel on or off. Outside the screen it does nothing.
func (m *Image) Set(x, y int, on bool) {
	if x < 0 || y < 0 || x >= Width || y >= Height {
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
	out := image.NewPaletted(image.Rect(0, 0, Width*scale, Height*scale), palette)
	for y := range Height * scale {
		for x := range Width * scale {
			if m.Lit(x/scale, y/scale) {
				out.Pix[y*out.Stride+x] = 1
			}
		}
	}
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	return enc.Encode(w, out)
}
