package flow

import (
	"encoding/binary"
	"encoding/hex"
)

var errRPC = &Error{"dcerpc", "fragment is shorter than its header"}

const (
	// maxStub is how much of a request's body is kept.
	maxStub = 1024

	rpcHeader   = 16
	rpcContexts = 32 // interfaces of one conversation that are remembered: attack kits hide theirs among a dozen others
	rpcCalls    = 8  // requests that wait for their answer
	maxSMBPipes = 32 // conversations of one SMB connection
	rpcMaxBind  = 32 // interfaces of one bind that are reported
)

// Packet types (C706 section 12.6.4.1, rpc_auth_3: MS-RPCE section 2.2.2.5).
const (
	rpcRequest      = 0
	rpcResponse     = 2
	rpcFault        = 3
	rpcBind         = 11
	rpcAlterContext = 14
	rpcAuth3        = 16
	rpcLastType     = 19
)

const (
	rpcFirstFrag  = 0x01
	rpcObjectUUID = 0x80
	rpcPrivacy    = 6 // RPC_C_AUTHN_LEVEL_PKT_PRIVACY
)

// rpcConn is what is kept of one DCE/RPC conversation: a TCP connection or an
// open pipe.
type rpcConn struct {
	context   []rpcContext
	contexts  int // bound after there was no room: they take the place of the oldest
	call      [rpcCalls]rpcCall
	calls     int
	authType  uint8
	authLevel uint8
}

type rpcContext struct {
	id   uint16
	uuid string
}

type rpcCall struct {
	id    uint32
	opnum uint16
	uuid  string
	waits bool
}

func (r *rpcConn) bind(id uint16, uuid string) {
	for i := range r.context {
		if c := &r.context[i]; c.id == id {
			c.uuid = uuid
			return
		}
	}
	if len(r.context) < rpcContexts {
		r.context = append(r.context, rpcContext{id, uuid})
		return
	}
	r.context[r.contexts%rpcContexts] = rpcContext{id, uuid}
	r.contexts++
}

func (r *rpcConn) uuid(id uint16) string {
	for i := range r.context {
		if c := &r.context[i]; c.id == id {
			return c.uuid
		}
	}
	return ""
}

// answered returns the request with that call id and forgets it.
func (r *rpcConn) answered(id uint32) rpcCall {
	for i := range r.call {
		if c := r.call[i]; c.waits && c.id == id {
			r.call[i] = rpcCall{}
			return c
		}
	}
	return rpcCall{}
}

// rpcStarts recognises the common header (C706 section 12.6.3.1).
func rpcStarts(b []byte) bool {
	return len(b) >= 10 && b[0] == 5 && b[1] <= 1 && b[2] <= rpcLastType && b[4]&^0x10 == 0 && b[5] <= 3 &&
		b[6] == 0 && b[7] == 0 && rpcOrder(b).Uint16(b[8:]) >= rpcHeader
}

// sniffRPC waits while few bytes may become a header.
func sniffRPC(b []byte) app {
	switch {
	case rpcStarts(b):
		return appRPC
	case len(b) >= 10, len(b) > 1 && b[1] > 1, len(b) > 2 && b[2] > rpcLastType:
		return appDone
	}
	return appUnknown
}

