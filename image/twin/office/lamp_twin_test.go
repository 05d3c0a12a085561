//go:build twin

package office

import (
	"testing"
	"time"

	"sekisho/image/twin"
)

// The bench's figure for the lamp depends on this alone, and boots nothing.
func TestAmberIsNotTakenForRedAloneInTheTwin(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	edge := func(line int, high bool, ms int) twin.Edge { return twin.Edge{Line: line, High: high, At: at(ms)} }
	amber := []twin.Edge{edge(Red, true, 0), edge(Green, true, 1), edge(Red, false, 100), edge(Green, false, 101)}
	for name, c := range map[string]struct {
		then []twin.Edge
		want time.Time
	}{
		"amber and dark":                          {nil, time.Time{}},
		"red out of the dark":                     {[]twin.Edge{edge(Red, true, 150)}, at(150)},
		"amber once more, and its green goes out": {[]twin.Edge{edge(Red, true, 200), edge(Green, true, 201), edge(Green, false, 230)}, at(230)},
		"red blinks":                              {[]twin.Edge{edge(Red, true, 150), edge(Red, false, 320), edge(Red, true, 490)}, at(150)},
		"blue has no part in it":                  {[]twin.Edge{edge(Blue, true, 150)}, time.Time{}},
		"and amber after all that":                {[]twin.Edge{edge(Red, true, 150), edge(Green, true, 600)}, time.Time{}},
	} {
		var lamp redAlone
		for _, e := range append(amber, c.then...) {
			lamp.take(e)
		}
		if !lamp.since.Equal(c.want) {
			t.Errorf("%s: since %v, want %v", name, lamp.since, c.want)
		}
	}
}
