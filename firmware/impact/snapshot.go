package impact

import (
	"container/list"
	"encoding/json"
	"errors"
	"fmt"

	"sekisho/firmware/flow"
)

const snapshotVersion = 1

type snapshotFile struct {
	Version   int            `json:"version"`
	Since     int64          `json:"since_ns"`
	Watched   stampsFile     `json:"watched"`
	Relations []relationFile `json:"relations"` // least recent first
	Users     []userFile     `json:"users"`     // least recent first
	Lost      int64          `json:"lost_ns,omitempty"`
	Evicted   uint64         `json:"evicted"`
	Probing   uint64         `json:"probing"`
}

type stampsFile struct {
	Last int64 `json:"last_ns"`
	Day  int32 `json:"day"`
	Mask uint8 `json:"days"`
}

type relationFile struct {
	Server  flow.MAC `json:"server"`
	Client  flow.MAC `json:"client"` // empty: from outside
	Service Service  `json:"service"`
	First   int64    `json:"first_ns"`
	stampsFile
	Counts bool `json:"counts,omitempty"`
	Doubt  bool `json:"doubt,omitempty"`
}

type userFile struct {
	MAC  flow.MAC          `json:"mac"`
	Used map[Service]int64 `json:"used_ns"`
}

func (s stamps) file() stampsFile { return stampsFile{s.last, s.day, s.mask} }

func (f stampsFile) stamps() stamps { return stamps{f.Last, f.Day, f.Mask} }

// Snapshot returns the memory, for Restore after a restart: the same content
// gives the same bytes.
func (u *Usage) Snapshot() ([]byte, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f := snapshotFile{Version: snapshotVersion, Since: u.since, Watched: u.watched.file(), Lost: u.lost, Evicted: u.evicted, Probing: u.probing,
		Relations: make([]relationFile, 0, u.count), Users: make([]userFile, 0, len(u.users))}
	for _, queue := range []*list.List{&u.fresh, &u.known} {
		for n := queue.Front(); n != nil; n = n.Next() {
			r := n.Value.(*relation)
			f.Relations = append(f.Relations, relationFile{Server: r.server, Client: r.client, Service: services[r.class],
				First: r.first, stampsFile: r.when.file(), Counts: r.counts, Doubt: r.doubt})
		}
	}
	for n := u.order.Front(); n != nil; n = n.Next() {
		w := n.Value.(*user)
		used := map[Service]int64{}
		for c, ns := range w.used {
			if ns != 0 {
				used[services[c]] = ns
			}
		}
		if len(used) > 0 {
			f.Users = append(f.Users, userFile{w.mac, used})
		}
	}
	return json.Marshal(f)
}

var errDamaged = errors.New("an entry cannot be right")

// valid says whether an entry could have been written by Snapshot.
func (f snapshotFile) valid() bool {
	ok := func(s stampsFile) bool { return s.Mask < 1<<days }
	if !ok(f.Watched) {
		return false
	}
	for _, r := range f.Relations {
		_, known := classOf[r.Service]
		if !known || r.Server.IsZero() || r.Server.IsGroup() || r.Client.IsGroup() || !ok(r.stampsFile) || r.Mask == 0 {
			return false
		}
	}
	for _, w := range f.Users {
		if w.MAC.IsZero() || w.MAC.IsGroup() {
			return false
		}
		for s := range w.Used {
			if _, known := classOf[s]; !known {
				return false
			}
		}
	}
	return true
}

// Restore takes back what Snapshot returned. It is total: data that it cannot
// read changes nothing, and what is more than fits is left out and counted.
func (u *Usage) Restore(data []byte) error {
	var f snapshotFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("restore uses: %w", err)
	}
	if f.Version != snapshotVersion {
		return fmt.Errorf("restore uses: version %d is not known", f.Version)
	}
	if !f.valid() {
		return fmt.Errorf("restore uses: %w", errDamaged)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reset()
	u.since, u.watched, u.lost, u.evicted, u.probing = f.Since, f.Watched.stamps(), f.Lost, f.Evicted, f.Probing
	for _, w := range f.Users {
		kept := u.user(w.MAC)
		for s, ns := range w.Used {
			kept.used[classOf[s]] = ns
		}
	}
	for _, r := range f.Relations {
		u.restore(r)
	}
	return nil
}

func (u *Usage) restore(f relationFile) {
	e := edge{classOf[f.Service], f.Client}
	if u.servers[f.Server][e] != nil {
		return
	}
	r := &relation{server: f.Server, edge: e, first: f.First, when: f.stamps(), counts: f.Counts, doubt: f.Doubt}
	u.insert(r)
	u.move(r)
}
