package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// drawQR draws text as a QR code, two modules a character cell. Telephones want
// dark on light with a rim of four modules, whatever colours the terminal has:
// they are set, except on Windows, whose older consoles print such sequences.
func drawQR(w io.Writer, text string) error {
	code, err := qr.Encode(text, qr.M, qr.Unicode)
	if err != nil {
		return fmt.Errorf("draw the QR code: %w", err)
	}
	size := code.Bounds().Dx()
	light := func(x, y int) bool {
		if x < 0 || y < 0 || x >= size || y >= size {
			return true
		}
		r, _, _, _ := code.At(x, y).RGBA()
		return r >= 0x8000
	}
	begin, end := "\x1b[38;5;231;48;5;16m", "\x1b[0m"
	if runtime.GOOS == "windows" {
		begin, end = "", ""
	}
	const rim = 4
	for y := -rim; y < size+rim; y += 2 {
		var row strings.Builder
		for x := -rim; x < size+rim; x++ {
			switch up, down := light(x, y), light(x, y+1); {
			case up && down:
				row.WriteRune('█')
			case up:
				row.WriteRune('▀')
			case down:
				row.WriteRune('▄')
			default:
				row.WriteByte(' ')
			}
		}
		fmt.Fprintln(w, begin+row.String()+end)
	}
	return nil
}
