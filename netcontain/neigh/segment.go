package neigh

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// Config says what a Segment works with. Nothing in it may be empty.
type Config struct {
	Bridge string // the LAN bridge: only its ports are spoken on

	// Neighbours returns every device that was seen on a port of the bridge,
	// the held ones too, with the addresses that are known to be its own.
	Neighbours func() []Neighbour
	// Never returns the MACs and addresses of the gateway, of its uplink routers
	// and of every other router: nothing is sent to them, and their places are
	// never told. nft.Enforcer has it. Without an answer nothing new is said.
	Never func() ([]netcontain.MAC, []netip.Addr, error)

	Now func() time.Time
	Log *slog.Logger
}

func (c Config) validate() error {
	var errs []error
	for _, f := range []struct {
		name    string
		missing bool
	}{{"Bridge", c.Bridge == ""}, {"Neighbours", c.Neighbours == nil}, {"Never", c.Never == nil}, {"Now", c.Now == nil}, {"Log", c.Log == nil}} {
		if f.missing {
			errs = append(errs, errors.New("no "+f.name))
		}
	}
	return errors.Join(errs...)
}

// Stats counts what a Segment did since it was made.
type Stats struct {
	Sent    uint64 // frames
	Failed  uint64 // frames that the kernel did not take
	Late    uint64 // questions of held hosts beyond the rate: not answered
	Skipped uint64 // pauses in reading, because somebody floods
	Evicted uint64 // devices and questions forgotten for newer ones
	Left    int    // things not said at present, beyond what the rate can repeat
}

// Report is what is done about one held host at present.
type Report struct {
	Told  int    // neighbours that are told to miss it
	Left  int    // neighbours beyond the bound
	Spoke uint64 // ARP and NDP messages of its own since it is held: many mean that it fights
}

// Segment is mechanism `segment`, an Enforcer for Layers.More. It works in the
// network namespace in which New was called; its methods may be called from
// several goroutines.
type Segment struct {
	cfg   Config
	ns    netns.NsHandle
	links *netlink.Handle
	wake  chan struct{}

	mu      sync.Mutex
	book    *book
	hosts   []netcontain.Host // as Apply was given them
	ports   map[string]*port  // spoken on
	closed  bool
	readers sync.WaitGroup
}

var _ netcontain.Enforcer = (*Segment)(nil)

// neighboursEvery is how often Config.Neighbours and Never are asked. A device
// that speaks itself is taken up at once.
const neighboursEvery = 2 * time.Second

// New opens no socket yet, and says nothing. The bridge must exist.
func New(cfg Config) (*Segment, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("segment: open netlink: %w", err)
	}
	bridge, err := links.LinkByName(cfg.Bridge)
	if err != nil {
		links.Close()
		return nil, fmt.Errorf("segment: bridge %s: %w", cfg.Bridge, err)
	}
	ns, err := netns.Get()
	if err != nil {
		links.Close()
		return nil, fmt.Errorf("segment: network namespace: %w", err)
	}
	return &Segment{
		cfg: cfg, ns: ns, links: links, wake: make(chan struct{}, 1),
		book: newBook(nowhere(bridge.Attrs().HardwareAddr)), ports: map[string]*port{},
	}, nil
}

// nowhere is a MAC of ours that no machine has: locally administered, the same
// after a restart.
func nowhere(bridge []byte) (m netcontain.MAC) {
	sum := sha256.Sum256(append([]byte("sekisho: nobody is here "), bridge...))
	copy(m[:], sum[:])
	m[0] = m[0]&^1 | 2
	return m
}

// Nowhere is the MAC at which held hosts and their neighbours are told to find
// each other. Answers to it were asked for by us.
func (s *Segment) Nowhere() netcontain.MAC { return s.book.nowhere }

