package flow

import (
	"cmp"
	"encoding/binary"
)

const (
	// pduHead is the most that is read of one message: SMB headers with the
	// 4,096 bytes of written data that entropy is measured on, or a DCE/RPC
	// fragment of the 4,280 bytes that Windows sends over pipes.
	pduHead = 4608

	// pduBudget bounds what all connections together remember: pending
	// requests, open files and trees, with paths of at most maxSMBPath bytes
	// or a log-in: 1.2 kB each at worst, 40 MB. It is eight times what an
	// office of 50 devices has open, see maxSMBHandles.
	pduBudget = 1 << 15

	// pipeBudget bounds the conversations over pipes apart from that, since
	// one takes 3 kB when it has bound all its interfaces: 12 MB.
	pipeBudget = 1 << 12

	// pduEvents bounds the messages of one connection that are reported at a
	// stretch; pduRefill gives as many back for each second of packet time,
	// so that a share which is mounted all day stays in sight.
	pduEvents = 1 << 16
	pduRefill = 32
)

// pduConn is what is kept of a connection whose messages carry their length:
// SMB, DCE/RPC, LDAP, Kerberos. It is the state of a dialogue.
type pduConn struct {
	half   [2]pduHalf
	left   int   // messages that may still be reported
	filled int64 // when left was last refilled
	shared *pduShared

	smb  smbConn
	rpc  *rpcConn
	ldap ldapConn
}

// pduHalf is one direction. A message is looked at when as much of its
// beginning has arrived as its parser wants; the rest is passed over by
// sequence number, so that a file's content is never taken for a command.
type pduHalf struct {
	next   uint32 // sequence number that comes next
	synced bool   // next is known, and what stands there
	skip   int64  // bytes to pass over before the next message
	inner  int64  // SMB: bytes of the session message that follow this one of a compound
	buf    []byte // beginning of a message that is not complete
	behind behind
}

// pduRoom counts what is remembered.
type pduRoom struct {
	entries int
	budget  int    // 0: pduBudget
	refused uint64 // entries that found no room
}

func (r *pduRoom) full() bool { return r.entries >= cmp.Or(r.budget, pduBudget) }

// pduShared is what all connections have in common.
type pduShared struct {
	pduRoom
	pipes    pduRoom
	plogp    []float64 // n log2 n, see entropy
	channels smbChannels
}

// pduOut is what one message means, in the order in which it is emitted.
type pduOut struct {
	smb   []SMB
	login []Login
	rpc   []RPC
	ldap  []LDAP
	krb   []Kerberos
}

func (o *pduOut) reset() {
	o.smb, o.login, o.rpc, o.ldap, o.krb = o.smb[:0], o.login[:0], o.rpc[:0], o.ldap[:0], o.krb[:0]
}

// pduOf returns the connection's state, nil when there is no slot for it.
func (t *Tracker) pduOf(c *conn) *pduConn {
	d := t.dialogueOf(c)
	if d == nil {
		return nil
	}
	p, ok := d.state.(*pduConn)
	if !ok {
		p = &pduConn{left: pduEvents, filled: t.now, shared: &t.pdus}
		d.state = p
	}
	return p
}

// forget gives back what the connection remembered.
func (p *pduConn) forget() {
	p.shared.entries -= p.smb.entries()
	p.shared.pipes.entries -= len(p.smb.pipes.m)
	p.smb = smbConn{}
}

// pduBegin starts to read a connection both ways. data is what direction dir
// has sent so far.
func (t *Tracker) pduBegin(c *conn, dir int, data []byte, emit func(Event)) {
	p := t.pduOf(c)
	if p == nil {
		t.giveUp(c, dir, true)
		return
	}
	begin := t.headStart(c, dir)
	t.streams.release(c)
	if c.app[1-dir] != c.app[dir] {
		c.app[1-dir] = c.app[dir]
		o := &p.half[1-dir]
		o.next, o.synced = c.isn[1-dir]+1+c.shift[1-dir], !c.midStream
	}
	f := &p.half[dir]
	if c.midStream && !pduStarts(c.app[dir], data) {
		return // what comes first is the middle of a message
	}
	f.next, f.synced = begin+uint32(len(data)), true
	t.pduFeed(c, p, dir, data, emit)
}

