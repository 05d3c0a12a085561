// Package wifi keeps isolated devices off the gateway's own access points:
// mechanism `wifi` of DESIGN section 4, through hostapd's control socket.
//
// The gateway's reconciler calls it as one layer of netcontain.Layers; plan
// reads its Stations, and the gateway the events of its Watcher. It must never
// delay the sets by more than Config.Timeout, never touch an entry of the
// owner's own lists but to put it back, and never do anything about a device
// that is merely limited.
//
// # Why deny, and not keep the station and separate it
//
// An isolated station that stays associated could read the help page. It would
// also keep the group key, with which it reaches every other station over the
// air without the access point (spoofed broadcasts; IEEE 802.11-2020, 12.7.1.4),
// and frames between stations of one access point never reach the bridge, so
// that the sets do not see them. hostapd's ap_isolate would close the second
// way only, and for the whole office: printers and screens would stop. So the
// station is deauthenticated and denied; hostapd then gives the others a new
// group key (wpa_strict_rekey=1 in hostapd.conf). The price is that the device
// itself shows no help page: the panel and the web page say what to do, and a
// cable into any port leads to the help page, held by the sets.
//
// # Whose entry it is
//
// hostapd keeps a VLAN beside every entry of its lists, which means nothing in
// the deny list. Entries of ours carry a number there that no VLAN has
// (IEEE 802.1Q: 12 bits), and in it what the owner's lists said of that MAC
// before: an entry of hostapd's accept list beats its deny list, so it is taken
// out while the device is held. What has to be undone is thus kept where it was
// done, and is gone exactly when it is: there is no memory file to go stale.
//
// Config.DenyFolder closes the gap that is left: a hostapd that starts again
// reads our entries with its settings, before its first beacon.
//
// # Limits
//
// hostapd shows at most 4096 bytes of a list, about 127 entries. Beyond that,
// who is denied is known from what this program did to this run of hostapd; and
// a device that may be on the hidden part of an accept list is taken off it
// without being put back (a warning says so; hostapd's RELOAD brings it back).
// An owner's entry on both lists is rewritten in two steps: a crash between them
// loses the denying one, which had no effect. A hostapd that was killed leaves
// its stations connected, and cannot be asked to take one off; Apply says so.
package wifi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sekisho/netcontain"
)

// Config says which access points to guard. Folder, Interfaces and Log are
// required.
type Config struct {
	Folder     string   // of hostapd's control sockets, "/run/hostapd"
	Interfaces []string // one access point each: the names of its sockets
	Log        *slog.Logger

	// DenyFolder gets one file for each access point, INTERFACE.deny, for
	// `deny_mac_file=` in hostapd.conf, beside the owner's own. None when empty.
	DenyFolder string

	// Timeout bounds Apply and Observed over all access points, DefaultTimeout
	// when zero.
	Timeout time.Duration
}

// Limits in time. hostapd answers from memory, in less than a millisecond; with
// a quarter of a second the emulated machine had false alarms. The sets hold the
// device while it does not answer.
const (
	DefaultTimeout = time.Second
	replyTimeout   = DefaultTimeout / 2 // without an answer to one command, hostapd is hung
	leaveAlone     = 2 * time.Second    // a hung one, so that it does not delay the next isolation too
)

func (c Config) withDefaults() (Config, error) {
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	var errs []error
	if c.Log == nil {
		errs = append(errs, errors.New("no Log"))
	}
	if !filepath.IsAbs(c.Folder) {
		errs = append(errs, fmt.Errorf("folder %q is not an absolute path", c.Folder))
	}
	if c.DenyFolder != "" && !filepath.IsAbs(c.DenyFolder) {
		errs = append(errs, fmt.Errorf("deny folder %q is not an absolute path", c.DenyFolder))
	}
	if len(c.Interfaces) == 0 {
		errs = append(errs, errors.New("no access point given"))
	}
	for i, name := range c.Interfaces {
		if name == "" || len(name) > 15 || name == "." || name == ".." || strings.ContainsAny(name, "/ \n") {
			errs = append(errs, fmt.Errorf("%q is not an interface name", name))
		}
		if slices.Contains(c.Interfaces[:i], name) {
			errs = append(errs, fmt.Errorf("interface %q given twice", name))
		}
	}
	return c, errors.Join(errs...)
}

// Enforcer denies devices on every access point. Its methods may be called from
// several goroutines. What it did stays in hostapd when the program ends.
type Enforcer struct {
	cfg Config

	mu   sync.Mutex
	aps  []*accessPoint
	want netcontain.Policy // what Apply was last given
}

var _ netcontain.Enforcer = (*Enforcer)(nil)

