package wifi

import (
	"maps"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sekisho/netcontain"
)

var someAddr = netip.MustParseAddr("192.0.2.1")

// model is one MAC on hostapd's two lists.
type model struct{ deny, accept list }

func (m *model) run(commands []string) {
	for _, c := range commands {
		words := strings.Fields(c)
		l := map[string]list{"DENY_ACL": m.deny, "ACCEPT_ACL": m.accept}[words[0]]
		if words[1] == "DEL_MAC" {
			delete(l.vlan, mac(1))
			continue
		}
		parsed, err := parseList(words[2] + " " + append(words, "VLAN_ID=0")[3] + "\n")
		if err != nil {
			panic(err)
		}
		if !l.has(mac(1)) {
			maps.Copy(l.vlan, parsed.vlan)
		}
	}
}

func (m *model) refuses() bool { return m.deny.has(mac(1)) && !m.accept.has(mac(1)) }

func entry(t *rapid.T, name string) list {
	l := list{vlan: map[netcontain.MAC]int{}}
	if rapid.Bool().Draw(t, name) {
		l.vlan[mac(1)] = rapid.IntRange(0, 4094).Draw(t, name+" VLAN")
	}
	return l
}

// Whatever the owner's lists say, a held MAC is refused and a released one is
// as it was, also when the program dies anywhere in between and starts again.
func TestHoldAndReleaseRestoreEveryOwnersList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := model{deny: entry(t, "deny"), accept: entry(t, "accept")}
		before := model{deny: list{vlan: maps.Clone(m.deny.vlan)}, accept: list{vlan: maps.Clone(m.accept.vlan)}}
		onBoth := m.deny.has(mac(1)) && m.accept.has(mac(1)) // rewritten in two commands, see Limits
		hold := func() []string { return holdCommands(mac(1), m.deny, m.accept) }
		release := func() []string {
			vlan, on := m.deny.vlan[mac(1)]
			if !on || !isOurs(vlan) {
				return nil
			}
			return releaseCommands(mac(1), vlan, m.accept)
		}
		dies := func(commands []string) []string {
			if onBoth {
				return nil
			}
			return commands[:rapid.IntRange(0, len(commands)).Draw(t, "dies after")]
		}
		m.run(dies(hold()))
		if rapid.Bool().Draw(t, "held at all") {
			m.run(hold())
			if !m.refuses() {
				t.Fatalf("it gets in: %+v", m)
			}
			if again := hold(); len(again) != 0 {
				t.Fatalf("held already, and yet %q", again)
			}
		}
		m.run(dies(release()))
		m.run(release())
		if !maps.Equal(m.deny.vlan, before.deny.vlan) || !maps.Equal(m.accept.vlan, before.accept.vlan) {
			t.Fatalf("left %+v, before %+v", m, before)
		}
	})
}

func TestAnEntryThatTheOwnerAcceptsLaterIsHeldAndAcceptedAfterwards(t *testing.T) {
	m := model{deny: list{vlan: map[netcontain.MAC]int{}}, accept: list{vlan: map[netcontain.MAC]int{}}}
	m.run(holdCommands(mac(1), m.deny, m.accept))
	m.accept.vlan[mac(1)] = 7
	m.run(holdCommands(mac(1), m.deny, m.accept))
	if !m.refuses() {
		t.Errorf("it gets in: %+v", m)
	}
	m.run(releaseCommands(mac(1), m.deny.vlan[mac(1)], m.accept))
	if m.deny.has(mac(1)) || m.accept.vlan[mac(1)] != 7 {
		t.Errorf("left %+v", m)
	}
}

func TestNoVLANOfAnOwnerIsTakenForOurs(t *testing.T) {
	for vlan := range 4096 {
		if isOurs(vlan) {
			t.Errorf("VLAN %d", vlan)
		}
	}
	for _, vlan := range []int{-1, int(ours) | 7, int(ours | denied), int(accepted), int(ours) | 1<<12, int(ours) | 1<<29, 1 << 30} {
		if isOurs(vlan) {
			t.Errorf("%d is no mark", vlan)
		}
	}
	for _, m := range []mark{ours, ours | accepted, ours | accepted | 4095, ours | accepted | denied | 12 | 34<<deniedShift} {
		if !isOurs(int(m)) {
			t.Errorf("%d is a mark", m)
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"", "FAIL\n", "02:00:00:00:00:01 VLAN_ID=0\n", "02:00:00:00:00:01 VLAN_ID=16384\n02:00:00:00:00:02 VLAN_ID=-1\n",
		"02:00:00:00:00:01 VLAN_ID=99999999999\n", "02-00-00-00-00-01 VLAN_ID=1\n", "02:00:00:00:00:01:02:03 VLAN_ID=1\n", "\n", "02:00:00:00:00:01\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		l, err := parseList(reply)
		if err != nil {
			return
		}
		for m, vlan := range l.vlan {
			if !strings.Contains(strings.ToLower(strings.ReplaceAll(reply, "-", ":")), m.String()) {
				t.Errorf("%s was not there", m)
			}
			if isOurs(vlan) {
				_ = releaseCommands(m, vlan, l)
			}
			_ = holdCommands(m, l, l)
		}
	})
}

func FuzzParseStation(f *testing.F) {
	f.Add("02:00:00:00:00:01\nflags=[AUTH][ASSOC][AUTHORIZED]\naid=1\nkeyid=desk\n")
	f.Add("FAIL\n")
	f.Add("02:00:00:00:00:01\nflags=\n")
	f.Fuzz(func(t *testing.T, answer string) {
		s, on, ok := parseStation(answer)
		if !ok && (on || s != Station{}) || len(s.KeyID) > maxKeyID {
			t.Errorf("%+v, %v, %v", s, on, ok)
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add("<3>AP-STA-CONNECTED 02:00:00:00:00:01 keyid=desk")
	f.Add("<3>AP-STA-DISCONNECTED 02:00:00:00:00:01")
	f.Add("<3>CTRL-EVENT-TERMINATING ")
	f.Add("<3>AP-ENABLED ")
	f.Add("PONG\n")
	f.Add("<3>")
	f.Fuzz(func(t *testing.T, text string) {
		e, ended := parseEvent(text)
		if ended && e != (Event{}) || len(e.KeyID) > maxKeyID || e.AP != "" {
			t.Errorf("%+v, %v", e, ended)
		}
	})
}
