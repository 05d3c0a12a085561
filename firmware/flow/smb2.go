package flow

// SMB2 commands (MS-SMB2 section 2.2.1).
const (
	smb2Negotiate = iota
	smb2SessionSetup
	smb2Logoff
	smb2TreeConnect
	smb2TreeDisconnect
	smb2Create
	smb2Close
	smb2Flush
	smb2Read
	smb2Write
	smb2Lock
	smb2Ioctl
	smb2Cancel
	smb2Echo
	smb2QueryDirectory
	smb2ChangeNotify
	smb2QueryInfo
	smb2SetInfo
	smb2OplockBreak
)

// Flags of the SMB2 header (MS-SMB2 section 2.2.1.1).
const (
	smb2Response = 1 << 0
	smb2Async    = 1 << 1
	smb2Related  = 1 << 2
)

// fsctlPipeTransceive is written to a pipe and answered from it (MS-FSCC
// section 2.3).
const fsctlPipeTransceive = 0x0011c017

const (
	fileRename         = 10 // FILE_INFORMATION_CLASS, MS-FSCC section 2.4
	fileDisposition    = 13
	fileEndOfFile      = 20
	fileDispositionEx  = 64
	fileRenameEx       = 65
	createDoomed       = 0x1000 // CreateOptions: FILE_DELETE_ON_CLOSE
	smb2Body           = 64
	smb2AnyFile        = ^uint64(0)
	smb2ShareIsPipe    = 2
	smb2NameRoom       = 1024 // of a request: its fixed part and one name
	smb2ResponseRoom   = 160  // of a response: its fixed part
	smb2WriteAt        = 64 + 48
	smb2ReadAt         = 64 + 16
	smb2IoctlAt        = 64 + 56
	smb2IoctlAnswerAt  = 64 + 48
	pipeSample         = 24 + 16 + maxStub // header of a request with an object, and what is kept of its body
	smb2DataAlignement = 8
)

var smb2Ops = [...]SMBOp{
	smb2Negotiate: SMBNegotiate, smb2SessionSetup: SMBSetup, smb2TreeConnect: SMBTree, smb2Create: SMBOpen,
	smb2Close: SMBClose, smb2Read: SMBRead, smb2Write: SMBWrite, smb2Ioctl: SMBIoctl, smb2Echo: SMBEcho,
	smb2QueryDirectory: SMBFind, smb2OplockBreak: SMBOther,
}

func smb2Op(command uint16) SMBOp {
	if int(command) < len(smb2Ops) {
		return smb2Ops[command]
	}
	return SMBOther
}

// smb2Head says how much of a message is wanted. b holds its header.
func (p *pduConn) smb2Head(b []byte) int {
	if len(b) < 64 {
		return len(b)
	}
	command := le16(b, 12)
	if le32(b, 16)&smb2Response == 0 {
		switch command {
		case smb2SessionSetup:
			return pduHead
		case smb2Write:
			return smb2WriteAt + smb2DataAlignement + entropySample
		case smb2Ioctl:
			return smb2IoctlAt + smb2DataAlignement + pipeSample
		}
		return smb2NameRoom
	}
	switch command {
	case smb2SessionSetup:
		return smb2NameRoom
	case smb2Ioctl:
		return smb2IoctlAnswerAt + smb2DataAlignement + pipeSample
	case smb2Read:
		a := p.smb.answered(le64(b, 24))
		switch {
		case a == nil:
		case a.pipe:
			return smb2ReadAt + smb2DataAlignement + pipeSample
		case a.offset == 0:
			return smb2ReadAt + smb2DataAlignement + entropySample
		}
	}
	return smb2ResponseRoom
}

// readSMB2 reads one message; size is that of all of it.
func (m *pduAt) readSMB2(b []byte, size int64) *Error {
	if len(b) < 64 {
		return nil // cut by the snap length or by a gap
	}
	e := m.smbEvent(size)
	flags := le32(b, 16)
	e.Version, e.Command = 2, le16(b, 12)
	e.Response = flags&smb2Response != 0
	e.MID, e.Session = le64(b, 24), le64(b, 40)
	if flags&smb2Async == 0 {
		e.Tree = le32(b, 36)
	}
	e.Op = smb2Op(e.Command)
	if e.Response {
		e.Status = le32(b, 8)
		m.smb2Answer(b, e)
	} else {
		m.smb2Request(b, e, flags&smb2Related != 0)
	}
	return nil
}

