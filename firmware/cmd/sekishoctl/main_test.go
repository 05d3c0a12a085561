package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
)

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := seal(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { thaw(t, filepath.Join(dir, "bag")) })
	const escape = "\x1b"
	runCases(t, []commandCase{
		{"verify bag", 0, []string{"signer       sekisho-", "packets      1 (60 bytes)", "2026-04-01T09:00:00Z to 2026-04-01T09:00:00Z", "self-asserted"}, ""},
		{"verify --key pub bag", 0, []string{"OK  bag"}, "self-asserted"},
		{"verify --json --key pub bag", 0, []string{`"ok":true`, `"trusted":true`, `"packets":1`}, ""},
		{"verify --key 0000-1111 bag", 1, []string{"signature.note: signed by", "not the trusted key"}, "OK  "},
		{"verify bag nowhere", 1, []string{"OK  bag", "there is no nowhere"}, ""},
		{"show bag", 0, []string{"worm  T1210  high", "Spreads", "bundle.seal", "data/host.pcapng"}, escape},
		{"show bag", 0, []string{"  state        contained"}, "asked"},
		{"show bag", 0, nil, "lesson"},
		{"show --lang ja bag", 0, []string{"広がっています"}, "Spreads"},
		{"show bag.tar", 0, []string{"OK  bag.tar", "Spreads"}, escape},
		{"show bag.tar.age", 1, []string{"age identity is needed"}, "OK  "},
		{"show --identity identity bag.tar.age", 0, []string{"OK  bag.tar.age", "worm  T1210  high"}, escape},
		{"verify --identity identity --key pub bag.tar.age bag.tar", 0, []string{"OK  bag.tar.age", "OK  bag.tar"}, "self-asserted"},
		{"show --lang fr bag", 2, []string{"--lang"}, ""},
		{"verify", 2, []string{"bundle"}, ""},
		{"frobnicate", 2, []string{"frobnicate"}, ""},
		{"--help", 0, []string{"verify", "show", "In the usual order", "sekishoctl enroll INVITATION", "past any proxy"}, ""},
		{"verify --timestamp-ca pub bag", 2, []string{"no certificate in"}, ""},
		{"verify --identity pub bag", 2, []string{"read identity"}, ""},
		{"verify --key pub --profile x bag", 2, []string{"--key and --profile"}, ""},
		{"verify --home . --profile none bag", 2, []string{"no such profile", "Enrol first"}, ""},
		{"enroll", 2, []string{"invitation"}, ""},
		{"enroll sekisho:x --home home", 2, []string{"invitation: not sekisho:HOST:PORT:PIN:SECRET"}, "Enrolled"},
		{"enroll - --home home", 2, []string{"read the invitation"}, ""},
		{"incidents --home home", 2, []string{"no such profile", "Enrol first"}, ""},
		{"incidents --home home --profile ../x", 2, []string{"a profile's name is"}, ""},
		{"pull --home home", 2, []string{"incident"}, ""},
		{"pull INC-7 --home home", 2, []string{"Enrol first"}, ""},
		{"pull INC-7 --home home --hours 0", 2, []string{"--hours"}, ""},
		{"pull INC-7 --home home --dir nowhere", 2, []string{"nowhere"}, ""},
		{"pull INC-7 --home home --identity nowhere", 2, []string{"nowhere"}, ""},
		{"watch --home home --every 1s", 2, []string{"at least 10s"}, ""},
		{"watch --home home --once", 2, []string{"Enrol first"}, ""},
		{"end INC-7 --home home", 2, []string{"Enrol first"}, ""},
	})
	if _, err := os.Stat("home"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a profile was begun: %v", err)
	}
	thaw(t, "bag")
	if err := os.WriteFile("bag/data/flows.jsonl", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	runCases(t, []commandCase{
		{"verify bag", 1, []string{"data/flows.jsonl: it was changed"}, "OK  "},
		{"verify --json bag", 1, []string{`"ok":false`, `"file":"data/flows.jsonl"`}, ""},
		{"show bag", 1, []string{"data/flows.jsonl"}, "worm"},
	})
	if err := os.WriteFile("bag/data/"+escape+"[2J", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	runCases(t, []commandCase{{"verify bag", 1, []string{"does not belong to the bundle"}, escape}})
}

type commandCase struct {
	args string
	exit int
	says []string
	not  string // must not be printed
}

func runCases(t *testing.T, cases []commandCase) {
	t.Helper()
	for _, c := range cases {
		var out bytes.Buffer
		if exit := (program{t.Context(), strings.NewReader(""), &out, &out}).run(strings.Fields(c.args)); exit != c.exit {
			t.Errorf("%s: exit %d, want %d\n%s", c.args, exit, c.exit, out.String())
		}
		for _, want := range c.says {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", c.args, want, out.String())
			}
		}
		if c.not != "" && strings.Contains(out.String(), c.not) {
			t.Errorf("%s: %q in\n%s", c.args, c.not, out.String())
		}
	}
}

