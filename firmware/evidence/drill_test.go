package evidence

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestABundleOfADrillSaysSoWhereverSomebodyLooks(t *testing.T) {
	for _, drill := range []bool{false, true} {
		v, in := testVault(t, t.TempDir()), testInput("B-1")
		in.Drill = drill
		in.Incident = "INC-1\nSekisho-Drill: yes" // a name cannot make a drill of it
		b, err := v.Seal(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(b.Path, VerifyOptions{})
		if err != nil || r.Drill != drill {
			t.Errorf("drill %v: verify says %v, %v", drill, r.Drill, err)
		}
		last := r.Entries[len(r.Entries)-1]
		if last.Detail["drill"] == true != drill {
			t.Errorf("drill %v: the ledger says %v", drill, last.Detail)
		}
		page, err := os.ReadFile(filepath.Join(b.Path, "data", "report.html"))
		if err != nil || strings.Contains(string(page), "DRILL.") != drill || strings.Contains(string(page), "訓練の記録です") != drill {
			t.Errorf("drill %v: the report is silent, or says it of a real one; %v", drill, err)
		}
	}
}

func TestNobodyMakesADrillOfARealBundleAfterwards(t *testing.T) {
	_, b := sealed(t)
	path := filepath.Join(b.Path, "bag-info.txt")
	info, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{b.Path, path} {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, append(bytes.Clone(info), drillInfo...), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(b.Path, VerifyOptions{}); err == nil {
		t.Errorf("verified, drill %v", r.Drill)
	}
}
