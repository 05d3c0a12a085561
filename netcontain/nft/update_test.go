package nft

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// flood sends one frame again and again from eth0 of a host until stop, and
// says how often it did so far.
func flood(t *testing.T, o *office, host int, frame []byte) (sent func() uint64, stop func()) {
	t.Helper()
	fd, index := -1, 0
	o.hosts[host].Do(t, func() {
		dev, err := net.InterfaceByName("eth0")
		if err == nil {
			index = dev.Index
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		}
		if err != nil {
			t.Errorf("flood: %v", err)
		}
	})
	var n atomic.Uint64
	var ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !ended.Load() {
			if unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}) == nil {
				n.Add(1)
			}
		}
	}()
	return n.Load, func() {
		ended.Store(true)
		<-done
		unix.Close(fd)
	}
}

// TestAHeldHostIsNeverLetGoForAnInstant changes everything around a held host
// that floods, and counts at its target. Each change waits until frames were
// sent after it, so the count means something on a slow machine too.
func TestAHeldHostIsNeverLetGoForAnInstant(t *testing.T) {
	o := newOffice(t)
	target := mac(2)
	frame := frame(target, mac(1), 0x88, 0xb5) // of IPv4, br_netfilter would let the other table drop what one lets through
	o.apply(t, policyOf(held(1, netcontain.Isolate)))
	count := tap(t, o.hosts[2])
	sent, stop := flood(t, o, 1, frame)
	defer stop()
	for i := range 30 {
		if i%2 == 0 {
			o.gw.Run(t, fmt.Sprintf("ip addr add 192.0.2.%d/32 dev br0", 100+i))
		}
		if i%10 == 9 {
			o.enforcer.giveUp() // the tables are replaced whole
		}
		p := policyOf(held(1, netcontain.Isolate))
		for other := 3; other < 3+i%3; other++ {
			p.Hosts = append(p.Hosts, held(other, netcontain.Limit))
		}
		p.Lockdown = i%5 == 4
		before := sent()
		o.apply(t, p)
		for sent() < before+100 {
			runtime.Gosched()
		}
	}
	arrived := func() int { return count(func(b []byte) bool { return bytes.Equal(b[:12], frame[:12]) }) }
	if n := arrived(); n != 0 {
		t.Errorf("%d of %d frames of the held host arrived while the policy around it changed", n, sent())
	}
	o.apply(t, netcontain.Policy{}) // the counter counts
	for deadline := time.Now().Add(10 * time.Second); arrived() == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("nothing arrives from a host that is let go")
		}
	}
}

func TestAChangeOfTheGatewaysOwnAddressesIsAnUpdateNotTampering(t *testing.T) {
	o := newOffice(t)
	var log bytes.Buffer
	r, err := netcontain.NewReconciler(netcontain.Config{Enforcer: o.enforcer, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), policyOf(held(1, netcontain.Isolate))); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"add", "del"} {
		o.gw.Run(t, "ip addr "+change+" 192.0.2.77/32 dev br0")
		if d, err := r.Check(t.Context()); err != nil || !d.Empty() {
			t.Errorf("%s address: drift %s, error %v", change, d, err)
		}
		elements, err := o.enforcer.nft.GetSetElements(tablesOf(o.enforcer.cfg)[0].sets[0])
		if err != nil {
			t.Fatal(err)
		}
		has := slices.ContainsFunc(keysOf(elements), func(k string) bool { return k == "c000024d" })
		if has != (change == "add") {
			t.Errorf("after %s the set of the gateway's addresses holds %v", change, keysOf(elements))
		}
	}
	if log.Len() > 0 {
		t.Errorf("it was reported:\n%s", &log)
	}
}

func TestDriftNamesOnlyWhatIsSo(t *testing.T) {
	o := newOffice(t)
	p := policyOf(held(1, netcontain.Isolate))
	o.apply(t, p)
	o.gw.Run(t, "nft add element bridge sekisho gateway_ip4 { 192.0.2.99 }")
	got, err := o.enforcer.Observed(t.Context())
	if d := netcontain.Diff(p, got); !d.Empty() {
		t.Errorf("the host is held, but the drift is %s", d)
	}
	if want := "set gateway_ip4 of table bridge is not as written"; err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func keysOf(elements []nftables.SetElement) []string {
	var out []string
	for _, el := range elements {
		out = append(out, fmt.Sprintf("%x", el.Key))
	}
	return out
}
