package detect

import (
	"fmt"
	"net/netip"
	"strings"

	"sekisho/firmware/flow"
)

// scores of the bands: what of such findings would be attacks, by the meaning
// of the bands and one attack a year.
var lateralScore = map[Confidence]float64{Low: 0.3, Medium: 0.8, High: 0.98}

func (d *lateral) finding(m *flow.Meta, client, server netip.Addr, p *trade, a act, conf Confidence) Finding {
	h := d.net.host(p.mac, client)
	peer := d.net.peer(server)
	return Finding{
		Time: m.Time, Detector: d.Name(), Technique: deeds[a].technique, Host: h, Peers: []Host{peer}, PeerCount: 1,
		Score: lateralScore[conf], Confidence: conf, First: p.first, Last: m.Time,
		Title:   title(h, peer, a, conf),
		Explain: p.explain(h, peer, m, a),
	}
}

func title(h, peer Host, a act, conf Confidence) Text {
	if a.exploit() {
		return Text{
			EN: fmt.Sprintf("%s is attacking %s", h.label(), peer.label()),
			JA: fmt.Sprintf("%s が %s を攻撃しています", h.label(), peer.label()),
		}
	}
	if conf == High {
		return Text{
			EN: fmt.Sprintf("%s is taking over %s", h.label(), peer.label()),
			JA: fmt.Sprintf("%s が %s を乗っ取ろうとしています", h.label(), peer.label()),
		}
	}
	return Text{
		EN: fmt.Sprintf("%s is working on %s from afar", h.label(), peer.label()),
		JA: fmt.Sprintf("%s が %s を遠隔で操作しています", h.label(), peer.label()),
	}
}

// explain lists the acts of tradeTime, in the order of the table.
func (p *trade) explain(h, peer Host, m *flow.Meta, a act) Text {
	var en, ja []string
	now := m.Time.UnixNano()
	for i := range p.last {
		if p.within(act(i), now) {
			en, ja = append(en, deeds[i].en), append(ja, deeds[i].ja)
		}
	}
	t := Text{
		EN: fmt.Sprintf("%s did this to %s: it %s.", h.label(), peer.label(), strings.Join(en, "; it ")),
		JA: fmt.Sprintf("%s が %s に対して次の操作をしました：%s。", h.label(), peer.label(), strings.Join(ja, "、")),
	}
	if len(en) > 1 {
		tEN, tJA := span(m.Time.Sub(p.first))
		t.EN += fmt.Sprintf(" All of it within %s.", tEN)
		t.JA += fmt.Sprintf("すべて %s の間の操作です。", tJA)
	}
	if deeds[a].band == High || a.exploit() {
		t.EN += " No ordinary program does that."
		t.JA += "通常のプログラムは、このような操作をしません。"
	} else {
		t.EN += " Only those who look after the computers have a reason; ask whether somebody did it."
		t.JA += "管理者だけが行う操作です。心当たりがあるか確認してください。"
	}
	return t
}

var fanText = [fanCount]struct{ technique, en, ja string }{
	fanServices: {"T1069.001", "tried to open the service manager of", "サービス管理機能を開こうとしました"},
	fanSessions: {"T1049", "listed who is logged on to", "ログオン中の利用者を調べました"},
	fanShares:   {"T1135", "listed the shares of", "共有フォルダーの一覧を取得しました"},
	fanWinRM:    {"T1021.006", "opened remote shells (WinRM) on", "リモートシェル（WinRM）を開きました"},
	fanAdmin:    {"T1021.002", "opened the administrative shares of", "管理共有を開きました"},
	fanRDP:      {"T1021.001", "opened remote desktops (RDP) on", "リモートデスクトップ（RDP）を開きました"},
	fanNTLM:     {"T1550.002", "logged in with one account (NTLM) to", "同じアカウントで（NTLM により）ログインしました"},
}

func (d *lateral) fanFinding(m *flow.Meta, client netip.Addr, mac flow.MAC, s *fanSet, k fanKind, conf Confidence) Finding {
	h := d.net.host(mac, client)
	nEN, nJA := count(s.peers.len(), s.peers.full)
	tEN, tJA := span(m.Time.Sub(s.first))
	return Finding{
		Time: m.Time, Detector: d.Name(), Technique: fanText[k].technique, Host: h,
		Peers: d.net.peers(s.peers.first), PeerCount: s.peers.len(),
		Score: lateralScore[conf], Confidence: conf, First: s.first, Last: m.Time,
		Title: Text{
			EN: fmt.Sprintf("%s goes from one device to the next", h.label()),
			JA: fmt.Sprintf("%s が複数の機器を次々に操作しています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("Within %s, %s %s %s devices. A person works on one at a time.", tEN, h.label(), fanText[k].en, nEN),
			JA: fmt.Sprintf("%s が %s の間に、%s 台の機器で%s。人が操作する場合は、一度に 1 台です。", h.label(), tJA, nJA, fanText[k].ja),
		},
	}
}

func (d *lateral) wormFinding(m *flow.Meta, client netip.Addr, p *trade, f *fanning) Finding {
	h := d.net.host(p.mac, client)
	s := &f.exploited
	nEN, nJA := count(s.peers.len(), s.peers.full)
	tEN, tJA := span(m.Time.Sub(s.first))
	return Finding{
		Time: m.Time, Detector: "worm", Technique: "T1210", Host: h, Peers: d.net.peers(s.peers.first), PeerCount: s.peers.len(),
		Score: 0.99, Confidence: High, First: s.first, Last: m.Time,
		Title: Text{
			EN: fmt.Sprintf("%s is spreading to other devices by an exploit", h.label()),
			JA: fmt.Sprintf("%s が攻撃コードでほかの機器へ広がろうとしています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("Within %s, %s sent requests that only attack code sends to %s devices.", tEN, h.label(), nEN),
			JA: fmt.Sprintf("%s が %s の間に、攻撃コードだけが送る不正な要求を %s 台の機器へ送りました。", h.label(), tJA, nJA),
		},
	}
}
