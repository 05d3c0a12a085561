package detect

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/flow"
)

// newService tells when a device that has been known for Config.Learn answers
// on a TCP port on which it never answered in all that time: a back door
// (T1571), a server that somebody set up (T1505), or an update of a printer.
// Low; medium when it is remote control and a stranger was let in.
//
// A service is a port below 32768, where Linux begins to hand out ports by
// itself (ip_local_port_range), that sent payload twice, minutes apart: ports
// of passive FTP and the like serve once. A named service is told at once.
//
// Limits. Who tries everything finds what nobody used before: a client that
// meets three new services within an hour is a scanner, which is another
// finding's concern, and what it meets is learnt in silence. Nor is a service
// told that only answers in UDP, or that calls out instead (c2_channel).
type newService struct {
	net     *network
	devices *newAsset
	tab     *table[servedKey, served]
	finders *table[source, finder]
	out     []Finding
}

type servedKey struct {
	mac  flow.MAC
	port uint16
}

type served struct {
	known bool
	last  time.Time // of the first time that it was seen, until known
}

type finder struct {
	since time.Time
	n     int
}

const (
	handedOut   = 32768
	servedTwice = time.Minute
	finderHour  = time.Hour
	findsOfScan = 3
)

func newNewService(n *network, devices *newAsset) *newService {
	return &newService{net: n, devices: devices,
		tab:     newTable[servedKey, served](8*n.MaxHosts, 0),
		finders: newTable[source, finder](n.MaxHosts, 0)}
}

func (d *newService) Name() string      { return "new_service" }
func (d *newService) reads() kinds      { return onConn | onActivity | onBanner }
func (d *newService) size() int         { return d.tab.size() + d.finders.size() }
func (d *newService) evictions() uint64 { return d.tab.evicted + d.finders.evicted }

func (d *newService) Observe(ev flow.Event) []Finding {
	d.out = d.out[:0]
	switch e := ev.(type) {
	case *flow.Conn:
		if e.State == flow.ConnClosed && e.Proto == protoTCP && e.Received > 0 && !e.MidStream {
			d.answered(e, e.Client, e.Server, e.ClientMAC, e.ServerMAC, "")
		}
	case *flow.Activity:
		if e.Proto == protoTCP && e.FromServer {
			d.answered(e, e.Client, e.Server, e.ClientMAC, e.ServerMAC, "")
		}
	case *flow.Banner:
		if e.FromServer {
			d.answered(e, e.Client, e.Server, e.DstMAC, e.SrcMAC, e.Service)
		}
	}
	return d.out
}

func (d *newService) answered(ev flow.Event, client, server netip.AddrPort, cmac, smac flow.MAC, banner string) {
	port := server.Port()
	if banner == "" && port >= handedOut || !d.net.onLAN(server.Addr()) {
		return
	}
	src, now := d.net.source(smac, server.Addr()), ev.Head().Time
	if src.mac.IsZero() {
		return
	}
	s := d.tab.get(servedKey{src.mac, port})
	if s.known {
		return
	}
	if d.devices.age(src.mac) < d.net.Learn {
		s.known = !d.net.suspect(src.mac)
		return
	}
	if s.last.IsZero() {
		s.last = now
	}
	if banner == "" && serviceNames[port] == "" && now.Sub(s.last) < servedTwice {
		return
	}
	s.known = true
	if d.net.own(src.mac, server.Addr()) || d.scanner(d.net.source(cmac, client.Addr()), now) {
		return
	}
	d.out = append(d.out, d.finding(ev, src, client.Addr(), server, cmac, banner))
}

// scanner counts a new service that a client met.
func (d *newService) scanner(client source, now time.Time) bool {
	f := d.finders.get(client)
	if now.Sub(f.since) > finderHour {
		*f = finder{since: now}
	}
	f.n++
	return f.n >= findsOfScan
}

func (d *newService) finding(ev flow.Event, src source, client netip.Addr, server netip.AddrPort, cmac flow.MAC, banner string) Finding {
	h, port, now := d.net.host(src.mac, server.Addr()), server.Port(), ev.Head().Time
	svc, conf, tech := service(protoTCP, port), Low, "T1571"
	if serviceNames[port] != "" || port < 1024 {
		tech = "T1505"
	}
	if banner != "" && serviceNames[port] == "" {
		svc = fmt.Sprintf("%s (tcp/%d)", protocolName(banner), port)
	}
	control := openTo(port) || banner == "ssh" || banner == "rdp" || banner == "vnc" || banner == "telnet"
	if control && d.net.stranger(client, cmac) {
		conf = Medium
	}
	tEN, tJA := span(d.devices.age(src.mac))
	return Finding{Time: now, Detector: d.Name(), Technique: tech, Host: h, Peers: []Host{d.net.peer(client)}, PeerCount: 1,
		Score: 0.6, Confidence: conf, First: now, Last: now,
		Title: Text{
			EN: fmt.Sprintf("%s offers a service that it never did before: %s", h.label(), svc),
			JA: fmt.Sprintf("%s がこれまでにないサービス %s を始めました", h.label(), svc),
		},
		Explain: Text{
			EN: fmt.Sprintf("It answered %s on tcp/%d. In the %s that it has been known nobody was answered there.", client, port, tEN),
			JA: fmt.Sprintf("tcp/%d で %s に応答しました。この機器を確認してから %s の間、このポートでの応答はありませんでした。", port, client, tJA),
		}}
}

const servedVersion = 1

type servedFile struct {
	Version int            `json:"version"`
	Known   []servedDevice `json:"known"` // least recently seen first
}

type servedDevice struct {
	MAC  flow.MAC `json:"mac"`
	Port uint16   `json:"port"`
}

func (d *newService) remember() ([]byte, error) {
	f := servedFile{Version: servedVersion, Known: make([]servedDevice, 0, d.tab.size())}
	for n := d.tab.root.prev; n != &d.tab.root; n = n.prev {
		if n.val.known {
			f.Known = append(f.Known, servedDevice{n.key.mac, n.key.port})
		}
	}
	return json.Marshal(f)
}

func (d *newService) recall(data []byte) error {
	var f servedFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("read services: %w", err)
	}
	if f.Version != servedVersion {
		return fmt.Errorf("read services: version %d is not known", f.Version)
	}
	if slices.ContainsFunc(f.Known, func(s servedDevice) bool { return s.MAC.IsZero() || s.MAC.IsGroup() }) {
		return fmt.Errorf("read services: %w", errHistory)
	}
	d.tab = newTable[servedKey, served](d.tab.max, 0)
	for _, s := range f.Known {
		d.tab.get(servedKey{s.MAC, s.Port}).known = true
	}
	return nil
}
