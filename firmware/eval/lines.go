package eval

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
)

// ParseReplay reads what `sekisho replay --json` printed.
func ParseReplay(out []byte) (r Run, err error) {
	for line := range bytes.Lines(out) {
		var kind struct {
			Type    string
			Packets uint64
		}
		if err := json.Unmarshal(line, &kind); err != nil {
			return r, fmt.Errorf("read a replay: %w", err)
		}
		switch kind.Type {
		case "finding":
			var f detect.Finding
			if err := json.Unmarshal(line, &f); err != nil {
				return r, fmt.Errorf("read a replay: %w", err)
			}
			r.Findings = append(r.Findings, f)
		case "incident":
			var i incident.Line
			if err := json.Unmarshal(line, &i); err != nil {
				return r, fmt.Errorf("read a replay: %w", err)
			}
			r.Incidents = append(r.Incidents, i)
		case "summary":
			r.Packets = kind.Packets
		}
	}
	return r, nil
}

// Clock counts the hours in which packets came: an idle year between two
// captures that somebody joined is not a year of peace.
type Clock struct {
	first int64 // ns
	hours map[int64]bool
}

// Tick takes the time of a packet, in nanoseconds.
func (c *Clock) Tick(ns int64) {
	if c.hours == nil {
		c.first, c.hours = ns, map[int64]bool{}
	}
	c.hours[(ns-c.first)/3600e9] = true
}

// Hours is how many hours had packets.
func (c *Clock) Hours() int { return len(c.hours) }

// First is the time of the first packet, in nanoseconds.
func (c *Clock) First() int64 { return c.first }
