package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"sekisho/firmware/flow/flowtest"
	"sekisho/netcontain/nstest"
)

// plug joins the two namespaces by a veth pair, lan1 in the office and eth0 at
// the host, and returns a raw socket at the host's end.
func plug(b *testing.B, office, host *nstest.NS) *os.File {
	b.Helper()
	office.Do(b, func() {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan1"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(host.FD())}
		if err := netlink.LinkAdd(veth); err != nil {
			b.Error(err)
		}
	})
	for ns, link := range map[*nstest.NS]string{office: "lan1", host: "eth0"} {
		ns.Run(b, "sysctl -qw net.ipv6.conf."+link+".disable_ipv6=1") // the kernel would send frames of its own
		ns.Run(b, "ip link set "+link+" up")
	}
	fd := -1
	host.Do(b, func() {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
		if err == nil {
			err = errors.Join(
				unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1), // the cable has no queue worth the time
				unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}))
		}
		if err != nil {
			b.Error(err)
		}
	})
	if b.Failed() {
		b.FailNow()
	}
	socket := os.NewFile(uintptr(fd), "eth0")
	b.Cleanup(func() { socket.Close() })
	return socket
}

// sender offers an office's mixed traffic. It is a process of its own, as other
// machines are: in the receiver's process its system calls would keep the Go
// runtime's monitor awake, which costs the receiver a quarter of its CPU time.
// What it found may be read once ended.
type sender struct {
	sent, bytes uint64
	took        time.Duration
	ended       atomic.Bool

	cmd    *exec.Cmd
	orders io.Closer
	answer *bufio.Reader
}

// senderOrder makes the test binary a sender: "FRAMES RATE", 0 for as fast as
// it goes. Its file 3 is the socket.
const senderOrder = "SEKISHO_BENCH_SENDER"

// newSender returns when the sender has its frames ready.
func newSender(b *testing.B, socket *os.File, frames, rate int) *sender {
	b.Helper()
	s := &sender{cmd: exec.Command("/proc/self/exe")}
	s.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", senderOrder, frames, rate))
	s.cmd.ExtraFiles = []*os.File{socket}
	s.cmd.Stderr = os.Stderr
	orders, err := s.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	s.orders, s.answer = orders, bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	if line, err := s.answer.ReadString('\n'); err != nil || line != "ready\n" {
		b.Fatalf("the sender said %q: %v", line, err)
	}
	return s
}

// begin lets it send. The channel is closed when all is sent.
func (s *sender) begin(b *testing.B) <-chan struct{} {
	done := make(chan struct{})
	s.orders.Close()
	go func() {
		defer close(done)
		defer s.ended.Store(true)
		var took int64
		if _, err := fmt.Fscan(s.answer, &s.sent, &s.bytes, &took); err != nil || s.sent == 0 {
			b.Errorf("the sender sent %d frames: %v", s.sent, err)
		}
		s.took = time.Duration(took)
	}()
	return done
}

func (s *sender) offered() float64 { return float64(s.sent) / s.took.Seconds() }

// sendAsOrdered is the sender's process.
func sendAsOrdered(order string) int {
	var total, rate int
	if _, err := fmt.Sscan(order, &total, &rate); err != nil {
		fmt.Fprintln(os.Stderr, "sender:", err)
		return 2
	}
	b := newBatches(3)
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // its end is the sign to begin
		fmt.Fprintln(os.Stderr, "sender:", err)
		return 1
	}
	var sent, bytes int
	start := time.Now()
	for offered := 0; offered < total; {
		k := b.fill(min(batchFrames, total-offered))
		if ahead := due(offered, rate) - time.Since(start); ahead > 100*time.Microsecond {
			time.Sleep(ahead) // pacing is what this measures, not a wait for something
		}
		n, size := b.send(k)
		sent, bytes = sent+n, bytes+size
		offered += k // a frame that the socket refused was never on the cable
	}
	fmt.Println(sent, bytes, int64(time.Since(start)))
	return 0
}

// due is when frame n is to be sent at a rate; at once for 0.
func due(n, rate int) time.Duration {
	if rate == 0 {
		return 0
	}
	return time.Duration(n) * time.Second / time.Duration(rate)
}

const batchFrames = 64

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// batches sends the mix over and over.
type batches struct {
	fd   uintptr
	all  [][]byte
	next int
	msgs [batchFrames]mmsghdr
	iovs [batchFrames]unix.Iovec
}

func newBatches(fd uintptr) *batches {
	b := &batches{fd: fd}
	for _, f := range flowtest.Mix(200_000, 1) {
		b.all = append(b.all, f.Data[:min(len(f.Data), 1514)]) // the cable's longest
	}
	return b
}

// fill puts the next n frames into the batch.
func (b *batches) fill(n int) int {
	for i := range n {
		data := b.all[b.next]
		b.next = (b.next + 1) % len(b.all)
		b.iovs[i].Base = &data[0]
		b.iovs[i].SetLen(len(data))
		b.msgs[i].hdr.Iov = &b.iovs[i]
		b.msgs[i].hdr.SetIovlen(1)
	}
	return n
}

// send returns how many of the batch's first n frames, and of their bytes, went out.
func (b *batches) send(n int) (sent, bytes int) {
	k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, b.fd, uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(n), 0, 0, 0)
	if errno != 0 {
		return 0, 0
	}
	for i := range int(k) {
		bytes += int(b.iovs[i].Len)
	}
	return int(k), bytes
}

// said reads lines until one holds word. What comes later is read too, so that
// the writer never waits, and is returned by the function.
func said(b *testing.B, r io.Reader, word string) (rest func() string) {
	b.Helper()
	lines, all, end := bufio.NewScanner(r), &strings.Builder{}, make(chan struct{})
	for found := false; !found; {
		if !lines.Scan() {
			b.Fatalf("it never said %q, only:\n%s", word, all)
		}
		found = strings.Contains(lines.Text(), word)
		fmt.Fprintln(all, lines.Text())
	}
	go func() {
		defer close(end)
		for lines.Scan() {
			fmt.Fprintln(all, lines.Text())
		}
	}()
	return func() string { <-end; return all.String() }
}
