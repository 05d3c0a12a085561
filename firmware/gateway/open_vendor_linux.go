package gateway

import (
	"fmt"
	"net"
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
	p.Remote = &remote.Config{
		Dir: filepath.Join(o.config.Storage.State, "remote"), Interface: r.Interface, Host: r.Host,
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
