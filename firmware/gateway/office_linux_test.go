package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/firmware/config"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/incident"
	"sekisho/netcontain/nstest"
)

// childSettings makes the test binary a gateway: Open, Run, Close, with the
// settings file that it names. It is a process of its own because its sockets
// have to belong to the gateway's namespace, and because it has to be killed.
const childSettings = "SEKISHO_GATEWAY_TEST_SETTINGS"

// childDisk gives the child a small disk of its own at that folder;
// childDiskOptions are those of mount.
const (
	childDisk        = "SEKISHO_GATEWAY_TEST_DISK"
	childDiskOptions = "SEKISHO_GATEWAY_TEST_DISK_OPTIONS"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childSettings); path != "" {
		os.Exit(child(path))
	}
	if order := os.Getenv(senderOrder); order != "" {
		os.Exit(sendAsOrdered(order))
	}
	os.Exit(nstest.Main(m))
}

func child(path string) int {
	go func() { // never outlive the test
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck
		os.Exit(9)
	}()
	if dir := os.Getenv(childDisk); dir != "" {
		if err := mountDisk(dir, os.Getenv(childDiskOptions)); err != nil {
			fmt.Fprintln(os.Stderr, "mount:", err)
			return 1
		}
	}
	err := runChild(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

// mountDisk mounts a disk of 24 MiB: "full" to the last byte, or "ro".
func mountDisk(dir, options string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		return err
	}
	switch options {
	case "ro":
		return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=24m")
	case "full":
		err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, 32<<20), 0o600)
		if !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("fill the disk: %w", err)
		}
	}
	return nil
}

func runChild(path string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", c.Web.Listen)
	if err != nil {
		return err
	}
	g, closeParts, err := Open(ctx, c, Surroundings{Listener: l, Version: "test", Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	return errors.Join(g.Run(ctx), closeParts())
}

// The office: a gateway with four ports, a host behind each, and the internet.
const (
	gatewayMAC = "02:00:00:00:00:fe"
	hosts      = 4
)

func hostMAC(i int) [6]byte   { return [6]byte{2, 0, 0, 0, 0, byte(i)} }
func hostIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 77, byte(10 + i)}) }

var (
	gatewayIP = netip.MustParseAddr("192.168.77.1")
	outside   = netip.MustParseAddr("198.51.100.1")
)

type office struct {
	gw, inet *nstest.NS
	hosts    [hosts + 1]*nstest.NS // from 1 on
	dir      string
	config   config.Config
	api      *http.Client
	disk     string // folder of the child with a small disk; empty: none
	diskIs   string // see mountDisk
}

// newOffice leaves the LAN ports down: raising them is the gateway's to do.
func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{gw: nstest.New(t), inet: nstest.New(t), dir: t.TempDir()}
	o.gw.Run(t, "ip link set lo up")
	o.gw.Run(t, "ip link add br0 address "+gatewayMAC+" type bridge mcast_snooping 0 forward_delay 0")
	o.gw.Run(t, "ip addr add 192.168.77.1/24 dev br0")
	o.gw.Run(t, "ip link set br0 up")
	for i := 1; i <= hosts; i++ {
		o.hosts[i] = nstest.New(t)
		port := fmt.Sprintf("lan%d", i)
		o.plug(t, port, o.hosts[i], hostMAC(i))
		o.gw.Run(t, "ip link set "+port+" master br0")
		o.hosts[i].Run(t, fmt.Sprintf("ip addr add %s/24 dev eth0", hostIP(i)))
		o.hosts[i].Run(t, "ip route add default via 192.168.77.1")
	}
	o.plug(t, "wan0", o.inet, [6]byte{2, 0, 0, 0, 1, 1})
	o.gw.Run(t, "ip link set wan0 up")
	o.gw.Run(t, "ip addr add 198.51.100.2/24 dev wan0")
	o.gw.Run(t, "sysctl -qw net.ipv4.ip_forward=1")
	o.inet.Run(t, "ip addr add 198.51.100.1/24 dev eth0")
	o.inet.Run(t, "ip route add 192.168.77.0/24 via 198.51.100.2")
	o.config = o.settings()
	o.api = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			o.gw.Do(t, func() { c, err = (&net.Dialer{}).DialContext(ctx, network, addr) })
			return c, err
		},
	}}
	return o
}

