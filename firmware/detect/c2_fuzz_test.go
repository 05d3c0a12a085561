package detect_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// FuzzC2Channel reads what strangers wrote: nothing may panic, and what they
// wrote may not break the texts that people read.
func FuzzC2Channel(f *testing.F) {
	for _, s := range []string{"", "Microsoft Windows [Version 10.0]", "root@a:~# ", "\x1b]0;a@b\x07a@b:/$ ", "whoami %s%n\n", "id\n", "\x00\x00\x00\x01", "\x2f\x26\x12\x00MZ",
		"\x2f\x26\x12\x00", `{"method":"mining.subscribe"}`, "\xf9\xbe\xb4\xd9version\x00\x00\x00\x00\x00aaaaaaaa", "${${lower:j}ndi:ldap://%!d/}", ".advscan %s %d\xff",
		"0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00", "http://[::1%25lo]:80/%zz", "[fe80::1%eth0]:443"} {
		f.Add(s, uint16(4444), true)
		f.Add(s, uint16(80), false)
	}
	f.Fuzz(func(t *testing.T, s string, p uint16, fromServer bool) {
		o := newOffice(t, detect.Config{})
		server, text := port(net4(1), p), s[:min(len(s), 256)]
		o.firstWords(10, server, fromServer, []byte(text))
		o.irc(10, server, false, "JOIN", text, text)
		o.irc(10, server, fromServer, "PRIVMSG", text, text)
		o.play(&flow.SSDP{Meta: o.meta(mac(66)), Src: port(ip(66), 1900), Dst: port(ip(10), 1900), Location: text})
		for range 12 {
			o.httpAsk(10, server, "POST", text, text, text, text, int64(len(s)), []byte(text))
			o.now = o.now.Add(5 * time.Second)
		}
		for _, x := range o.found {
			for _, say := range []string{x.Title.EN, x.Title.JA, x.Explain.EN, x.Explain.JA} {
				if strings.Contains(say, "%!") || !utf8.ValidString(say) || say == "" {
					t.Errorf("%s: %q", x.Detector, say)
				}
			}
			if x.Detector == "c2_channel" && x.Score <= 0 || x.Score > 1 {
				t.Errorf("%s: score %v", x.Detector, x.Score)
			}
		}
	})
}
