package vlan

import (
	"errors"
	"fmt"

	"sekisho/netcontain"
)

// Bridge is a bridge as its owner set it up: of a port that is in quarantine,
// what it was before.
type Bridge struct {
	Filtering bool // vlan_filtering is on: ports can be moved
	Ports     map[string]Port

	// Office and Quarantine say on which port each MAC was last seen, in the
	// quarantine VLAN and in all others. They are told apart because a host in
	// quarantine that sends from a colleague's MAC must not move the colleague.
	Office, Quarantine map[netcontain.MAC]string
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

// sighting is one entry of the forwarding table.
type sighting struct {
	mac  netcontain.MAC
	port string
	vid  uint16
}

// Observe reads the bridge of the Enforcer: what plan.Network wants. A bridge
// that is not there is an error.
func (e *Enforcer) Observe() (Bridge, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.observe()
	if err != nil {
		return Bridge{}, fmt.Errorf("observe bridge %s: %w", e.cfg.Bridge, err)
	}
	return b, nil
}

func (e *Enforcer) observe() (Bridge, error) {
	w, err := e.kernel.read(e.cfg.Bridge)
	if err != nil {
		return Bridge{}, err
	}
	if !w.found {
		return Bridge{}, errors.New("it is not there, or not a bridge")
	}
	table, err := e.kernel.forwarding(w)
	if err != nil {
		return Bridge{}, err
	}
	b := Bridge{Filtering: w.filtering, Ports: map[string]Port{}, Office: map[netcontain.MAC]string{}, Quarantine: map[netcontain.MAC]string{}}
	for name, p := range w.ports {
		if !p.member {
			continue
		}
		was := p.owners()
		b.Ports[name] = Port{PVID: was.pvid, Untagged: was.untagged, Tagged: was.tagged, Up: p.up, Wireless: p.wireless, Held: p.note.host}
	}
	for _, s := range table {
		if e.cfg.VLAN != 0 && s.vid == e.cfg.VLAN {
			b.Quarantine[s.mac] = s.port
		} else {
			b.Office[s.mac] = s.port
		}
	}
	return b, nil
}