// pduSegment takes the segment at hand to its connection.
func (t *Tracker) pduSegment(c *conn, dir int, emit func(Event)) {
	p := t.pduOf(c)
	if p == nil {
		return
	}
	h := &t.hdr
	f := &p.half[dir]
	data, end := h.Payload, h.Seq+uint32(h.PayloadLen)
	ahead := int64(int32(h.Seq - f.next))
	switch {
	case f.synced && ahead >= 0 && ahead <= f.skip: // a hole in what is passed over does no harm
		f.skip -= ahead
	case f.synced && ahead < 0 && -ahead < int64(h.PayloadLen):
		data = data[min(-ahead, int64(len(data))):]
	case f.synced && ahead < 0 && f.behind.again(h.Seq, h.PayloadLen):
		return
	case !pduStarts(c.app[dir], data):
		return // wait for what is missing, or for a start
	default:
		t.pduPartial(c, p, dir, emit)
		f.skip, f.inner, f.synced = 0, 0, true
	}
	lost := int64(int32(end-h.Seq)) - int64(len(h.Payload))
	f.next, f.behind.run = end, 0
	t.pduFeed(c, p, dir, data, emit)
	if lost > 0 && f.synced {
		t.pduLost(c, p, dir, lost, emit)
	}
}

// pduFeed reads bytes that follow those before.
func (t *Tracker) pduFeed(c *conn, p *pduConn, dir int, data []byte, emit func(Event)) {
	f := &p.half[dir]
	for ready := false; (len(data) > 0 || ready) && f.synced; {
		if n := min(f.skip, int64(len(data))); n > 0 {
			f.skip -= n
			data = data[n:]
			continue
		}
		src, kept := data, len(f.buf) > 0
		if kept {
			src = f.buf
		}
		size, head := t.pduMeasure(c, p, dir, src)
		switch {
		case size < 0:
			f.lose()
		case len(src) >= head:
			t.pduMessage(c, p, dir, src[:head], size, emit)
			ready = false
			if f.buf = f.buf[:0]; !kept {
				data = data[head:]
			}
		default:
			n := min(head-len(f.buf), len(data))
			if cap(f.buf) < head { // not more than is needed: there are thousands of these
				f.buf = append(make([]byte, 0, head), f.buf...)
			}
			f.buf = append(f.buf, data[:n]...)
			data = data[n:]
			ready = len(f.buf) == head
		}
	}
}

// lose says that nobody knows where the next message starts.
func (f *pduHalf) lose() {
	f.synced, f.skip, f.inner, f.buf = false, 0, 0, f.buf[:0]
}

// pduPartial reads a message whose rest will not come.
func (t *Tracker) pduPartial(c *conn, p *pduConn, dir int, emit func(Event)) (rest int64, ok bool) {
	f := &p.half[dir]
	n := int64(len(f.buf))
	if n == 0 {
		return 0, false
	}
	size, _ := t.pduMeasure(c, p, dir, f.buf)
	if size > 0 {
		t.pduMessage(c, p, dir, f.buf, size, emit)
	}
	f.buf = f.buf[:0]
	return size - n, size > 0
}

// pduLost passes over bytes that the snap length cut away.
func (t *Tracker) pduLost(c *conn, p *pduConn, dir int, lost int64, emit func(Event)) {
	f := &p.half[dir]
	if rest, ok := t.pduPartial(c, p, dir, emit); ok {
		f.skip = rest
	}
	if f.skip < lost {
		f.lose()
		return
	}
	f.skip -= lost
}

// pduStarts recognises the start of a message where it has to be guessed.
func pduStarts(a app, b []byte) bool {
	switch a {
	case appSMB:
		return len(b) >= 8 && b[0] == 0 && string(b[5:8]) == "SMB" && b[4] >= 0xfc
	case appRPC:
		return rpcStarts(b)
	case appLDAP:
		return ldapStarts(b)
	case appKerberos:
		return len(b) >= 5 && b[0] == 0 && b[1] == 0 && b[4]>>5 == 3
	}
	return false
}

