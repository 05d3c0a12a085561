package ui

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const packagePath = "/api/evidence/" + inID + "/package"

func TestABundleIsHandedOutInRangesUnderItsHash(t *testing.T) {
	h := handler(t, newOffice("ja"), withCabinet(newCabinet()))
	r := request("GET", packagePath+"?by=Yamada", "")
	r.Header.Set("Range", "bytes=4-6")
	r.Header.Set("If-Range", `"abc"`)
	w := do(h, r)
	if w.Code != http.StatusPartialContent || w.Body.String() != "456" || w.Header().Get("ETag") != `"abc"` {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
	if w := do(h, request("GET", "/api/evidence/B-9/package?by=Yamada", "")); w.Code != http.StatusNotFound {
		t.Errorf("an unknown one: %d", w.Code)
	}
}

func TestWhoTakesABundleOutIsRecordedOncePerHour(t *testing.T) {
	c, at := newCabinet(), now
	h := handler(t, newOffice("ja"), func(cfg *Config) {
		withCabinet(c)(cfg)
		cfg.Now = func() time.Time { return at }
	})
	get := func(method, by, bytes string) {
		t.Helper()
		r := request(method, packagePath+"?by="+by, "")
		r.Header.Set("Range", bytes)
		if w := do(h, r); w.Code != http.StatusPartialContent {
			t.Errorf("%s %s: %d", method, by, w.Code)
		}
	}
	for range 3 { // a browser resumes
		get("HEAD", "Yamada", "bytes=0-")
		get("GET", "%20Yamada%20", "bytes=2-3")
		at = at.Add(15 * time.Minute)
	}
	get("GET", "Sato", "bytes=0-")
	at = at.Add(15 * time.Minute)
	get("GET", "Yamada", "bytes=0-") // an hour later
	want := fmt.Sprintf("taken %s web:Yamada abc|taken %[1]s web:Sato abc|taken %[1]s web:Yamada abc", inID)
	if got := strings.Join(c.calls, "|"); got != want {
		t.Errorf("recorded %s\nwant %s", got, want)
	}
}

func TestNothingIsTakenOutWithoutANameOrARecord(t *testing.T) {
	c := newCabinet()
	h := handler(t, newOffice("ja"), withCabinet(c))
	for _, query := range []string{"", "?by=", "?by=%20", "?by=a%0ab", "?by=%ff", "?by=" + strings.Repeat("x", 81)} {
		for _, method := range []string{"GET", "HEAD"} {
			if w := do(h, request(method, packagePath+query, "")); w.Code != http.StatusUnprocessableEntity || w.Header().Get("ETag") != "" || len(c.calls) != 0 {
				t.Errorf("%s %q: %d %v, called %q", method, query, w.Code, w.Header(), c.calls)
			}
		}
	}
	c.err = errors.New("disk")
	for range 2 { // what was not recorded stays due
		w := do(h, request("GET", packagePath+"?by=Yamada", ""))
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "0123") || w.Header().Get("ETag") != "" {
			t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
		}
	}
	if len(c.calls) != 2 {
		t.Errorf("called %q", c.calls)
	}
}

func TestTakesAreBoundedAndTheOldestIsForgotten(t *testing.T) {
	kept, recorded := takes{at: map[take]time.Time{}}, 0
	by := func(n int) { // each a second after the one before
		one, at := take{"B", fmt.Sprint(n)}, now.Add(time.Duration(n)*time.Second)
		if err := kept.once(one, at, func() error { recorded++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 * maxTakes {
		by(n)
		by(n)
	}
	if len(kept.at) != maxTakes || recorded != 3*maxTakes {
		t.Errorf("%d kept, %d recorded", len(kept.at), recorded)
	}
	by(2 * maxTakes) // the oldest that is kept, by a clock that went nowhere
	if recorded != 3*maxTakes {
		t.Error("one that is kept is recorded again")
	}
	by(2*maxTakes - 1)
	if recorded != 3*maxTakes+1 {
		t.Error("one that is forgotten is not recorded again")
	}
}
