package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/hal/cmd/halsmoke/traffic"
	"sekisho/hal/panel"
	"sekisho/hal/rpi"
	"sekisho/hal/rpi/rpitest"
	"sekisho/hal/ssd1306"
	"sekisho/hal/ssd1306/ssd1306test"
)

var update = flag.Bool("update", false, "record testdata/model.jsonl anew")

// bench is a board on a table, and the person before it.
type bench struct {
	rpi.Board
	chips error
}

func (b bench) Chips() ([]string, error) { return []string{"gpiochip0 (fake, 54 lines)"}, b.chips }

const allYes = "y\ny\ny\ny\ny\ny\ny\ny\ny\ny\n"

// smokes runs the program in a synctest bubble. It returns the results, the exit code
// and what was to be read.
func smokes(t *testing.T, b chipsBoard, answers string, args ...string) ([]result, int, string) {
	t.Helper()
	var out, read bytes.Buffer
	code := run(append([]string{"--json"}, args...), surroundings{strings.NewReader(answers), &out, &read, "C", func(string) chipsBoard { return b }})
	var results []result
	for d := json.NewDecoder(&out); d.More(); {
		var r result
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%v in %s", err, out.String())
		}
		results = append(results, r)
	}
	return results, code, read.String()
}

// finger pushes the button five times, with contacts that bounce for so long.
func finger(b *rpitest.Board, bounce time.Duration) {
	for range pushes {
		for _, down := range []bool{true, false} {
			time.Sleep(150 * time.Millisecond)
			b.Push(down)
			if bounce > 0 {
				time.Sleep(bounce / 2)
				b.Push(!down)
				time.Sleep(bounce - bounce/2)
				b.Push(down)
			}
		}
	}
}

func verdicts(results []result) map[string]string {
	v := map[string]string{}
	for _, r := range results {
		v[r.Step] = r.Verdict
	}
	return v
}

func TestABoardThatWorksIsFine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &rpitest.Board{}
		b.Attach(ssd1306test.New(ssd1306.Config{}))
		go finger(b, time.Millisecond)
		results, code, read := smokes(t, bench{Board: b}, allYes, "--buzzer", "GPIO27")
		if code != exitFine || len(results) != len(steps()) {
			t.Errorf("exit %d, %d results\n%s", code, len(results), read)
		}
		for _, r := range results {
			if r.Verdict != fine {
				t.Errorf("%+v", r)
			}
		}
		if n := b.Open(); n != 0 {
			t.Errorf("%d parts left open", n)
		}
		if b.Lit("GPIO23") || b.Lit("GPIO24") || b.Lit("GPIO25") || b.Lit("GPIO27") {
			t.Error("left lit, or beeping")
		}
	})
}

