package flow

import "bytes"

// SMB1 commands (MS-CIFS section 2.2.2.1) that are read.
const (
	smb1CreateDir   = 0x00
	smb1DeleteDir   = 0x01
	smb1Open        = 0x02
	smb1Create      = 0x03
	smb1Close       = 0x04
	smb1Delete      = 0x06
	smb1Rename      = 0x07
	smb1Read        = 0x0a
	smb1Write       = 0x0b
	smb1CreateNew   = 0x0f
	smb1Locking     = 0x24
	smb1Transaction = 0x25
	smb1TransMore   = 0x26
	smb1Echo        = 0x2b
	smb1OpenX       = 0x2d
	smb1ReadX       = 0x2e
	smb1WriteX      = 0x2f
	smb1Trans2      = 0x32
	smb1Trans2More  = 0x33
	smb1Negotiate   = 0x72
	smb1SetupX      = 0x73
	smb1LogoffX     = 0x74
	smb1TreeX       = 0x75
	smb1NTTransact  = 0xa0
	smb1NTMore      = 0xa1
	smb1NTCreateX   = 0xa2
	smb1NTCancel    = 0xa4
	smb1NTRename    = 0xa5
	smb1NoAndX      = 0xff
)

// Functions of transactions (MS-CIFS sections 2.2.2.2, 2.2.5 and 2.2.6).
const (
	transactPipe    = 0x26
	trans2Open      = 0x00
	trans2Find      = 0x01
	trans2FindNext  = 0x02
	trans2PathInfo  = 0x05
	trans2SetPath   = 0x06
	trans2SetFile   = 0x08
	trans2CreateDir = 0x0d
)

const (
	smb1HeaderSize = 32
	smb1MaxAndX    = 8       // commands of one chain that are read
	smb1Room       = 1024    // fixed part and names
	smb1Unicode    = 1 << 15 // Flags2
	smb1KeepFile   = 1 << 16 // set in File, so that no FID becomes 0
	smb1Extended   = 12      // words of a session set-up with a security blob
	smb1NTLM       = 13      // the same with two responses
	smb1LANMAN     = 10      // the same with one
)

// smb1Message is one command of a message: an AndX chain has several under
// one header (MS-CIFS section 2.2.3.4).
type smb1Message struct {
	b       []byte // from the header on, since offsets count from there
	command uint8
	words   []byte
	at      int    // where data stands, from the header on
	data    []byte // the ByteCount bytes, as far as they are there
	unicode bool
}

// smb1Head says how much of a message is wanted.
func (p *pduConn) smb1Head(b []byte) int {
	if len(b) < smb1HeaderSize {
		return len(b)
	}
	switch answer := b[9]&0x80 != 0; b[4] {
	case smb1SetupX:
		return pduHead
	case smb1Write, smb1WriteX:
		if !answer {
			return smb1HeaderSize + 1 + 2*14 + 2 + 64 + entropySample
		}
	case smb1ReadX:
		if answer {
			if a := p.smb.answered(smb1MID(b)); a != nil && a.offset == 0 {
				return smb1HeaderSize + 1 + 2*12 + 2 + 64 + entropySample
			}
		}
	}
	return smb1Room + pipeSample
}

// smb1MID makes one id of process and multiplex id, which together name a
// request (MS-CIFS section 2.2.1.6.4).
func smb1MID(b []byte) uint64 { return uint64(le16(b, 30)) | uint64(le16(b, 26))<<16 }

func smb1Op(command uint8) SMBOp {
	switch command {
	case smb1Negotiate:
		return SMBNegotiate
	case smb1SetupX:
		return SMBSetup
	case smb1TreeX:
		return SMBTree
	case smb1Open, smb1Create, smb1CreateNew, smb1OpenX, smb1NTCreateX:
		return SMBOpen
	case smb1Close:
		return SMBClose
	case smb1Read, smb1ReadX:
		return SMBRead
	case smb1Write, smb1WriteX:
		return SMBWrite
	case smb1Rename, smb1NTRename:
		return SMBRename
	case smb1Delete, smb1DeleteDir:
		return SMBDelete
	case smb1Echo:
		return SMBEcho
	case smb1Transaction, smb1TransMore, smb1Trans2, smb1Trans2More, smb1NTTransact, smb1NTMore:
		return SMBTransaction
	}
	return SMBOther
}

