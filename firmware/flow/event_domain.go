package flow

import "net/netip"

// SMBOp is what a message asks for, the same for every version.
type SMBOp uint8

// What SMB messages ask for.
const (
	SMBOther SMBOp = iota
	SMBNegotiate
	SMBSetup // session set-up
	SMBTree  // tree connect: Path is the share as sent
	SMBOpen  // create or open: Path, Access, Disposition
	SMBClose
	SMBRead     // Length, Offset
	SMBWrite    // Length, Offset, Entropy
	SMBRename   // Path, NewPath
	SMBDelete   // Path; "delete on close" comes behind its SMBOpen, with the same MID
	SMBTruncate // end of file set: Length
	SMBFind     // directory listing: Path is the pattern
	SMBPipe     // FSCTL_PIPE_TRANSCEIVE, TransactNmPipe: Path is the pipe
	SMBIoctl
	SMBEcho
	SMBTransaction // SMB1 TRANSACTION, TRANS2, NT_TRANSACT and secondaries: Function, Length (data announced in all), Offset of a secondary
)

// SMB is one SMB message on TCP 445 or 139, also each of a compound or of an
// AndX chain; for one connection at most 65,536 at a stretch and 32 a second
// for long. Requests carry what they ask for, responses repeat it and say what
// came of it; an interim response has Status 0x103.
type SMB struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	Version        uint8  // 1, 2 (also 3.x), 3 when encrypted (transform header): then only Size is known
	Command        uint16 // of that version
	Op             SMBOp
	Response       bool
	Status         uint32 // NTSTATUS of a response
	Dialect        uint16 // of a negotiate response: 0x0202 … 0x0311; SMB1: 1
	Function       uint16 // SMB1: TRANS2 or NT_TRANSACT function; ioctl: low half of the control code
	MID            uint64 // message id; SMB1: multiplex id, which DoublePulsar abuses
	Session        uint64
	Tree           uint32
	File           uint64 // handle of the file, folded; 0 when none
	Path, NewPath  string // at most 260 bytes of UTF-8, backslashes as sent
	Access         uint32 // desired access of SMBOpen
	Disposition    uint32 // of SMBOpen, MS-SMB2 numbering (5: overwrite or create)
	Length         uint64 // bytes read or written, end of file; of an SMBOpen response the size of the file
	Offset         uint64
	Entropy        float64 // of the first bytes written, or read from the start of a file (response), bits per byte; negative when not measured
	Sample         int     // bytes that Entropy rests on
	Size           int     // of the whole message on the wire, header included
}

// RPCKind is the kind of a DCE/RPC packet (C706 chapter 12).
type RPCKind uint8

// Kinds of DCE/RPC packets that are reported.
const (
	RPCBind RPCKind = iota // also alter context
	RPCRequest
	RPCResponse
	RPCFault
)

// RPC is a DCE/RPC connection-oriented packet, over TCP or an SMB pipe; of
// several fragments the first. A bind is one event for each interface in it.
type RPC struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	Kind           RPCKind
	Interface      string // UUID in lower-case text; empty when its bind was not seen
	Opnum          uint16 // of a request, and of the response to it
	Pipe           string // svcctl, atsvc, …; empty over TCP
	Status         uint32 // of a fault
	AuthType       uint8  // 0 none, 9 SPNEGO, 10 NTLM, 16 Kerberos, 68 Netlogon
	AuthLevel      uint8  // 6: private, Stub cannot be read
	Stub           []byte // of a request, at most 1,024 bytes; nil when private
}

// Kerberos is one message of RFC 4120 on port 88.
type Kerberos struct {
	Meta
	Client, Server netip.AddrPort
	Type           uint8  // 10 AS-REQ, 11 AS-REP, 12 TGS-REQ, 13 TGS-REP, 30 KRB-ERROR
	User           string // cname
	Realm          string
	Service        string // sname, joined with /
	EType          int32  // AS-REQ, TGS-REQ: the first offered; replies: of the ticket
	ETypes         []int32
	PreAuth        bool  // AS-REQ carries an encrypted time stamp
	Error          int32 // KRB-ERROR
}

// LDAP is a request of RFC 4511 on port 389 or 3268.
type LDAP struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	Op             uint8 // protocolOp tag number: 0 bind, 3 search, …
	Base           string
	Scope          uint8
	Filter         string   // as text (RFC 4515), at most 512 bytes
	Attributes     []string // at most 16
	Connectionless bool     // CLDAP over UDP
}

var (
	_ Event = (*SMB)(nil)
	_ Event = (*RPC)(nil)
	_ Event = (*Kerberos)(nil)
	_ Event = (*LDAP)(nil)
)