// smb2Request reads what is asked for and remembers it.
func (m *pduAt) smb2Request(b []byte, e *SMB, related bool) {
	s := &m.p.smb
	a := smbAsk{mid: e.MID, op: e.Op, command: e.Command, tree: e.Tree}
	var doomed bool
	switch e.Command {
	case smb2SessionSetup:
		a.login = m.securityBlob("smb", piece(b, int(le16(b, smb2Body+12)), int(le16(b, smb2Body+14))))
	case smb2TreeConnect:
		e.Path = utf16Text(piece(b, int(le16(b, smb2Body+4)), int(le16(b, smb2Body+6))), maxSMBPath)
	case smb2Create:
		e.Access, e.Disposition = le32(b, smb2Body+24), le32(b, smb2Body+36)
		doomed = le32(b, smb2Body+40)&createDoomed != 0
		e.Path = utf16Text(piece(b, int(le16(b, smb2Body+44)), int(le16(b, smb2Body+46))), maxSMBPath)
		tree, _ := s.trees.get(e.Tree)
		a.pipe = tree.pipe
		s.related[0] = smbRelated{path: e.Path, pipe: a.pipe}
	case smb2Cancel:
		return // is not answered by itself
	default:
		m.smb2File(b, e, &a, related)
	}
	switch e.Command {
	case smb2Read:
		e.Length, e.Offset = uint64(le32(b, smb2Body+4)), le64(b, smb2Body+8)
	case smb2Write:
		m.smb2Write(b, e, &a)
	case smb2Ioctl:
		m.smb2Ioctl(b, e, &a)
	case smb2SetInfo:
		smb2Set(b, e)
	case smb2QueryDirectory:
		e.Path = join(e.Path, utf16Text(piece(b, int(le16(b, smb2Body+24)), int(le16(b, smb2Body+26))), maxSMBPath))
	}
	a.op, a.function, a.file, a.path, a.newPath = e.Op, e.Function, e.File, e.Path, e.NewPath
	a.length, a.offset, a.access, a.disposition, a.doomed = e.Length, e.Offset, e.Access, e.Disposition, doomed
	m.request(&a)
	if doomed {
		m.doomed(*e)
	}
}

// smb2FileAt is where a request has its FileId; 0: it has none.
func smb2FileAt(command uint16) int {
	switch command {
	case smb2Close, smb2Flush, smb2Lock, smb2Ioctl, smb2QueryDirectory, smb2ChangeNotify, smb2OplockBreak:
		return smb2Body + 8
	case smb2Read, smb2Write, smb2SetInfo:
		return smb2Body + 16
	case smb2QueryInfo:
		return smb2Body + 24
	}
	return 0
}

// smb2File finds the file that a request is about.
func (m *pduAt) smb2File(b []byte, e *SMB, a *smbAsk, related bool) {
	at := smb2FileAt(e.Command)
	if at == 0 || len(b) < at+16 {
		return
	}
	s := &m.p.smb
	r := &s.related[0]
	if le64(b, at) == smb2AnyFile && le64(b, at+8) == smb2AnyFile {
		if related {
			e.File, e.Path, a.pipe = r.file, r.path, r.pipe
		}
		return
	}
	e.File = foldFile(le64(b, at), le64(b, at+8))
	f, known := m.file(e.Session, e.File)
	tree, treeKnown := s.trees.get(e.Tree)
	e.Path, a.pipe = f.path, f.pipe || !known && (tree.pipe || !treeKnown)
	*r = smbRelated{file: e.File, path: e.Path, pipe: a.pipe}
}

// foldFile makes one number of the two halves of a FileId. Servers often give
// both the same value, so that they must not cancel out.
func foldFile(persistent, volatile uint64) uint64 {
	id := persistent*0x9e3779b97f4a7c15 + volatile
	if id == 0 {
		id = 1
	}
	return id
}

func (m *pduAt) smb2Write(b []byte, e *SMB, a *smbAsk) {
	n := le32(b, smb2Body+4)
	e.Length, e.Offset = uint64(n), le64(b, smb2Body+8)
	data := piece(b, int(le16(b, smb2Body+2)), int(min(n, entropySample)))
	if a.pipe && m.pipeData(e.File, e.Path, data, 0) {
		return
	}
	e.Entropy, e.Sample = m.p.shared.entropy(data)
}

