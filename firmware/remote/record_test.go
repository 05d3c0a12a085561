package remote

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

// pad collects entries.
type pad struct {
	entries []ledger.Entry
	err     error
}

func (p *pad) append(e ledger.Entry) error {
	if p.err == nil {
		p.entries = append(p.entries, e)
	}
	return p.err
}

func (p *pad) times() (n int) {
	for _, e := range p.entries {
		n += e.Detail["times"].(int)
	}
	return n
}

func TestIdenticalPollsAreOneEntryAnHour(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	g := p.granted("i-1")
	for range 3 {
		for range 100 {
			p.must(http.StatusOK, p.call("GET", wire.PathStatus, nil, nil))
			p.must(http.StatusOK, p.call("GET", "/v1/grants/"+g.ID, nil, nil))
		}
		o.clock.pass(20 * time.Minute)
	}
	p.must(http.StatusOK, p.call("GET", "/v1/grants/"+g.ID, nil, nil)) // the hour is over, and the access too
	got := o.recorded("remote.status", 2)
	if len(got) != 2 || number(t, got[0], "times") != 1 || number(t, got[1], "times") != 299 || got[1].Detail["from"] != "127.0.0.1" {
		t.Errorf("status: %+v", got)
	}
	o.stop()
	sum := map[string]int64{}
	for _, e := range o.entries("remote.grant") {
		sum[e.Subject] += number(t, e, "times")
	}
	if sum[g.ID+" active"] != 300 || sum[g.ID+" expired"] != 1 {
		t.Errorf("grant: %v", sum)
	}
}

func TestInventedAccessesAreOneKindOfPoll(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	others := o.enrolled("W").granted("i-1")
	for i := range 50 {
		for _, method := range []string{"GET", "DELETE"} {
			p.refused(http.StatusNotFound, wire.CodeUnknown, p.call(method, fmt.Sprintf("/v1/grants/%016x", i), nil, nil))
			p.refused(http.StatusNotFound, wire.CodeUnknown, p.call(method, "/v1/grants/"+others.ID, nil, nil))
		}
	}
	o.stop()
	for _, action := range []string{"remote.grant", "remote.end"} {
		if e := o.entries(action); len(e) != 2 || number(t, e[0], "times")+number(t, e[1], "times") != 100 {
			t.Errorf("%s: %+v", action, e)
		}
	}
}

func TestPollsAreBoundedAndLoseNoCount(t *testing.T) {
	var book pad
	c := newPolls(book.append)
	want := 0
	for i := range 3 * maxPolls {
		for range 1 + i%3 {
			if err := c.add(poll{actor: "v", action: "a", from: fmt.Sprint(i)}, noon); err != nil {
				t.Fatal(err)
			}
			want++
		}
	}
	if len(c.last) > maxPolls || len(c.more) > maxPolls {
		t.Errorf("%d polls are kept", len(c.last))
	}
	if err := c.flush(noon, 0); err != nil || book.times() != want || len(c.last) != 0 {
		t.Errorf("%d of %d are recorded, %v", book.times(), want, err)
	}
}

func TestAPollThatCannotBeRecordedIsAnErrorAndStaysDue(t *testing.T) {
	book := pad{err: errors.New("disk")}
	c := newPolls(book.append)
	p := poll{action: "a"}
	for range 2 {
		if err := c.add(p, noon); !errors.Is(err, book.err) {
			t.Errorf("error %v", err)
		}
	}
	book.err = nil
	if err := c.add(p, noon); err != nil || len(book.entries) != 1 {
		t.Errorf("%v, %+v", err, book.entries)
	}
	if err := c.add(p, noon.Add(-time.Hour)); err != nil || len(book.entries) != 2 {
		t.Errorf("after the clock went back: %v, %+v", err, book.entries)
	}
}

func TestStrangersAreCountedAndCannotFillTheLedger(t *testing.T) {
	var book pad
	s := newStrangers(book.append)
	const minutes, each = 24 * 60, 200
	now := noon
	for minute := range minutes {
		for i := range each {
			s.add(fmt.Sprint("source ", minute*each+i), reasonTooMany, now)
		}
		s.add("the one", reasonNoCert, now)
		now = now.Add(time.Minute)
		if err := s.flush(now, false); err != nil {
			t.Fatal(err)
		}
		if len(s.more) > maxSources+2 { // "others", by reason
			t.Fatalf("%d sources are kept", len(s.more))
		}
	}
	most := strangerBurst + minutes/5 + 1
	if len(book.entries) > most || len(book.entries) < strangerBurst {
		t.Errorf("%d entries a day, at most %d", len(book.entries), most)
	}
	rest := 0
	for _, tally := range s.more {
		rest += tally.times
	}
	if want := minutes * (each + 1); book.times()+rest != want {
		t.Errorf("%d + %d attempts are known, want %d", book.times(), rest, want)
	}
}

func TestStrangersWaitForALedgerThatFails(t *testing.T) {
	book := pad{err: errors.New("disk")}
	s := newStrangers(book.append)
	s.add("a", reasonNoCert, noon)
	if err := s.flush(noon, false); err != nil {
		t.Errorf("not due yet: %v", err)
	}
	if err := s.flush(noon.Add(strangerSpan), false); !errors.Is(err, book.err) {
		t.Errorf("error %v", err)
	}
	book.err = nil
	s.add("a", reasonNoCert, noon)
	if err := s.flush(noon.Add(strangerSpan), false); err != nil || book.times() != 2 {
		t.Errorf("%+v, %v", book.entries, err)
	}
}

func TestWhoIsTurnedAwayNeverWaitsForTheDiskAndIsCounted(t *testing.T) {
	full := errors.New("disk")
	for _, fails := range []error{nil, full} {
		var s *strangers
		recorded := 0
		s = newStrangers(func(e ledger.Entry) error {
			if !s.mu.TryLock() {
				t.Fatal("the disk is waited for with the count locked")
			}
			s.mu.Unlock()
			s.add("a", reasonNoCert, noon.Add(time.Second)) // meanwhile
			if fails == nil {
				recorded += e.Detail["times"].(int)
			}
			return fails
		})
		s.add("a", reasonNoCert, noon)
		if err := s.flush(noon, true); !errors.Is(err, fails) {
			t.Errorf("%v, want %v", err, fails)
		}
		left := s.more[attempt{"a", reasonNoCert}]
		if recorded+left.times != 2 || !left.last.Equal(noon.Add(time.Second)) || fails != nil && !left.first.Equal(noon) {
			t.Errorf("%d recorded, %+v left", recorded, left)
		}
	}
}

func TestAnIPv6NetworkIsOneSource(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1": "2001:db8::/64", "fe80::1%eth0": "fe80::/64"} {
		if got := source(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	if source(netip.Addr{}) == "" {
		t.Error("no address is no name")
	}
}