// thaw makes the bundle writable, also for the removal after the test.
func thaw(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	})
	if err != nil {
		t.Error(err)
	}
}

// seal puts a bundle "bag" and its public key "pub" into dir.
func seal(dir string) error {
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "device", "key"))
	if err != nil {
		return err
	}
	l, err := ledger.Open(filepath.Join(dir, "device", "ledger"), ledger.Config{Key: key})
	if err != nil {
		return err
	}
	defer l.Close()
	v, err := evidence.OpenVault(evidence.VaultConfig{Dir: dir, Ledger: l})
	if err != nil {
		return err
	}
	at := time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
	_, err = v.Seal(context.Background(), evidence.BundleInput{ID: "bag", Incident: "INC-7",
		Packets: func(_ context.Context, w io.Writer) (evidence.Extraction, error) {
			b := capture.AppendSHB(nil, capture.Section{})
			b = capture.AppendIDB(b, capture.Interface{Link: capture.LinkEthernet})
			b = capture.AppendEPB(b, &capture.Frame{Time: at.UnixNano(), Data: make([]byte, 60), OrigLen: 60}, 0)
			_, err := w.Write(b)
			return evidence.Extraction{Packets: 1}, err
		},
		Findings: func(w io.Writer) error {
			_, err := io.WriteString(w, `{"time":"2026-04-01T09:00:00Z","detector":"worm","technique":"T1210","confidence":"high","title":{"en":"Spreads","ja":"広がっています"},"explain":{"en":"12 hosts\u001b[2J","ja":"12台"}}`+"\n")
			return err
		},
		IncidentJSON: func(w io.Writer) error {
			_, err := io.WriteString(w, `{"state":"contained","asked":"0001-01-01T00:00:00Z","lesson":""}`+"\n")
			return err
		},
	})
	if err != nil {
		return err
	}
	if err := packages(evidence.VaultConfig{Dir: dir, Ledger: l}); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "pub"), []byte(key.Public()+"\n"), 0o644)
}

// packages puts bag.tar, bag.tar.age and the file "identity" beside the bag.
func packages(c evidence.VaultConfig) error {
	who, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "identity"), []byte(who.String()+"\n"), 0o600); err != nil {
		return err
	}
	for _, to := range [][]age.Recipient{nil, {who.Recipient()}} {
		c.Recipients = to
		v, err := evidence.OpenVault(c)
		if err != nil {
			return err
		}
		r, p, err := v.OpenPackage("bag")
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close(), os.WriteFile(filepath.Join(c.Dir, p.Name), data, 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// The vendor's machine is not ours: no cgo, three systems.
func TestItBuildsForTheVendorsSystems(t *testing.T) {
	for _, system := range []string{"windows", "darwin", "linux"} {
		cmd := exec.Command("go", "build", "-o", os.DevNull, ".")
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", system, err, out)
		}
	}
}
