package ioc

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Why a value is refused.
var (
	errEmpty  = errors.New("empty")
	errLong   = errors.New("too long")
	errKind   = errors.New("no indicator that is known")
	errOffice = errors.New("a private or reserved address")
	errWide   = errors.New("would match too much")
)

// Format is how a list is written.
type Format string

// Formats. Auto finds out.
const (
	Auto  Format = "auto"
	Plain Format = "plain" // one indicator a line, # or ; or // begins a comment
	Hosts Format = "hosts" // hosts(5): address, then names
	CSV   Format = "csv"
	STIX  Format = "stix" // STIX 2.1 bundle
	MISP  Format = "misp" // MISP event or feed in JSON
)

// Formats lists all, for settings.
func Formats() []Format { return []Format{Auto, Plain, Hosts, CSV, STIX, MISP} }

// Report says what became of a list's lines.
type Report struct {
	Format   Format
	Lines    int // that hold anything
	Accepted int
	Refused  int
	Why      map[string]int // reason -> count of Refused
	Example  string         // the first refused line, shortened
}

func (r *Report) refuse(line string, err error) {
	r.Refused++
	if r.Why == nil {
		r.Why = map[string]int{}
	}
	r.Why[err.Error()]++
	if r.Example == "" {
		r.Example = fmt.Sprintf("%.80q", line)
	}
}

// MaxBytes bounds a list: URLhaus, the largest of the well-known, has about 10 MB.
const MaxBytes = 64 << 20

// Parse reads a list. The error says that the whole of it cannot be used: not
// readable, empty, or mostly refused, as an error page in a list's place is.
func Parse(r io.Reader, f Format) ([]Entry, Report, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, Report{}, err
	}
	if len(data) > MaxBytes {
		return nil, Report{}, fmt.Errorf("larger than %d MB", MaxBytes>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if f == Auto || f == "" {
		f = guess(data)
	}
	rep := Report{Format: f}
	var entries []Entry
	switch f {
	case Plain:
		entries = parseLines(data, &rep, plainLine)
	case Hosts:
		entries = parseLines(data, &rep, hostsLine)
	case CSV:
		entries, err = parseCSV(data, &rep)
	case STIX:
		entries, err = parseSTIX(data, &rep)
	case MISP:
		entries, err = parseMISP(data, &rep)
	default:
		err = fmt.Errorf("format %q is not known", f)
	}
	if err != nil {
		return nil, rep, err
	}
	entries = distinct(entries)
	rep.Accepted = len(entries)
	switch {
	case len(entries) == 0:
		return nil, rep, fmt.Errorf("no indicator in %d lines", rep.Lines)
	case rep.Refused > len(entries): // an honest list has some odd lines
		return nil, rep, fmt.Errorf("%d of %d lines are refused, the first is %s", rep.Refused, rep.Lines, rep.Example)
	}
	return entries, rep, nil
}

// distinct drops repetitions; the one that lasts longest stays.
func distinct(list []Entry) []Entry {
	slices.SortStableFunc(list, func(a, b Entry) int {
		if c := strings.Compare(a.Value, b.Value); c != 0 {
			return c
		}
		if a.Kind != b.Kind {
			return int(a.Kind) - int(b.Kind)
		}
		switch {
		case a.Expires.IsZero() && b.Expires.IsZero():
			return 0
		case a.Expires.IsZero():
			return -1
		case b.Expires.IsZero():
			return 1
		}
		return b.Expires.Compare(a.Expires)
	})
	return slices.CompactFunc(list, func(a, b Entry) bool { return a.Kind == b.Kind && a.Value == b.Value })
}

// guess looks at the beginning.
func guess(data []byte) Format {
	head := bytes.TrimSpace(data)
	if len(head) > 0 && (head[0] == '{' || head[0] == '[') {
		if bytes.Contains(head[:min(len(head), 4096)], []byte(`"spec_version"`)) || bytes.Contains(head, []byte(`"pattern_type"`)) ||
			bytes.Contains(head[:min(len(head), 4096)], []byte(`"bundle"`)) {
			return STIX
		}
		return MISP
	}
	hosts, commas, lines := 0, 0, 0
	scan := bufio.NewScanner(bytes.NewReader(head))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() && lines < 100 {
		line := strings.TrimSpace(scan.Text())
		if line == "" || comment(line) {
			continue
		}
		lines++
		if _, ok := hostsNames(line); ok {
			hosts++
		}
		if strings.Contains(line, ",") {
			commas++
		}
	}
	switch {
	case lines > 0 && 2*hosts > lines:
		return Hosts
	case lines > 0 && 2*commas > lines:
		return CSV
	}
	return Plain
}

func comment(line string) bool {
	return line[0] == '#' || line[0] == ';' || strings.HasPrefix(line, "//") || line[0] == '!'
}

// parseLines hands every line that holds something to read, which adds to the
// entries.
func parseLines(data []byte, rep *Report, read func(string, *Report) []Entry) []Entry {
	var out []Entry
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		if len(line) > 2*maxValue {
			rep.Lines++
			rep.refuse(string(line[:80]), errLong)
			continue
		}
		text := strings.TrimSpace(string(line))
		if text == "" || comment(text) {
			continue
		}
		rep.Lines++
		out = append(out, read(text, rep)...)
		if len(out) > MaxEntries {
			return out
		}
	}
	return out
}