// Apply makes p what is worked for, and says the first round before it
// returns. It returns a *netcontain.NeverError and changes nothing when a host
// of p may never be held. A port that cannot be spoken on keeps no other host
// from being held; it is tried again by the next Apply.
func (s *Segment) Apply(ctx context.Context, p netcontain.Policy) error {
	if err := errors.Join(ctx.Err(), p.Validate()); err != nil {
		return fmt.Errorf("contain on segments: %w", err)
	}
	no, err := s.never()
	if err != nil {
		return fmt.Errorf("contain on segments: %w", err)
	}
	hosts := p.Canonical().Hosts
	hosts = slices.DeleteFunc(hosts, func(h netcontain.Host) bool { return h.Level == netcontain.Watch })
	if err := no.refuse(hosts); err != nil {
		return fmt.Errorf("contain on segments: %w", err)
	}
	given := s.cfg.Neighbours()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("contain on segments: closed")
	}
	s.hosts = hosts
	err = s.openPorts()
	s.book.want(hosts, given, no, s.cfg.Now())
	s.speak()
	if err != nil {
		return fmt.Errorf("contain on segments: %w", err)
	}
	return nil
}

// never asks who may not be touched. A gateway has a MAC and an address of its
// own at least; not to be told of any means that somebody wired it wrongly.
func (s *Segment) never() (never, error) {
	macs, addrs, err := s.cfg.Never()
	if err != nil {
		return never{}, fmt.Errorf("who may never be touched: %w", err)
	}
	if len(macs) == 0 || len(addrs) == 0 {
		return never{}, errors.New("who may never be touched: not even the gateway is named")
	}
	return neverOf(append(macs[:len(macs):len(macs)], s.book.nowhere), addrs), nil
}

func (no never) refuse(hosts []netcontain.Host) error {
	const why = "the gateway's or a router's"
	for _, h := range hosts {
		for _, m := range h.MACs {
			if no.macs[m] {
				return &netcontain.NeverError{Host: h.ID, Entry: m.String(), Why: why}
			}
		}
		for _, a := range h.Addrs {
			if no.addrs[a] {
				return &netcontain.NeverError{Host: h.ID, Entry: a.String(), Why: why}
			}
		}
	}
	return nil
}

