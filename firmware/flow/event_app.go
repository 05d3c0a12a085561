package flow

import (
	"net/netip"
	"time"
)

// TLSHello is a ClientHello or ServerHello (RFC 8446 section 4.1), over TCP or
// in a QUIC Initial packet (RFC 9001 section 5.2).
type TLSHello struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	FromServer     bool
	QUIC           bool
	Version        uint16 // highest offered or selected
	SNI            string
	ALPN           []string
	JA3            string // 32 hex digits; JA3S when FromServer
	JA4            string // FoxIO JA4; empty when FromServer: the licence of JA4S forbids to sell it
}

// TLSCert is the leaf of a server's Certificate message, as TLS 1.2 and older
// send it in the clear (RFC 5246 section 7.4.2).
type TLSCert struct {
	Meta
	ConnID              uint64
	Client, Server      netip.AddrPort
	SHA256              [32]byte // of the DER
	SHA1                [20]byte
	Subject, Issuer     string // RFC 2253 text, at most 256 bytes each
	CommonName          string
	Names               []string // DNS names and addresses of subjectAltName, at most 16
	SelfSigned          bool     // issuer and subject are the same
	NotBefore, NotAfter time.Time
	Chain               int // certificates sent
}

// HTTP is the head of a plain-text HTTP/1 request, at most 256 for one
// connection.
type HTTP struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	Number         int // of the request on its connection, from 1
	Method         string
	Host           string
	Path           string // at most 512 bytes
	UserAgent      string
	ContentType    string
	Length         int64  // Content-Length, -1 when absent
	Auth           string // scheme of Authorization, lower case: basic, digest, ntlm, negotiate, bearer, …; other when it is not known
	SOAPAction     string
	Cookie         string // at most 256 bytes
	Body           []byte // what of the body came in the same segment, at most 512 bytes
	CleartextProxy bool   // the request target is an absolute URL or CONNECT
	Lookup         string // value of the first header field of another name that holds "${", at most 256 bytes
}

// HTTPReply is the head of the answer to a request (RFC 9112 section 4), at
// most 512 for one connection.
type HTTPReply struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	Number         int // of the request that it answers, from 1
	Status         int
	ContentType    string
	Length         int64  // Content-Length, -1 when absent
	Product        string // Server field
	Authenticate   string // scheme of WWW-Authenticate, lower case
	Body           []byte // what of the body came in the same segment, at most 512 bytes
}

// LoginResult is how a log-in went, as far as the wire tells.
type LoginResult uint8

// Results of a log-in.
const (
	LoginTried LoginResult = iota // a name or secret was sent; the answer is not known
	LoginOK
	LoginFailed
)

// Login is an attempt to log in, or its outcome. An attempt that can be read
// is emitted once as LoginTried and, when the answer is readable, again with
// its result. Secrets are never in it.
type Login struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	FromServer     bool   // the packet that caused it
	Service        string // ftp, telnet, smtp, pop3, imap, http, vnc, rdp, mysql, mssql, postgresql, smb, ldap, kerberos, dcerpc, ssh (inferred, without a name)
	Mechanism      string // plain, login, basic, ntlm, md5, …; empty when the service has one only
	User           string // as sent, at most 128 bytes
	Domain         string
	Workstation    string // NTLM
	Result         LoginResult
	Cleartext      bool // the secret can be read from the wire
}

// Banner is the first line by which a service or its client names itself, on
// whatever port it runs: "SSH-2.0-OpenSSH_9.2", "220 mail ESMTP", "RFB 003.008".
type Banner struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	FromServer     bool
	Service        string // ssh, ftp, smtp, pop3, imap, telnet, vnc, irc, mysql, rdp, mssql, postgresql
	Text           string // at most 128 bytes, printable
}

// IRC is one command of an IRC connection (RFC 2812), at most 256 for one.
type IRC struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	FromServer     bool
	Command        string // NICK, USER, JOIN, PRIVMSG, … or a number
	Target         string // first parameter
	Text           string // last parameter, at most 256 bytes
}

// Opaque is the beginning of a TCP connection that no parser knows, the first
// payload of each direction.
type Opaque struct {
	Meta
	ConnID         uint64
	Client, Server netip.AddrPort
	FromServer     bool
	Data           []byte // at most 256 bytes
}

// SSDP is a UPnP discovery message (UPnP Device Architecture 2.0, section 1).
type SSDP struct {
	Meta
	Src, Dst netip.AddrPort
	Method   string // M-SEARCH, NOTIFY; empty for an answer
	Target   string // ST or NT
	Location string
	Product  string // SERVER or USER-AGENT
}

var (
	_ Event = (*TLSHello)(nil)
	_ Event = (*TLSCert)(nil)
	_ Event = (*HTTP)(nil)
	_ Event = (*HTTPReply)(nil)
	_ Event = (*Login)(nil)
	_ Event = (*Banner)(nil)
	_ Event = (*IRC)(nil)
	_ Event = (*Opaque)(nil)
	_ Event = (*SSDP)(nil)
)
