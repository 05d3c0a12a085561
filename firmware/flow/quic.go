package flow

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
)

var (
	errQUIC     = &Error{"quic", "initial packet cannot be read"}
	errQUICSeal = &Error{"quic", "initial packet was sealed with other keys"}
)

const (
	// quicDatagrams is how many datagrams of a client are looked at: a
	// ClientHello with post-quantum keys takes two, and each may be sent again.
	quicDatagrams = 8
	// quicInitial is the least size of a client's datagram that holds an
	// Initial packet (RFC 9000 section 14.1).
	quicInitial = 1200
	quicSlots   = 64 // hellos that are being put together at one time
	quicBytes   = 8 << 10
	quicPackets = 8  // coalesced packets of one datagram that are looked at
	maxConnID   = 20 // RFC 9000 section 17.2
)

// quicKeys are the keys of a client's Initial packets. Everybody can make them:
// they rest on the connection id that the client chose (RFC 9001 section 5.2).
type quicKeys struct {
	seal  cipher.AEAD
	mask  cipher.Block
	iv    [12]byte
	nonce [12]byte
	plain []byte
}

// quicVersion is what differs between the versions of QUIC that are read.
type quicVersion struct {
	salt         []byte
	key, iv, hp  string
	initial      byte // packet type
	first, final uint32
}

// RFC 9001 section 5.2, RFC 9369 section 3.3, and drafts 29 to 32 and 23 to 28,
// which old browsers and devices still speak.
var quicVersions = [...]quicVersion{
	{[]byte("\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"), "quic key", "quic iv", "quic hp", 0, 1, 1},
	{[]byte("\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9"), "quicv2 key", "quicv2 iv", "quicv2 hp", 1, 0x6b3343cf, 0x6b3343cf},
	{[]byte("\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99"), "quic key", "quic iv", "quic hp", 0, 0xff00001d, 0xff000020},
	{[]byte("\xc3\xee\xf7\x12\xc7\x2e\xbb\x5a\x11\xa7\xd2\x43\x2b\xb4\x63\x65\xbe\xf9\xf5\x02"), "quic key", "quic iv", "quic hp", 0, 0xff000017, 0xff00001c},
}

// quicHello is one ClientHello that is being put together.
type quicHello struct {
	conn uint64 // 0: free
	used uint64 // when it was last wanted; the oldest makes room
	id   [maxConnID]byte
	idn  int
	have [quicBytes / 64]uint64 // bit set of the bytes that arrived
	buf  [quicBytes]byte
}

// quicReader is the pool of those.
type quicReader struct {
	slot    [quicSlots]*quicHello
	turn    uint64
	evicted uint64 // hellos that were not whole yet
	keys    quicKeys
}

// mayBeInitial tells a client's first datagram by its form: long header, fixed
// bit, a version that is known, and the padding.
func mayBeInitial(b []byte) (*quicVersion, bool) {
	if len(b) < quicInitial || b[0]&0xc0 != 0xc0 {
		return nil, false
	}
	v := binary.BigEndian.Uint32(b[1:5])
	for i := range quicVersions {
		if q := &quicVersions[i]; v >= q.first && v <= q.final {
			return q, true
		}
	}
	return nil, false
}

// quic looks at a large datagram of a client, on whatever port, for the
// ClientHello of a QUIC connection, and says whether it may be one.
func (t *Tracker) quic(c *conn, emit func(Event)) bool {
	b := t.hdr.Payload
	r := &t.deep.quic
	v, ok := mayBeInitial(b)
	if c.tries[0]++; !ok && c.tries[0] == 1 || c.tries[0] > quicDatagrams {
		if r.drop(c.id) {
			t.stats.DeepSkipped++
		}
		c.app[0] = appDone
		return ok
	}
	if ok {
		t.quicDatagram(c, v, b, emit)
	}
	return ok
}

func (t *Tracker) quicDatagram(c *conn, v *quicVersion, b []byte, emit func(Event)) {
	r := &t.deep.quic
	e := &t.ev.tls
	*e = TLSHello{QUIC: true, ALPN: e.ALPN[:0]}
	before := r.evicted
	err := t.guard(parseQUIC, func() *Error { return t.deep.readQUIC(v, b, c.id, e) })
	t.stats.DeepSkipped += r.evicted - before
	if err == errMore || err == errQUICSeal {
		return
	}
	r.drop(c.id)
	c.app[0] = appDone
	if err != nil {
		t.malformed(err, emit)
		return
	}
	t.stats.TLS++
	e.Meta, e.ConnID = t.here(), c.id
	e.Client, e.Server = c.addrPorts()
	emit(e)
}

