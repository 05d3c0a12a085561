package gateway

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/hal"
)

// show publishes what everybody who looks sees: panel, web page, API.
func (g *Gateway) show() {
	all := g.desk.Incidents()
	v := &View{Incidents: all, Lockdown: g.lockdown, Status: g.status(all)}
	if s, ok := g.desk.Suspect(); ok {
		v.Suspect = s.ID
	}
	old := g.view.Swap(v)
	g.parts.Panel.Show(v.Status)
	if !slices.EqualFunc(old.Incidents, all, func(a, b incident.Incident) bool {
		return a.ID == b.ID && a.Updated.Equal(b.Updated) && a.State == b.State && a.Bundle == b.Bundle
	}) || old.Status.State != v.Status.State || old.Status.Target != v.Status.Target {
		g.watchers.tell()
	}
}

// proofShown is how long the proof of one isolation stays on the screen before
// the next suspect may replace it: whoever pressed has to see that it worked.
const proofShown = 5 * time.Second

// status chooses the one thing that the panel shows. A failed isolation comes
// first, then one that is running, then the question, then the proof.
func (g *Gateway) status(all []incident.Incident) hal.Status {
	now := g.now()
	spool := g.parts.Spool.Stats()
	s := hal.Status{
		State: hal.Normal, Lang: g.cfg.Lang, Now: now, Vendor: g.cfg.Vendor, VendorPhone: g.cfg.VendorPhone,
		Devices: active(g.Devices(), now), PacketDays: spool.Days,
	}
	if w, bad := onPanel(g.Health()); bad {
		s.State, s.FaultText, s.FaultCall = hal.Fault, faultText(w.Name).In(g.cfg.Lang), g.cfg.Vendor
	}
	if g.lockdown {
		s.State = hal.Fault
		s.FaultText = detect.Text{EN: "Whole office cut off", JA: "全社の通信を遮断中です"}.In(g.cfg.Lang)
	}
	if i, ok := newest(all, func(i incident.Incident) bool {
		return i.State == incident.Contained || i.State == incident.Eradicating
	}); ok {
		g.name(&s, i)
		s.State, s.Since = hal.Isolated, i.Contained
		if i.Proof.Grade != incident.Proven {
			s.State, s.Cable = hal.NotIsolated, cable(i.Asset)
		}
		if now.Sub(i.Since) < proofShown && i.State == incident.Contained {
			return s
		}
	}
	if waiting := g.desk.Waiting(); len(waiting) > 0 {
		i := waiting[0]
		g.name(&s, i)
		s.State, s.Waiting, s.Target = hal.Attention, len(waiting)-1, i.ID
		s.What, s.Cable = what(i).In(g.cfg.Lang), ""
	}
	if i, ok := newest(all, func(i incident.Incident) bool { return i.State == incident.Containing }); ok {
		g.name(&s, i)
		s.State, s.Target, s.Cable = hal.Isolating, "", ""
	}
	if i, ok := newest(all, func(i incident.Incident) bool { return i.State == incident.ContainFailed }); ok {
		g.name(&s, i)
		s.State, s.Target, s.Cable = hal.NotIsolated, "", cable(i.Asset)
	}
	return s
}

func (g *Gateway) name(s *hal.Status, i incident.Incident) {
	s.Suspect = hal.Device{Name: deviceName(i.Asset), Place: place(i.Asset).In(g.cfg.Lang)}
	if len(i.Asset.Addrs) > 0 {
		s.Suspect.Addr = i.Asset.Addrs[0].String()
	}
	s.Drill = i.Drill
}

// newest returns the incident that most recently came into its state.
func newest(all []incident.Incident, is func(incident.Incident) bool) (found incident.Incident, ok bool) {
	for _, i := range all {
		if is(i) && (!ok || i.Since.After(found.Since)) {
			found, ok = i, true
		}
	}
	return found, ok
}

