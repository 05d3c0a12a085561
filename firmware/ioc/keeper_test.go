package ioc

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// publisher serves one list, with an ETag of its text.
type publisher struct {
	*httptest.Server
	text    string
	status  int
	full    int // answers with a body
	checked int // answers 304
}

func newPublisher(t *testing.T, text string) *publisher {
	p := &publisher{text: text, status: http.StatusOK}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tag := fmt.Sprintf("%q", fmt.Sprint(len(p.text), p.text[:min(len(p.text), 8)]))
		if p.status != http.StatusOK {
			w.WriteHeader(p.status)
			fmt.Fprint(w, "<html>later</html>")
			return
		}
		if r.Header.Get("If-None-Match") == tag {
			p.checked++
			w.WriteHeader(http.StatusNotModified)
			return
		}
		p.full++
		w.Header().Set("ETag", tag)
		fmt.Fprint(w, p.text)
	}))
	t.Cleanup(p.Close)
	return p
}

// clockKeeper is a keeper whose time the test moves.
func clockKeeper(t *testing.T, dir string, at *time.Time, src ...Source) *Keeper {
	t.Helper()
	k, err := NewKeeper(Config{Dir: dir, Sources: src, Now: func() time.Time { return *at }})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *Keeper) knows(name string, at time.Time) bool {
	_, ok := k.Set().Domain(name, at)
	return ok
}

func TestListIsFetchedOnceAndThenOnlyCheckedForChange(t *testing.T) {
	p, now := newPublisher(t, "bad.example.com\n"), noon
	k := clockKeeper(t, t.TempDir(), &now, Source{Name: "names", URL: p.URL})
	if k.knows("bad.example.com", now) {
		t.Fatal("known before it was asked for")
	}
	k.Refresh(t.Context())
	k.Refresh(t.Context()) // not due
	if !k.knows("bad.example.com", now) || p.full != 1 || p.checked != 0 {
		t.Fatalf("full %d checked %d, status %+v", p.full, p.checked, k.Status())
	}
	now = now.Add(7 * time.Hour)
	k.Refresh(t.Context())
	if p.full != 1 || p.checked != 1 {
		t.Errorf("full %d checked %d: the list is fetched again though it has not changed", p.full, p.checked)
	}
	p.text = "worse.example.com\n"
	now = now.Add(7 * time.Hour)
	k.Refresh(t.Context())
	if !k.knows("worse.example.com", now) || k.knows("bad.example.com", now) {
		t.Error("the new list is not in force")
	}
}

func TestBrokenListNeverReplacesAGoodOne(t *testing.T) {
	p, now := newPublisher(t, names(200)), noon
	k := clockKeeper(t, t.TempDir(), &now, Source{Name: "names", URL: p.URL})
	k.Refresh(t.Context())
	for what, breaks := range map[string]func(){
		"an error page": func() { p.text = "<html>\n<body>\nBad Gateway\n</body>\n" },
		"an error":      func() { p.status = http.StatusBadGateway },
		"nothing":       func() { p.text = "# empty\n" },
		"a cut list":    func() { p.text = names(3) },
		"another thing": func() { p.text = "10.0.0.1\n10.0.0.2\n192.168.1.1\n" },
	} {
		breaks()
		now = now.Add(7 * time.Hour)
		k.Refresh(t.Context())
		if st := k.Status()[0]; !k.knows("host7.bad.example", now) || st.Problem == "" || st.Entries != 200 {
			t.Errorf("%s: known %t, status %+v", what, k.knows("host7.bad.example", now), st)
		}
		p.text, p.status = names(200), http.StatusOK
	}
	now = now.Add(7 * time.Hour)
	k.Refresh(t.Context())
	if st := k.Status()[0]; st.Problem != "" {
		t.Errorf("after the repair: %+v", st)
	}
}

func names(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "host%d.bad.example\n", i)
	}
	return b.String()
}

func TestListsAreInForceAtOnceAfterARestart(t *testing.T) {
	p, now, dir := newPublisher(t, "bad.example.com\n"), noon, t.TempDir()
	src := Source{Name: "names", URL: p.URL}
	clockKeeper(t, dir, &now, src).Refresh(t.Context())
	p.status = http.StatusServiceUnavailable
	k := clockKeeper(t, dir, &now, src)
	if !k.knows("bad.example.com", now) {
		t.Fatal("the copy on disk is not used")
	}
	now = now.Add(31 * 24 * time.Hour)
	k.Refresh(t.Context())
	if st := k.Status()[0]; k.knows("bad.example.com", now) || !st.Outdated {
		t.Errorf("a month without a good read, and the entries still match: %+v", st)
	}
	if err := os.WriteFile(filepath.Join(dir, "names.list"), []byte("other.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k = clockKeeper(t, dir, &now, src)
	if k.knows("other.example.com", noon) || k.Status()[0].Problem == "" {
		t.Errorf("a changed copy is believed: %+v", k.Status())
	}
}

func TestFailingSourceIsAskedLessAndLess(t *testing.T) {
	p, now := newPublisher(t, "bad.example.com\n"), noon
	p.status = http.StatusNotFound
	asked := 0
	p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(http.StatusNotFound) })
	k := clockKeeper(t, t.TempDir(), &now, Source{Name: "names", URL: p.URL})
	for range 24 * 60 {
		k.Refresh(t.Context())
		now = now.Add(time.Minute)
	}
	if asked < 4 || asked > 16 {
		t.Errorf("asked %d times within a day", asked)
	}
}

func TestFileIsReadAgainWhenItChanges(t *testing.T) {
	now, path := noon, filepath.Join(t.TempDir(), "own.txt")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("bad.example.com\n")
	k := clockKeeper(t, t.TempDir(), &now, Source{Name: "own", File: path, Trust: "high"})
	k.Refresh(t.Context())
	if m, ok := k.Set().Domain("bad.example.com", now); !ok || m.Trust != "high" {
		t.Fatalf("match %+v", m)
	}
	write("worse.example.com\n")
	now = now.Add(2 * time.Minute)
	k.Refresh(t.Context())
	if !k.knows("worse.example.com", now) {
		t.Error("the change is not seen")
	}
}

func TestSourcesAreChecked(t *testing.T) {
	for _, s := range []Source{
		{}, {Name: "../x", File: "a"}, {Name: "both", File: "a", URL: "http://h.example/"}, {Name: "none"}, {Name: "ftp", URL: "ftp://h.example/"},
		{Name: "f", File: "a", Format: "xml"}, {Name: "t", File: "a", Trust: "total"},
	} {
		if s.Validate() == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
	if _, err := NewKeeper(Config{Dir: t.TempDir(), Sources: []Source{{Name: "a", File: "x"}, {Name: "a", File: "y"}}}); err == nil {
		t.Error("two lists of one name are accepted")
	}
}
