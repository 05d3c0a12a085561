package vlan

import (
	"fmt"

	"sekisho/netcontain"
)

// Bridge is a bridge as its owner set it up: of a port that is in quarantine,
// what it was before.
type Bridge struct {
	Filtering bool // vlan_filtering is on: ports can be moved
	Ports     map[string]Port
}

// Port is one port of a bridge.
type Port struct {
	PVID     uint16   // 0: it takes no untagged frames
	Untagged []uint16 // VLANs that leave it without a tag, sorted
	Tagged   []uint16 // sorted
	Up       bool     // as the administrator set it
	Wireless bool     // an access point
	Held     string   // ID of the host that it is in quarantine for, empty when it is not
}

// Observe reads a bridge in the present network namespace: what plan.Network
// wants. A bridge that is not there is an error.
func Observe(bridge string) (Bridge, error) {
	k, err := openNetlink()
	if err != nil {
		return Bridge{}, fmt.Errorf("observe bridge: %w", err)
	}
	defer k.Close()
	return observe(k, bridge)
}

func observe(k kernel, bridge string) (Bridge, error) {
	w, err := k.read(bridge)
	if err != nil {
		return Bridge{}, fmt.Errorf("observe bridge: %w", err)
	}
	if !w.found {
		return Bridge{}, fmt.Errorf("observe bridge: %s is not there, or not a bridge", bridge)
	}
	b := Bridge{Filtering: w.filtering, Ports: map[string]Port{}}
	for name, p := range w.ports {
		if !p.member {
			continue
		}
		was := p.owners()
		b.Ports[name] = Port{PVID: was.pvid, Untagged: was.untagged, Tagged: was.tagged, Up: p.up, Wireless: p.wireless, Held: p.note.host}
	}
	return b, nil
}

// Observe reads the bridge of the Enforcer.
func (e *Enforcer) Observe() (Bridge, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return observe(e.kernel, e.cfg.Bridge)
}

// sighting is one entry of the forwarding table.
type sighting struct {
	mac  netcontain.MAC
	port string
	vid  uint16
}

// Seen returns on which port of the bridge each MAC was last seen, in the office
// and in the quarantine VLAN. They are told apart because a host in quarantine
// that sends from a colleague's MAC must not move the colleague.
func (e *Enforcer) Seen() (office, quarantine map[netcontain.MAC]string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	entries, err := e.kernel.seen(e.cfg.Bridge)
	if err != nil {
		return nil, nil, err
	}
	office, quarantine = map[netcontain.MAC]string{}, map[netcontain.MAC]string{}
	for _, s := range entries {
		if e.cfg.VLAN != 0 && s.vid == e.cfg.VLAN {
			quarantine[s.mac] = s.port
		} else {
			office[s.mac] = s.port
		}
	}
	return office, quarantine, nil
}
