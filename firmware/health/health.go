// Package health turns named checks into a report in which a warning names its
// cause once: a check whose dependency failed is not run, and says so.
//
// The gateway runs it on a timer; the page shows the report, and the watchdog
// and the update confirmation ask Ready. It must never repair anything, and a
// check that hangs must never hang the report.
package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Text is one message in the two languages of the product.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja"`
}

// Problem is an error with words of its own for people. What a system says, it says
// in its own language, and to whoever mends it.
type Problem struct {
	Text Text
	Err  error // for whoever mends it; nil: Text says it all
}

// Error is the detail.
func (p *Problem) Error() string {
	if p.Err == nil {
		return p.Text.EN
	}
	return p.Err.Error()
}

// Unwrap returns the detail.
func (p *Problem) Unwrap() error { return p.Err }

// Check is one thing that has to hold. Needs names checks that come before.
type Check struct {
	Name  string
	Title Text // what it is, for the page
	Help  Text // what to do when it fails
	Needs []string
	Vital bool // Ready waits for it
	Probe func(ctx context.Context) error
}

// Status is the outcome of a check.
type Status string

// Outcomes.
const (
	OK      Status = "ok"
	Failed  Status = "failed"
	Blocked Status = "blocked" // a dependency failed; the check was not run
)

// Result is one line of a report.
type Result struct {
	Name    string        `json:"name"`
	Title   Text          `json:"title"`
	Status  Status        `json:"status"`
	Text    Text          `json:"text"`             // what is wrong, for people; empty when OK
	Detail  string        `json:"detail,omitempty"` // the same for whoever mends it, as the system says it
	Help    Text          `json:"help"`             // what to do; empty unless Failed
	Cause   string        `json:"cause,omitempty"`  // Blocked: the check at the root
	Vital   bool          `json:"vital"`
	Since   time.Time     `json:"since"` // of this status
	Elapsed time.Duration `json:"elapsed_ns"`
}

// Report is the outcome of all checks in order of dependency.
type Report struct {
	At      time.Time `json:"at"`
	Results []Result  `json:"results"`
}

// Ready says that every vital check holds. An empty report is not ready:
// nothing has been looked at yet.
func (r Report) Ready() bool {
	for _, res := range r.Results {
		if res.Vital && res.Status != OK {
			return false
		}
	}
	return len(r.Results) > 0
}

// Warnings returns the checks that failed themselves: the causes.
func (r Report) Warnings() []Result {
	var out []Result
	for _, res := range r.Results {
		if res.Status == Failed {
			out = append(out, res)
		}
	}
	return out
}

// Tree runs checks. It is not safe for concurrent use.
type Tree struct {
	checks []Check // dependencies first
	limit  time.Duration
	now    func() time.Time
	last   map[string]Result
	busy   map[string]chan error // probes that outlived their time
}

// New orders the checks. limit bounds each probe; zero means 5 seconds. A name
// given twice, an unknown dependency, a circle or a nil probe are errors.
func New(now func() time.Time, limit time.Duration, checks ...Check) (*Tree, error) {
	if now == nil {
		return nil, errors.New("health: no clock")
	}
	if limit <= 0 {
		limit = 5 * time.Second
	}
	t := &Tree{limit: limit, now: now, last: map[string]Result{}, busy: map[string]chan error{}}
	byName := map[string]Check{}
	for _, c := range checks {
		if _, twice := byName[c.Name]; twice || c.Name == "" || c.Probe == nil {
			return nil, fmt.Errorf("health: check %q: needs a name of its own and a probe", c.Name)
		}
		byName[c.Name] = c
	}
	const visiting, done = 1, 2
	mark := map[string]int{}
	var visit func(name, from string) error
	visit = func(name, from string) error {
		c, ok := byName[name]
		switch {
		case !ok:
			return fmt.Errorf("health: check %q needs %q, which does not exist", from, name)
		case mark[name] == visiting:
			return fmt.Errorf("health: check %q depends on itself", name)
		case mark[name] == done:
			return nil
		}
		mark[name] = visiting
		for _, need := range c.Needs {
			if err := visit(need, name); err != nil {
				return err
			}
		}
		mark[name] = done
		t.checks = append(t.checks, c)
		return nil
	}
	for _, c := range checks {
		if err := visit(c.Name, ""); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Run probes everything whose dependencies hold.
func (t *Tree) Run(ctx context.Context) Report {
	r := Report{At: t.now()}
	for _, c := range t.checks {
		res := t.result(ctx, c)
		res.Since = r.At
		if before, ok := t.last[c.Name]; ok && before.Status == res.Status {
			res.Since = before.Since
		}
		t.last[c.Name] = res
		r.Results = append(r.Results, res)
	}
	return r
}

func (t *Tree) result(ctx context.Context, c Check) Result {
	res := Result{Name: c.Name, Title: c.Title, Vital: c.Vital, Status: OK}
	for _, need := range c.Needs {
		dep := t.last[need] // of this run: dependencies come first
		if dep.Status == OK {
			continue
		}
		res.Status, res.Cause = Blocked, dep.Name
		if dep.Status == Blocked {
			res.Cause = dep.Cause
		}
		res.Text = Text{
			EN: fmt.Sprintf("dependency %s failed", need),
			JA: fmt.Sprintf("前提となる「%s」に問題があるため、確認できません。", need),
		}
		return res
	}
	start := t.now()
	err := t.probe(ctx, c)
	res.Elapsed = t.now().Sub(start)
	if err != nil {
		res.Status, res.Help = Failed, c.Help
		res.Text, res.Detail = words(err), err.Error()
		if res.Detail == res.Text.EN {
			res.Detail = ""
		}
	}
	return res
}

// words are those of the problems in err, or that something is wrong.
func words(err error) Text {
	var en, ja []string
	for _, p := range problems(err) {
		en, ja = append(en, p.Text.EN), append(ja, p.Text.JA)
	}
	if len(en) == 0 {
		return Text{EN: "It does not work at the moment.", JA: "いまは正常に働いていません。"}
	}
	return Text{EN: strings.Join(en, " "), JA: strings.Join(ja, "")}
}

// problems finds every Problem in a tree of errors.
func problems(err error) []*Problem {
	switch e := err.(type) {
	case *Problem:
		return []*Problem{e}
	case interface{ Unwrap() error }:
		return problems(e.Unwrap())
	case interface{ Unwrap() []error }:
		var out []*Problem
		for _, one := range e.Unwrap() {
			out = append(out, problems(one)...)
		}
		return out
	}
	return nil
}

// probe leaves a probe that ignores its context behind and does not start it
// again before it has returned: a stuck disk must not pile up goroutines.
func (t *Tree) probe(ctx context.Context, c Check) error {
	done := t.busy[c.Name]
	if done == nil {
		done = make(chan error, 1)
		ctx, cancel := context.WithTimeout(ctx, t.limit)
		go func() {
			defer cancel()
			defer func() {
				if p := recover(); p != nil {
					done <- fmt.Errorf("the check panicked: %v", p)
				}
			}()
			done <- c.Probe(ctx)
		}()
	}
	timer := time.NewTimer(t.limit)
	defer timer.Stop()
	select {
	case err := <-done:
		delete(t.busy, c.Name)
		return err
	case <-timer.C:
	case <-ctx.Done():
	}
	t.busy[c.Name] = done
	return &Problem{
		Text{EN: "The check took too long.", JA: "確認に時間がかかりすぎています。"},
		fmt.Errorf("no answer within %s", t.limit),
	}
}
