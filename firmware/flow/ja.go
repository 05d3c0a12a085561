package flow

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"golang.org/x/crypto/cryptobyte"
)

// fingerprint is what of a hello the fingerprints are made of. It is reused
// from hello to hello; its lists are bounded by the length of the hello.
type fingerprint struct {
	legacy     uint16 // version field of the hello
	offered    uint16 // highest of supported_versions, 0 when absent
	suites     []uint16
	extensions []uint16
	groups     []uint16
	formats    []uint16
	signatures []uint16
	sni        bool   // the server_name extension is there
	alpn       []byte // first protocol; points into the hello
	text       []byte
	sorted     []uint16
}

func (f *fingerprint) reset() {
	*f = fingerprint{
		suites: f.suites[:0], extensions: f.extensions[:0], groups: f.groups[:0],
		formats: f.formats[:0], signatures: f.signatures[:0], text: f.text[:0], sorted: f.sorted[:0],
	}
}

// grease recognises the values that clients send to keep servers tolerant
// (RFC 8701): both bytes are the same and end in 0xa.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// numbers appends the 16-bit values of a list without GREASE. An odd byte at
// the end is dropped.
func numbers(to []uint16, list cryptobyte.String) []uint16 {
	var v uint16
	for list.ReadUint16(&v) {
		if !grease(v) {
			to = append(to, v)
		}
	}
	return to
}

// ja3 is the client's fingerprint by Althouse, Atkinson and Atkins ("JA3", 2017):
// MD5 of version, suites, extensions, groups and point formats in decimal.
func (f *fingerprint) ja3() string {
	b := strconv.AppendUint(f.text[:0], uint64(f.legacy), 10)
	for _, list := range [...][]uint16{f.suites, f.extensions, f.groups, f.formats} {
		b = appendDecimal(append(b, ','), list)
	}
	f.text = b
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// ja3s is the server's: version, the suite that it chose, extensions.
func (f *fingerprint) ja3s() string {
	b := strconv.AppendUint(f.text[:0], uint64(f.legacy), 10)
	b = appendDecimal(append(b, ','), f.suites)
	b = appendDecimal(append(b, ','), f.extensions)
	f.text = b
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

func appendDecimal(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// ja4 is FoxIO's fingerprint of a TLS client (BSD 3-Clause; "JA4: TLS Client
// Fingerprinting", 2023): it sorts what browsers shuffle. Its sibling for
// servers, JA4S, is not made here: its licence (FoxIO 1.1, patents pending)
// does not allow to sell it.
func (f *fingerprint) ja4(quic bool) string {
	b := append(f.text[:0], 't')
	if quic {
		b[0] = 'q'
	}
	version := f.offered
	if version == 0 {
		version = f.legacy
	}
	b = append(b, ja4Version(version)...)
	if f.sni {
		b = append(b, 'd')
	} else {
		b = append(b, 'i')
	}
	b = twoDigits(b, len(f.suites))
	b = twoDigits(b, len(f.extensions))
	first, last := ja4ALPN(f.alpn)
	b = append(b, first, last, '_')
	out := append(make([]byte, 0, 36), b...)

	f.sorted = append(f.sorted[:0], f.suites...)
	slices.Sort(f.sorted)
	out = append(ja4Hash(out, appendHex(b[:0], f.sorted)), '_')

	f.sorted = f.sorted[:0]
	for _, v := range f.extensions {
		if v != extServerName && v != extALPN {
			f.sorted = append(f.sorted, v)
		}
	}
	slices.Sort(f.sorted)
	b = appendHex(b[:0], f.sorted)
	if len(f.signatures) > 0 && len(f.extensions) > 0 {
		b = appendHex(append(b, '_'), f.signatures)
	}
	f.text = b
	return string(ja4Hash(out, b))
}

// ja4Hash appends the first 12 hex digits of SHA-256; zeros for an empty list.
func ja4Hash(to, text []byte) []byte {
	if len(text) == 0 {
		return append(to, "000000000000"...)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(to, sum[:6])
}

func ja4Version(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

// ja4ALPN names a protocol by its first and last character; one that begins or
// ends in something else than a letter or digit by those of its hex form.
func ja4ALPN(p []byte) (first, last byte) {
	if len(p) == 0 {
		return '0', '0'
	}
	first, last = p[0], p[len(p)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		const digits = "0123456789abcdef"
		return digits[first>>4], digits[last&15]
	}
	return first, last
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func twoDigits(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, byte('0'+n/10), byte('0'+n%10))
}

func appendHex(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = hex.AppendEncode(b, []byte{byte(v >> 8), byte(v)})
	}
	return b
}