// rpcOrder is the byte order that the sender says it uses.
func rpcOrder(b []byte) binary.ByteOrder {
	if b[4]&0x10 == 0 {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// rpcMeasure finds the next fragment of a TCP connection.
func rpcMeasure(b []byte) (size int64, head int) {
	if len(b) < rpcHeader {
		return 0, rpcHeader
	}
	if !rpcStarts(b) {
		return -1, 0
	}
	o := rpcOrder(b)
	size, head = int64(o.Uint16(b[8:])), pduHead
	switch signed := o.Uint16(b[10:]) > 0; b[2] {
	case rpcResponse, rpcFault:
		head = rpcHeader + 16
	case rpcRequest:
		if !signed { // else the trailer is wanted, which says how
			head = rpcHeader + 8 + 16 + maxStub
		}
	}
	return size, head
}

// readRPC reads one fragment of a TCP connection.
func (m *pduAt) readRPC() *Error {
	if m.p.rpc == nil {
		m.p.rpc = &rpcConn{}
	}
	return m.rpcFragment(m.p.rpc, m.body, "")
}

// pipeData reads what goes through a pipe and says whether it was DCE/RPC.
// What continues a fragment has no header and is passed over.
func (m *pduAt) pipeData(file uint64, path string, data []byte, dir int) bool {
	if len(data) < rpcHeader || !rpcStarts(data) {
		return false
	}
	s := &m.p.smb
	r, ok := s.pipes.get(file)
	if !ok {
		r = &rpcConn{}
		s.pipes.put(file, r, maxSMBPipes, &m.p.shared.pipes)
	}
	return m.rpcFragment(r, data, pipeName(path)) == nil
}

// rpcFragment reads one fragment. Of a packet in several fragments the first
// is reported.
func (m *pduAt) rpcFragment(r *rpcConn, b []byte, pipe string) *Error {
	o := rpcOrder(b)
	size := int(o.Uint16(b[8:]))
	b = b[:min(len(b), size)]
	if len(b) < rpcHeader {
		return errRPC
	}
	e := RPC{Pipe: pipe, AuthType: r.authType, AuthLevel: r.authLevel}
	auth := rpcTrailer(b, size, o, &e)
	// What binds is never in fragments, and old servers do not set the flag.
	if b[3]&rpcFirstFrag == 0 && b[2] < rpcBind {
		return nil
	}
	call := o.Uint32(b[12:])
	switch b[2] {
	case rpcBind, rpcAlterContext:
		r.authType, r.authLevel = e.AuthType, e.AuthLevel
		m.rpcBind(r, b, o, e)
		m.rpcLogin(auth)
		return nil
	case rpcAuth3:
		m.rpcLogin(auth)
		return nil
	case rpcRequest:
		if len(b) < rpcHeader+8 {
			return errRPC
		}
		e.Kind, e.Opnum, e.Interface = RPCRequest, o.Uint16(b[22:]), r.uuid(o.Uint16(b[20:]))
		e.Stub = rpcStub(b, size, o, &e)
		r.call[r.calls%rpcCalls] = rpcCall{call, e.Opnum, e.Interface, true}
		r.calls++
	case rpcResponse, rpcFault:
		if len(b) < rpcHeader+8 {
			return errRPC
		}
		asked := r.answered(call)
		e.Kind, e.Opnum, e.Interface = RPCResponse, asked.opnum, asked.uuid
		if asked.uuid == "" {
			e.Interface = r.uuid(o.Uint16(b[20:]))
		}
		if b[2] == rpcFault {
			e.Kind = RPCFault
			if len(b) >= 28 {
				e.Status = o.Uint32(b[24:])
			}
		}
	default:
		return nil
	}
	m.out.rpc = append(m.out.rpc, e)
	return nil
}

// rpcTrailer reads the authentication trailer (C706 section 13.2.6.1, MS-RPCE
// section 2.2.2.11), where it is there, and returns its value.
func rpcTrailer(b []byte, size int, o binary.ByteOrder, e *RPC) []byte {
	n := int(o.Uint16(b[10:]))
	at := size - n - 8
	if n == 0 || at < rpcHeader || at+8 > len(b) {
		return nil
	}
	e.AuthType, e.AuthLevel = b[at], b[at+1]
	return b[at+8:]
}

// rpcStub is the beginning of a request's body, nil when it is private.
func rpcStub(b []byte, size int, o binary.ByteOrder, e *RPC) []byte {
	if e.AuthLevel == rpcPrivacy {
		return nil
	}
	from, to := rpcHeader+8, size
	if b[3]&rpcObjectUUID != 0 {
		from += 16
	}
	if n := int(o.Uint16(b[10:])); n > 0 {
		to = size - n - 8
		if to >= 0 && to+2 < len(b) {
			to -= int(b[to+2]) // padding before the trailer
		}
	}
	return piece(b, from, min(to-from, maxStub))
}

// rpcBind reads a bind or alter context: one event for each interface that it
// names, since a context offered for several encodings is one thing.
func (m *pduAt) rpcBind(r *rpcConn, b []byte, o binary.ByteOrder, e RPC) {
	e.Kind = RPCBind
	if len(b) <= 24 {
		return
	}
	from, at := len(m.out.rpc), 28
	for n := int(b[24]); n > 0 && at+24 <= len(b); n-- {
		e.Interface = uuidText(b[at+4:at+20], o)
		r.bind(o.Uint16(b[at:]), e.Interface)
		at += 24 + 20*int(b[at+2])
		if again := m.out.rpc[from:]; len(again) < rpcMaxBind && !named(again, e.Interface) {
			m.out.rpc = append(m.out.rpc, e)
		}
	}
}

func named(list []RPC, uuid string) bool {
	for i := range list {
		if list[i].Interface == uuid {
			return true
		}
	}
	return false
}

// uuidText writes a UUID as C706 appendix A has it.
func uuidText(b []byte, o binary.ByteOrder) string {
	var raw [16]byte
	binary.BigEndian.PutUint32(raw[0:], o.Uint32(b[0:]))
	binary.BigEndian.PutUint16(raw[4:], o.Uint16(b[4:]))
	binary.BigEndian.PutUint16(raw[6:], o.Uint16(b[6:]))
	copy(raw[8:], b[8:16])
	var text [36]byte
	at := 0
	for i, n := range [...]int{4, 2, 2, 2, 6} {
		if i > 0 {
			text[at] = '-'
			at++
		}
		from := [...]int{0, 4, 6, 8, 10}[i]
		at += hex.Encode(text[at:], raw[from:from+n])
	}
	return string(text[:])
}

// rpcLogin reports who authenticates a conversation.
func (m *pduAt) rpcLogin(auth []byte) {
	if len(auth) > 0 {
		m.securityBlob("dcerpc", auth)
	}
}
