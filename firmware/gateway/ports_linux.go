package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/firmware/flow"
	"sekisho/firmware/health"
)

// ports follows the interfaces that the settings name, by rtnetlink: a network
// adapter is pulled and plugged in, somebody rebuilds the bridge. What comes back
// has another index, and nothing of what was set up for the old one. All
// functions are required.
//
// Nothing is kept from one event to the next but where a port was last dealt
// with: an event only says that it is time to look.
type ports struct {
	net    *Network
	hold   bool                        // ports are up only while the policy is in force
	retap  func() error                // capture anew, by name
	own    func(flow.MAC)              // told every address that the gateway has
	force  func(context.Context) error // puts the policy in force
	report func(error)                 // what is missing now, nil for nothing
	log    *slog.Logger

	placed map[string]spot // by port, also the bridge; owned by Run
	taps   string          // what is captured
}

// spot is where an interface was when it was last dealt with.
type spot struct{ index, master int }

const (
	// lookAgain is after how long something that failed is tried again, and a
	// lost subscription opened again; the reconciler looks as often.
	lookAgain = 500 * time.Millisecond
	// linkBuffer holds the events of one busy moment; more of them are no loss,
	// because any of them leads to a look.
	linkBuffer = 64
)

// Run follows until ctx ends.
func (p *ports) Run(ctx context.Context) error {
	if err := p.begin(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		p.follow(ctx)
		if sleep(ctx, lookAgain) != nil {
			break
		}
	}
	return ctx.Err()
}

// begin takes what Open has found and set up as dealt with.
func (p *ports) begin() error {
	now, err := p.interfaces()
	if err != nil {
		return err
	}
	p.placed = map[string]spot{}
	for _, name := range append([]string{p.net.Bridge}, p.net.Ports...) {
		if a := now[name]; a != nil && p.net.PortName(uint32(a.Index)) == name && p.net.missing[name] == nil {
			p.placed[name] = spot{a.Index, a.MasterIndex}
		}
	}
	return nil
}

// follow looks at every event of one subscription, which ends when the kernel
// had more to tell than it could hold.
func (p *ports) follow(ctx context.Context) {
	events, done := make(chan netlink.LinkUpdate, linkBuffer), make(chan struct{})
	defer close(done)
	err := netlink.LinkSubscribeWithOptions(events, done, netlink.LinkSubscribeOptions{ErrorCallback: func(err error) {
		if ctx.Err() == nil {
			p.log.Warn("events of the interfaces are read anew", "err", err)
		}
	}})
	if err != nil {
		p.report(fmt.Errorf("listen to the interfaces: %w", err))
		return
	}
	defer func() { // the subscription must not wait for a reader that left
		go func() {
			for range events { //nolint:revive // until it is closed
			}
		}()
	}()
	again := time.NewTimer(0) // look once: something may have come before the subscription
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-events:
			if !open {
				return
			}
			drain(events)
		case <-again.C:
		}
		if err := p.look(ctx); err != nil {
			p.report(err)
			again.Reset(lookAgain)
			continue
		}
	}
}

// drain takes what is waiting: one look is for all of it.
func drain(events <-chan netlink.LinkUpdate) {
	for range linkBuffer {
		select {
		case <-events:
		default:
			return
		}
	}
}