// what says in one line what the strongest detector saw.
func what(i incident.Incident) detect.Text {
	if len(i.Findings) == 0 {
		return i.Why
	}
	strongest := slices.MaxFunc(i.Findings, func(a, b incident.Observation) int {
		switch {
		case a.Weight < b.Weight:
			return -1
		case a.Weight > b.Weight:
			return 1
		}
		return 0
	})
	return strongest.Title
}

func deviceName(a asset.Asset) string {
	switch {
	case a.Name != "":
		return a.Name
	case len(a.Addrs) > 0:
		return a.Addrs[0].String()
	}
	return a.MAC.String()
}

func place(a asset.Asset) detect.Text {
	if a.Port == "" {
		return detect.Text{}
	}
	return detect.Text{EN: "port " + a.Port, JA: "ポート " + a.Port}
}

func cable(a asset.Asset) string { return a.Port }

func stateText(i incident.Incident) detect.Text {
	switch i.State {
	case incident.Contained, incident.Eradicating:
		if i.Proof.Grade == incident.Proven {
			return detect.Text{EN: "Isolated; proven on the wire.", JA: "隔離済みです（通信の遮断を確認しました）。"}
		}
		return detect.Text{EN: "Isolated as far as possible: " + i.Proof.Text.EN, JA: "可能な範囲で隔離しています。" + i.Proof.Text.JA}
	case incident.ContainFailed:
		return detect.Text{EN: "Not isolated: pull the cable.", JA: "隔離できていません。LANケーブルを抜いてください。"}
	case incident.Containing:
		return detect.Text{EN: "Being isolated.", JA: "隔離しています。"}
	case incident.Probation:
		return detect.Text{EN: "Back on the network, under watch.", JA: "ネットワークに復帰し、経過を観察しています。"}
	case incident.Closed:
		return detect.Text{EN: "Closed.", JA: "対応を終了しました。"}
	case incident.Dismissed:
		return detect.Text{EN: "Dismissed as a false alarm.", JA: "誤検知として終了しました。"}
	}
	return detect.Text{EN: "Under suspicion; not isolated.", JA: "感染の疑いがあります（未隔離）。"}
}

func transitionText(t incident.Transition) detect.Text {
	by := t.By
	if by == "" {
		by = "gateway"
	}
	en, ja := fmt.Sprintf("%s by %s", t.Input, by), fmt.Sprintf("%s（%s）", t.Input, by)
	if t.From != t.To {
		en += fmt.Sprintf(": %s -> %s", t.From, t.To)
		ja += fmt.Sprintf("：%s → %s", t.From, t.To)
	}
	if t.Note != "" {
		en += " (" + t.Note + ")"
		ja += "　" + t.Note
	}
	return detect.Text{EN: en, JA: ja}
}

// faultText is short enough for the small screen.
func faultText(check string) detect.Text {
	switch check {
	case "capture":
		return detect.Text{EN: "Too much traffic", JA: "通信量が多すぎます"}
	case "evidence", "bundles":
		return detect.Text{EN: "Evidence not kept", JA: "証拠を保存できません"}
	case "records":
		return detect.Text{EN: "Records not written", JA: "記録を書き込めません"}
	case "containment":
		return detect.Text{EN: "Isolation disturbed", JA: "隔離設定に異常"}
	case "proof":
		return detect.Text{EN: "Cannot watch the wire", JA: "通信を確認できません"}
	}
	return detect.Text{EN: "A part has stopped", JA: "一部の機能が停止"}
}

func (g *Gateway) flowStats() flow.Stats {
	if s := g.watcher.flows.Load(); s != nil {
		return *s
	}
	return flow.Stats{}
}

// subscribers are told that there is something new, never what: a slow one
// misses nothing but repetitions.
type subscribers struct {
	mu  sync.Mutex
	all map[chan struct{}]bool
}

func (s *subscribers) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (s *subscribers) add() (<-chan struct{}, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{}, 1)
	if s.all == nil {
		s.all = map[chan struct{}]bool{}
	}
	s.all[c] = true
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, c)
	}
}
