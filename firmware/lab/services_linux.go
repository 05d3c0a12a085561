package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// service is a server process of the lab; what it says is kept for errors.
type service struct {
	name string
	cmd  *exec.Cmd
	said *tail
	done chan struct{}
}

// tail keeps the last bytes that were written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}

func startService(name string, cmd *exec.Cmd) (*service, error) {
	s := &service{name: name, cmd: cmd, said: &tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.said, s.said
	cmd.WaitDelay = time.Second
	// smbd ends by a signal to its whole process group (kill(0), source3/smbd/
	// server.c). Without one of its own that reaches out of the PID namespace, to
	// the script that started the demonstration.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(s.done)
		cmd.Wait() //nolint:errcheck // how it ended is told by check
	}()
	return s, nil
}

// check says with its last words that the service has ended.
func (s *service) check() error {
	select {
	case <-s.done:
		return fmt.Errorf("%s ended: %s: %s", s.name, s.cmd.ProcessState, s.said)
	default:
		return nil
	}
}

func (s *service) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	select {
	case <-s.done:
	case <-time.After(2 * time.Second):
		s.cmd.Process.Kill() //nolint:errcheck
		<-s.done
	}
}

// run starts a server that lives as long as the office.
func (o *Office) run(name string, cmd *exec.Cmd) (*service, error) {
	s, err := startService(name, cmd)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.services = append(o.services, s)
	return s, nil
}

// ready waits until a TCP port of a service answers.
func ready(ctx context.Context, s *service, from *Host, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var ended error
	err := retry(ctx, 20*time.Millisecond, func() error {
		if ended = s.check(); ended != nil {
			cancel()
			return ended
		}
		conn, err := from.Dial(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if ended != nil {
		return ended
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w: %s", s.name, err, s.said)
	}
	return nil
}

const natRules = `table ip office_nat {
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "wan0" masquerade
	}
}
`

// serveGateway starts what a Debian gateway has beside sekisho: NAT, DHCP, DNS
// and IPv6 router advertisements.
func (o *Office) serveGateway(ctx context.Context) error {
	nft := o.Gateway.Command(ctx, "nft", "-f", "-")
	nft.Stdin = strings.NewReader(natRules)
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("load the NAT rules: %w: %s", err, out)
	}
	dnsmasq := o.Gateway.Command(ctx, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--no-ping",
		"--interface="+o.Bridge, "--except-interface=lo", "--bind-dynamic", "--log-facility=-",
		"--server="+dnsServer.String(), "--domain="+domain, "--local=/"+domain+"/", "--expand-hosts",
		"--dhcp-authoritative", fmt.Sprintf("--dhcp-range=%s,%s,255.255.255.0,1h", o.Pool[0], o.Pool[1]),
		"--dhcp-option=option:router,"+gatewayLAN.String(), "--dhcp-option=option:dns-server,"+gatewayLAN.String(),
		"--enable-ra", "--dhcp-range="+lanPrefix6.Addr().String()+",ra-only,64",
		"--dhcp-leasefile="+filepath.Join(o.config.Dir, "leases"), "--pid-file=")
	s, err := o.run("dnsmasq on the gateway", dnsmasq)
	if err != nil {
		return err
	}
	return ready(ctx, s, o.Gateway, addrPort(gatewayLAN, 53))
}

func (o *Office) serveInternet(ctx context.Context) error {
	dnsmasq := o.Internet.Command(ctx, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv",
		"--listen-address="+dnsServer.String(), "--bind-interfaces", "--pid-file=",
		"--address=/example.com/"+webServer.String(), "--address=/ntp.test/"+ntpServer.String(),
		"--server=/"+tunnelDomain+"/"+dropServer.String()) // nobody answers there but in one scenario
	s, err := o.run("dnsmasq on the internet", dnsmasq)
	if err != nil {
		return err
	}
	if err := ready(ctx, s, o.Internet, addrPort(dnsServer, 53)); err != nil {
		return err
	}
	if err := o.serveWeb(); err != nil {
		return err
	}
	return o.serveTime()
}

var page = bytes.Repeat([]byte("An ordinary page of an ordinary web site.\n"), 200)

func (o *Office) serveWeb() error {
	cert, roots, err := selfSigned(webName)
	if err != nil {
		return fmt.Errorf("make the web server's certificate: %w", err)
	}
	o.roots = roots
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(page) }) //nolint:errcheck
	for _, port := range []uint16{80, 443} {
		l, err := o.Internet.Listen("tcp", addrPort(webServer, port))
		if err != nil {
			return fmt.Errorf("serve the web: %w", err)
		}
		if port == 443 {
			l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
		o.serveHTTP(l, handler)
	}
	drop, err := o.Internet.Listen("tcp", addrPort(dropServer, 443))
	if err != nil {
		return fmt.Errorf("serve the attacker's drop point: %w", err)
	}
	o.accept(drop, func(c net.Conn) { c.Close() })
	return nil
}

func (o *Office) serveHTTP(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: nil}
	server.SetKeepAlivesEnabled(false)
	go server.Serve(l) //nolint:errcheck // ends with Close
	o.closeLater(server.Close)
}

func (o *Office) accept(l net.Listener, serve func(net.Conn)) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	o.closeLater(l.Close)
}