// readSMB1 reads a message with all commands of its chain.
func (m *pduAt) readSMB1(b []byte, size int64) *Error {
	if len(b) < smb1HeaderSize {
		return nil
	}
	head := SMB{
		Version: 1, Response: b[9]&0x80 != 0, MID: uint64(le16(b, 30)),
		Tree: uint32(le16(b, 24)), Session: uint64(le16(b, 28)), Size: int(size), Entropy: -1,
	}
	if head.Response {
		head.Status = le32(b, 5)
	}
	msg := smb1Message{b: b, command: b[4], unicode: le16(b, 10)&smb1Unicode != 0}
	first := smbAsk{}
	at := smb1HeaderSize
	for n := 0; n < smb1MaxAndX; n++ {
		msg.cut(at)
		m.out.smb = append(m.out.smb, head)
		e := &m.out.smb[len(m.out.smb)-1]
		e.Command, e.Op = uint16(msg.command), smb1Op(msg.command)
		if head.Response {
			m.smb1Answer(&msg, e)
		} else {
			a := smbAsk{}
			m.smb1Request(&msg, e, &a)
			if n == 0 {
				first = a
			} else if first.login == nil && a.login != nil {
				first.login = a.login
			}
			if n > 0 && a.op != SMBOther { // the answer to the chain is matched command by command
				first.chain(&a)
			}
		}
		next, ok := msg.next(at)
		if !ok {
			break
		}
		at = next
	}
	if !head.Response && b[4] != smb1NTCancel && b[4] != smb1TransMore && b[4] != smb1Trans2More && b[4] != smb1NTMore {
		first.mid = smb1MID(b)
		m.request(&first)
	}
	return nil
}

// cut finds words and bytes of the command at an offset.
func (s *smb1Message) cut(at int) {
	s.words, s.data, s.at = nil, nil, at
	if at >= len(s.b) {
		return
	}
	n := 2 * int(s.b[at])
	s.words = piece(s.b, at+1, n)
	s.at = at + 1 + n + 2
	s.data = piece(s.b, s.at, int(le16(s.b, at+1+n)))
}

// next is where the next command of the chain stands. It must lie behind this
// one, or a message could go round in a circle.
func (s *smb1Message) next(at int) (int, bool) {
	switch s.command {
	case smb1Locking, smb1OpenX, smb1ReadX, smb1WriteX, smb1SetupX, smb1LogoffX, smb1TreeX, smb1NTCreateX:
	default:
		return 0, false
	}
	if len(s.words) < 4 || s.words[0] == smb1NoAndX {
		return 0, false
	}
	next := int(le16(s.words, 2))
	if next <= at || next >= len(s.b) {
		return 0, false
	}
	s.command = s.words[0]
	return next, true
}

// text is the string at an offset of data. Unicode strings begin at an even
// distance from the header (MS-CIFS section 2.2.1.1.2).
func (s *smb1Message) text(at int) string {
	if s.unicode && (s.at+at)%2 != 0 {
		at++
	}
	return s.textAt(s.at + at)
}

// textAt is the string that stands so far from the header.
func (s *smb1Message) textAt(at int) string {
	b := piece(s.b, at, len(s.b))
	if s.unicode {
		return utf16Text(b, maxSMBPath)
	}
	return oemText(b, maxSMBPath)
}

// after is the offset in data behind the string at an offset.
func (s *smb1Message) after(at int) int {
	if !s.unicode {
		if i := bytes.IndexByte(piece(s.data, at, len(s.data)), 0); i >= 0 {
			return at + i + 1
		}
		return len(s.data)
	}
	if (s.at+at)%2 != 0 {
		at++
	}
	for ; at+1 < len(s.data); at += 2 {
		if s.data[at] == 0 && s.data[at+1] == 0 {
			return at + 2
		}
	}
	return len(s.data)
}

