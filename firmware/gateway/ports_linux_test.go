package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"sekisho/firmware/asset"
	"sekisho/firmware/config"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/netcontain/nstest"
)

// stubborn sends a host's attack whatever happens to its network card: a new one
// is used as soon as it is there. It counts what the card took.
func (o *office) stubborn(t *testing.T, host int) *atomic.Int64 {
	t.Helper()
	sent := &atomic.Int64{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.hosts[host].Do(t, func() {
			for n := 0; ctx.Err() == nil; {
				link, err := netlink.LinkByName("eth0")
				if err != nil {
					time.Sleep(time.Millisecond) // there is no card
					continue
				}
				fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Error(err)
					return
				}
				to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}
				for ctx.Err() == nil && !errors.Is(err, unix.ENXIO) {
					for _, f := range [][]byte{probeFrame(hostMAC(host), hostIP(host), n), outFrame(host)} {
						if err = unix.Sendto(fd, f, 0, to); err == nil {
							sent.Add(1)
						}
					}
					n++
					time.Sleep(2 * time.Millisecond) // the pace
				}
				unix.Close(fd)
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return sent
}

// unplug takes a port's network adapter away; the host's card is gone too.
func (o *office) unplug(t *testing.T, host int) {
	t.Helper()
	o.gw.Run(t, fmt.Sprintf("ip link del lan%d", host))
}

// replug plugs in a new adapter, which the bridge's owner takes in, but leaves
// down.
func (o *office) replug(t *testing.T, host int) {
	t.Helper()
	port := fmt.Sprintf("lan%d", host)
	o.plug(t, port, o.hosts[host], hostMAC(host))
	o.gw.Run(t, "ip link set "+port+" master br0")
	o.hosts[host].Run(t, fmt.Sprintf("ip addr add %s/24 dev eth0", hostIP(host)))
	o.hosts[host].Run(t, "ip route add default via 192.168.77.1")
}

func (o *office) up(t *testing.T, port string) bool {
	t.Helper()
	return strings.Contains(strings.SplitN(o.gw.Run(t, "ip link show "+port), ">", 2)[0]+",", ",UP,")
}

// device is what the page says of a MAC.
func (o *office) device(mac [6]byte) (found asset.Asset) {
	var all struct{ Devices []asset.Asset }
	if o.get("/api/devices", &all) != nil {
		return found
	}
	for _, d := range all.Devices {
		if d.MAC == flow.MAC(mac) {
			return d
		}
	}
	return found
}

// captured waits until the pipeline has seen a new device at the host's place.
func (o *office) captured(t *testing.T, host int, mac [6]byte) {
	t.Helper()
	at := time.Now()
	await(t, "a device that is new behind a port that came back", func() bool {
		o.send(t, host, probeFrame(mac, netip.AddrFrom4([4]byte{192, 168, 77, 200 + byte(host)}), 1))
		return o.device(mac).Port == fmt.Sprintf("lan%d", host)
	})
	t.Logf("its frames were seen %v after the port was up", time.Since(at).Round(time.Millisecond))
}

func TestAPortThatIsUnpluggedAndBackIsWatchedAndHeldAsBefore(t *testing.T) {
	o := newOffice(t)
	o.hold(t)
	neighbour, internet := o.witness(t, 3), o.witness(t, 0)
	sent := o.stubborn(t, 1)
	await(t, "an attack", func() bool { return sent.Load() > 100 })
	outBefore, inBefore := internet.count(1), neighbour.count(1)
	for _, host := range []int{1, 2} {
		o.unplug(t, host)
		await(t, "the page to say that a port is gone", func() bool { return o.warned(t, "ports") })
		before := sent.Load()
		at := time.Now()
		o.replug(t, host)
		await(t, "the port to be raised", func() bool { return o.up(t, fmt.Sprintf("lan%d", host)) })
		t.Logf("lan%d raised %v after it was plugged in", host, time.Since(at).Round(time.Millisecond))
		await(t, "the page to say that all is well", func() bool { return !o.warned(t, "ports") })
		o.captured(t, host, [6]byte{2, 0, 0, 0, 9, byte(host)})
		await(t, "the attack to go on", func() bool { return sent.Load() > before+100 })
		o.silent(t, neighbour, 4, 1)
	}
	if a, b := neighbour.count(1)-inBefore, internet.count(1)-outBefore; a+b != 0 {
		t.Errorf("%d frames of the isolated host reached a neighbour, %d the internet", a, b)
	}
	talk(t, o.hosts[2], o.hosts[3], hostIP(3)) // the office works on
	o.freed(t, neighbour)
}

func TestAnAdapterThatIsMissingAtTheStartKeepsNobodyElseOff(t *testing.T) {
	o := newOffice(t)
	o.unplug(t, 4)
	o.hold(t) // isolates and proves, with what is there
	await(t, "the page to say that a port is missing", func() bool { return o.warned(t, "ports") })
	talk(t, o.hosts[2], o.hosts[3], hostIP(3))
	o.gw.Do(t, func() {
		if c := SettingsChecks(o.config); c[0].Err == nil {
			t.Error("the self-test misses nothing")
		}
	})
	o.replug(t, 4)
	await(t, "the port to be raised", func() bool { return o.up(t, "lan4") })
	await(t, "the page to say that all is well", func() bool { return !o.warned(t, "ports") })
	o.captured(t, 4, [6]byte{2, 0, 0, 0, 9, 4})
	latecomer := o.witness(t, 4)
	stop := o.attack(t, 1)
	defer stop()
	o.silent(t, latecomer, 2, 1)
	begun := time.Now()
	o.awaitIncident(t, 1, "proven with the port that came", func(i incident.Incident) bool {
		return proven(i) && i.Proof.At.After(begun) && strings.Contains(i.Proof.Text.EN, fmt.Sprintf("the %d other LAN port(s)", hosts-1))
	})
}

func TestABridgeThatIsRebuiltHoldsAndWatchesAsBefore(t *testing.T) {
	o := newOffice(t)
	o.hold(t)
	neighbour, internet := o.witness(t, 3), o.witness(t, 0)
	sent := o.stubborn(t, 1)
	await(t, "an attack", func() bool { return sent.Load() > 100 })
	outBefore, inBefore := internet.count(1), neighbour.count(1)

	o.gw.Run(t, "ip link del br0")
	await(t, "the ports to be held down", func() bool { return !o.up(t, "lan1") && !o.up(t, "lan3") })
	o.gw.Run(t, "ip link add br0 address "+gatewayMAC+" type bridge mcast_snooping 0 forward_delay 0")
	o.gw.Run(t, "ip addr add 192.168.77.1/24 dev br0")
	o.gw.Run(t, "ip link set br0 up")
	before := sent.Load()
	for i := 1; i <= hosts; i++ {
		o.gw.Run(t, fmt.Sprintf("ip link set lan%d master br0", i))
	}
	for i := 1; i <= hosts; i++ {
		await(t, "the ports to be raised", func() bool { return o.up(t, fmt.Sprintf("lan%d", i)) })
	}
	await(t, "the attack to go on", func() bool { return sent.Load() > before+100 })
	o.silent(t, neighbour, 2, 1)
	if a, b := neighbour.count(1)-inBefore, internet.count(1)-outBefore; a+b != 0 {
		t.Errorf("%d frames of the isolated host reached a neighbour, %d the internet", a, b)
	}
	o.captured(t, 4, [6]byte{2, 0, 0, 0, 9, 4})
	talk(t, o.hosts[2], o.hosts[3], hostIP(3))
	talk(t, o.hosts[4], o.inet, outside)
	await(t, "the page to say that all is well", func() bool { return !o.warned(t, "ports") && !o.warned(t, "containment") })
	o.freed(t, neighbour)
}

// helped says whether an isolated host gets the help page by a name: it asks the
// gateway's DNS, and goes where that sends it.
func (o *office) helped(t *testing.T, host int) bool {
	t.Helper()
	var page []byte
	var err error
	o.hosts[host].Do(t, func() { // all of it on this thread: it alone is in the namespace
		var name net.Conn
		if name, err = net.DialTimeout("udp", "192.168.77.1:53", time.Second); err != nil {
			return
		}
		defer name.Close()
		name.SetDeadline(time.Now().Add(300 * time.Millisecond)) //nolint:errcheck
		ask, _ := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName("www.example.com."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}}}).Pack()
		name.Write(ask) //nolint:errcheck
		answer := make([]byte, 512)
		var n int
		if n, err = name.Read(answer); err != nil {
			return
		}
		var m dnsmessage.Message
		if err = m.Unpack(answer[:n]); err != nil || len(m.Answers) != 1 {
			return
		}
		to, _ := m.Answers[0].Body.(*dnsmessage.AResource)
		var web net.Conn
		if web, err = net.DialTimeout("tcp", netip.AddrPortFrom(netip.AddrFrom4(to.A), 80).String(), time.Second); err != nil {
			return
		}
		defer web.Close()
		web.SetDeadline(time.Now().Add(time.Second))                                  //nolint:errcheck
		fmt.Fprintf(web, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", netip.AddrFrom4(to.A)) //nolint:errcheck
		page, err = io.ReadAll(web)
	})
	return err == nil && bytes.Contains(page, []byte("isolated"))
}

