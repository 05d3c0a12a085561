package detect

import (
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// ticketing is what one client asks the domain for.
type ticketing struct {
	rc4       [roastMany]uint64 // services with RC4 tickets, hashed
	services  int
	firstRC4  time.Time
	user      uint64 // of the last AS-REQ without pre-authentication that offers RC4 first
	kinds     int    // kinds of revealing searches
	kind      [recCount]bool
	firstKind time.Time
}

const (
	etypeRC4 = 23 // rc4-hmac, RFC 4757
	// Windows uses AES since 2008 (MS-KILE 3.1.5.2); a program asks for the one
	// old service that it needs, a tool for each account that it found. Five in
	// a minute is more than an office has left.
	roastMany   = 5
	roastWindow = time.Minute
)

func (d *lateral) kerberos(e *flow.Kerberos) {
	switch e.Type {
	case 10:
		d.asRequest(e)
	case 11:
		d.dcs.get(e.Server.Addr())
		if t := d.kerb.peek(e.Client.Addr()); t != nil && t.user != 0 && t.user == splitPath(e.User).hash {
			t.user = 0
			d.did(&e.Meta, e.Client, e.Server, true, actNoPreAuth)
		}
	case 13:
		d.dcs.get(e.Server.Addr())
		d.ticket(e)
	case 30:
		d.dcs.get(e.Server.Addr())
	}
}

// asRequest recognises log-ins that offer RC4 alone. Every Kerberos of the last
// fifteen years offers AES when it has the password; who has the NT hash only
// cannot (overpass-the-hash). The same without pre-authentication is a try for
// an account that does not need it (AS-REP roasting).
func (d *lateral) asRequest(e *flow.Kerberos) {
	if len(e.ETypes) == 0 || e.ETypes[0] != etypeRC4 {
		return
	}
	for _, t := range e.ETypes {
		if t != etypeRC4 {
			return
		}
	}
	if e.PreAuth {
		d.did(&e.Meta, e.Client, e.Server, false, actRC4Login)
		return
	}
	d.kerb.get(e.Client.Addr()).user = splitPath(e.User).hash
}

// ticket counts services whose tickets a client was given with RC4: those can
// be cracked at home (Medin, "Attacking Kerberos", DerbyCon 2014).
func (d *lateral) ticket(e *flow.Kerberos) {
	if e.EType != etypeRC4 || machineService(e.Service) {
		return
	}
	t := d.kerb.get(e.Client.Addr())
	if e.Time.Sub(t.firstRC4) > roastWindow {
		t.firstRC4, t.services = e.Time, 0
	}
	h := splitPath(e.Service).hash
	for _, s := range t.rc4[:t.services] {
		if s == h {
			return
		}
	}
	if t.services == roastMany {
		return
	}
	t.rc4[t.services] = h
	if t.services++; t.services == roastMany {
		d.did(&e.Meta, e.Client, e.Server, true, actRoast)
	}
}

// machineService says that a service runs under the computer's own account,
// whose random password nobody cracks.
func machineService(name string) bool {
	class, _, _ := strings.Cut(name, "/")
	switch strings.ToLower(class) {
	case "krbtgt", "host", "cifs", "ldap", "gc", "dns", "rpcss", "rpc", "termsrv", "wsman", "restrictedkrbhost", "protectedstorage", "kadmin":
		return true
	}
	return strings.HasSuffix(name, "$")
}

// Kinds of searches that reveal whom to attack.
const (
	recPrivileged = iota // members of administrators' groups
	recServices          // accounts with a service name
	recNoPreAuth
	recDelegation
	recPasswords // LAPS, group policy passwords
	recEverybody // all users or all computers
	recRights    // security descriptors
	recCount
)

// reconMany kinds of searches within tradeTime are a survey (BloodHound,
// PowerView): administrators look for one thing.
const reconMany = 3

// revealing are the words of searches, from the LDAP filters of PowerView,
// SharpHound and AdFind; attribute names of MS-ADA and bits of MS-ADTS 2.2.16.
var revealing = [...]struct {
	word string
	kind int
}{
	{"admincount=1", recPrivileged}, {"domain admins", recPrivileged}, {"enterprise admins", recPrivileged},
	{"cn=administrators", recPrivileged}, {"-512)", recPrivileged}, {"-519)", recPrivileged},
	{"serviceprincipalname=*", recServices},
	{"803:=4194304", recNoPreAuth},
	{"803:=524288", recDelegation}, {"803:=16777216", recDelegation}, {"msds-allowedtodelegateto", recDelegation},
	{"ms-mcs-admpwd", recPasswords}, {"mslaps-password", recPasswords}, {"msds-groupmsamembership", recPasswords},
	{"samaccounttype=805306368", recEverybody}, {"samaccounttype=805306369", recEverybody},
	{"ntsecuritydescriptor", recRights},
}

func (d *lateral) ldap(e *flow.LDAP) {
	if e.Op != 3 || e.Connectionless || e.Scope == 0 && e.Base == "" { // a search, not of the server's own entry
		return
	}
	kind := -1
	text := strings.ToLower(e.Filter)
	for _, r := range revealing {
		if strings.Contains(text, r.word) {
			kind = r.kind
			break
		}
	}
	for _, a := range e.Attributes {
		for _, r := range revealing {
			if kind < 0 && strings.EqualFold(a, r.word) {
				kind = r.kind
			}
		}
	}
	if kind < 0 && hasPrefixFold(e.Base, "cn=domain admins") {
		kind = recPrivileged
	}
	if kind < 0 {
		return
	}
	t := d.kerb.get(e.Client.Addr())
	if e.Time.Sub(t.firstKind) > tradeTime {
		t.firstKind, t.kind, t.kinds = e.Time, [recCount]bool{}, 0
	}
	if !t.kind[kind] {
		t.kind[kind] = true
		t.kinds++
	}
	if t.kinds >= reconMany {
		d.did(&e.Meta, e.Client, e.Server, false, actDirectoryMany)
		return
	}
	d.did(&e.Meta, e.Client, e.Server, false, actDirectory)
}
