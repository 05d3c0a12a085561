package flow

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func ldapMsg(id int, op []byte) []byte { return der(0x30, derInt(id), op) }

func octets(s string) []byte { return der(4, []byte(s)) }

func equals(attribute, value string) []byte { return der(0xa3, octets(attribute), octets(value)) }

func ldapSearchMsg(id int, base string, filter []byte, attributes ...string) []byte {
	var list []byte
	for _, a := range attributes {
		list = append(list, octets(a)...)
	}
	return ldapMsg(id, der(0x63, octets(base), der(10, []byte{2}), der(10, []byte{0}), derInt(0), derInt(0), der(1, []byte{0}),
		filter, der(0x30, list)))
}

func simpleBind(id int, name, password string) []byte {
	return ldapMsg(id, der(0x60, derInt(3), octets(name), der(0x80, []byte(password))))
}

func bindAnswer(id, code int) []byte {
	return ldapMsg(id, der(0x61, der(10, []byte{byte(code)}), octets(""), octets("")))
}

func ldapScript() []turn {
	admins := der(0xa0, equals("objectClass", "group"), equals("cn", "Domain Admins"))
	return []turn{
		{0, simpleBind(1, "cn=reader,dc=office,dc=lan", "secret")},
		{1, bindAnswer(1, 0)},
		{0, ldapSearchMsg(2, "dc=office,dc=lan", admins, "member", "adminCount")},
		{1, ldapMsg(2, der(0x64, octets("cn=x"), der(0x30, bytes.Repeat(octets("value"), 500))))},
		{1, ldapMsg(2, der(0x65, der(10, []byte{0}), octets(""), octets("")))},
		{0, ldapMsg(3, der(0x66, octets("cn=pc7,dc=office,dc=lan")))},
		{0, ldapMsg(4, der(0x77, der(0x80, []byte("1.3.6.1.4.1.1466.20037"))))},
		{0, ldapMsg(5, []byte{0x42, 0})},
	}
}

func TestLDAPSaysWhoSearchesForWhat(t *testing.T) {
	play(389, ldapScript()).want(t,
		`login ldap simple "" "cn=reader,dc=office,dc=lan" "" result=0 clear=true`,
		`ldap 0 "cn=reader,dc=office,dc=lan" scope=0  []`,
		`login ldap simple "" "cn=reader,dc=office,dc=lan" "" result=1 clear=true`,
		`ldap 3 "dc=office,dc=lan" scope=2 (&(objectClass=group)(cn=Domain Admins)) [member adminCount]`,
		`ldap 6 "cn=pc7,dc=office,dc=lan" scope=0  []`,
		`ldap 23 "1.3.6.1.4.1.1466.20037" scope=0  []`,
		`ldap 2 "" scope=0  []`)
}

func TestFiltersAreWrittenAsRFC4515HasThem(t *testing.T) {
	part := func(tag byte, s string) []byte { return der(tag, []byte(s)) }
	for want, filter := range map[string][]byte{
		"(cn=a)":               equals("cn", "a"),
		"(cn=*)":               part(0x87, "cn"),
		"(!(cn=a))":            der(0xa2, equals("cn", "a")),
		"(|(a=1)(&(b=2)))":     der(0xa1, equals("a", "1"), der(0xa0, equals("b", "2"))),
		"(n>=5)":               der(0xa5, octets("n"), octets("5")),
		"(n<=5)":               der(0xa6, octets("n"), octets("5")),
		"(n~=5)":               der(0xa8, octets("n"), octets("5")),
		"(cn=a*)":              der(0xa4, octets("cn"), der(0x30, part(0x80, "a"))),
		"(cn=*a*)":             der(0xa4, octets("cn"), der(0x30, part(0x81, "a"))),
		"(cn=*a)":              der(0xa4, octets("cn"), der(0x30, part(0x82, "a"))),
		"(cn=a*b*c*d)":         der(0xa4, octets("cn"), der(0x30, part(0x80, "a"), part(0x81, "b"), part(0x81, "c"), part(0x82, "d"))),
		`(cn=\28\2a\29\5c\00)`: equals("cn", "(*)\\\x00"),
		`(g=\f1\02é)`:          equals("g", "\xf1\x02é"),
		"(userAccountControl:1.2.840.113556.1.4.803:=8192)": der(0xa9, part(0x81, "1.2.840.113556.1.4.803"),
			part(0x82, "userAccountControl"), part(0x83, "8192")),
		"(cn:dn:=x)": der(0xa9, part(0x82, "cn"), part(0x83, "x"), der(0x84, []byte{0xff})),
	} {
		w := newWire(389)
		w.say(0, ldapSearchMsg(1, "", filter))
		w.want(t, `ldap 3 "" scope=2 `+want+" []")
	}
}

func TestDeepAndLongFiltersAreCut(t *testing.T) {
	deep := equals("a", "b")
	for range 100 {
		deep = der(0xa2, deep)
	}
	long := der(0xa0, bytes.Repeat(equals("attribute", "value"), 200))
	for name, filter := range map[string][]byte{"deep": deep, "long": long} {
		e := LDAP{}
		e.search(slices.Concat(octets(""), der(10, []byte{2}), der(10, []byte{0}), derInt(0), derInt(0), der(1, []byte{0}), filter))
		if len(e.Filter) > maxFilter || strings.Count(e.Filter, "!") > maxFilterDepth+1 || len(e.Filter) < 10 {
			t.Errorf("%s: %q", name, e.Filter)
		}
	}
}