func TestABridgeThatIsRebuiltWithAnotherMACHelpsAndProvesAsBefore(t *testing.T) {
	o := newOffice(t)
	o.hold(t)
	i, _ := o.incidentOf(1)
	neighbour := o.witness(t, 3)
	await(t, "the help page", func() bool { return o.helped(t, 1) })

	o.gw.Run(t, "ip link del br0")
	await(t, "the ports to be held down", func() bool { return !o.up(t, "lan1") && !o.up(t, "lan3") })
	mac := [6]byte{2, 0, 0, 0, 0, 0xfd}
	o.gw.Run(t, "ip link add br0 address "+net.HardwareAddr(mac[:]).String()+" type bridge mcast_snooping 0 forward_delay 0")
	o.gw.Run(t, "ip link set br0 up")
	for i := 1; i <= hosts; i++ {
		o.gw.Run(t, fmt.Sprintf("ip link set lan%d master br0", i))
	}
	await(t, "the ports to be raised", func() bool { return o.up(t, "lan1") && o.up(t, "lan3") })
	at := time.Now()
	o.gw.Run(t, "ip addr add 192.168.77.1/24 dev br0") // as networkd does, after the bridge
	o.hosts[1].Run(t, "ip neigh flush dev eth0")
	await(t, "the help page on the new bridge", func() bool { return o.helped(t, 1) })
	t.Logf("helped again %v after the bridge had its address", time.Since(at).Round(time.Millisecond))
	o.silent(t, neighbour, 2, 1)
	o.awaitIncident(t, 1, "proven anew", func(now incident.Incident) bool { return now.ID == i.ID && proven(now) && now.Proof.At.After(at) })
	await(t, "the new address to be known as the gateway's own", func() bool { return o.device(mac).Gateway })
}