// smb1File finds the file of a FID.
func (m *pduAt) smb1File(fid uint16, e *SMB, a *smbAsk) {
	s := &m.p.smb
	e.File = uint64(fid) | smb1KeepFile
	f, known := s.files.get(e.File)
	tree, treeKnown := s.trees.get(e.Tree)
	e.Path, a.pipe = f.path, f.pipe || !known && (tree.pipe || !treeKnown)
}

// smb1Request reads what is asked for.
func (m *pduAt) smb1Request(s *smb1Message, e *SMB, a *smbAsk) {
	w := s.words
	switch s.command {
	case smb1SetupX:
		a.login = m.smb1Login(s)
	case smb1TreeX:
		e.Path = s.text(int(le16(w, 6)))
	case smb1NTCreateX:
		e.Access, e.Disposition = le32(w, 15), le32(w, 35)
		a.doomed = le32(w, 39)&createDoomed != 0
		e.Path = s.text(0)
	case smb1OpenX:
		e.Access, e.Disposition = oldAccess(le16(w, 6)), openFunction(le16(w, 16))
		e.Path = s.text(0)
	case smb1Open, smb1Create, smb1CreateNew:
		e.Path = s.text(1) // after the buffer format
		e.Disposition = map[uint8]uint32{smb1Open: 1, smb1Create: 5, smb1CreateNew: 2}[s.command]
		e.Access = oldAccess(2)
		if s.command == smb1Open {
			e.Access = oldAccess(le16(w, 0))
		}
	case smb1CreateDir:
		e.Path = s.text(1)
	case smb1Delete, smb1DeleteDir:
		e.Path = s.text(1)
	case smb1Rename, smb1NTRename:
		e.Path, e.NewPath = s.text(1), s.text(s.after(1)+1)
	case smb1Close:
		m.smb1File(le16(w, 0), e, a)
	case smb1Read:
		m.smb1File(le16(w, 0), e, a)
		e.Length, e.Offset = uint64(le16(w, 2)), uint64(le32(w, 4))
	case smb1ReadX:
		m.smb1File(le16(w, 4), e, a)
		e.Length, e.Offset = uint64(le16(w, 10))|uint64(le16(w, 14))<<16, uint64(le32(w, 6))|uint64(le32(w, 20))<<32
		if le32(w, 14) == ^uint32(0) { // a time-out of a pipe
			e.Length &= 0xffff
		}
	case smb1Write, smb1WriteX:
		m.smb1Write(s, e, a)
	case smb1Transaction, smb1Trans2:
		m.smb1Trans(s, e, a)
	case smb1TransMore, smb1Trans2More:
		e.Length, e.Offset = uint64(le16(w, 2)), uint64(le16(w, 14))
	case smb1NTTransact:
		e.Length, e.Function = uint64(le32(w, 7)), le16(w, 36)
	case smb1NTMore:
		e.Length, e.Offset = uint64(le32(w, 7)), uint64(le32(w, 31))
	}
	a.op, a.command, a.function, a.tree = e.Op, e.Command, e.Function, e.Tree
	a.file, a.path, a.newPath = e.File, e.Path, e.NewPath
	a.length, a.offset, a.access, a.disposition = e.Length, e.Offset, e.Access, e.Disposition
	if tree, _ := m.p.smb.trees.get(e.Tree); e.Op == SMBOpen {
		a.pipe = tree.pipe
	}
	if a.doomed {
		m.doomed(*e)
	}
}

// chain keeps of a further command of a chain what its answer needs: the tree
// behind a session set-up.
func (a *smbAsk) chain(b *smbAsk) {
	if a.op == SMBSetup && b.op == SMBTree {
		a.share = b.path
	}
}

// oldAccess turns the access mode of the older opens (MS-CIFS section
// 2.2.4.3.1) into rights: FILE_READ_DATA and FILE_WRITE_DATA.
func oldAccess(mode uint16) uint32 {
	switch mode & 7 {
	case 1:
		return 2
	case 2:
		return 3
	}
	return 1
}

