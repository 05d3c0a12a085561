package mirror

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"slices"
	"time"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// Bounds of what is believed. A panel has eight segments of lamp and five lines.
const (
	maxAnswer   = 256 << 10 // bytes of one panel, and of any other answer
	maxSegments = 64
	maxLines    = 16
	maxLine     = 4 << 10 // bytes
)

// shown is one panel of the gateway.
type shown struct {
	image     panel.Image
	rhythm    panel.Pattern
	lampWords string
	lines     []string
	status    hal.Status // as far as a press depends on it
}

// states are the names of the API.
var states = map[string]hal.State{
	"normal": hal.Normal, "learning": hal.Learning, "attention": hal.Attention, "isolating": hal.Isolating,
	"isolated": hal.Isolated, "not_isolated": hal.NotIsolated, "fault": hal.Fault, "vendor_connected": hal.VendorConnected,
}

// parse reads a Panel of the API (openapi.json). It is total: what it returns is
// bounded, whatever answers.
func parse(data []byte) (shown, error) {
	var in struct {
		State       string    `json:"state"`
		Target      *string   `json:"target"`
		Drill       bool      `json:"drill"`
		Lockdown    bool      `json:"lockdown"`
		Approval    string    `json:"approval"`
		ApprovalID  string    `json:"approval_id"`
		ApprovalFor string    `json:"approval_for"`
		AskedUntil  time.Time `json:"asked_until"`
		Lamp        []struct {
			Color string `json:"color"`
			Ms    int    `json:"ms"`
		} `json:"lamp"`
		LampWords string   `json:"lamp_words"`
		Lang      string   `json:"lang"`
		Lines     []string `json:"lines"`
		Image     string   `json:"image"`
	}
	if len(data) > maxAnswer {
		return shown{}, errors.New("too long")
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return shown{}, err
	}
	state, known := states[in.State]
	switch {
	case !known || in.Target == nil:
		return shown{}, errors.New("not a panel")
	case len(in.Lamp) > maxSegments || len(in.Lines) > maxLines || slices.ContainsFunc(in.Lines, func(l string) bool { return len(l) > maxLine }):
		return shown{}, errors.New("more than a panel shows")
	}
	out := shown{
		lampWords: in.LampWords, lines: in.Lines,
		status: hal.Status{
			State: state, Lang: in.Lang, Drill: in.Drill, Lockdown: in.Lockdown, Target: *in.Target,
			Approval: in.Approval, ApprovalID: in.ApprovalID, ApprovalFor: in.ApprovalFor, AskedUntil: in.AskedUntil,
		},
	}
	for _, seg := range in.Lamp {
		var c panel.Color
		if n, err := fmt.Sscanf(seg.Color, "#%02x%02x%02x", &c.R, &c.G, &c.B); err != nil || n != 3 || seg.Ms <= 0 || seg.Ms > int(time.Hour.Milliseconds()) {
			return shown{}, fmt.Errorf("a lamp of %q for %d ms", seg.Color, seg.Ms)
		}
		out.rhythm = append(out.rhythm, panel.Segment{Color: c, Ms: seg.Ms})
	}
	var err error
	if out.image, err = picture(in.Image); err != nil {
		return shown{}, fmt.Errorf("the picture: %w", err)
	}
	return out, nil
}

// picture reads a PNG in base64. Its size is looked at before it is unpacked.
func picture(text string) (panel.Image, error) {
	var out panel.Image
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return out, err
	}
	c, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return out, err
	}
	if c.Width > panel.Width || c.Height > panel.Height {
		return out, fmt.Errorf("it has %d by %d pixels", c.Width, c.Height)
	}
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return out, err
	}
	for y := range c.Height {
		for x := range c.Width {
			if color.GrayModel.Convert(m.At(x, y)).(color.Gray).Y >= 128 {
				out.Set(x, y, true)
			}
		}
	}
	return out, nil
}

func sameRhythm(a, b panel.Pattern) bool { return slices.Equal(a, b) }