// portsBench is a namespace with a bridge and ports in it, for ports without a
// gateway around.
type portsBench struct {
	ns      *nstest.NS
	forced  atomic.Int64
	refuse  atomic.Bool // the policy cannot be put in force
	retaps  atomic.Int64
	reports atomic.Value // string
	own     []flow.MAC   // what the inventory is told
	p       *ports
}

func newPort(name string) string { return "add " + name + " type veth peer name to-" + name }

func newPortsBench(t *testing.T, hold bool, wifi ...string) *portsBench {
	t.Helper()
	b := &portsBench{ns: nstest.New(t)}
	for _, c := range []string{"add br0 type bridge", newPort("lan1"), newPort("lan2"), newPort("wan0"), "add br1 type bridge",
		"set lan1 master br0 up", "set lan2 master br0 up", "set br0 up"} {
		b.ns.Run(t, "ip link "+c)
	}
	b.ns.Run(t, "ip addr add 192.168.77.1/24 dev br0")
	var err error
	b.ns.Do(t, func() {
		var n *Network
		n, err = Inspect(config.Network{Bridge: "br0", WAN: "wan0", Ports: []string{"lan1", "lan2"}, WiFi: wifi})
		b.p = &ports{
			net: n, hold: hold, log: slog.New(slog.DiscardHandler),
			retap: func() error { b.retaps.Add(1); return nil },
			own:   func(m flow.MAC) { b.own = append(b.own, m) },
			force: func(context.Context) error {
				if b.refuse.Load() {
					return errors.New("no nftables")
				}
				b.forced.Add(1)
				return nil
			},
			report: func(err error) { b.reports.Store(fmt.Sprint(err)) },
		}
		err = errors.Join(err, b.p.begin())
	})
	if err != nil {
		t.Fatal(err)
	}
	b.look(t)
	return b
}

