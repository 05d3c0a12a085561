package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// generation is the kernel's count of committed nftables transactions, of
// anybody, in this namespace; zero when it cannot be read. Two equal ones mean
// that nothing was changed between: to ask takes 20 µs, to read every set and
// rule back some milliseconds.
type generation uint32

func askGeneration(c *netlink.Conn) (generation, error) {
	const id = 1 // NFTA_GEN_ID, linux/netfilter/nf_tables.h
	replies, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN), Flags: netlink.Request},
		Data:   make([]byte, nfgenBytes),
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the generation of nftables: %w", err)
	}
	for _, m := range replies {
		if len(m.Data) < nfgenBytes {
			continue
		}
		for kind, whole := range attributes(m.Data[nfgenBytes:]) {
			if kind == id && len(whole) >= 8 {
				return generation(binary.BigEndian.Uint32(whole[4:])), nil
			}
		}
	}
	return 0, nil
}

// settle returns when no transaction is under way any more: the kernel counts
// one just before it takes effect. A batch without content waits for the others
// and is none itself.
func settle(c *netlink.Conn) error {
	ofNFTables := []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES}
	_, err := c.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: ofNFTables},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: ofNFTables},
	})
	if err != nil {
		return fmt.Errorf("wait for nftables: %w", err)
	}
	return nil
}

// now asks. Without an answer nothing is assumed, and all is read back.
func (e *Enforcer) now() generation {
	g, err := askGeneration(e.gens)
	if err != nil {
		return 0
	}
	return g
}

// commit sends what is queued. sole says that it was the only change since the
// generation at which the kernel held what was last written: then it holds
// exactly what is now written, without a look.
func (e *Enforcer) commit() (sole bool, err error) {
	before := e.now()
	if err := e.nft.Flush(); err != nil {
		return false, err
	}
	after := e.now()
	sole = before != 0 && before == e.at && after == before+1
	if e.at = 0; sole {
		e.at = after
	}
	return sole, nil
}

// look reads back what the kernel holds, and remembers the generation when that
// is what was last written.
func (e *Enforcer) look(net surroundings) (netcontain.Policy, error) {
	before := e.now()
	settled := settle(e.gens) == nil
	p, err := e.observed(net)
	if err == nil && settled && e.known && e.own && before == e.now() && netcontain.Diff(e.last, p).Empty() {
		e.at = before
	}
	return p, err
}
