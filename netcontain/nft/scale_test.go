package nft

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// many is a policy of n hosts, the first of them isolated, each with a MAC, an
// IPv4 and an IPv6 address.
func many(n, isolated int) netcontain.Policy {
	var p netcontain.Policy
	for i := range n {
		h := netcontain.Host{ID: netcontain.MAC{2, 1, 0, 0, byte(i >> 8), byte(i)}.String(), Level: netcontain.Watch,
			MACs:  []netcontain.MAC{{2, 1, 0, 0, byte(i >> 8), byte(i)}},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.AddrFrom16([16]byte{0x20, 1, 13: 1, 14: byte(i >> 8), 15: byte(i)})}}
		if i < isolated {
			h.Level = netcontain.Isolate
		}
		p.Hosts = append(p.Hosts, h)
	}
	return p
}

func TestTwoHundredAndFiftyHostsAreAsObserved(t *testing.T) {
	o := newOffice(t)
	for _, p := range []netcontain.Policy{many(250, 50), many(250, 51), many(250, 250), many(250, 0), many(250, 50), {}} {
		o.apply(t, p)
	}
}

// onlooker reads every set that a policy of isolated hosts fills, by a
// connection of its own.
type onlooker struct {
	nft *nftables.Conn
	gen *netlink.Conn
	all []*nftables.Set
}

func newOnlooker(t *testing.T, o *office) *onlooker {
	t.Helper()
	l := &onlooker{}
	var err error
	o.gw.Do(t, func() {
		if l.nft, err = nftables.New(nftables.AsLasting()); err == nil {
			l.gen, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.nft.CloseLasting()
		l.gen.Close()
	})
	for _, table := range tablesOf(o.enforcer.cfg) {
		for _, s := range table.sets {
			if strings.HasPrefix(s.Name, "isolate_") && !strings.HasSuffix(s.Name, "port") {
				l.all = append(l.all, s)
			}
		}
	}
	return l
}

// look returns how many elements the sets have. It is of one moment only when
// the generation was the same before and after.
func (l *onlooker) look() (counts []int, oneMoment bool, err error) {
	before, err := askGeneration(l.gen)
	if err != nil {
		return nil, false, err
	}
	if err := settle(l.gen); err != nil {
		return nil, false, err
	}
	for _, s := range l.all {
		elements, err := l.nft.GetSetElements(s)
		if err != nil {
			return nil, false, err
		}
		keys := keysOf(elements) // the kernel may name one twice while its table grows
		slices.Sort(keys)
		counts = append(counts, len(slices.Compact(keys)))
	}
	after, err := askGeneration(l.gen)
	return counts, before == after, err
}

// TestFiftyAreIsolatedInOneTransactionAllOrNothing lets somebody look on while
// 50 of 250 hosts are isolated and released again and again: whatever is seen of
// one moment is all of it or nothing.
func TestFiftyAreIsolatedInOneTransactionAllOrNothing(t *testing.T) {
	o := newOffice(t)
	o.apply(t, many(250, 0))
	l, own := newOnlooker(t, o), newOnlooker(t, o)
	stop := make(chan struct{})
	seen := map[int]int{} // how many looks saw so many isolated
	var looking errgroup.Group
	looking.Go(func() error {
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			counts, oneMoment, err := l.look()
			if err != nil {
				return err
			}
			if !oneMoment {
				continue
			}
			seen[counts[0]]++
			if len(slices.Compact(counts)) != 1 || counts[0]%50 != 0 {
				return fmt.Errorf("a part is seen: %v", counts)
			}
		}
	})
	for round := range 20 {
		if round == 10 {
			o.enforcer.giveUp() // the tables are replaced whole: one transaction, too
		}
		for _, isolated := range []int{50, 0} {
			before, err := askGeneration(own.gen)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.enforcer.Apply(t.Context(), many(250, isolated)); err != nil {
				t.Fatal(err)
			}
			if after, err := askGeneration(own.gen); err != nil || after != before+1 {
				t.Errorf("%d transactions for one policy, %v", after-before, err)
			}
			if counts, _, err := own.look(); err != nil || counts[0] != isolated {
				t.Fatalf("%v isolated, want %d, %v", counts, isolated, err)
			}
		}
	}
	close(stop)
	if err := looking.Wait(); err != nil {
		t.Error(err)
	}
	if seen[0] == 0 || seen[50] == 0 {
		t.Errorf("the onlooker saw only %v", seen)
	}
	t.Logf("looks by how many were isolated: %v", seen)
}

