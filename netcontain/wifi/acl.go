package wifi

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"

	"sekisho/netcontain"
)

// mark is what the VLAN of an entry of ours says; see the package comment. Five
// digits, because a listing holds 4096 bytes.
//
//	bits 0-11   VLAN of the owner's entry in the accept list, when accepted
//	bits 12-13  zero
//	bit  14     it is ours
//	bit  15     accepted: the owner's accept list had it
//	bit  16     denied: the owner's deny list had it (and the accept list, which wins)
//	bits 17-28  VLAN of that entry
type mark int

const (
	ours     mark = 1 << 14
	accepted mark = 1 << 15
	denied   mark = 1 << 16

	vlanBits      = 0xfff
	deniedShift   = 17
	everyMarkBits = vlanBits | ours | accepted | denied | vlanBits<<deniedShift
)

// isOurs says whether an entry of the deny list is one of this package's.
func isOurs(vlan int) bool {
	m := mark(vlan)
	switch {
	case m&ours == 0 || m&^everyMarkBits != 0:
		return false
	case m&accepted == 0 && m != ours: // what was not there had no VLAN
		return false
	}
	return m&denied != 0 || m>>deniedShift == 0
}

// list is one of hostapd's lists of MACs, as far as it was shown.
type list struct {
	vlan map[netcontain.MAC]int
	cut  bool           // longer than a reply
	last netcontain.MAC // the last one shown
}

func (l list) has(m netcontain.MAC) bool {
	_, ok := l.vlan[m]
	return ok
}

// hidden says that m may stand in the part that was not shown. hostapd sorts
// its lists.
func (l list) hidden(m netcontain.MAC) bool {
	return l.cut && bytes.Compare(m[:], l.last[:]) > 0
}

// hostapd's reply holds 4096 bytes (ctrl_iface.c), and it leaves out the line
// that would not fit: one with less than longestLine of room left may be cut.
const (
	replyBytes  = 4096
	longestLine = len("02:00:00:00:00:01 VLAN_ID=-2147483648\n")
)

// parseList reads the answer to `DENY_ACL SHOW` or `ACCEPT_ACL SHOW`:
// "02:00:00:00:00:01 VLAN_ID=0" in each line.
func parseList(reply string) (list, error) {
	l := list{vlan: map[netcontain.MAC]int{}, cut: len(reply) > replyBytes-longestLine}
	for line := range strings.Lines(reply) {
		address, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		number, named := strings.CutPrefix(rest, "VLAN_ID=")
		m, ok := parseMAC(address)
		vlan, err := strconv.ParseInt(number, 10, 32)
		if !ok || !named || err != nil {
			return list{}, fmt.Errorf("%.40q is no entry of a list", line)
		}
		l.vlan[m], l.last = int(vlan), m
	}
	return l, nil
}

func parseMAC(s string) (m netcontain.MAC, ok bool) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(s) != len("02:00:00:00:00:01") || len(hw) != len(m) {
		return m, false
	}
	return netcontain.MAC(hw), true
}

// holdCommands returns what makes hostapd refuse m, nothing when it does. The
// entry of ours comes before the owner's accepting one goes: at no moment is
// what has to be put back written nowhere.
func holdCommands(m netcontain.MAC, deny, accept list) []string {
	was, isDenied := deny.vlan[m]
	acceptVLAN, isAccepted := accept.vlan[m]
	if !isAccepted {
		out := hiddenAccept(m, accept)
		if !isDenied {
			out = append([]string{command("DENY_ACL ADD_MAC", m, int(ours))}, out...)
		}
		return out
	}
	now := ours | accepted | mark(acceptVLAN&vlanBits)
	var out []string
	switch {
	case isDenied && isOurs(was): // the owner accepted it since
		now |= mark(was) & (denied | vlanBits<<deniedShift)
		out = append(out, command("DENY_ACL DEL_MAC", m, 0))
	case isDenied:
		now |= denied | mark(was&vlanBits)<<deniedShift
		out = append(out, command("DENY_ACL DEL_MAC", m, 0))
	}
	return append(out, command("DENY_ACL ADD_MAC", m, int(now)), command("ACCEPT_ACL DEL_MAC", m, 0))
}

// hiddenAccept takes m off a list that is too long to be shown. It cannot be
// known whether it was there, so it cannot be put back (see Limits).
func hiddenAccept(m netcontain.MAC, accept list) []string {
	if !accept.hidden(m) {
		return nil
	}
	return []string{command("ACCEPT_ACL DEL_MAC", m, 0)}
}

// releaseCommands undoes what the entry of ours with that VLAN says was done.
func releaseCommands(m netcontain.MAC, vlan int, accept list) []string {
	was := mark(vlan)
	var out []string
	if was&accepted != 0 && !accept.has(m) {
		out = append(out, command("ACCEPT_ACL ADD_MAC", m, int(was&vlanBits)))
	}
	out = append(out, command("DENY_ACL DEL_MAC", m, 0))
	if was&denied != 0 {
		out = append(out, command("DENY_ACL ADD_MAC", m, int(was>>deniedShift&vlanBits)))
	}
	return out
}

func command(verb string, m netcontain.MAC, vlan int) string {
	if vlan == 0 {
		return verb + " " + m.String()
	}
	return fmt.Sprintf("%s %s VLAN_ID=%d", verb, m, vlan)
}
