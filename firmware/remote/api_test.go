package remote

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

func TestAVendorFetchesWhatTheOwnerApprovedAndAllOfItIsRecorded(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("Example IT")
	if len(p.reply.RecoveryCodes) != recoveryCodes || p.reply.Office != "Example" || p.reply.DeviceKey != o.ledger.Key().Public() {
		t.Errorf("reply %+v", p.reply)
	}
	first, err := ledger.ParseCheckpoint([]byte(p.reply.Checkpoint), o.ledger.Key().Verifier())
	if err != nil || first.Size == 0 {
		t.Fatalf("first checkpoint %+v, %v", first, err)
	}
	var list wire.Incidents
	p.must(http.StatusOK, p.call("GET", wire.PathIncidents, nil, &list))
	if len(list.Incidents) != 3 || list.Incidents[0].Bundle.Size != bundleSize || list.Incidents[2].Bundle != nil {
		t.Errorf("incidents %+v", list)
	}
	p.refused(http.StatusForbidden, wire.CodeNoGrant, p.call("GET", bundlePath("i-1"), nil, nil))
	g, got := p.ask("i-1", p.code())
	p.must(http.StatusCreated, got)
	told := o.told.Load()
	if w := o.Waiting(); len(w) != 1 || w[0].ID != g.ID || w[0].Name != "Example IT" || w[0].Reason != "analysis" || w[0].Wished != time.Hour {
		t.Fatalf("waiting %+v", w)
	}
	p.refused(http.StatusForbidden, wire.CodeNoGrant, p.call("GET", bundlePath("i-1"), nil, nil))
	view, err := o.Approve(g.ID, "person:panel", 0)
	if err != nil || !view.Until.Equal(o.clock.now().Add(time.Hour)) {
		t.Fatalf("approved %+v, %v", view, err)
	}
	status, data, header := p.fetch(bundlePath("i-1"))
	if status != http.StatusOK || !bytes.Equal(data, o.shelf.files["i-1"]) || header.Get("ETag") != `"`+list.Incidents[1].Bundle.SHA256+`"` {
		t.Errorf("bundle: %d, %d bytes, %v", status, len(data), header)
	}
	p.refused(http.StatusForbidden, wire.CodeNoGrant, p.call("GET", bundlePath("i-2"), nil, nil)) // another incident
	o.recorded("remote.download.end", 1)
	if a := o.Active(); len(a) != 1 || a[0].Bytes != bundleSize || a[0].Downloads != 0 || a[0].By != "person:panel" {
		t.Errorf("active %+v", a)
	}
	if err := o.End(g.ID, "person:panel"); err != nil {
		t.Fatal(err)
	}
	p.refused(http.StatusForbidden, wire.CodeNoGrant, p.call("GET", bundlePath("i-1"), nil, nil))

	all, err := o.ledger.Entries(0, o.ledger.Size())
	if err != nil {
		t.Fatal(err)
	}
	if n := o.told.Load() - told; n < 4 { // approved, begun, finished, ended
		t.Errorf("the panel was told %d times", n)
	}
	var story []string
	for _, e := range all {
		line := e.Actor + " " + e.Action
		if code, ok := e.Detail["code"]; ok {
			line += " " + code.(string)
		}
		story = append(story, line)
	}
	want := []string{
		"person:page remote.invite", "vendor:Example IT remote.enroll", "vendor:Example IT remote.incidents", "vendor:Example IT remote.download no_grant",
		"vendor:Example IT remote.ask", "vendor:Example IT remote.download no_grant", "person:panel remote.approve", "vendor:Example IT remote.download",
		"vendor:Example IT remote.download no_grant", "vendor:Example IT remote.download.end", "person:panel remote.end", "vendor:Example IT remote.download no_grant",
	}
	// The end of a download is written while the client goes on already.
	slices.Sort(story)
	slices.Sort(want)
	if !slices.Equal(story, want) {
		t.Errorf("ledger tells\n%s\nwant\n%s", strings.Join(story, "\n"), strings.Join(want, "\n"))
	}
}