func (o *office) plug(t *testing.T, port string, peer *nstest.NS, mac [6]byte) {
	t.Helper()
	o.gw.Do(t, func() {
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(peer.FD())})
		if err != nil {
			t.Errorf("veth %s: %v", port, err)
		}
	})
	peer.Run(t, "ip link set lo up")
	peer.Run(t, "ip link set eth0 address "+net.HardwareAddr(mac[:]).String()+" up")
}

func (o *office) settings() config.Config {
	c := config.Default()
	c.Office.Lang = "en"
	c.Network = config.Network{
		Bridge: "br0", WAN: "wan0", Ports: []string{"lan1", "lan2", "lan3", "lan4"}, HoldPorts: true,
		LAN: []netip.Prefix{netip.MustParsePrefix("192.168.77.0/24")},
	}
	c.Storage = config.Storage{
		State: filepath.Join(o.dir, "state"), Evidence: filepath.Join(o.dir, "evidence"), Spool: 16 << 20, Segment: 4 << 20,
	}
	c.Evidence.After = 0
	c.Policy.AutoIsolate = false
	c.Decoy.Count = 0
	c.Panel.Kind = "headless"
	return c
}

// process is a gateway at work.
type process struct {
	cmd  *exec.Cmd
	life io.Closer
	log  *logBuffer
	done chan struct{}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// launch starts a gateway with the office's settings, and does not wait.
func (o *office) launch(t *testing.T) *process {
	t.Helper()
	text, err := o.config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.dir, "sekisho.toml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command("/proc/self/exe"), log: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childSettings+"="+path, childDisk+"="+o.disk, childDiskOptions+"="+o.diskIs)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if o.disk != "" {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	if p.life, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	o.gw.Do(t, func() { err = p.cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait() //nolint:errcheck // ProcessState tells
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of gateway %d:\n%s", p.cmd.Process.Pid, p.log)
		}
	})
	return p
}

// start launches a gateway and waits until it says that it is ready.
func (o *office) start(t *testing.T) *process {
	t.Helper()
	p := o.launch(t)
	await(t, "a gateway that is ready", func() bool {
		select {
		case <-p.done:
			t.Fatalf("the gateway ended: %v", p.cmd.ProcessState)
		default:
		}
		var h struct{ Ready bool }
		return o.get("/api/health", &h) == nil && h.Ready
	})
	return p
}

// kill takes the power away.
func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-p.done
	p.life.Close()
}

// stop is what a service manager does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatal("the gateway does not stop")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the gateway stopped with %d", code)
	}
}

// patience bounds every wait; a busy machine is slow, a broken product never
// gets there.
const patience = 90 * time.Second

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(20 * time.Millisecond) // only polling shows it
	}
}

const page = "http://127.0.0.1:8080"

func (o *office) get(path string, into any) error {
	resp, err := o.api.Get(page + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

func (o *office) post(path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := o.api.Post(page+path, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 {
		return fmt.Errorf("POST %s: %s: %s", path, resp.Status, answer)
	}
	return nil
}

// incidentOf is the newest incident of a host that is not over.
func (o *office) incidentOf(host int) (found incident.Incident, ok bool) {
	var all struct{ Incidents []incident.Incident }
	if o.get("/api/incidents", &all) != nil {
		return found, false
	}
	for _, i := range all.Incidents {
		if i.Asset.MAC == hostMAC(host) && i.State.Live() {
			found, ok = i, true
		}
	}
	return found, ok
}

// awaitIncident waits until the host's incident is as it has to be.
func (o *office) awaitIncident(t *testing.T, host int, what string, is func(incident.Incident) bool) incident.Incident {
	t.Helper()
	var last incident.Incident
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("incident of host %d: %s %s %+v, history %+v", host, last.ID, last.State, last.Proof, last.History)
		}
	})
	await(t, fmt.Sprintf("an incident of host %d that is %s", host, what), func() bool {
		i, ok := o.incidentOf(host)
		last = i
		return ok && is(i)
	})
	return last
}

func proven(i incident.Incident) bool {
	return i.State == incident.Contained && i.Proof.Grade == incident.Proven
}

type panelView struct {
	State  string `json:"state"`
	Target string `json:"target"`
}

