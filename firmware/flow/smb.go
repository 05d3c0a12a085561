package flow

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

var errSMB = &Error{"smb", "no SMB message in a session message"}

const (
	// maxSMBAsks is how many requests of a connection wait for an answer: a
	// client holds at most as many as it has credits, of which Windows grants
	// 512 but has a handful in use (MS-SMB2 section 3.3.1.2).
	maxSMBAsks  = 256
	maxSMBFiles = 1024
	maxSMBTrees = 64
	maxSMBPath  = 260 // MAX_PATH of Windows

	// entropySample is how much of a write is measured. With 4,096 bytes of
	// random data the estimate is 0.045 bits below 8 (Miller 1955: (256-1) /
	// (2 n ln 2)), less than any text or picture header is away from it.
	entropySample = 4096
)

// smbConn is what is kept of one SMB connection.
type smbConn struct {
	asks    []smbAsk
	asked   uint64 // requests so far, to know the oldest
	files   recent[uint64, smbFile]
	trees   recent[uint32, smbTree]
	pipes   recent[uint64, *rpcConn]
	related [2]smbRelated
}

// smbAsk is a request that waits for its answer.
type smbAsk struct {
	mid           uint64
	number        uint64
	op            SMBOp
	command       uint16
	function      uint16
	tree          uint32
	file          uint64
	path, newPath string
	share         string // SMB1: of a tree connect in the same chain
	length        uint64
	offset        uint64
	access        uint32
	disposition   uint32
	doomed        bool // the file goes away at close
	pipe          bool
	login         *Login
}

// smbFile is an open file or pipe.
type smbFile struct {
	path string
	pipe bool
}

type smbTree struct{ pipe bool }

// smbChannels knows the open files of all sessions: a session of SMB 3 may run
// over several connections (MS-SMB2 section 3.2.1.3, Session.ChannelList), as Windows does by
// itself where an adapter can spread its load, and a file that is opened on
// one of them is read and written on the others.
type smbChannels struct {
	files recent[smbHandle, smbFile]
	room  pduRoom // its own
}

// smbHandle names an open file among all servers.
type smbHandle struct {
	server        Addr
	session, file uint64
}

// maxSMBHandles is room for an office whose 50 devices have 80 files open.
const maxSMBHandles = 4096

// smbRelated is what later requests of a compound refer to (MS-SMB2 section
// 3.2.4.1.4: file handle all ones).
type smbRelated struct {
	file uint64
	path string
	pipe bool
}

func (s *smbConn) entries() int {
	return len(s.asks) + len(s.files.m) + len(s.trees.m)
}

// ask stores a request, in place of the oldest when there are too many.
func (s *smbConn) ask(a smbAsk, shared *pduShared) {
	s.asked++
	a.number = s.asked
	at := -1
	for i := range s.asks {
		if s.asks[i].mid == a.mid {
			at = i
			break
		}
		if at < 0 || s.asks[i].number < s.asks[at].number {
			at = i
		}
	}
	switch full := len(s.asks) >= maxSMBAsks || shared.full(); {
	case at >= 0 && (full || s.asks[at].mid == a.mid):
		s.asks[at] = a
	case full:
		shared.refused++
	default:
		s.asks = append(s.asks, a)
		shared.entries++
	}
}

// answered finds the request with that id. The pointer is good until the next
// call.
func (s *smbConn) answered(mid uint64) *smbAsk {
	for i := range s.asks {
		if s.asks[i].mid == mid {
			return &s.asks[i]
		}
	}
	return nil
}

func (s *smbConn) settle(a *smbAsk, shared *pduShared) {
	last := len(s.asks) - 1
	*a = s.asks[last]
	s.asks[last] = smbAsk{}
	s.asks = s.asks[:last]
	shared.entries--
	if c := cap(s.asks); c > keepPeak && last <= c/4 { // room that the budget does not count
		s.asks = append(make([]smbAsk, 0, c/2), s.asks...)
	}
}

// smbMeasure finds the next message: the length in front (MS-SMB2 section 2.1,
// RFC 1002 section 4.3.1), then in a compound the offset of the next header.
func (p *pduConn) smbMeasure(dir int, b []byte) (size int64, head int) {
	inner := p.half[dir].inner
	if inner > 0 {
		return p.smbSize(dir, b, inner)
	}
	if len(b) < 4 {
		return 0, 4
	}
	n := int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3])
	if b[0] != 0 && (b[0] < 0x81 || b[0] > 0x85) {
		return -1, 0
	}
	if b[0] != 0 || n < 4 { // session service, keep-alive
		return 4 + n, 4
	}
	size, head = p.smbSize(dir, b[4:], n)
	if size >= 0 {
		head += 4
	}
	if size > 0 {
		size += 4
	}
	return size, head
}

