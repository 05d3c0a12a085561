package ioc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// stixObject is what is read of an indicator (STIX 2.1, section 4.7).
type stixObject struct {
	Type        string `json:"type"`
	Pattern     string `json:"pattern"`
	PatternType string `json:"pattern_type"`
	ValidUntil  string `json:"valid_until"`
	Revoked     bool   `json:"revoked"`
}

// parseSTIX reads a bundle, or a bare list of objects, one object at a time:
// what a list of a few bytes each would become in memory is not for its author
// to say.
func parseSTIX(data []byte, rep *Report) ([]Entry, error) {
	var out []Entry
	w := walk{dec: json.NewDecoder(bytes.NewReader(data)), list: "objects"}
	w.take = func() error {
		var o stixObject
		if err := w.element(&o); err != nil {
			return err
		}
		if len(out) <= MaxEntries {
			out = o.entries(out, rep)
		}
		return nil
	}
	return out, w.all()
}

// entries appends what an indicator names.
func (o *stixObject) entries(out []Entry, rep *Report) []Entry {
	if o.Type != "indicator" || o.Revoked {
		return out
	}
	rep.Lines++
	if o.PatternType != "" && o.PatternType != "stix" {
		rep.refuse(o.Pattern, errKind)
		return out
	}
	until := parseTime(o.ValidUntil)
	found := false
	for _, v := range stixValues(o.Pattern) {
		if k, c, err := Canonical(v); err == nil {
			out = append(out, Entry{Kind: k, Value: c, Expires: until})
			found = true
		}
	}
	if !found {
		rep.refuse(o.Pattern, errKind)
	}
	return out
}

// stixPaths are the object paths whose values are indicators here.
var stixPaths = []string{
	"domain-name:value", "ipv4-addr:value", "ipv6-addr:value", "url:value", "x509-certificate:hashes",
	"network-traffic:dst_ref.value", "network-traffic:extensions.'tls-ext'.ja3",
}

// stixValues reads the comparisons path = 'value' of a pattern (STIX 2.1,
// section 9). Patterns that need all of several things (AND, FOLLOWEDBY) are
// not split: one half of them alone proves nothing. File hashes are none.
func stixValues(pattern string) []string {
	if len(pattern) > 1<<16 || stixNeedsAll(pattern) {
		return nil
	}
	var out []string
	for rest := pattern; ; {
		at := strings.Index(rest, "=")
		if at < 0 {
			return out
		}
		path := strings.Trim(rest[:at], " ([\t\n")
		if i := strings.LastIndexAny(path, " [("); i >= 0 {
			path = path[i+1:]
		}
		rest = strings.TrimLeft(rest[at+1:], " ")
		if !strings.HasPrefix(rest, "'") {
			continue
		}
		value, after, ok := stixString(rest[1:])
		if !ok {
			return out
		}
		rest = after
		for _, p := range stixPaths {
			if strings.HasPrefix(path, p) && !strings.HasSuffix(strings.TrimSpace(path), "!") {
				out = append(out, value)
				break
			}
		}
	}
}

// stixNeedsAll looks for AND and FOLLOWEDBY outside quotes.
func stixNeedsAll(pattern string) bool {
	quoted := false
	for i := 0; i < len(pattern); i++ {
		switch {
		case quoted && pattern[i] == '\\':
			i++
		case pattern[i] == '\'':
			quoted = !quoted
		case !quoted && (strings.HasPrefix(pattern[i:], " AND ") || strings.HasPrefix(pattern[i:], " FOLLOWEDBY ") || strings.HasPrefix(pattern[i:], " NOT ")):
			return true
		}
	}
	return false
}

func stixString(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '\'':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// mispTypes are the attribute types of MISP's core format that are seen on the
// wire; of composite ones the first part.
var mispTypes = map[string]bool{
	"domain": true, "hostname": true, "ip-dst": true, "ip-src": true, "ip-dst|port": true, "ip-src|port": true, "domain|ip": true, "hostname|port": true,
	"url": true, "ja3-fingerprint-md5": true, "x509-fingerprint-sha1": true, "x509-fingerprint-sha256": true,
}

// mispAttribute is what is read of one (MISP core format, section 2.4).
type mispAttribute struct {
	Type    string `json:"type"`
	Value   string `json:"value"`
	ToIDs   *bool  `json:"to_ids"`
	Deleted bool   `json:"deleted"`
}

// parseMISP walks the JSON and takes every attribute that it meets, in
// whatever wrapping (event, response list, feed), one at a time.
func parseMISP(data []byte, rep *Report) ([]Entry, error) {
	var out []Entry
	w := walk{dec: json.NewDecoder(bytes.NewReader(data)), list: "Attribute", into: []string{"Event", "Object", "response", "Response"}}
	w.take = func() error {
		var a mispAttribute
		if err := w.element(&a); err != nil {
			return err
		}
		if len(out) <= MaxEntries {
			out = a.entries(out, rep)
		}
		return nil
	}
	return out, w.all()
}

func (a *mispAttribute) entries(out []Entry, rep *Report) []Entry {
	if a.ToIDs != nil && !*a.ToIDs || a.Deleted || !mispTypes[a.Type] { // context, not to be matched
		return out
	}
	rep.Lines++
	value, _, _ := strings.Cut(a.Value, "|")
	k, c, err := Canonical(value)
	if err != nil {
		rep.refuse(a.Value, err)
		return out
	}
	return append(out, Entry{Kind: k, Value: c})
}

// walk goes through one JSON value without keeping it: into arrays and the
// named members of objects, up to the lists whose elements are wanted.
type walk struct {
	dec  *json.Decoder
	list string       // member whose elements are wanted
	into []string     // members that may hold such lists
	take func() error // reads one element
}

const (
	maxNesting = 16     // how deep lists are looked for
	maxDepth   = 10_000 // of what is passed over, as in encoding/json
)

func (w *walk) all() error {
	if err := w.value(0, w.list == "objects"); err != nil {
		return err
	}
	if _, err := w.dec.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

// value reads the next value; wanted says that the elements of it, if it is an
// array, are to be taken.
func (w *walk) value(depth int, wanted bool) error {
	t, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('['):
		for w.dec.More() && err == nil {
			switch {
			case wanted:
				err = w.take()
			case depth < maxNesting:
				err = w.value(depth+1, false)
			default:
				err = w.skip()
			}
		}
	case json.Delim('{'):
		for w.dec.More() && err == nil {
			err = w.member(depth)
		}
	default:
		return nil
	}
	if err == nil {
		_, err = w.dec.Token()
	}
	return err
}

func (w *walk) member(depth int) error {
	name, err := w.dec.Token()
	if err != nil {
		return err
	}
	key, _ := name.(string)
	if depth < maxNesting && (key == w.list || slices.Contains(w.into, key)) {
		return w.value(depth+1, key == w.list)
	}
	return w.skip()
}

// skip passes over one value in constant memory.
func (w *walk) skip() error {
	for open := 0; ; {
		t, err := w.dec.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('['), json.Delim('{'):
			open++
		case json.Delim(']'), json.Delim('}'):
			open--
		}
		switch {
		case open == 0:
			return nil
		case open > maxDepth:
			return errors.New("nested too deep")
		}
	}
}

// element reads one; what is no object, or holds other types than it should,
// is passed over.
func (w *walk) element(to any) error {
	err := w.dec.Decode(to)
	if odd := (*json.UnmarshalTypeError)(nil); errors.As(err, &odd) {
		return nil
	}
	return err
}
