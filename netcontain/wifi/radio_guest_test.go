//go:build guest

package wifi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
	"sekisho/netcontain/nstest"
)

// air is an office on the air: an access point on a bridge, a wired host on
// another port, and two stations, each in a namespace of its own.
type air struct {
	t       *testing.T
	folder  string // settings and control sockets
	denies  string // Config.DenyFolder
	hostapd *process
	a, b    *station
	wire    *nstest.NS
}

// process is a daemon with what it said.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) said(words string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.out.String(), words)
}

// start runs a program in the namespace, nil for the guest's own.
func start(t *testing.T, ns *nstest.NS, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	var err error
	if ns == nil {
		err = p.cmd.Start()
	} else {
		ns.Do(t, func() { err = p.cmd.Start() })
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			said := p.out.String()
			t.Logf("%s said:\n%s", name, said[max(0, len(said)-2500):])
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// station is a wpa_supplicant with a radio.
type station struct {
	ns      *nstest.NS
	device  string
	mac     netcontain.MAC
	program *process
}

// addRadio makes the third: the module comes with two.
func addRadio(t *testing.T) {
	t.Helper()
	family, err := netlink.GenlFamilyGet("MAC80211_HWSIM")
	if err != nil {
		t.Fatal(err)
	}
	const newRadio = 4 // HWSIM_CMD_NEW_RADIO, drivers/net/wireless/virtual/mac80211_hwsim.h
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: newRadio, Version: 1})
	_, err = req.Execute(unix.NETLINK_GENERIC, 0) // the number of the radio, which looks like an error
	if _, there := net.InterfaceByName("wlan2"); there != nil {
		t.Fatalf("make a radio: %v, %v", err, there)
	}
}

// prepareRadios sees to it that there are three.
func prepareRadios(t *testing.T) {
	t.Helper()
	if _, err := net.InterfaceByName("wlan2"); err != nil {
		addRadio(t)
	}
	for _, name := range []string{"wlan0", "wlan1", "wlan2"} {
		if _, err := net.InterfaceByName(name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// newAir sets it all up, and waits until both stations are connected. The
// owner accepts only the MACs of accept, everybody when that is nil.
func newAir(t *testing.T, accept []string) *air {
	t.Helper()
	prepareRadios(t)
	o := &air{t: t, folder: t.TempDir(), denies: t.TempDir(), wire: nstest.New(t)}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, netlink.LinkAdd(bridge))
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	must(t, netlink.LinkSetUp(bridge))
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan1"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(o.wire.FD())}
	must(t, netlink.LinkAdd(cable))
	t.Cleanup(func() { _ = netlink.LinkDel(cable) })
	must(t, netlink.LinkSetMaster(cable, bridge))
	must(t, netlink.LinkSetUp(cable))
	o.wire.Do(t, func() { raise(t, "eth0") })
	settings := ""
	if accept != nil {
		o.write("accept", strings.Join(accept, "\n")+"\n")
		settings = "macaddr_acl=1\naccept_mac_file=" + filepath.Join(o.folder, "accept") + "\n"
	}
	o.write("hostapd.conf", settings+`interface=wlan0
bridge=br0
driver=nl80211
ctrl_interface=`+o.folder+`/run
ssid=office
hw_mode=g
channel=1
wpa=2
wpa_key_mgmt=WPA-PSK
rsn_pairwise=CCMP
wpa_passphrase=not a secret
wpa_strict_rekey=1
deny_mac_file=`+o.denies+`/wlan0.deny
`)
	o.write("station.conf", "network={\n ssid=\"office\"\n psk=\"not a secret\"\n scan_freq=2412\n}\n")
	must(t, o.enforcer().Apply(t.Context(), netcontain.Policy{})) // at boot: the deny file is there
	o.startAP()
	o.a, o.b = o.station("wlan1"), o.station("wlan2")
	o.connected(o.a, o.a.mac)
	o.connected(o.b, o.b.mac)
	return o
}

func (o *air) write(name, text string) {
	o.t.Helper()
	must(o.t, os.WriteFile(filepath.Join(o.folder, name), []byte(text), 0o600))
}

func (o *air) startAP() {
	o.t.Helper()
	o.hostapd = start(o.t, nil, "hostapd", filepath.Join(o.folder, "hostapd.conf"))
	until(o.t, "the access point is up", func() bool { return o.hostapd.said("AP-ENABLED") > 0 })
}

func (o *air) config() Config {
	return Config{Folder: filepath.Join(o.folder, "run"), Interfaces: []string{"wlan0"}, Log: quiet, DenyFolder: o.denies}
}

func (o *air) enforcer() patient {
	o.t.Helper()
	e, err := New(o.config())
	must(o.t, err)
	return patient{e}
}

// station moves a radio into a namespace and starts wpa_supplicant there.
func (o *air) station(device string) *station {
	t := o.t
	t.Helper()
	s := &station{ns: nstest.New(t), device: device}
	home, err := netns.Get() // of this thread: that of the process may be in a namespace for good
	must(t, err)
	moveRadio(t, device, s.ns.FD())
	t.Cleanup(func() { // for the next test; a namespace may outlive its test
		s.ns.Do(t, func() { moveRadio(t, device, int(home)) })
		home.Close()
	})
	s.ns.Do(t, func() { s.mac = netcontain.MAC(raise(t, device).HardwareAddr) })
	s.startProgram(t, o)
	return s
}

// moveRadio is `iw phy set netns`; a wireless device moves with its radio only.
func moveRadio(t *testing.T, device string, namespace int) {
	t.Helper()
	link, err := netlink.LinkByName(device)
	must(t, err)
	family, err := netlink.GenlFamilyGet("nl80211")
	must(t, err)
	const setWiphyNetns, attrIfindex, attrNetnsFD = 49, 3, 219 // linux/nl80211.h
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: setWiphyNetns, Version: 1})
	req.AddData(nl.NewRtAttr(attrIfindex, nl.Uint32Attr(uint32(link.Attrs().Index))))
	req.AddData(nl.NewRtAttr(attrNetnsFD, nl.Uint32Attr(uint32(namespace))))
	_, err = req.Execute(unix.NETLINK_GENERIC, 0)
	must(t, err)
}