// BenchmarkApply isolates n hosts at once and releases them, in turns with `nft
// -f`, which makes the same change to a copy of our sets. "rules" is from the
// call to the moment when the kernel holds; "apply" is all of Apply: the
// connections cut, too, and the rules read back. Every turn starts from
// prepared tables; the gateway has 1,000 connections of other hosts.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 50, 250} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			o := newOffice(b)
			o.connect(b, 2, 1000)
			p := many(n, n).Canonical()
			if err := o.enforcer.Apply(b.Context(), netcontain.Policy{}); err != nil {
				b.Fatal(err)
			}
			peer := newPeer(b, o, p)
			times := map[string][]time.Duration{}
			measure := func(name string, change func() error) {
				start := time.Now()
				if err := change(); err != nil {
					b.Fatalf("%s: %v", name, err)
				}
				times[name] = append(times[name], time.Since(start))
			}
			for b.Loop() {
				measure("apply", func() error { return o.enforcer.Apply(b.Context(), p) })
				measure("release", func() error { return o.enforcer.Apply(b.Context(), netcontain.Policy{}) })
				measure("rules", func() error { return o.hold(p) })
				measure("nft", func() error { return peer.run(b, peer.add) })
				measure("nft-release", func() error { return peer.run(b, peer.remove) })
				if err := o.enforcer.Apply(b.Context(), netcontain.Policy{}); err != nil {
					b.Fatal(err)
				}
			}
			report(b, times)
		})
	}
}

// hold is the first part of Apply: what closes the wire.
func (o *office) hold(p netcontain.Policy) error {
	net, err := o.enforcer.surroundings()
	if err != nil {
		return err
	}
	if done, _ := o.enforcer.update(p, net); !done {
		return fmt.Errorf("not updated")
	}
	o.enforcer.last = p
	return nil
}

func report(b *testing.B, times map[string][]time.Duration) {
	b.ReportMetric(0, "ns/op") // of all of them together: says nothing
	at := func(name string, q float64) float64 {
		t := slices.Sorted(slices.Values(times[name]))
		return t[int(q*float64(len(t)-1))].Seconds() * 1e3
	}
	for name := range times {
		b.ReportMetric(at(name, 0.5), name+"-p50-ms")
		b.ReportMetric(at(name, 0.99), name+"-p99-ms")
	}
	b.ReportMetric(at("nft", 0.5)/at("rules", 0.5), "nft/rules")
	b.ReportMetric(at("nft", 0.5)/at("apply", 0.5), "nft/apply")
}

// peer changes a copy of our sets by calling nft.
type peer struct {
	o           *office
	add, remove string // files for nft -f
}

func newPeer(b *testing.B, o *office, p netcontain.Policy) *peer {
	b.Helper()
	dir := b.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	var tables, add, remove strings.Builder
	for _, family := range []string{"bridge", "inet"} {
		tables.WriteString("table " + family + " peer {\n" + setsOnly(o.gw.Run(b, "nft list table "+family+" sekisho")) + "}\n")
		for _, h := range p.Hosts {
			for kind, key := range map[string]string{"mac": h.MACs[0].String(), "ip4": h.Addrs[0].String(), "ip6": h.Addrs[1].String()} {
				fmt.Fprintf(&add, "add element %s peer isolate_%s { %s comment %q }\n", family, kind, key, h.ID)
				fmt.Fprintf(&remove, "delete element %s peer isolate_%s { %s }\n", family, kind, key)
			}
		}
	}
	o.gw.Run(b, "nft -f "+file("tables", tables.String()))
	return &peer{o: o, add: file("add", add.String()), remove: file("remove", remove.String())}
}

// setsOnly leaves out the chains: nft cannot read all of our rules back, and
// does not look at them when it changes elements.
func setsOnly(list string) string {
	var out strings.Builder
	inside := false
	for line := range strings.Lines(list) {
		inside = inside || strings.HasPrefix(line, "\tset ")
		if inside {
			out.WriteString(line)
		}
		inside = inside && line != "\t}\n"
	}
	return out.String()
}

func (p *peer) run(b *testing.B, file string) (err error) {
	p.o.gw.Do(b, func() { err = exec.Command("nft", "-f", file).Run() })
	return err
}
