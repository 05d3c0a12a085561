package flow

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// ntlmType3 is an AUTHENTICATE_MESSAGE in Unicode; response is how long its NT
// response is.
func ntlmType3(domain, user, workstation string, response int) []byte {
	b := make([]byte, 64)
	copy(b, ntlmSignature)
	b[8] = 3
	le.PutUint32(b[60:], 1)
	for _, f := range []struct {
		at   int
		data []byte
	}{
		{28, utf16Bytes(domain)}, {36, utf16Bytes(user)}, {44, utf16Bytes(workstation)}, {20, make([]byte, response)},
	} {
		le.PutUint16(b[f.at:], uint16(len(f.data)))
		le.PutUint16(b[f.at+2:], uint16(len(f.data)))
		le.PutUint32(b[f.at+4:], uint32(len(b)))
		b = append(b, f.data...)
	}
	return b
}

func TestNTLMNamesWhoLogsIn(t *testing.T) {
	raw := ntlmType3("OFFICE", "田中", "PC7", 24)
	spnego := slices.Concat([]byte{0xa1, 0x82, 1, 0, 0x30, 0x82, 0, 0xfc, 0xa2, 0x82, 0, 0xf8, 4, 0x82, 0, 0xf4}, raw)
	for name, b := range map[string][]byte{"raw": raw, "in SPNEGO": spnego} {
		if a, ok := readNTLM(b); !ok || a != (ntlmAuth{"田中", "OFFICE", "PC7", false}) {
			t.Errorf("%s: %+v, %v", name, a, ok)
		}
	}
	oem := ntlmType3("", "", "", 24)
	oem[60] = 0
	oem = append(oem, "bob"...)
	le.PutUint16(oem[36:], 3)
	le.PutUint32(oem[40:], uint32(len(oem)-3))
	if a, ok := readNTLM(oem); !ok || a.User != "bob" {
		t.Errorf("OEM name: %+v, %v", a, ok)
	}
}

func TestANullSessionIsAnonymousAndAGuestIsNot(t *testing.T) {
	if a, ok := readNTLM(ntlmType3("", "", "", 0)); !ok || !a.Anonymous {
		t.Errorf("null session: %+v, %v", a, ok)
	}
	if a, ok := readNTLM(ntlmType3("", "guest", "", 24)); !ok || a.Anonymous {
		t.Errorf("guest: %+v, %v", a, ok)
	}
}

func TestOtherMessagesOfNTLMNameNobody(t *testing.T) {
	for kind := byte(0); kind < 6; kind++ {
		b := ntlmType3("a", "b", "c", 24)
		b[8] = kind
		if _, ok := readNTLM(b); ok != (kind == 3) {
			t.Errorf("message %d: %v", kind, ok)
		}
	}
}

func TestHostileNTLMFieldsReadNothingOutside(t *testing.T) {
	b := ntlmType3("a", "b", "c", 24)
	for at := 12; at < 60; at += 8 {
		le.PutUint16(b[at:], 0xffff)
		le.PutUint32(b[at+4:], 0xfffffff0)
	}
	if a, ok := readNTLM(b); !ok || a.User != "" || a.Domain != "" {
		t.Errorf("%+v, %v", a, ok)
	}
	long := ntlmType3(strings.Repeat("d", 9000), strings.Repeat("u", 9000), "", 24)
	if a, _ := readNTLM(long); len(a.User) != maxLoginName || len(a.Domain) != maxLoginName {
		t.Errorf("names of %d and %d bytes, limit %d", len(a.User), len(a.Domain), maxLoginName)
	}
}

func TestAKerberosTicketInASessionSetUpIsALogIn(t *testing.T) {
	blob := slices.Concat([]byte{0x60, 0x80}, kerberosAPReq, bytes.Repeat([]byte{1}, 200))
	w := newWire(445)
	w.say(0, nbss(smb2SetupMsg(1, blob)))
	w.say(1, nbss(ok(smb2SessionSetup, 1)))
	w.want(t, "smb2 setup", `login smb kerberos "" "" "" result=0 clear=false`,
		"smb2 setup answer", `login smb kerberos "" "" "" result=1 clear=false`)
}

func FuzzNTLM(f *testing.F) {
	f.Add(ntlmType3("OFFICE", "tanaka", "PC7", 24))
	f.Add([]byte("NTLMSSP\x00\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, _ := readNTLM(b); len(a.User) > maxLoginName || len(a.Domain) > maxLoginName || len(a.Workstation) > maxLoginName {
			t.Fatalf("names of %d, %d, %d bytes", len(a.User), len(a.Domain), len(a.Workstation))
		}
	})
}
