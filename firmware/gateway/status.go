package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/drill"
	"sekisho/firmware/evidence"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/hal"
	"sekisho/ui"
)

// show publishes what everybody who looks sees: panel, web page, API.
func (g *Gateway) show() {
	all := g.desk.Incidents()
	if g.parts.Suspects != nil {
		g.parts.Suspects.publish(all)
	}
	now := g.now()
	v := &View{Incidents: all, Lockdown: g.lockdown, Status: g.status(all), Limits: g.desk.Limits(now, g.active(now)), Drills: g.drills()}
	if s, ok := g.desk.Suspect(); ok {
		v.Suspect = s.ID
	}
	old := g.view.Swap(v)
	g.parts.Panel.Show(v.Status)
	if !slices.EqualFunc(old.Incidents, all, func(a, b incident.Incident) bool {
		return a.ID == b.ID && a.Updated.Equal(b.Updated) && a.State == b.State && a.Bundle == b.Bundle
	}) || old.Status.State != v.Status.State || old.Status.Target != v.Status.Target || old.Lockdown != v.Lockdown ||
		!same(old.Drills, v.Drills) || old.Limits.Used != v.Limits.Used || old.Limits.Held != v.Limits.Held || old.Limits.Business != v.Limits.Business {
		g.watchers.tell()
	}
}

// same says that two lists are one: drills hands out another when there is news.
func same(a, b []drill.Drill) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
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
		Devices: g.active(now), PacketDays: spool.Days, Lockdown: g.lockdown,
	}
	g.practised(&s)
	if left := g.began.Add(g.cfg.Learn).Sub(now); !g.began.IsZero() && left > 0 && left <= g.cfg.Learn {
		s.State, s.LearnLeft = hal.Learning, left
	}
	if w, bad := onPanel(g.Health()); bad {
		s.State, s.FaultText, s.FaultCall = hal.Fault, g.faultText(w.Name).In(g.cfg.Lang), g.cfg.Vendor
	}
	if i, ok := newest(all, func(i incident.Incident) bool {
		return i.State == incident.Contained || i.State == incident.Eradicating
	}); ok {
		g.held(&s, i)
		if now.Sub(i.Since) < proofShown && i.State == incident.Contained {
			return s
		}
	}
	if waiting := g.desk.Waiting(); len(waiting) > 0 {
		i := waiting[0]
		g.name(&s, i)
		s.State, s.Waiting, s.Target = hal.Attention, len(waiting)-1, i.ID
		s.What, s.AskedUntil = doing(i).In(g.cfg.Lang), ui.AskedUntil(i, now)
		s.Impact = g.impactOf(i.Asset, now)
	}
	if i, ok := newest(all, func(i incident.Incident) bool { return i.State == incident.Containing }); ok {
		g.name(&s, i)
		s.State, s.Target = hal.Isolating, ""
	}
	if i, ok := newest(all, func(i incident.Incident) bool { return i.State == incident.ContainFailed }); ok {
		g.name(&s, i)
		s.State, s.Target, s.BestEffort, s.Cable = hal.NotIsolated, "", false, cable(i.Asset).In(g.cfg.Lang)
	}
	g.showVendor(&s, all)
	return s
}

// held is the page of a device that is contained. A device that is only limited
// is still a question: one press isolates it.
func (g *Gateway) held(s *hal.Status, i incident.Incident) {
	g.name(s, i)
	switch {
	case i.Level == incident.Limit:
		s.State, s.Target = hal.Attention, i.ID
		s.What = detect.Text{EN: "Limited, not isolated", JA: "通信を制限中です"}.In(g.cfg.Lang)
	case i.Proof.Grade == incident.Proven:
		s.State, s.Since = hal.Isolated, i.Contained
	default:
		s.State, s.Since, s.BestEffort = hal.NotIsolated, i.Contained, i.Proof.Grade == incident.BestEffort
		s.Cable = cable(i.Asset).In(g.cfg.Lang)
	}
}

