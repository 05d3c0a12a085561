package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

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
	gens  *mdnetlink.Conn
	flows *flowTable
	written
	last    netcontain.Policy // what Apply last wrote
	own     bool              // last is known
	names   named
	bridged bridged
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
	e := &Enforcer{cfg: cfg, ns: ns, names: named{}}
	e.nft, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *mdnetlink.Conn) error {
		return errors.Join(c.SetReadBuffer(netlinkBuffer), c.SetWriteBuffer(netlinkBuffer))
	}))
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("nft enforcer: open nfnetlink (is CONFIG_NETFILTER_NETLINK in the kernel?): %w", err)
	}
	var errs [3]error
	e.links, errs[0] = netlink.NewHandle(unix.NETLINK_ROUTE)
	e.flows, errs[1] = openFlows()
	e.gens, errs[2] = mdnetlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err := errors.Join(errs[:]...); err != nil {
		e.Close()
		return nil, fmt.Errorf("nft enforcer: open netlink: %w", err)
	}
	return e, nil
}

// Close gives the sockets back. The policy stays in force; when it holds nobody
// and the tables are still the ones that this Enforcer wrote, they go too, but
// for those with addresses of names in them: dnsmasq would not say them again
// until its cache is old.
func (e *Enforcer) Close() error {
	err := errors.Join(e.tidy(), e.nft.CloseLasting(), e.ns.Close())
	if e.links != nil {
		e.links.Close()
	}
	if e.flows != nil {
		e.flows.Close()
	}
	if e.gens != nil {
		err = errors.Join(err, e.gens.Close())
	}
	return err
}

// Apply makes the kernel hold p, in one batch: all of it or nothing. The zero
// Policy leaves our tables standing without an element in them, so that holding
// the first host is a matter of elements too; applied at boot, it prepares
// that. Connections that p newly forbids are deleted from conntrack after the
// rules stand, and what stands is read back last, unless nobody else changed
// anything. It returns a
// *netcontain.NeverError, and changes nothing, when p names the gateway or its
// uplink. Without the bridge it holds by the sets all the same; when there never
// was one, it says so afterwards.
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
	updated, sole := e.update(p, net)
	if !updated {
		if err := e.rebuild(p, net); err != nil {
			return fmt.Errorf("apply containment: %w", e.diagnose(err))
		}
	}
	before, known := e.last, e.own
	e.last, e.own = p, true
	cutErr := e.cut(p, before, known, net)
	if updated && !sole && !e.stands(net) {
		if err := e.rebuild(p, net); err != nil {
			return fmt.Errorf("apply containment: %w", e.diagnose(err))
		}
	}
	if cutErr != nil {
		return fmt.Errorf("apply containment: rules are in force, but connections were not deleted (CONFIG_NF_CT_NETLINK?): %w", cutErr)
	}
	if net.trouble != nil {
		return fmt.Errorf("apply containment: rules are in force, but %w", net.trouble)
	}
	return nil
}

// update changes the elements that differ from what was last written, in one
// batch, without a look at the kernel first: isolation must not wait for dumps.
// An entry that stays is not touched. It returns not done, and nothing is changed,
// when the kernel does not hold what it builds on; sole is that of commit.
func (e *Enforcer) update(p netcontain.Policy, net surroundings) (done, sole bool) {
	if !e.known {
		return false, false
	}
	for _, t := range tablesOf(e.cfg) {
		for _, s := range t.sets {
			s.ID = 0 // an existing set is named, not numbered
			if err := e.change(s, elementsOf(s.Name, e.last, e.net), elementsOf(s.Name, p, net)); err != nil {
				e.giveUp()
				return false, false
			}
		}
		if p.Lockdown != e.last.Lockdown {
			e.nft.FlushChain(&nftables.Chain{Name: lockdownChain, Table: t.nft})
			e.addLockdown(t, p)
		}
	}
	sole, err := e.commit()
	if err != nil {
		e.giveUp()
		return false, false
	}
	e.net = net
	return true, sole
}

// giveUp forgets what was believed of the kernel. What Flush has sent is gone
// from its buffer, also after an error.
func (e *Enforcer) giveUp() { e.written = written{} }

