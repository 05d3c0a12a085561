package eval

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"sekisho/firmware/detect"
)

// Targets of the project. The README says where each comes from.
const (
	MinRecall   = 0.95
	MaxRadius   = 5
	MaxMemory   = 200 << 20 // bytes, for the whole malformed set
	MinSuricata = 5.0       // times the packets a core-second of Suricata
)

// Recall is found of all.
type Recall struct {
	Captures int `json:"captures"`
	Found    int `json:"found"`
	Strict   int `json:"strict"`
	// Sure were found with medium or high confidence: somebody is told.
	Sure int `json:"medium_or_high"`
	// Alone were isolated without a person.
	Alone int `json:"auto_isolated"`
}

func (r *Recall) add(s Score) {
	r.Captures++
	for _, c := range []struct {
		n  *int
		is bool
	}{{&r.Found, s.Found}, {&r.Strict, s.Strict}, {&r.Sure, rank(s.Surest) >= rank(detect.Medium)}, {&r.Alone, s.Acted}} {
		if c.is {
			*c.n++
		}
	}
}

// Rate is 1 where there is nothing to find.
func (r Recall) Rate() float64 {
	if r.Captures == 0 {
		return 1
	}
	return float64(r.Found) / float64(r.Captures)
}

// Report is everything that a run measured.
type Report struct {
	Labels  map[string]*LabelReport `json:"labels"`
	Hand    Recall                  `json:"recall_by_hand"`
	All     Recall                  `json:"recall_all"`
	Peace   Peace                   `json:"peace"`
	Cost    Cost                    `json:"cost"`
	Missed  []string                `json:"targets_missed"`
	Unknown []string                `json:"not_measured"`
	Scores  []Score                 `json:"captures"`
}

// LabelReport is about the captures of one label.
type LabelReport struct {
	Hand      Recall   `json:"by_hand"`
	All       Recall   `json:"all"`
	MaxRadius int      `json:"max_radius"` // -1: not measured
	Missed    []string `json:"missed"`
}

// Peace is what the captures without an attack led to.
type Peace struct {
	Captures   int `json:"captures"`
	Hours      int `json:"hours"`
	Low        int `json:"low"`
	Medium     int `json:"medium"`
	High       int `json:"high"`
	Isolated   int `json:"isolated"`
	OverBudget int `json:"captures_over_budget"`
}

// Cost is what it takes. Zero: not measured.
type Cost struct {
	MalformedPeak    int64   `json:"malformed_peak_rss_bytes"`
	PacketsPerCPU    float64 `json:"packets_per_cpu_second"`
	SuricataPerCPU   float64 `json:"suricata_packets_per_cpu_second"`
	TimesSuricata    float64 `json:"times_suricata"`
	MeasuredPackets  int     `json:"measured_packets"`
	SuricataVersion  string  `json:"suricata_version,omitempty"`
	MalformedCrashed bool    `json:"malformed_crashed"`
}

// Summarise adds the scores up, and says which targets are missed.
func Summarise(scores []Score, cost Cost, unknown []string) Report {
	r := Report{Labels: map[string]*LabelReport{}, Cost: cost, Unknown: unknown, Scores: scores}
	for _, s := range scores {
		c := Capture{Label: s.Label}
		switch {
		case c.Peaceful():
			r.Peace.add(s)
		case c.Attack():
			r.attack(s)
		}
	}
	r.judge()
	return r
}

func (r *Report) attack(s Score) {
	l := r.Labels[s.Label]
	if l == nil {
		l = &LabelReport{MaxRadius: -1, Missed: []string{}}
		r.Labels[s.Label] = l
	}
	for _, sum := range []*Recall{&l.All, &r.All} {
		sum.add(s)
	}
	if s.ByHand {
		l.Hand.add(s)
		r.Hand.add(s)
	}
	l.MaxRadius = max(l.MaxRadius, s.Radius)
	if !s.Found {
		l.Missed = append(l.Missed, s.File)
	}
}

func (p *Peace) add(s Score) {
	p.Captures++
	p.Hours += s.Hours
	p.Isolated += len(s.Isolated)
	if s.OverBudget() {
		p.OverBudget++
	}
	for _, c := range s.Findings {
		switch c.Confidence {
		case detect.Low:
			p.Low += c.N
		case detect.Medium:
			p.Medium += c.N
		case detect.High:
			p.High += c.N
		}
	}
}

