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

	"sekisho/firmware/durable"
	"sekisho/netcontain"
)

// The policy in force is kept in a small file of its own beside the database:
// at boot it has to be in the kernel before a port forwards, also when the
// database is damaged and was moved aside.

type policyFile struct {
	Hosts    []policyHost   `json:"hosts"`
	Allow    []netip.Prefix `json:"allow,omitempty"`
	Lockdown bool           `json:"lockdown,omitempty"`
	Holding
}

type policyHost struct {
	ID    string           `json:"id"`
	MACs  []string         `json:"macs"`
	Addrs []netip.Addr     `json:"addrs"`
	Level netcontain.Level `json:"level"`
}

func policyPath(dir string) string { return filepath.Join(dir, "policy.json") }

// savePolicy replaces the file, synced.
func savePolicy(dir string, p netcontain.Policy, holding Holding) error {
	doc := policyFile{Hosts: []policyHost{}, Allow: p.Allow, Lockdown: p.Lockdown, Holding: holding}
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
	if err := durable.WriteFile(policyPath(dir), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("save policy: %w", err)
	}
	return nil
}

// loadPolicy returns the zero policy when nothing was ever held.
func loadPolicy(dir string) (netcontain.Policy, Holding, error) {
	data, err := os.ReadFile(policyPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return netcontain.Policy{}, Holding{}, nil
	}
	var doc policyFile
	if err == nil {
		err = json.Unmarshal(data, &doc)
	}
	if err != nil {
		return netcontain.Policy{}, Holding{}, fmt.Errorf("load policy: %w", err)
	}
	p := netcontain.Policy{Allow: doc.Allow, Lockdown: doc.Lockdown}
	for _, h := range doc.Hosts {
		host := netcontain.Host{ID: h.ID, Addrs: h.Addrs, Level: h.Level}
		for _, text := range h.MACs {
			var mac netcontain.MAC
			hw, err := net.ParseMAC(text)
			if err != nil || copy(mac[:], hw) != len(mac) {
				return netcontain.Policy{}, Holding{}, fmt.Errorf("load policy: host %s: %q is not a MAC address", h.ID, text)
			}
			host.MACs = append(host.MACs, mac)
		}
		if len(host.MACs)+len(host.Addrs) > 0 { // else there is nothing to hold it by
			p.Hosts = append(p.Hosts, host)
		}
	}
	if err := p.Validate(); err != nil { // no enforcer would take it, and no port would be raised
		return netcontain.Policy{}, Holding{}, fmt.Errorf("load policy: %w", err)
	}
	return p, doc.Holding, nil
}

// setAside renames damaged files, so that a person can still look at them.
// Those that are not there are no error.
func setAside(paths ...string) error {
	for _, path := range paths {
		if err := os.Rename(path, path+".damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set a damaged file aside: %w", err)
		}
	}
	return nil
}
