package rpi

import "time"

// Night is a part of every day, from and to counted from midnight of local time.
// It may cross midnight; the zero Night never is.
type Night struct{ From, To time.Duration }

// Has says whether t falls into the night.
func (n Night) Has(t time.Time) bool {
	h, m, s := t.Clock()
	at := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
	if n.From <= n.To {
		return n.From <= at && at < n.To
	}
	return at >= n.From || at < n.To
}