func (r *Report) judge() {
	want := func(ok bool, format string, args ...any) {
		if !ok {
			r.Missed = append(r.Missed, fmt.Sprintf(format, args...))
		}
	}
	want(r.Hand.Rate() >= MinRecall, "recall of captures checked by hand is %.1f %%, wanted %.0f %%", 100*r.Hand.Rate(), 100*MinRecall)
	want(r.All.Rate() >= MinRecall, "recall of all labelled captures is %.1f %%, wanted %.0f %%", 100*r.All.Rate(), 100*MinRecall)
	for _, label := range r.labels() {
		l := r.Labels[label]
		want(l.Hand.Rate() >= MinRecall, "recall of %s by hand is %d of %d", label, l.Hand.Found, l.Hand.Captures)
	}
	want(r.Peace.Isolated == 0, "%d devices of peaceful captures would be isolated without a person, wanted none", r.Peace.Isolated)
	want(r.Peace.High == 0, "%d findings of peaceful captures are of high confidence, wanted none", r.Peace.High)
	want(r.Peace.OverBudget == 0, "%d peaceful captures have more than one finding of medium or high confidence an hour", r.Peace.OverBudget)
	problems := 0
	for _, s := range r.Scores {
		want(s.Radius <= MaxRadius, "%s: %d peers were contacted before the finding, wanted at most %d", s.File, s.Radius, MaxRadius)
		problems += len(s.Problems)
	}
	want(problems == 0, "%d captures crash, differ or are not explained", problems)
	want(!r.Cost.MalformedCrashed, "reading the malformed set crashed")
	want(r.Cost.MalformedPeak <= MaxMemory, "reading the malformed set took %d MB, wanted %d", r.Cost.MalformedPeak>>20, MaxMemory>>20)
	want(r.Cost.TimesSuricata == 0 || r.Cost.TimesSuricata >= MinSuricata, "%.1f times the packets of Suricata, wanted %.0f", r.Cost.TimesSuricata, MinSuricata)
}

func (r *Report) labels() []string {
	var out []string
	for _, f := range families { // in the order of the truth table
		if r.Labels[f.label] != nil {
			out = append(out, f.label)
		}
	}
	return out
}

// Write prints the tables; files adds a line for each capture.
func (r Report) Write(w io.Writer, files bool) error {
	b := &strings.Builder{}
	if files {
		r.writeFiles(b)
	}
	r.writeLabels(b)
	r.writeDetectors(b)
	r.writeProblems(b)
	r.writeCost(b)
	_, err := io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, rows func(row func(format string, args ...any))) {
	t := tabwriter.NewWriter(b, 0, 4, 2, ' ', 0)
	rows(func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) })
	t.Flush() //nolint:errcheck // into memory
	b.WriteByte('\n')
}

func (r Report) writeLabels(b *strings.Builder) {
	b.WriteString("label: found of captures by hand, of all; by the label's first detector; with medium or high; isolated alone; peers before the finding\n")
	table(b, func(row func(string, ...any)) {
		row("label\thand\tall\tstrict\tsure\talone\tpeers")
		line := func(name string, hand, all Recall, radius int) {
			peers := "-"
			if radius >= 0 {
				peers = fmt.Sprint(radius)
			}
			row("%s\t%d/%d\t%d/%d\t%d\t%d\t%d\t%s", name, hand.Found, hand.Captures, all.Found, all.Captures, all.Strict, all.Sure, all.Alone, peers)
		}
		for _, label := range r.labels() {
			l := r.Labels[label]
			line(label, l.Hand, l.All, l.MaxRadius)
		}
		line("all", r.Hand, r.All, -1)
	})
	for _, s := range r.Scores {
		if (Capture{Label: s.Label}).Attack() && !s.Found {
			fmt.Fprintf(b, "missed %s %s: %s\n", s.Label, s.File, s.Claim)
			for _, a := range s.Astray[:min(2, len(s.Astray))] {
				fmt.Fprintf(b, "    about another device: %s\n", a)
			}
		}
	}
	b.WriteByte('\n')
}

func (a Alarm) String() string {
	return fmt.Sprintf("t+%.1f %s %s %s: %s", a.After, a.Detector, a.Confidence, a.Host, a.Explain)
}

