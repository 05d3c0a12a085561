package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"sekisho/firmware/remote/wire"
)

var grantPath = fill(wire.PathGrant, "G-1")

func TestWaitingForTheOwnerOutlivesACutAndHurriesNobody(t *testing.T) {
	g := newGateway(t)
	c, pauses := g.vendor()
	at := time.Unix(0, 0)
	c.now = func() time.Time { return at } // every answer comes at once
	state := func(s wire.GrantState) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			reply(w, wire.Grant{ID: "G-1", Incident: "INC-7", State: s})
		}
	}
	script := []http.HandlerFunc{
		state(wire.GrantWaiting),
		func(w http.ResponseWriter, _ *http.Request) { breakOff(w) },
		func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusServiceUnavailable, wire.ErrorDetail{Code: wire.CodeBusy, Retry: 60})
		},
		state(wire.GrantActive),
	}
	g.answer(wire.PathGrants, state(wire.GrantWaiting))
	g.answer(grantPath, func(w http.ResponseWriter, r *http.Request) {
		next := script[0]
		script = script[1:]
		next(w, r)
	})
	asked, err := c.AskGrant(t.Context(), wire.GrantRequest{Incident: "INC-7", Code: "123456"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.WaitGrant(t.Context(), asked)
	if err != nil || got.State != wire.GrantActive {
		t.Errorf("%+v, %v", got, err)
	}
	if want := []time.Duration{minPoll, pollRetry, time.Minute}; !slices.Equal(*pauses, want) {
		t.Errorf("pauses %v, want %v", *pauses, want)
	}
	if wait := g.asked()[1].FormValue("wait"); wait != "30s" {
		t.Errorf("wait=%q", wait)
	}
}

func TestWaitingEndsWithTheAnswerARefusalOrTheUser(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	waiting := wire.Grant{ID: "G-1", Incident: "INC-7", State: wire.GrantWaiting}
	for _, s := range []wire.GrantState{wire.GrantDenied, wire.GrantExpired, wire.GrantEnded, "\x1b[2Jnew"} {
		g.answer(grantPath, func(w http.ResponseWriter, _ *http.Request) {
			reply(w, wire.Grant{ID: "G-1", Incident: "INC-7", State: s})
		})
		if got, err := c.WaitGrant(t.Context(), waiting); err != nil || got.State == wire.GrantWaiting || strings.Contains(string(got.State), "\x1b") {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	g.answer(grantPath, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, wire.Grant{ID: "G-1", Incident: "INC-8", State: wire.GrantActive})
	})
	if _, err := c.WaitGrant(t.Context(), waiting); !errors.Is(err, ErrAnswer) {
		t.Errorf("a grant for another incident: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g.answer(grantPath, func(http.ResponseWriter, *http.Request) { cancel() })
	if _, err := c.WaitGrant(ctx, waiting); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestARefusalCarriesCodeWordsAndTime(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	for name, x := range map[string]struct {
		header, body string
		want         Error
	}{
		"locked":      {"", `{"error":{"code":"locked","message":"too many","retry_after_seconds":90}}`, Error{Code: "locked", Message: "too many", Retry: 90 * time.Second}},
		"header":      {"30", `{"error":{"code":"busy","retry_after_seconds":90}}`, Error{Code: "busy", Retry: 30 * time.Second}},
		"negative":    {"-5", "", Error{}},
		"for ever":    {"9223372036854775807", "", Error{Retry: maxRetry}},
		"escape":      {"", `{"error":{"code":"a\u001b","message":"\u001b[2J"}}`, Error{Code: "a�", Message: "�[2J"}},
		"no JSON":     {"", "<html>", Error{}},
		"long words":  {"", `{"error":{"message":"` + strings.Repeat("x", 600) + `"}}`, Error{Message: strings.Repeat("x", 500) + "…"}},
		"cut in JSON": {"", `{"error":{"code":"busy`, Error{}},
	} {
		g.answer(wire.PathStatus, func(w http.ResponseWriter, _ *http.Request) {
			if x.header != "" {
				w.Header().Set("Retry-After", x.header)
			}
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, x.body)
		})
		_, err := c.Status(t.Context())
		x.want.Status = http.StatusTooManyRequests
		var got *Error
		if !errors.As(err, &got) || *got != x.want {
			t.Errorf("%s: %+v (%v), want %+v", name, got, err, x.want)
		}
	}
}

// Whatever the gateway lists, what comes out may be printed and put in a path.
func FuzzIncidents(f *testing.F) {
	sum := strings.Repeat("0a", 32)
	for _, s := range []string{
		`{"id":"INC-7","state":"open","bundle":{"name":"a.tar","size":1,"sha256":"` + sum + `"},"grant":{"id":"G","incident":"INC-7","state":"active"}}`,
		`{"id":"../x"}`, `{"id":"-rf"}`, `{"id":"a/b"}`, `{"id":"a","state":"\u001b[2J"}`, `{"id":"a."}`,
		`{"id":"a","bundle":{"size":-1,"sha256":"` + sum + `"}}`, `{"id":"a","bundle":{"size":1,"sha256":"../../x"}}`,
		`{"id":"a","bundle":{"size":1,"sha256":"` + strings.ToUpper(sum) + `"}}`, `{"id":"a","grant":{"id":"x","incident":"b"}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var i wire.Incident
		if json.Unmarshal([]byte(s), &i) != nil || checkIncident(&i) != nil {
			return
		}
		texts := []string{i.ID, i.State}
		if i.Bundle != nil {
			texts = append(texts, i.Bundle.Name, i.Bundle.SHA256)
			if i.Bundle.Size < 1 || len(i.Bundle.SHA256) != 64 || strings.Trim(i.Bundle.SHA256, "0123456789abcdef") != "" {
				t.Errorf("package %+v", i.Bundle)
			}
		}
		if i.Grant != nil {
			texts = append(texts, i.Grant.ID, string(i.Grant.State))
		}
		for _, text := range texts {
			if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", text)
			}
		}
		if strings.ContainsAny(i.ID, `/\: `) || strings.HasPrefix(i.ID, ".") || strings.HasPrefix(i.ID, "-") || i.ID == "" {
			t.Errorf("id %q", i.ID)
		}
	})
}

func TestChangesAreToldUntilTheyAreRemembered(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	sealed := wire.Package{SHA256: "a", Size: 1}
	old := []wire.Incident{{ID: "A", State: "open"}, {ID: "B", State: "open"}, {ID: "C", State: "open", Bundle: &sealed}}
	if err := c.profile.Remember(old); err != nil {
		t.Fatal(err)
	}
	now := []wire.Incident{
		{ID: "D", State: "open"},
		{ID: "A", State: "contained", Bundle: &sealed},
		{ID: "C", State: "open", Bundle: &wire.Package{SHA256: "b", Size: 1}, Grant: &wire.Grant{ID: "G-1", State: wire.GrantActive}},
	}
	want := []Change{
		{Kind: ChangeNew, Incident: now[0]},
		{Kind: ChangeState, Incident: now[1], Was: "open"}, {Kind: ChangeSealed, Incident: now[1]},
		{Kind: ChangeSealed, Incident: now[2]}, {Kind: ChangeGrant, Incident: now[2]},
		{Kind: ChangeGone, Incident: old[1]},
	}
	for range 2 { // not remembered, so told again
		got, err := c.profile.Changes(now)
		if err != nil || !slices.EqualFunc(got, want, func(a, b Change) bool {
			return a.Kind == b.Kind && a.Was == b.Was && a.Incident.ID == b.Incident.ID
		}) {
			t.Fatalf("changes %+v, %v", got, err)
		}
	}
	if err := c.profile.Remember(now); err != nil {
		t.Fatal(err)
	}
	if got, err := c.profile.Changes(now); err != nil || len(got) != 0 {
		t.Errorf("again: %+v, %v", got, err)
	}
}