func (b *portsBench) look(t *testing.T) {
	t.Helper()
	b.ns.Do(t, func() {
		if err := b.p.look(t.Context()); err != nil {
			b.p.report(err)
		}
	})
}

func (b *portsBench) says(t *testing.T, what string) {
	t.Helper()
	if got := b.reports.Load(); !strings.Contains(got.(string), what) {
		t.Errorf("reported %q, want %q", got, what)
	}
}

func (b *portsBench) up(t *testing.T, port string) bool {
	t.Helper()
	var up bool
	b.ns.Do(t, func() {
		i, err := net.InterfaceByName(port)
		if err != nil {
			t.Error(err)
			return
		}
		up = i.Flags&net.FlagUp != 0
	})
	return up
}

func TestAPortThatDidNotMoveIsLeftAlone(t *testing.T) {
	b := newPortsBench(t, true)
	b.says(t, "<nil>")
	if b.forced.Load() != 0 || b.retaps.Load() != 1 {
		t.Errorf("forced %d times, tapped %d times", b.forced.Load(), b.retaps.Load())
	}
	b.ns.Run(t, "ip link set lan1 down") // by an operator, or to have a host renew its lease
	b.look(t)
	if b.up(t, "lan1") || b.forced.Load() != 0 || b.retaps.Load() != 1 {
		t.Error("a port that somebody took down was raised")
	}
}

func TestAPortIsRaisedOnlyBehindThePolicy(t *testing.T) {
	b := newPortsBench(t, true)
	b.ns.Run(t, "ip link del lan1")
	b.look(t)
	b.says(t, "lan1")
	b.ns.Run(t, "ip link "+newPort("lan1"))
	b.look(t)
	b.says(t, "lan1") // not in the bridge yet
	b.refuse.Store(true)
	b.ns.Run(t, "ip link set lan1 master br0")
	b.look(t)
	b.says(t, "no nftables")
	if b.up(t, "lan1") {
		t.Error("raised without the policy in force")
	}
	b.refuse.Store(false)
	b.look(t)
	b.says(t, "<nil>")
	if !b.up(t, "lan1") || b.forced.Load() != 1 || b.retaps.Load() != 3 {
		t.Errorf("up %t, forced %d times, tapped %d times", b.up(t, "lan1"), b.forced.Load(), b.retaps.Load())
	}
}

func TestAPortThatCannotBeRaisedKeepsNoOtherDown(t *testing.T) {
	b := newPortsBench(t, true)
	for _, port := range []string{"lan1", "lan2"} {
		b.ns.Run(t, "ip link set "+port+" down")
	}
	b.ns.Do(t, func() {
		now, err := b.p.interfaces()
		if err != nil {
			t.Error(err)
			return
		}
		gone := *now["lan1"]
		gone.Index = 1 << 20 // pulled at this moment
		now["lan1"] = &gone
		if err := b.p.place(t.Context(), now, []string{"lan1", "lan2"}); err == nil || !strings.Contains(err.Error(), "lan1") {
			t.Errorf("error %v", err)
		}
	})
	if !b.up(t, "lan2") {
		t.Error("lan2 is down because of lan1")
	}
}

