// Command eval scores the detectors over captures whose truth is known:
// `make eval`. It replays each as `sekisho replay` does, twice, and says which
// targets of the project are missed.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sekisho/firmware/eval"
)

type options struct {
	corpus   string
	label    string
	match    string
	files    bool
	json     string
	workers  int
	noSpeed  bool
	suricata string
	packets  int
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns 0 when every target is met, 1 when one is missed, 2 for usage
// and what cannot be read.
func run(args []string, out, log io.Writer) int {
	if len(args) > 0 && args[0] == childMalformed {
		return readAll(args[1:])
	}
	if len(args) == 2 && args[0] == childSpeed {
		return readOne(args[1])
	}
	var o options
	f := flag.NewFlagSet("eval", flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&o.corpus, "corpus", "../shared/corpus", "`folder` with MANIFEST.tsv and the captures that it lists")
	f.StringVar(&o.label, "label", "", "only captures of these labels, with commas between")
	f.StringVar(&o.match, "match", "", "only captures whose name contains this")
	f.BoolVar(&o.files, "files", false, "a line for each capture")
	f.StringVar(&o.json, "json", "", "write everything to this `file`")
	f.IntVar(&o.workers, "workers", 2, "captures replayed at a time")
	f.BoolVar(&o.noSpeed, "no-speed", false, "do not measure speed (it takes a minute)")
	f.StringVar(&o.suricata, "suricata-root", "", "a Debian 13 tree with suricata in it (needs root); otherwise the one on PATH")
	f.IntVar(&o.packets, "packets", 1_000_000, "measure speed on at least so many packets")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	report, err := o.evaluate(log)
	if err == nil {
		err = report.Write(out, o.files)
	}
	if err == nil && o.json != "" {
		err = writeJSON(o.json, report)
	}
	switch {
	case err != nil:
		fmt.Fprintln(log, "eval:", err)
		return 2
	case len(report.Missed) > 0:
		return 1
	}
	return 0
}

func writeJSON(name string, r eval.Report) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

func (o options) evaluate(log io.Writer) (eval.Report, error) {
	all, err := o.captures()
	if err != nil {
		return eval.Report{}, err
	}
	var cost eval.Cost
	var unknown []string
	if !o.partial() {
		cost.MalformedPeak, cost.MalformedCrashed = o.malformed(all)
	}
	scores := make([]eval.Score, len(all))
	next := make(chan int)
	var workers sync.WaitGroup
	for range max(o.workers, 1) {
		workers.Go(func() {
			for i := range next {
				scores[i] = score(filepath.Join(o.corpus, all[i].File), all[i])
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	workers.Wait()
	switch {
	case o.partial():
		unknown = append(unknown, "speed and memory: only part of the captures was chosen")
	case o.noSpeed:
		unknown = append(unknown, "speed: --no-speed")
	default:
		fmt.Fprintln(log, "eval: measuring speed")
		if err := o.speed(all, &cost, &unknown); err != nil {
			return eval.Report{}, err
		}
	}
	return eval.Summarise(scores, cost, unknown), nil
}

// partial runs are for developing one detector.
func (o options) partial() bool { return o.label != "" || o.match != "" }

func (o options) captures() ([]eval.Capture, error) {
	list, err := os.Open(filepath.Join(o.corpus, "MANIFEST.tsv"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no corpus at %s: it is not part of this repository; name its folder with --corpus", o.corpus)
	}
	if err != nil {
		return nil, err
	}
	defer list.Close()
	all, err := eval.ReadManifest(list)
	if err != nil {
		return nil, err
	}
	labels := strings.Split(o.label, ",")
	all = slices.DeleteFunc(all, func(c eval.Capture) bool {
		return o.label != "" && !slices.Contains(labels, c.Label) || !strings.Contains(c.File, o.match)
	})
	if len(all) == 0 {
		return nil, errors.New("no capture is of that label and name")
	}
	return all, nil
}