// press waits until the screen asks about the host, and presses.
func (o *office) press(t *testing.T, host int) {
	t.Helper()
	i := o.awaitIncident(t, host, "put to a person", incident.Incident.Waiting)
	var p panelView
	await(t, "the panel to name the host", func() bool {
		return o.get("/api/panel", &p) == nil && p.State == "attention" && p.Target == i.ID
	})
	if err := o.post("/api/press", map[string]string{"gesture": "short", "target": p.Target}); err != nil {
		t.Fatal(err)
	}
}

// release does what the return gate asks for, and lets the host go.
func (o *office) release(t *testing.T, id string) {
	t.Helper()
	var i incident.Incident
	if err := o.get("/api/incidents/"+id, &i); err != nil {
		t.Fatal(err)
	}
	if err := o.post("/api/incidents/"+id+"/release", map[string]string{"by": "Sato"}); err == nil || !strings.Contains(err.Error(), `"missing"`) {
		t.Errorf("released before anything was done: %v", err)
	}
	for _, it := range i.Missing() {
		if err := o.post("/api/incidents/"+id+"/tick", map[string]string{"by": "Sato", "item": it.Key, "note": "done"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.post("/api/incidents/"+id+"/release", map[string]string{"by": "Sato", "note": "cleaned"}); err != nil {
		t.Fatal(err)
	}
}

// socket is a raw socket on a host's only interface.
func socket(t *testing.T, ns *nstest.NS, protocol uint16) int {
	t.Helper()
	fd, err := -1, error(nil)
	ns.Do(t, func() {
		link, e := netlink.LinkByName("eth0")
		if err = e; err != nil {
			return
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: protocol})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// send puts frames on the wire; a cable without carrier swallows them.
func (o *office) send(t *testing.T, from int, frames ...[]byte) {
	t.Helper()
	fd := socket(t, o.hosts[from], 0)
	defer unix.Close(fd)
	for _, f := range frames {
		unix.Write(fd, f) //nolint:errcheck // ENETDOWN while the port is down
	}
}

// probeFrame is one step of a worm: tcp/445 on the n-th address, flooded to all
// ports because nobody has that MAC.
func probeFrame(mac [6]byte, src netip.Addr, n int) []byte {
	dst := netip.AddrFrom4([4]byte{192, 168, 77, byte(100 + n%100)})
	ip := flowtest.IP{Src: src, Dst: dst, Proto: 6}
	syn := flowtest.Segment{SrcPort: uint16(20000 + n%40000), DstPort: 445, Seq: uint32(n), Flags: flow.FlagSYN}
	return flowtest.Ether{Src: mac, Dst: [6]byte{2, 0, 0, 0, 2, byte(n % 100)}}.Frame(ip.EtherType(), ip.Packet(syn.Bytes(nil)))
}

// loginFrame is the same for another service.
func loginFrame(mac [6]byte, src netip.Addr, n int) []byte {
	dst := netip.AddrFrom4([4]byte{192, 168, 77, byte(100 + n%100)})
	ip := flowtest.IP{Src: src, Dst: dst, Proto: 6}
	syn := flowtest.Segment{SrcPort: uint16(20000 + n%40000), DstPort: 22, Seq: uint32(n), Flags: flow.FlagSYN}
	return flowtest.Ether{Src: mac, Dst: [6]byte{2, 0, 0, 0, 2, byte(n % 100)}}.Frame(ip.EtherType(), ip.Packet(syn.Bytes(nil)))
}

// outFrame goes to the internet, through the gateway.
func outFrame(host int) []byte {
	ip := flowtest.IP{Src: hostIP(host), Dst: outside, Proto: 17}
	var gw [6]byte
	hw, _ := net.ParseMAC(gatewayMAC)
	copy(gw[:], hw)
	return flowtest.Ether{Src: hostMAC(host), Dst: gw}.Frame(ip.EtherType(), ip.Packet(flowtest.UDP(uint16(31000+host), 4444, []byte("out"))))
}

// attack lets a host scan until the test, or stop, ends it.
func (o *office) attack(t *testing.T, host int) (stop func()) {
	t.Helper()
	return o.flood(t, host, func(n int) [][]byte { return [][]byte{probeFrame(hostMAC(host), hostIP(host), n), outFrame(host)} })
}

func (o *office) flood(t *testing.T, host int, frames func(n int) [][]byte) (stop func()) {
	t.Helper()
	fd := socket(t, o.hosts[host], 0)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer unix.Close(fd)
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		for n := 0; ; n++ {
			for _, f := range frames(n) {
				unix.Write(fd, f) //nolint:errcheck // the port may be down
			}
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

// witness counts what arrives at a host, by itself: no part of the product.
type witness struct {
	o     *office
	at    int // 0: the internet
	mu    sync.Mutex
	from  [hosts + 1]int
	fence uint32

	drilled [][]byte // frames from addresses that drills use, at most 1000
}

// fenceType is an EtherType for local experiments (IEEE 802, 0x88b5).
const fenceType = 0x88b5

func (o *office) witness(t *testing.T, at int) *witness {
	t.Helper()
	ns := o.inet
	if at > 0 {
		ns = o.hosts[at]
	}
	w := &witness{o: o, at: at}
	fd := socket(t, ns, 0x0300) // ETH_P_ALL in network order
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		t.Logf("larger buffer: %v", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer unix.Close(fd)
		b := make([]byte, 2048)
		for ctx.Err() == nil {
			if n, err := unix.Read(fd, b); err == nil && n >= 18 {
				w.take(b[:n])
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

// take counts by MAC in the office, and by source port on the internet.
func (w *witness) take(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if binary.BigEndian.Uint16(b[12:]) == fenceType {
		w.fence = max(w.fence, binary.BigEndian.Uint32(b[14:]))
		return
	}
	if bytes.HasPrefix(b[6:], []byte{0x02, 0x53, 0x4b}) && len(w.drilled) < 1000 {
		w.drilled = append(w.drilled, bytes.Clone(b))
	}
	for i := 1; i <= hosts; i++ {
		if mac := hostMAC(i); w.at > 0 && bytes.Equal(b[6:12], mac[:]) {
			w.from[i]++
		}
		if w.at == 0 && len(b) >= 38 && b[23] == 17 && binary.BigEndian.Uint16(b[34:]) == uint16(31000+i) {
			w.from[i]++
		}
	}
}

func (w *witness) count(host int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.from[host]
}

// settle returns the count after everything that was sent before has arrived:
// a healthy host's own frame, sent last, has come through.
func (w *witness) settle(t *testing.T, fences *uint32, healthy, host int) int {
	t.Helper()
	*fences++
	number := *fences
	frame := flowtest.Ether{Src: hostMAC(healthy), Dst: [6]byte{255, 255, 255, 255, 255, 255}}.
		Frame(fenceType, binary.BigEndian.AppendUint32(nil, number))
	frame = append(frame, make([]byte, 46)...)
	await(t, "a frame of a healthy host", func() bool {
		w.o.send(t, healthy, frame)
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.fence >= number
	})
	return w.count(host)
}

// silent checks that nothing of the host arrives although it sends a lot.
func (o *office) silent(t *testing.T, w *witness, healthy, host int) {
	t.Helper()
	var fences uint32
	w.mu.Lock()
	fences = w.fence
	w.mu.Unlock()
	before := w.settle(t, &fences, healthy, host)
	for n := range 300 {
		o.send(t, host, probeFrame(hostMAC(host), hostIP(host), n), outFrame(host))
	}
	if after := w.settle(t, &fences, healthy, host); after != before {
		t.Errorf("%d frames of the isolated host arrived at host %d", after-before, w.at)
	}
}

// heard waits until frames of the host arrive again.
func (o *office) heard(t *testing.T, w *witness, host int) {
	t.Helper()
	before := w.count(host)
	n := 0
	await(t, "frames of a host that is free", func() bool {
		o.send(t, host, probeFrame(hostMAC(host), hostIP(host), n), outFrame(host))
		n++
		return w.count(host) > before
	})
}

// talk opens a TCP connection from one namespace to another, and answers.
func talk(t *testing.T, from, to *nstest.NS, addr netip.Addr) {
	t.Helper()
	var l net.Listener
	var err error
	to.Do(t, func() { l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello") //nolint:errcheck
			c.Close()
		}
	}()
	await(t, "others who talk", func() bool {
		var c net.Conn
		from.Do(t, func() { c, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second) })
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck
		got, err := io.ReadAll(c)
		return err == nil && string(got) == "hello"
	})
}

// inKernel says whether the kernel's rules name the host.
func (o *office) inKernel(t *testing.T, host int) bool {
	t.Helper()
	mac := hostMAC(host)
	return strings.Contains(o.gw.Run(t, "nft list ruleset"), net.HardwareAddr(mac[:]).String())
}