func TestAnInvitationLetsOneCertificateInOnceWithinADay(t *testing.T) {
	o := openOffice(t, nil)
	enroll := func(p *person, secret string) outcome {
		return p.call("POST", wire.PathEnroll, wire.EnrollRequest{Secret: secret, Name: p.name}, nil)
	}
	late := o.invite()
	o.clock.pass(InvitationLife)
	p := o.newcomer("A")
	p.refused(http.StatusForbidden, wire.CodeInvitation, enroll(p, late))
	p.refused(http.StatusForbidden, wire.CodeInvitation, enroll(p, ""))
	p.refused(http.StatusForbidden, wire.CodeInvitation, enroll(p, "AAAAAAAAAAAAAAAAAAAAAA"))
	secret := o.invite()
	p.must(http.StatusCreated, enroll(p, secret))
	q := o.newcomer("B")
	q.refused(http.StatusForbidden, wire.CodeInvitation, enroll(q, secret))
	secret = o.invite()
	p.refused(http.StatusBadRequest, wire.CodeBad, enroll(p, secret)) // its certificate is pinned already
	for _, name := range []string{"", "  ", "a", "line\nfeed", "\u202eevil", strings.Repeat("あ", maxName+1), strings.Repeat("x", 2000)} {
		q.name = name
		q.refused(http.StatusBadRequest, wire.CodeBad, enroll(q, secret))
	}
	q.name = "株式会社ベンダー"
	q.must(http.StatusCreated, enroll(q, secret)) // what was refused has not used it up
	o.restart()
	if v := o.Vendors(); len(v) != 2 || v[1].Name != q.name || v[1].InvitedBy != "person:page" || v[1].RecoveryCodes != recoveryCodes {
		t.Errorf("vendors %+v", v)
	}
	q.must(http.StatusOK, q.call("GET", wire.PathStatus, nil, nil))
	state, err := os.ReadFile(filepath.Join(o.dir, "remote", "state.json"))
	if err != nil || bytes.Contains(state, []byte(secret)) {
		t.Errorf("the invitation is kept in the clear, %v", err)
	}
}

func TestInvitationsAndVendorsAreBounded(t *testing.T) {
	o := openOffice(t, nil)
	for range maxInvitations {
		o.invite()
	}
	if _, err := o.Invite("person:page"); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	o.clock.pass(InvitationLife)
	o.invite()
}

func TestTheOwnersTimeIsTheLimit(t *testing.T) {
	o := openOffice(t, nil)
	if usual, longest := o.Spans(); usual != 8*time.Hour || longest != 24*time.Hour {
		t.Errorf("told as %s, %s", usual, longest)
	}
	p := o.enrolled("V")
	for _, c := range []struct{ asked, want time.Duration }{{0, time.Hour}, {30 * time.Minute, 30 * time.Minute}, {10 * time.Hour, 10 * time.Hour}, {100 * time.Hour, 24 * time.Hour}} {
		g, got := p.ask("i-1", p.code())
		p.must(http.StatusCreated, got)
		v, err := o.Approve(g.ID, "owner", c.asked)
		if err != nil || !v.Until.Equal(o.clock.now().Add(c.want)) {
			t.Errorf("for %s: until %s, %v", c.asked, v.Until, err)
		}
		if _, err := o.Approve(g.ID, "owner", c.asked); !errors.Is(err, ErrOver) {
			t.Errorf("approved twice: %v", err)
		}
	}
	g, _ := p.ask("i-2", p.code())
	if _, err := o.Approve(g.ID, "owner", 0); !errors.Is(err, ErrTooMany) {
		t.Errorf("a fifth access: %v", err)
	}
	if err := errors.Join(o.Deny(g.ID, "owner"), o.EndAll("owner")); err != nil || len(o.Active()) != 0 {
		t.Errorf("after the end of all: %+v, %v", o.Active(), err)
	}
	p.call("POST", wire.PathGrants, wire.GrantRequest{Incident: "i-1", Code: p.code()}, &g) // no wish
	if v, err := o.Approve(g.ID, "owner", 0); err != nil || !v.Until.Equal(o.clock.now().Add(8*time.Hour)) {
		t.Errorf("until %s, %v", v.Until, err)
	}
	p.call("POST", wire.PathGrants, wire.GrantRequest{Incident: "i-1", Code: p.code(), Minutes: 7 * 24 * 60}, &g) // more than anybody gets
	if v, err := o.Approve(g.ID, "owner", 0); err != nil || !v.Until.Equal(o.clock.now().Add(8*time.Hour)) {
		t.Errorf("until %s, %v", v.Until, err)
	}
	for _, err := range []error{o.End("no", "owner"), o.Deny("no", "owner"), o.Revoke("no", "owner")} {
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("unknown id: %v", err)
		}
	}
}

