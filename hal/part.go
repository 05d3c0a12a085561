package hal

// Part is one thing of a front panel that can break by itself. A panel of
// hardware tells of its parts, so that somebody is told which wire to look at.
type Part struct {
	Name string // "button", "red", "green", "blue", "buzzer" or "screen"
	Err  error  // nil: it works, as far as it can tell
}
