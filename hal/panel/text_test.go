package panel

import "testing"

func TestFontInk(t *testing.T) {
	for _, r := range "経理隔離電源切Ägjpqy|()[]_,;、。「」ー■!0123456789WM@がぱ龍鬱" {
		for y, row := range glyphOf(r).rows {
			if row != 0 && (y < inkTop || y >= inkTop+lineH) {
				t.Fatalf("%c has ink in row %d, outside the line", r, y)
			}
		}
	}
}
