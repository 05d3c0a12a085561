package ssd1306

import "time"

// Orbit says where the picture stands at a moment, in pixels right and down of
// its place: on a ring around it, one step each period.
func Orbit(t time.Time, period time.Duration) (dx, dy int) {
	return 0, 0
}

// orbit returns pix where it stands at a moment.
func (d *Display) orbit(pix []byte, now time.Time) []byte {
	return pix
}