// openFunction turns that of OPEN_ANDX (MS-CIFS section 2.2.4.41.1) into the
// numbering of MS-SMB2 section 2.2.13.
func openFunction(f uint16) uint32 {
	create := f&0x10 != 0
	switch f & 3 {
	case 1:
		if create {
			return 3
		}
		return 1
	case 2:
		if create {
			return 5
		}
		return 4
	}
	return 2
}

func (m *pduAt) smb1Write(s *smb1Message, e *SMB, a *smbAsk) {
	w := s.words
	var data []byte
	if s.command == smb1Write {
		m.smb1File(le16(w, 0), e, a)
		e.Length, e.Offset = uint64(le16(w, 2)), uint64(le32(w, 4))
		data = piece(s.b, s.at+3, int(le16(w, 2))) // after format and length
		if e.Length == 0 {                         // MS-CIFS section 2.2.4.12: sets the size
			e.Op, e.Length = SMBTruncate, e.Offset
		}
	} else {
		m.smb1File(le16(w, 4), e, a)
		n := uint64(le16(w, 20)) | uint64(le16(w, 18))<<16
		e.Length, e.Offset = n, uint64(le32(w, 6))|uint64(le32(w, 24))<<32
		data = piece(s.b, int(le16(w, 22)), int(min(n, entropySample)))
		if a.pipe && le16(w, 14)&8 != 0 && len(data) > 2 { // WriteMode: message start, length in front
			if m.pipeData(e.File, e.Path, data[2:], 0) {
				return
			}
		}
	}
	if a.pipe && m.pipeData(e.File, e.Path, data, 0) {
		return
	}
	e.Entropy, e.Sample = m.p.shared.entropy(data)
}

// smb1Trans reads TRANSACTION and TRANSACTION2 (MS-CIFS sections 2.2.4.33 and
// 2.2.4.46): both are laid out the same.
func (m *pduAt) smb1Trans(s *smb1Message, e *SMB, a *smbAsk) {
	w := s.words
	e.Function, e.Length = le16(w, 28), uint64(le16(w, 2))
	param := int(le16(w, 20))
	data := piece(s.b, int(le16(w, 24)), int(le16(w, 22)))
	if s.command == smb1Transaction {
		e.Path = s.text(0)
		if e.Function == transactPipe && len(w) > 28 {
			e.Op = SMBPipe
			path := e.Path
			m.smb1File(le16(w, 30), e, a)
			if e.Path == "" {
				e.Path = path
			}
			a.pipe = true
			m.pipeData(e.File, e.Path, data, 0)
		}
		return
	}
	switch e.Function {
	case trans2Open:
		e.Op, e.Path = SMBOpen, s.textAt(param+28)
		e.Access, e.Disposition = oldAccess(le16(s.b, param+2)), openFunction(le16(s.b, param+12))
	case trans2Find:
		e.Op, e.Path = SMBFind, s.textAt(param+12)
	case trans2FindNext:
		e.Op, e.Path = SMBFind, s.textAt(param+12)
	case trans2PathInfo:
		e.Path = s.textAt(param + 6)
	case trans2CreateDir:
		e.Path = s.textAt(param + 4)
	case trans2SetPath:
		e.Path = s.textAt(param + 6)
		setFile(trans2Class(le16(s.b, param)), data, e)
	case trans2SetFile:
		m.smb1File(le16(s.b, param), e, a)
		setFile(trans2Class(le16(s.b, param+2)), data, e)
	}
}

// trans2Class turns an information level of SET_INFO into a class of MS-FSCC
// (MS-CIFS section 2.2.2.3.4, MS-SMB section 2.2.2.3.5: 1000 is added to it).
func trans2Class(level uint16) byte {
	switch {
	case level == 0x102:
		return fileDisposition
	case level == 0x104:
		return fileEndOfFile
	case level > 1000 && level < 1256:
		return byte(level - 1000)
	}
	return 0
}