func TestOneQuestionIsPutToTheOwnerAtATime(t *testing.T) {
	o := openOffice(t, nil)
	p, q := o.enrolled("P"), o.enrolled("Q")
	first, got := p.ask("i-1", p.code())
	p.must(http.StatusCreated, got)
	code := q.code()
	_, got = q.ask("i-1", code)
	q.refused(http.StatusServiceUnavailable, wire.CodeBusy, got)
	_, got = p.ask("i-2", "000000x")
	p.refused(http.StatusForbidden, wire.CodeWrong, got)
	if w := o.Waiting(); len(w) != 1 || w[0].ID != first.ID {
		t.Fatalf("a wrong code took a question back: %+v", w)
	}
	second, got := p.ask("i-2", p.code())
	p.must(http.StatusCreated, got)
	if w := o.Waiting(); len(w) != 1 || w[0].ID != second.ID {
		t.Fatalf("waiting %+v", w)
	}
	if _, err := o.Approve(first.ID, "owner", 0); !errors.Is(err, ErrOver) {
		t.Errorf("a question that was taken back: %v", err)
	}
	q.refused(http.StatusNotFound, wire.CodeUnknown, q.call("GET", "/v1/grants/"+second.ID, nil, nil))
	q.refused(http.StatusNotFound, wire.CodeUnknown, q.call("DELETE", "/v1/grants/"+second.ID, nil, nil))
	for range 2 {
		var g wire.Grant
		p.must(http.StatusOK, p.call("DELETE", "/v1/grants/"+second.ID, nil, &g))
		if g.State != wire.GrantEnded {
			t.Errorf("given back: %+v", g)
		}
	}
	_, got = q.ask("i-1", q.code())
	q.must(http.StatusCreated, got)
	o.clock.pass(askLife)
	o.recorded("remote.expire", 1)
	if len(o.Waiting()) != 0 {
		t.Error("a lapsed question still waits")
	}
}

func TestALongPollTellsOfTheDecision(t *testing.T) {
	o := openOffice(t, func(_ *Config, l *limits) { l.wait = time.Hour })
	p := o.enrolled("V")
	g, got := p.ask("i-1", p.code())
	p.must(http.StatusCreated, got)
	answer := make(chan wire.Grant)
	go func() {
		var after wire.Grant
		p.call("GET", "/v1/grants/"+g.ID+"?wait=1h", nil, &after)
		answer <- after
	}()
	if _, err := o.Approve(g.ID, "owner", 0); err != nil {
		t.Fatal(err)
	}
	if after := <-answer; after.State != wire.GrantActive {
		t.Errorf("after the approval: %+v", after)
	}
	p.refused(http.StatusBadRequest, wire.CodeBad, p.call("GET", "/v1/grants/"+g.ID+"?wait=-1s", nil, nil))
}

func TestAVendorProvesThatTheLedgerOnlyGrew(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	older, err := ledger.ParseCheckpoint([]byte(p.reply.Checkpoint), o.ledger.Key().Verifier())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.ask("i-1", p.code())
	_, signed, _ := p.fetch(wire.PathCheckpoint)
	newer, err := ledger.ParseCheckpoint(signed, o.ledger.Key().Verifier())
	if err != nil || newer.Size <= older.Size {
		t.Fatalf("%+v, %v", newer, err)
	}
	o.invite() // the ledger does not stand still
	ask := func(from, to string) (c wire.Consistency, got outcome) {
		got = p.call("GET", wire.PathConsistency+"?from="+from+"&to="+to, nil, &c)
		return c, got
	}
	c, got := ask(strconv.FormatInt(older.Size, 10), strconv.FormatInt(newer.Size, 10))
	p.must(http.StatusOK, got)
	var proof tlog.TreeProof
	for _, text := range c.Proof {
		h, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		proof = append(proof, tlog.Hash(h))
	}
	if err := ledger.CheckConsistency(proof, newer, older); err != nil {
		t.Error(err)
	}
	for _, same := range [][2]string{{"0", "3"}, {"3", "3"}} {
		if c, got := ask(same[0], same[1]); got.status != http.StatusOK || len(c.Proof) != 0 || c.Proof == nil {
			t.Errorf("%v: %+v, %+v", same, c, got)
		}
	}
	for _, wrong := range [][2]string{{"3", "2"}, {"-1", "2"}, {"1", "1000"}, {"", ""}, {"1", "9223372036854775808"}} {
		_, got := ask(wrong[0], wrong[1])
		p.refused(http.StatusBadRequest, wire.CodeBad, got)
	}
}
