package refuge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
)

// diary is what became of the parts of a seat, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// since returns the lines since the last call.
func (d *diary) since() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := strings.Join(d.lines, ", ")
	d.lines = nil
	return out
}

// chair is a part that only notes.
type chair struct {
	name  string
	diary *diary
	fail  chan error
	once  sync.Once
}

func (c *chair) serve(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-c.fail:
		return err
	}
}

func (c *chair) Close() error {
	c.once.Do(func() { c.diary.note("close %s", c.name) })
	return nil
}

// newSeat returns a seat for whatever device and error point to, with one part
// for each name, whose key is the index, and for "router" the address too.
func newSeat(t *testing.T, d *device, failure *error, names *[]string, refuse map[string]error) (*seat, *diary, map[string]*chair) {
	t.Helper()
	h, err := newHere()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	notes, chairs := &diary{}, map[string]*chair{}
	s := &seat{name: "test", on: "dev0", here: h, log: slog.New(slog.DiscardHandler), open: map[string]running{}, absent: true}
	s.find = func() (device, error) { return *d, *failure }
	s.parts = func(d device) (out []part) {
		for _, n := range *names {
			key := any(d.Index)
			if n == "router" {
				key = [2]any{d.Index, d.local}
			}
			out = append(out, part{name: n, key: key, maybe: n == "80", open: func(context.Context) (opened, error) {
				notes.note("open %s", n)
				if err := refuse[n]; err != nil {
					return nil, err
				}
				c := &chair{name: n, diary: notes, fail: make(chan error, 1)}
				chairs[n] = c
				return c, nil
			}})
		}
		return out
	}
	t.Cleanup(func() {
		s.leave(nil)
		s.ended.Wait()
	})
	return s, notes, chairs
}

func TestWhatIsOpenStaysOpenWhileWhatItDependsOnStays(t *testing.T) {
	d, failure, names := device{Interface: net.Interface{Index: 3}}, error(nil), []string{"page", "80"}
	s, notes, chairs := newSeat(t, &d, &failure, &names, map[string]error{"80": errors.New("another's")})
	for _, step := range []struct {
		name   string
		change func()
		want   string
	}{
		{"at first", func() {}, "open page, open 80"},
		{"nothing new", func() {}, ""},
		{"an address more", func() { d.local, names = quarantineNet.Addr(), append(names, "router") }, "open router"},
		{"another address", func() { d.local = quarantineNet.Addr().Next() }, "open router, close router"},
		{"not ready for a moment", func() { failure = errors.New("it is down") }, ""},
		{"ready again", func() { failure = nil }, ""},
		{"an address less", func() { names = names[:2] }, "close router"},
		{"made anew", func() { d.Index = 4 }, "open page, close page, open 80"},
		{"one fails", func() { chairs["page"].fail <- net.ErrClosed; <-await(s, "page") }, ""},
		{"and is there again", func() {}, "open page"},
		{"somebody else's", func() { failure = errForeign }, "close page"},
		{"ours again", func() { failure = nil }, "open page, open 80"},
		{"gone", func() { failure = netlink.LinkNotFoundError{} }, "close page"},
	} {
		step.change()
		s.look(t.Context())
		if got := notes.since(); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}

// await ends when a part has, and leaves its error where the seat looks for it.
func await(s *seat, name string) <-chan struct{} {
	done, r := make(chan struct{}), s.open[name]
	go func() {
		err := <-r.ended
		r.ended <- err
		close(done)
	}()
	return done
}

func TestAPartThatCannotBeOpenedIsTriedAgainAndKeepsNoOtherFromBeing(t *testing.T) {
	d, failure, names := device{Interface: net.Interface{Index: 3}}, error(nil), []string{"DHCP", "page"}
	refuse := map[string]error{"DHCP": errors.New("no socket")}
	s, notes, _ := newSeat(t, &d, &failure, &names, refuse)
	s.look(t.Context())
	s.look(t.Context())
	delete(refuse, "DHCP")
	s.look(t.Context())
	if got := notes.since(); got != "open DHCP, open page, open DHCP, open DHCP" {
		t.Error(got)
	}
	if !slices.Contains(names, "page") || s.open["page"].open == nil || s.open["DHCP"].open == nil {
		t.Errorf("%v", s.open)
	}
}

func TestWhoWaitsForAPageGetsItWhenTheSocketsGo(t *testing.T) {
	cfg := testConfig()
	f, err := listenFront(t.Context(), cfg, device{}, fixed(cfg.Addr4, cfg.Addr6), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.serve(ctx) }()
	address := fmt.Sprintf("127.0.0.1:%d", f.httpPort)
	c := begin(t, func(d *net.Dialer) (net.Conn, error) { return d.Dial("tcp", address) })
	// A whole answer says that the first connection, too, has been taken.
	finish(t, begin(t, func(d *net.Dialer) (net.Conn, error) { return d.Dial("tcp", address) }))
	stop()
	within(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, func() string { return "it still listens" })
	finish(t, c)
	if err := <-ended; !over(err) {
		t.Error(err)
	}
}
