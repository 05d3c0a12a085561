//go:build twin

package office

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/config"
	"sekisho/firmware/incident"
	"sekisho/image/twin"
	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// patience bounds every wait; a busy builder is slow, a broken product never
// gets there.
const patience = 2 * time.Minute

// modules are those of the appliance's drivers, bridge and rules, and what its
// rules and the router's would load by themselves where there is modprobe.
var modules = []string{"virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "gpio-pl061", "i2c-gpio", "i2c-dev", "rtc-pl031", "crc32c_generic", "ext4", "af_packet", "ipv6",
	"bridge", "8021q", "nf_tables", "nf_conntrack", "nf_conntrack_bridge", "nf_conntrack_netlink", "nft_meta_bridge", "nft_reject_bridge", "nft_reject_inet",
	"nft_ct", "nft_nat", "nft_masq", "nft_redir", "nft_chain_nat", "nft_limit", "nft_log"}

// world is the gateway in the twin and everybody around it.
type world struct {
	*twin.Machine
	config twin.Config
	hosts  [Hosts + 1]*nstest.NS // 0 is the internet
	gpio   *twin.GPIO
	glass  *glass // nil without a screen
}

// extra is what a world has that not all have.
type extra string

// withScreen adds a screen. Reading its bus holds the machine up a little.
const withScreen extra = "screen"

func hostMAC(i int) [6]byte   { return [6]byte{2, 0, 0, 0, 0, byte(i)} }
func hostIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 77, byte(10 + i)}) }
func hostIP6(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:77::%d", 10+i))
}

// outside is a server on the internet.
var outside, outside6 = netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8:2::9")

// newWorld boots the gateway and waits until it says that it is ready.
func newWorld(t testing.TB, extras ...extra) *world {
	t.Helper()
	w := &world{}
	if slices.Contains(extras, withScreen) {
		w.glass = newGlass(t)
	}
	for i := range w.hosts {
		w.hosts[i] = nstest.New(t)
	}
	w.build(t)
	w.boot(t)
	w.settle(t)
	w.ready(t)
	return w
}

// build makes what the machine starts from.
func (w *world) build(t testing.TB) {
	t.Helper()
	dir, ctx := t.TempDir(), t.Context()
	file := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cache, err := twin.CacheFolder()
	must(err)
	kernel, err := twin.FetchKernel(ctx, cache)
	must(err)
	must(twin.BuildGuest(ctx, "sekisho/image/twin/office/init", file("init")))
	must(twin.BuildGuest(ctx, "sekisho/firmware/cmd/sekisho", file("sekisho")))
	settings := settings()
	if w.glass != nil {
		settings.Panel.Screen, settings.Panel.ScreenBus = "ssd1306", ScreenBus
	}
	text, err := settings.Encode()
	must(err)
	must(os.WriteFile(file("settings"), text, 0o644))
	must(twin.Initramfs{Init: file("init"), Modules: modules, Files: map[string]string{Program: file("sekisho"), Settings: file("settings")}}.Write(file("initramfs"), kernel))
	const bytes = 512 << 20
	must(os.WriteFile(file("raw"), nil, 0o600))
	must(os.Truncate(file("raw"), bytes))
	if out, err := exec.Command("/usr/sbin/mkfs.ext4", "-q", file("raw")).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	must(twin.MakeDisk(ctx, file("disk"), file("raw"), bytes))
	w.config = twin.Config{Kernel: kernel, Initramfs: file("initramfs"), MemoryMiB: 768, Disk: file("disk"), GPIO: true, Control: true}
	if w.glass != nil {
		w.config.I2C, w.config.DeviceTree = &twin.I2C{SDA: SDA, SCL: SCL}, file("devicetree")
		must(twin.MakeDeviceTree(ctx, file("devicetree"), w.config))
	}
}

func settings() config.Config {
	c := config.Default()
	c.Office.Lang = "en"
	c.Network.Bridge, c.Network.WAN, c.Network.HoldPorts = Bridge, WAN, true
	c.Network.LAN = []netip.Prefix{netip.MustParsePrefix("192.168.77.0/24")}
	for i := 1; i <= Hosts; i++ {
		c.Network.Ports = append(c.Network.Ports, PortName(i))
	}
	c.Storage = config.Storage{State: Data + "/state", Evidence: Data + "/evidence", Spool: 64 << 20, Segment: 8 << 20}
	c.Evidence.After = 0
	c.Policy.AutoIsolate = false
	c.Decoy.Count = 0
	c.Panel.Kind, c.Panel.Button = "gpio", fmt.Sprint(Button)
	c.Panel.Red, c.Panel.Green, c.Panel.Blue = fmt.Sprint(Red), fmt.Sprint(Green), fmt.Sprint(Blue)
	c.Web.Listen = Page
	return c
}