func (s *station) startProgram(t *testing.T, o *air) {
	t.Helper()
	s.program = start(t, s.ns, "wpa_supplicant", "-i", s.device, "-D", "nl80211", "-c", filepath.Join(o.folder, "station.conf"))
}

func (o *air) connected(s *station, m netcontain.MAC) {
	o.t.Helper()
	e := o.enforcer()
	until(o.t, fmt.Sprintf("%s is connected as %s", s.device, m), func() bool {
		on, err := e.Stations(o.t.Context())
		if err != nil {
			return false
		}
		for _, have := range on {
			if have.MAC == m && o.hostapd.said("AP-STA-CONNECTED "+m.String()) > 0 {
				return true
			}
		}
		return false
	})
}

func raise(t *testing.T, name string) *netlink.LinkAttrs {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(link))
	return link.Attrs()
}

var magic = []byte("sekisho leak ")

// flood sends numbered frames of several kinds from the station, whatever
// becomes of its link.
type flood struct{ sent atomic.Uint32 }

func (o *air) flood(s *station, to ...netcontain.MAC) *flood {
	t, f := o.t, &flood{}
	t.Helper()
	to = append(to, netcontain.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, netcontain.MAC{0x33, 0x33, 0, 0, 0, 1})
	fd, index := packetSocket(t, s.ns, s.device)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := uint32(1); ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			var own netcontain.MAC
			if mac, err := os.ReadFile(filepath.Join(o.folder, "mac")); err == nil {
				own, _ = parseMAC(string(mac))
			} else {
				own = s.mac
			}
			frame := bytes.Join([][]byte{to[int(n)%len(to)][:], own[:], {0x88, 0xb5}, magic, binary.BigEndian.AppendUint32(nil, n), make([]byte, 40)}, nil)
			f.sent.Store(n)
			_ = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}) // the link may be down
		}
	})
	t.Cleanup(func() {
		close(stop)
		wg.Wait()
		_ = unix.Close(fd)
	})
	return f
}

func packetSocket(t *testing.T, ns *nstest.NS, device string) (fd, index int) {
	t.Helper()
	ns.Do(t, func() {
		link, err := netlink.LinkByName(device)
		must(t, err)
		index = link.Attrs().Index
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index})) // ETH_P_ALL
		must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}))
	})
	return fd, index
}

// counter counts the flood's frames that come in, and how many of them were
// sent after a moment.
type counter struct {
	all    atomic.Uint32
	after  atomic.Uint32 // frames with a higher number are leaks
	leaked atomic.Uint32
}