// change queues what makes a set go from one content to another. Intervals hang
// together, so their sets are replaced whole: they only ever allow.
func (e *Enforcer) change(s *nftables.Set, from, to []nftables.SetElement) error {
	if text(from) == text(to) {
		return nil
	}
	if s.Interval {
		e.nft.FlushSet(s)
		return e.addElements(s, to)
	}
	if gone := without(from, to); len(gone) > 0 {
		if err := e.nft.SetDeleteElements(s, gone); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	return e.addElements(s, without(to, from))
}

// without returns the elements of a that are not in b.
func without(a, b []nftables.SetElement) []nftables.SetElement {
	have := make(map[string]bool, len(b))
	for _, el := range b {
		have[elementText(el)] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(el nftables.SetElement) bool { return have[elementText(el)] })
}

func (e *Enforcer) addElements(s *nftables.Set, elements []nftables.SetElement) error {
	for part := range slices.Chunk(elements, 200) { // a netlink attribute holds 64 KiB
		if err := e.nft.SetAddElements(s, part); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	return nil
}

// stands reads back whether the kernel holds exactly what was last written.
func (e *Enforcer) stands(net surroundings) bool {
	got, err := e.look(net)
	return err == nil && netcontain.Diff(e.last, got).Empty()
}

// rebuild replaces both tables whole, in one batch. What dnsmasq had put into
// them is put back.
func (e *Enforcer) rebuild(p netcontain.Policy, net surroundings) error {
	e.written = written{}
	tables := tablesOf(e.cfg)
	e.lookNames(tables)
	for _, t := range tables {
		e.nft.AddTable(t.nft) // so that deleting it cannot fail
		e.nft.DelTable(t.nft)
		if err := e.writeTable(t, p, net); err != nil {
			return err
		}
	}
	before := e.now()
	if err := e.nft.Flush(); err != nil {
		return err
	}
	print, err := e.fingerprint()
	if err != nil {
		return fmt.Errorf("read rules back: %w", err)
	}
	e.written = written{known: true, rules: print, net: net}
	if after := e.now(); before != 0 && after == before+1 {
		e.at = after // nobody else wrote, also not between the rules and the look at them
	}
	return nil
}

func tablesOf(cfg Config) []*table {
	var id uint32
	return []*table{bridgeTable(cfg, &id), inetTable(cfg, &id)}
}

func (e *Enforcer) writeTable(t *table, p netcontain.Policy, net surroundings) error {
	e.nft.AddTable(t.nft)
	for _, s := range t.sets {
		if err := e.nft.AddSet(s, nil); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
		elements := elementsOf(s.Name, p, net)
		if s.HasTimeout {
			elements = e.names.elements(s, time.Now())
		}
		if err := e.addElements(s, elements); err != nil {
			return err
		}
	}
	for _, c := range t.chains {
		e.addChain(t, c)
	}
	for _, c := range t.chains {
		e.addRules(t, c)
	}
	e.addLockdown(t, p)
	return nil
}

func (e *Enforcer) addLockdown(t *table, p netcontain.Policy) {
	if p.Lockdown {
		e.nft.AddRule(&nftables.Rule{Table: t.nft, Chain: &nftables.Chain{Name: lockdownChain, Table: t.nft}, Exprs: verdict(expr.VerdictDrop)})
	}
}

// tidy takes our tables away when they hold nobody and are as we wrote them:
// another Enforcer may have taken over since.
func (e *Enforcer) tidy() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.known || !e.last.IsZero() {
		return nil
	}
	if got, err := e.observed(e.net); err != nil || !got.IsZero() {
		return nil
	}
	if e.lookNames(tablesOf(e.cfg)); len(e.names.addrs(nil)) > 0 {
		return nil
	}
	for _, t := range tablesOf(e.cfg) {
		e.nft.DelTable(t.nft)
	}
	e.written = written{}
	if err := e.nft.Flush(); err != nil {
		return fmt.Errorf("remove empty tables: %w", err)
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
		rule    []expr.Any
		missing string
	}{
		{nftables.TableFamilyBridge, nftables.ChainTypeFilter, nftables.ChainHookForward, nil, "CONFIG_NF_TABLES_BRIDGE (nftables on bridges)"},
		{nftables.TableFamilyBridge, nftables.ChainTypeFilter, nftables.ChainHookForward, protocol(etherIP), "CONFIG_NFT_BRIDGE_META (module nft_meta_bridge)"},
		{nftables.TableFamilyINet, nftables.ChainTypeFilter, nftables.ChainHookForward, nil, "CONFIG_NF_TABLES_INET (nftables for IPv4 and IPv6)"},
		{nftables.TableFamilyINet, nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nil, "CONFIG_NFT_NAT and CONFIG_NF_CONNTRACK (address translation)"},
		{nftables.TableFamilyINet, nftables.ChainTypeNAT, nftables.ChainHookPrerouting, redirectTo(closedPort), "CONFIG_NFT_REDIR (module nft_redir)"},
	} {
		t := &nftables.Table{Family: f.family, Name: Table + "_check"}
		e.nft.AddTable(t)
		c := e.nft.AddChain(&nftables.Chain{Name: "check", Table: t, Hooknum: f.hook, Priority: nftables.ChainPriorityFilter, Type: f.kind})
		if f.rule != nil {
			e.nft.AddRule(&nftables.Rule{Table: t, Chain: c, Exprs: f.rule})
		}
		e.nft.DelTable(t)
		if err := e.nft.Flush(); err != nil {
			return fmt.Errorf("the kernel lacks %s: %w", f.missing, errors.Join(err, cause))
		}
	}
	return cause
}

// written remembers what was written beside the policy, and what our chains
// looked like when read back afterwards.
type written struct {
	known bool // the tables stand, as far as we know
	rules string
	net   surroundings
	at    generation // at which the kernel was seen to hold it; zero: at none
}

func addrSet(addrs []netip.Addr) map[netip.Addr]bool {
	m := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		m[a.Unmap().WithZone("")] = true
	}
	return m
}
