package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"sekisho/netcontain"
)

// The policy in force is kept in a small file of its own beside the database:
// at boot it has to be in the kernel before a port forwards, also when the
// database is damaged and was moved aside.

type policyFile struct {
	Hosts    []policyHost   `json:"hosts"`
	Allow    []netip.Prefix `json:"allow,omitempty"`
	Lockdown bool           `json:"lockdown,omitempty"`
}

type policyHost struct {
	ID    string           `json:"id"`
	MACs  []string         `json:"macs"`
	Addrs []netip.Addr     `json:"addrs"`
	Level netcontain.Level `json:"level"`
}

func policyPath(dir string) string { return filepath.Join(dir, "policy.json") }

// savePolicy replaces the file, synced.
func savePolicy(dir string, p netcontain.Policy) error {
	doc := policyFile{Hosts: []policyHost{}, Allow: p.Allow, Lockdown: p.Lockdown}
	for _, h := range p.Hosts {
		host := policyHost{ID: h.ID, Addrs: h.Addrs, Level: h.Level}
		for _, m := range h.MACs {
			host.MACs = append(host.MACs, m.String())
		}
		doc.Hosts = append(doc.Hosts, host)
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("save policy: %w", err)
	}
	if err := replaceFile(policyPath(dir), append(data, '\n')); err != nil {
		return fmt.Errorf("save policy: %w", err)
	}
	return nil
}

// loadPolicy returns the zero policy when nothing was ever held.
func loadPolicy(dir string) (netcontain.Policy, error) {
	data, err := os.ReadFile(policyPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return netcontain.Policy{}, nil
	}
	var doc policyFile
	if err == nil {
		err = json.Unmarshal(data, &doc)
	}
	if err != nil {
		return netcontain.Policy{}, fmt.Errorf("load policy: %w", err)
	}
	p := netcontain.Policy{Allow: doc.Allow, Lockdown: doc.Lockdown}
	for _, h := range doc.Hosts {
		host := netcontain.Host{ID: h.ID, Addrs: h.Addrs, Level: h.Level}
		for _, text := range h.MACs {
			var mac netcontain.MAC
			hw, err := net.ParseMAC(text)
			if err != nil || copy(mac[:], hw) != len(mac) {
				return netcontain.Policy{}, fmt.Errorf("load policy: host %s: %q is not a MAC address", h.ID, text)
			}
			host.MACs = append(host.MACs, mac)
		}
		p.Hosts = append(p.Hosts, host)
	}
	return p, nil
}

// replaceFile writes a temporary file, syncs it, renames it over path and syncs
// the folder: after a power cut there is the old file or the new one.
func replaceFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // does nothing after the rename
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