func (o *air) count(ns *nstest.NS, device string) *counter {
	t, c := o.t, &counter{}
	t.Helper()
	c.after.Store(^uint32(0))
	fd, _ := packetSocket(t, ns, device)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil || from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if at := bytes.Index(buf[:n], magic); at >= 0 && at+len(magic)+4 <= n {
				c.all.Add(1)
				if binary.BigEndian.Uint32(buf[at+len(magic):]) > c.after.Load() {
					c.leaked.Add(1)
				}
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		wg.Wait()
		_ = unix.Close(fd)
	})
	return c
}

func isolatedOnAir(macs ...netcontain.MAC) netcontain.Policy {
	return netcontain.Policy{Hosts: []netcontain.Host{{ID: "laptop", MACs: macs, Level: netcontain.Isolate, By: []netcontain.Mechanism{netcontain.ByWiFi}}}}
}

// patient asks again, as the reconciler does: an emulated hostapd may once be
// too slow to answer.
type patient struct{ *Enforcer }

func (p patient) Apply(ctx context.Context, want netcontain.Policy) (err error) {
	p.again(ctx, func() error { err = p.Enforcer.Apply(ctx, want); return err })
	return err
}

func (p patient) Observed(ctx context.Context) (got netcontain.Policy, err error) {
	p.again(ctx, func() error { got, err = p.Enforcer.Observed(ctx); return err })
	return got, err
}

func (patient) again(ctx context.Context, do func() error) {
	for range 10 {
		var u *unreachableError
		if err := do(); ctx.Err() != nil || !errors.As(err, &u) || !u.hung {
			return
		}
		time.Sleep(leaveAlone / 4)
	}
}

func mustHold(t *testing.T, e netcontain.Enforcer, p netcontain.Policy) {
	t.Helper()
	for range 2 {
		must(t, e.Apply(t.Context(), p))
		got, err := e.Observed(t.Context())
		if d := netcontain.Diff(p, got); err != nil || !d.Empty() {
			t.Fatalf("drift %s, error %v", d, err)
		}
	}
}

// TestRadioIsolationOnTheAir is the whole life of an isolation, with the frames
// of the device counted at another station and on the wire all the time.
func TestRadioIsolationOnTheAir(t *testing.T) {
	o := newAir(t, nil)
	w, err := NewWatcher(o.config())
	must(t, err)
	go func() { _ = w.Run(t.Context()) }()
	wired := func() (m netcontain.MAC) {
		o.wire.Do(t, func() { m = netcontain.MAC(raise(t, "eth0").HardwareAddr) })
		return m
	}()
	f := o.flood(o.a, o.b.mac, wired)
	onAir, onWire := o.count(o.b.ns, o.b.device), o.count(o.wire, "eth0")
	until(t, "frames of the free station arrive", func() bool { return onAir.all.Load() > 20 && onWire.all.Load() > 20 })

	e := o.enforcer()
	mustHold(t, e, isolatedOnAir(o.a.mac))
	from := f.sent.Load()
	onAir.after.Store(from)
	onWire.after.Store(from)
	refused := o.a.program.said("CTRL-EVENT-AUTH-REJECT")
	until(t, "it was refused twice", func() bool { return o.a.program.said("CTRL-EVENT-AUTH-REJECT") >= refused+2 })
	until(t, "it tried to send", func() bool { return f.sent.Load() > from+500 })
	t.Logf("isolated: %d frames sent, leaked at the other station %d, on the wire %d (before: %d, %d)",
		f.sent.Load()-from, onAir.leaked.Load(), onWire.leaked.Load(), onAir.all.Load(), onWire.all.Load())
	if onAir.leaked.Load()+onWire.leaked.Load() != 0 {
		t.Error("frames of the isolated station arrived")
	}
	if on, err := e.Stations(t.Context()); err != nil || len(on) != 1 || on[0].MAC != o.b.mac {
		t.Errorf("stations %v, %v: the other one has to stay", on, err)
	}

	// hostapd is killed and starts again: it refuses before anybody tells it.
	o.hostapd.kill()
	o.startAP()
	o.connected(o.b, o.b.mac)
	refused = o.a.program.said("CTRL-EVENT-AUTH-REJECT")
	until(t, "it was refused by the new hostapd", func() bool { return o.a.program.said("CTRL-EVENT-AUTH-REJECT") > refused })
	if o.hostapd.said("AP-STA-CONNECTED "+o.a.mac.String()) != 0 || onAir.leaked.Load()+onWire.leaked.Load() != 0 {
		t.Error("the isolated station got in through a restart of hostapd")
	}

	// It comes back under another MAC: that is heard, and it is held by both.
	drain(w)
	other := netcontain.MAC{0x52, 0x54, 0, 0xab, 0xcd, 1}
	o.changeMAC(o.a, other)
	until(t, "the new MAC was heard", func() bool { return heard(w, other) })
	mustHold(t, e, isolatedOnAir(o.a.mac, other))
	from = f.sent.Load()
	onAir.after.Store(from)
	onWire.after.Store(from)
	onAir.leaked.Store(0)
	onWire.leaked.Store(0)
	refused = o.a.program.said("CTRL-EVENT-AUTH-REJECT")
	until(t, "the new MAC was refused", func() bool { return o.a.program.said("CTRL-EVENT-AUTH-REJECT") > refused+1 })
	if onAir.leaked.Load()+onWire.leaked.Load() != 0 {
		t.Errorf("leaked under the new MAC: %d, %d", onAir.leaked.Load(), onWire.leaked.Load())
	}

	// The way back, by a program that was started anew.
	before, at := onWire.all.Load(), time.Now()
	mustHold(t, o.enforcer(), netcontain.Policy{})
	until(t, "it is connected again", func() bool { return onWire.all.Load() > before && onAir.leaked.Load() > 0 })
	t.Logf("release to the first frame: %v", time.Since(at).Round(time.Millisecond))
	if got, err := o.enforcer().Observed(t.Context()); err != nil || !got.IsZero() {
		t.Errorf("left behind: %+v, %v", got, err)
	}
}

