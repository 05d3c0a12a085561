package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// Enforcer holds hosts in the network namespace in which New was called. Its
// methods may be called from several goroutines. What it wrote stays in the
// kernel when it is closed, and when its process dies.
type Enforcer struct {
	cfg Config
	ns  netns.NsHandle

	mu    sync.Mutex
	nft   *nftables.Conn
	links *netlink.Handle
	flows *netlink.Handle
	prints
	last netcontain.Policy // what Apply last wrote
	own  bool              // last is known
}

var _ netcontain.Enforcer = (*Enforcer)(nil)

const netlinkBuffer = 4 << 20 // bytes; one acknowledgement for every message of a batch must fit

// New opens the kernel's interfaces. It changes nothing.
func New(cfg Config) (*Enforcer, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("nft enforcer: %w", err)
	}
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("nft enforcer: network namespace: %w", err)
	}
	e := &Enforcer{cfg: cfg, ns: ns}
	e.nft, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *mdnetlink.Conn) error {
		return errors.Join(c.SetReadBuffer(netlinkBuffer), c.SetWriteBuffer(netlinkBuffer))
	}))
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("nft enforcer: open nfnetlink (is CONFIG_NETFILTER_NETLINK in the kernel?): %w", err)
	}
	if e.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err == nil {
		e.flows, err = netlink.NewHandle(unix.NETLINK_NETFILTER)
	}
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("nft enforcer: open netlink: %w", err)
	}
	return e, nil
}

// Close gives the sockets back. The policy stays in force.
func (e *Enforcer) Close() error {
	err := errors.Join(e.nft.CloseLasting(), e.ns.Close())
	for _, h := range []*netlink.Handle{e.links, e.flows} {
		if h != nil {
			h.Close()
		}
	}
	return err
}

// Apply makes the kernel hold p, in one batch: all of it or nothing. The zero
// Policy takes our tables away. Connections that p newly forbids are deleted
// from conntrack after the rules stand. It returns a *netcontain.NeverError,
// and changes nothing, when p names the gateway or its uplink.
func (e *Enforcer) Apply(ctx context.Context, p netcontain.Policy) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply containment: %w", err)
	}
	if err := p.Validate(); err != nil {
		return fmt.Errorf("apply containment: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p = p.Canonical()
	net, err := e.surroundings()
	if err != nil {
		return fmt.Errorf("apply containment: %w", err)
	}
	if err := net.refuse(p); err != nil {
		return fmt.Errorf("apply containment: %w", err)
	}
	if err := e.write(p, net); err != nil {
		e.prints = prints{}
		return fmt.Errorf("apply containment: %w", e.diagnose(err))
	}
	before, known := e.last, e.own
	e.last, e.own = p, true
	if err := e.cut(p, before, known, net); err != nil {
		return fmt.Errorf("apply containment: rules are in force, but connections were not deleted (CONFIG_NF_CT_NETLINK?): %w", err)
	}
	return nil
}

// write sends one batch. While the chains are the ones that we last wrote and
// saw, only elements change; otherwise both tables are replaced whole.
func (e *Enforcer) write(p netcontain.Policy, net surroundings) error {
	var id uint32
	tables := []*table{bridgeTable(e.cfg, &id), inetTable(e.cfg, &id)}
	intact := !p.IsZero() && e.known && e.rules != "" && e.compare() == nil
	for _, t := range tables {
		if !intact {
			e.nft.AddTable(t.nft) // so that deleting it cannot fail
			e.nft.DelTable(t.nft)
			if p.IsZero() {
				continue
			}
		}
		if err := e.writeTable(t, p, net, intact); err != nil {
			return err
		}
	}
	if err := e.nft.Flush(); err != nil {
		return err
	}
	if p.IsZero() {
		e.prints = prints{known: true}
		return nil
	}
	if intact {
		return nil
	}
	print, err := e.fingerprint()
	if err != nil {
		return fmt.Errorf("read rules back: %w", err)
	}
	e.prints = prints{known: true, rules: print}
	return nil
}

func (e *Enforcer) writeTable(t *table, p netcontain.Policy, net surroundings, intact bool) error {
	if !intact {
		e.nft.AddTable(t.nft)
	}
	for _, s := range t.sets {
		if intact {
			s.ID = 0 // an existing set is named, not numbered
			e.nft.FlushSet(s)
		} else if err := e.nft.AddSet(s, nil); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
		elements := elementsOf(s.Name, p, net)
		for part := range slices.Chunk(elements, 200) { // a netlink attribute holds 64 KiB
			if err := e.nft.SetAddElements(s, part); err != nil {
				return fmt.Errorf("set %s: %w", s.Name, err)
			}
		}
	}
	for _, c := range t.chains {
		if !intact {
			e.addChain(t, c)
		}
	}
	for _, c := range t.chains {
		if !intact {
			e.addRules(t, c)
		}
	}
	lockdown := &nftables.Chain{Name: "lockdown", Table: t.nft}
	if intact {
		e.nft.FlushChain(lockdown)
	}
	if p.Lockdown {
		e.nft.AddRule(&nftables.Rule{Table: t.nft, Chain: lockdown, Exprs: verdict(expr.VerdictDrop)})
	}
	return nil
}

func (e *Enforcer) addChain(t *table, c chain) {
	n := &nftables.Chain{Name: c.name, Table: t.nft}
	if c.hook != nil {
		accept := nftables.ChainPolicyAccept
		n.Hooknum, n.Priority, n.Type, n.Policy = c.hook, nftables.ChainPriorityRef(c.prio), c.kind, &accept
	}
	e.nft.AddChain(n)
}

func (e *Enforcer) addRules(t *table, c chain) {
	for _, r := range c.rules {
		e.nft.AddRule(&nftables.Rule{
			Table: t.nft, Chain: &nftables.Chain{Name: c.name, Table: t.nft}, Exprs: r.exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment),
		})
	}
}