func (g *Gateway) name(s *hal.Status, i incident.Incident) {
	s.Suspect = hal.Device{Name: deviceName(i.Asset), Place: place(i.Asset).In(g.cfg.Lang)}
	if addrs := ui.AddrsForPeople(i.Asset); len(addrs) > 0 {
		s.Suspect.Addr = addrs[0].String()
	}
	if s.Drill = i.Drill; i.Drill { // there is no port to go and look at
		s.Suspect.Place = ""
	}
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

// doing says what the strongest detector saw, in the one short line that the
// small screen has under the device's name: about 10 Japanese or 20 Latin
// characters. The page tells the rest.
func doing(i incident.Incident) detect.Text {
	if len(i.Findings) == 0 {
		return i.Why
	}
	strongest := slices.MaxFunc(i.Findings, func(a, b incident.Observation) int { return cmp.Compare(a.Weight, b.Weight) })
	many := detect.Text{EN: "many addresses", JA: "多数の宛先"}
	if n := strongest.PeerCount; n > 1 {
		many = detect.Text{EN: fmt.Sprintf("%d addresses", n), JA: fmt.Sprintf("%dか所", n)}
	}
	switch strongest.Detector {
	case "worm":
		return detect.Text{EN: "Calls " + many.EN, JA: many.JA + "へ次々に接続"}
	case "host_scan", "arp_scan":
		return detect.Text{EN: "Probes " + many.EN, JA: many.JA + "を順に探索"}
	}
	if t, ok := briefs[strongest.Detector]; ok {
		return t
	}
	return strongest.Title
}

// briefs is what a detector's finding means, in one line of the small screen.
var briefs = map[string]detect.Text{
	"port_scan":             {EN: "Tries many doors", JA: "機器の弱点を探索"},
	"arp_spoof":             {EN: "Poses as another", JA: "他の機器になりすまし"},
	"name_spoof":            {EN: "Poses as another", JA: "他の機器になりすまし"},
	"mac_conflict":          {EN: "Address used twice", JA: "アドレスの二重使用"},
	"rogue_dhcp":            {EN: "Misleads the others", JA: "偽の設定を配布"},
	"rogue_ra":              {EN: "Misleads the others", JA: "偽の設定を配布"},
	"decoy_touch":           {EN: "Touched a decoy", JA: "おとりに接触"},
	"dns_tunnel":            {EN: "Hidden channel: DNS", JA: "DNSで隠れて通信"},
	"dga":                   {EN: "Seeks its controller", JA: "指令の相手を探索"},
	"beacon":                {EN: "Reports to a master", JA: "外部へ定期的に連絡"},
	"c2_channel":            {EN: "Controlled remotely", JA: "外部から操られている"},
	"exfiltration":          {EN: "Sends out much data", JA: "大量のデータを送信"},
	"brute_force":           {EN: "Guesses passwords", JA: "パスワードを総当たり"},
	"lateral_movement":      {EN: "Takes over others", JA: "他の機器に侵入"},
	"smb_ransom":            {EN: "Encrypts shared files", JA: "共有ファイルを暗号化"},
	"ioc_match":             {EN: "Met a known danger", JA: "危険な相手と通信"},
	"tls_anomaly":           {EN: "Odd encrypted traffic", JA: "不自然な暗号通信"},
	"cleartext_credentials": {EN: "Password unprotected", JA: "パスワードが丸見え"},
	"new_asset":             {EN: "New on the network", JA: "初めて見る機器"},
	"new_service":           {EN: "Offers a new service", JA: "新しいサービスを開始"},
	"flood":                 {EN: "Floods the network", JA: "大量の通信を送信"},
	"policy":                {EN: "Unsafe setting", JA: "安全でない設定"},
	"eve":                   {EN: "Suricata alert", JA: "Suricataの警告"},
}

func deviceName(a asset.Asset) string {
	switch {
	case a.Name != "":
		return a.Name
	case len(a.Addrs) > 0:
		return ui.AddrsForPeople(a)[0].String()
	}
	return a.MAC.String()
}

func place(a asset.Asset) detect.Text {
	if a.Port == "" {
		return detect.Text{}
	}
	return detect.Text{EN: "port " + a.Port, JA: "ポート " + a.Port}
}

// cable is what to pull: the port as it is printed on the box.
func cable(a asset.Asset) detect.Text {
	if a.Port == "" {
		return detect.Text{EN: "its LAN cable", JA: "機器の線"}
	}
	return detect.Text{EN: a.Port, JA: a.Port}
}

func stateText(i incident.Incident) detect.Text {
	switch i.State {
	case incident.Contained, incident.Eradicating:
		if i.Level == incident.Limit {
			return detect.Text{EN: "Limited; not isolated.", JA: "通信を制限しています（未隔離）。"}
		}
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

func transitionText(t incident.Transition) detect.Text { return ui.Told(t) }

// faultText is short enough for the small screen.
func (g *Gateway) faultText(check string) detect.Text {
	if t, ok := panelFault(check); ok {
		return t
	}
	switch check {
	case "capture":
		return detect.Text{EN: "Too much traffic", JA: "通信量が多すぎます"}
	case "evidence":
		if t, ok := diskText(g.parts.Spool.Health()); ok {
			return t
		}
		fallthrough
	case "bundles":
		return detect.Text{EN: "Evidence not kept", JA: "証拠を保存できません"}
	case "records":
		return detect.Text{EN: "Records not written", JA: "記録を書き込めません"}
	case "containment":
		return detect.Text{EN: "Isolation disturbed", JA: "隔離設定に異常"}
	case checkLAN:
		return detect.Text{EN: "Part is not guarded", JA: "見守れない範囲あり"}
	case checkWAN:
		return detect.Text{EN: "No way to the internet", JA: "ネット側が未接続です"}
	case "proof":
		return detect.Text{EN: "Cannot watch the wire", JA: "通信を確認できません"}
	}
	return detect.Text{EN: "A part has stopped", JA: "一部の機能が停止"}
}

// diskText names what is wrong with the evidence disk where a person can mend it.
func diskText(err error) (detect.Text, bool) {
	switch {
	case diskMissing(err):
		return detect.Text{EN: "SSD not connected", JA: "SSDが未接続です"}, true
	case errors.Is(err, evidence.ErrDiskFull), errors.Is(err, evidence.ErrPinsFill):
		return detect.Text{EN: "SSD is full", JA: "SSDが満杯です"}, true
	case errors.Is(err, evidence.ErrReadOnly):
		return detect.Text{EN: "SSD write-protected", JA: "SSDに書き込めません"}, true
	case errors.Is(err, evidence.ErrTooSlow):
		return detect.Text{EN: "SSD too slow", JA: "SSDが遅すぎます"}, true
	}
	return detect.Text{}, false
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
