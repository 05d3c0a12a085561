package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/firmware/asset"
	"sekisho/firmware/capture"
	"sekisho/firmware/config"
	"sekisho/firmware/drill/dummy"
	"sekisho/firmware/evidence"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/firmware/ioc"
	"sekisho/firmware/store"
	"sekisho/hal/rpi"
	"sekisho/hal/virtual"
	"sekisho/netcontain"
	"sekisho/netcontain/neigh"
	"sekisho/netcontain/refuge"
)

// Surroundings is what the process brings besides the settings.
type Surroundings struct {
	Listener net.Listener // for the web page
	// Vendor is the socket of the vendor's access, where the service manager hands
	// one over; nil: it is opened on the interface of the settings.
	Vendor  *net.TCPListener
	In, Out *os.File // a terminal for the panel; nil: headless
	Quit    func()   // the person at the terminal wants to end
	Version string   // of the program, for the records
	Log     *slog.Logger
}

// Ports of the refuge on the bridge. They are fixed, because the redirect
// outlives the process that serves them, and above those that Debian's
// services use.
const (
	refugeDNS  = 5853
	refugeHTTP = 5880
)

// Open brings the policy into force, raises the ports, and then builds the
// gateway on the real machine. Run it, then Close it.
//
// When anything but the policy fails, the ports are up all the same: the office
// keeps its network, what was isolated stays isolated, and the error says what
// to mend.
func Open(ctx context.Context, c config.Config, s Surroundings) (*Gateway, func() error, error) {
	network, err := Inspect(c.Network)
	if err != nil {
		return nil, nil, err
	}
	o := &opening{config: c, around: s, network: network, log: s.Log, faults: newFaults(), held: func() []netip.Addr { return nil }}
	g, err := o.open(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, o.close())
	}
	return g, o.close, nil
}

// opening builds the parts, and closes them in reverse.
type opening struct {
	config  config.Config
	around  Surroundings
	network *Network
	wire    *wire
	store   *store.Store
	log     *slog.Logger
	faults  *faults
	known   *ioc.Keeper
	held    func() []netip.Addr // addresses of decoys
	sftpKey string
	nowhere flow.MAC          // where the segment leads those that miss a held host
	beside  []companion       // run beside containment
	noticed []<-chan struct{} // say that a look at containment is due
	closers []func() error
}

func (o *opening) close() error {
	var errs []error
	for i := len(o.closers) - 1; i >= 0; i-- {
		errs = append(errs, o.closers[i]())
	}
	o.closers = nil
	return errors.Join(errs...)
}

func (o *opening) opened(c interface{ Close() error }) { o.closers = append(o.closers, c.Close) }

func (o *opening) open(ctx context.Context) (*Gateway, error) {
	if err := os.MkdirAll(o.config.Storage.State, 0o700); err != nil {
		return nil, fmt.Errorf("storage.state: %w", err)
	}
	if err := o.lock(); err != nil {
		return nil, err // another instance holds policy and ports
	}
	if err := dummy.Sweep(); err != nil { // of a drill that did not end
		o.log.Error("ports of a drill", "err", err)
	}
	contain, policy, err := o.defend(ctx)
	if err != nil {
		return nil, err
	}
	parts := Parts{
		Contain: contain, Restored: policy, Prover: o.wire, Listener: o.around.Listener,
		Heal:  func(macs []netcontain.MAC) error { return neigh.Heal(o.network.Bridge, macs) },
		Holds: o.wire, Services: map[string]Service{"containment": companions{o.beside, o.companionFailed}}, Log: o.log, Now: time.Now, faults: o.faults, Suspects: &suspects{},
	}
	for _, step := range []func(*Parts) error{o.records, o.spool, o.watch, o.lists, o.decoys, o.drills, o.addressed, o.refuge, o.panel, o.vendor, o.copies} {
		if err := step(&parts); err != nil {
			return nil, err
		}
	}
	cfg := o.gatewayConfig()
	cfg.SFTPKey = o.sftpKey
	return New(cfg, parts)
}

// lock keeps a second instance away from the same state, and from the same
// bridge with other state: two that both put their policy in force would let go,
// in turn, whom the other holds. The name of the bridge's lock is of this network
// namespace (unix(7), abstract sockets), and free again when the process dies.
func (o *opening) lock() error {
	path := filepath.Join(o.config.Storage.State, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the state folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("another sekisho runs on %s already; stop it first ('systemctl stop sekisho')", o.config.Storage.State)
	}
	o.opened(f)
	guard, err := net.Listen("unix", "@sekisho/"+o.config.Network.Bridge)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("another sekisho guards bridge %s already; stop it first ('systemctl stop sekisho')", o.config.Network.Bridge)
	}
	if err != nil {
		return fmt.Errorf("lock the bridge: %w", err)
	}
	o.opened(guard)
	return nil
}

