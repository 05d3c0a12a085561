package detect

import (
	"fmt"
	"net/netip"
	"strings"
)

// protocolNames writes a service as people know it.
var protocolNames = map[string]string{
	"ssh": "SSH", "rdp": "RDP", "ftp": "FTP", "telnet": "Telnet", "smtp": "SMTP", "pop3": "POP3", "imap": "IMAP",
	"http": "HTTP", "vnc": "VNC", "mysql": "MySQL", "mssql": "SQL Server", "postgresql": "PostgreSQL",
	"smb": "SMB", "ldap": "LDAP", "kerberos": "Kerberos", "tls": "TLS",
}

func protocolName(s string) string {
	if n := protocolNames[s]; n != "" {
		return n
	}
	return strings.ToUpper(s)
}

// quoted makes a name from the wire fit for a text.
func quoted(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return `"` + s + `"`
}

func (d *bruteForce) finding(a attempt, g *guesses, conf Confidence) Finding {
	h := d.net.host(a.key.src.mac, a.from)
	if a.key.src.mac.IsZero() {
		h = d.net.host(a.mac, a.from)
	}
	server := d.net.peer(a.key.server.Addr())
	svc := fmt.Sprintf("%s (tcp/%d)", protocolName(a.key.service), a.key.server.Port())
	f := Finding{Time: a.at, Detector: d.Name(), Technique: "T1110.001", Host: h,
		Peers: []Host{server}, PeerCount: 1, Confidence: conf, First: g.failures.first, Last: a.at,
		Score: max(g.w.score(), tryScore(g))}
	if g.dead.len() >= firstSay && g.failures.n < 3*g.dead.len() {
		f.Technique = "T1110.003"
	}
	if f.First.IsZero() || !g.tries.start.IsZero() && g.tries.start.Before(f.First) {
		f.First = g.tries.start
	}
	f.Title = Text{
		EN: fmt.Sprintf("%s is guessing passwords for %s of %s", h.label(), svc, server.label()),
		JA: fmt.Sprintf("%s が %s の %s のパスワードを推測しようとしています", h.label(), server.label(), svc),
	}
	if conf == Low {
		f.Title = Text{
			EN: fmt.Sprintf("%s keeps failing to log in to %s of %s", h.label(), svc, server.label()),
			JA: fmt.Sprintf("%s が %s の %s へのログインに失敗し続けています", h.label(), server.label(), svc),
		}
	}
	if rank(g.answered(a.key.service)) > 0 {
		f.Explain = g.explainAnswers(conf)
		if a.key.service == "ssh" {
			f.Explain = both(f.Explain, Text{
				EN: " SSH is encrypted: this was inferred from the lengths of the answers.",
				JA: "SSH は暗号化されているため、応答の長さから推定しています。",
			})
		}
	} else {
		f.Explain = g.explainShape()
	}
	if g.inside != "" || g.after {
		f.Explain = both(f.Explain, g.explainInside())
	}
	return f
}

// tryScore turns a CUSUM into a probability with the prior of trw.go.
func tryScore(g *guesses) float64 {
	if !g.tries.decided() {
		return 0
	}
	return walk(max(g.slow.s, g.fast.s)).score()
}

func (g *guesses) explainAnswers(conf Confidence) Text {
	tEN, tJA := span(g.failures.last.Sub(g.failures.first))
	n := g.failures.n
	t := Text{
		EN: fmt.Sprintf("The server refused %s within %s", plural(n, "log-in"), tEN),
		JA: fmt.Sprintf("サーバーは %s の間に %d 回のログインを拒否しました", tJA, n),
	}
	switch names := g.dead.len(); {
	case names > 1:
		t.EN += fmt.Sprintf(", for %d different user names.", names)
		t.JA += fmt.Sprintf("（異なるユーザー名 %d 個）。", names)
	case g.user != "":
		t.EN += ", all for the user name " + quoted(g.user) + "."
		t.JA += "（ユーザー名はすべて " + quoted(g.user) + "）。"
	default:
		t.EN += "."
		t.JA += "。"
	}
	if conf == Low && g.dead.len() <= 1 {
		t.EN += " A stored password that is out of date looks like this too."
		t.JA += "保存された古いパスワードが使われている場合にも、このように見えます。"
	} else if g.streak >= strikes {
		t.EN += fmt.Sprintf(" %d of them in a row came within a second of the refusal before, faster than anybody types.", g.streak)
		t.JA += fmt.Sprintf("うち連続 %d 回は前の拒否から 1 秒以内に始まっており、人が入力できる速さではありません。", g.streak)
	}
	return t
}