func TestAFilterWithWhatIsNoElementEnds(t *testing.T) {
	for _, junk := range [][]byte{{4}, {4, 0x80}, {4, 0x85, 1}, {0x1f, 1, 1}, {4, 0xff}} {
		w := newWire(389)
		w.say(0, ldapSearchMsg(1, "", der(0xa0, equals("a", "b"), junk)))
		w.say(0, ldapSearchMsg(2, "", equals("c", "d")))
		if len(w.seen) != 2 || w.seen[1] != `ldap 3 "" scope=2 (c=d) []` {
			t.Errorf("% x: saw %q", junk, w.seen)
		}
	}
}

// TestLengthsAsActiveDirectoryWritesThem: four bytes where one would do.
func TestLengthsAsActiveDirectoryWritesThem(t *testing.T) {
	long := func(b []byte) []byte { // the same element with a long length
		return slices.Concat([]byte{b[0], 0x84, 0, 0, 0, b[1]}, b[2:])
	}
	filter := long(equals("cn", "a"))
	op := long(der(0x63, octets("dc=x"), der(10, []byte{0}), der(10, []byte{0}), derInt(0), derInt(0), der(1, []byte{0}), filter, long(der(0x30))))
	w := newWire(3268)
	w.say(0, long(der(0x30, derInt(1), op)))
	w.want(t, `ldap 3 "dc=x" scope=0 (cn=a) []`)
}

func TestLogInsOfLDAP(t *testing.T) {
	sasl := func(mechanism string, blob []byte) []byte {
		return ldapMsg(1, der(0x60, derInt(3), octets(""), der(0xa3, octets(mechanism), der(4, blob))))
	}
	for want, bind := range map[string][]byte{
		`ldap simple "" "" "" result=0 clear=false`:                  simpleBind(1, "", ""),
		`ldap ntlm "OFFICE" "tanaka" "PC7" result=0 clear=false`:     sasl("GSS-SPNEGO", ntlmType3("OFFICE", "tanaka", "PC7", 24)),
		`ldap kerberos "" "" "" result=0 clear=false`:                sasl("GSSAPI", kerberosAPReq),
		`ldap plain "" "bob" "" result=0 clear=true`:                 sasl("PLAIN", []byte("\x00bob\x00secret")),
		`ldap digest-md5 "" "bob" "" result=0 clear=false`:           sasl("DIGEST-MD5", []byte(`charset=utf-8,username="bob",realm="x"`)),
		`ldap ntlm "OFFICE" "tanaka" "PC7" result=0 clear=false    `: ldapMsg(1, der(0x60, derInt(3), octets(""), der(0x8b, ntlmType3("OFFICE", "tanaka", "PC7", 24)))),
	} {
		w := newWire(389)
		w.say(0, bind)
		if len(w.seen) == 0 || w.seen[0] != "login "+strings.TrimSpace(want) {
			t.Errorf("saw %q, want %s", w.seen, want)
		}
		for _, line := range w.seen {
			if strings.Contains(line, "secret") {
				t.Errorf("a password is in %q", line)
			}
		}
		w.seen = nil
		w.say(1, bindAnswer(1, ldapInProgress))
		w.say(1, bindAnswer(1, 49)) // invalidCredentials
		w.want(t, "login "+strings.Replace(strings.TrimSpace(want), "result=0", "result=2", 1))
	}
}

func TestASignedSearchIsReadAndASealedOneIsNot(t *testing.T) {
	search := ldapSearchMsg(2, "dc=x", equals("cn", "a"))
	kerberos := func(flags byte) []byte {
		return slices.Concat([]byte{5, 4, flags, 0xff, 0, 12, 0, 12}, make([]byte, 8+12), search)
	}
	w := newWire(389)
	w.say(0, simpleBind(1, "", ""))
	w.seen = nil
	w.say(0, overTCP(slices.Concat([]byte{1, 0, 0, 0}, make([]byte, 12), search)))
	w.say(0, overTCP(kerberos(4)))
	w.say(0, overTCP(kerberos(6)))
	w.say(0, overTCP(slices.Concat([]byte{1, 0, 0, 0}, noise(500))))
	w.want(t, `ldap 3 "dc=x" scope=2 (cn=a) []`, `ldap 3 "dc=x" scope=2 (cn=a) []`)
}

func TestConnectionlessLDAP(t *testing.T) {
	w := &wire{track: New(Config{})}
	w.datagram(0, 389, ldapSearchMsg(1, "", equals("DnsDomain", "office.lan"), "NetLogon"))
	w.datagram(1, 389, ldapMsg(1, der(0x64, octets(""), der(0x30))))
	w.datagram(0, 389, []byte("nonsense"))
	w.want(t, `ldap 3 "" scope=2 (DnsDomain=office.lan) [NetLogon] udp`, "malformed ldap: no LDAPMessage of RFC 4511")
}
