package ioc

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

func TestCanonical(t *testing.T) {
	for _, c := range []struct {
		in   string
		kind Kind
		want string
	}{
		{"Evil.Example.COM.", Domain, "evil.example.com"},
		{"*.evil.example.com", Domain, "evil.example.com"},
		{"evil[.]example[.]com", Domain, "evil.example.com"},
		{"bücher.example", Domain, "xn--bcher-kva.example"},
		{"203.0.113.9", Addr, "203.0.113.9"},
		{"203.0.113.9:447", Addr, "203.0.113.9"},
		{"::ffff:203.0.113.9", Addr, "203.0.113.9"},
		{"2001:db8::1", Addr, "2001:db8::1"},
		{"203.0.113.77/24", CIDR, "203.0.113.0/24"},
		{"203.0.113.7/32", Addr, "203.0.113.7"},
		{"hxxp://evil[.]example.com/a/b.exe", URL, "evil.example.com/a/b.exe"},
		{"https://user:pw@evil.example.com:8443/x", URL, "evil.example.com/x"},
		{"http://evil.example.com/", Domain, "evil.example.com"},
		{"evil.example.com/path", URL, "evil.example.com/path"},
		{"E7D705A3286E19EA42F587B344EE6865", JA3, "e7d705a3286e19ea42f587b344ee6865"},
		{"t13d1516h2_8daaf6152771_b186095e22b6", JA4, "t13d1516h2_8daaf6152771_b186095e22b6"},
		{strings.Repeat("ab", 20), SHA1, strings.Repeat("ab", 20)},
		{strings.Repeat("cd", 32), SHA256, strings.Repeat("cd", 32)},
	} {
		k, v, err := Canonical(c.in)
		if err != nil || k != c.kind || v != c.want {
			t.Errorf("%q: %v %q %v, want %v %q", c.in, k, v, err, c.kind, c.want)
		}
	}
}

func TestEntriesThatWouldMatchTheOfficeOrHalfTheInternetAreRefused(t *testing.T) {
	for _, s := range []string{
		"192.168.1.1", "10.0.0.0/8", "127.0.0.1", "0.0.0.0", "0.0.0.0/0", "::/0", "172.16.3.0/24", "fe80::1", "224.0.0.251", "255.255.255.255",
		"com", "co.jp", "github.io", "localhost", "1.0.0.0/7", "2000::/3", "", "not an indicator", "javascript://x.example/", "ff02::fb",
	} {
		if k, v, err := Canonical(s); err == nil {
			t.Errorf("%q is taken as %v %q", s, k, v)
		}
	}
}

func list(t *testing.T, text string, f Format) []Entry {
	t.Helper()
	e, rep, err := Parse(strings.NewReader(text), f)
	if err != nil {
		t.Fatalf("%v (%+v)", err, rep)
	}
	return e
}

