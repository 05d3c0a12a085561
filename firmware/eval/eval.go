// Package eval scores what the detectors make of captures whose truth is
// known: who did what, written down by hand against the packets. It is pure:
// the command firmware/cmd/eval and the gateway's corpus test read captures
// and hand over what a replay said; both judge by the same rules.
//
// It must never be kinder than the truth: a finding counts only when detector
// and device are both right.
package eval

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Capture is one row of a manifest.
type Capture struct {
	File   string
	Label  string
	Claim  string // who does what, in words
	ByHand bool   // the claim was compared with the packets
}

// Peaceful says that nothing in the capture is an attack.
func (c Capture) Peaceful() bool { return c.Label == "benign" || c.Label == "protocol-sample" }

// Malformed says that the capture is there to be survived.
func (c Capture) Malformed() bool { return c.Label == "malformed" }

// Attack says that there is something to find.
func (c Capture) Attack() bool { return !c.Peaceful() && !c.Malformed() }

// ReadManifest reads a table with tabs and a header line. A label that the
// truth table does not know is an error: it would never be missed.
func ReadManifest(r io.Reader) ([]Capture, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	column := map[string]int{}
	var out []Capture
	for n := 1; lines.Scan(); n++ {
		row := strings.Split(lines.Text(), "\t")
		if n == 1 {
			for i, name := range row {
				column[name] = i
			}
			for _, need := range []string{"file", "label", "expected_detections", "verified"} {
				if _, ok := column[need]; !ok {
					return nil, fmt.Errorf("manifest: no column %q", need)
				}
			}
			continue
		}
		if len(row) < len(column) {
			return nil, fmt.Errorf("manifest: line %d has %d of %d columns", n, len(row), len(column))
		}
		c := Capture{
			File: row[column["file"]], Label: row[column["label"]],
			Claim: row[column["expected_detections"]], ByHand: row[column["verified"]] == "hand",
		}
		if _, known := familyOf(c.Label); c.Attack() && !known {
			return nil, fmt.Errorf("manifest: line %d: no detector is named for label %q", n, c.Label)
		}
		out = append(out, c)
	}
	return out, lines.Err()
}