// New opens nothing and changes nothing: hostapd may start later.
func New(cfg Config) (*Enforcer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("wifi enforcer: %w", err)
	}
	e := &Enforcer{cfg: cfg}
	for _, name := range cfg.Interfaces {
		e.aps = append(e.aps, newAccessPoint(cfg, name))
	}
	return e, nil
}

// Apply makes every access point refuse every MAC of every host of p, takes
// those that are associated off the air, and lets go of everybody else whom an
// Enforcer had denied. Hosts have to be at Isolate and to have a MAC: another
// one is named in the error, and the others are held.
func (e *Enforcer) Apply(ctx context.Context, p netcontain.Policy) error {
	if err := errors.Join(ctx.Err(), p.Validate()); err != nil {
		return fmt.Errorf("deny on access points: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	hosts, err := deniable(p.Canonical().Hosts)
	needed := len(hosts)+len(e.want.Hosts) > 0 // an access point that does not answer matters
	e.want = netcontain.Policy{Hosts: hosts}
	wanted := macsOf(hosts)
	errs := e.each(ctx, func(ctx context.Context, a *accessPoint) error {
		err := a.apply(ctx, wanted)
		if !needed && errors.As(err, new(*unreachableError)) {
			return nil
		}
		return err
	})
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("deny on access points: %w", err)
	}
	return nil
}

// deniable returns the hosts that this layer can hold.
func deniable(hosts []netcontain.Host) ([]netcontain.Host, error) {
	var out []netcontain.Host
	var errs []error
	for _, h := range hosts {
		switch {
		case h.Level != netcontain.Isolate:
			errs = append(errs, fmt.Errorf("host %q: an access point can only isolate, not %s", h.ID, h.Level))
		case len(h.MACs) == 0:
			errs = append(errs, fmt.Errorf("host %q: no MAC to deny", h.ID))
		default:
			out = append(out, h)
		}
	}
	return out, errors.Join(errs...)
}

func macsOf(hosts []netcontain.Host) map[netcontain.MAC]bool {
	out := map[netcontain.MAC]bool{}
	for _, h := range hosts {
		for _, m := range h.MACs {
			out[m] = true
		}
	}
	return out
}

// Observed returns the hosts of the last Apply that every access point refuses
// by every MAC, and has none of associated. What is denied by an entry of ours
// for none of them comes back as a host of its own. When one access point cannot
// be asked, nobody is said to be held.
func (e *Enforcer) Observed(ctx context.Context) (netcontain.Policy, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	wanted := macsOf(e.want.Hosts)
	missing, strays := make([]map[netcontain.MAC]bool, len(e.aps)), make([][]netcontain.MAC, len(e.aps))
	errs := e.each(ctx, func(ctx context.Context, a *accessPoint) (err error) {
		i := slices.Index(e.aps, a)
		missing[i], strays[i], err = a.observe(ctx, wanted)
		return err
	})
	var out netcontain.Policy
	if err := errors.Join(errs...); err != nil && len(wanted) > 0 || ctx.Err() != nil {
		return out, fmt.Errorf("read deny lists: %w", errors.Join(err, ctx.Err()))
	}
	free := map[netcontain.MAC]bool{}
	for _, m := range missing {
		maps.Copy(free, m)
	}
	for _, h := range e.want.Hosts {
		if !slices.ContainsFunc(h.MACs, func(m netcontain.MAC) bool { return free[m] }) {
			h.By = []netcontain.Mechanism{netcontain.ByWiFi}
			out.Hosts = append(out.Hosts, h)
		}
	}
	for _, m := range slices.Concat(strays...) {
		out.Hosts = append(out.Hosts, netcontain.Host{
			ID: "denied on Wi-Fi for nobody: " + m.String(), MACs: []netcontain.MAC{m},
			Level: netcontain.Isolate, By: []netcontain.Mechanism{netcontain.ByWiFi},
		})
	}
	return out.Canonical(), nil
}

// each asks all access points at once: a hung one costs the others no time.
func (e *Enforcer) each(ctx context.Context, do func(context.Context, *accessPoint) error) []error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	errs := make([]error, len(e.aps))
	var wg sync.WaitGroup
	for i, a := range e.aps {
		wg.Go(func() {
			if err := do(ctx, a); err != nil {
				errs[i] = fmt.Errorf("access point %s: %w", a.name, err)
			}
		})
	}
	wg.Wait()
	return errs
}

// isUp says whether the interface is there and up. hostapd takes it down when
// it ends in good order; after a crash it stays up, with its stations.
func isUp(name string) bool {
	i, err := net.InterfaceByName(name)
	return err == nil && i.Flags&net.FlagUp != 0
}
