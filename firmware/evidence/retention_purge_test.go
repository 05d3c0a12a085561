package evidence

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sekisho/firmware/ledger"
)

func subject(t testing.TB, names ...string) Subject {
	t.Helper()
	s, err := NewSubject(Match{MACs: [][6]byte{victim}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("fe80::1")}}, names)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestADeviceIsFoundAsAWordAndReplaced(t *testing.T) {
	s := subject(t, "PC-7", "経理PC", "R&D <1>")
	p := s.Pseudonym
	for text, want := range map[string]string{
		"":                                   "",
		"mac:02:00:00:00:00:07":              p,
		"02-00-00-00-00-07 asked":            p + " asked",
		"ip:192.0.2.7":                       p,
		"192.0.2.7:445 and [fe80::1]:80":     p + ":445 and [" + p + "]:80",
		"192.0.2.70 1192.0.2.7 192.0.2.8":    "192.0.2.70 1192.0.2.7 192.0.2.8",
		"fe80::1:2 fe80::12 fe80::1%eth0":    "fe80::1:2 fe80::12 " + p + "%eth0",
		"pc-7.local, PC-7!":                  p + ".local, " + p + "!",
		"PC-77 XPC-7 PC-7-old my-PC-7 PC-7_": "PC-77 XPC-7 PC-7-old my-PC-7 PC-7_",
		"経理pcのPC-7経理PC":                      p + "の" + p + p,
		"\xffPC-7\xff":                       "\xff" + p + "\xff",
		`{"name":"R\u0026D \u003c1\u003e"}`:  `{"name":"` + p + `"}`,
	} {
		if got := s.Replace(text); got != want || s.Matches(text) != (text != want) {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	for _, names := range [][]string{{"x"}, {" "}, {}} {
		if _, err := NewSubject(Match{MACs: [][6]byte{{}}}, names); err == nil {
			t.Errorf("names %q were taken", names)
		}
	}
	if again := subject(t, "PC-7"); again.Pseudonym == p {
		t.Error("the pseudonym follows from the device")
	}
}

func FuzzNothingThatNamesTheDeviceIsLeft(f *testing.F) {
	s := subject(f, "PC-7", "経理PC")
	f.Add("経理PCPC-7 192.0.2.7")
	f.Fuzz(func(t *testing.T, text string) {
		if out := s.Replace(text); s.Matches(out) || (out != text) != s.Matches(text) {
			t.Fatalf("%q became %q", text, out)
		}
	})
}

func TestTextsAreSearchedAcrossThePiecesInWhichTheyAreRead(t *testing.T) {
	s := subject(t)
	const mac = "02:00:00:00:00:07"
	for _, before := range []int{0, 256<<10 - 9, 256 << 10, 256<<10 + 60, 1 << 20} {
		found, err := textMentions(strings.NewReader(strings.Repeat(" ", before)+mac+strings.Repeat(" ", 100)), s)
		if err != nil || !found {
			t.Errorf("behind %d bytes: %v, %v", before, found, err)
		}
	}
	if found, err := textMentions(strings.NewReader(strings.Repeat("02:00:00:00:00:08 ", 50_000)), s); found || err != nil {
		t.Errorf("another device: %v, %v", found, err)
	}
}

func TestAPurgeFindsAndRemovesWhatHoldsDataOfADevice(t *testing.T) {
	v := testVault(t, t.TempDir())
	l := v.c.Ledger
	entries := []ledger.Entry{
		{Action: "device.change", Subject: "mac:02:00:00:00:00:07"},
		{Action: "device.change", Subject: "mac:02:00:00:00:00:08"},
		{Action: "incident.press", Subject: "INC-1", Detail: map[string]any{"note": "ask 経理PC", "list": []any{1, "x"}}},
		{Action: "start", Actor: "PC-7"},
	}
	for _, e := range entries {
		e.Time = base
		if _, err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	other := testInput("B-other")
	other.Packets, other.LedgerFrom = packetsOf(0), 99
	for _, in := range []BundleInput{testInput("B-free"), testInput("B-held"), other} {
		if _, err := v.Seal(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.SetHold("B-free", false, "web:owner", "handed over"); err != nil {
		t.Fatal(err)
	}
	s := subject(t, "PC-7", "経理PC")
	plan, err := v.PlanPurge(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(plan.Entries, []int64{0, 2, 3}) || len(plan.Rest) == 0 {
		t.Errorf("entries %v, rest %v", plan.Entries, plan.Rest)
	}
	files := []string{"data/host.pcapng", ledgerFile}
	for n, want := range []Mention{{"B-free", false, files}, {"B-held", true, files}} {
		if len(plan.Bundles) != 2 || plan.Bundles[n].ID != want.ID || plan.Bundles[n].Held != want.Held || !slices.Equal(plan.Bundles[n].Files, files) {
			t.Fatalf("bundles %+v", plan.Bundles)
		}
	}
	if err := v.Purge(s, plan, "web:owner", "PC-7 has left"); err == nil || l.Size() != 8 {
		t.Errorf("the reason names it: %v, %d entries", err, l.Size())
	}
	if err := v.Purge(s, plan, "web:owner", "asked for"); !errors.Is(err, ErrHeld) {
		t.Errorf("one is under hold: %v", err)
	}
	if _, err := Verify(filepath.Join(v.dir, "B-held"), VerifyOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(v.dir, "B-free")); err == nil {
		t.Error("the lifted one is there")
	}
	if err := v.SetHold("B-held", false, "web:owner", "now"); err != nil {
		t.Fatal(err)
	}
	if err := v.Purge(s, plan, "web:owner", "asked for"); err != nil {
		t.Errorf("repeated: %v", err)
	}
	left, err := v.PlanPurge(t.Context(), s)
	if err != nil || len(left.Bundles)+len(left.Entries) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
	if tombs, err := v.Tombstones(); err != nil || len(tombs) != 2 {
		t.Errorf("tombstones %v, %v", tombs, err)
	}
	es, err := l.Entries(0, 4)
	if err != nil || es[1].Subject != "mac:02:00:00:00:00:08" || es[0].Action != ledger.ActionRedacted {
		t.Errorf("entries %+v, %v", es, err)
	}
}

func TestABundleThatCannotBeReadIsSaidToHoldData(t *testing.T) {
	v, b := sealed(t)
	bagFiles(t, b.Path)
	if err := os.Truncate(filepath.Join(b.Path, "data", "host.pcapng"), 200); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.Path, "data", "assets.json")); err != nil {
		t.Fatal(err)
	}
	s, err := NewSubject(Match{}, []string{"nobody"})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := v.PlanPurge(t.Context(), s)
	if err != nil || len(plan.Bundles) != 1 || !slices.Equal(plan.Bundles[0].Files, []string{"data/assets.json", "data/host.pcapng"}) {
		t.Errorf("plan %+v, %v", plan, err)
	}
}