// diagnose says what the kernel is missing, by asking for one feature at a
// time, in tables of our own name that are gone again in the same batch.
func (e *Enforcer) diagnose(cause error) error {
	if errors.Is(cause, os.ErrPermission) {
		return fmt.Errorf("no permission to change nftables: run as root, or with CAP_NET_ADMIN: %w", cause)
	}
	for _, f := range []struct {
		family  nftables.TableFamily
		kind    nftables.ChainType
		hook    *nftables.ChainHook
		missing string
	}{
		{nftables.TableFamilyBridge, nftables.ChainTypeFilter, nftables.ChainHookForward, "CONFIG_NF_TABLES_BRIDGE (nftables on bridges)"},
		{nftables.TableFamilyINet, nftables.ChainTypeFilter, nftables.ChainHookForward, "CONFIG_NF_TABLES_INET (nftables for IPv4 and IPv6)"},
		{nftables.TableFamilyINet, nftables.ChainTypeNAT, nftables.ChainHookPrerouting, "CONFIG_NFT_NAT and CONFIG_NF_CONNTRACK (address translation)"},
	} {
		t := &nftables.Table{Family: f.family, Name: Table + "_check"}
		e.nft.AddTable(t)
		e.nft.AddChain(&nftables.Chain{Name: "check", Table: t, Hooknum: f.hook, Priority: nftables.ChainPriorityFilter, Type: f.kind})
		e.nft.DelTable(t)
		if err := e.nft.Flush(); err != nil {
			return fmt.Errorf("the kernel lacks %s: %w", f.missing, errors.Join(err, cause))
		}
	}
	return cause
}

// prints remembers what our chains looked like when read back after they were
// written.
type prints struct {
	known bool
	rules string // empty: our tables are not there
}

// compare returns an *AlteredError when the rules are not as remembered.
func (e *Enforcer) compare() error {
	now, err := e.fingerprint()
	switch {
	case err != nil:
		return err
	case !e.known || now == e.rules:
		return nil
	case now == "":
		return &netcontain.AlteredError{What: "tables of ours are gone"}
	}
	return &netcontain.AlteredError{What: "chains or rules of ours are not as written"}
}

func addrSet(addrs []netip.Addr) map[netip.Addr]bool {
	m := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		m[a.Unmap().WithZone("")] = true
	}
	return m
}