func TestFormatsAreRecognised(t *testing.T) {
	want := map[string]Kind{"bad.example.com": Domain, "203.0.113.9": Addr}
	for name, text := range map[string]string{
		"plain": "# a list\nbad[.]example.com # why\n203.0.113.9\n\n; end\n",
		"hosts": "127.0.0.1 localhost\n0.0.0.0 bad.example.com\n0.0.0.0\tworse.example.com # two\n",
		"csv":   "\"id\",\"indicator\",\"first seen\"\n\"1\",\"bad.example.com\",\"2026-01-01\"\n\"2\",\"203.0.113.9\",\"\"\n",
		"abuse": "################\n# Feodo list     #\n#\n# \"first_seen_utc\",\"dst_ip\",\"dst_port\"\n\"2026-01-01 10:00:00\",\"203.0.113.9\",\"443\"\n\"2026-01-02 10:00:00\",\"198.51.100.7\",\"443\"\n",
		"bare":  "2026-01-01,bad.example.com,malware\n2026-01-02,203.0.113.9,malware\n",
		"stix": `{"type":"bundle","spec_version":"2.1","objects":[
			{"type":"indicator","pattern_type":"stix","pattern":"[domain-name:value = 'bad.example.com'] OR [ipv4-addr:value = '203.0.113.9']","valid_until":"2026-05-01T00:00:00Z"},
			{"type":"indicator","pattern_type":"stix","pattern":"[domain-name:value = 'half.example.com' AND ipv4-addr:value = '198.51.100.1']"},
			{"type":"indicator","pattern_type":"stix","pattern":"[domain-name:value = 'old.example.com']","revoked":true},
			{"type":"malware","name":"x"}]}`,
		"misp": `{"response":[{"Event":{"info":"x","Attribute":[{"type":"domain","value":"bad.example.com","to_ids":true},{"type":"md5","value":"00"},{"type":"domain","value":"context.example.com","to_ids":false}],
			"Object":[{"Attribute":[{"type":"ip-dst|port","value":"203.0.113.9|443","to_ids":true}]}]}}]}`,
	} {
		got := map[string]Kind{}
		for _, e := range list(t, text, Auto) {
			got[e.Value] = e.Kind
		}
		hits := 0
		for v, k := range want {
			if got[v] == k && k == want[v] {
				if _, there := got[v]; there {
					hits++
				}
			}
		}
		if hits == 0 || name == "stix" && (hits != 2 || len(got) != 2) || name == "misp" && (hits != 2 || len(got) != 2) || name == "bare" && hits != 2 || name == "csv" && hits != 2 || name == "plain" && hits != 2 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if e := list(t, "domain,expires\nbad.example.com,2026-04-02\n", CSV); !e[0].Expires.Equal(time.Date(2026, 4, 2, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("expiry %v", e[0].Expires)
	}
}

func TestBrokenListsAreRefusedWhole(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          "# nothing\n",
		"web page":       "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>\nnginx\n</body>\n</html>\n",
		"cut JSON":       `{"type":"bundle","spec_version":"2.1","objects":[{"type":"indic`,
		"mostly refused": "10.0.0.1\n10.0.0.2\n10.0.0.3\nbad.example.com\n",
		"binary":         "\x00\x01\x02\xff\xfe",
	} {
		if e, _, err := Parse(strings.NewReader(text), Auto); err == nil {
			t.Errorf("%s is accepted: %v", name, e)
		}
	}
}

func TestLookUps(t *testing.T) {
	s := NewSet([]List{
		{Name: "names", Entries: list(t, "bad.example.com\n203.0.113.0/24\n198.51.100.7\n2001:db8:bad::/48\nhttp://cdn.example.net/dl/evil.exe\nhttp://cdn.example.net/kit/\n"+strings.Repeat("ab", 16), Auto)},
		{Name: "short", Trust: "high", Entries: []Entry{{Kind: Domain, Value: "soon.example.com", Expires: noon.Add(time.Hour)}}},
	})
	addr := func(a string) bool { _, ok := s.Addr(netip.MustParseAddr(a), noon); return ok }
	name := func(n string) bool { _, ok := s.Domain(n, noon); return ok }
	page := func(h, p string) bool { _, ok := s.URL(h, p, noon); return ok }
	for what, ok := range map[string]bool{
		"the name": name("bad.example.com"), "a name below": name("x.y.bad.example.com"), "an address": addr("198.51.100.7"), "mapped": addr("::ffff:198.51.100.7"),
		"in a network": addr("203.0.113.200"), "in an IPv6 network": addr("2001:db8:bad:1::5"), "a page": page("cdn.example.net", "/dl/evil.exe"),
		"a page, any query": page("cdn.example.net", "/dl/evil.exe?id=7"), "below a folder": page("cdn.example.net:8080", "/kit/a/b?x"),
	} {
		if !ok {
			t.Errorf("%s is not found", what)
		}
	}
	for what, ok := range map[string]bool{
		"a longer name": name("notbad.example.com"), "the name above": name("example.com"), "a neighbour": addr("198.51.100.8"), "outside": addr("203.0.114.1"),
		"another page": page("cdn.example.net", "/dl/good.exe"), "the host of a page": page("cdn.example.net", "/"), "no address": func() bool { _, ok := s.Addr(netip.Addr{}, noon); return ok }(),
	} {
		if ok {
			t.Errorf("%s is found", what)
		}
	}
	if m, ok := s.Domain("soon.example.com", noon); !ok || m.Source != "short" || m.Trust != "high" {
		t.Errorf("match %+v", m)
	}
	if _, ok := s.Domain("soon.example.com", noon.Add(2*time.Hour)); ok {
		t.Error("an expired entry matches")
	}
	var none *Set
	if _, ok := none.Domain("bad.example.com", noon); ok || none.Len() != 0 {
		t.Error("a nil Set matches")
	}
}

func TestHalfAMillionEntriesInBoundedMemory(t *testing.T) {
	const n = 500_000
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{Kind: Domain, Value: fmt.Sprintf("host%d.bad.example", i)}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewSet([]List{{Name: "large", Entries: entries}})
	entries = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	if s.Len() != n || grown > 40*n {
		t.Errorf("%d entries take %d bytes", s.Len(), grown)
	}
	if _, ok := s.Domain("host499999.bad.example", noon); !ok {
		t.Error("the last is not found")
	}
	runtime.KeepAlive(s)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"bad.example.com\n", "a,b\n1,203.0.113.9\n", "0.0.0.0 x.example.com\n", `{"objects":[{"type":"indicator","pattern":"[url:value='http://x.example/a']"}]}`,
		`{"Event":{"Attribute":[{"type":"url","value":"http://x.example/a"}]}}`, "[[[[", "\"\n", "hxxp://[", "*.", "://", "t_", "a=='"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range Formats() {
			entries, _, err := Parse(strings.NewReader(s), format)
			if err != nil {
				continue
			}
			for _, e := range entries {
				if k, v, err := Canonical(e.Value); err != nil || k != e.Kind || v != e.Value {
					t.Errorf("%q is accepted as %v and not canonical: %v %q %v", e.Value, e.Kind, k, v, err)
				}
			}
			NewSet([]List{{Name: "x", Entries: entries}})
		}
	})
}
