package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is one machine: a network namespace of its own.
type Host struct {
	Name  string
	Role  Role
	Port  string // the gateway's port that leads here; empty for gateway and internet
	Iface string
	MAC   net.HardwareAddr

	handle netns.NsHandle

	mu    sync.Mutex
	lease Lease
}

// Lease is what a machine learnt by DHCP.
type Lease struct {
	Addr   netip.Prefix
	Router netip.Addr
	DNS    netip.Addr
	Server netip.Addr
}

// newHost makes an empty namespace with its loopback up.
func newHost(name string, role Role) (*Host, error) {
	h := &Host{Name: name, Role: role, Iface: "eth0"}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		h.handle, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("make the namespace of %s: %w", name, err)
	}
	return h, h.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// Do runs fn with its thread inside the machine. Sockets opened in fn belong
// to the machine for good; goroutines started in it do not.
func (h *Host) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, see newHost
		h.mu.Lock()            // a dial that nobody waits for may come after the end
		err := netns.Set(h.handle)
		h.mu.Unlock()
		if err != nil {
			done <- fmt.Errorf("enter %s: %w", h.Name, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// close gives the namespace up; Do fails from then on.
func (h *Host) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.handle.Close()
}

// Command is exec.CommandContext for a process inside the machine.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if p, err := find(name); err == nil {
		name = p
	}
	enter, err := find("nsenter")
	if err != nil {
		enter = "nsenter" // Start then says that it is missing
	}
	ns := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), int(h.handle))
	return exec.CommandContext(ctx, enter, append([]string{ns, "--", name}, args...)...)
}

// Dial is net.Dialer.DialContext from the machine; addr must hold an address,
// not a name.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen is net.Listen on the machine.
func (h *Host) Listen(network, addr string) (l net.Listener, err error) {
	err = h.Do(func() error {
		l, err = net.Listen(network, addr)
		return err
	})
	return l, err
}

// Resolve asks the machine's DNS server for an IPv4 address of name.
func (h *Host) Resolve(ctx context.Context, name string) (netip.Addr, error) {
	server := h.Lease().DNS
	if !server.IsValid() {
		return netip.Addr{}, fmt.Errorf("%s has no DNS server", h.Name)
	}
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return h.Dial(ctx, network, addrPort(server, 53))
	}}
	addrs, err := r.LookupNetIP(ctx, "ip4", name+".")
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s: resolve %s: %w", h.Name, name, err)
	}
	return addrs[0].Unmap(), nil
}

// Lease returns what DHCP said last; the zero Lease before that.
func (h *Host) Lease() Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease
}

// Addr is the machine's IPv4 address, invalid before it has one.
func (h *Host) Addr() netip.Addr { return h.Lease().Addr.Addr() }

// Addrs lists every address of the machine's interface, IPv6 too.
func (h *Host) Addrs() (addrs []netip.Addr, err error) {
	err = h.Do(func() error {
		link, err := netlink.LinkByName(h.Iface)
		if err != nil {
			return err
		}
		list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		for _, a := range list {
			if ip, ok := netip.AddrFromSlice(a.IP); ok {
				addrs = append(addrs, ip.Unmap())
			}
		}
		return err
	})
	return addrs, err
}

// Renew runs a whole DHCP exchange (RFC 2131 section 3.1) and takes what the
// first server offers, as office machines do.
func (h *Host) Renew(ctx context.Context) error {
	var client *nclient4.Client
	err := h.Do(func() (err error) {
		client, err = nclient4.New(h.Iface, nclient4.WithTimeout(time.Second), nclient4.WithRetry(8))
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: open a DHCP client: %w", h.Name, err)
	}
	defer client.Close()
	got, err := client.Request(ctx, dhcpv4.WithOption(dhcpv4.OptHostName(h.Name)))
	if err != nil {
		return fmt.Errorf("%s: ask for an address: %w", h.Name, err)
	}
	lease := leaseFrom(got.ACK)
	if !lease.Addr.IsValid() || !lease.Router.IsValid() || !lease.DNS.IsValid() {
		return fmt.Errorf("%s: the lease is incomplete: %v", h.Name, got.ACK)
	}
	if err := h.Do(func() error { return h.configure(lease) }); err != nil {
		return fmt.Errorf("%s: use the lease: %w", h.Name, err)
	}
	h.mu.Lock()
	h.lease = lease
	h.mu.Unlock()
	return nil
}

func leaseFrom(ack *dhcpv4.DHCPv4) Lease {
	addr, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
	ones, _ := ack.SubnetMask().Size()
	first := func(ips []net.IP) netip.Addr {
		if len(ips) == 0 {
			return netip.Addr{}
		}
		a, _ := netip.AddrFromSlice(ips[0].To4())
		return a
	}
	server, _ := netip.AddrFromSlice(ack.ServerIdentifier().To4())
	return Lease{Addr: netip.PrefixFrom(addr, ones), Router: first(ack.Router()), DNS: first(ack.DNS()), Server: server}
}

func (h *Host) configure(l Lease) error {
	link, err := netlink.LinkByName(h.Iface)
	if err != nil {
		return err
	}
	old, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range old {
		if a.IP.String() == l.Addr.Addr().String() {
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return err
		}
	}
	if err := addAddr(link, l.Addr); err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: l.Router.AsSlice()})
}

func addAddr(link netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // nobody else is here yet; saves a second
	}
	if err := netlink.AddrReplace(link, a); err != nil {
		return fmt.Errorf("give %s to %s: %w", p, link.Attrs().Name, err)
	}
	return nil
}