// TestRadioAcceptListDoesNotLetAnIsolatedStationIn: in an office that lists its
// devices, hostapd's accept list beats the deny list.
func TestRadioAcceptListDoesNotLetAnIsolatedStationIn(t *testing.T) {
	prepareRadios(t)
	var macs []string
	for _, name := range []string{"wlan1", "wlan2"} {
		i, err := net.InterfaceByName(name)
		must(t, err)
		macs = append(macs, i.HardwareAddr.String())
	}
	o := newAir(t, macs)
	e := o.enforcer()
	mustHold(t, e, isolatedOnAir(o.a.mac))
	connections := o.hostapd.said("AP-STA-CONNECTED " + o.a.mac.String())
	until(t, "it was refused twice", func() bool { return o.a.program.said("CTRL-EVENT-AUTH-REJECT") >= 2 })
	if o.hostapd.said("AP-STA-CONNECTED "+o.a.mac.String()) != connections {
		t.Error("the accept list let it in")
	}
	mustHold(t, e, netcontain.Policy{})
	until(t, "the owner's list lets it in again", func() bool { return o.hostapd.said("AP-STA-CONNECTED "+o.a.mac.String()) > connections })
}

// TestRadioConformsAsALayer runs the suite of every layer on the air; a hold is
// lost because hostapd starts anew without the deny file.
func TestRadioConformsAsALayer(t *testing.T) {
	o := newAir(t, nil)
	netcontaintest.ConformLayer(t, netcontaintest.Layer{
		Enforcer: o.enforcer(), By: netcontain.ByWiFi,
		Hosts: []netcontain.Host{isolatedOnAir(o.a.mac).Hosts[0], {ID: "phone", MACs: []netcontain.MAC{o.b.mac, mac(3)}, Level: netcontain.Isolate}},
		Lose: func() {
			must(t, os.WriteFile(filepath.Join(o.denies, "wlan0.deny"), nil, 0o600))
			o.hostapd.kill()
			o.startAP()
		},
	})
	for _, s := range []*station{o.a, o.b} {
		o.connected(s, s.mac)
	}
}

func drain(w *Watcher) {
	for {
		select {
		case <-w.Events():
		default:
			return
		}
	}
}

func heard(w *Watcher, m netcontain.MAC) bool {
	for {
		select {
		case e := <-w.Events():
			if e.Kind == Connected && e.MAC == m && e.AP == "wlan0" {
				return true
			}
		default:
			return false
		}
	}
}

// changeMAC is what a phone does with a private address.
func (o *air) changeMAC(s *station, m netcontain.MAC) {
	t := o.t
	t.Helper()
	s.program.kill()
	s.ns.Do(t, func() {
		link, err := netlink.LinkByName(s.device)
		must(t, err)
		must(t, netlink.LinkSetDown(link))
		must(t, netlink.LinkSetHardwareAddr(link, m[:]))
		must(t, netlink.LinkSetUp(link))
	})
	o.write("mac", m.String())
	s.startProgram(t, o)
}
