package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Scenario is one way in which the attacker's machine misbehaves.
type Scenario struct {
	Name      string
	Tools     []string // programs that it needs
	Detectors []string // by contract name; one of them has to speak
	// Within is how long it may take until somebody is told, where that is not
	// a matter of seconds; 0: as usual.
	Within time.Duration
	// MaxLost bounds the files that are lost until the attacker is isolated;
	// 0: nothing is lost.
	MaxLost int

	// prepare starts what is attacked, before anything is measured. May be nil.
	prepare func(ctx context.Context, o *Office) error
	// attack misbehaves until ctx ends.
	attack func(ctx context.Context, o *Office) error
	// isAttack tells frames that the attacker sends for it from others.
	isAttack func(o *Office, f frame) bool
	// works succeeds while the attack has its way through the gateway's own
	// services, where no frame of the attacker arrives that could be counted. May
	// be nil.
	works func(ctx context.Context, o *Office) error
	// lost counts files of the share that are gone. May be nil.
	lost func(o *Office) (int, error)
}

// Scenarios lists all, the default first.
func Scenarios() []Scenario {
	toSMB := func(_ *Office, f frame) bool { return f.tcpSYN && f.dstPort == 445 }
	toNAS := func(o *Office, f frame) bool { return f.dstIP.IsValid() && f.dstIP == o.Host("nas").Addr() }
	toDrop := func(_ *Office, f frame) bool { return f.dstIP == dropServer }
	toAll := func(_ *Office, f frame) bool { return f.tcpSYN || f.arpOp == 1 }
	spoofed := func(o *Office, f frame) bool {
		return f.arpOp != 0 && f.arpSenderIP != o.Attacker().Addr() && !f.arpSenderIP.IsUnspecified()
	}
	portScan := []string{"port_scan"}
	return []Scenario{
		{Name: "worm", Tools: []string{"smbclient"}, Detectors: []string{"worm", "host_scan", "decoy_touch"}, attack: worm, isAttack: toSMB},
		{Name: "scan", Tools: []string{"nmap"}, Detectors: []string{"host_scan", "arp_scan", "decoy_touch"}, attack: scan, isAttack: toAll},
		{Name: "ping-sweep", Tools: []string{"nmap"}, Detectors: []string{"arp_scan", "host_scan", "decoy_touch"},
			attack: nmapLAN("-sn"), isAttack: toAll},
		{Name: "slow-scan", Tools: []string{"nmap"}, Detectors: []string{"arp_scan", "host_scan", "decoy_touch"}, Within: time.Minute,
			attack: nmapLAN("-Pn", "-sS", "-T2", "-p", "445"), isAttack: toAll},
		{Name: "port-scan", Tools: []string{"nmap"}, Detectors: portScan, attack: nmapNAS("-sS", "-p", "1-1024"), isAttack: toNAS},
		{Name: "connect-scan", Tools: []string{"nmap"}, Detectors: portScan, attack: nmapNAS("-sT", "-p", "1-1024"), isAttack: toNAS},
		{Name: "fin-scan", Tools: []string{"nmap"}, Detectors: portScan, attack: nmapNAS("-sF", "-p", "1-1024"), isAttack: toNAS},
		{Name: "udp-scan", Tools: []string{"nmap"}, Detectors: portScan, attack: nmapNAS("-sU", "--top-ports", "100"), isAttack: toNAS},
		{Name: "flood", Tools: []string{"hping3"}, Detectors: []string{"flood"}, attack: flood, isAttack: toNAS},
		{Name: "brute-force", Tools: []string{"hydra", "dropbear", "dropbearkey"}, Detectors: []string{"brute_force"}, Within: time.Minute,
			prepare: serveSSH, attack: bruteForce, isAttack: toNAS},
		{Name: "arp-spoof", Tools: []string{"arpspoof"}, Detectors: []string{"arp_spoof"}, attack: arpSpoof, isAttack: spoofed},
		{Name: "ettercap", Tools: []string{"ettercap"}, Detectors: []string{"arp_spoof"}, attack: ettercap, isAttack: spoofed},
		{Name: "rogue-dhcp", Tools: []string{"dnsmasq"}, Detectors: []string{"rogue_dhcp"}, attack: rogueDHCP,
			isAttack: func(_ *Office, f frame) bool { return f.udp && f.srcPort == 67 }},
		{Name: "dns-tunnel", Tools: []string{"iodine", "iodined", "ping"}, Detectors: []string{"dns_tunnel"}, Within: time.Minute,
			prepare: serveTunnel, attack: dnsTunnel, works: throughTunnel, isAttack: func(_ *Office, f frame) bool { return f.udp && f.dstPort == 53 }},
		{Name: "beacon", Tools: []string{"curl"}, Detectors: []string{"beacon", "c2_channel"}, Within: 2 * time.Minute,
			prepare: serveDrop, attack: beacon, isAttack: toDrop},
		{Name: "exfiltration", Tools: []string{"curl"}, Detectors: []string{"exfiltration"}, Within: time.Minute,
			prepare: serveDrop, attack: exfiltration, isAttack: toDrop},
		{Name: "ransomware", Tools: []string{"smbclient"}, Detectors: []string{"smb_ransom"}, MaxLost: 20,
			prepare: fillShare, attack: ransomware, isAttack: toSMB, lost: encrypted},
		{Name: "lateral", Tools: []string{"impacket", "smbpasswd"}, Detectors: []string{"lateral_movement"}, Within: time.Minute,
			prepare: serveAdmin, attack: lateral, isAttack: toSMB},
	}
}

