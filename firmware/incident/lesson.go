package incident

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// LessonKind is what a person's word about an incident means for the next one.
type LessonKind string

// Kinds of lessons.
const (
	Harmless  LessonKind = "harmless"  // dismissed: the same on this device stays quiet
	Confirmed LessonKind = "confirmed" // held, and released by a person when it was clean again
)

// Lesson is what an incident taught, until somebody takes it back or
// Policy.Remember is over. The zero Lesson is none.
type Lesson struct {
	Kind     LessonKind `json:"kind"`
	At       time.Time  `json:"at"`
	By       string     `json:"by"`
	UndoneAt time.Time  `json:"undone_at,omitzero"`
	UndoneBy string     `json:"undone_by,omitempty"`

	// What it is about: who had spoken when the person did, and how sure the gateway
	// was. A device that is watched goes on being spoken of. Empty in records of
	// former versions: all that the incident has.
	Detectors []string          `json:"detectors,omitempty"` // never written to again
	Band      detect.Confidence `json:"band,omitempty"`
}

// Holds says that there is a lesson that nobody took back.
func (l Lesson) Holds() bool { return l.Kind != "" && l.UndoneAt.IsZero() }

// About says that the lesson is about what a detector said.
func (l Lesson) About(detector string) bool {
	return l.Band == "" || slices.Contains(l.Detectors, detector)
}

// confirmedOdds is what a confirmed incident of the same device and detector
// adds: as much as one more low detector that agrees. It tips nothing over by
// itself (see the evidence model in score.go).
const confirmedOdds = 0.7

// maxLessons bounds what the desk keeps in mind; the oldest go first.
const maxLessons = 512

// lesson is a Lesson with the pattern that it is about.
type lesson struct {
	Lesson
	incident  string
	asset     asset.ID
	band      detect.Confidence
	detectors []string
}

// learn takes up what an incident teaches, or forgets what was taken back.
func (d *Desk) learn(i Incident) {
	if !i.Lesson.Holds() {
		delete(d.lessons, i.ID)
		return
	}
	l := lesson{Lesson: i.Lesson, incident: i.ID, asset: i.Asset.ID, band: cmp.Or(i.Lesson.Band, i.Confidence)}
	for _, o := range i.Findings {
		if i.Lesson.About(o.Detector) {
			l.detectors = append(l.detectors, o.Detector)
		}
	}
	d.lessons[i.ID] = l
	if len(d.lessons) > maxLessons {
		oldest := l
		for _, c := range d.lessons {
			if cmp.Or(c.At.Compare(oldest.At), strings.Compare(c.incident, oldest.incident)) < 0 {
				oldest = c
			}
		}
		delete(d.lessons, oldest.incident)
	}
}

// latest returns the newest lesson that is.
func (d *Desk) latest(is func(lesson) bool) (found lesson, ok bool) {
	for _, l := range d.lessons {
		if is(l) && (!ok || cmp.Or(l.At.Compare(found.At), strings.Compare(l.incident, found.incident)) > 0) {
			found, ok = l, true
		}
	}
	return found, ok
}

// harmless says that a person dismissed what this detector says of the device,
// at this band or above.
func (d *Desk) harmless(id asset.ID, detector string, band detect.Confidence) (lesson, bool) {
	return d.latest(func(l lesson) bool {
		return l.Kind == Harmless && l.asset == id && slices.Contains(l.detectors, detector) && rank(band) <= rank(l.band)
	})
}

// confirmed says that what speaks against the device now was the truth before.
func (d *Desk) confirmed(i Incident) (lesson, bool) {
	return d.latest(func(l lesson) bool {
		return l.Kind == Confirmed && l.asset == i.Asset.ID && l.incident != i.ID &&
			slices.ContainsFunc(i.Findings, func(o Observation) bool { return slices.Contains(l.detectors, o.Detector) })
	})
}

// who is a person's name as they gave it.
func who(by string) string { return strings.TrimPrefix(by, "web:") }

// teach notes what the person's deed means. Nobody learns from a drill.
func (m *move) teach(k LessonKind) {
	if m.i.Drill {
		return
	}
	m.i.Lesson = Lesson{Kind: k, At: m.in.At, By: bounded(m.in.By), Band: m.i.Confidence}
	for _, o := range m.i.Findings {
		m.i.Lesson.Detectors = append(m.i.Lesson.Detectors, o.Detector)
	}
}

// unteach takes the lesson back. The incident itself stays as it ended.
func (m *move) unteach() {
	switch {
	case !person(m.in.By):
		m.refuse("only a person on the web page takes a lesson back")
	case !m.i.Lesson.Holds():
		m.refuse("there is nothing to take back")
	default:
		m.i.Lesson.UndoneAt, m.i.Lesson.UndoneBy = m.in.At, bounded(m.in.By)
	}
}