// pduMeasure says how long the message is that b begins with, and how many
// bytes of it its parser wants. With a size of 0 that many are needed to tell;
// a negative size says that it is no message.
func (t *Tracker) pduMeasure(c *conn, p *pduConn, dir int, b []byte) (size int64, head int) {
	switch c.app[dir] {
	case appSMB:
		size, head = p.smbMeasure(dir, b)
	case appRPC:
		size, head = rpcMeasure(b)
	case appLDAP:
		size, head = ldapMeasure(b)
	case appKerberos:
		size, head = kerberosMeasure(b)
	}
	head = min(head, pduHead)
	if size > 0 {
		head = int(min(int64(head), size))
	}
	return size, head
}

// pduMessage parses a message of which b is the beginning, emits what it
// means, and passes over the rest.
func (t *Tracker) pduMessage(c *conn, p *pduConn, dir int, b []byte, size int64, emit func(Event)) {
	f := &p.half[dir]
	f.skip = size - int64(len(b))
	if n := (t.now - p.filled) / second * pduRefill; n > 0 {
		p.left, p.filled = int(min(int64(p.left)+n, pduEvents)), t.now
	}
	p.filled = min(p.filled, t.now) // a clock that was set back
	out := &t.pduOut
	out.reset()
	_, server, _, _ := c.ends()
	m := pduAt{p: p, dir: dir, conn: c.id, peer: *server, body: b, size: size, out: out, asks: &t.krbAsks}
	err := t.guard(pduParser(c.app[dir]), func() *Error { return m.read(c.app[dir]) })
	if err != nil {
		t.malformed(err, emit)
		f.lose()
		return
	}
	if p.left <= 0 {
		t.stats.DeepSkipped++
		return
	}
	t.pduEmit(c, p, dir, emit)
}

// pduAt is the message at hand.
type pduAt struct {
	p    *pduConn
	dir  int
	body []byte // its beginning
	size int64  // all of it
	out  *pduOut
	conn uint64
	peer Addr // the server
	asks *krbAsks
}

// pduDatagram reads a message that is a datagram of its own.
func (t *Tracker) pduDatagram(c *conn, dir int, a app, emit func(Event)) {
	p := &t.pduUDP
	p.left, p.shared, p.ldap = 1, &t.pdus, ldapConn{}
	t.pduOut.reset()
	m := pduAt{p: p, dir: dir, conn: c.id, body: t.hdr.Payload, out: &t.pduOut, asks: &t.krbAsks}
	err := t.guard(pduParser(a), func() *Error {
		if a == appLDAP {
			return m.ldapMessage(m.body, true)
		}
		return m.kerberos(m.body)
	})
	if err != nil {
		t.malformed(err, emit)
		return
	}
	t.pduEmit(c, p, dir, emit)
}

func (m *pduAt) read(a app) *Error {
	switch a {
	case appSMB:
		return m.readSMB()
	case appRPC:
		return m.readRPC()
	case appLDAP:
		return m.readLDAP()
	}
	return m.readKerberos()
}

func pduParser(a app) parser {
	switch a {
	case appRPC:
		return parseRPC
	case appLDAP:
		return parseLDAP
	case appKerberos:
		return parseKerberos
	}
	return parseSMB
}

// pduEmit hands out what the parser has found.
func (t *Tracker) pduEmit(c *conn, p *pduConn, dir int, emit func(Event)) {
	o := &t.pduOut
	if n := len(o.smb) + len(o.login) + len(o.rpc) + len(o.ldap) + len(o.krb); n == 0 {
		return
	} else {
		p.left -= n
	}
	meta := t.here()
	client, server := c.addrPorts()
	for i := range o.smb {
		e := &o.smb[i]
		e.Meta, e.ConnID, e.Client, e.Server = meta, c.id, client, server
		t.stats.SMB++
		emit(e)
	}
	for i := range o.login {
		e := &o.login[i]
		e.Meta, e.ConnID, e.Client, e.Server, e.FromServer = meta, c.id, client, server, dir == 1
		t.stats.Logins++
		emit(e)
	}
	for i := range o.rpc {
		e := &o.rpc[i]
		e.Meta, e.ConnID, e.Client, e.Server = meta, c.id, client, server
		t.stats.RPC++
		emit(e)
	}
	for i := range o.ldap {
		e := &o.ldap[i]
		e.Meta, e.ConnID, e.Client, e.Server = meta, c.id, client, server
		t.stats.LDAP++
		emit(e)
	}
	for i := range o.krb {
		e := &o.krb[i]
		e.Meta, e.Client, e.Server = meta, client, server
		t.stats.Kerberos++
		emit(e)
	}
}

