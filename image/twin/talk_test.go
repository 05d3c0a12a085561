package twin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// pair is a connection whose far end answers each line with what reply says,
// line by line; an empty line is none.
func pair(t *testing.T, greeting string, reply func(line string) []string) net.Conn {
	t.Helper()
	ours, file, err := socketPair("test")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		if greeting != "" {
			fmt.Fprintln(theirs, greeting)
		}
		read := newLineReader(theirs)
		for {
			line, err := read.next()
			if err != nil {
				return
			}
			for _, answer := range reply(string(line)) {
				fmt.Fprintln(theirs, answer)
			}
		}
	})
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
		done.Wait()
	})
	return ours
}

// fakeQMP answers a command with the text of answers; ID stands for its number.
func fakeQMP(t *testing.T, answers map[string]string) *qmp {
	t.Helper()
	return newQMP(pair(t, `{"QMP": {"version": {}}}`, func(line string) []string {
		var c struct {
			Execute string
			ID      uint64
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			return []string{`{"error": {"class": "GenericError", "desc": "JSON parse error"}}`}
		}
		text, ok := answers[c.Execute]
		if c.Execute == "qmp_capabilities" {
			text, ok = `{"return": {}, "id": ID}`, true
		}
		if !ok {
			text = `{"error": {"class": "CommandNotFound", "desc": "no such command"}, "id": ID}`
		}
		return strings.Split(strings.ReplaceAll(text, "ID", fmt.Sprint(c.ID)), "\n")
	}))
}

func TestQMPFindsItsAnswerAmongEvents(t *testing.T) {
	q := fakeQMP(t, map[string]string{
		"qom-list":              `{"event": "RTC_CHANGE"}` + "\n" + `{"return": [], "id": 999}` + "\n" + `{"return": [{"name": "device[7]", "type": "child<pl061>"}], "id": ID}`,
		"human-monitor-command": `{"return": "Error: no disk\r\n", "id": ID}`,
	})
	if path, err := q.find(t.Context(), "pl061"); err != nil || path != "/machine/unattached/device[7]" {
		t.Errorf("%q, %v", path, err)
	}
	if _, err := q.find(t.Context(), "pl062"); err == nil {
		t.Error("found a device that is not there")
	}
	if err := q.monitor(t.Context(), "savevm x"); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("what the monitor says is an error: %v", err)
	}
	if err := q.execute(t.Context(), "nonsense", nil, nil); err == nil || !strings.Contains(err.Error(), "CommandNotFound") {
		t.Errorf("%v", err)
	}
	if _, err := q.find(t.Context(), "pl061"); err != nil {
		t.Errorf("after an error that QEMU told of: %v", err)
	}
}

func TestQMPGivesUpForGoodWhenItLosesItsPlace(t *testing.T) {
	for name, answer := range map[string]string{"no JSON": "nonsense", "too long": strings.Repeat("x", longestLine+1)} {
		t.Run(name, func(t *testing.T) {
			q := fakeQMP(t, map[string]string{"stop": answer})
			first := q.execute(t.Context(), "stop", nil, nil)
			if again := q.execute(t.Context(), "qom-list", nil, nil); first == nil || again == nil {
				t.Errorf("%v, then %v", first, again)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q := newQMP(pair(t, "", func(string) []string { cancel(); return nil }))
		if err := q.execute(ctx, "stop", nil, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

func TestEdgesAndAnswersOfGPIOAreToldApart(t *testing.T) {
	g := newGPIO(pair(t, "IRQ raise 6\nIRQ raise 99\nIRQ sing 1\nIRQ", func(line string) []string {
		if strings.HasSuffix(line, " 5 1") {
			return []string{"IRQ lower 6", "OK"}
		}
		return []string{"FAIL Unknown IRQ"}
	}), "/gpio")
	if e := <-g.Edges(); e.Line != 6 || !e.High || e.At.IsZero() {
		t.Errorf("%+v", e)
	}
	at, err := g.Set(t.Context(), 5, true)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-g.Edges(); e.Line != 6 || e.High || e.At.Before(at) || g.High(6) {
		t.Errorf("%+v, high %t", e, g.High(6))
	}
	if _, err := g.Set(t.Context(), 5, false); err == nil || !strings.Contains(err.Error(), "FAIL") {
		t.Errorf("what QEMU refused: %v", err)
	}
	for _, line := range []int{-1, Lines} {
		if _, err := g.Set(t.Context(), line, true); err == nil {
			t.Errorf("line %d was set", line)
		}
	}
}

func TestEdgesThatNobodyReadsAreCounted(t *testing.T) {
	g := &GPIO{edges: make(chan Edge, 2)}
	for n := range 5 {
		g.note(Edge{Line: 1, High: n%2 == 0})
	}
	if g.Dropped() != 3 || !g.High(1) {
		t.Errorf("%d dropped, level %t", g.Dropped(), g.High(1))
	}
}

func TestGPIOEndsWithItsMachine(t *testing.T) {
	a, b := net.Pipe()
	g := newGPIO(a, "/gpio")
	go func() { _, _ = newLineReader(b).next(); b.Close() }()
	if _, err := g.Set(t.Context(), 1, true); err == nil {
		t.Error("a line of a machine that ended was set")
	}
}

func TestCallsFindTheirAnswersWhateverElseTheGuestSays(t *testing.T) {
	held := make(chan string, 1)
	k := newControl(pair(t, "noise", func(line string) []string {
		var r Request
		if json.Unmarshal([]byte(line), &r) != nil {
			return nil
		}
		answer := func(text string) string { return fmt.Sprintf(`{"id": %d, %s}`, r.ID, text) }
		switch r.Op {
		case "hold": // answered after the next one
			held <- answer(`"body": "first"`)
			return nil
		case "go":
			return []string{`{"id": 999, "body": 1}`, "{", strings.Repeat("y", longestLine+1), answer(`"body": "second"`), <-held}
		case "fail":
			return []string{answer(`"error": "broken"`)}
		}
		return nil
	}))
	var first, second string
	var calls sync.WaitGroup
	calls.Go(func() {
		if err := k.call(t.Context(), "hold", nil, &first); err != nil {
			t.Error(err)
		}
	})
	for len(held) == 0 {
		time.Sleep(time.Millisecond) // only polling shows it
	}
	if err := k.call(t.Context(), "go", nil, &second); err != nil {
		t.Error(err)
	}
	calls.Wait()
	if first != "first" || second != "second" {
		t.Errorf("%q, %q", first, second)
	}
	if err := k.call(t.Context(), "fail", nil, nil); err == nil || err.Error() != "broken" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.call(ctx, "never", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := k.call(t.Context(), "big", strings.Repeat("z", MaxMessage), nil); !errors.Is(err, errLong) {
		t.Errorf("a request without bounds: %v", err)
	}
	if len(k.waiting) != 0 {
		t.Errorf("%d calls still wait", len(k.waiting))
	}
}

func FuzzWhatOthersSayIsTakenWhole(f *testing.F) {
	f.Add("IRQ raise 6")
	f.Add(`{"id":1,"body":{}}`)
	f.Fuzz(func(t *testing.T, line string) {
		if e, ok := parseEdge(line); ok && (e.Line < 0 || e.Line >= Lines) {
			t.Errorf("%q is %+v", line, e)
		}
	})
}
