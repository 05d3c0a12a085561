package detect

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// The habits of administrators outlive a restart, and so does the time since
// which the office is watched: without it the first week would begin again.

// lateralMemoryVersion changes when the numbers of acts do.
const lateralMemoryVersion = 1

type lateralMemory struct {
	Version int           `json:"version"`
	Start   time.Time     `json:"start"`
	Habits  []habitMemory `json:"habits"` // the oldest first
}

type habitMemory struct {
	MAC    flow.MAC   `json:"mac"`    // zero where the client is known by its
	Client netip.Addr `json:"client"` // address, which is invalid otherwise
	Server netip.Addr `json:"server"`
	Act    act        `json:"act"`
	First  time.Time  `json:"first"`
	Last   time.Time  `json:"last"`
	Days   int        `json:"days"`
}

var _ remembering = (*lateral)(nil)

func (d *lateral) remember() ([]byte, error) {
	m := lateralMemory{Version: lateralMemoryVersion, Start: d.start, Habits: []habitMemory{}}
	for n := d.habits.root.prev; n != &d.habits.root; n = n.prev {
		m.Habits = append(m.Habits, habitMemory{n.key.client.mac, n.key.client.ip, n.key.server, n.key.act, n.val.first, n.val.last, n.val.days})
	}
	return json.Marshal(m)
}

func (d *lateral) recall(data []byte) error {
	var m lateralMemory
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("read habits: %w", err)
	}
	if m.Version != lateralMemoryVersion {
		return fmt.Errorf("read habits: version %d is not known", m.Version)
	}
	d.start = m.Start
	for _, h := range m.Habits {
		if h.Client.IsValid() == h.MAC.IsZero() && h.Server.IsValid() && h.Act < actCount+act(fanCount) && h.Days > 0 {
			*d.habits.get(habitKey{source{h.MAC, h.Client}, h.Server, h.Act}) = habit{h.First, h.Last, h.Days}
		}
	}
	return nil
}
