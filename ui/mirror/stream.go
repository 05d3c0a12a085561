package mirror

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"sekisho/hal"
)

const (
	answerWithin = 10 * time.Second
	// quiet is how long a stream may say nothing: the gateway's beat is 15 s.
	quiet = 40 * time.Second
)

// Refused is what the gateway answered instead.
type Refused struct {
	Status  int
	Message string // for people, in the language that was asked for; may be empty
}

func (r *Refused) Error() string {
	if r.Message != "" {
		return r.Message
	}
	return fmt.Sprintf("HTTP %d", r.Status)
}

// Fetch asks once what is shown. Its errors are a *Refused when something answers
// that does not let us see, and ErrNoPanel when that is no gateway.
func (m *Mirror) Fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resp, err := m.do(ctx, http.MethodGet, "api/panel", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return err
	}
	s, err := parse(data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoPanel, err)
	}
	m.show(s)
	return nil
}

// ErrNoPanel says that what answers shows no panel.
var ErrNoPanel = errors.New("what answers there is no gateway of this kind")

// send hands a press on, for what was shown when the finger came down.
func (m *Mirror) send(ctx context.Context, p hal.Press) error {
	body, err := json.Marshal(map[string]string{
		"gesture": map[hal.Gesture]string{hal.Short: "short", hal.Hold3: "hold3", hal.Hold8: "hold8"}[p.Gesture], "target": p.Target,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resp, err := m.do(ctx, http.MethodPost, "api/press", body)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// do asks, and turns every answer but a good one into a *Refused.
func (m *Mirror) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, m.cfg.Page.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Language", m.cfg.Lang)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := m.client.Do(req)
	if err != nil || resp.StatusCode/100 == 2 {
		return resp, err
	}
	defer resp.Body.Close()
	var answer struct{ Error struct{ Message string } }
	if data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10)); err == nil {
		json.Unmarshal(data, &answer) //nolint:errcheck // then there is no message
	}
	return nil, &Refused{resp.StatusCode, answer.Error.Message}
}

// follow reads the event stream until it ends (WHATWG HTML, 9.2.6), and says
// whether it has shown anything.
func (m *Mirror) follow(ctx context.Context) (seen bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(quiet, func() { cancel(errors.New("nothing was heard")) })
	defer watch.Stop()
	resp, err := m.do(ctx, http.MethodGet, "api/events", nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAnswer)
	event := ""
	for lines.Scan() {
		watch.Reset(quiet)
		line := lines.Bytes()
		if name, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			event = string(name)
		} else if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok && event == "panel" {
			s, err := parse(data)
			if err != nil {
				return seen, fmt.Errorf("%w: %w", ErrNoPanel, err)
			}
			m.show(s)
			seen = true
		} else if len(line) == 0 {
			event = ""
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return seen, cause
	}
	return seen, lines.Err()
}