// smbSize is smbMeasure for a message that begins with its header; rest is
// what the session message still holds.
func (p *pduConn) smbSize(dir int, b []byte, rest int64) (size int64, head int) {
	if len(b) < 4 {
		return 0, 4
	}
	if string(b[1:4]) != "SMB" {
		return -1, 0
	}
	need := int(min(rest, 64))
	switch {
	case b[0] == 0xfe:
		if len(b) < need {
			return 0, need
		}
		size = rest
		if next := int64(le32(b, 20)); next >= 64 && next < rest {
			size = next
		}
		return size, p.smb2Head(b)
	case b[0] == 0xff:
		if need = int(min(rest, 96)); len(b) < need {
			return 0, need
		}
		return rest, p.smb1Head(b)
	case b[0] >= 0xfc:
		return rest, 52
	}
	return -1, 0
}

// readSMB reads one message: MS-CIFS section 2.2.3.1, MS-SMB2 sections 2.2.1
// and 2.2.41 (encrypted: only that much can be seen), 2.2.42 (compressed).
func (m *pduAt) readSMB() *Error {
	f := &m.p.half[m.dir]
	b, size := m.body, m.size
	if f.inner > 0 {
		f.inner -= size
	} else {
		if b[0] != 0 || size < 8 {
			return nil
		}
		f.inner = int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3]) - (size - 4)
		b, size = b[4:], size-4
		m.p.smb.related[m.dir] = smbRelated{}
	}
	if f.inner < 64 { // padding, no header
		f.skip += f.inner
		f.inner = 0
	}
	if len(b) < 4 || string(b[1:4]) != "SMB" {
		return errSMB
	}
	switch b[0] {
	case 0xfe:
		return m.readSMB2(b, size)
	case 0xff:
		return m.readSMB1(b, size)
	}
	e := m.smbEvent(size)
	e.Version, e.Response = 3, m.dir == 1
	if b[0] == 0xfd {
		e.Session = le64(b, 44)
	}
	return nil
}

// smbEvent appends an event to fill.
func (m *pduAt) smbEvent(size int64) *SMB {
	m.out.smb = append(m.out.smb, SMB{Size: int(size), Entropy: -1})
	return &m.out.smb[len(m.out.smb)-1]
}

// request remembers what a request asks for.
func (m *pduAt) request(a *smbAsk) {
	m.p.smb.ask(*a, m.p.shared)
}

// asked fills the event with what its request asked for.
func (a *smbAsk) asked(e *SMB) {
	e.Op, e.Function, e.File = a.op, a.function, a.file
	e.Path, e.NewPath = a.path, a.newPath
	e.Length, e.Offset = a.length, a.offset
	e.Access, e.Disposition = a.access, a.disposition
}

// doomed adds the deletion that a create with "delete on close" asks for.
func (m *pduAt) doomed(e SMB) {
	e.Op = SMBDelete
	m.out.smb = append(m.out.smb, e)
}

// done applies what a request that succeeded has changed.
func (m *pduAt) done(a *smbAsk, e *SMB) {
	s, shared := &m.p.smb, m.p.shared
	switch a.op {
	case SMBOpen:
		if e.File != 0 {
			m.opened(e, smbFile{path: a.path, pipe: a.pipe})
		}
	case SMBClose:
		s.files.drop(a.file, &shared.pduRoom)
		s.pipes.drop(a.file, &shared.pipes)
		ch := &shared.channels
		ch.files.drop(smbHandle{m.peer, e.Session, a.file}, &ch.room)
	case SMBRename:
		if f, ok := m.file(e.Session, a.file); ok {
			f.path = a.newPath
			m.opened(e, f)
		}
	}
}

// opened remembers the file that the event names.
func (m *pduAt) opened(e *SMB, f smbFile) {
	m.p.smb.files.put(e.File, f, maxSMBFiles, &m.p.shared.pduRoom)
	if e.Version == 2 && e.Session != 0 {
		ch := &m.p.shared.channels
		ch.files.put(smbHandle{m.peer, e.Session, e.File}, f, maxSMBHandles, &ch.room)
	}
}

