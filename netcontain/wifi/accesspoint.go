package wifi

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"sekisho/netcontain"
)

// accessPoint is one hostapd BSS. Its methods are called by one goroutine at a
// time.
type accessPoint struct {
	name, socket string
	denyFile     string // "" for none
	log          *slog.Logger
	isUp         func(name string) bool

	alone time.Time // hung: not asked before then

	// When a list is too long to be shown: what was denied, and in which run of
	// hostapd.
	run   instance
	added map[netcontain.MAC]bool
}

func newAccessPoint(cfg Config, name string) *accessPoint {
	a := &accessPoint{
		name: name, socket: filepath.Join(cfg.Folder, name),
		log: cfg.Log.With("component", "wifi", "interface", name), isUp: isUp,
	}
	if cfg.DenyFolder != "" {
		a.denyFile = filepath.Join(cfg.DenyFolder, name+".deny")
	}
	return a
}

// errOff says that nobody can be associated: there is no hostapd, and the
// interface is not up.
var errOff = errors.New("the access point is off")

// errAlone has no figure in it: what is logged twice a second must not differ.
var errAlone = errors.New("it hung a moment ago, and is asked again soon")

// talk calls do with a connection to hostapd, unless it hung a moment ago.
func (a *accessPoint) talk(ctx context.Context, do func(*control) error) error {
	if time.Now().Before(a.alone) {
		return &unreachableError{err: errAlone, hung: true}
	}
	c, err := dial(ctx, a.socket)
	if err == nil {
		defer c.close()
		err = do(c)
	}
	var gone *unreachableError
	switch {
	case !errors.As(err, &gone):
	case errors.Is(ctx.Err(), context.Canceled): // the caller did not wait: nothing is known of hostapd
	case gone.hung:
		a.alone = time.Now().Add(leaveAlone)
	case !a.isUp(a.name):
		return errOff
	}
	return err
}

// maxRounds of listing and undoing: each shows at least 100 entries more.
const maxRounds = 20

// apply makes hostapd refuse the wanted MACs, and nobody else on our account.
func (a *accessPoint) apply(ctx context.Context, wanted map[netcontain.MAC]bool) error {
	marks := map[netcontain.MAC]int{} // for the file: what an entry of ours says
	for m := range wanted {
		marks[m] = int(ours)
	}
	err := a.talk(ctx, func(c *control) error { return a.change(c, wanted, marks) })
	if errors.Is(err, errOff) {
		err = nil
	}
	return errors.Join(err, a.writeDenyFile(marks))
}

func (a *accessPoint) change(c *control, wanted map[netcontain.MAC]bool, marks map[netcontain.MAC]int) error {
	run, err := instanceOf(a.socket)
	if err != nil {
		return &unreachableError{err: err}
	}
	deny, accept, err := lists(c)
	if err != nil {
		return err
	}
	macs := inOrder(wanted)
	var errs []error
	for _, m := range macs {
		errs = append(errs, a.hold(c, m, deny, accept))
	}
	for _, m := range macs {
		errs = append(errs, takeOffAir(c, m))
	}
	a.run, a.added = run, maps.Clone(wanted)
	deny, err = a.release(c, wanted, deny, accept)
	for m := range wanted {
		if vlan, shown := deny.vlan[m]; shown && isOurs(vlan) {
			marks[m] = vlan
		} else if shown {
			delete(marks, m) // the owner denies it
		}
	}
	return errors.Join(append(errs, err)...)
}

func lists(c *control) (deny, accept list, err error) {
	if deny, err = c.list("DENY_ACL"); err != nil {
		return deny, accept, err
	}
	accept, err = c.list("ACCEPT_ACL")
	return deny, accept, err
}

func (a *accessPoint) hold(c *control, m netcontain.MAC, deny, accept list) error {
	if accept.hidden(m) {
		a.log.Warn("the accept list is too long to be read; a device was taken off it unseen", "mac", m)
	}
	for _, command := range holdCommands(m, deny, accept) {
		if err := c.do(command); err != nil {
			return err
		}
	}
	return nil
}

// takeOffAir deauthenticates m when it is there.
func takeOffAir(c *control, m netcontain.MAC) error {
	on, err := associated(c, m)
	if err != nil || !on {
		return err
	}
	return c.do("DEAUTHENTICATE " + m.String())
}

// release undoes every entry of ours that is not wanted, and returns the deny
// list as it is then.
func (a *accessPoint) release(c *control, wanted map[netcontain.MAC]bool, deny, accept list) (list, error) {
	for range maxRounds {
		for _, m := range strays(deny, wanted) {
			for _, command := range releaseCommands(m, deny.vlan[m], accept) {
				if err := c.do(command); err != nil {
					return deny, err
				}
			}
		}
		var err error
		if deny, err = c.list("DENY_ACL"); err != nil {
			return deny, err
		}
		if len(strays(deny, wanted)) == 0 {
			return deny, nil
		}
	}
	return deny, errors.New("the deny list did not become shorter")
}

// strays returns the MACs that an entry of ours denies and nobody wants denied.
func strays(deny list, wanted map[netcontain.MAC]bool) []netcontain.MAC {
	var out []netcontain.MAC
	for m, vlan := range deny.vlan {
		if isOurs(vlan) && !wanted[m] {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

// observe returns which of the wanted MACs may still use the access point, and
// which others are denied by an entry of ours.
func (a *accessPoint) observe(ctx context.Context, wanted map[netcontain.MAC]bool) (missing map[netcontain.MAC]bool, others []netcontain.MAC, err error) {
	missing = map[netcontain.MAC]bool{}
	err = a.talk(ctx, func(c *control) error {
		run, err := instanceOf(a.socket)
		if err != nil {
			return &unreachableError{err: err}
		}
		deny, accept, err := lists(c)
		if err != nil {
			return err
		}
		others = strays(deny, wanted)
		for _, m := range inOrder(wanted) {
			on, err := associated(c, m)
			if err != nil {
				return err
			}
			refused := deny.has(m) || deny.hidden(m) && run == a.run && a.added[m]
			if !refused || accept.has(m) || on {
				missing[m] = true
			}
		}
		return nil
	})
	if errors.Is(err, errOff) {
		err = nil
	}
	return missing, others, err
}

func inOrder(set map[netcontain.MAC]bool) []netcontain.MAC {
	return slices.SortedFunc(maps.Keys(set), compare)
}

func compare(a, b netcontain.MAC) int { return slices.Compare(a[:], b[:]) }
