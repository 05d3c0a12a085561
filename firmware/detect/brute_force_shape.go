package detect

import (
	"math"
	"time"

	"sekisho/firmware/flow"
)

// shape is what a service's log-ins look like from outside their encryption.
type shape struct {
	name string
	// Payload of a connection that got as far as a log-in, and of one that got
	// no further. Bounds, not averages: they come from the protocol.
	least, most uint64
	// brief: a connection that was over this soon was no session, whatever it
	// carried.
	brief time.Duration
	// grace is how long a server lets an unauthenticated client stay.
	grace time.Duration
	// delayed: servers answer a wrong password late, as PAM does.
	delayed bool
	limit   Confidence
}

var (
	// RFC 4253: two identification lines (at most 255 bytes), two KEXINIT (a
	// few hundred bytes to 2 KB), the key exchange (48 bytes to 1.3 KB), then up
	// to six requests (MaxAuthTries of OpenSSH) of 50 to 400 bytes. What stays
	// below 500 bytes asked for the banner only, as monitoring does. Once a
	// session is open, the host keys update and the channel's data come on top.
	// 120 s is LoginGraceTime.
	shapeSSH = shape{name: "ssh", least: 500, most: 6000, grace: 120 * time.Second, delayed: true, limit: Medium}
	// MS-RDPBCGR 1.3.1.1 with network level authentication: X.224, TLS with the
	// server's certificate, three CredSSP messages. A session sends at once a
	// desktop, hundreds of kilobytes. What stops at X.224 is a health check.
	// Without it every guess is shown the log-in screen; nobody opens a desktop
	// for 20 s, and again, at the rate that is tested for.
	shapeRDP = shape{name: "rdp", least: 500, most: 10000, brief: 20 * time.Second, grace: 120 * time.Second, limit: Medium}
	// A mail or directory service inside TLS. A poll that finds nothing new is
	// hardly longer than a refusal: never more than a hint.
	shapeTLS = shape{least: 400, most: 8000, grace: 60 * time.Second, limit: Low}
)

// shapeForm is a web page's log-in form, whose answer only people understand.
// It is filled in at the rate that the other shapes are tested for, and its
// length varies as the passwords of a list do, unlike that of a program which
// sends the password that it has stored.
var shapeForm = shape{name: "http", limit: Medium}

// shapeOf names the shape of a port's service, unless a banner said otherwise.
func shapeOf(port uint16) *shape {
	switch port {
	case 22:
		return &shapeSSH
	case 3389:
		return &shapeRDP
	case 465, 636, 990, 992, 993, 995:
		return &shapeTLS
	}
	return nil
}

func bannerShape(service string) *shape {
	switch service {
	case "ssh":
		return &shapeSSH
	case "rdp":
		return &shapeRDP
	}
	return nil
}

// lock is what is known of a service that is reached under some port.
type lock struct {
	shape *shape        // by its banner; nil: by its port
	trip  time.Duration // round trip of its handshakes, the shortest seen
}

func (v *lock) far(trip time.Duration) {
	if v.trip == 0 || trip < v.trip {
		v.trip = max(trip, 1)
	}
}

// tries is the evidence of connections that cannot be read.
type tries struct {
	n          int // connections that got no further than a log-in
	sessions   int // those that did
	slow, fast rise
	start      time.Time // of the first
	least      uint64    // payload of the smallest and the largest try
	most       uint64
	after      bool    // a session came after the tries had been decided
	lengths    nameSet // of forms
}

type tryKind int

const (
	noTry tryKind = iota // too little to tell
	aTry
	aSession
)

func (s *shape) kind(c *flow.Conn) tryKind {
	took := c.Time.Sub(c.Start)
	switch {
	case took < s.brief && c.Sent >= s.least:
		return aTry
	case c.Sent > s.most || c.Received > s.most || took > s.grace:
		return aSession
	case c.Sent < s.least || c.Received < s.least/2:
		return noTry
	}
	return aTry
}

// Weights of a try beside its rate.
var (
	// pam_fail_delay(3): 2 s, varied by up to a quarter. Of wrong passwords
	// nine in ten are answered that late, of short commands that went well
	// three in ten last that long (both our assumption, on the safe side).
	weightQuick = math.Log(0.1 / 0.7)
	failDelay   = 1500 * time.Millisecond
	// Round trips before the first password is answered: TCP, identification,
	// KEXINIT, key exchange, new keys, service, "none", password (RFC 4252, 4253).
	roundTrips = time.Duration(8)
	// A guesser gets in once in fifty tries at best, an ordinary client every
	// second time (our assumption: commands too short to tell are the rest).
	weightSession = math.Log(0.02 / 0.5)
)

// add counts one closed connection and says whether the tries are decided.
func (t *tries) add(s *shape, c *flow.Conn, trip time.Duration, kind tryKind) bool {
	if kind == aSession {
		t.sessions++
		t.after = t.after || t.decided()
		t.slow.s = max(0, t.slow.s+weightSession)
		t.fast.s = max(0, t.fast.s+weightSession)
		return false
	}
	weight := 0.0
	if s.delayed && c.Time.Sub(c.Start) < failDelay+roundTrips*trip {
		weight = weightQuick
	}
	return t.count(weight, c.Sent+c.Received, c.Start, c.Time)
}

func (t *tries) count(weight float64, size uint64, start, end time.Time) bool {
	if t.n == 0 {
		t.start, t.least = start, size
	}
	t.n++
	t.least, t.most = min(t.least, size), max(t.most, size)
	t.slow.add(slowRate, weight, end)
	t.fast.add(fastRate, weight, end)
	return t.decided()
}

func (t *tries) decided() bool {
	return t.n >= strikes && max(t.slow.s, t.fast.s) >= riseDecided
}
