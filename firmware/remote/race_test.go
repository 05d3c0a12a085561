package remote

import (
	"net/http"
	"strconv"
	"sync"
	"testing"

	"sekisho/firmware/remote/wire"
)

// atOnce runs n calls together and counts the answers by status.
func atOnce(n int, call func(i int) outcome) map[int]int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[int]int{}
	for i := range n {
		wg.Go(func() {
			out := call(i)
			mu.Lock()
			defer mu.Unlock()
			got[out.status]++
		})
	}
	wg.Wait()
	return got
}

func TestHurryGetsNobodyMoreThanPatience(t *testing.T) {
	const n = 20
	o := openOffice(t, nil)
	p := o.enrolled("V")
	code := p.code()
	got := atOnce(n, func(int) outcome { _, out := p.ask("i-1", code); return out })
	if got[http.StatusCreated] != 1 || got[http.StatusForbidden] != freeTries || got[http.StatusTooManyRequests] != n-1-freeTries {
		t.Errorf("one code, many times: %v", got)
	}
	q := o.enrolled("W")
	if err := o.Deny(o.Waiting()[0].ID, "owner"); err != nil {
		t.Fatal(err)
	}
	got = atOnce(n, func(int) outcome { _, out := q.ask("i-1", "000000x"); return out })
	if got[http.StatusForbidden] != freeTries || got[http.StatusTooManyRequests] != n-freeTries {
		t.Errorf("many guesses: %v", got)
	}
	secret := o.invite()
	crowd := make([]*person, n)
	for i := range crowd {
		crowd[i] = o.newcomer(string(rune('A' + i)))
	}
	got = atOnce(n, func(i int) outcome {
		return crowd[i].call("POST", wire.PathEnroll, wire.EnrollRequest{Secret: secret, Name: crowd[i].name}, nil)
	})
	if got[http.StatusCreated] != 1 || got[http.StatusForbidden] != n-1 {
		t.Errorf("one invitation, many certificates: %v", got)
	}
}

func TestConnectionsAreLimitedInAllAndFromOneSource(t *testing.T) {
	l := usual
	l.connsEach = 2
	c := newConns(5, l, nil)
	for i, want := range []struct {
		from string
		ok   bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"c", true}, {"d", true}, {"e", false}} {
		if got := c.take(want.from); got != want.ok {
			t.Errorf("connection %d from %s: %v", i, want.from, got)
		}
	}
	c.give("a")
	if !c.take("e") || c.take("a") || len(c.from) != 5 {
		t.Errorf("after one has gone: %v", c.from)
	}
	for _, from := range []string{"a", "b", "c", "d", "e"} {
		c.give(from)
	}
	if c.open != 0 || len(c.from) != 0 {
		t.Errorf("all have gone: %d, %v", c.open, c.from)
	}
}

func TestWhoeverConnectsAgainAndAgainIsSlowedDownAlone(t *testing.T) {
	l := usual
	l.connects = 1e-9 // as if no time passed
	c := newConns(1000, l, nil)
	try := func(from string) bool {
		ok := c.take(from)
		if ok {
			c.give(from)
		}
		return ok
	}
	taken := 0
	for range 1000 {
		if try("a") {
			taken++
		}
	}
	if taken != l.connectsBurst/4 || !try("b") {
		t.Errorf("%d were taken from one source, and none from another", taken)
	}
	for i := range 10_000 {
		if try(strconv.Itoa(i)) {
			taken++
		}
	}
	if taken != l.connectsBurst-1 || len(c.each) > maxPaced {
		t.Errorf("%d were taken in all, %d sources are kept", taken, len(c.each))
	}
}

func TestOneSourceCannotTakeAnothersPlace(t *testing.T) {
	o := openOffice(t, func(_ *Config, l *limits) { l.connsEach = usual.connsEach })
	p := o.enrolled("V")
	for range usual.connsEach {
		c, err := o.dialFrom(9)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c, err := o.dialFrom(9) // one too many
	if err == nil {
		defer c.Close()
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Error("it was told something")
		}
	}
	p.must(http.StatusOK, p.call("GET", wire.PathStatus, nil, nil))
	o.stop()
	if got := o.refusals(); got[reasonTooMany] != 1 {
		t.Errorf("recorded %v", got)
	}
}
