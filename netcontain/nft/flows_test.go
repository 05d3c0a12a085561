package nft

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// connect puts n made-up connections of a host into the gateway's conntrack,
// every other one of IPv6.
func (o *office) connect(t testing.TB, host, n int) {
	t.Helper()
	o.gw.Do(t, func() {
		for i := range n {
			from, to, family := ip4(host), netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), uint8(unix.AF_INET)
			if i%2 == 1 {
				from, to, family = ip6(host), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), unix.AF_INET6
			}
			there := netlink.IPTuple{SrcIP: from.AsSlice(), DstIP: to.AsSlice(), SrcPort: uint16(1024 + i), DstPort: 443, Protocol: unix.IPPROTO_UDP}
			back := netlink.IPTuple{SrcIP: to.AsSlice(), DstIP: from.AsSlice(), SrcPort: 443, DstPort: uint16(1024 + i), Protocol: unix.IPPROTO_UDP}
			err := netlink.ConntrackCreate(netlink.ConntrackTable, netlink.InetFamily(family), &netlink.ConntrackFlow{FamilyType: family, Forward: there, Reverse: back, TimeOut: 300})
			if err != nil {
				t.Errorf("make connection %d: %v", i, err)
				return
			}
		}
	})
}

// connections counts what the gateway's conntrack has of a host, by another
// reader than ours.
func (o *office) connections(t *testing.T, host int) (n int) {
	t.Helper()
	o.gw.Do(t, func() {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				t.Error(err)
			}
			for _, f := range flows {
				if from, _ := netip.AddrFromSlice(f.Forward.SrcIP); from.Unmap() == ip4(host) || from == ip6(host) {
					n++
				}
			}
		}
	})
	return n
}

func TestThousandsOfConnectionsOfBothFamiliesAreCutAndNoOther(t *testing.T) {
	o := newOffice(t)
	o.apply(t, netcontain.Policy{})
	o.connect(t, 1, 5000)
	o.connect(t, 2, 500)
	if a, b := o.connections(t, 1), o.connections(t, 2); a != 5000 || b != 500 {
		t.Fatalf("%d and %d connections were made", a, b)
	}
	o.apply(t, policyOf(held(1, netcontain.Isolate)))
	if a, b := o.connections(t, 1), o.connections(t, 2); a != 0 || b != 500 {
		t.Errorf("left: %d of the isolated host, %d of 500 of another", a, b)
	}
}

func TestAConnectionThatEndedMeanwhileIsNoErrorAndARefusalIs(t *testing.T) {
	o := newOffice(t)
	o.connect(t, 1, 1)
	var f flow
	n, err := o.enforcer.flows.delete(func(ends flowEnds) bool { return ends[0] == ip4(1) })
	if n != 1 || err != nil {
		t.Fatalf("%d deleted, error %v", n, err)
	}
	f.family, f.ends = unix.AF_INET, flowEnds{}
	f.keys[0] = []byte{52, 0, 1, 0x80, 20, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 11, 8, 0, 2, 0, 203, 0, 113, 0,
		28, 0, 2, 0x80, 5, 0, 1, 0, 17, 0, 0, 0, 6, 0, 2, 0, 4, 0, 0, 0, 6, 0, 3, 0, 1, 187, 0, 0}
	if n, err := o.enforcer.flows.send([][]byte{f.request(1)}); n != 0 || err != nil {
		t.Errorf("a connection that is gone: %d deleted, error %v", n, err)
	}
	f.keys[0][6] = 9 // no tuple any more
	if _, err := o.enforcer.flows.send([][]byte{f.request(2)}); err == nil {
		t.Error("the kernel's refusal was taken for success")
	}
}

// FuzzFlows: whatever the kernel's message holds, reading it ends, and asks for
// nothing that was not in it.
func FuzzFlows(f *testing.F) {
	tuple := []byte{24, 0, 1, 0x80, 20, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 11, 8, 0, 2, 0, 203, 0, 113, 0}
	message := append(header(nil, ctNew, 0, 1, unix.AF_INET), tuple...)
	message[0] = byte(len(message))
	f.Add(message)
	f.Add(header(nil, unix.NLMSG_DONE, 0, 1, 0))
	f.Add([]byte{255, 255, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		table := &flowTable{}
		requests, _, _ := table.choose(b, 1, func(e flowEnds) bool {
			if !e[0].IsValid() || !e[1].IsValid() {
				t.Error("a connection without ends")
			}
			return true
		})
		size := 0
		for _, r := range requests {
			size += len(r)
		}
		if size > 2*len(b)+64 {
			t.Errorf("requests of %d bytes for %d", size, len(b))
		}
	})
}