// file finds an open file, if need be by another connection of the session.
func (m *pduAt) file(session, id uint64) (smbFile, bool) {
	if f, ok := m.p.smb.files.get(id); ok || id == 0 || session == 0 {
		return f, ok
	}
	return m.p.shared.channels.files.get(smbHandle{m.peer, session, id})
}

// loginDone reports how a session set-up ended. MORE_PROCESSING_REQUIRED is
// neither success nor failure.
func (m *pduAt) loginDone(a *smbAsk, status uint32) {
	if a.login == nil || status == statusMore {
		return
	}
	e := *a.login
	e.Result = LoginFailed
	if status == 0 {
		e.Result = LoginOK
	}
	m.out.login = append(m.out.login, e)
}

// NTSTATUS values (MS-ERREF section 2.3).
const (
	statusPending  = 0x00000103 // an interim answer, another one follows
	statusOverflow = 0x80000005 // there is more in the pipe
	statusMore     = 0xc0000016 // MORE_PROCESSING_REQUIRED
)

// failed says that an answer carries no body of its own.
func failed(status uint32) bool {
	return status>>30 == 3 && status != statusMore
}

// entropy is that of the first bytes of b in bits per byte (Shannon 1948),
// and how many bytes it rests on; negative when there are none. The
// logarithms, which are all of numbers up to the size of the sample, are
// looked up, and bytes are counted in four tables, since the increments of one
// would wait for each other: a write of 4 KiB would cost six times as much.
func (s *pduShared) entropy(b []byte) (bits float64, n int) {
	b = b[:min(len(b), entropySample)]
	if len(b) == 0 {
		return -1, 0
	}
	if s.plogp == nil {
		s.plogp = make([]float64, entropySample+1)
		for k := 2; k <= entropySample; k++ {
			s.plogp[k] = float64(k) * math.Log2(float64(k))
		}
	}
	var count [4][256]uint16
	rest := b
	for ; len(rest) >= 4; rest = rest[4:] {
		count[0][rest[0]]++
		count[1][rest[1]]++
		count[2][rest[2]]++
		count[3][rest[3]]++
	}
	for _, c := range rest {
		count[0][c]++
	}
	sum := 0.0
	for c := range count[0] {
		sum += s.plogp[count[0][c]+count[1][c]+count[2][c]+count[3][c]]
	}
	return math.Log2(float64(len(b))) - sum/float64(len(b)), len(b)
}

// utf16Text is text from UTF-16LE up to a NUL, at most limit bytes of UTF-8.
func utf16Text(b []byte, limit int) string {
	buf := make([]byte, 0, maxSMBPath+8)
	for i := 0; i+1 < len(b) && len(buf) < limit; i += 2 {
		r := rune(le16(b, i))
		if r == 0 {
			break
		}
		if utf16.IsSurrogate(r) {
			r = utf16.DecodeRune(r, rune(le16(b, i+2)))
			if r != utf8.RuneError {
				i += 2
			}
		}
		buf = appendRune(buf, r)
	}
	return string(whole(buf, limit))
}

// oemText is text of one byte a character up to a NUL. The code page is not
// known: what is neither ASCII nor UTF-8 is written as \ddd.
func oemText(b []byte, limit int) string {
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	return string(whole([]byte(printableN(b, limit)), limit))
}

// appendRune adds a character; control and format characters, which can
// reverse a line on a screen, as \ddd (see printable).
func appendRune(buf []byte, r rune) []byte {
	if r >= ' ' && r < 0x7f || unicode.IsGraphic(r) {
		return utf8.AppendRune(buf, r)
	}
	var raw [utf8.UTFMax]byte
	for _, c := range raw[:utf8.EncodeRune(raw[:], r)] {
		buf = append(buf, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
	}
	return buf
}

// whole cuts text to at most limit bytes without cutting a character.
func whole(b []byte, limit int) []byte {
	if len(b) <= limit {
		return b
	}
	for limit > 0 && !utf8.RuneStart(b[limit]) {
		limit--
	}
	return b[:limit]
}

// pipeName is the name of a pipe without what may stand in front of it
// (MS-CIFS section 2.2.4.33.1).
func pipeName(path string) string {
	name := strings.ToLower(strings.TrimLeft(path, `\`))
	return strings.TrimLeft(strings.TrimPrefix(name, "pipe"), `\`)
}