// openPorts opens the ports of the hosts, and no others; it wants mu held. The
// sockets of ports that are used no longer stay open until what was said there
// has been taken back.
func (s *Segment) openPorts() error {
	var errs []error
	for _, h := range s.hosts {
		for _, name := range h.Shared {
			index, err := s.indexOf(name)
			if err == nil && s.ports[name] != nil && s.ports[name].index != index {
				s.drop(name) // the device came back as another
			}
			if err == nil && s.ports[name] == nil {
				err = s.open(name, index)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("port %s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Segment) open(name string, index int) error {
	p, err := listen(s.ns, name, index)
	if err != nil {
		return err
	}
	s.ports[name] = p
	s.book.open(name, s.cfg.Now())
	s.readers.Go(func() { s.read(p) })
	return nil
}

func (s *Segment) drop(name string) {
	if p := s.ports[name]; p != nil {
		p.Close()
		delete(s.ports, name)
	}
}

// indexOf finds a port of the bridge. Any other device is refused: the uplink
// must never hear us.
func (s *Segment) indexOf(name string) (int, error) {
	bridge, err := s.links.LinkByName(s.cfg.Bridge)
	if err != nil {
		return 0, fmt.Errorf("bridge %s: %w", s.cfg.Bridge, err)
	}
	link, err := s.links.LinkByName(name)
	if err != nil {
		return 0, err
	}
	if link.Attrs().MasterIndex != bridge.Attrs().Index {
		return 0, fmt.Errorf("not a port of %s", s.cfg.Bridge)
	}
	return link.Attrs().Index, nil
}

// Observed returns the hosts that are worked for on all of their ports.
func (s *Segment) Observed(ctx context.Context) (netcontain.Policy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p netcontain.Policy
	if s.closed {
		return p, ctx.Err()
	}
	for _, h := range s.hosts {
		if !slices.ContainsFunc(h.Shared, func(name string) bool {
			index, err := s.indexOf(name)
			return err != nil || s.ports[name] == nil || s.ports[name].index != index
		}) {
			h.By = []netcontain.Mechanism{netcontain.BySegment}
			p.Hosts = append(p.Hosts, h)
		}
	}
	return p, ctx.Err()
}

// Stats returns the counters.
func (s *Segment) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.stats
}

// Report returns what is done about a held host.
func (s *Segment) Report(id string) (Report, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.book.reports[id]
	return r, ok
}

// Run repeats what has to be repeated until ctx ends, takes everything back
// then, and closes the Segment. It returns nil: no failure of the network may
// stop the defence.
func (s *Segment) Run(ctx context.Context) error {
	refresh := time.NewTicker(neighboursEvery)
	defer refresh.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			s.Close()
			return nil
		case <-refresh.C:
			s.refresh()
		case <-s.wake:
		case <-again.C:
		}
		s.mu.Lock()
		next := s.speak()
		now := s.cfg.Now()
		s.mu.Unlock()
		if !next.IsZero() {
			again.Reset(next.Sub(now))
		}
	}
}

// refresh takes up who came and went.
func (s *Segment) refresh() {
	s.mu.Lock()
	idle := len(s.hosts) == 0
	s.mu.Unlock()
	if idle {
		return
	}
	no, err := s.never()
	if err != nil {
		s.cfg.Log.Warn("neighbours on a segment are as before", "err", err)
		return
	}
	given := s.cfg.Neighbours()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.want(s.hosts, given, no, s.cfg.Now())
}

// speak says what is due and returns when there is more; it wants mu held.
func (s *Segment) speak() time.Time {
	out, next := s.book.due(s.cfg.Now())
	s.send(out)
	s.closeIdle()
	return next
}

// closeIdle closes ports on which nobody is held and nothing is to be taken
// back; it wants mu held.
func (s *Segment) closeIdle() {
	for name := range s.ports {
		used := slices.ContainsFunc(s.hosts, func(h netcontain.Host) bool { return slices.Contains(h.Shared, name) })
		if !used && !s.book.parting(name) {
			s.drop(name)
			s.book.close(name)
		}
	}
}

func (s *Segment) send(out []outgoing) {
	for _, o := range out {
		p := s.ports[o.port]
		if p == nil {
			s.book.stats.Failed++
			continue
		}
		if err := p.send(o.frame); err != nil {
			s.book.stats.Failed++
			s.cfg.Log.Debug("frame not sent", "port", o.port, "err", err)
		}
	}
}

// heard takes one frame that came in by a port.
func (s *Segment) heard(name string, frame []byte) {
	m, ok := parse(frame)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := s.cfg.Now()
	out := s.book.hear(name, m, now)
	s.send(out)
	s.find()
	s.speak() // at once: whoever asked gets a true answer at the same moment
	select {
	case s.wake <- struct{}{}: // Run has to look when there is more
	default:
	}
}

// find makes the gateway ask, as it does for anybody that it wants to reach, for
// those whom a held host asked for and nobody knows. Their answers come in by
// the port, and they are worked for from then on.
func (s *Segment) find() {
	if len(s.book.find) == 0 {
		return
	}
	asked := s.book.find
	s.book.find = nil
	bridge, err := s.links.LinkByName(s.cfg.Bridge)
	if err != nil {
		return // gone at the moment: what is known is worked for all the same
	}
	for _, a := range asked {
		if err := s.links.NeighSet(s.question(bridge.Attrs().Index, a)); err != nil {
			s.cfg.Log.Debug("neighbour not looked for", "addr", a, "err", err)
		}
	}
}

// question is what makes the kernel ask for an address now: a new entry that
// somebody wants to use, or one that it has, to be probed.
func (s *Segment) question(bridge int, a netip.Addr) *netlink.Neigh {
	entries, err := s.links.NeighList(bridge, 0)
	if err == nil {
		for _, n := range entries {
			if n.IP.Equal(a.AsSlice()) && len(n.HardwareAddr) == 6 && n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0 {
				n.State = netlink.NUD_PROBE
				return &n
			}
		}
	}
	return &netlink.Neigh{LinkIndex: bridge, IP: a.AsSlice(), Flags: netlink.NTF_USE}
}

// Close takes back what was said, twice, one settled apart, and gives the
// sockets back. Then nothing is held by this mechanism.
func (s *Segment) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	out := s.book.farewell()
	s.send(out)
	s.mu.Unlock()
	if len(out) > 0 {
		time.Sleep(settled) // nothing to wait for: it is the receivers' clock
		s.mu.Lock()
		s.send(out)
		s.mu.Unlock()
	}
	s.mu.Lock()
	for name := range s.ports {
		s.drop(name)
	}
	s.mu.Unlock()
	s.readers.Wait()
	s.links.Close()
	return s.ns.Close()
}