// Whatever breaks, the other steps go on, and what to do is said.
func TestAFaultIsNamedWithWhatToDo(t *testing.T) {
	gone := func(line, why string) func(*rpitest.Board) {
		return func(b *rpitest.Board) { b.Lose(line, errors.New(why)) }
	}
	for name, c := range map[string]struct {
		change  func(*rpitest.Board)
		chips   error
		answers string
		failed  []string
		advice  string // a key of text.mend
	}{
		"line is busy":        {change: gone("GPIO23", "device or resource busy"), failed: []string{"red", "amber"}, advice: "busy"},
		"may not":             {change: gone("GPIO23", "permission denied"), failed: []string{"red", "amber"}, advice: "permission"},
		"no such line":        {change: gone("GPIO17", "there is no line \"GPIO17\""), failed: []string{"button"}, advice: "line"},
		"no chip":             {chips: errors.New("this machine has no GPIO chip"), failed: []string{"kernel"}, advice: "chip"},
		"light is not seen":   {answers: "n\n" + allYes, failed: []string{"red"}, advice: "light"},
		"amber looks green":   {answers: "y\ny\ny\nn\n" + allYes, failed: []string{"amber"}, advice: "amber"},
		"buzzer is silent":    {answers: "y\ny\ny\ny\nn\n" + allYes, failed: []string{"buzzer"}, advice: "buzzer"},
		"frame is shifted":    {answers: "y\ny\ny\ny\ny\nn\n" + allYes, failed: []string{"screen-corners"}, advice: "picture"},
		"button is held":      {change: func(b *rpitest.Board) { b.Push(true) }, failed: []string{"button"}, advice: "held"},
		"I2C is off":          {change: func(b *rpitest.Board) { b.Attach(nil) }, failed: []string{"kernel", "screen-corners", "screen-all-on", "screen-grey", "screen-text", "screen-contrast"}, advice: "bus"},
		"screen is unwired":   {change: func(b *rpitest.Board) { m := ssd1306test.New(ssd1306.Config{}); m.Unplug(); b.Attach(m) }, failed: []string{"screen-corners", "screen-all-on", "screen-grey", "screen-text", "screen-contrast"}, advice: "screen"},
		"screen is at 0x3D":   {change: func(b *rpitest.Board) { b.Attach(ssd1306test.New(ssd1306.Config{Addr: 0x3D})) }, failed: []string{"screen-corners", "screen-all-on", "screen-grey", "screen-text", "screen-contrast"}, advice: "elsewhere"},
		"no press is seen":    {failed: []string{"button"}, advice: "press"},
		"button bounces long": {failed: []string{"button"}, advice: "bounce"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &rpitest.Board{}
				b.Attach(ssd1306test.New(ssd1306.Config{}))
				if c.change != nil {
					c.change(b)
				}
				switch name {
				case "no press is seen", "button is held":
				case "button bounces long":
					go finger(b, 2*panel.Debounce)
				default:
					go finger(b, 0)
				}
				answers := c.answers
				if answers == "" {
					answers = allYes
				}
				results, code, read := smokes(t, bench{b, c.chips}, answers, "--buzzer", "GPIO27")
				if code != exitFaulty || len(results) != len(steps()) {
					t.Errorf("exit %d, %d results", code, len(results))
				}
				var failed []string
				for _, r := range results {
					if r.Verdict == bad {
						failed = append(failed, r.Step)
						if want := words["en"].mend[c.advice]; r.Advice != want {
							t.Errorf("%s: the advice is %q, want %q", r.Step, r.Advice, want)
						}
					}
				}
				if !slices.Equal(failed, c.failed) {
					t.Errorf("failed: %v, want %v\n%s", failed, c.failed, read)
				}
				if !strings.Contains(read, words["en"].mend[c.advice]) {
					t.Errorf("what to do is not to be read:\n%s", read)
				}
				time.Sleep(2 * pushWithin) // the finger's
			})
		})
	}
}

func TestWithoutQuestionsOnlyAnswersCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &rpitest.Board{}
		b.Attach(ssd1306test.New(ssd1306.Config{}))
		results, code, _ := smokes(t, bench{Board: b}, "", "--yes", "--screen", "none")
		want := map[string]string{"kernel": fine, "button": unseen, "red": unseen, "green": unseen, "blue": unseen, "amber": unseen, "buzzer": absent}
		got := verdicts(results)
		for step, v := range want {
			if got[step] != v {
				t.Errorf("%s: %s, want %s", step, got[step], v)
			}
		}
		if code != exitFine || got["screen-text"] != absent {
			t.Errorf("exit %d, screen %s", code, got["screen-text"])
		}
	})
}

func TestAPersonMayStop(t *testing.T) {
	for name, answers := range map[string]string{"by word": "y\nq\n", "by leaving": "y\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &rpitest.Board{}
				results, code, _ := smokes(t, bench{Board: b}, answers, "--only", "red", "--only", "green", "--only", "blue")
				if code != exitStopped || len(results) != 1 || results[0].Verdict != fine {
					t.Errorf("exit %d, %+v", code, results)
				}
				if b.Lit("GPIO24") || b.Open() != 0 {
					t.Error("the light stays on")
				}
			})
		})
	}
}

func TestUsage(t *testing.T) {
	for want, args := range map[int][][]string{
		exitUsage: {{"--only", "smell"}, {"--screen", "lcd"}, {"--screen-height", "48"}, {"--screen-address", "0x78"}, {"--record", "/nowhere/at/all"}, {"more"}},
		exitFine:  {{"--help"}, {"--only", "screen", "--yes", "--screen", "none"}},
	} {
		for _, args := range args {
			if _, code, _ := smokesNoJSON(t, args...); code != want {
				t.Errorf("%v: exit %d, want %d", args, code, want)
			}
		}
	}
}

