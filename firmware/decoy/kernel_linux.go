package decoy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	labelSuffix = ":dcy" // marks our addresses, also after a crash
	tableName   = "sekisho_decoy"

	statusDstNAT = 1 << 5 // IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h)
)

// kernel is what decoys change in the system: labelled /32 addresses on one
// link, and one nftables table.
type kernel struct {
	name  string
	nl    *netlink.Handle
	nft   *nftables.Conn
	link  netlink.Link
	mac   [6]byte
	rules []netip.Addr // what our table protects; nil: no table yet
}

func openKernel(name string) (*kernel, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	k := &kernel{name: name, nl: nl}
	if k.link, k.mac, err = k.now(); err != nil {
		nl.Close()
		return nil, fmt.Errorf("find the interface: %w", err)
	}
	nft, err := nftables.New(nftables.AsLasting())
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	k.nft = nft
	return k, nil
}

// now is the link as it is now, with its address.
func (k *kernel) now() (link netlink.Link, mac [6]byte, err error) {
	if link, err = k.nl.LinkByName(k.name); err == nil {
		copy(mac[:], link.Attrs().HardwareAddr)
	}
	return link, mac, err
}

func (k *kernel) close() {
	k.nl.Close()
	k.nft.CloseLasting()
}

func (k *kernel) label() string { return k.link.Attrs().Name + labelSuffix }

// present lists our addresses by their label.
func (k *kernel) present() ([]netlink.Addr, error) {
	all, err := k.nl.AddrList(k.link, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return slices.DeleteFunc(all, func(a netlink.Addr) bool { return a.Label != k.label() }), nil
}

// apply makes the kernel hold exactly want. No address answers before the
// rules that keep services away from it, and none outlives them.
func (k *kernel) apply(want []netip.Addr) error {
	have, err := k.present()
	if err != nil {
		return err
	}
	for _, a := range have {
		ip, _ := netip.AddrFromSlice(a.IP.To4())
		if !slices.Contains(want, ip) {
			if err := k.nl.AddrDel(k.link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("remove %s: %w", ip, err)
			}
		}
	}
	if err := k.protect(want); err != nil {
		return err
	}
	for _, ip := range want {
		if slices.ContainsFunc(have, func(a netlink.Addr) bool { return a.IP.Equal(ip.AsSlice()) }) {
			continue
		}
		addr := &netlink.Addr{
			IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)},
			Label: k.label(),
			Scope: unix.RT_SCOPE_HOST, // answered for, never chosen as a source address
		}
		if err := k.nl.AddrAdd(k.link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add %s: %w", ip, err)
		}
	}
	return nil
}

// clear removes our addresses, then our table.
func (k *kernel) clear() error {
	have, err := k.present()
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range have {
		if err := k.nl.AddrDel(k.link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("remove %s: %w", a.IP, err))
		}
	}
	if len(errs) == 0 { // rules stay as long as an address does
		errs = append(errs, k.dropTable())
	}
	k.rules = nil
	return errors.Join(errs...)
}

func (k *kernel) dropTable() error {
	// Adding first makes the deletion succeed when there is no table.
	table := k.nft.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	k.nft.DelTable(table)
	if err := k.nft.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", tableName, err)
	}
	return nil
}

// protect replaces our table in one transaction, unless it already stands and
// covers want. Its counters start anew when it is replaced.
func (k *kernel) protect(want []netip.Addr) error {
	if k.rules != nil && slices.Equal(k.rules, want) {
		_, err := k.nft.ListTableOfFamily(tableName, nftables.TableFamilyIPv4)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("look for table %s: %w", tableName, err)
		}
	}
	table := k.nft.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	k.nft.DelTable(table)
	table = k.nft.AddTable(table)
	// An ID of our own: the library's counter for them is an unguarded global,
	// and others in this process write nftables too. It must be unique only
	// within the transaction.
	set := &nftables.Set{Table: table, Name: "decoys", KeyType: nftables.TypeIPAddr, ID: 1}
	elements := make([]nftables.SetElement, len(want))
	for i, a := range want {
		elements[i].Key = a.AsSlice()
	}
	if err := k.nft.AddSet(set, elements); err != nil {
		return fmt.Errorf("fill the decoy set: %w", err)
	}
	accept := nftables.ChainPolicyAccept
	chain := k.nft.AddChain(&nftables.Chain{
		Table: table, Name: "input", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRef(-10), Policy: &accept,
	})
	// Address translation that sends packets to "this host" takes the interface's
	// first address, which is a decoy by its scope: the help page's redirect would
	// end here. Nobody called a decoy there.
	k.nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(statusDstNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
	for _, r := range [][]expr.Any{
		{protocol(unix.IPPROTO_TCP), &expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}},
		{protocol(unix.IPPROTO_ICMP), load(expr.PayloadBaseTransportHeader, 0, 1), equal(8), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}},
		{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}},
	} {
		match := []expr.Any{load(expr.PayloadBaseNetworkHeader, 16, 4), &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}}
		if len(r) > 2 {
			match = append(match, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1})
		}
		k.nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, r...)})
	}
	if err := k.nft.Flush(); err != nil {
		return fmt.Errorf("write table %s: %w", tableName, err)
	}
	k.rules = slices.Clone(want)
	if k.rules == nil {
		k.rules = []netip.Addr{}
	}
	return nil
}

func load(base expr.PayloadBase, offset, n uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: n}
}

func equal(b ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b} }

func protocol(p byte) expr.Any { return equal(p) }

func htons(v uint16) uint16 {
	return binaryutil.NativeEndian.Uint16(binaryutil.BigEndian.PutUint16(v))
}
