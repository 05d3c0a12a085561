package detect

import (
	"fmt"
	"strings"

	"sekisho/firmware/flow"
)

// fileHeads are the first octets of packed, printable and program files (the
// magic numbers of gzip RFC 1952, zip APPNOTE 4.3.7, 7z, xz, RAR, PDF ISO 32000,
// PE) as hex, base32 and base64 write them, in lower case. A random label of
// hex begins as one of the six-digit head once in 16 million; one of base32 or
// base64 as a head of five once in 30 million, and of four once in a million,
// so that one counts only with a character that host names lack.
var fileHeads = []struct{ head, kind string }{
	{"1f8b08", "gzip"}, {"d6fqq", "gzip"}, {"h4si", "gzip"},
	{"504b0304", "zip"}, {"kbfqgb", "zip"}, {"uesdb", "zip"},
	{"377abcaf", "7z"}, {"n3q8ry", "7z"},
	{"fd377a58", "xz"}, {"/td6wf", "xz"},
	{"52617221", "RAR"}, {"umfyir", "RAR"},
	{"25504446", "PDF"}, {"jvberi", "PDF"},
	{"4d5a9000", "EXE"}, {"tvqqa", "EXE"},
}

// minFile: no file of these kinds is shorter than 18 octets (an empty gzip has
// 20, RFC 1952), which base64 writes with 24 characters.
const minFile = 24

// fileIn says which kind of file the name begins as, "" for none.
func fileIn(prefix string) string {
	if len(prefix) < minFile {
		return ""
	}
	for i := range fileHeads {
		f := &fileHeads[i]
		if f.head[0] == prefix[0] && strings.HasPrefix(prefix, f.head) && (len(f.head) > 4 || foreign(prefix)) {
			return f.kind
		}
	}
	return ""
}

// foreign says that a name has a character that no host name has (RFC 1123
// section 2.1) but base64 and its variants do.
func foreign(name string) bool { return strings.ContainsAny(name, "=+/*") }

// file reports a name that begins as a file does: one question can be a whole
// one. Alone it is medium where it holds a foreign character, else low.
func (d *dnsTunnel) file(e *flow.DNS, src source, prefix, kind string) {
	conf, score := Low, 0.5
	if foreign(prefix) && d.net.onLAN(e.Src.Addr()) && !d.net.router(src.mac) {
		conf, score = Medium, 0.9
	}
	t := d.said.get(src)
	if !t.more(max(1, t.peers), conf) {
		return
	}
	h := d.net.host(e.SrcMAC, e.Src.Addr())
	d.out = append(d.out, Finding{
		Time: e.Time, Detector: d.Name(), Technique: "T1048.003", Host: h,
		Peers: []Host{d.net.peer(e.Dst.Addr())}, PeerCount: 1,
		Score: score, Confidence: conf, First: e.Time, Last: e.Time,
		Title: Text{
			EN: fmt.Sprintf("%s put a file into a DNS name", h.label()),
			JA: fmt.Sprintf("%s が DNS の名前にファイルを入れて送りました", h.label()),
		},
		Explain: Text{
			EN: fmt.Sprintf("%s asked %s for a name of %d characters that begins as a %s file does.", h.label(), e.Dst.Addr(), len(e.QName), kind),
			JA: fmt.Sprintf("%s が %s に、%s ファイルの先頭と同じ文字で始まる %d 文字の名前を問い合わせました。", h.label(), e.Dst.Addr(), kind, len(e.QName)),
		},
	})
}
