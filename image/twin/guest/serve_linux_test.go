package guest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"sekisho/image/twin"
)

// port gives what was asked, and keeps what was answered.
type port struct {
	in  *strings.Reader
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *port) Read(b []byte) (int, error) { return p.in.Read(b) }
func (p *port) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// answers runs the requests, and returns the answers by number.
func answers(t *testing.T, requests string, ops map[string]Op) map[uint64]twin.Answer {
	t.Helper()
	p := &port{in: strings.NewReader(requests)}
	if err := serve(p, ops); err == nil {
		t.Error("the port's end was no error")
	}
	got := map[uint64]twin.Answer{}
	for lines := bufio.NewScanner(&p.out); lines.Scan(); {
		var a twin.Answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		got[a.ID] = a
	}
	return got
}

func TestRequestsAreAnsweredByNumber(t *testing.T) {
	got := answers(t, `half a li`+"\n\n"+`{"id":1,"op":"echo","body":"x"}`+"\n"+`{"id":2,"op":"fail"}`+"\n"+`{"id":3,"op":"none"}`+"\n"+
		`{"id":4,"op":"odd"}`+"\n"+`{"id":5,"op":"huge"}`+"\n"+`{"id":6,"op":"clock","body":"no time"}`+"\n", map[string]Op{
		"echo": func(b json.RawMessage) (any, error) { return b, nil },
		"fail": func(json.RawMessage) (any, error) { return 1, errors.New("as asked") },
		"odd":  func(json.RawMessage) (any, error) { return make(chan int), nil },
		"huge": func(json.RawMessage) (any, error) { return strings.Repeat("x", twin.MaxMessage), nil },
	})
	if len(got) != 6 || string(got[1].Body) != `"x"` || got[1].Error != "" {
		t.Errorf("%+v", got)
	}
	for id, word := range map[uint64]string{2: "as asked", 3: "no operation", 4: "unsupported", 5: "bytes", 6: "parsing time"} {
		if !strings.Contains(got[id].Error, word) || got[id].Body != nil {
			t.Errorf("answer %d: %+v", id, got[id])
		}
	}
}

func FuzzAnyRequestLeavesThePortUsable(f *testing.F) {
	f.Add(`{"id":1,"op":"echo","body":{}}`)
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, line string) {
		line = strings.ReplaceAll(line, "\n", "")
		got := answers(t, line+"\n"+`{"id":77,"op":"echo","body":7}`+"\n", map[string]Op{"echo": func(b json.RawMessage) (any, error) { return b, nil }})
		if string(got[77].Body) != "7" {
			t.Errorf("after %q: %+v", line, got[77])
		}
	})
}
