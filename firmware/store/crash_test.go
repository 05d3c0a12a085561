package store

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/incident"
)

const childEnv = "SEKISHO_STORE_CHILD"

// TestMain lets the test binary play the process that is killed.
func TestMain(m *testing.M) {
	switch job, path, _ := strings.Cut(os.Getenv(childEnv), ":"); job {
	case "write":
		writeForever(path)
	case "migrate1", "migrate2", "migrate3", "migrate4":
		if _, err := open(path, noon, func(version int) {
			if job == fmt.Sprint("migrate", version) {
				fmt.Println("inside")
				select {} // until killed, the transaction open
			}
		}); err != nil {
			fmt.Println("error", err)
		}
	case "":
		os.Exit(m.Run())
	}
	os.Exit(3)
}

// writeForever acknowledges each incident and line on standard output after
// the store has.
func writeForever(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for n := 0; ; n++ {
		i := sample(n)
		for line := range 5 {
			i, _ = incident.Step(i, incident.Input{Kind: incident.InPress, At: noon, By: fmt.Sprint(line)})
			if err := s.SaveIncident(ctx, i); err != nil {
				fmt.Println("error", err)
				return
			}
			fmt.Println(n, line)
		}
	}
}

// kill runs a child until it has said lines lines, lets it go on for a moment,
// and kills it. It returns everything that it said.
func kill(t *testing.T, job, path string, lines int, moment time.Duration) []string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+job+":"+path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var said []string
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if said = append(said, scan.Text()); len(said) == lines {
			// Not a synchronisation: it only varies where the kill falls.
			time.AfterFunc(moment, func() { cmd.Process.Kill() })
		}
	}
	cmd.Wait()
	if len(said) < lines || strings.HasPrefix(said[len(said)-1], "error") {
		t.Fatalf("the child ended early: %q", said)
	}
	return said
}

func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 12 {
		path := filepath.Join(t.TempDir(), "state.db")
		said := kill(t, "write", path, 1+random.IntN(60), time.Duration(random.IntN(3000))*time.Microsecond)
		s := mustOpen(t, path)
		if s.Damaged() != "" {
			t.Fatal("a kill damaged the database")
		}
		for _, word := range said {
			var n, line int
			if _, err := fmt.Sscan(word, &n, &line); err != nil {
				continue // cut off by the kill, so not acknowledged
			}
			journal, err := s.Journal(ctx, sample(n).ID)
			must(t, err)
			if len(journal) <= line {
				t.Fatalf("incident %d: line %d was acknowledged, %d are there", n, line, len(journal))
			}
		}
		// Snapshot and journal were written together or not at all.
		all, err := s.Incidents(ctx)
		must(t, err)
		for _, i := range all {
			if journal, err := s.Journal(ctx, i.ID); err != nil || len(journal) != len(i.History) {
				t.Fatalf("%s: %d lines in the journal, %d in the snapshot, %v", i.ID, len(journal), len(i.History), err)
			}
		}
		must(t, s.Close())
	}
}

func TestAMigrationKilledInTheMiddleIsRunAgain(t *testing.T) {
	for n, job := range []string{"migrate1", "migrate2", "migrate3", "migrate4"} {
		path := filepath.Join(t.TempDir(), "state.db")
		kill(t, job, path, 1, 0)
		s, version := mustOpen(t, path), 0
		must(t, s.db.QueryRow("PRAGMA user_version").Scan(&version))
		if version != 4 || s.Damaged() != "" {
			t.Errorf("killed in migration %d: version %d, damaged %q", n+1, version, s.Damaged())
		}
		must(t, s.SaveIncident(ctx, sample(1)))
		must(t, s.Close())
	}
}
