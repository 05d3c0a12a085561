package gateway

import (
	"log/slog"
	"testing"

	"sekisho/firmware/config"
	"sekisho/firmware/health"
)

func TestACopyTargetThatCannotBeBuiltIsSeenBesideThoseThatWork(t *testing.T) {
	c := config.Default()
	c.Storage.State, c.Storage.Evidence, c.Copy.Medium = t.TempDir(), t.TempDir(), t.TempDir()
	c.Copy.S3.Endpoint, c.Copy.S3.Bucket, c.Copy.S3.Credentials = "https://s3.example", "b", "/nowhere"
	o := &opening{config: c, log: slog.New(slog.DiscardHandler)}
	p := Parts{Services: map[string]Service{}}
	if err := o.copies(&p); err != nil {
		t.Fatal(err)
	}
	g := &Gateway{parts: p, archive: &archive{}}
	all := g.services()
	if p.Copies == nil || all["copies"] != Service(p.Copies) {
		t.Error("the stick is not used")
	}
	if err := all["copy targets"].Run(t.Context()); err == nil {
		t.Error("nothing says that the bucket is not used")
	}
}

func TestTroubleWithCopiesIsNoMatterForTheLamp(t *testing.T) {
	failed := func(names ...string) (r health.Report) {
		for _, n := range names {
			r.Results = append(r.Results, health.Result{Name: n, Status: health.Failed})
		}
		return r
	}
	if w, bad := onPanel(failed("clock", "part:copies", "part:copy targets")); bad {
		t.Errorf("the lamp shows %s", w.Name)
	}
	if w, bad := onPanel(failed("part:copies", "evidence")); !bad || w.Name != "evidence" {
		t.Errorf("the lamp shows %q", w.Name)
	}
}
