package evidence

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"sekisho/firmware/ledger"
)

const (
	killDir = "SEKISHO_TEST_KILL_DIR"
	nobody  = "age1jn8440uvs744akjnxaz3tw30m5d8t96djq0tf7tvhrws2rcmuevsguvgjl" // nobody has its identity
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		workUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// workUntilKilled appends, pins and seals, and says what was acknowledged.
func workUntilKilled(dir string) {
	must := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
	must(err)
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: key})
	must(err)
	to, err := age.ParseX25519Recipient(nobody)
	must(err)
	v, err := OpenVault(VaultConfig{Dir: filepath.Join(dir, "bundles"), Ledger: l, Recipients: []age.Recipient{to}})
	must(err)
	s, err := OpenSpool(filepath.Join(dir, "spool"), smallSpool())
	must(err)
	for round := l.Size(); ; round++ {
		s.Write(frameAt(0, ipFrame(victim, other, "192.0.2.7", "192.0.2.9", 100)))
		must(s.Flush())
		id := fmt.Sprint("P", round)
		must(s.Pin(id, base.Add(-time.Hour)))
		fmt.Println("pin", id)
		at, err := l.Append(ledger.Entry{Time: base, Action: "test", Subject: id})
		must(err)
		fmt.Println("entry", at)
		_, err = v.Seal(context.Background(), testInput(fmt.Sprint("B", round)))
		must(err)
		fmt.Println("bundle", fmt.Sprint("B", round))
		p, err := v.Package(fmt.Sprint("B", round))
		must(err)
		fmt.Println("package", p.ID, p.SHA256)
	}
}

func TestWhatWasAcknowledgedSurvivesKillsAtRandomPoints(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { _ = removeSealed(filepath.Join(dir, "bundles")) })
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	acked := map[string]bool{}
	for range 8 {
		runAndKill(t, dir, r.IntN(12), time.Duration(r.IntN(4000))*time.Microsecond, acked)
		checkAcked(t, dir, acked)
	}
	if len(acked) < 10 {
		t.Errorf("only %d acknowledgements: the child did not work", len(acked))
	}
}

// runAndKill kills the child a moment after its n-th acknowledgement.
func runAndKill(t *testing.T, dir string, n int, moment time.Duration, acked map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		if strings.HasPrefix(lines.Text(), "error") {
			t.Error(lines.Text())
		}
		acked[lines.Text()] = true
		if i == n {
			time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait()
}

func checkAcked(t *testing.T, dir string, acked map[string]bool) {
	t.Helper()
	v := testVault(t, dir) // reopens key, ledger and vault: none may be refused
	s, err := OpenSpool(filepath.Join(dir, "spool"), smallSpool())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	to, err := age.ParseX25519Recipient(nobody)
	if err != nil {
		t.Fatal(err)
	}
	v.c.Recipients = []age.Recipient{to}
	for line := range acked {
		kind, id, _ := strings.Cut(line, " ")
		switch kind {
		case "bundle":
			if _, err := Verify(filepath.Join(v.dir, id), VerifyOptions{Key: v.c.Ledger.Key().Public()}); err != nil {
				t.Error(err)
			}
		case "package":
			id, sum, _ := strings.Cut(id, " ")
			if p, err := v.Package(id); err != nil || p.SHA256 != sum {
				t.Errorf("package %s was %s, is %+v, %v", id, sum, p, err)
			}
		case "entry":
			var at int64
			_, _ = fmt.Sscan(id, &at)
			if at >= v.c.Ledger.Size() {
				t.Errorf("entry %d was acknowledged, %d are there", at, v.c.Ledger.Size())
			}
		case "pin":
			if s.store.pins[id] == nil || len(s.store.pins[id].segments) == 0 {
				t.Errorf("pin %s is gone", id)
			}
		}
	}
	bundles, err := os.ReadDir(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bundles { // also unacknowledged ones must be whole
		if b.Name() == packageFolder {
			continue
		}
		if _, err := Verify(filepath.Join(v.dir, b.Name()), VerifyOptions{}); err != nil {
			t.Errorf("offered, but: %v", err)
		}
	}
	if err := v.c.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
}
