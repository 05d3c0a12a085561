package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"filippo.io/age"

	"sekisho/firmware/remote"
)

// vendor says where the vendor may connect, when the settings name an interface.
func (o *opening) vendor(p *Parts) error {
	r := o.config.Remote
	if r.Interface == "" {
		return nil
	}
	host := r.Host
	if host == "" {
		if host = firstAddr(r.Interface); host == "" {
			p.Services["remote"] = broken{fmt.Errorf("remote.host: %s has no address yet; write the one under which the vendor reaches it", r.Interface)}
			return nil
		}
	}
	p.Remote = &remote.Config{
		Dir: filepath.Join(o.config.Storage.State, "remote"), Interface: r.Interface, Host: host,
		Addr: ":" + strconv.Itoa(r.Port), Version: o.around.Version, BytesPerSecond: int(r.Rate),
		Grant: time.Duration(r.MaxGrant), MaxGrant: time.Duration(r.MaxGrant), Logger: o.log.With("component", "remote"),
	}
	if l := o.around.Vendor; l != nil {
		p.Remote.Addr = l.Addr().String()
		p.Remote.Listen = func() (net.Listener, error) { return again(l) }
	}
	return nil
}

// again is the same socket once more, so that whoever closes it does not close
// the one that was handed over.
func again(l *net.TCPListener) (net.Listener, error) {
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
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

// recipients are those to whom packages are encrypted.
func recipients(keys []string) (out []age.Recipient, err error) {
	for n, key := range keys {
		r, err := age.ParseX25519Recipient(key)
		if err != nil {
			return nil, fmt.Errorf("evidence.recipients[%d]: %w", n, err)
		}
		out = append(out, r)
	}
	return out, nil
}
