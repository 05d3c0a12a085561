// Package vlan holds a host that is alone on its bridge port by moving the
// whole port into a quarantine VLAN of the gateway: whatever MAC, address, tag
// or protocol the host then uses, its frames reach nothing but the gateway.
//
// The gateway gives it to netcontain.Layers as the layer of ByVLAN;
// netcontain/plan chooses the hosts. It must never move the uplink, a trunk, or
// a port that is not of the bridge, and never forget what a port was before:
// that is written into the kernel, in the port's alias (see note), before the
// port is changed, so that neither a crash nor a restart loses it.
package vlan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"sekisho/netcontain"
)

// DefaultFlap is how long a moved port's link stays down. Linux reports a loss
// of carrier at most once a second (linkwatch), so a shorter one may go unseen
// by the host, which would keep its lease of the office.
const DefaultFlap = 2 * time.Second

// maxName is the longest device name in bytes (IFNAMSIZ of linux/if.h, less the
// zero).
const maxName = 15

// Config says what the Enforcer works on.
type Config struct {
	Bridge string // the LAN bridge, required; it need not exist yet
	Uplink string // never moved; may be empty

	// VLAN is the quarantine VLAN, 1 to 4094, used by nothing else. Zero holds
	// nobody, and lets go of what an earlier run held.
	VLAN uint16
	// Address is the gateway's address in the quarantine VLAN, with its
	// network; it is put on the device "<bridge>.<vlan>". It may be zero.
	Address netip.Prefix

	// Flap is how long the link of a port that was moved, or moved back, stays
	// down, so that the host asks for a lease anew. Zero: it is left up.
	Flap time.Duration

	Log *slog.Logger     // required
	Now func() time.Time // time.Now when nil
}

func (c Config) validate() error {
	var errs []error
	if c.Bridge == "" || len(c.Bridge) > maxName {
		errs = append(errs, errors.New("bridge: not a device name"))
	}
	if c.Uplink != "" && c.Uplink == c.Bridge {
		errs = append(errs, errors.New("uplink: is the bridge"))
	}
	if c.VLAN > maxVLAN {
		errs = append(errs, fmt.Errorf("quarantine VLAN %d: not between 1 and %d", c.VLAN, maxVLAN))
	}
	if len(c.device()) > maxName {
		errs = append(errs, fmt.Errorf("quarantine device %q: longer than %d bytes; give the bridge a shorter name", c.device(), maxName))
	}
	if c.Flap < 0 {
		errs = append(errs, errors.New("flap: negative"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("no Log"))
	}
	return errors.Join(errs...)
}

func (c Config) device() string { return c.Bridge + "." + strconv.Itoa(int(c.VLAN)) }

// RefusedError names a port that must not, or cannot, be moved. Its host is
// held by the sets alone.
type RefusedError struct{ Host, Port, Why string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("host %q: port %s is not moved to the quarantine VLAN: %s", e.Host, e.Port, e.Why)
}

// kernel is the bridge and its ports. Netlink is the real one.
type kernel interface {
	read(bridge string) (world, error)
	forwarding(w world) ([]sighting, error) // of the bridge that was read
	do(o op) error
	Close()
}

// Enforcer moves ports. All methods may be called from several goroutines.
type Enforcer struct {
	cfg Config

	mu     sync.Mutex
	kernel kernel
	wanted []netcontain.Host    // of the last Apply
	downed map[string]time.Time // ports whose link is down by us
	kept   map[string]note      // ports held, should somebody delete the alias
}

var _ netcontain.Enforcer = (*Enforcer)(nil)

// New opens netlink in the present network namespace and changes nothing.
// Close it.
func New(cfg Config) (*Enforcer, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("vlan enforcer: %w", err)
	}
	k, err := openNetlink()
	if err != nil {
		return nil, fmt.Errorf("vlan enforcer: %w", err)
	}
	return newEnforcer(cfg, k), nil
}

func newEnforcer(cfg Config, k kernel) *Enforcer {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Enforcer{cfg: cfg, kernel: k, downed: map[string]time.Time{}, kept: map[string]note{}}
}

// Close sets up the links that are down by us, for nobody is left who would, and
// gives the socket back. What is held stays held.
func (e *Enforcer) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.kernel.Close()
	w, err := e.kernel.read(e.cfg.Bridge)
	errs := []error{err}
	for _, name := range w.names() {
		if p := w.ports[name]; p.note.down {
			left := p.note
			left.down = false
			t := task{device: name, keep: left}
			t.raise(p, left)
			errs = append(errs, e.run(context.Background(), t))
		}
	}
	return errors.Join(errs...)
}