// readQUIC adds one datagram and reads the hello when it is whole.
func (d *deepDecoders) readQUIC(v *quicVersion, b []byte, conn uint64, e *TLSHello) *Error {
	h := d.quic.hello(conn)
	for range quicPackets {
		if len(b) < 7 || b[0]&0xc0 != 0xc0 {
			break // padding, or a packet that is protected with other keys
		}
		p, rest, ok := cutPacket(b)
		if !ok {
			return errQUIC
		}
		if b[0]>>4&3 == v.initial {
			if err := d.quic.open(h, v, b[:len(b)-len(rest)], p); err != nil {
				return err
			}
		}
		b = rest
	}
	head := h.head()
	if len(head) < 4 || helloLen(head) > len(head) {
		if len(head) == quicBytes {
			return errQUIC
		}
		return errMore
	}
	return d.readHello(head[:helloLen(head)], e)
}

// quicPacket is an Initial packet: offsets into its bytes.
type quicPacket struct {
	id     []byte // destination connection id
	number int    // where the packet number begins
}

// cutPacket reads a long header (RFC 9000 section 17.2) and cuts what follows
// the packet in the same datagram. Other long packets than Initial have no
// token; they are only cut off by a reader who knows that: here they end the
// datagram.
func cutPacket(b []byte) (p quicPacket, rest []byte, ok bool) {
	s := cryptobyte.String(b)
	var id, from cryptobyte.String
	var token, size uint64
	if !s.Skip(5) || !s.ReadUint8LengthPrefixed(&id) || !s.ReadUint8LengthPrefixed(&from) ||
		len(id) > maxConnID || len(from) > maxConnID {
		return p, nil, false
	}
	p.id = id
	v := binary.BigEndian.Uint32(b[1:5])
	initial := byte(0)
	if v == quicVersions[1].first {
		initial = quicVersions[1].initial
	}
	if b[0]>>4&3 != initial {
		return p, nil, true
	}
	if !readVarint(&s, &token) || token > uint64(len(s)) || !s.Skip(int(token)) || !readVarint(&s, &size) || size > uint64(len(s)) {
		return p, nil, false
	}
	p.number = len(b) - len(s)
	return p, b[p.number+int(size):], true
}

// readVarint reads RFC 9000 section 16.
func readVarint(s *cryptobyte.String, v *uint64) bool {
	var first uint8
	if !s.ReadUint8(&first) {
		return false
	}
	*v = uint64(first & 0x3f)
	for range 1<<(first>>6) - 1 {
		var next uint8
		if !s.ReadUint8(&next) {
			return false
		}
		*v = *v<<8 | uint64(next)
	}
	return true
}

// open removes the protection of one Initial packet and takes what it says.
// The keys rest on the first id that the client chose; after a Retry on the
// one that the server asked for.
func (r *quicReader) open(h *quicHello, v *quicVersion, b []byte, p quicPacket) *Error {
	if h.idn == 0 {
		h.idn = copy(h.id[:], p.id)
	}
	if len(b)-p.number < 4+16 {
		return errQUIC
	}
	frames, ok := r.keys.open(v, h.id[:h.idn], b, p.number)
	if !ok && string(p.id) != string(h.id[:h.idn]) {
		if frames, ok = r.keys.open(v, p.id, b, p.number); ok {
			h.idn = copy(h.id[:], p.id)
		}
	}
	if !ok {
		return errQUICSeal
	}
	return h.frames(frames)
}

// open is RFC 9001 sections 5.3 and 5.4: header protection, then AES-128-GCM.
// The bytes of the packet are left as they are.
func (k *quicKeys) open(v *quicVersion, id, b []byte, number int) ([]byte, bool) {
	if !k.derive(v, id) {
		return nil, false
	}
	var mask [16]byte
	k.mask.Encrypt(mask[:], b[number+4:number+20])
	first := b[0] ^ mask[0]&0x0f
	n := int(first&3) + 1
	head := append(k.plain[:0], b[:number+n]...)
	head[0] = first
	k.nonce = k.iv
	for i := range n {
		head[number+i] ^= mask[1+i]
		k.nonce[12-n+i] ^= head[number+i]
	}
	out, err := k.seal.Open(head, k.nonce[:], b[number+n:], head)
	k.plain = head
	if err != nil {
		return nil, false
	}
	k.plain = out
	return out[number+n:], true
}

