package main

import (
	"strings"
	"testing"

	"sekisho/firmware/evidence"
)

func TestTheVendorSeesThatABundleIsOfADrill(t *testing.T) {
	for _, drill := range []bool{false, true} {
		var out strings.Builder
		printReport(&out, evidence.Report{ID: "B-1", Drill: drill})
		if strings.Contains(out.String(), "DRILL") != drill {
			t.Errorf("drill %v:\n%s", drill, out.String())
		}
	}
}
