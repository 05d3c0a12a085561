package store

import (
	"path/filepath"
	"testing"

	"sekisho/firmware/incident"
)

// BenchmarkSaveIncident is what stands between a decision and its command: one
// synchronous transaction.
func BenchmarkSaveIncident(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "state.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	i := sample(1)
	for b.Loop() {
		i, _ = incident.Step(i, incident.Input{Kind: incident.InPress, At: noon})
		if err := s.SaveIncident(ctx, i); err != nil {
			b.Fatal(err)
		}
	}
}
