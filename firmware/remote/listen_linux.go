package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen listens on addr ("192.168.10.1:8443") for what comes in by iface alone.
//
// The address is not enough: Linux takes packets for any of its addresses on
// any interface (the weak end system of RFC 1122, section 3.3.4.2), so whoever
// is next to the WAN port could reach the LAN's address through it. An address
// that means all of them ("", "0.0.0.0", "[::]") is refused unless iface is
// given.
func Listen(iface, addr string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(addr)
	if host, port, splitErr := net.SplitHostPort(addr); err != nil && splitErr == nil && host == "" {
		ap, err = netip.ParseAddrPort("[::]:" + port)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	if iface == "" && ap.Addr().IsUnspecified() {
		return nil, fmt.Errorf("listen on %q: %w", addr, errors.New("all addresses, the WAN's too: name an interface or one address"))
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		if iface == "" {
			return nil
		}
		var bindErr error
		err := raw.Control(func(fd uintptr) { bindErr = unix.BindToDevice(int(fd), iface) })
		return errors.Join(err, bindErr)
	}}
	ln, err := lc.Listen(context.Background(), "tcp", ap.String())
	if err != nil {
		return nil, fmt.Errorf("listen on %s of %q: %w", addr, iface, err)
	}
	return ln, nil
}

// firstAddr is the interface's first address that reaches further than its own
// link, IPv4 before IPv6; empty while there is none.
func firstAddr(name string) (first string) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return ""
	}
	addrs, err := link.Addrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if p.Addr().Is4() {
			return p.Addr().String()
		}
		if first == "" {
			first = p.Addr().String()
		}
	}
	return first
}
