package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"sekisho/firmware/config"
	"sekisho/firmware/drill"
)

// Exit codes of drill beside the common ones.
const (
	exitNotPassed = 4 // it ended, but not with a sealed bundle
	exitRefused   = 5 // it was not started
)

type drillCmd struct {
	Config string `type:"path" placeholder:"FILE" help:"Settings file of the running gateway; its web.listen says where the page is."`
	Page   string `placeholder:"URL" help:"Address of the gateway's page, as 'sekisho demo' prints it (default: as in the settings)."`
	By     string `placeholder:"NAME" help:"Your name, for the records (default: the name that you are logged in with)."`
	JSON   bool   `name:"json" help:"End with one JSON object; progress goes to stderr."`
	List   bool   `help:"List the drills of the past instead, newest first."`
}

// Help is what 'sekisho drill --help' adds.
func (drillCmd) Help() string {
	return `Starts an exercise on the running gateway: a device of the gateway's own behaves as if it were infected.
When the lamp turns amber, press the button on the box, as you would if it were real. No device of the office
is touched. Ctrl-C ends the drill and puts everything back.

Exit codes: 0 the device was isolated, proven, and its evidence sealed; 1 the gateway was not reached;
2 usage; 4 the drill ended otherwise (nobody pressed, stopped, or something real came up); 5 it was not started.`
}

// drillReport is what the gateway's API says of a drill.
type drillReport struct {
	drill.Drill
	Detection *float64 `json:"detection_seconds,omitempty"`
	Reaction  *float64 `json:"reaction_seconds,omitempty"`
	Isolation *float64 `json:"isolation_seconds,omitempty"`
	Said      string   `json:"remark"`
}

// Run follows one drill to its end.
func (c *drillCmd) Run(ctx context.Context, s streams) error {
	base, err := c.page()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	page := drillPage{base: base, client: &http.Client{Timeout: 15 * time.Second}, lang: language()}
	if c.List {
		return c.list(ctx, page, s.out)
	}
	by := cmp.Or(c.By, os.Getenv("SUDO_USER"), os.Getenv("USER"))
	if by == "" {
		return &exitError{exitUsage, errors.New("say who you are with --by NAME: the drill is on record")}
	}
	d, err := page.deed(ctx, "/api/drill", by)
	if err != nil {
		return err
	}
	progress := s.out
	if c.JSON {
		progress = s.err
	}
	if d, err = page.follow(ctx, d, progress, by); err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(s.out).Encode(d)
	} else {
		err = d.print(s.out, page.lang)
	}
	if err == nil && d.Outcome != drill.Passed {
		err = &exitError{code: exitNotPassed}
	}
	return err
}

// page is where the gateway's page is.
func (c *drillCmd) page() (string, error) {
	if c.Page != "" {
		u, err := url.Parse(c.Page)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", fmt.Errorf("--page: %q is not an address like http://127.0.0.1:8080/", c.Page)
		}
		return u.Scheme + "://" + u.Host, nil
	}
	settings := config.Default()
	if c.Config != "" {
		var err error
		if settings, err = config.Load(c.Config); err != nil {
			return "", err
		}
	}
	host, port, err := net.SplitHostPort(settings.Web.Listen)
	if err != nil {
		return "", fmt.Errorf("web.listen: %w", err)
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() { // everywhere: here too
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

func (c *drillCmd) list(ctx context.Context, page drillPage, out io.Writer) error {
	var all struct{ Drills []drillReport }
	if err := page.ask(ctx, http.MethodGet, "/api/drills", nil, &all); err != nil {
		return err
	}
	for _, d := range all.Drills {
		var err error
		if c.JSON {
			err = json.NewEncoder(out).Encode(d)
		} else {
			_, err = fmt.Fprintf(out, "%s  %s\n  %s\n", d.Started.Local().Format("2006-01-02 15:04"), strings.TrimPrefix(d.By, "web:"), d.Said)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// print tells the result.
func (d drillReport) print(out io.Writer, lang string) error {
	text := func(en, ja string) string { return drill.Text{EN: en, JA: ja}.In(lang) }
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", d.Said)
	for _, line := range []struct {
		name    string
		seconds *float64
	}{
		{text("until it was detected", "検知まで"), d.Detection},
		{text("from the lamp to the press", "ランプの点灯からボタンまで"), d.Reaction},
		{text("from the press to the proof", "ボタンから隔離の確認まで"), d.Isolation},
	} {
		if line.seconds != nil {
			fmt.Fprintf(&b, "  %6.1f s  %s\n", *line.seconds, line.name)
		}
	}
	if d.Bundle != "" {
		fmt.Fprintf(&b, "  %s %s\n", text("evidence, on the gateway:", "本装置にある証拠:"), d.Bundle)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// drillPage is the API of a running gateway.
type drillPage struct {
	base, lang string
	client     *http.Client
}

const (
	lookEvery = 250 * time.Millisecond
	// patience is for a gateway that is restarted in the middle.
	patience = 30 * time.Second
	// stopWithin is how long the end of a drill that was stopped is waited for.
	stopWithin = 10 * time.Second
)

// follow tells what happens until the drill has ended. When ctx ends, the drill is
// stopped first.
func (p drillPage) follow(ctx context.Context, d drillReport, out io.Writer, by string) (drillReport, error) {
	said, heard := "", time.Now()
	for {
		if d.Said != said && d.Running() {
			said = d.Said
			fmt.Fprintf(out, "%s  %s\n", time.Now().Format(time.TimeOnly), said) //nolint:errcheck // the drill goes on without a listener
		}
		if !d.Running() {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return p.stop(by)
		case <-time.After(lookEvery):
		}
		next := drillReport{}
		err := p.ask(ctx, http.MethodGet, "/api/drills/"+url.PathEscape(d.ID), nil, &next)
		switch {
		case err == nil:
			d, heard = next, time.Now()
		case ctx.Err() == nil && time.Since(heard) > patience:
			return d, err
		}
	}
}

// stop ends the drill of a person who does not want to wait.
func (p drillPage) stop(by string) (drillReport, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return p.deed(ctx, "/api/drill/stop", by)
}

func (p drillPage) deed(ctx context.Context, path, by string) (drillReport, error) {
	var d drillReport
	err := p.ask(ctx, http.MethodPost, path, map[string]string{"by": by}, &d)
	return d, err
}

// ask sends one request. A refusal is an *exitError with the gateway's own words.
func (p drillPage) ask(ctx context.Context, method, path string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, &text)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Language", p.lang)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("no gateway answers at %s; is it running, and is this the right page? %w", p.base, err)
	}
	defer resp.Body.Close()
	answer := io.LimitReader(resp.Body, 1<<20)
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(answer).Decode(into); err != nil {
			return fmt.Errorf("read the gateway's answer: %w", err)
		}
		return nil
	}
	var failure struct {
		Error struct{ Code, Message string }
	}
	if json.NewDecoder(answer).Decode(&failure) != nil || failure.Error.Message == "" {
		return fmt.Errorf("%s%s: %s", p.base, path, resp.Status)
	}
	code := 1
	if strings.HasPrefix(failure.Error.Code, "drill_") {
		code = exitRefused
	} else if resp.StatusCode == http.StatusUnprocessableEntity {
		code = exitUsage
	}
	return &exitError{code, errors.New(failure.Error.Message)}
}
