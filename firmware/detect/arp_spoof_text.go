package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/flow"
)

func (d *arpSpoof) finding(now time.Time, a netip.Addr, b *bind, conf Confidence, score float64) Finding {
	h := d.net.host(b.rival, netip.Addr{}).without(a)
	victim := d.net.peer(a)
	if !b.owner.IsZero() {
		victim.MAC = b.owner
	}
	who := claimant(h, b.rival)
	f := Finding{
		Time: now, Detector: d.Name(), Technique: "T1557.002", Host: h, Peers: []Host{victim}, PeerCount: 1,
		Score: score, Confidence: conf, First: b.since, Last: now,
		Title: Text{
			EN: fmt.Sprintf("%s claims the address %s of another device", who, a),
			JA: fmt.Sprintf("%s がほかの機器のアドレス %s を名乗っています", who, a),
		},
		Explain: d.explain(now, a, b, who),
	}
	if d.gateway(a) {
		nEN, nJA := times(b.claims)
		f.Explain.EN = fmt.Sprintf("%s said %s that %s is its own. That is the address of this gateway: whoever believes it sends all traffic through that device.", who, nEN, a)
		f.Explain.JA = fmt.Sprintf("%s が %s、このゲートウェイのアドレス %s を自分のものだと名乗りました。これを信じた機器の通信は、すべてこの機器を経由してしまいます。", who, nJA, a)
		if conf != High {
			f.Explain.EN += " A router or a camera may come with this address by its maker: ask whether one was plugged in."
			f.Explain.JA += "出荷時の設定が同じアドレスのルーターやカメラかもしれません。新しくつないだ機器がないか確認してください。"
		}
	}
	return f
}

func ownerName(b *bind) string {
	if b.owner.IsZero() {
		return "-"
	}
	return b.owner.String()
}

// claimant names who claims: by its MAC too, since addresses are what is in doubt.
func claimant(h Host, m flow.MAC) string {
	if h.IP.IsValid() {
		return h.label() + " (" + m.String() + ")"
	}
	return h.label()
}

// without takes the claimed address, the victim's, from a host.
func (h Host) without(a netip.Addr) Host {
	h.IPs = slices.DeleteFunc(slices.Clone(h.IPs), func(x netip.Addr) bool { return x == a })
	if h.IP == a {
		h.IP = shown(h.IPs)
	}
	return h
}

func (d *arpSpoof) explain(now time.Time, a netip.Addr, b *bind, who string) Text {
	saidEN, saidJA := times(b.claims)
	if b.claims > 1 {
		tEN, tJA := span(now.Sub(b.since))
		saidEN, saidJA = saidEN+" within "+tEN, tJA+" の間に "+saidJA
	}
	var askEN, askJA string
	switch {
	case b.unasked > 0 && b.unasked == b.claims:
		askEN, askJA = ", without being asked", "（問い合わせなし）"
	case b.unasked > 0:
		n, _ := times(b.unasked)
		askEN, askJA = ", "+n+" without being asked", fmt.Sprintf("（うち %d 回は問い合わせなし）", b.unasked)
	}
	en := fmt.Sprintf("%s said %s that %s is its own%s. The address belongs to %s", who, saidEN, a, askEN, ownerName(b))
	ja := fmt.Sprintf("%s が %s、%s は自分のアドレスだと名乗りました%s。このアドレスは %s のもの", who, saidJA, a, askJA, ownerName(b))
	if b.contested > 0 {
		n, _ := times(b.contested)
		en, ja = en+", which was heard there "+n+" since.", ja+fmt.Sprintf("で、その後も %d 回確認されています。", b.contested)
	} else {
		en, ja = en+", which was heard there shortly before.", ja+"で、直前まで使われていました。"
	}
	return Text{
		EN: en + " Traffic for that address can be read or changed on the way.",
		JA: ja + "このアドレス宛ての通信を盗み見られたり、書き換えられたりするおそれがあります。",
	}
}
