package detect

import (
	"fmt"

	"sekisho/firmware/flow"
)

func (d *smbRansom) finding(e *flow.SMB, c *rewriter, conf Confidence, mac flow.MAC) Finding {
	h := d.net.host(mac, e.Client.Addr())
	return Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1486", Host: h,
		Peers: d.net.peers(c.servers.first), PeerCount: c.servers.len(),
		Score: ransomScore(c.sum), Confidence: conf, First: c.first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s is replacing shared files like ransomware", h.label()),
			JA: fmt.Sprintf("%s がランサムウェアのように共有ファイルを書き換えています", h.label()),
		},
		Explain: c.explain(h, e),
	}
}

// ransomScore is the posterior when one run of rewritten files in a million is
// ransomware: the same million that the thresholds rest on.
func ransomScore(sum float64) float64 { return walk(sum - ransomHigh - prior).score() }

func (c *rewriter) explain(h Host, e *flow.SMB) Text {
	tEN, tJA := span(e.Time.Sub(c.first))
	t := Text{
		EN: fmt.Sprintf("Within %s, %s replaced %s of %d different types on %s.", tEN, h.label(), plural(c.lost, "file"), len(c.types), e.Server.Addr()),
		JA: fmt.Sprintf("%s が %s の間に、%s の共有ファイル %d 個（%d 種類）を書き換えました。", h.label(), tJA, e.Server.Addr(), c.lost, len(c.types)),
	}
	if c.uniform > 0 {
		t.EN += fmt.Sprintf(" %d of them became data without any structure, as encryption leaves it.", c.uniform)
		t.JA += fmt.Sprintf("そのうち %d 個は、暗号化されたときのような規則性のないデータになりました。", c.uniform)
	}
	if end, n := c.ending(); n > 0 {
		t.EN += fmt.Sprintf(" %d have the new ending .%s.", n, printable(end))
		t.JA += fmt.Sprintf("%d 個の拡張子が .%s に変わりました。", n, printable(end))
	}
	if c.note != "" {
		t.EN += fmt.Sprintf(" The same file %s was put into %d folders.", printable(c.note), noteFolders)
		t.JA += fmt.Sprintf("同じファイル %s が %d 個のフォルダーに置かれました。", printable(c.note), noteFolders)
	}
	return t
}

// printable keeps what a stranger named from breaking a line or a page.
func printable(s string) string {
	out := make([]rune, 0, 40)
	for _, r := range s {
		if len(out) == 40 {
			return string(out) + "…"
		}
		if r < ' ' || r == 0x7f || r == 0xfffd || r >= 0x200b && r <= 0x202e || r == '<' || r == '>' {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}
