package flow

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable makes text from what a stranger sent: control characters,
// invisible format characters (which can reverse a line on a screen) and bytes
// that are not UTF-8 become \ddd as in RFC 1035 section 5.1. A trailing NUL, as
// some DHCP clients send, is dropped. At most 255 bytes are read.
func printable(b []byte) string { return printableN(b, 255) }

// printableN is printable for at most limit bytes.
func printableN(b []byte, limit int) string {
	b = b[:min(len(b), limit)]
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	if plain(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 || !unicode.IsGraphic(r) {
			for _, c := range b[:n] {
				fmt.Fprintf(&s, `\%03d`, c)
			}
		} else {
			s.Write(b[:n])
		}
		b = b[n:]
	}
	return s.String()
}

func plain(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
