// Package lab is the virtual office: a gateway, eight machines and an internet
// in network namespaces of the real kernel, with real servers (dnsmasq, smbd)
// and real attacks (nmap, arpspoof, a second dnsmasq, a bounded worm).
//
// `sekisho demo` and tests use it. Everything happens inside namespaces that
// Supervise made: when their first process dies, for whatever reason, the
// kernel removes every process, link, rule and mount of it. The lab must never
// touch the namespaces that it was started from, and knows nothing of the
// product: the product is started in it like any other program.
package lab

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"
)

// The plan of the office. Addresses outside of the LAN are those reserved for
// documentation (RFC 5737), MAC addresses too (RFC 7042 section 2.1.2).
var (
	lanPrefix   = netip.MustParsePrefix("192.168.77.0/24")
	lanPrefix6  = netip.MustParsePrefix("fd77:5e53::/64")
	gatewayLAN  = netip.MustParseAddr("192.168.77.1")
	gatewayLAN6 = netip.MustParseAddr("fd77:5e53::1")
	poolFirst   = netip.MustParseAddr("192.168.77.100")
	poolLast    = netip.MustParseAddr("192.168.77.150")
	gatewayWAN  = netip.MustParseAddr("203.0.113.2")
	ispRouter   = netip.MustParseAddr("203.0.113.1")
	webServer   = netip.MustParseAddr("198.51.100.10")
	dnsServer   = netip.MustParseAddr("198.51.100.53")
	ntpServer   = netip.MustParseAddr("198.51.100.123")
	// dropServer is contacted by the attacker alone: behind the NAT its
	// frames are told from the others' by this destination.
	dropServer = netip.MustParseAddr("198.51.100.66")
)

const (
	domain    = "office.test"
	webName   = "www.example.com"
	shareName = "share"
)

// Config says how the office starts.
type Config struct {
	// Dir is where the lab keeps settings and shared files; it must exist.
	Dir string
	// HoldPorts leaves the LAN ports down: the gateway program raises them.
	HoldPorts bool
	// Seed makes ordinary traffic and the worm's path repeatable.
	Seed uint64
	Log  *slog.Logger // must not be nil
}

// Office is a running virtual office.
type Office struct {
	Gateway  *Host
	Internet *Host
	Hosts    []*Host // in port order: Ports[i] leads to Hosts[i]
	LAN      netip.Prefix
	Pool     [2]netip.Addr // first and last address that dnsmasq leases
	Bridge   string
	WAN      string
	Ports    []string

	config Config
	roots  *x509.CertPool

	mu       sync.Mutex
	services []*service
	closers  []func() error
}

// Role is what a machine is for.
type Role string

// Roles of the machines.
const (
	RoleComputer Role = "computer"
	RoleNAS      Role = "nas"
	RolePrinter  Role = "printer"
	RoleTablet   Role = "tablet"
)

// staff are the machines of the office, in port order.
var staff = []struct {
	name string
	role Role
}{
	{"keiri-pc", RoleComputer}, {"eigyo-note", RoleComputer}, {"uketsuke-pc", RoleComputer}, {"soumu-pc", RoleComputer},
	{"nas", RoleNAS}, {"printer", RolePrinter}, {"tablet", RoleTablet}, {"shacho-note", RoleComputer},
}

// AttackerName is the ordinary machine that misbehaves in every scenario.
const AttackerName = "keiri-pc"

// VictimName is the machine that arp-spoof and rogue-dhcp aim at.
const VictimName = "uketsuke-pc"

// Start builds the office and starts its servers. The process must be inside
// (see Supervise). On an error everything that was started is stopped.
func Start(ctx context.Context, c Config) (*Office, error) {
	if c.Log == nil || c.Dir == "" {
		return nil, errors.New("lab: Config.Log and Config.Dir must be set")
	}
	if err := Tools("ip", "nft", "dnsmasq", "smbd", "smbclient"); err != nil {
		return nil, err
	}
	o := &Office{LAN: lanPrefix, Pool: [2]netip.Addr{poolFirst, poolLast}, Bridge: "br0", WAN: "wan0", config: c}
	if err := o.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the virtual office: %w", err), o.Close())
	}
	return o, nil
}

func (o *Office) start(ctx context.Context) error {
	if err := o.wire(); err != nil {
		return err
	}
	if err := o.serveInternet(ctx); err != nil {
		return err
	}
	if err := o.serveGateway(ctx); err != nil {
		return err
	}
	return nil
}

// Close stops servers and lets the namespaces go.
func (o *Office) Close() error {
	o.mu.Lock()
	services, closers := o.services, o.closers
	o.services, o.closers = nil, nil
	o.mu.Unlock()
	var errs []error
	var stopping sync.WaitGroup
	for _, s := range services {
		stopping.Go(s.stop)
	}
	stopping.Wait()
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errors.Join(errs...)
}

func (o *Office) closeLater(fn func() error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closers = append(o.closers, fn)
}

// Host returns the machine of that name, or nil.
func (o *Office) Host(name string) *Host {
	for _, h := range o.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// Attacker is the machine that scenarios turn bad.
func (o *Office) Attacker() *Host { return o.Host(AttackerName) }

// Join lets every machine ask for an address, and then starts the servers that
// run on machines of the office. The ports must be up.
func (o *Office) Join(ctx context.Context) error {
	errs := make(chan error, len(o.Hosts))
	for _, h := range o.Hosts {
		go func() { errs <- h.Renew(ctx) }()
	}
	for range o.Hosts {
		if err := <-errs; err != nil {
			return err
		}
	}
	if err := o.serveFiles(ctx); err != nil {
		return err
	}
	return o.servePrinter()
}

func (o *Office) rand(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(o.config.Seed, stream))
}

// packages names the Debian package of each outside program that is used.
var packages = map[string]string{
	"ip": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base", "smbd": "samba",
	"smbclient": "smbclient", "nmap": "nmap", "arpspoof": "dsniff", "nsenter": "util-linux",
	"hping3": "hping3", "hydra": "hydra", "dropbear": "dropbear-bin", "dropbearkey": "dropbear-bin", "ettercap": "ettercap-text-only",
	"iodine": "iodine", "iodined": "iodine", "ping": "iputils-ping", "curl": "curl", "impacket": "python3-impacket", "smbpasswd": "samba-common-bin",
}

// Tools checks that programs are installed; the error names their packages.
func Tools(names ...string) error {
	var errs []error
	for _, n := range append(names, "nsenter") {
		if _, err := find(n); err != nil {
			errs = append(errs, fmt.Errorf("%s is not installed: apt-get install %s", n, packages[n]))
		}
	}
	return errors.Join(errs...)
}

// find also looks where an ordinary user's PATH does not.
func find(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if p, err := exec.LookPath(dir + name); err == nil {
			return p, nil
		}
	}
	if name == "impacket" && !fileMissing(impacketDir+"psexec.py") { // a folder of programs
		return impacketDir, nil
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// retry calls fn until it succeeds or ctx ends, and returns its last error.
func retry(ctx context.Context, every time.Duration, fn func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func addrPort(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }

func hwAddr(n byte) net.HardwareAddr { return net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, n} }

func fileMissing(path string) bool {
	_, err := os.Stat(path)
	return err != nil
}