func smokesNoJSON(t *testing.T, args ...string) (string, int, string) {
	t.Helper()
	var out, read bytes.Buffer
	code := run(args, surroundings{strings.NewReader(""), &out, &read, "ja_JP.UTF-8", func(string) chipsBoard { return bench{Board: &rpitest.Board{}} }})
	return out.String(), code, read.String()
}

func TestBothLanguagesSayEverything(t *testing.T) {
	en, ja := words["en"], words["ja"]
	for what, maps := range map[string][2]map[string]string{"verdict": {en.verdict, ja.verdict}, "lit": {en.lit, ja.lit}, "drawn": {en.drawn, ja.drawn}, "mend": {en.mend, ja.mend}} {
		for key := range maps[0] {
			if maps[0][key] == "" || maps[1][key] == "" {
				t.Errorf("%s %q is not said in both", what, key)
			}
		}
		if len(maps[0]) != len(maps[1]) {
			t.Errorf("%s: %d in English, %d in Japanese", what, len(maps[0]), len(maps[1]))
		}
	}
	for _, p := range patterns() {
		if en.drawn[p.name] == "" {
			t.Errorf("pattern %q is not asked about", p.name)
		}
	}
	if out, _, _ := smokesNoJSON(t, "--yes", "--only", "red"); !strings.Contains(out, ja.verdict[unseen]) {
		t.Errorf("LANG is Japanese, and it says %q", out)
	}
}

const recording = "testdata/model.jsonl"

// record makes the recording of a whole run on the model: nobody has recorded one on
// a board yet.
func record(t *testing.T) []result {
	var results []result
	synctest.Test(t, func(t *testing.T) {
		b := &rpitest.Board{}
		m := ssd1306test.New(ssd1306.Config{})
		b.Attach(m)
		go finger(b, time.Millisecond)
		var code int
		if results, code, _ = smokes(t, bench{Board: b}, allYes, "--buzzer", "GPIO27", "--record", recording); code != exitFine {
			t.Fatalf("exit %d", code)
		}
		m.Check(t)
	})
	return results
}

func recorded(t *testing.T) []traffic.Event {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(recording), 0o755); err != nil {
			t.Fatal(err)
		}
		record(t)
	}
	f, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, err := traffic.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestTheDriversSendWhatWasRecorded(t *testing.T) {
	events := recorded(t)
	synctest.Test(t, func(t *testing.T) {
		p := traffic.Play(events)
		results, code, read := smokes(t, bench{Board: p}, allYes, "--buzzer", "GPIO27")
		if err := p.Err(); err != nil || code != exitFine {
			t.Errorf("exit %d: %v\n%s", code, err, read)
		}
		button := results[slices.IndexFunc(results, func(r result) bool { return r.Step == "button" })]
		if want := "5 presses, 20 bounces, the longest 1ms"; button.Detail != want {
			t.Errorf("the button: %q, want %q", button.Detail, want)
		}
	})
}

func TestOtherTrafficThanRecordedIsNoticed(t *testing.T) {
	events := recorded(t)
	for name, args := range map[string][]string{"another screen": {"--screen", "sh1106"}, "another address": {"--screen-address", "61"}, "no buzzer": {"--buzzer", ""}} {
		synctest.Test(t, func(t *testing.T) {
			p := traffic.Play(events)
			smokes(t, bench{Board: p}, allYes, append([]string{"--buzzer", "GPIO27"}, args...)...)
			if p.Err() == nil {
				t.Errorf("%s: not noticed", name)
			}
		})
	}
}

// The recorded bytes, given to the model, are the pictures that were asked about.
func TestTheRecordedBytesAreThePictures(t *testing.T) {
	m := ssd1306test.New(ssd1306.Config{})
	seen := map[string]bool{}
	var asked *pattern
	for _, e := range recorded(t) {
		if e.Part == "step" {
			asked = nil
			for _, p := range patterns() {
				if e.Op == "screen-"+p.name {
					asked = &p
				}
			}
		}
		if e.Op != "tx" {
			continue
		}
		if ack := m.Transaction(e.Addr, e.W); ack != (e.Err == "") {
			t.Errorf("at %v: acknowledged %v, recorded %q", e.At, ack, e.Err)
		}
		if asked != nil && bytes.Equal(m.Picture(), asked.draw(64, "en")) {
			seen[asked.name] = true
		}
	}
	m.Check(t)
	for _, p := range patterns() {
		if !seen[p.name] {
			t.Errorf("the picture %q was never on the screen", p.name)
		}
	}
}