func plainLine(line string, rep *Report) []Entry {
	for _, mark := range []string{" #", "\t#", " ;", "\t;", " //"} {
		line, _, _ = strings.Cut(line, mark)
	}
	value := strings.Fields(line)[0]
	k, v, err := Canonical(value)
	if err != nil {
		rep.refuse(line, err)
		return nil
	}
	return []Entry{{Kind: k, Value: v}}
}

func hostsNames(line string) ([]string, bool) {
	line, _, _ = strings.Cut(line, "#")
	f := strings.Fields(line)
	if len(f) < 2 {
		return nil, false
	}
	switch f[0] {
	case "0.0.0.0", "127.0.0.1", "::", "::1", "::0":
		return f[1:], true
	}
	return nil, false
}

func hostsLine(line string, rep *Report) []Entry {
	names, ok := hostsNames(line)
	if !ok {
		rep.refuse(line, errKind)
		return nil
	}
	var out []Entry
	for _, n := range names {
		switch n {
		case "localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0", "ip6-localhost", "ip6-loopback":
			continue
		}
		k, v, err := Canonical(n)
		if err != nil || k != Domain {
			rep.refuse(n, errKind)
			continue
		}
		out = append(out, Entry{Kind: k, Value: v})
	}
	return out
}

// parseCSV takes the column that holds indicators: named so in a header, else
// the one with most of them in the first rows.
func parseCSV(data []byte, rep *Report) ([]Entry, error) {
	r := csv.NewReader(bytes.NewReader(uncomment(data)))
	r.FieldsPerRecord, r.LazyQuotes, r.TrimLeadingSpace, r.ReuseRecord = -1, true, true, false
	var head [][]string
	for len(head) < 200 {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", len(head)+1, err)
		}
		head = append(head, row)
	}
	col, until, skip := column(head)
	if col < 0 {
		return nil, errors.New("no column holds indicators")
	}
	var out []Entry
	take := func(row []string) {
		rep.Lines++
		if col >= len(row) {
			rep.refuse(strings.Join(row, ","), errEmpty)
			return
		}
		k, v, err := Canonical(row[col])
		if err != nil {
			rep.refuse(row[col], err)
			return
		}
		e := Entry{Kind: k, Value: v}
		if until >= 0 && until < len(row) {
			e.Expires = parseTime(row[until])
		}
		out = append(out, e)
	}
	for _, row := range head[skip:] {
		take(row)
	}
	for len(out) <= MaxEntries {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			rep.Lines++
			rep.refuse("", err)
			continue
		}
		take(row)
	}
	return out, nil
}

// uncomment drops comment lines; abuse.ch writes the header as the last one,
// and that names columns.
func uncomment(data []byte) []byte {
	var header []byte
	for {
		line, rest, more := bytes.Cut(data, []byte{'\n'})
		if t := bytes.TrimSpace(line); len(t) > 0 && t[0] != '#' {
			break
		} else if bytes.ContainsRune(t, ',') {
			header = bytes.TrimSpace(bytes.TrimLeft(t, "# "))
		}
		if !more {
			return nil
		}
		data = rest
	}
	if header != nil && bytes.Count(header, []byte{','}) > 0 {
		return append(append(slices.Clone(header), '\n'), data...)
	}
	return data
}

var valueColumns = []string{"indicator", "ioc", "ioc_value", "value", "dst_ip", "dstip", "ip", "ip_address", "domain", "hostname", "host", "url", "sha1", "sha256", "ja3_md5", "ja3", "ja4", "network", "cidr"}

// column finds where the indicators are, where their end is, and how many rows
// are header.
func column(rows [][]string) (value, until, skip int) {
	value, until = -1, -1
	if len(rows) == 0 {
		return
	}
	for i, name := range rows[0] {
		switch n := strings.ToLower(strings.TrimSpace(name)); {
		case n == "expires" || n == "valid_until" || n == "expiration":
			until, skip = i, 1
		case value < 0 && slices.Contains(valueColumns, n):
			value, skip = i, 1
		}
	}
	if value >= 0 {
		return
	}
	best := 0
	count := map[int]int{}
	for _, row := range rows {
		for i, cell := range row[:min(len(row), 64)] {
			if _, _, err := Canonical(cell); err == nil {
				if count[i]++; count[i] > best || count[i] == best && i < value {
					value, best = i, count[i]
				}
			}
		}
	}
	if skip == 0 && value >= 0 && value < len(rows[0]) {
		if _, _, err := Canonical(rows[0][value]); err != nil {
			skip = 1
		}
	}
	return
}

func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
