package detect

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

func (d *tlsAnomaly) finding(src source, s *tlsServer, m *flow.Meta, client netip.Addr, server netip.AddrPort, conf Confidence, nats, pairs float64) Finding {
	h := d.net.host(src.mac, client)
	en, ja := s.reasons(server.Port(), m.Time)
	nEN, nJA := times(s.connections)
	where := server.String()
	if s.sni != "" {
		where = s.sni + " (" + where + ")"
	}
	// The chance that such a pair is an ordinary one, against one bad pair a
	// month in as many.
	score := 1 / (1 + pairs*math.Exp(-nats))
	return Finding{
		Time: m.Time, Detector: d.Name(), Technique: "T1573.002", Host: h,
		Peers: []Host{d.net.peer(server.Addr())}, PeerCount: 1,
		Score: score, Confidence: conf, First: s.first, Last: m.Time,
		Title: Text{
			EN: fmt.Sprintf("%s has an unusual encrypted connection", h.label()),
			JA: fmt.Sprintf("%s に通常と異なる暗号化通信があります", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s called %s by TLS %s: %s. Each of these occurs in ordinary offices; together they are rare.",
				h.label(), where, nEN, strings.Join(en, "; ")),
			JA: fmt.Sprintf("%s が %s へ TLS で %s接続しました。%s。一つ一つは通常でも見られますが、重なることはまれです。",
				h.label(), where, nJA, strings.Join(ja, "、")),
		},
	}
}

// reasons names the oddities in a fixed order.
func (s *tlsServer) reasons(port uint16, now time.Time) (en, ja []string) {
	say := func(o tlsOddity, e, j string) {
		if s.odd[o] {
			en, ja = append(en, e), append(ja, j)
		}
	}
	say(tlsSelfSigned, fmt.Sprintf("the server vouches for itself (%s)", s.named()), fmt.Sprintf("サーバー証明書が自己署名です (%s)", s.named()))
	say(tlsStrangeCA, fmt.Sprintf("the authority that signed looks invented (%s)", s.authority), fmt.Sprintf("署名した認証局の名前が無作為な文字列のようです (%s)", s.authority))
	say(tlsTooLong, fmt.Sprintf("its certificate is valid for %d years", s.years), fmt.Sprintf("証明書の有効期間が %d 年です", s.years))
	if now.After(s.until) {
		say(tlsExpired, "its certificate expired on "+s.until.Format(time.DateOnly), "証明書の有効期限が "+s.until.Format(time.DateOnly)+" に切れています")
	} else {
		say(tlsExpired, "its certificate is not valid yet", "証明書がまだ有効期間前です")
	}
	say(tlsPlaceholder, "the certificate carries the names that tools propose", "証明書の名前がツールの初期値のままです")
	say(tlsMadeUp, fmt.Sprintf("its organisation looks invented (%s)", s.org), fmt.Sprintf("組織名が無作為な文字列のようです (%s)", s.org))
	say(tlsNoName, "the device named no server", "接続先のサーバー名が示されていません")
	say(tlsOtherName, fmt.Sprintf("the certificate is for another name (%s)", s.cn), fmt.Sprintf("証明書が別の名前 (%s) のものです", s.cn))
	say(tlsClearPort, fmt.Sprintf("port %d is not meant for encryption", port), fmt.Sprintf("ポート %d は本来、暗号化しない通信のものです", port))
	say(tlsOddPort, fmt.Sprintf("port %d is unusual for TLS", port), fmt.Sprintf("ポート %d は TLS では珍しいものです", port))
	say(tlsUnasked, "no DNS answer led to that address", "その宛先を示す DNS の応答がありません")
	say(tlsNewClient, "the program that calls is new to this device", "この機器では初めてのプログラムによる通信です")
	return en, ja
}

func (s *tlsServer) named() string {
	switch {
	case s.cn != "" && s.org != "":
		return s.cn + ", " + s.org
	case s.cn != "":
		return s.cn
	case s.org != "":
		return s.org
	}
	return "-"
}
