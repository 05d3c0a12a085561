package gateway

import (
	"os"
	"path/filepath"
	"testing"

	"sekisho/firmware/asset"
)

func TestAPurgeLeavesTheFindingsOfOpenIncidents(t *testing.T) {
	who, err := subject(asset.Asset{Name: "pc-yamada"})
	if err != nil {
		t.Fatal(err)
	}
	const both, other = "{\"host\":\"pc-yamada\"}\n{\"host\":\"printer\"}\n", "{\"host\":\"printer\"}\n"
	dir := t.TempDir()
	var files []string
	for _, id := range []string{"over", "open"} {
		files = append(files, filepath.Join(dir, id+".jsonl"))
		if err := os.WriteFile(files[len(files)-1], []byte(both), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := scrubFindings(files, []string{"open"}, who); err != nil {
		t.Fatal(err)
	}
	for n, want := range []string{other, both} {
		if got, err := os.ReadFile(files[n]); string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", files[n], got, err, want)
		}
	}
}