// serveTime answers NTP requests (RFC 5905) well enough for a client.
func (o *Office) serveTime() error {
	var conn *net.UDPConn
	err := o.Internet.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ntpServer, 123)))
		return err
	})
	if err != nil {
		return fmt.Errorf("serve the time: %w", err)
	}
	o.closeLater(conn.Close)
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n < ntpSize {
				continue
			}
			reply := make([]byte, ntpSize)
			reply[0], reply[1] = 0x24, 2 // version 4, server; stratum 2
			copy(reply[24:32], buf[40:48])
			conn.WriteToUDPAddrPort(reply, from) //nolint:errcheck
		}
	}()
	return nil
}

const ntpSize = 48

func selfSigned(name string) (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots, nil
}

// nobody is the account that smbd runs as. As root it would change groups for
// every request, which a user namespace of one uid refuses; started as another
// account it serves its guests under that one.
const nobody = 65534

// Encryption is off, as shares of Windows come: what is written to them can be
// read on the wire, as on most offices' networks.
const smbConf = `[global]
	workgroup = OFFICE
	netbios name = %[4]s
	server role = standalone server
	map to guest = Bad User
	guest account = nobody
	disable netbios = yes
	smb ports = 445
	server min protocol = SMB2
	load printers = no
	printcap name = /dev/null
	disable spoolss = yes
	server smb encrypt = off
	pid directory = %[1]s
	lock directory = %[1]s
	state directory = %[1]s
	cache directory = %[1]s
	private dir = %[1]s
	ncalrpc dir = %[1]s/ncalrpc
	binddns dir = %[1]s
	log file = %[1]s/log
[%[3]s]
	path = %[2]s
	guest ok = yes
	read only = no
`

// serveFiles starts smbd on the NAS.
func (o *Office) serveFiles(ctx context.Context) error {
	nas := o.Host("nas")
	conf, err := o.configureShare(nas, shareName, filepath.Join(o.config.Dir, "files"))
	if err != nil {
		return err
	}
	return o.serveShare(ctx, nas, conf)
}

// configureShare writes the settings of an smbd with one share that everybody
// may write to.
func (o *Office) configureShare(h *Host, share, files string) (conf string, err error) {
	state := filepath.Join(o.config.Dir, h.Name+"-smbd")
	if err := scratchFolders(state, filepath.Join(state, "ncalrpc"), files); err != nil {
		return "", err
	}
	conf = filepath.Join(o.config.Dir, h.Name+"-smb.conf")
	return conf, os.WriteFile(conf, fmt.Appendf(nil, smbConf, state, files, share, strings.ToUpper(h.Name)), 0o644)
}

// serveShare starts smbd on a machine.
func (o *Office) serveShare(ctx context.Context, h *Host, conf string) error {
	if err := h.Do(func() error { return sysctl("net.ipv4.ip_unprivileged_port_start", "0") }); err != nil {
		return fmt.Errorf("let smbd open its port: %w", err)
	}
	cmd := h.Command(context.WithoutCancel(ctx), "smbd", "--foreground", "--no-process-group", "--debug-stdout", "--debuglevel=0", "--configfile="+conf)
	// IPC$ is served from there, and the account has to be able to enter it.
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(o.config.Dir, h.Name+"-smbd"))
	asNobody(cmd)
	s, err := o.run("smbd on "+h.Name, cmd)
	if err != nil {
		return err
	}
	return ready(ctx, s, h, addrPort(h.Addr(), 445))
}

// wholeMachine says that this is root of the machine, not of a user namespace
// with a single account.
func wholeMachine() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(m))
	return err == nil && len(f) == 3 && f[0] == "0" && f[2] != "1"
}

func asNobody(cmd *exec.Cmd) {
	setpriv, err := find("setpriv")
	if err != nil {
		setpriv = "setpriv"
	}
	if wholeMachine() {
		// After nsenter, which needs root: nsenter --net=… -- setpriv … smbd …
		cmd.Args = insert(cmd.Args, 3, setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--")
		return
	}
	unshare, err := find("unshare")
	if err != nil {
		unshare = "unshare"
	}
	cmd.Args = insert(cmd.Args, 3, unshare, "--user", "--map-user=65534", "--map-group=65534", "--")
}

func insert(args []string, at int, more ...string) []string {
	out := append([]string(nil), args[:at]...)
	return append(append(out, more...), args[at:]...)
}

// servePrinter takes raw print jobs (tcp/9100) and answers on the IPP port
// (RFC 8010) as a printer that knows nothing but success.
func (o *Office) servePrinter() error {
	printer := o.Host("printer")
	raw, err := printer.Listen("tcp", addrPort(printer.Addr(), 9100))
	if err != nil {
		return fmt.Errorf("serve printing: %w", err)
	}
	o.accept(raw, func(c net.Conn) {
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))        //nolint:errcheck
		n, _ := io.Copy(io.Discard, io.LimitReader(c, 16<<20)) // a job ends with the writer's FIN
		fmt.Fprintf(c, "@PJL INFO BYTES=%d\r\n", n)            //nolint:errcheck
	})
	ipp, err := printer.Listen("tcp", addrPort(printer.Addr(), 631))
	if err != nil {
		return fmt.Errorf("serve printing: %w", err)
	}
	o.serveHTTP(ipp, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := make([]byte, 8)
		if _, err := io.ReadFull(r.Body, head); err != nil {
			http.Error(w, "not IPP", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/ipp")
		w.Write([]byte{1, 1, 0, 0, head[4], head[5], head[6], head[7], 3}) //nolint:errcheck
	}))
	return nil
}
