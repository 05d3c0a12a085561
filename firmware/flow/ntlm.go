package flow

import "bytes"

// maxLoginName bounds the names in a Login.
const maxLoginName = 128

// ntlmAuth is what an AUTHENTICATE_MESSAGE says in the clear.
type ntlmAuth struct {
	User, Domain, Workstation string
	Anonymous                 bool // no user and no response: a null session
}

var ntlmSignature = []byte("NTLMSSP\x00")

// readNTLM finds an NTLM AUTHENTICATE_MESSAGE (MS-NLMP section 2.2.1.3) in
// what authenticates a request: raw, or inside SPNEGO (RFC 4178), which always
// carries it as one octet string. The other two messages of an exchange name
// no user.
func readNTLM(b []byte) (a ntlmAuth, ok bool) {
	i := bytes.Index(b, ntlmSignature)
	if i < 0 {
		return a, false
	}
	if b = b[i:]; le32(b, 8) != 3 || len(b) < 64 {
		return a, false
	}
	unicode := le32(b, 60)&1 != 0 // NTLMSSP_NEGOTIATE_UNICODE
	text := func(field int) string {
		v := piece(b, int(le32(b, field+4)), int(le16(b, field)))
		if unicode {
			return utf16Text(v, maxLoginName)
		}
		return oemText(v, maxLoginName)
	}
	a.Domain, a.User, a.Workstation = text(28), text(36), text(44)
	a.Anonymous = le16(b, 36) == 0 && le16(b, 20) == 0
	return a, true
}

// kerberosAPReq is the object id of Kerberos (RFC 4121 section 4.1) with the
// TOK_ID of an AP-REQ behind it.
var kerberosAPReq = []byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2, 1, 0}

// kerberosTicket says that a security blob holds a Kerberos AP-REQ (RFC 4121
// section 4.1), inside SPNEGO or bare.
func kerberosTicket(b []byte) bool {
	return bytes.Contains(b, kerberosAPReq)
}

// securityBlob reads what authenticates a session. It returns nil where the
// blob is only a step on the way and names nobody.
func (m *pduAt) securityBlob(service string, b []byte) *Login {
	if a, ok := readNTLM(b); ok {
		return m.login(Login{Service: service, Mechanism: "ntlm", User: a.User, Domain: a.Domain, Workstation: a.Workstation})
	}
	if kerberosTicket(b) {
		return m.login(Login{Service: service, Mechanism: "kerberos"})
	}
	return nil
}

// login reports an attempt and returns a copy to complete with its result.
func (m *pduAt) login(e Login) *Login {
	m.out.login = append(m.out.login, e)
	return &e
}
