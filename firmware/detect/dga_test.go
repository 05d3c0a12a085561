package detect_test

import (
	"fmt"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// invented is a domain as simple generators make it: n letters, each as likely.
func invented(bytes func(int) []byte, n int) string {
	b := bytes(n)
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return string(b)
}

func TestGeneratedDomainsThatDoNotExist(t *testing.T) {
	makers := map[string]func(i int, bytes func(int) []byte) string{
		"letters":            func(i int, b func(int) []byte) string { return invented(b, 8+i%6) + ".com" },
		"hexadecimal":        func(i int, b func(int) []byte) string { return fmt.Sprintf("%x.info", b(8)) },
		"letters and digits": func(i int, b func(int) []byte) string { return base32Lower.EncodeToString(b(8)) + ".biz" },
		"below www":          func(i int, b func(int) []byte) string { return "www." + invented(b, 12) + ".co.uk" },
	}
	for name, next := range makers {
		t.Run(name, func(t *testing.T) {
			o, bytes := newOffice(t, detect.Config{}), random(t, 1)
			for i := range 160 {
				o.missing(7, next(i, bytes))
				o.lookup(7, fmt.Sprintf("www.shop%d.com", i), qA, -1) // its user goes on working
				o.now = o.now.Add(10 * time.Second)
			}
			o.want("dga", detect.High)
			f := o.found[0]
			if f.Host.MAC != mac(7) || f.Technique != "T1568.002" || f.Confidence != detect.Medium {
				t.Errorf("first: %s of %v, %s", f.Confidence, f.Host, f.Technique)
			}
		})
	}
}

// A filter says that they do not exist: a person's pages ask for some dozens.
func TestDomainsOfPopUpAdvertisingAreNeverCertain(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 2)
	for range 8 * 60 { // all day
		o.missing(7, invented(bytes, 11)+".com")
		o.now = o.now.Add(time.Minute)
	}
	o.want("dga", detect.Medium)
}

func TestGeneratedDomainsAskedSlowlyAreMedium(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 2)
	for range 40 { // twelve an hour
		o.missing(7, invented(bytes, 11)+".net")
		o.now = o.now.Add(5 * time.Minute)
	}
	o.want("dga", detect.Medium)
}

func TestNamesThatDoNotExistInAnOrdinaryOffice(t *testing.T) {
	words := []string{"yamada", "kogyo", "office", "harbour", "paper", "market", "sakura", "denki", "metal", "garden", "tokyo", "print"}
	cases := map[string]func(o *office, bytes func(int) []byte){
		"typos and names that expired": func(o *office, _ func(int) []byte) {
			for i, a := range words {
				for _, b := range words {
					o.missing(7, fmt.Sprintf("www.%s%s.com", a, b))
				}
				o.missing(7, fmt.Sprintf("%snn%s.co.jp", a, words[(i+5)%len(words)]))
			}
		},
		"probes of a browser": func(o *office, bytes func(int) []byte) {
			for range 100 {
				o.missing(7, invented(bytes, 10))
				o.missing(7, invented(bytes, 12)+".corp.example.co.jp")
			}
		},
		"advertising blocked by the resolver": func(o *office, bytes func(int) []byte) {
			for range 3 { // three of such in an hour, forever
				o.missing(7, invented(bytes, 10)+".com")
			}
		},
		"one dead server retried": func(o *office, bytes func(int) []byte) {
			name := invented(bytes, 12) + ".com"
			for range 500 {
				o.missing(7, name)
			}
		},
		"names under a provider's domain": func(o *office, bytes func(int) []byte) {
			for range 60 {
				o.missing(7, "d"+invented(bytes, 13)+".cloudfront.net")
			}
		},
		"random names that exist": func(o *office, bytes func(int) []byte) {
			for i := range 200 {
				if i%10 == 0 {
					o.missing(7, invented(bytes, 12)+".com")
				} else {
					o.lookup(7, invented(bytes, 12)+".com", qA, -1)
				}
			}
		},
		"an office's own zone": func(o *office, bytes func(int) []byte) {
			for range 60 {
				o.missing(7, invented(bytes, 12)+".lan")
			}
		},
		"the line is down": func(o *office, bytes func(int) []byte) {
			for range 60 {
				name := invented(bytes, 12) + ".com"
				o.query(7, resolver, name, qA)
				o.reply(7, resolver, name, qA, 2, 0)
			}
		},
		"retries of a few, spread over days": func(o *office, bytes func(int) []byte) {
			for range 60 {
				o.missing(7, invented(bytes, 12)+".com")
				o.now = o.now.Add(20 * time.Minute)
			}
		},
	}
	for name, play := range cases {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			play(o, random(t, 3))
			o.want("dga", "")
		})
	}
}

func TestMailServerThatAsksForStrangersInventionsIsLow(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 4)
	for range 60 {
		name := invented(bytes, 12) + ".com"
		o.missing(7, name)
		o.query(7, resolver, name, qMX)
		o.reply(7, resolver, name, qMX, nxDomain, 0)
	}
	for _, f := range o.found {
		if f.Detector == "dga" && f.Confidence != detect.Low {
			t.Errorf("%s: %s", f.Confidence, f.Explain.EN)
		}
	}
}

func TestForwarderIsNotBlamedForItsClient(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 5)
	for range 120 {
		name := invented(bytes, 12) + ".com"
		o.query(7, ip(53), name, qA)
		o.query(53, resolver, name, qA)
		o.reply(53, resolver, name, qA, nxDomain, 0)
		e := &flow.DNS{Meta: o.meta(mac(53)), Response: true, RCode: nxDomain, QName: name, QType: qA}
		e.DstMAC, e.Src, e.Dst = mac(7), addrPort(ip(53), 53), addrPort(ip(7), 40000)
		o.play(e)
	}
	o.want("dga", detect.High)
	for _, f := range o.found {
		if f.Host.MAC != mac(7) {
			t.Errorf("%v is blamed", f.Host)
		}
	}
}