func (g *guesses) explainShape() Text {
	tEN, tJA := span(max(g.fast.last.Sub(g.tries.start), 0))
	t := Text{
		EN: fmt.Sprintf("%d connections within %s ended after no more than a log-in can carry (%d to %d bytes each)",
			g.tries.n, tEN, g.least, g.most),
		JA: fmt.Sprintf("%s の間に %d 本の接続が、ログインに必要な量のデータ（1 本あたり %d ～ %d バイト）だけで終わりました",
			tJA, g.tries.n, g.least, g.most),
	}
	if g.shape == &shapeForm {
		return Text{
			EN: fmt.Sprintf("A form with a password was filled in %d times within %s, with %d different lengths.", g.tries.n, tEN, g.lengths.len()),
			JA: fmt.Sprintf("%s の間に、パスワードを含むフォームが %d 回送信されました（長さは %d 通り）。", tJA, g.tries.n, g.lengths.len()),
		}
	}
	if g.sessions == 0 {
		t.EN += "; none became a session."
		t.JA += "。セッションになったものはありません。"
	} else {
		t.EN += fmt.Sprintf("; %d became a session.", g.sessions)
		t.JA += fmt.Sprintf("。セッションになったものは %d 本です。", g.sessions)
	}
	return t
}

func (g *guesses) explainInside() Text {
	if g.inside == "" {
		return Text{
			EN: " After that a longer session followed: a guess may have been right.",
			JA: "その後、より長いセッションが続きました。推測が当たった可能性があります。",
		}
	}
	return Text{
		EN: fmt.Sprintf(" After that %s was let in: change this password.", quoted(g.inside)),
		JA: fmt.Sprintf("その後 %s のログインが成功しました。このパスワードを変更してください。", quoted(g.inside)),
	}
}

func both(a, b Text) Text { return Text{EN: a.EN + b.EN, JA: a.JA + b.JA} }

func (d *bruteForce) fanFinding(a attempt, f *fan, conf Confidence) Finding {
	h := d.net.host(a.mac, a.from)
	name, n := protocolName(a.key.service), f.servers.len()
	nEN, nJA := count(n, f.servers.full)
	tEN, tJA := span(a.at.Sub(f.at.at))
	t := Text{
		EN: fmt.Sprintf("Within %s, %s servers refused its log-ins by %s (%s)", tEN, nEN, name, plural(f.n, "try")),
		JA: fmt.Sprintf("%s の間に、%s 台のサーバーが %s でのログインを拒否しました（試行 %d 回）", tJA, nJA, name, f.n),
	}
	if f.read == 0 {
		t = Text{
			EN: fmt.Sprintf("Within %s, its %s connections to %s servers all ended after no more than a log-in", tEN, name, nEN),
			JA: fmt.Sprintf("%s の間に、%s 台のサーバーへの %s 接続が、すべてログイン程度のデータだけで終わりました", tJA, nJA, name),
		}
	}
	if u := f.names.len(); u > 0 {
		t = both(t, Text{EN: fmt.Sprintf(", with %s.", plural(u, "user name")), JA: fmt.Sprintf("。使われたユーザー名は %d 個です。", u)})
	} else {
		t = both(t, Text{EN: ".", JA: "。"})
	}
	title := Text{
		EN: fmt.Sprintf("%s is trying passwords on %s servers by %s", h.label(), nEN, name),
		JA: fmt.Sprintf("%s が %s で %s 台のサーバーにパスワードを試しています", h.label(), name, nJA),
	}
	if conf == Low {
		title = Text{
			EN: fmt.Sprintf("%s gets into none of %s servers by %s", h.label(), nEN, name),
			JA: fmt.Sprintf("%s が %s で %s 台のサーバーのどれにもログインできていません", h.label(), name, nJA),
		}
	}
	return Finding{Time: a.at, Detector: d.Name(), Technique: "T1110.003", Host: h,
		Peers: d.net.peers(f.servers.first), PeerCount: n, Score: f.w.score(), Confidence: conf,
		First: f.at.at, Last: a.at, Title: title, Explain: t}
}

func (d *bruteForce) crowdFinding(a attempt, o *door) Finding {
	h := d.net.host(a.mac, a.from)
	server := d.net.peer(a.key.server.Addr())
	nEN, nJA := count(o.sources.len(), o.sources.full)
	name := protocolName(a.key.service)
	others := make([]netip.Addr, 0, maxPeers)
	others = append(append(others, a.key.server.Addr()), o.sources.first[:min(len(o.sources.first), maxPeers-1)]...)
	return Finding{Time: a.at, Detector: d.Name(), Technique: "T1110.003", Host: h,
		Peers: d.net.peers(others), PeerCount: 1 + o.sources.len(), Score: 0.9, Confidence: Medium,
		First: o.first, Last: a.at,
		Title: Text{
			EN: fmt.Sprintf("Many strangers are guessing passwords for %s of %s", name, server.label()),
			JA: fmt.Sprintf("外部の多数の相手が %s の %s のパスワードを推測しています", server.label(), name),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s sources outside the office made %d failing log-ins there; the latest was %s. Is this service meant to be open to the internet?",
				nEN, o.n, h.label()),
			JA: fmt.Sprintf("社外の %s か所から計 %d 回、失敗するログインがありました。最新は %s です。このサービスをインターネットに公開する必要があるかご確認ください。",
				nJA, o.n, h.label()),
		}}
}
