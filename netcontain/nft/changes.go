package nft

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// Changes tells at once when something may have changed what holds: somebody
// flushed the rules, a port or the bridge came or went, an address changed. It
// is meant for netcontain.Config.Changes; it only ever says "look", so an event
// too many costs one look and one too few half a second.
type Changes struct {
	c     chan struct{}
	rules *netlink.Conn // nftables notifications
	links *netlink.Conn // rtnetlink notifications
}

// Some changes are looked at without delay: a rebuilt bridge makes several in a
// row. Whoever makes addresses or rules come and go all the time costs at most
// 50 looks a second of either kind, and the reconciler rests between them.
const (
	changesPace  = 20 * time.Millisecond
	changesBurst = 10
)

// NewChanges listens in the network namespace of the caller, from now on.
func NewChanges() (*Changes, error) {
	c := &Changes{c: make(chan struct{}, 1)}
	for _, from := range []struct {
		conn   **netlink.Conn
		family int
		groups []uint32
	}{
		{&c.rules, unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}},
		{&c.links, unix.NETLINK_ROUTE, []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR}},
	} {
		conn, err := netlink.Dial(from.family, nil)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("listen for changes: %w", err)
		}
		*from.conn = conn
		for _, g := range from.groups {
			if err := conn.JoinGroup(g); err != nil {
				c.Close()
				return nil, fmt.Errorf("listen for changes: group %d: %w", g, err)
			}
		}
	}
	return c, nil
}

// C has a token when something changed since the last one was taken.
func (c *Changes) C() <-chan struct{} { return c.c }

// Close ends Run.
func (c *Changes) Close() error {
	var errs []error
	for _, conn := range []*netlink.Conn{c.rules, c.links} {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	return errors.Join(errs...)
}

// Run fills C until ctx ends, and returns nil then. It closes the sockets. When
// one of them fails it returns the error; the reconciler's ticker remains.
func (c *Changes) Run(ctx context.Context) error {
	g, inner := errgroup.WithContext(ctx)
	stop := context.AfterFunc(inner, func() { c.Close() })
	defer stop()
	g.Go(func() error { return c.listen(inner, c.rules, ofOurTables) })
	g.Go(func() error { return c.listen(inner, c.links, func(netlink.Message) bool { return true }) })
	err := g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("listen for changes: %w", err)
}

func (c *Changes) listen(ctx context.Context, conn *netlink.Conn, matters func(netlink.Message) bool) error {
	pace := rate.NewLimiter(rate.Every(changesPace), changesBurst)
	for {
		messages, err := conn.Receive()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		look := err != nil // the kernel had to drop events: whatever they were
		for _, m := range messages {
			look = look || matters(m)
		}
		if !look {
			continue
		}
		select {
		case c.c <- struct{}{}:
		default: // the token that waits will do
		}
		if err := pace.Wait(ctx); err != nil { // events gather meanwhile, and the next token stands for all
			return err
		}
	}
}

// ofOurTables says whether a notification of nftables is about our tables.
// What dnsmasq adds to the sets of names happens all day and alters nothing. The
// first attribute of every kind of object is the name of its table, the second
// one of an element's message is the set (linux/netfilter/nf_tables.h).
func ofOurTables(m netlink.Message) bool {
	if len(m.Data) < nfgenBytes || uint16(m.Header.Type)>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false
	}
	const nameOfTable, nameOfSet = 1, 2
	ours, set := false, ""
	for kind, whole := range attributes(m.Data[nfgenBytes:]) {
		switch kind {
		case nameOfTable:
			ours = strings.TrimRight(string(whole[4:]), "\x00") == Table
		case nameOfSet:
			set = strings.TrimRight(string(whole[4:]), "\x00")
		}
	}
	kind := uint16(m.Header.Type) & 0xff
	if kind == unix.NFT_MSG_NEWGEN || !ours {
		return false // NEWGEN ends every transaction, and has no name
	}
	element := kind == unix.NFT_MSG_NEWSETELEM || kind == unix.NFT_MSG_DELSETELEM
	return !element || !strings.HasPrefix(set, namePrefix)
}