// derive makes the client's Initial keys (RFC 9001 section 5.2).
func (k *quicKeys) derive(v *quicVersion, id []byte) bool {
	secret, err := hkdf.Extract(sha256.New, id, v.salt)
	if err != nil {
		return false
	}
	client := expandLabel(secret, "client in", 32)
	seal, err1 := aes.NewCipher(expandLabel(client, v.key, 16))
	mask, err2 := aes.NewCipher(expandLabel(client, v.hp, 16))
	if err1 != nil || err2 != nil {
		return false
	}
	copy(k.iv[:], expandLabel(client, v.iv, 12))
	k.mask = mask
	k.seal, err = cipher.NewGCM(seal)
	return err == nil
}

// expandLabel is HKDF-Expand-Label of RFC 8446 section 7.1 without context.
func expandLabel(secret []byte, label string, n int) []byte {
	info := append([]byte{byte(n >> 8), byte(n), byte(len("tls13 ") + len(label))}, "tls13 "...)
	info = append(append(info, label...), 0)
	out, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		return make([]byte, n)
	}
	return out
}

// Frame types of an Initial packet (RFC 9000 section 12.4).
const (
	framePadding = 0
	framePing    = 1
	frameACK     = 2
	frameACKECN  = 3
	frameCrypto  = 6
)

// frames takes the CRYPTO frames; browsers send many small ones in any order.
func (h *quicHello) frames(b []byte) *Error {
	s := cryptobyte.String(b)
	for !s.Empty() {
		kind := s[0]
		s = s[1:]
		switch kind {
		case framePadding, framePing:
		case frameACK, frameACKECN:
			if !skipACK(&s, kind) {
				return errQUIC
			}
		case frameCrypto:
			var off, n uint64
			if !readVarint(&s, &off) || !readVarint(&s, &n) || n > uint64(len(s)) {
				return errQUIC
			}
			h.add(off, s[:n])
			s = s[n:]
		default:
			return nil // closes the connection, or nothing that belongs here
		}
	}
	return nil
}

// skipACK skips RFC 9000 section 19.3.
func skipACK(s *cryptobyte.String, kind byte) bool {
	var largest, delay, ranges, first uint64
	if !readVarint(s, &largest) || !readVarint(s, &delay) || !readVarint(s, &ranges) || !readVarint(s, &first) || ranges > uint64(len(*s)) {
		return false
	}
	n := 2 * ranges
	if kind == frameACKECN {
		n += 3
	}
	for range n {
		var skip uint64
		if !readVarint(s, &skip) {
			return false
		}
	}
	return true
}

// add stores bytes; those that arrived before are kept.
func (h *quicHello) add(off uint64, data []byte) {
	if off >= quicBytes {
		return
	}
	data = data[:min(len(data), quicBytes-int(off))]
	for i, b := range data {
		at := int(off) + i
		if bit := uint64(1) << (at % 64); h.have[at/64]&bit == 0 {
			h.have[at/64] |= bit
			h.buf[at] = b
		}
	}
}

// head is what has arrived without a gap from the start on.
func (h *quicHello) head() []byte {
	for i, w := range h.have {
		if w == ^uint64(0) {
			continue
		}
		n := i * 64
		for ; w&1 == 1; w >>= 1 {
			n++
		}
		return h.buf[:n]
	}
	return h.buf[:]
}

// hello returns what is kept of a connection; a new one in place of the one
// that was not wanted for longest.
func (r *quicReader) hello(conn uint64) *quicHello {
	r.turn++
	var oldest *quicHello
	for i, h := range r.slot {
		switch {
		case h == nil:
			h = &quicHello{conn: conn, used: r.turn}
			r.slot[i] = h
			return h
		case h.conn == conn:
			h.used = r.turn
			return h
		case oldest == nil || h.used < oldest.used:
			oldest = h
		}
	}
	if oldest.conn != 0 {
		r.evicted++
	}
	oldest.conn, oldest.used, oldest.idn = conn, r.turn, 0
	clear(oldest.have[:])
	return oldest
}

// drop frees what is kept of a connection and says whether anything was.
func (r *quicReader) drop(conn uint64) bool {
	for _, h := range r.slot {
		if h != nil && h.conn == conn {
			h.conn, h.used, h.idn = 0, 0, 0
			clear(h.have[:])
			return true
		}
	}
	return false
}