// FindScenario returns the scenario of that name, and checks its programs.
func FindScenario(name string) (Scenario, error) {
	all := Scenarios()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		var names []string
		for _, s := range all {
			names = append(names, s.Name)
		}
		return Scenario{}, fmt.Errorf("there is no scenario %q; choose one of %v", name, names)
	}
	return all[i], Tools(all[i].Tools...)
}

// Prepare starts the servers that the scenario is about.
func (s Scenario) Prepare(ctx context.Context, o *Office) error {
	if s.prepare == nil {
		return nil
	}
	if err := s.prepare(ctx, o); err != nil {
		return fmt.Errorf("prepare scenario %s: %w", s.Name, err)
	}
	return nil
}

// Stopped is an error when the attack still has its way.
func (s Scenario) Stopped(ctx context.Context, o *Office) error {
	if s.works != nil && s.works(ctx, o) == nil {
		return fmt.Errorf("%s still works", s.Name)
	}
	return nil
}

// Lost counts the files that the attack has cost until now.
func (s Scenario) Lost(o *Office) (int, error) {
	if s.lost == nil {
		return 0, nil
	}
	return s.lost(o)
}

// Attack runs the scenario until ctx ends, which is no error.
func (s Scenario) Attack(ctx context.Context, o *Office) error {
	if err := s.attack(ctx, o); err != nil && ctx.Err() == nil {
		return fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return nil
}

// Bounds of the worm: contacts each 100 ms, at most this many in all.
const (
	wormPause = 100 * time.Millisecond
	wormLimit = 2000
)

// worm probes tcp/445 over the LAN in an order that the seed fixes, and leaves
// a harmless marker file where a share lets it. It never stops by itself before
// its bound, also when nothing answers any more.
func worm(ctx context.Context, o *Office) error {
	h := o.Attacker()
	marker := filepath.Join(o.config.Dir, "marker")
	if err := os.WriteFile(marker, []byte("a harmless marker of the virtual office\n"), 0o644); err != nil {
		return err
	}
	order := o.rand(0x3077).Perm(253) // .2 to .254
	var g errgroup.Group
	defer g.Wait() //nolint:errcheck // contacts return nothing
	tick := time.NewTicker(wormPause)
	defer tick.Stop()
	base := o.LAN.Addr().As4()
	for i := range wormLimit {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		to := base
		to[3] = byte(2 + order[i%len(order)])
		if h.Addr().As4() == to {
			continue
		}
		g.Go(func() error {
			o.infect(ctx, h, fmt.Sprintf("%d.%d.%d.%d", to[0], to[1], to[2], to[3]), marker)
			return nil
		})
	}
	return nil
}

// infect is one contact, and on an answer one try to leave the marker.
func (o *Office) infect(ctx context.Context, h *Host, to, marker string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := h.Dial(ctx, "tcp", to+":445")
	if err != nil {
		return
	}
	conn.Close()
	err = o.smb(ctx, h, to, "put "+marker+" marker.txt")
	o.config.Log.Debug("worm found an open share", "address", to, "error", err)
}

// scan runs nmap over the LAN again and again.
func scan(ctx context.Context, o *Office) error {
	for range 20 {
		cmd := o.Attacker().Command(ctx, "nmap", "-n", "-sS", "--max-rate", "100", "-p", "22,23,80,139,443,445,3389,5900,8080,9100", o.LAN.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nmap: %w: %s", err, out)
		}
	}
	return nil
}

// arpSpoof puts the attacker between the gateway and the victim, both ways.
func arpSpoof(ctx context.Context, o *Office) error {
	h, victim := o.Attacker(), o.Host(VictimName)
	// arpspoof takes a neighbour entry that is still being resolved for one
	// with the address zero, so both have to answer first.
	for _, addr := range []string{addrPort(victim.Addr(), 9), addrPort(gatewayLAN, 53)} {
		if err := h.meet(ctx, addr); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, pair := range [][2]string{{victim.Addr().String(), gatewayLAN.String()}, {gatewayLAN.String(), victim.Addr().String()}} {
		g.Go(func() error {
			cmd := h.Command(ctx, "arpspoof", "-i", h.Iface, "-t", pair[0], pair[1])
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("arpspoof: %w: %s", err, out)
			}
			return nil
		})
	}
	return g.Wait()
}

// meet waits until the machine at addr answers, if only by a refusal.
func (h *Host) meet(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return retry(ctx, 100*time.Millisecond, func() error {
		conn, err := h.Dial(ctx, "tcp", addr)
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// rogueDHCP hands out the attacker as router and name server; the victim asks
// for an address now and then, as machines that come back to their desk do.
func rogueDHCP(ctx context.Context, o *Office) error {
	h, victim := o.Attacker(), o.Host(VictimName)
	own := h.Addr().String()
	cmd := h.Command(ctx, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--no-ping", "--interface="+h.Iface, "--bind-dynamic",
		"--dhcp-range=192.168.77.200,192.168.77.220,255.255.255.0,2m", "--dhcp-option=option:router,"+own, "--dhcp-option=option:dns-server,"+own,
		"--dhcp-leasefile="+filepath.Join(o.config.Dir, "rogue-leases"), "--pid-file=")
	s, err := startService("second dnsmasq", cmd)
	if err != nil {
		return err
	}
	defer s.stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range 120 {
		select {
		case <-ctx.Done():
			return nil
		case <-s.done:
			return s.check()
		case <-tick.C:
		}
		renew, cancel := context.WithTimeout(ctx, 3*time.Second)
		if err := victim.Renew(renew); err != nil {
			o.config.Log.Debug("renewal failed", "host", victim.Name, "error", err)
		}
		cancel()
	}
	return nil
}
