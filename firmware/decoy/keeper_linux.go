package decoy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Config says where decoys live. Link, LAN and Log are required.
type Config struct {
	Link    string       // the LAN bridge, at most 11 characters
	LAN     netip.Prefix // IPv4
	Exclude []Range      // DHCP pool, the gateway, known assets
	Count   int          // how many to hold; default 3
	Seed    []byte       // secret of the device, see Choose

	// ProbeInterval is the time between the three ARP probes for an address,
	// and ProbeWait how long to listen after the last: 1 s and 2 s as in RFC
	// 5227, section 2.1.1, by default.
	ProbeInterval time.Duration
	ProbeWait     time.Duration
	// Recheck is how often the kernel is compared with what should be there,
	// and a lost decoy replaced. Default 30 s.
	Recheck time.Duration

	// Changed, if not nil, is told the addresses held, sorted, after every
	// change. It runs on Run's goroutine and must not block.
	Changed func([]netip.Addr)
	Log     *slog.Logger
}

const probes = 3 // PROBE_NUM of RFC 5227

// Keeper holds decoy addresses while Run runs.
type Keeper struct {
	cfg  Config
	kern *kernel
	wake chan struct{}

	mu      sync.Mutex
	held    []netip.Addr            // sorted
	claimed map[netip.Addr]struct{} // given up or found in use; bounded
	lost    []netip.Addr            // claimed, still in the kernel
	pending []netip.Addr            // being probed
}

// maxClaimed bounds what strangers can make us remember. Beyond it, the
// oldest knowledge goes; the probe finds a real owner again.
const maxClaimed = 1024

