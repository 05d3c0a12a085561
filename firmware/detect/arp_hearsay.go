package detect

import (
	"fmt"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// An ARP packet whose sender field names another MAC than the frame's own
// source is hearsay: one host speaks in the name of another. Nobody is blamed
// for what others say of it, or an attacker could have a victim isolated with
// one forged field. What it means depends on who says it about whom:
//
//   - a rival gives the address back to its owner: arpspoof and ettercap do so
//     when they end. It says that the owner is somebody else, as the owner's
//     own word would;
//   - who holds an address and insisted on it unasked gives it away: the owner
//     that we learnt was the impostor, who began before we listened. The third
//     time is high;
//   - a third one says that the address is somewhere else: medium at most, as
//     he who is named need not know of it. The same goes for the gateway's
//     own address.
//
// A Wi-Fi repeater passes on what its stations say of themselves; it neither
// insists on an address nor gives away its own.

func hearsay(e *flow.ARP) bool {
	return !e.SrcMAC.IsZero() && !e.SenderMAC.IsZero() && e.SrcMAC != e.SenderMAC && !virtualRouter(e.SenderMAC)
}

func (d *arpSpoof) hearsay(e *flow.ARP, unasked bool) {
	if d.gateway(e.SenderIP) {
		if !e.SenderMAC.IsGroup() {
			d.claimGateway(&e.Meta, e.SenderMAC, e.SenderIP, d.binds.get(e.SenderIP), answered) // never more than medium
		}
		return
	}
	b := d.binds.peek(e.SenderIP)
	if b == nil || b.owner.IsZero() || e.Out {
		return
	}
	switch {
	case e.SenderMAC == b.owner && e.SrcMAC == b.rival:
		if b.answered || e.Time.Sub(b.last) > contestFor {
			return
		}
		b.answered = true
		b.contested++
		d.judge(e.Time, e.SenderIP, b)
	case e.SenderMAC == b.owner:
	case e.SrcMAC == b.owner:
		d.disown(e, b, unasked)
	case e.Time.Sub(b.seen) <= contestFor:
		d.rumour(e, b)
	}
}

// disown judges an owner that gives away what it insisted on.
func (d *arpSpoof) disown(e *flow.ARP, b *bind, unasked bool) {
	if b.insisted < sureUnasked || !unasked {
		return
	}
	if b.rival != e.SenderMAC {
		b.rival, b.since, b.claims, b.unasked, b.contested, b.disowned = e.SenderMAC, e.Time, 0, 0, 0, 0
	}
	b.disowned++
	b.last = e.Time
	conf, score := Medium, 0.85
	if b.disowned >= sureUnasked {
		conf, score = High, 0.98
	}
	if rank(conf) <= rank(b.told.conf) {
		return
	}
	b.told.conf = conf
	d.out = append(d.out, d.confession(e.Time, e.SenderIP, b, conf, score))
}

// rumour counts what a third host says; only repetition means anything.
func (d *arpSpoof) rumour(e *flow.ARP, b *bind) {
	if b.rival != e.SenderMAC {
		b.rival, b.since, b.claims, b.unasked, b.contested, b.disowned = e.SenderMAC, e.Time, 0, 0, 0, 0
	}
	b.last, b.answered = e.Time, false
	b.claims++
	if b.claims < sureUnasked || b.contested == 0 || rank(b.told.conf) >= rank(Medium) {
		return
	}
	b.told.conf = Medium
	d.out = append(d.out, d.finding(e.Time, e.SenderIP, b, Medium, 0.75))
}

func (d *arpSpoof) confession(now time.Time, a netip.Addr, b *bind, conf Confidence, score float64) Finding {
	h := d.net.host(b.owner, netip.Addr{}).without(a)
	victim := d.net.peer(a)
	victim.MAC = b.rival
	who := claimant(h, b.owner)
	insEN, insJA := times(b.insisted)
	disEN, disJA := times(b.disowned)
	return Finding{
		Time: now, Detector: d.Name(), Technique: "T1557.002", Host: h, Peers: []Host{victim}, PeerCount: 1,
		Score: score, Confidence: conf, First: b.since, Last: now,
		Title: Text{
			EN: fmt.Sprintf("%s claimed the address %s of another device", who, a),
			JA: fmt.Sprintf("%s がほかの機器のアドレス %s を名乗っていました", who, a),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s said %s without being asked that %s is its own, and then %s, in the name of %s, that it belongs there. Programs that intercept traffic restore addresses in this way when they stop. Traffic for that address may have been read or changed.",
				who, insEN, a, disEN, b.rival),
			JA: fmt.Sprintf("%s は、問い合わせがないのに %s、%s は自分のアドレスだと名乗り、そのあと %s の名で、そちらのアドレスだと %s 伝えました。通信を盗み見るプログラムが終了するときの動きです。このアドレス宛ての通信が盗み見られたり、書き換えられたりしたおそれがあります。",
				who, insJA, a, b.rival, disJA),
		},
	}
}
