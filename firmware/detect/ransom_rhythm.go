package detect

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"sekisho/firmware/flow"
)

// rewriteBeat watches encrypted SMB3, of which only lengths and directions are
// seen. Encrypting a share file by file is a beat that goes on and on: so much
// is read, about as much is written, then the next file with another size.
// REDFISH (Morato et al. 2018) uses the same two volumes of clear SMB.
//
// An ordinary client has no reason for it: a copy within one server does not
// pass through the client (FSCTL_SRV_COPYCHUNK, MS-SMB2 3.3.5.15.6), a backup
// only reads or only writes, a person saves one file in minutes. Programs that
// change many files in place do the same (tags in music, rotated photographs),
// so it is medium at most.
type rewriteBeat struct {
	net *network
	tab *table[rhythmKey, rewriteRun]
}

type rhythmKey struct {
	src    source
	server netip.Addr
}

type rewriteRun struct {
	read, wrote uint64
	last        uint64 // volume of the file before
	small       int    // short messages since the last file: open, close, rename
	sum         float64
	files       int
	bytes       uint64
	first, at   time.Time
	told        told
}

const (
	// A message above it carries content: requests and answers about names and
	// attributes are shorter (MS-SMB2 2.2.13, 2.2.37; 64-byte headers).
	rhythmContent = 1024
	// Growth of one file by encryption: wrapped keys and padding, a few hundred
	// bytes; base64 makes 4/3.
	rhythmGrowth = 1.4
	// Files until it is told; the least that REDFISH's ten leave.
	rhythmFiles = 10
	// A file needs an open and a close of each content, with their answers.
	rhythmSmall = 4
	rhythmPause = time.Minute // a person works slower than that
)

// Own estimates: ransomware rewrites whole files; an ordinary client's turn
// from reading to writing has equal volumes by chance.
var (
	rhythmHit  = math.Log(.8 / .1)
	rhythmMiss = math.Log(.2 / .9)
)

func newRewriteBeat(n *network) *rewriteBeat {
	return &rewriteBeat{net: n, tab: newTable[rhythmKey, rewriteRun](n.MaxHosts, 0)}
}

func (r *rewriteBeat) observe(e *flow.SMB) (Finding, bool) {
	src, mac := r.net.client(&e.Meta, e.Client.Addr(), e.Response)
	b := r.tab.get(rhythmKey{src, e.Server.Addr()})
	if e.Time.Sub(b.at) > rhythmPause {
		told := b.told
		*b = rewriteRun{told: told, first: e.Time}
	}
	b.at = e.Time
	switch {
	case e.Size < rhythmContent:
		b.small++
		return Finding{}, false
	case !e.Response:
		b.wrote += uint64(e.Size)
		return Finding{}, false
	case b.wrote == 0:
		b.read += uint64(e.Size)
		return Finding{}, false
	}
	b.turn()
	b.read = uint64(e.Size)
	if b.files < rhythmFiles || b.sum < ransomMedium || r.net.own(mac, e.Client.Addr()) || !b.told.more(b.files, Medium) {
		return Finding{}, false
	}
	return r.finding(e, b, mac), true
}

// turn judges what was read and written since the turn before.
func (b *rewriteRun) turn() {
	even := b.read > 0 && float64(b.wrote) <= rhythmGrowth*float64(b.read) && float64(b.read) <= rhythmGrowth*float64(b.wrote)
	if even && b.small >= rhythmSmall && b.read != b.last { // equal pieces belong to one file
		b.sum += rhythmHit
		b.files++
		b.bytes += b.wrote
	} else if b.sum = max(0, b.sum+rhythmMiss); b.sum == 0 {
		b.files, b.bytes, b.first = 0, 0, b.at
	}
	b.last, b.read, b.wrote, b.small = b.read, 0, 0, 0
}

func (r *rewriteBeat) finding(e *flow.SMB, b *rewriteRun, mac flow.MAC) Finding {
	h := r.net.host(mac, e.Client.Addr())
	tEN, tJA := span(e.Time.Sub(b.first))
	return Finding{
		Time: e.Time, Detector: "smb_ransom", Technique: "T1486", Host: h,
		Peers: []Host{r.net.peer(e.Server.Addr())}, PeerCount: 1,
		Score: ransomScore(b.sum), Confidence: Medium, First: b.first, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s is rewriting many shared files one after the other", h.label()),
			JA: fmt.Sprintf("%s が多くの共有ファイルを次々に書き換えています", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("Within %s, %s read about %d files from %s and wrote each back with nearly the same size, %d kB in all. The connection is encrypted, so the content cannot be seen; ransomware has this rhythm.",
				tEN, h.label(), b.files, e.Server.Addr(), b.bytes/1000),
			JA: fmt.Sprintf("%s が %s の間に、%s からおよそ %d 個のファイルを読み出し、それぞれほぼ同じ大きさで書き戻しました（合計 %d kB）。通信は暗号化されているため内容は見えませんが、ランサムウェアと同じ動きです。",
				h.label(), tJA, e.Server.Addr(), b.files, b.bytes/1000),
		},
	}
}
