package evidence

import (
	_ "embed"
	"html/template"
	"io"
	"time"
)

//go:embed report.html.tmpl
var reportPage string

type reportData struct {
	ID, Incident string
	Sealed       time.Time
	Drill        bool
	Facts        ReportFacts
	Completeness Completeness
}

// writeReport renders the page for people who are not specialists: both
// languages, no script, nothing loaded from anywhere, fit for printing.
// html/template escapes every value for the place where it stands.
func writeReport(w io.Writer, in BundleInput, sealed time.Time) error {
	page, err := template.New("report").Funcs(template.FuncMap{
		"utc": func(t time.Time) string {
			if t.IsZero() {
				return "–"
			}
			return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
		},
		"both": func(en, ja string) Text { return Text{EN: en, JA: ja} },
	}).Parse(reportPage)
	if err != nil {
		return err
	}
	return page.Execute(w, reportData{ID: in.ID, Incident: in.Incident, Drill: in.Drill, Sealed: sealed, Facts: in.Report, Completeness: in.Completeness})
}