// Apply moves the ports of the hosts of p, and moves back those that are held
// for nobody else. Ports that cannot be moved are named in the error, each as a
// *RefusedError; the others are moved all the same.
func (e *Enforcer) Apply(ctx context.Context, p netcontain.Policy) error {
	if err := errors.Join(ctx.Err(), p.Validate()); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wanted = p.Canonical().Hosts
	w, err := e.kernel.read(e.cfg.Bridge)
	if err != nil {
		return err
	}
	tasks, errs := e.compile(w)
	for _, t := range tasks {
		if err := e.run(ctx, t); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// task is what is done to one device. Its first error ends it: a port is not
// touched when its note could not be written.
type task struct {
	device string
	why    string // for the log, empty when it is not worth a line
	keep   note   // what is known of the port afterwards
	ops    []op
}

func (e *Enforcer) run(ctx context.Context, t task) error {
	for _, o := range t.ops {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.kernel.do(o); err != nil {
			return fmt.Errorf("quarantine VLAN: %s: %w", o, err)
		}
		switch o.kind {
		case linkDown:
			e.downed[o.device] = e.cfg.Now()
		case linkUp:
			delete(e.downed, o.device)
		}
	}
	if t.keep.vlan != 0 {
		e.kept[t.device] = t.keep
	} else {
		delete(e.kept, t.device)
	}
	if t.why != "" && len(t.ops) > 0 {
		e.cfg.Log.Info(t.why, "device", t.device, "vlan", e.cfg.VLAN, "host", t.keep.host)
	}
	return nil
}

// due says that a link which is down by us has been down for long enough, or
// since before this program began.
func (e *Enforcer) due(port string) bool {
	since, known := e.downed[port]
	return !known || e.cfg.Now().Sub(since) >= e.cfg.Flap
}

// Observed returns the hosts whose ports are wholly in the quarantine VLAN. A
// port that is there for nobody, or is not wholly there and was not asked for,
// comes back under an ID that no host has. The error is an AlteredError when the
// gateway's own end of the VLAN is not as it should be, and an OutdatedError
// when a link waits to be set up again.
func (e *Enforcer) Observed(ctx context.Context) (netcontain.Policy, error) {
	if err := ctx.Err(); err != nil {
		return netcontain.Policy{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	w, err := e.kernel.read(e.cfg.Bridge)
	if err != nil {
		return netcontain.Policy{}, err
	}
	held, waiting := e.held(w)
	p := netcontain.Policy{Hosts: held}
	if what := e.cfg.missing(w, len(held) > 0); what != "" {
		return p, &netcontain.AlteredError{What: what}
	}
	if waiting != "" {
		return p, &netcontain.OutdatedError{What: "the link of port " + waiting + " is to be set up again"}
	}
	return p, nil
}

// held sorts the ports by whom they are held for.
func (e *Enforcer) held(w world) (hosts []netcontain.Host, waiting string) {
	ports, broken := map[string][]string{}, map[string]bool{}
	add := func(id string, ports ...string) {
		hosts = append(hosts, netcontain.Host{ID: id, Level: netcontain.Isolate, Ports: ports, By: []netcontain.Mechanism{netcontain.ByVLAN}})
	}
	for _, name := range w.names() {
		p := w.ports[name]
		wanted := slices.ContainsFunc(e.wanted, func(h netcontain.Host) bool { return h.ID == p.note.host })
		switch {
		case p.note.vlan != 0 && e.cfg.whole(w, p):
			ports[p.note.host] = append(ports[p.note.host], name)
		case p.note.vlan != 0 && wanted:
			broken[p.note.host] = true
		case p.note.vlan != 0:
			add("port "+name+", let go of by half", name)
		case e.cfg.stray(w, p):
			add("port "+name+", in the quarantine VLAN for nobody", name)
		}
		if p.note.down && e.due(name) {
			waiting = name
		}
	}
	for _, h := range e.wanted {
		// A host without a port is held where another one has its port.
		if !broken[h.ID] && slices.Equal(h.Ports, ports[h.ID]) {
			add(h.ID, h.Ports...)
		}
		delete(ports, h.ID)
	}
	for id, of := range ports {
		add(id, of...)
	}
	slices.SortFunc(hosts, func(a, b netcontain.Host) int { return cmp.Compare(a.ID, b.ID) })
	return hosts, waiting
}
