package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/detect"
	"sekisho/firmware/incident"
)

// ReplayConfig says how a capture is read.
type ReplayConfig struct {
	LAN    []netip.Prefix  // the office's networks; nil: private ranges
	Policy incident.Policy // what the gateway would have been allowed to do
	// Indicators are the lists in force; nil: none.
	Indicators func() detect.Indicators
}

// Summary is the last line of a replay. Seconds is packet time, so that two
// replays give the same bytes.
type Summary struct {
	Type      string  `json:"type"` // "summary"
	Packets   uint64  `json:"packets"`
	Bytes     uint64  `json:"bytes"`
	Drops     uint64  `json:"drops"`
	Malformed uint64  `json:"malformed"`
	Hosts     int     `json:"hosts"`
	Findings  int     `json:"findings"`
	Incidents int     `json:"incidents"`
	Seconds   float64 `json:"seconds"`
	// Undecoded counts frames by link types that are read but not understood;
	// absent when there were none. Silence about them would look like peace.
	Undecoded map[string]uint64 `json:"undecoded,omitempty"`
}

// Replay reads src to its end as if it had been live, calls found, which may
// be nil, for every finding in order, and returns the incidents that would have been opened and
// the summary. A *capture.DamageError comes with everything readable done.
func Replay(src capture.Source, c ReplayConfig, found func(detect.Finding) error) ([]incident.Incident, Summary, error) {
	r := replay{
		pipeline: NewPipeline(PipelineConfig{LAN: c.LAN, Indicators: c.Indicators}),
		desk:     incident.NewDesk(c.Policy),
		found:    found, undecoded: map[string]uint64{},
	}
	damage, err := r.read(src)
	if err != nil {
		return nil, Summary{}, err
	}
	incidents := r.desk.Incidents()
	stats := r.pipeline.Flows()
	s := Summary{
		Type: "summary", Packets: stats.Packets, Bytes: stats.Bytes, Drops: src.Stats().Drops,
		Malformed: stats.Malformed, Hosts: r.pipeline.inventory.Stats().Assets, Findings: r.findings, Incidents: len(incidents),
	}
	s.Undecoded = r.undecoded
	if r.last > r.first {
		s.Seconds = time.Duration(r.last - r.first).Seconds()
	}
	return incidents, s, damage
}

type replay struct {
	pipeline    *Pipeline
	desk        *incident.Desk
	found       func(detect.Finding) error
	findings    int
	first, last int64 // packet time, ns
	undecoded   map[string]uint64
}

// read returns the damage that ended the capture apart from errors of its own.
func (r *replay) read(src capture.Source) (damage, err error) {
	var f capture.Frame
	for {
		err := src.Next(&f)
		var damaged *capture.DamageError
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.As(err, &damaged):
			if damaged != nil {
				damage = err // of several files, all that are damaged
			}
			return damage, r.report(r.pipeline.Flush())
		default:
			return nil, err
		}
		if r.first == 0 {
			r.first = f.Time
		}
		r.last = max(r.last, f.Time)
		before := r.pipeline.tracker.UnsupportedLink()
		if err := r.report(r.pipeline.Frame(&f)); err != nil {
			return nil, err
		}
		if r.pipeline.tracker.UnsupportedLink() != before {
			r.undecoded[f.Link.String()]++
		}
	}
}

func (r *replay) report(found []detect.Finding) error {
	for _, f := range found {
		r.findings++
		r.desk.Observe(f.Time, f, r.pipeline.Host(f), r.pipeline.active(f.Time))
		if r.found == nil {
			continue
		}
		if err := r.found(f); err != nil {
			return err
		}
	}
	return nil
}

// WriteReplay is Replay as JSON lines (DESIGN section 7).
func WriteReplay(w io.Writer, src capture.Source, c ReplayConfig) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	incidents, summary, err := Replay(src, c, func(f detect.Finding) error { return enc.Encode(f) })
	var damaged *capture.DamageError
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	for _, inc := range incidents {
		if err := enc.Encode(inc.Line()); err != nil {
			return fmt.Errorf("write incident: %w", err)
		}
	}
	if err := enc.Encode(summary); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return err
}
