package vlan

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawMembership draws one that a kernel can have.
func drawMembership(t *rapid.T) membership {
	ids := rapid.SliceOfNDistinct(rapid.Uint16Range(1, maxVLAN), 0, 12, rapid.ID[uint16]).Draw(t, "vlans")
	cut := rapid.IntRange(0, len(ids)).Draw(t, "untagged")
	m := membership{untagged: slices.Clone(ids[:cut]), tagged: slices.Clone(ids[cut:])}
	slices.Sort(m.untagged)
	slices.Sort(m.tagged)
	if len(ids) > 0 && rapid.Bool().Draw(t, "pvid") {
		m.pvid = ids[0]
	}
	return m
}

func TestANoteComesBackFromItsAlias(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := note{
			vlan: rapid.Uint16Range(1, maxVLAN).Draw(t, "vlan"), was: drawMembership(t), isolated: rapid.Bool().Draw(t, "isolated"),
			down: rapid.Bool().Draw(t, "down"), host: string(rapid.SliceOfN(rapid.Byte(), 1, 30).Draw(t, "host")),
		}
		owner := rapid.OneOf(rapid.Just(""), rapid.StringN(0, 30, 40), rapid.Just("sekisho"), rapid.Just("the sekisho box "), rapid.Just("sekisho no=note")).Draw(t, "owner")
		alias, err := n.join(owner)
		if err != nil {
			t.Fatal(err)
		}
		gotOwner, got := parseNote(alias)
		if gotOwner != owner || got.host != n.host || !got.was.equal(n.was) || got.vlan != n.vlan || got.down != n.down || got.isolated != n.isolated {
			t.Fatalf("%q: owner %q, note %+v", alias, gotOwner, got)
		}
	})
}

func TestNotesAsTheyAreWritten(t *testing.T) {
	access := note{vlan: 99, was: alone(10), host: "inc-7"}
	for _, c := range []struct {
		owner string
		n     note
		want  string
	}{
		{"desk 4", access, "desk 4 sekisho vlan=99 pvid=10 untagged=10 host=inc-7"},
		{"", note{vlan: 99, was: membership{tagged: []uint16{20, 21, 22, 30}, untagged: []uint16{10}}, isolated: true, down: true, host: "a b%"},
			"sekisho vlan=99 pvid=0 untagged=10 tagged=20-22,30 isolated down host=a%20b%25"},
		{"desk 4", note{down: true}, "desk 4 sekisho down"},
		{"desk 4", note{}, "desk 4"},
	} {
		if got, err := c.n.join(c.owner); err != nil || got != c.want {
			t.Errorf("%q, %v, want %q", got, err, c.want)
		}
	}
	if _, err := access.join(strings.Repeat("x", maxAlias-20)); !errors.Is(err, errTooLong) {
		t.Errorf("an alias without room: %v", err)
	}
	d := deviceNote{self: true, address: netip.MustParsePrefix("10.9.9.1/24")}
	if got, err := d.join("mine"); err != nil || got != "mine sekisho self address=10.9.9.1/24" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhatIsNotExactlyANoteIsTheOwners(t *testing.T) {
	for _, alias := range []string{
		"", "sekisho", "sekisho ", "printer", "sekisho host=x", "sekisho vlan=99 host=x", "sekisho vlan=99 pvid=10 untagged=10", "sekisho down isolated",
		"sekisho vlan=0 pvid=10 untagged=10 host=x", "sekisho vlan=4095 pvid=10 untagged=10 host=x", "sekisho vlan=99 vlan=98 pvid=10 untagged=10 host=x",
		"sekisho vlan=99 pvid=11 untagged=10 host=x", "sekisho vlan=99 pvid=10 untagged=10 tagged=10 host=x", "sekisho vlan=99 pvid=10 untagged=10-4094000 host=x",
		"sekisho vlan=99 pvid=10 untagged=20-10 host=x", "sekisho vlan=99 pvid=10 untagged=10,10 host=x", "sekisho vlan=99 pvid=10 untagged=10 host=%",
		"sekisho vlan=99 pvid=10 untagged=10 host=%7", "sekisho vlan=99 pvid=10 untagged=10 host=%zz", "sekisho vlan=99 pvid=10 untagged=10 host=%41",
		"sekisho vlan=99 pvid=10 untagged=10 host=" + strings.Repeat("x", 101), "sekisho vlan=99  pvid=10 untagged=10 host=x", "sekisho vlan=99 pvid=10 untagged=10 host=x ",
		"xsekisho down", "sekisho down=1", "sekisho vlan=99 pvid=010 untagged=10 host=x",
	} {
		if owner, n := parseNote(alias); owner != alias || !n.zero() {
			t.Errorf("%q: owner %q, note %+v", alias, owner, n)
		}
	}
	for _, alias := range []string{"sekisho self self", "sekisho address=x", "sekisho self down", "self"} {
		if owner, n := parseDeviceNote(alias); owner != alias || n != (deviceNote{}) {
			t.Errorf("%q: owner %q, note %+v", alias, owner, n)
		}
	}
}

// FuzzAlias: an alias is what anybody with root on the gateway wrote there.
func FuzzAlias(f *testing.F) {
	for _, s := range []string{"", "desk 4 sekisho vlan=99 pvid=10 untagged=10 host=inc-7", "sekisho vlan=1 pvid=0 tagged=1-4094 isolated down host=%00",
		"a sekisho down", "sekisho self address=fd00::1/64", "sekisho sekisho down"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, alias string) {
		if owner, n := parseNote(alias); !n.zero() {
			again, err := n.join(owner)
			if err != nil && len(alias) <= maxAlias {
				t.Fatalf("%q: %v", alias, err)
			}
			if o, m := parseNote(again); err == nil && (o != owner || !reflect.DeepEqual(m, n)) {
				t.Fatalf("%q is %+v, and then %q is %+v", alias, n, again, m)
			}
			if !n.was.sound() || len(n.was.all()) > maxVLAN || len(n.host) > 100 {
				t.Fatalf("%q: %+v", alias, n)
			}
		}
		parseDeviceNote(alias)
	})
}
