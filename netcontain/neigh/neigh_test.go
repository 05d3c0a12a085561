package neigh

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sekisho/netcontain"
	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// office is a gateway with a bridge and one host behind it.
func office(t *testing.T) (gateway, host *nstest.NS) {
	gateway, host = nstest.New(t), nstest.New(t)
	for _, c := range []string{
		"ip link add br0 address 02:00:00:00:00:01 type bridge", "ip addr add 192.0.2.1/24 dev br0", "ip link set br0 up",
		"ip link add lan1 type veth peer name eth0 address 02:00:00:00:00:10", "ip link set lan1 master br0 up",
	} {
		gateway.Run(t, c)
	}
	gateway.Do(t, func() {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			err = netlink.LinkSetNsFd(link, host.FD())
		}
		if err != nil {
			t.Error(err)
		}
	})
	host.Run(t, "ip addr add 192.0.2.10/24 dev eth0")
	host.Run(t, "ip link set eth0 up")
	return gateway, host
}

func TestWhatASpooferMadeOthersBelieveIsCorrected(t *testing.T) {
	gateway, host := office(t)
	host.Run(t, "ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:66 nud reachable dev eth0")
	gateway.Run(t, "ip neigh replace 192.0.2.10 lladdr 02:00:00:00:00:66 nud reachable dev br0")
	gateway.Run(t, "ip neigh replace 192.0.2.20 lladdr 02:00:00:00:00:20 nud reachable dev br0")
	gateway.Run(t, "ip neigh replace 192.0.2.30 lladdr 02:00:00:00:00:66 nud permanent dev br0")

	gateway.Do(t, func() {
		if err := Heal("br0", []netcontain.MAC{{2, 0, 0, 0, 0, 0x66}}); err != nil {
			t.Error(err)
		}
	})

	ours := gateway.Run(t, "ip neigh show dev br0")
	if strings.Contains(ours, "192.0.2.10 lladdr 02:00:00:00:00:66") {
		t.Errorf("the gateway still believes the spoofer:\n%s", ours)
	}
	for _, kept := range []string{"192.0.2.20 lladdr 02:00:00:00:00:20", "192.0.2.30 lladdr 02:00:00:00:00:66 PERMANENT"} {
		if !strings.Contains(ours, kept) {
			t.Errorf("%q is gone:\n%s", kept, ours)
		}
	}
	// The host's kernel mostly handles the broadcast before the call of Sendto
	// returns; on a busy machine it leaves it to a thread of its own.
	for end := time.Now().Add(10 * time.Second); ; {
		theirs := host.Run(t, "ip neigh show dev eth0")
		if strings.Contains(theirs, "192.0.2.1 lladdr 02:00:00:00:00:01") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the host still believes the spoofer:\n%s", theirs)
		}
	}
}

func TestOnlyTheGatewaysOwnAddressesAreAnnounced(t *testing.T) {
	own := netcontain.MAC{2, 0, 0, 0, 0, 1}
	f := announcement(own, netip.MustParseAddr("192.0.2.1"), 2)
	want := "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06" +
		"\x00\x01\x08\x00\x06\x04\x00\x02\x02\x00\x00\x00\x00\x01\xc0\x00\x02\x01\x02\x00\x00\x00\x00\x01\xc0\x00\x02\x01"
	if len(f) != 60 || string(f[:len(want)]) != want {
		t.Errorf("announcement = % x", f)
	}
}

func TestAMissingBridgeIsNamed(t *testing.T) {
	nstest.New(t).Do(t, func() {
		if err := Heal("br0", nil); err == nil || !strings.Contains(err.Error(), "br0") {
			t.Errorf("error = %v", err)
		}
	})
}
