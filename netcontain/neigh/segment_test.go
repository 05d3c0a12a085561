package neigh

import (
	"net/netip"
	"os/exec"
	"testing"
)

func output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput() // the exit code says less than the text
	return string(out)
}

// everybody is what the inventory knows of the switch.
func everybody() []Neighbour {
	return []Neighbour{onSwitch(1), onSwitch(2), onSwitch(3), {MAC: hostMAC(4), Port: "p2", Addrs: []netip.Addr{host4(4), host6(4)}}}
}

// begun is how many datagrams, one each millisecond, may arrive after Apply has
// returned: none was seen here; a busy machine may have some under way.
const begun = 50

func TestNeighboursOnASwitchMissTheInfectedHostAndFindItAgain(t *testing.T) {
	o := newSegmentOffice(t, everybody()...)
	for name, to := range map[string]netip.Addr{"IPv4": host4(2), "IPv6": host6(2), "link-local": netip.MustParseAddr("fe80::ff:fe00:2%eth0")} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t, o.hosts[1], to)
			at := newTap(t, o.hosts[2], "eth0")
			s.send(100)
			if n := len(numbers(at.frames(false))); n < 90 {
				t.Fatalf("before: %d of 100 datagrams arrived", n)
			}
			o.apply(t, infected())
			first := s.send(1500) // longer than a repetition after the locktime
			got := numbers(at.frames(false))
			if len(got) > 0 && got[len(got)-1] >= first+begun {
				t.Errorf("%d datagrams arrived after Apply, the last was number %d", len(got), got[len(got)-1]-first)
			}
			t.Logf("leaked after Apply: %d of 1500", len(got))
			o.apply(t)
			eventually(t, "the released host reaches its neighbour", func() bool {
				s.send(10)
				return len(numbers(at.frames(false))) > 0
			})
		})
	}
}
