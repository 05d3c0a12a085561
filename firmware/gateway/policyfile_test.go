package gateway

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/netcontain"
	"sekisho/netcontain/plan"
)

var addrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestThePolicyFileSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	if p, _, err := loadPolicy(dir); err != nil || !p.IsZero() {
		t.Fatalf("a new appliance holds %v (%v)", p, err)
	}
	want := netcontain.Policy{
		Hosts: []netcontain.Host{{
			ID: "20261123-013005-5366", MACs: []netcontain.MAC{infected}, Level: netcontain.Isolate,
			Addrs: []netip.Addr{infectIP, netip.MustParseAddr("fe80::1")},
		}},
		Allow:    []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		Lockdown: true,
	}
	holding := Holding{
		Memory: plan.Memory{"20261123-013005-5366": {
			At:   map[netcontain.MAC][]string{netcontain.MAC(infected): {"lan2"}},
			With: map[string][]netcontain.MAC{"lan2": {{2, 0, 0, 0, 0, 9}}},
		}},
		Since: map[string]time.Time{"20261123-013005-5366": start},
	}
	for range 2 {
		if err := savePolicy(dir, want, holding); err != nil {
			t.Fatal(err)
		}
	}
	got, held, err := loadPolicy(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, addrs); d != "" {
		t.Errorf("the policy changed (-want +got):\n%s", d)
	}
	if d := cmp.Diff(holding, held); d != "" {
		t.Errorf("where the hosts are changed (-want +got):\n%s", d)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("temporary files are left: %v (%v)", left, err)
	}
}

func TestADamagedPolicyFileIsAnErrorNotAnEmptyPolicy(t *testing.T) {
	for _, text := range []string{
		"", "{", `{"hosts":[{"id":"x","macs":["zz"],"level":2}]}`, `{"hosts":[{"id":"x","macs":["02:00:00:00:00:01"],"level":34}]}`,
		`{"hosts":[{"id":"x","macs":["02:00:00:00:00:01"]},{"id":"x","macs":["02:00:00:00:00:02"]}]}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(policyPath(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, _, err := loadPolicy(dir); err == nil {
			t.Errorf("%q was read as %v", text, p)
		}
	}
}