// defend restores the policy that was in force, and raises the ports behind it.
func (o *opening) defend(ctx context.Context) (*netcontain.Reconciler, netcontain.Policy, error) {
	contain, err := o.reconciler()
	if err != nil {
		return nil, netcontain.Policy{}, fmt.Errorf("set up containment: %w", permission(err))
	}
	policy, holding := o.restored(ctx)
	o.wire.restore(holding)
	ctx, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	if err := contain.Set(ctx, policy); !netcontain.SetsInForce(err) {
		return nil, policy, fmt.Errorf("restore the containment policy: %w", permission(err))
	} else if err != nil { // the reconciler goes on trying
		o.log.Error("restore the containment policy: the sets are in force, not every layer", "err", err)
		o.faults.set("drift", err)
	}
	if err := savePolicy(o.config.Storage.State, policy, o.wire.Holding()); err != nil {
		o.faults.set("policy", err)
	}
	if o.config.Network.HoldPorts {
		err = o.network.Raise()
	}
	if missing := o.network.incomplete(); missing != nil { // ports and uplink go on looking
		o.log.Warn("begin without every interface", "err", missing)
	}
	return contain, policy, err
}

// restored is what the file and the journal say together: the power may have
// gone between the two, and either may be damaged. What one of them holds is
// held.
func (o *opening) restored(ctx context.Context) (netcontain.Policy, Holding) {
	policy, holding, err := loadPolicy(o.config.Storage.State)
	if err != nil {
		o.log.Error("the policy file is damaged; the database decides", "err", err)
		o.faults.set("history", errors.Join(err, setAside(policyPath(o.config.Storage.State))))
	}
	policy.Allow = o.config.Network.Allow
	journalled, err := o.journalled(ctx)
	if err != nil {
		o.log.Error("read held devices from the database", "err", err)
	}
	o.remembered(ctx)
	policy.Lockdown = policy.Lockdown || o.lockedDown(ctx)
	for _, h := range journalled {
		if !slices.ContainsFunc(policy.Hosts, func(have netcontain.Host) bool { return have.ID == h.ID }) {
			policy.Hosts = append(policy.Hosts, h)
		}
	}
	return policy, holding
}

// remembered asks the database who was on which port, until the inventory is
// there: the first policy should know a held host's port, and who shares it, also
// when the policy file does not.
func (o *opening) remembered(ctx context.Context) {
	if o.store == nil {
		return
	}
	known, err := o.store.Assets(ctx)
	if err != nil {
		o.log.Error("read devices from the database", "err", err)
		return
	}
	known = withProtected(known, protected(o.config.Policy.Protected), time.Now()) // whom the segment sends nothing
	o.wire.devices = func() []asset.Asset { return known }
}

// lockedDown asks the database for what the policy file alone would forget.
func (o *opening) lockedDown(ctx context.Context) bool {
	if o.store == nil {
		return false
	}
	on, _, err := o.store.GetMeta(ctx, lockdownKey)
	if err != nil {
		o.log.Error("read the lockdown from the database", "err", err)
	}
	return on == "on"
}

// journalled asks the database who is held. What it could read counts, even
// when there was an error.
func (o *opening) journalled(ctx context.Context) ([]netcontain.Host, error) {
	if err := o.openStore(); err != nil {
		return nil, err
	}
	kept, err := o.store.OpenIncidents(ctx)
	var held []netcontain.Host
	for _, i := range kept {
		if i.State.Held() {
			held = append(held, host(i))
		}
	}
	return held, err
}

// watch opens the ring: every LAN port inwards, and the bridge outwards, so
// that each frame is seen once, with the port where it came in.
func (o *opening) watch(p *Parts) error {
	tapsOf := func(ports []string) (taps []capture.Tap) {
		for _, port := range ports {
			taps = append(taps, capture.Tap{Name: port, In: true})
		}
		return append(taps, capture.Tap{Name: o.network.Bridge, Out: true})
	}
	live, err := capture.OpenLive(capture.LiveConfig{Taps: tapsOf(o.network.there())}) // the others are tapped when they come, see ports
	if err != nil {
		return permission(err)
	}
	o.opened(live)
	p.Source = live
	own := func(mac flow.MAC) { p.Pipeline.inventory.Own(mac) }
	p.Services["ports"] = &ports{
		net: o.network, hold: o.config.Network.HoldPorts, log: o.log.With("component", "ports"),
		retap: func() error { return live.Retap(tapsOf(o.network.tapped())) }, own: own,
		force:  func(ctx context.Context) error { return inForce(ctx, p.Contain) },
		report: func(err error) { o.faults.tell("ports", err) },
	}
	p.Services[checkWAN] = &uplink{
		net: o.network, lan: o.config.Network.LAN, quarantine: o.quarantineNet(), own: own, report: o.faults.tell, log: o.log.With("component", "uplink"),
	}
	return nil
}

// addressed watches what the gateway is called, for the detectors. It needs the
// pipeline.
func (o *opening) addressed(p *Parts) error {
	p.Services[checkLAN] = &addresses{
		net: o.network, lan: o.config.Network.LAN, tell: p.Pipeline.Readdress, report: o.faults.tell, log: o.log.With("component", "addresses"),
	}
	return nil
}