// writeDetectors says what each detector costs in peace.
func (r Report) writeDetectors(b *strings.Builder) {
	p := r.Peace
	fmt.Fprintf(b, "in peace: %d captures, %d hours; %d low, %d medium, %d high; %d over one an hour; %d isolated\n",
		p.Captures, p.Hours, p.Low, p.Medium, p.High, p.OverBudget, p.Isolated)
	type sum struct{ captures, low, medium, high int }
	sums := map[string]*sum{}
	for _, s := range r.Scores {
		if !(Capture{Label: s.Label}).Peaceful() {
			continue
		}
		last := ""
		for _, c := range slices.SortedFunc(slices.Values(s.Findings), func(x, y Count) int { return strings.Compare(x.Detector, y.Detector) }) {
			d := sums[c.Detector]
			if d == nil {
				d = &sum{}
				sums[c.Detector] = d
			}
			if c.Detector != last {
				d.captures++
			}
			last = c.Detector
			switch c.Confidence {
			case detect.Low:
				d.low += c.N
			case detect.Medium:
				d.medium += c.N
			case detect.High:
				d.high += c.N
			}
		}
	}
	table(b, func(row func(string, ...any)) {
		row("detector in peace\tcaptures\tlow\tmedium\thigh")
		for _, name := range slices.Sorted(maps.Keys(sums)) {
			d := sums[name]
			row("%s\t%d\t%d\t%d\t%d", name, d.captures, d.low, d.medium, d.high)
		}
	})
}

func (r Report) writeProblems(b *strings.Builder) {
	for _, s := range r.Scores {
		c := Capture{Label: s.Label}
		for _, i := range s.Isolated {
			fmt.Fprintf(b, "isolated wrongly: %s (%s): %s\n", s.File, s.Label, i)
		}
		for _, p := range s.Problems {
			fmt.Fprintf(b, "problem: %s: %s\n", s.File, p)
		}
		for _, a := range s.Alarms {
			if over := s.OverBudget(); over || a.Confidence == detect.High {
				fmt.Fprintf(b, "too much in peace: %s (%s): %s\n", s.File, s.Label, a)
			}
		}
		if c.Attack() && s.Radius > MaxRadius {
			fmt.Fprintf(b, "late: %s: %d peers before %s\n", s.File, s.Radius, s.By)
		}
	}
}

func (r Report) writeCost(b *strings.Builder) {
	b.WriteByte('\n')
	if c := r.Cost; c.PacketsPerCPU > 0 {
		fmt.Fprintf(b, "speed: %.0f packets a core-second on %d packets", c.PacketsPerCPU, c.MeasuredPackets)
		if c.SuricataPerCPU > 0 {
			fmt.Fprintf(b, "; %s on the same file: %.0f; ratio %.1f", c.SuricataVersion, c.SuricataPerCPU, c.TimesSuricata)
		}
		b.WriteByte('\n')
	}
	if r.Cost.MalformedPeak > 0 {
		fmt.Fprintf(b, "malformed set: %d MB at most\n", r.Cost.MalformedPeak>>20)
	}
	for _, u := range r.Unknown {
		fmt.Fprintf(b, "not measured: %s\n", u)
	}
	for _, m := range r.Missed {
		fmt.Fprintf(b, "TARGET MISSED: %s\n", m)
	}
	if len(r.Missed) == 0 {
		b.WriteString("every target that was measured is met\n")
	}
}

func (r Report) writeFiles(b *strings.Builder) {
	table(b, func(row func(string, ...any)) {
		row("file\tlabel\thand\tresult\tafter s\tpeers\tfindings")
		for _, s := range r.Scores {
			result, after, peers, hand := "-", "-", "-", ""
			if (Capture{Label: s.Label}).Attack() {
				result = "MISSED"
			}
			if s.By != nil {
				result, after = s.By.Detector+" "+string(s.Surest), fmt.Sprintf("%.1f", s.By.After)
			}
			if s.Radius >= 0 {
				peers = fmt.Sprint(s.Radius)
			}
			if s.ByHand {
				hand = "hand"
			}
			var counts []string
			for _, c := range s.Findings {
				counts = append(counts, fmt.Sprintf("%s/%s:%d", c.Detector, c.Confidence, c.N))
			}
			row("%s\t%s\t%s\t%s\t%s\t%s\t%s", s.File, s.Label, hand, result, after, peers, strings.Join(counts, " "))
		}
	})
}