func (p *ports) interfaces() (map[string]*netlink.LinkAttrs, error) {
	all, err := netlink.LinkList()
	for i := 0; i < 5 && errors.Is(err, netlink.ErrDumpInterrupted); i++ { // something changed meanwhile
		all, err = netlink.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	out := make(map[string]*netlink.LinkAttrs, len(all))
	for _, l := range all {
		out[l.Attrs().Name] = l.Attrs()
	}
	return out, nil
}

// look deals with whatever is not where it was. The order matters: a name is
// known before a frame with the new index is read, and the policy is in force
// before a port is up.
func (p *ports) look(ctx context.Context) error {
	now, err := p.interfaces()
	if err != nil {
		return err
	}
	var errs []error
	errs = append(errs, p.capture(now))
	bridge := now[p.net.Bridge]
	var missing, back []string
	for _, name := range p.net.Ports {
		a := now[name]
		switch {
		case a == nil:
			missing = append(missing, name)
			delete(p.placed, name)
		case bridge == nil || a.MasterIndex != bridge.Index:
			if !p.net.isWiFi(name) { // there an access point is off
				missing = append(missing, name)
			}
			errs = append(errs, p.outside(name, a))
		case p.placed[name] != spot{a.Index, a.MasterIndex}:
			back = append(back, name)
		}
	}
	if len(back) > 0 {
		errs = append(errs, p.place(ctx, now, back))
	}
	if bridge == nil {
		missing = append([]string{p.net.Bridge}, missing...)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	p.report(absence(missing))
	return nil
}

func absence(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	return &health.Problem{Text: health.Text{
		EN: fmt.Sprintf("Not there, or not in the bridge: %s. What is plugged in there has no network.", strings.Join(missing, ", ")),
		JA: fmt.Sprintf("見つからないか、組み込まれていないポート：%s。そこにつながる機器は通信できません。", strings.Join(missing, "、")),
	}}
}

// capture taps the interfaces that are there now.
func (p *ports) capture(now map[string]*netlink.LinkAttrs) error {
	var taps strings.Builder
	for _, name := range append([]string{p.net.Bridge}, p.net.watched()...) {
		a := now[name]
		if a == nil {
			continue
		}
		fmt.Fprintln(&taps, name, a.Index)
		if !slices.Contains(p.net.drill, name) { // nothing is ever sent in a drill port's own name
			p.own(macOf(a)) // before a frame of it is read
		}
		if name != p.net.Bridge {
			p.net.learn(uint32(a.Index), name)
		}
	}
	if taps.String() == p.taps {
		return nil
	}
	if err := p.retap(); err != nil {
		return fmt.Errorf("watch the ports anew: %w", err)
	}
	p.taps = taps.String()
	p.net.turns.Add(1)
	return nil
}

// outside deals with a port that is in no bridge. It is taken down, so that it
// is not up already when it comes back: the quarantine VLAN of an isolated host
// went with the bridge. A port that somebody put into another bridge is left
// alone, and so is every port when this program does not hold them.
func (p *ports) outside(name string, a *netlink.LinkAttrs) error {
	_, was := p.placed[name]
	delete(p.placed, name)
	if !p.holds(name) || !was || a.MasterIndex != 0 || a.RawFlags&unix.IFF_UP == 0 {
		return nil
	}
	p.log.Warn("port left the bridge and is held down", "port", name)
	if err := netlink.LinkSetDown(&netlink.Device{LinkAttrs: *a}); err != nil {
		return fmt.Errorf("hold port %s down: %w", name, err)
	}
	return nil
}

func (p *ports) holds(name string) bool { return p.hold && !p.net.isWiFi(name) }

// place puts the policy in force for ports that are new, and raises them: one that
// cannot be raised keeps no other down.
func (p *ports) place(ctx context.Context, now map[string]*netlink.LinkAttrs, back []string) error {
	within, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	if err := p.force(within); err != nil {
		return fmt.Errorf("hold %s until the policy is in force: %w", strings.Join(back, ", "), err)
	}
	var placed []string
	var errs []error
	for _, name := range back {
		a := now[name]
		if p.holds(name) {
			if err := netlink.LinkSetUp(&netlink.Device{LinkAttrs: *a}); err != nil {
				errs = append(errs, fmt.Errorf("raise port %s: %w", name, err))
				continue
			}
		}
		p.placed[name] = spot{a.Index, a.MasterIndex}
		placed = append(placed, name)
	}
	if len(placed) > 0 {
		p.log.Info("ports are back", "ports", placed)
	}
	return errors.Join(errs...)
}