// quarantineNet is the network of isolated devices, zero when there is none.
func (o *opening) quarantineNet() netip.Prefix {
	if o.quarantineDevice() == "" {
		return netip.Prefix{}
	}
	return o.config.Network.Quarantine
}

// inForce looks once whether the sets hold the policy, and makes them. A press may
// cut a look short, and applies the policy itself; then it looks again.
func inForce(ctx context.Context, contain *netcontain.Reconciler) error {
	err := netcontain.ErrGaveWay
	for n := 0; n < 3 && errors.Is(err, netcontain.ErrGaveWay); n++ {
		_, err = contain.Check(ctx)
	}
	if netcontain.SetsInForce(err) {
		return nil
	}
	return err
}

func (o *opening) refuge(p *Parts) error {
	c := refuge.Config{
		Interface: o.network.Bridge, HTTPPort: refugeHTTP, DNSPort: refugeDNS,
		Vendor: o.config.Office.Vendor, VendorPhone: o.config.Office.VendorPhone, Log: o.log.With("component", "refuge"),
		Since: p.Suspects.since,
	}
	if device := o.quarantineDevice(); device != "" {
		c.Quarantine = refuge.Quarantine{Interface: device, Prefix: o.config.Network.Quarantine, Prefix6: refuge.UniqueLocal(o.network.BridgeMAC[:])}
	}
	for _, a := range o.network.Addrs {
		switch {
		case a.Is4() && !c.Addr4.IsValid():
			c.Addr4 = a
		case a.Is6() && !a.IsLinkLocalUnicast() && !c.Addr6.IsValid():
			c.Addr6 = a
		}
	}
	r, err := refuge.Listen(context.Background(), c)
	if err != nil { // isolation holds without a help page
		p.Services["refuge"] = broken{err}
		return nil
	}
	o.closers = append(o.closers, func() error {
		if err := r.Close(); !errors.Is(err, net.ErrClosed) { // Run has closed it
			return err
		}
		return nil
	})
	p.Services["refuge"] = r
	return nil
}

// broken is a part that could not be built: it shows as a fault.
type broken struct{ err error }

func (b broken) Run(context.Context) error { return b.err }

// panel opens the front panel. What is missing of one on hardware is a warning, and
// is tried again; isolation does not wait for a lamp.
func (o *opening) panel(p *Parts) error {
	log := o.log.With("component", "panel")
	if o.config.Panel.Kind == "gpio" {
		front := panelConfig(o.config.Panel)
		front.Logger, front.Now = log, time.Now
		p.Panel = rpi.Open(front)
		return nil
	}
	c := virtual.Config{Logger: log, Now: time.Now}
	if o.config.Panel.Kind == "virtual" {
		c.In, c.Out, c.Quit = o.around.In, o.around.Out, o.around.Quit
		if o.around.Listener != nil { // what was printed before is gone from the terminal
			c.Page = "http://" + o.around.Listener.Addr().String() + "/"
		}
	}
	p.Panel = virtual.New(c)
	return nil
}

// panelConfig is the settings in hal/rpi's words.
func panelConfig(c config.Panel) rpi.Config {
	return rpi.Config{
		Chip: c.Chip, Button: c.Button, ActiveLow: c.ActiveLow,
		Red: c.Red, Green: c.Green, Blue: c.Blue, LampActiveLow: c.LampActiveLow,
		Buzzer: c.Buzzer, Mute: c.Mute, Night: rpi.Night(c.Night),
		Screen: rpi.ScreenConfig{
			Kind: c.Screen, Bus: c.ScreenBus, Addr: uint16(c.ScreenAddress), Height: c.ScreenHeight, UpsideDown: c.ScreenUpsideDown,
		},
	}
}

func (o *opening) gatewayConfig() Config {
	c := o.config
	hours, _ := incident.ParseHours(c.Policy.BusinessHours, time.Local) // config has validated it
	return Config{
		Lang: c.Office.Lang, Office: c.Office.Name, Vendor: c.Office.Vendor, VendorPhone: c.Office.VendorPhone,
		Policy: incident.Policy{
			AutoIsolate: c.Policy.AutoIsolate, MaxHosts: c.Policy.MaxHosts, MaxPercent: c.Policy.MaxPercent,
			Window: time.Duration(c.Policy.Window), Business: hours, LAN: c.Network.Inside(),
			Probation: time.Duration(c.Policy.Probation), ReleaseAfter: time.Duration(c.Policy.ReleaseAfter),
			Protected: ids(protected(c.Policy.Protected)),
		},
		Allow: c.Network.Allow,
		LAN:   c.Network.Inside(), DrillLimit: time.Duration(c.Drill.Limit),
		Eve:    c.Eve,
		Learn:  time.Duration(c.Detect.Learn),
		Before: time.Duration(c.Evidence.Before), After: time.Duration(c.Evidence.After), StateDir: c.Storage.State,
		Evidence: c.Storage.Evidence, Ring: int64(c.Storage.Spool),
		Retention: evidence.RetentionPolicy{Keep: time.Duration(c.Evidence.Keep), Quota: int64(c.Evidence.Quota)},
	}
}