// New checks cfg. It changes nothing yet.
func New(cfg Config) (*Keeper, error) {
	if cfg.Log == nil {
		return nil, errors.New("decoys: no logger given")
	}
	if cfg.Link == "" || len(cfg.Link)+len(labelSuffix) > 15 {
		return nil, fmt.Errorf("decoys: interface name %q: 1 to %d characters, the address label needs the rest", cfg.Link, 15-len(labelSuffix))
	}
	if !cfg.LAN.IsValid() || !cfg.LAN.Addr().Is4() {
		return nil, fmt.Errorf("decoys on %s: LAN %s is not an IPv4 network", cfg.Link, cfg.LAN)
	}
	if cfg.Count < 0 {
		return nil, fmt.Errorf("decoys on %s: count %d", cfg.Link, cfg.Count)
	}
	cfg.Count = orDefault(cfg.Count, 3)
	cfg.ProbeInterval = orDefault(cfg.ProbeInterval, time.Second)
	cfg.ProbeWait = orDefault(cfg.ProbeWait, 2*time.Second)
	cfg.Recheck = orDefault(cfg.Recheck, 30*time.Second)
	return &Keeper{cfg: cfg, wake: make(chan struct{}, 1), claimed: make(map[netip.Addr]struct{})}, nil
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// Run chooses, probes and holds the addresses until ctx ends, then removes
// exactly what it added. Leftovers of a run that crashed are removed first. It
// returns nil when ctx ended and everything is gone again.
func (k *Keeper) Run(ctx context.Context) error {
	kern, err := openKernel(k.cfg.Link)
	if err != nil {
		return fmt.Errorf("decoys on %s: %w", k.cfg.Link, err)
	}
	k.mu.Lock()
	k.kern = kern
	k.mu.Unlock()
	defer kern.close()
	if err := kern.clear(); err != nil {
		return fmt.Errorf("decoys on %s: remove leftovers: %w", k.cfg.Link, err)
	}
	tick, look := time.NewTicker(k.cfg.Recheck), time.NewTicker(lookEvery)
	defer tick.Stop()
	defer look.Stop()
	for {
		k.settle(ctx)
		for wait := true; wait; {
			select {
			case <-ctx.Done():
				return k.finish()
			case <-k.wake:
				wait = false
			case <-tick.C:
				wait = false
			case <-look.C:
				wait = !k.moved()
			}
		}
	}
}

// lookEvery is how often the link is looked for: a bridge that was made anew is
// another link of the same name, without our addresses.
const lookEvery = time.Second

// moved says that the link is another one than that which is written to, and
// begins anew there: for a while nobody has answered for the decoys, so that they
// are probed for again before they are held.
func (k *Keeper) moved() bool {
	link, mac, err := k.kern.now()
	if err != nil { // not there at the moment; the health page's "ports" says so
		return false
	}
	k.mu.Lock()
	again := link.Attrs().Index != k.kern.link.Attrs().Index
	lost := again && len(k.held)+len(k.lost) > 0
	k.kern.link, k.kern.mac = link, mac // of the same bridge, too, the MAC may change: with its ports
	if again {
		k.held, k.lost = nil, nil
	}
	k.mu.Unlock()
	if lost {
		k.cfg.Log.Warn("the link of the decoys was made anew", "link", k.cfg.Link)
		k.changed()
	}
	return again
}

func (k *Keeper) finish() error {
	k.mu.Lock()
	k.held, k.lost = nil, nil
	k.mu.Unlock()
	k.changed()
	if err := k.kern.clear(); err != nil {
		return fmt.Errorf("decoys on %s: clean up: %w", k.cfg.Link, err)
	}
	return nil
}

// settle makes the kernel hold what it should: first let go of what is
// claimed, then fill up. A failure is logged and tried again at the next tick.
func (k *Keeper) settle(ctx context.Context) {
	k.release()
	if missing := k.cfg.Count - len(k.Addresses()); missing > 0 && ctx.Err() == nil {
		k.add(k.probe(ctx, k.candidates()))
		k.release() // what was claimed while we probed
	}
	if ctx.Err() != nil {
		return
	}
	if err := k.kern.apply(k.Addresses()); err != nil {
		k.cfg.Log.Error("hold decoy addresses", "link", k.cfg.Link, "error", err)
	}
}

// release takes claimed addresses out of the kernel.
func (k *Keeper) release() {
	k.mu.Lock()
	lost := k.lost
	k.lost = nil
	held := slices.Clone(k.held)
	k.mu.Unlock()
	if len(lost) == 0 {
		return
	}
	if err := k.kern.apply(held); err != nil {
		k.cfg.Log.Error("give up a claimed decoy", "link", k.cfg.Link, "error", err)
		k.mu.Lock()
		k.lost = append(k.lost, lost...)
		k.mu.Unlock()
	}
	k.changed()
}

// candidates are the addresses to probe: those chosen and not held yet.
func (k *Keeper) candidates() []netip.Addr {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := Choose(k.cfg.LAN, k.cfg.Count, k.cfg.Seed, k.refuse)
	k.pending = slices.DeleteFunc(all, func(a netip.Addr) bool { return slices.Contains(k.held, a) })
	return slices.Clone(k.pending)
}

func (k *Keeper) refuse(a netip.Addr) bool {
	if _, taken := k.claimed[a]; taken {
		return true
	}
	return slices.ContainsFunc(k.cfg.Exclude, func(r Range) bool { return r.contains(a) })
}

// probe asks the LAN and returns the candidates that nobody answered for.
// Owned ones are remembered, and the next settle picks their neighbours.
func (k *Keeper) probe(ctx context.Context, candidates []netip.Addr) []netip.Addr {
	if len(candidates) == 0 {
		return nil
	}
	owned, err := Probe(ctx, k.kern.link.Attrs().Index, k.kern.mac, candidates, k.cfg.ProbeInterval, k.cfg.ProbeWait)
	if err != nil {
		if ctx.Err() == nil {
			k.cfg.Log.Error("probe decoy addresses", "link", k.cfg.Link, "error", err)
		}
		return nil
	}
	if len(owned) > 0 {
		k.poke()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for a := range owned {
		k.remember(a)
	}
	return slices.DeleteFunc(candidates, func(a netip.Addr) bool { _, taken := k.claimed[a]; return taken })
}

func (k *Keeper) add(free []netip.Addr) {
	if len(free) == 0 {
		return
	}
	k.mu.Lock()
	all := append(slices.Clone(k.held), free...)
	k.mu.Unlock()
	slices.SortFunc(all, netip.Addr.Compare)
	if err := k.kern.apply(all); err != nil {
		k.cfg.Log.Error("hold decoy addresses", "link", k.cfg.Link, "error", err)
		return
	}
	k.mu.Lock()
	for _, a := range all { // claimed meanwhile: straight to the lost ones
		if _, taken := k.claimed[a]; taken {
			k.lost = append(k.lost, a)
		}
	}
	k.pending = nil
	k.held = slices.DeleteFunc(all, func(a netip.Addr) bool { _, taken := k.claimed[a]; return taken })
	k.mu.Unlock()
	k.changed()
}

// Seen tells the keeper that a device with address mac uses addr: the sender
// of an ARP packet, the target of somebody's ARP probe, or a DHCP lease. If addr
// is a decoy, it is given up at once. It never blocks; the bridge's own MAC
// and addresses outside the LAN mean nothing.
func (k *Keeper) Seen(addr netip.Addr, mac [6]byte) {
	addr = addr.Unmap()
	if !k.cfg.LAN.Contains(addr) || mac == [6]byte{} {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kern == nil || mac == k.kern.mac {
		return
	}
	if slices.Contains(k.pending, addr) {
		k.remember(addr)
		k.poke()
	}
	if i := slices.Index(k.held, addr); i >= 0 {
		k.held = slices.Delete(slices.Clone(k.held), i, i+1)
		k.lost = append(k.lost, addr)
		k.remember(addr)
		k.poke()
	}
}

// remember needs mu.
func (k *Keeper) remember(a netip.Addr) {
	if len(k.claimed) >= maxClaimed {
		clear(k.claimed)
	}
	k.claimed[a] = struct{}{}
}

func (k *Keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default: // already due
	}
}

// Addresses returns the decoys held now, sorted.
func (k *Keeper) Addresses() []netip.Addr {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.held)
}

func (k *Keeper) changed() {
	now := k.Addresses()
	k.cfg.Log.Info("decoy addresses changed", "link", k.cfg.Link, "addresses", now)
	if k.cfg.Changed != nil {
		k.cfg.Changed(now)
	}
}
