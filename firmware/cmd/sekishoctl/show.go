package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"filippo.io/age"

	"sekisho/firmware/evidence"
	"sekisho/firmware/remote/client"
)

type showCmd struct {
	Bundle   string   `arg:"" help:"A bundle: its folder, its .tar, or its .tar.age."`
	Key      string   `help:"Trusted key, as in verify."`
	Identity []string `help:"File with the age identity that decrypts a .tar.age." type:"existingfile" sep:"none" placeholder:"KEYFILE"`
	Lang     string   `help:"Language of titles: en or ja." enum:"en,ja" default:"en"`
}

// run shows only what verifies: nothing in a broken bundle is worth reading.
func (s showCmd) run(p program) error {
	key, err := trusted(s.Key)
	if err != nil {
		return err
	}
	identities, err := readIdentities(s.Identity)
	if err != nil {
		return err
	}
	dir, remove, err := unpacked(s.Bundle, identities)
	defer remove()
	var r evidence.Report
	if err == nil {
		r, err = evidence.Verify(dir, evidence.VerifyOptions{Key: key})
	}
	if err != nil {
		p.broken(s.Bundle, err)
		return errTold
	}
	out := p.out
	r.Path = s.Bundle
	printReport(out, r)
	r.Path = dir
	for _, part := range []func(io.Writer, evidence.Report) error{s.incident, s.findings} {
		if err := part(out, r); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "\nledger")
	for i, e := range r.Entries {
		fmt.Fprintf(out, "  %d  %s  %s  %s  %s\n", r.Entry-int64(len(r.Entries)-1-i), stamp(e.Time), printable(e.Actor), printable(e.Action), printable(e.Subject))
	}
	fmt.Fprintln(out, "\nfiles")
	for _, f := range r.Files {
		fmt.Fprintf(out, "  %12d  %s\n", f.Size, f.Name)
	}
	return nil
}

// unpacked is the folder of a bundle; a package is unpacked until remove.
func unpacked(path string, identities []age.Identity) (dir string, remove func(), err error) {
	remove = func() {}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return path, remove, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", remove, err
	}
	defer f.Close()
	work, err := os.MkdirTemp("", "sekishoctl-")
	if err != nil {
		return "", remove, err
	}
	remove = func() { _ = os.RemoveAll(work) }
	dir, err = evidence.Unpack(context.Background(), f, work, evidence.UnpackOptions{Identities: identities})
	return dir, remove, err
}

// noTime is how JSON has a time.Time that was never set.
const noTime = "0001-01-01T00:00:00Z"

// incident prints the plain values at the top of incident.json.
func (s showCmd) incident(out io.Writer, r evidence.Report) error {
	data, err := os.ReadFile(filepath.Join(r.Path, "data", "incident.json"))
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return fmt.Errorf("data/incident.json: %w", err)
	}
	fmt.Fprintln(out, "\nincident")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch v := fields[name].(type) {
		case string:
			if v == "" || v == noTime {
				continue // has not happened
			}
			fmt.Fprintf(out, "  %-12s %s\n", printable(name), printable(v))
		case float64:
			fmt.Fprintf(out, "  %-12s %s\n", printable(name), strconv.FormatFloat(v, 'f', -1, 64))
		case bool:
			fmt.Fprintf(out, "  %-12s %v\n", printable(name), v)
		}
	}
	return nil
}

type finding struct {
	Time       time.Time       `json:"time"`
	Detector   string          `json:"detector"`
	Technique  string          `json:"technique"`
	Confidence string          `json:"confidence"`
	Title      json.RawMessage `json:"title"`
	Explain    json.RawMessage `json:"explain"`
}

func (s showCmd) findings(out io.Writer, r evidence.Report) error {
	f, err := os.Open(filepath.Join(r.Path, "data", "findings.jsonl"))
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintln(out, "\nfindings")
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var x finding
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			return fmt.Errorf("data/findings.jsonl: %w", err)
		}
		fmt.Fprintf(out, "  %s  %s  %s  %s\n    %s\n    %s\n", stamp(x.Time), printable(x.Detector), printable(x.Technique),
			printable(x.Confidence), s.text(x.Title), s.text(x.Explain))
	}
	return lines.Err()
}

// text takes a plain string or an object with "en" and "ja".
func (s showCmd) text(raw json.RawMessage) string {
	var t evidence.Text
	if json.Unmarshal(raw, &t) == nil {
		return printable(t.In(s.Lang))
	}
	var plain string
	_ = json.Unmarshal(raw, &plain)
	return printable(plain)
}

// printable keeps a name that a stranger chose from steering the terminal.
func printable(s string) string { return client.Printable(s, 4<<10) }
