package panel

import (
	"testing"
)

func TestFontInk(t *testing.T) {
	for _, r := range "経理隔離電源切Ägjpqy|()[]_,;、。「」ー■!0123456789WM@がぱ龍鬱" {
		g := look(r)
		for y := range 16 {
			for x := range g.adv {
				if g.at(x, y) && (y < inkTop || y >= inkTop+lineH) {
					t.Fatalf("%c has ink in row %d, outside the line", r, y)
				}
			}
		}
	}
}