// le16, le32 and le64 read a little-endian number and are 0 beyond the end.
func le16(b []byte, at int) uint16 {
	if at < 0 || at+2 > len(b) {
		return 0
	}
	return binary.LittleEndian.Uint16(b[at:])
}

func le32(b []byte, at int) uint32 {
	if at < 0 || at+4 > len(b) {
		return 0
	}
	return binary.LittleEndian.Uint32(b[at:])
}

func le64(b []byte, at int) uint64 {
	if at < 0 || at+8 > len(b) {
		return 0
	}
	return binary.LittleEndian.Uint64(b[at:])
}

// piece is what there is of b[at : at+n].
func piece(b []byte, at, n int) []byte {
	if at < 0 || n <= 0 || at >= len(b) {
		return nil
	}
	return b[at:min(len(b), at+n)]
}

// recent is a map that forgets its oldest entry when it is full.
type recent[K comparable, V any] struct {
	m     map[K]V
	order []K // in the order of arrival; entries may be gone from m
	peak  int // the most that m has held since it was made
}

func (r *recent[K, V]) get(k K) (V, bool) {
	v, ok := r.m[k]
	return v, ok
}

// put stores v if there is room for it, else in place of the oldest.
func (r *recent[K, V]) put(k K, v V, limit int, room *pduRoom) {
	if _, ok := r.m[k]; ok {
		r.m[k] = v
		return
	}
	for len(r.m) > 0 && (len(r.m) >= limit || room.full()) {
		r.dropOldest(room)
	}
	if room.full() {
		room.refused++
		return
	}
	if r.m == nil {
		r.m = make(map[K]V)
	}
	if len(r.order) >= 2*limit || len(r.order) > 2*len(r.m)+16 {
		r.compact()
	}
	r.m[k] = v
	r.order = append(r.order, k)
	r.peak = max(r.peak, len(r.m))
	room.entries++
}

func (r *recent[K, V]) dropOldest(room *pduRoom) {
	for len(r.order) > 0 {
		k := r.order[0]
		r.order = r.order[1:]
		if _, ok := r.m[k]; ok {
			r.remove(k, room)
			return
		}
	}
}

// compact drops what is gone from the order. A key that went and came back is
// kept once, at its older place: it may be forgotten early, which does no harm.
func (r *recent[K, V]) compact() {
	kept := make([]K, 0, len(r.m)+1)
	seen := make(map[K]struct{}, len(r.m))
	for _, k := range r.order {
		if _, ok := r.m[k]; !ok {
			continue
		}
		if _, twice := seen[k]; !twice {
			seen[k] = struct{}{}
			kept = append(kept, k)
		}
	}
	r.order = kept
}

func (r *recent[K, V]) drop(k K, room *pduRoom) {
	if _, ok := r.m[k]; ok {
		r.remove(k, room)
	}
}

// keepPeak is how large a map may have been without being made anew.
const keepPeak = 32

// remove takes an entry out. A map keeps the memory of the most that it has
// held, which the budget knows nothing about: it is made anew when little is
// left, seldom enough to cost each removal a constant.
func (r *recent[K, V]) remove(k K, room *pduRoom) {
	delete(r.m, k)
	room.entries--
	if r.peak <= keepPeak || len(r.m) > r.peak/4 {
		return
	}
	m := make(map[K]V, len(r.m))
	for k, v := range r.m {
		m[k] = v
	}
	r.m, r.peak = m, len(m)
	r.compact()
}
