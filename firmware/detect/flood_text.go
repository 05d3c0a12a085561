package detect

import (
	"fmt"
	"time"

	"sekisho/firmware/flow"
)

// finding holds what all floods have in common.
func (d *flood) finding(now, first time.Time, tech string, h Host, peers []Host, score float64, conf Confidence) Finding {
	return Finding{
		Time: now, Detector: d.Name(), Technique: tech, Host: h, Peers: peers, PeerCount: len(peers),
		Score: score, Confidence: conf, First: first, Last: now,
		Title: Text{
			EN: fmt.Sprintf("%s is flooding the network", h.label()),
			JA: fmt.Sprintf("%s が大量の通信を送り続けています", h.label()),
		},
	}
}

// excess is the score of a sum: 0.7, what medium begins with, at the threshold,
// towards 1 as the sum leaves it behind.
func excess(sum, threshold int) float64 {
	return 1 - 0.3*float64(threshold)/float64(max(sum, threshold))
}

func (d *flood) openings(e *flow.Conn, c *cusum, conf Confidence) Finding {
	h, p := d.net.host(e.ClientMAC, e.Client.Addr()), d.net.peer(e.Server.Addr())
	f := d.finding(e.Time, c.first, "T1499.001", h, []Host{p}, excess(c.sum, floodMedium), conf)
	tEN, tJA := span(e.Time.Sub(c.first))
	svc := service(e.Proto, e.Server.Port())
	f.Explain = Text{
		EN: fmt.Sprintf("%s opened %d connections to %s, %s, within %s; at least %d of them were never used. A service that is called like this cannot answer anybody else.",
			h.label(), c.total, p.label(), svc, tEN, c.sum),
		JA: fmt.Sprintf("%s が %s の間に、%s の %s へ %d 回の接続を始めました。うち少なくとも %d 回は使われていません。このように呼ばれ続けたサービスは、ほかの利用者に応答できなくなります。",
			h.label(), tJA, p.label(), svc, c.total, c.sum),
	}
	return f
}

func (d *flood) pings(e *flow.ICMP, c *cusum, conf Confidence) Finding {
	h, p := d.net.host(e.SrcMAC, e.Src), d.net.peer(e.Dst)
	f := d.finding(e.Time, c.first, "T1498.001", h, []Host{p}, excess(c.sum, pingLow), conf)
	tEN, tJA := span(e.Time.Sub(c.first))
	f.Explain = Text{
		EN: fmt.Sprintf("%s sent %d pings to %s within %s. An ordinary ping is sent once a second.", h.label(), c.total, p.label(), tEN),
		JA: fmt.Sprintf("%s が %s の間に、%s へ %d 回の ping を送りました。通常の ping は 1 秒に 1 回です。", h.label(), tJA, p.label(), c.total),
	}
	return f
}

func (d *flood) leases(e *flow.DHCP, a *leaseAsks, conf Confidence) Finding {
	h := d.net.host(e.SrcMAC, e.ClientIP)
	f := d.finding(e.Time, a.from, "T1499.002", h, nil, excess(max(a.n, dhcpMedium), dhcpMedium), conf)
	tEN, tJA := span(e.Time.Sub(a.from))
	f.Explain = Text{
		EN: fmt.Sprintf("%s asked for an address %d times within %s, in the name of %s. Addresses run out, and other devices get none.",
			h.label(), a.n, tEN, plural(len(a.clients), "device")),
		JA: fmt.Sprintf("%s が %s の間に、%d 台の機器の名前で %d 回アドレスを要求しました。アドレスが足りなくなり、ほかの機器が受け取れなくなります。",
			h.label(), tJA, len(a.clients), a.n),
	}
	if conf == Low {
		f.Score = 0.3
		f.Explain = Text{
			EN: fmt.Sprintf("%s asked for an address %d times within %s, most of them the same request. A cable that joins two ports of the network shows it so; is everything slow?",
				h.label(), a.n, tEN),
			JA: fmt.Sprintf("%s が %s の間に %d 回アドレスを要求しましたが、ほとんどが同じ要求の繰り返しです。LAN ケーブルの接続がループしているときにもこのように見えます。ネットワーク全体が遅くなっていないかご確認ください。",
				h.label(), tJA, a.n),
		}
	}
	return f
}

func (d *flood) packets(e *flow.Activity, p *floodPace, packets uint64, since time.Duration, conf Confidence) Finding {
	h, to := d.net.host(e.ClientMAC, e.Client.Addr()), d.net.peer(e.Server.Addr())
	f := d.finding(e.Time, p.first, "T1498.001", h, []Host{to}, 0.8, conf)
	rate := int(float64(packets) / since.Seconds())
	tEN, tJA := span(e.Time.Sub(p.first))
	svc := service(e.Proto, e.Server.Port())
	f.Explain = Text{
		EN: fmt.Sprintf("%s sends %d small packets a second to %s, %s, for %s now, almost without an answer.", h.label(), rate, to.label(), svc, tEN),
		JA: fmt.Sprintf("%s が %s の %s へ、毎秒 %d 個の小さなパケットを %s 送り続けています。応答はほとんどありません。", h.label(), to.label(), svc, rate, tJA),
	}
	return f
}
