package detect

import (
	"strings"

	"sekisho/firmware/flow"
)

type treeKey struct {
	conn, session uint64
	tree          uint32
}

type shareKind uint8

const (
	shareOther shareKind = iota + 1
	shareAdmin           // ADMIN$, C$ and other drives
	shareIPC
)

// writeAccess are the rights of MS-SMB2 2.2.13.1.1 that change content: write,
// append, generic write, generic all.
const writeAccess = 0x00000002 | 0x00000004 | 0x40000000 | 0x10000000

func (d *lateral) smb(e *flow.SMB) {
	if e.Version == 1 {
		d.exploits(e)
	}
	switch e.Op {
	case flow.SMBTree:
		if e.Response && e.Status == 0 && e.Path != "" {
			d.tree(e)
		}
		return
	case flow.SMBNegotiate:
		d.groom(e)
		return
	case flow.SMBSetup, flow.SMBPipe, flow.SMBTransaction:
		if !e.Response {
			if p := d.trader(&e.Meta, e.Client, e.Server, false); p != nil {
				p.touched = e.Time.UnixNano()
			}
		}
		return
	case flow.SMBOpen, flow.SMBRead, flow.SMBWrite:
	default:
		return
	}
	if e.Response || e.Path == "" {
		return
	}
	switch d.share(e) {
	case shareIPC:
		if e.Op == flow.SMBOpen && shellPipe(e.Path) {
			if p := d.trader(&e.Meta, e.Client, e.Server, false); p != nil && !sysadminPipe(e.Path) {
				p.kit = e.Time.UnixNano()
			}
			d.did(&e.Meta, e.Client, e.Server, false, actShellPipe)
		}
	case shareAdmin:
		d.adminFile(e)
	}
}

// tree remembers what kind of share a tree connect opened.
func (d *lateral) tree(e *flow.SMB) {
	kind := shareOther
	name := e.Path[strings.LastIndexByte(e.Path, '\\')+1:]
	switch {
	case strings.EqualFold(name, "ipc$"):
		kind = shareIPC
	case strings.EqualFold(name, "admin$"), len(name) == 2 && name[1] == '$' && name[0]|0x20 >= 'a' && name[0]|0x20 <= 'z':
		kind = shareAdmin
	}
	*d.trees.get(treeKey{e.ConnID, e.Session, e.Tree}) = kind
	if kind == shareAdmin {
		d.did(&e.Meta, e.Client, e.Server, true, actAdminShare)
		d.fan(&e.Meta, e.Client, e.Server, true, fanAdmin)
	}
}

// share tells the kind of share by its tree; where the tree connect was not
// seen, by paths that only the system drive has.
func (d *lateral) share(e *flow.SMB) shareKind {
	if k := d.trees.peek(treeKey{e.ConnID, e.Session, e.Tree}); k != nil {
		return *k
	}
	for _, p := range [...]string{`windows\`, `\windows\`, `programdata\`, `program files`, `system32\`} {
		if hasPrefixFold(e.Path, p) {
			return shareAdmin
		}
	}
	return shareOther
}

func (d *lateral) adminFile(e *flow.SMB) {
	a := actCount
	switch e.Op {
	case flow.SMBWrite:
		a = actAdminWrite
	case flow.SMBRead:
		a = actAdminRead
	case flow.SMBOpen:
		if e.Disposition != dispOpen && e.Access&writeAccess != 0 {
			a = actAdminWrite
		}
	}
	switch {
	case e.Op == flow.SMBOpen && secretFile(e.Path):
		a = actSecretFile
	case a == actAdminWrite && executable(e.Path):
		a = actAdminProgram
	}
	if a != actCount {
		d.did(&e.Meta, e.Client, e.Server, false, a)
	}
}

// secretFile knows the files in which Windows keeps passwords, wherever a copy
// or a shadow copy lies.
func secretFile(path string) bool {
	p := strings.ToLower(path)
	switch p[strings.LastIndexByte(p, '\\')+1:] {
	case "ntds.dit", "lsass.dmp":
		return true
	case "sam", "security":
		return strings.Contains(p, `\config\`)
	}
	return false
}

// executable says that Windows would run a file of this name.
func executable(path string) bool {
	dot := strings.LastIndexByte(path, '.')
	if dot < 0 || len(path)-dot > 6 {
		return false
	}
	switch strings.ToLower(path[dot+1:]) {
	case "exe", "dll", "sys", "com", "scr", "cpl", "ocx", "xll", "msi", "msc", "bat", "cmd", "ps1", "psm1", "vbs", "vbe", "js", "jse",
		"wsf", "wsh", "hta", "sct", "pif", "jar", "lnk":
		return true
	}
	return false
}

// shellPipe knows the pipes by which remote shells talk: PsExec and its
// copies (PAExec, RemCom, CSExec), and the defaults of beacons over SMB.
func shellPipe(path string) bool {
	name := strings.ToLower(strings.TrimLeft(path, `\`))
	for _, p := range [...]string{"psexe", "paexe", "remcom", "csexec", "msagent_", "postex_", "mse-", "msse-", "status_", "gruntsvc"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return strings.HasSuffix(name, "-stdin") || strings.HasSuffix(name, "-stdout") || strings.HasSuffix(name, "-stderr")
}

// sysadminPipe says that the pipe may be one of PsExec or PAExec, which
// administrators use too.
func sysadminPipe(path string) bool {
	name := strings.TrimLeft(path, `\`)
	return hasPrefixFold(name, "psexe") || hasPrefixFold(name, "paexe") || strings.HasSuffix(strings.ToLower(name), "-stdin") ||
		strings.HasSuffix(strings.ToLower(name), "-stdout") || strings.HasSuffix(strings.ToLower(name), "-stderr")
}