func TestAtTheStartAPortThatCannotBeRaisedIsTriedAgain(t *testing.T) {
	b := newPortsBench(t, true)
	b.ns.Run(t, "ip link set lan2 down")
	b.ns.Run(t, "ip link del lan1") // after Inspect
	b.ns.Do(t, func() {
		if err := b.p.net.Raise(); err != nil {
			t.Error(err)
		}
	})
	if said := fmt.Sprint(b.p.net.incomplete()); !b.up(t, "lan2") || !strings.Contains(said, "raise port lan1") || strings.Contains(said, "lan2") {
		t.Errorf("lan2 up %t, missing: %s", b.up(t, "lan2"), said)
	}
	b.ns.Run(t, "ip link "+newPort("lan1"))
	b.ns.Run(t, "ip link set lan1 master br0")
	b.ns.Run(t, "ip link set lan2 down")
	b.p.net.missing["lan2"] = errors.New("its driver did not answer") // but it is where it was
	b.ns.Do(t, func() {
		if err := b.p.begin(); err != nil {
			t.Error(err)
		}
	})
	b.look(t)
	if !b.up(t, "lan1") || !b.up(t, "lan2") {
		t.Errorf("lan1 up %t, lan2 up %t", b.up(t, "lan1"), b.up(t, "lan2"))
	}
	clear(b.p.net.missing)
	for _, port := range []string{"lan1", "lan2"} {
		b.ns.Run(t, "ip link del "+port)
	}
	b.ns.Do(t, func() {
		if err := b.p.net.Raise(); err == nil {
			t.Error("no port is up, and all is well")
		}
	})
}

func TestAPortIsHeldDownOnlyWhileItIsInNoBridge(t *testing.T) {
	for _, hold := range []bool{true, false} {
		b := newPortsBench(t, hold)
		b.ns.Run(t, "ip link set lan2 master br1") // somebody wants it elsewhere
		b.ns.Run(t, "ip link set lan1 nomaster")
		b.look(t)
		b.says(t, "lan1, lan2")
		if b.up(t, "lan1") == hold || !b.up(t, "lan2") {
			t.Errorf("hold %t: lan1 up %t, lan2 up %t", hold, b.up(t, "lan1"), b.up(t, "lan2"))
		}
		b.ns.Run(t, "ip link set lan1 up")
		b.look(t)
		if !b.up(t, "lan1") {
			t.Error("taken down again and again, against somebody who wants it up")
		}
	}
}

// hostapd takes its interface into the bridge and raises it, later than this
// program starts and again whenever it starts anew.
func TestAPortOfHostapdIsLeftToIt(t *testing.T) {
	b := newPortsBench(t, true, "lan2")
	b.ns.Run(t, "ip link set lan2 nomaster")
	b.look(t)
	b.says(t, "<nil>")
	if !b.up(t, "lan2") {
		t.Error("an access point was taken down")
	}
	b.ns.Do(t, func() {
		n, err := Inspect(config.Network{Bridge: "br0", WAN: "wan0", Ports: []string{"lan1", "lan2"}, WiFi: []string{"lan2"}})
		if err != nil {
			t.Fatalf("an access point that is still off: %v", err)
		}
		b.p.net = n
	})
	b.ns.Run(t, "ip link set lan2 down")
	b.ns.Do(t, func() {
		if err := b.p.net.Raise(); err != nil {
			t.Error(err)
		}
	})
	b.ns.Run(t, "ip link set lan2 master br0")
	b.look(t)
	if b.up(t, "lan2") || b.forced.Load() != 1 {
		t.Errorf("raised in hostapd's place %t, policy put in force %d times", b.up(t, "lan2"), b.forced.Load())
	}
}

func TestAPortKeepsItsNameUnderEveryIndex(t *testing.T) {
	b := newPortsBench(t, true)
	index := func() (i int) {
		b.ns.Do(t, func() {
			link, err := net.InterfaceByName("lan1")
			if err != nil {
				t.Error(err)
				return
			}
			i = link.Index
		})
		return i
	}
	before := index()
	b.ns.Run(t, "ip link del lan1")
	b.ns.Run(t, "ip link "+newPort("lan1"))
	b.look(t)
	if now := index(); b.p.net.PortName(uint32(now)) != "lan1" || b.p.net.PortName(uint32(before)) != "lan1" || now == before {
		t.Errorf("index %d is %q, %d was %q", now, b.p.net.PortName(uint32(now)), before, b.p.net.PortName(uint32(before)))
	}
}

