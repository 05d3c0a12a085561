package twintest

import (
	"strings"
	"testing"
)

// result is one test of the guest.
type result struct {
	name    string // "TestA/sub"
	verdict string // "PASS", "FAIL", "SKIP"; empty: it never ended
	said    []string
}

// mark begins a line of the testing package itself, with -test.v=test2json:
// what a test prints cannot pass for it (see cmd/internal/test2json).
const mark = "\x16"

// read finds the results in what the console said between the lines TESTS
// BEGIN and TESTS END, and how the test binary ended.
func read(console []string) (results []*result, end string) {
	byName := map[string]*result{}
	var now *result
	begun := false
	for _, line := range console {
		if rest, ok := strings.CutPrefix(line, "TESTS END "); ok && begun {
			return results, rest
		}
		begun = begun || line == "TESTS BEGIN"
		before, said, marked := strings.Cut(line, mark)
		if !begun || !marked {
			if begun && now != nil {
				now.said = append(now.said, line)
			}
			continue
		}
		if before != "" && now != nil {
			now.said = append(now.said, before)
		}
		verb, name, verdict := parse(said)
		if name == "" {
			continue
		}
		if byName[name] == nil {
			byName[name] = &result{name: name}
			results = append(results, byName[name])
		}
		now = byName[name]
		if verb == "---" {
			now.verdict = verdict
		}
	}
	return results, ""
}

// parse takes "=== RUN   TestA" and "    --- PASS: TestA/sub (0.01s)" apart.
func parse(line string) (verb, name, verdict string) {
	f := strings.Fields(line)
	switch {
	case len(f) >= 3 && f[0] == "===":
		return f[0], f[2], ""
	case len(f) >= 3 && f[0] == "---":
		return f[0], f[2], strings.TrimSuffix(f[1], ":")
	}
	return "", "", ""
}

// report makes a subtest of each result whose parent is the named one; the
// empty name is the parent of all that have none.
func report(t *testing.T, parent string, results []*result) {
	for _, r := range results {
		rest, ok := r.name, true
		if parent != "" {
			rest, ok = strings.CutPrefix(r.name, parent+"/")
		}
		if !ok || strings.Contains(rest, "/") {
			continue
		}
		t.Run(rest, func(t *testing.T) {
			if said := strings.TrimSpace(strings.Join(r.said, "\n")); said != "" {
				t.Log("\n" + said)
			}
			switch r.verdict {
			case "PASS":
			case "SKIP":
				t.Error("skipped in the twin")
			case "":
				t.Error("did not end")
			default:
				t.Error("failed in the twin")
			}
			report(t, r.name, results)
		})
	}
}

// tail is the end of the console that a person wants to see.
func tail(console []string) string {
	const enough = 60
	return strings.Join(console[max(0, len(console)-enough):], "\n")
}