func (m *pduAt) smb2Ioctl(b []byte, e *SMB, a *smbAsk) {
	code := le32(b, smb2Body+4)
	e.Function = uint16(code)
	if code != fsctlPipeTransceive {
		return
	}
	e.Op = SMBPipe
	n := le32(b, smb2Body+28)
	e.Length = uint64(n)
	a.pipe = true
	m.pipeData(e.File, e.Path, piece(b, int(le32(b, smb2Body+24)), int(min(n, entropySample))), 0)
}

// smb2Set reads a SET_INFO request (section 2.2.39, MS-FSCC section 2.4).
func smb2Set(b []byte, e *SMB) {
	if len(b) < smb2Body+32 || b[smb2Body+2] != 1 { // SMB2_0_INFO_FILE
		return
	}
	data := piece(b, int(le16(b, smb2Body+8)), int(le32(b, smb2Body+4)))
	setFile(b[smb2Body+3], data, e)
}

// setFile reads what is set on a file.
func setFile(class byte, data []byte, e *SMB) {
	switch class {
	case fileRename, fileRenameEx:
		e.Op = SMBRename
		e.NewPath = utf16Text(piece(data, 20, int(le32(data, 16))), maxSMBPath)
	case fileDisposition, fileDispositionEx:
		if len(data) > 0 && data[0]&1 != 0 {
			e.Op = SMBDelete
		}
	case fileEndOfFile:
		e.Op, e.Length = SMBTruncate, le64(data, 0)
	}
}

// smb2Answer reads an answer by what was asked.
func (m *pduAt) smb2Answer(b []byte, e *SMB) {
	s := &m.p.smb
	a := s.answered(e.MID)
	none := smbAsk{op: e.Op, command: e.Command}
	if a == nil || a.command != e.Command {
		a = &none
	}
	a.asked(e)
	if e.Tree == 0 {
		e.Tree = a.tree
	}
	if e.Status == statusPending {
		return
	}
	if !failed(e.Status) {
		m.smb2Body(b, e, a)
		m.done(a, e)
	}
	if e.Command == smb2SessionSetup {
		m.loginDone(a, e.Status)
	}
	if a.doomed {
		m.doomed(*e)
	}
	if a != &none {
		s.settle(a, m.p.shared)
	}
}

// smb2Body reads the body of an answer that is no error.
func (m *pduAt) smb2Body(b []byte, e *SMB, a *smbAsk) {
	s := &m.p.smb
	r := &s.related[1]
	switch e.Command {
	case smb2Negotiate:
		e.Dialect = le16(b, smb2Body+4)
	case smb2TreeConnect:
		if len(b) > smb2Body+2 {
			s.trees.put(e.Tree, smbTree{b[smb2Body+2] == smb2ShareIsPipe}, maxSMBTrees, &m.p.shared.pduRoom)
		}
	case smb2Create:
		if len(b) >= smb2Body+80 {
			e.File = foldFile(le64(b, smb2Body+64), le64(b, smb2Body+72))
			e.Length = le64(b, smb2Body+48)
			*r = smbRelated{file: e.File}
		}
	case smb2Read:
		n := le32(b, smb2Body+4)
		e.Length = uint64(n)
		at := 0
		if len(b) > smb2Body+2 {
			at = int(b[smb2Body+2])
		}
		m.readData(e, a, piece(b, at, int(min(n, entropySample))))
	case smb2Write:
		e.Length = uint64(le32(b, smb2Body+4))
	case smb2Ioctl:
		if e.Op == SMBPipe {
			n := le32(b, smb2Body+36)
			e.Length = uint64(n)
			m.pipeData(e.File, e.Path, piece(b, int(le32(b, smb2Body+32)), int(min(n, entropySample))), 1)
		}
	}
	if e.File == 0 && smb2FileAt(e.Command) != 0 { // of a file that the same compound has opened
		e.File = r.file
		if a.file == 0 {
			a.file = r.file
		}
	}
}

// readData looks at what was read: DCE/RPC from a pipe, or how random a file
// begins, to compare with what is written back.
func (m *pduAt) readData(e *SMB, a *smbAsk, data []byte) {
	switch {
	case a.pipe:
		m.pipeData(e.File, e.Path, data, 1)
	case a.command == e.Command && a.offset == 0 && a.op == SMBRead:
		e.Entropy, e.Sample = m.p.shared.entropy(data)
	}
}

// join puts a directory and a name in it together.
func join(dir, name string) string {
	if dir == "" || name == "" {
		return dir + name
	}
	return string(whole([]byte(dir+`\`+name), maxSMBPath))
}