func TestAPortThatComesLaterIsRaisedAndIsTheGatewaysOwn(t *testing.T) {
	b := newPortsBench(t, true)
	b.ns.Run(t, "ip link del lan1")
	var n *Network
	var err error
	b.ns.Do(t, func() {
		if n, err = Inspect(config.Network{Bridge: "br0", WAN: "wan0", Ports: []string{"lan1", "lan2"}}); err == nil {
			b.p.net = n
			err = errors.Join(b.p.begin(), n.Raise())
		}
	})
	if err != nil || len(n.missing) != 1 || n.missing["lan1"] == nil {
		t.Fatalf("missing %v: %v", n.missing, err)
	}
	b.look(t)
	b.says(t, "lan1")
	b.own = nil
	turn := n.turns.Load()
	b.ns.Run(t, "ip link add lan1 address 02:00:00:00:0b:01 type veth peer name to-lan1")
	b.ns.Run(t, "ip link set lan1 master br0")
	b.look(t)
	b.says(t, "<nil>")
	if !b.up(t, "lan1") || !slices.Contains(b.own, flow.MAC{2, 0, 0, 0, 11, 1}) || n.turns.Load() == turn {
		t.Errorf("up %t, own addresses %v", b.up(t, "lan1"), b.own)
	}
}

func named(mac flow.MAC, addrs ...netip.Addr) voice { return voice{mac, addrs} }

func TestTheBridgesNamesAreAskedForAgainButNotAllTheTime(t *testing.T) {
	b := newPortsBench(t, false)
	now := time.Now()
	voice := func() (v voice) {
		b.ns.Do(t, func() { v = b.p.net.Voice(now) })
		return v
	}
	first := voice()
	if first.MAC != b.p.net.BridgeMAC || !slices.Contains(first.Addrs, netip.MustParseAddr("192.168.77.1")) {
		t.Errorf("%v", first)
	}
	b.ns.Run(t, "ip link del br0")
	now = now.Add(voiceFor)
	if got := voice(); !got.equal(first) {
		t.Errorf("without a bridge %v", got)
	}
	b.ns.Run(t, "ip link add br0 address 02:00:00:00:0b:02 type bridge")
	b.ns.Run(t, "ip addr add 192.168.77.2/24 dev br0")
	b.ns.Run(t, "ip addr add 192.168.77.66/32 dev br0 label br0:dcy") // a decoy's
	if got := voice(); !got.equal(first) {
		t.Errorf("asked again at once: %v", got)
	}
	x, y := first.Addrs[0], netip.MustParseAddr("192.168.77.9")
	as := func(addrs ...netip.Addr) bool { return first.equal(named(first.MAC, addrs...)) }
	first.Addrs = []netip.Addr{x, y}
	if !as(y, x) || as(x) || as(x, x) {
		t.Error("the kernel's order of addresses is no change, another address is")
	}
	now = now.Add(voiceFor)
	if got := voice(); got.MAC != (flow.MAC{2, 0, 0, 0, 11, 2}) || !slices.Equal(got.Addrs, []netip.Addr{netip.MustParseAddr("192.168.77.2")}) {
		t.Errorf("%v", got)
	}
}

func TestIndexesOfPortsAreBounded(t *testing.T) {
	n := &Network{}
	if n.PortName(1) != "" {
		t.Error("a name without a port")
	}
	for i := range uint32(maxNames + 10) {
		n.learn(i+1, "lan1")
	}
	if got := len(*n.names.Load()); got != maxNames || n.PortName(10) != "" || n.PortName(maxNames+10) != "lan1" {
		t.Errorf("%d names", got)
	}
}

// The subscription itself: a process of its own would be needed for the kernel's
// thread, so that Run's start is made inside the namespace and stays there.
func TestEventsLeadToALook(t *testing.T) {
	b := newPortsBench(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go b.ns.Do(t, func() { done <- b.p.Run(ctx) })
	b.ns.Run(t, "ip link del lan1")
	await(t, "the loss to be told", func() bool { return strings.Contains(fmt.Sprint(b.reports.Load()), "lan1") })
	b.ns.Run(t, "ip link "+newPort("lan1"))
	b.ns.Run(t, "ip link set lan1 master br0")
	await(t, "the port to be raised", func() bool { return b.up(t, "lan1") })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