// boot switches the power on, and returns when the guest's program answers.
func (w *world) boot(t testing.TB) {
	t.Helper()
	w.config.NICs = nil
	for i, ns := range w.hosts {
		var tap *os.File
		var err error
		ns.Do(t, func() { tap, err = twin.OpenTap("eth0") })
		if err != nil {
			t.Fatal(err)
		}
		w.config.NICs = append(w.config.NICs, twin.NIC{MAC: PortMAC(i), Tap: tap})
	}
	m, err := twin.Start(context.Background(), w.config) // not the test's context: that ends before the clean-up
	if err != nil {
		t.Fatal(err)
	}
	w.Machine = m
	t.Cleanup(func() {
		_ = m.Cut()
		if t.Failed() {
			lines := m.Console()
			t.Logf("the console's end:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	if w.gpio, err = m.GPIO(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.glass != nil {
		w.glass.connect(t, m, w.gpio)
	}
}

// settle gives the hosts their addresses, once their interfaces are there.
func (w *world) settle(t testing.TB) {
	t.Helper()
	for i, ns := range w.hosts {
		run := func(format string, args ...any) { t.Helper(); ns.Run(t, fmt.Sprintf(format, args...)) }
		run("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0")
		run("ip link set lo up")
		if i == 0 {
			run("ip link set eth0 address 02:00:00:00:01:01 up")
			for _, a := range []string{Uplink4 + "/24", outside.String() + "/32", Uplink6 + "/64", outside6.String() + "/128"} {
				run("ip addr add %s dev eth0", a)
			}
			run("ip route add 2001:db8:77::/64 via 2001:db8:2::2")
			continue
		}
		run("ip link set eth0 address 02:00:00:00:00:%02x up", i)
		run("ip addr add %s/24 dev eth0", hostIP(i))
		run("ip addr add %s/64 dev eth0", hostIP6(i))
		run("ip route add default via 192.168.77.1")
		run("ip route add default via 2001:db8:77::1")
	}
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Millisecond) // only polling shows it
	}
}

// ready waits for a gateway whose page says that all is well.
func (w *world) ready(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if line, err := w.Await(ctx, "READY", "FAILED"); err != nil || line != "READY" {
		t.Fatal(line, err)
	}
	await(t, "a gateway that is ready", func() bool {
		var h struct{ Ready bool }
		return w.get("/api/health", &h) == nil && h.Ready
	})
}

// call asks the guest's program.
func (w *world) call(op string, in, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return w.Call(ctx, op, in, out)
}

func (w *world) get(path string, into any) error {
	var a HTTPAnswer
	if err := w.call(OpHTTP, HTTPRequest{Method: "GET", Path: path}, &a); err != nil {
		return err
	}
	if a.Status != 200 {
		return fmt.Errorf("GET %s: %d %s", path, a.Status, a.Body)
	}
	return json.Unmarshal([]byte(a.Body), into)
}

// post sends a deed, and returns the answer whatever it says.
func (w *world) post(path string, body any) (a HTTPAnswer, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return a, err
	}
	err = w.call(OpHTTP, HTTPRequest{Method: "POST", Path: path, Body: string(text)}, &a)
	return a, err
}

// save keeps the machine; back puts it back to that, with the right time.
func (w *world) save(t testing.TB, name string) {
	t.Helper()
	save := w.Save
	if w.glass != nil {
		save = w.glass.save
	}
	if err := save(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func (w *world) back(t testing.TB, name string) {
	t.Helper()
	load := w.Load
	if w.glass != nil {
		load = w.glass.load
	}
	if err := errors.Join(load(t.Context(), name), w.SetClock(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// incidentOf is the newest incident of a host that is not over.
func (w *world) incidentOf(host int) (found incident.Incident, ok bool) {
	var all struct{ Incidents []incident.Incident }
	if w.get("/api/incidents", &all) != nil {
		return found, false
	}
	for _, i := range all.Incidents {
		if i.Asset.MAC == hostMAC(host) && i.State.Live() {
			found, ok = i, true
		}
	}
	return found, ok
}

func (w *world) awaitIncident(t testing.TB, host int, what string, is func(incident.Incident) bool) incident.Incident {
	t.Helper()
	var last incident.Incident
	defer func() {
		if t.Failed() {
			t.Logf("incident of host %d: %s %s %+v, history %+v", host, last.ID, last.State, last.Proof, last.History)
		}
	}()
	await(t, fmt.Sprintf("an incident of host %d that is %s", host, what), func() bool {
		i, ok := w.incidentOf(host)
		last = i
		return ok && is(i)
	})
	return last
}

func proven(i incident.Incident) bool {
	return i.State == incident.Contained && i.Proof.Grade == incident.Proven
}