// smb1Answer reads an answer by what was asked.
func (m *pduAt) smb1Answer(s *smb1Message, e *SMB) {
	c := &m.p.smb
	w := s.words
	none := smbAsk{op: e.Op, command: e.Command}
	a, known := c.answered(smb1MID(s.b)), true
	if a == nil || a.command != e.Command {
		if a != nil && a.op == SMBSetup && e.Op == SMBTree { // the second of a chain
			none.path = a.share
			c.settle(a, m.p.shared)
		}
		a, known = &none, false
	}
	if known {
		a.asked(e)
	}
	if a.op == SMBTree {
		e.Path = a.path
	}
	if !failed(e.Status) && (len(w) > 0 || len(s.data) > 0 || e.Op == SMBClose || e.Op == SMBRename) {
		m.smb1Body(s, e, a)
		m.done(a, e)
	}
	if e.Op == SMBSetup {
		m.loginDone(a, e.Status)
	}
	if a.doomed {
		m.doomed(*e)
	}
	if known && (a.op != SMBSetup || a.share == "" || len(w) < 4 || w[0] != smb1TreeX) {
		c.settle(a, m.p.shared)
	}
}

// smb1Body reads the body of an answer that is no error.
func (m *pduAt) smb1Body(s *smb1Message, e *SMB, a *smbAsk) {
	w := s.words
	switch s.command {
	case smb1Negotiate:
		e.Dialect = 1
	case smb1TreeX:
		m.p.smb.trees.put(e.Tree, smbTree{bytes.HasPrefix(s.data, []byte("IPC"))}, maxSMBTrees, &m.p.shared.pduRoom)
	case smb1NTCreateX:
		e.File, e.Length = uint64(le16(w, 5))|smb1KeepFile, le64(w, 55)
		a.pipe = a.pipe || le16(w, 63) == 1 || le16(w, 63) == 2
	case smb1OpenX:
		e.File, e.Length = uint64(le16(w, 4))|smb1KeepFile, uint64(le32(w, 12))
	case smb1Open, smb1Create, smb1CreateNew:
		e.File = uint64(le16(w, 0)) | smb1KeepFile
	case smb1Read:
		e.Length = uint64(le16(w, 0))
	case smb1ReadX:
		n := uint64(le16(w, 10)) | uint64(le16(w, 14))<<16
		e.Length = n
		m.readData(e, a, piece(s.b, int(le16(w, 12)), int(min(n, entropySample))))
	case smb1Write:
		e.Length = uint64(le16(w, 0))
	case smb1WriteX:
		e.Length = uint64(le16(w, 4)) | uint64(le16(w, 8))<<16
	case smb1Transaction:
		if e.Op == SMBPipe {
			e.Length = uint64(le16(w, 2))
			m.pipeData(e.File, e.Path, piece(s.b, int(le16(w, 14)), int(le16(w, 12))), 1)
		}
	case smb1Trans2:
		if e.Op == SMBOpen {
			e.File = uint64(le16(s.b, int(le16(w, 8)))) | smb1KeepFile
		}
	}
}

// smb1Login reads a session set-up (MS-CIFS section 2.2.4.53, MS-SMB section
// 2.2.4.6).
func (m *pduAt) smb1Login(s *smb1Message) *Login {
	w := s.words
	var e Login
	switch len(w) / 2 {
	case smb1Extended:
		return m.securityBlob("smb", piece(s.data, 0, int(le16(w, 14))))
	case smb1NTLM:
		oem, uni := int(le16(w, 14)), int(le16(w, 16))
		at := oem + uni
		e.User, e.Domain = s.text(at), s.text(s.after(at))
		e.Mechanism = "ntlm"
		// Responses have 24 bytes, or more as NTLMv2 (MS-NLMP section 2.2.2.8);
		// shorter ones are the password itself.
		if e.Cleartext = oem > 1 && oem < 24 || uni > 2 && uni < 24; e.Cleartext {
			e.Mechanism = "plain"
		}
	case smb1LANMAN:
		n := int(le16(w, 14))
		e.User, e.Domain = s.text(n), s.text(s.after(n))
		e.Mechanism = "lm"
		if e.Cleartext = n > 1 && n < 24; e.Cleartext {
			e.Mechanism = "plain"
		}
	default:
		return nil
	}
	e.User, e.Domain = string(whole([]byte(e.User), maxLoginName)), string(whole([]byte(e.Domain), maxLoginName))
	e.Service = "smb"
	return m.login(e)
}
