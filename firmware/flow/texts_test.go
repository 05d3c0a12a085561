package flow

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestATextThatComesAgainCostsNoMemory(t *testing.T) {
	var d deepDecoders
	raw := dnsmessage.MustNewName("WWW.Example.Com.")
	if got := d.dnsName(&raw); got != "www.example.com" {
		t.Fatalf("%q", got)
	}
	if n := testing.AllocsPerRun(100, func() { d.dnsName(&raw) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Ten times as many names as there are slots, empty and odd ones among
// them, and the bytes are overwritten behind each call as a frame's are.
func TestKeptTextsAreThoseOfTheirBytes(t *testing.T) {
	var d deepDecoders
	for range 2 {
		for i := range 10 * len(d.names.slots) {
			var raw dnsmessage.Name
			raw.Length = uint8(copy(raw.Data[:], bytes.Repeat(fmt.Appendf(nil, "N%d\x00\xff.", i), i%20)))
			want := dnsText(raw.Data[:raw.Length])
			got := d.dnsName(&raw)
			clear(raw.Data[:])
			if got != want {
				t.Fatalf("%d: %q, want %q", i, got, want)
			}
		}
	}
}

func BenchmarkTexts(b *testing.B) {
	raw := dnsmessage.MustNewName("clients4.example-office.test.")
	b.Run("made", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dnsText(raw.Data[:raw.Length])
		}
	})
	b.Run("kept", func(b *testing.B) {
		var d deepDecoders
		b.ReportAllocs()
		for b.Loop() {
			d.dnsName(&raw)
		}
	})
}

func TestAnHTTPRequestThatComesAgainCostsNoMemory(t *testing.T) {
	var kept texts
	var e HTTP
	raw := []byte("GET /poll HTTP/1.1\r\nHost: a.test\r\nUser-Agent: b/1\r\nContent-Type: text/plain\r\n\r\n")
	read := func() {
		m := httpMessage{kept: &kept}
		if err := readHTTP(raw, &e, &m); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := testing.AllocsPerRun(100, read); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if e.Host != "a.test" || e.UserAgent != "b/1" || e.Path != "/poll" || e.ContentType != "text/plain" {
		t.Errorf("%+v", e)
	}
}
