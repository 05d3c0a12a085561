package ioc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

func parseSTIX(data []byte, rep *Report) ([]Entry, error) {
	var bundle struct {
		Objects []stixObject `json:"objects"`
	}
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '[' {
		if err := json.Unmarshal(data, &bundle.Objects); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(data, &bundle); err != nil {
		return nil, err
	}
	var out []Entry
	for _, o := range bundle.Objects {
		if o.Type != "indicator" || o.Revoked {
			continue
		}
		rep.Lines++
		if o.PatternType != "" && o.PatternType != "stix" {
			rep.refuse(o.Pattern, errKind)
			continue
		}
		values := stixValues(o.Pattern)
		until := parseTime(o.ValidUntil)
		found := false
		for _, v := range values {
			if k, c, err := Canonical(v); err == nil {
				out = append(out, Entry{Kind: k, Value: c, Expires: until})
				found = true
			}
		}
		if !found {
			rep.refuse(o.Pattern, errKind)
		}
		if len(out) > MaxEntries {
			break
		}
	}
	return out, nil
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

// parseMISP walks the JSON and takes every attribute that it meets, in
// whatever wrapping (event, response list, feed).
func parseMISP(data []byte, rep *Report) ([]Entry, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var root any
	if err := dec.Decode(&root); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value")
	}
	w := mispWalk{rep: rep}
	w.visit(root, 0)
	return w.out, nil
}

type mispWalk struct {
	rep *Report
	out []Entry
}

func (w *mispWalk) visit(v any, depth int) {
	if depth > 16 || len(w.out) > MaxEntries {
		return
	}
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			w.visit(x, depth+1)
		}
	case map[string]any:
		if list, ok := v["Attribute"].([]any); ok {
			for _, a := range list {
				w.attribute(a)
			}
		}
		for _, name := range []string{"Event", "Object", "response", "Response"} { // in this order: no map order in the result
			if x, ok := v[name]; ok {
				w.visit(x, depth+1)
			}
		}
	}
}

func (w *mispWalk) attribute(v any) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	kind, _ := m["type"].(string)
	text, _ := m["value"].(string)
	if ids, ok := m["to_ids"].(bool); ok && !ids { // context, not to be matched
		return
	}
	if deleted, _ := m["deleted"].(bool); deleted {
		return
	}
	if !mispTypes[kind] {
		return
	}
	w.rep.Lines++
	value, _, _ := strings.Cut(text, "|")
	k, c, err := Canonical(value)
	if err != nil {
		w.rep.refuse(text, err)
		return
	}
	w.out = append(w.out, Entry{Kind: k, Value: c})
}
