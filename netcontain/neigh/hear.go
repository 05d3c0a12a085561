package neigh

import (
	"slices"
	"time"

	"sekisho/netcontain"
)

// hear takes one message that came in by a port, makes due what it calls for,
// and returns the answers that cannot wait.
func (b *book) hear(port string, m message, now time.Time) []outgoing {
	if b.own[port] == nil || m.src == b.nowhere {
		return nil
	}
	m.from, m.target = plain(m.from), plain(m.target)
	if id := b.holds(m.src); id != "" {
		return b.heardHeld(id, port, m, now)
	}
	if b.no.macs[m.src] {
		return nil
	}
	if b.learn(port, m, now) {
		b.stale = true
		if now.Sub(b.rebuilt) >= rebuildGap {
			b.rebuild(now)
		}
	}
	if m.dst == b.nowhere {
		return b.reply(port, m, now)
	}
	for _, e := range b.claims {
		switch {
		case e.port != port:
		case e.toHeld && e.addr == m.from && !unicast(m.dst):
			b.soon(e, now, 0) // the held host heard the truth as well
		case e.to == m.src && e.addr == m.target && m.asks:
			b.soon(e, now, 0) // it gets a true answer too
		}
	}
	return nil
}

func unicast(m netcontain.MAC) bool { return m[0]&1 == 0 }

// soon makes a claim due, firmly, and once more when the receiver heeds answers
// again; but not within gap after it was said last.
func (b *book) soon(e *entry, now time.Time, gap time.Duration) {
	e.firm, e.confirm = true, true
	e.next = now
	if at := e.said.Add(gap); gap > 0 && at.After(now) {
		e.next = at
	}
}

// heardHeld answers a held host before those whom it asks for can, as far as
// the wire allows, and corrects what the others heard of it.
func (b *book) heardHeld(id, port string, m message, now time.Time) []outgoing {
	b.stale = b.learn(port, m, now) || b.stale
	r := b.reports[id]
	r.Spoke++
	b.reports[id] = r
	if m.dst == b.nowhere {
		return b.reply(port, m, now)
	}
	var out []outgoing
	if m.asks && identifies(m.from) && m.from != m.target { // neither a probe nor an announcement
		out = b.answer(id, port, m, now)
	}
	if unicast(m.dst) {
		return out
	}
	for _, e := range b.claims {
		if e.port == port && e.addr == m.from && !e.toHeld {
			b.soon(e, now, neighbourGap)
		}
	}
	return out
}

// answer says that whoever the held host asks for is nowhere: also when nothing
// is known of him, or the first word to a silent neighbour would get through.
// Its own addresses it may look for, as duplicate address detection does, and
// the gateway's it must find.
func (b *book) answer(id, port string, m message, now time.Time) []outgoing {
	i := slices.IndexFunc(b.hosts, func(h netcontain.Host) bool { return h.ID == id })
	if i < 0 || !slices.Contains(b.hosts[i].Shared, port) || b.no.macs[m.src] || b.no.addrs[m.from] || b.no.addrs[m.target] ||
		!identifies(m.target) || slices.Contains(b.hosts[i].Addrs, m.target) {
		return nil
	}
	k := key{port, m.src, m.target}
	if e := b.claims[k]; e != nil {
		e.toAddr, e.firm, e.confirm, e.next = m.from, true, true, now.Add(settled)
		e.said = now
	} else if b.answers[k] != nil || len(b.answers) < maxAnswers {
		b.answers[k] = &waiting{m.from, now.Add(settled), 1}
		if b.finds.takeOf(now, 1, findsPerSecond) {
			b.find = append(b.find, m.target)
		}
	} else {
		b.stats.Evicted++ // answered now, and not again
	}
	if !b.replies[port].take(now, 2) {
		b.stats.Late++
		return nil
	}
	return b.count([]outgoing{
		{port, ask(b.nowhere, m.src, m.target, b.nowhere, m.from)},
		{port, tell(b.nowhere, m.src, m.target, b.nowhere, m.from, m.from.Is6())},
	})
}

// reply answers a question that was sent to nowhere: the receiver makes sure
// that what we claimed can still be reached (RFC 4861, 7.3). After the release
// it is told the truth.
func (b *book) reply(port string, m message, now time.Time) []outgoing {
	if !m.asks || !identifies(m.from) {
		return nil
	}
	k := key{port, m.src, m.target}
	where, said := b.nowhere, b.claims[k] != nil || b.answers[k] != nil
	if p := b.partings[k]; p != nil {
		where, said = p.truth, true
	}
	if !said || b.no.addrs[m.target] || !b.replies[port].take(now, 1) {
		return nil
	}
	return b.count([]outgoing{{port, tell(b.nowhere, m.src, m.target, where, m.from, true)}})
}

func (b *book) count(out []outgoing) []outgoing {
	b.stats.Sent += uint64(len(out))
	return out
}

// learn remembers who speaks on a port, and says whether that is news. Only what
// a device says of itself counts: hearsay would let a held host put words into
// others' mouths.
func (b *book) learn(port string, m message, now time.Time) bool {
	if m.mac != m.src || !identifies(m.from) || b.no.addrs[m.from] {
		return false
	}
	devices := b.learned[port]
	if devices == nil {
		devices = map[netcontain.MAC]*learnt{}
		b.learned[port] = devices
	}
	d := devices[m.src]
	if d == nil {
		if len(devices) >= maxLearned {
			b.forgetOldest(devices)
		}
		d = &learnt{}
		devices[m.src] = d
	}
	d.at = now
	if slices.Contains(d.addrs, m.from) {
		return false
	}
	d.addrs = slices.Insert(d.addrs, 0, m.from)
	if len(d.addrs) > maxAddrs {
		d.addrs = d.addrs[:maxAddrs]
	}
	return true
}

func (b *book) forgetOldest(devices map[netcontain.MAC]*learnt) {
	var oldest netcontain.MAC
	var at time.Time
	for mac, d := range devices {
		if at.IsZero() || d.at.Before(at) {
			oldest, at = mac, d.at
		}
	}
	delete(devices, oldest)
	b.stats.Evicted++
}
