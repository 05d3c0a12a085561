package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// flowTable is the kernel's conntrack table of one namespace, over ctnetlink
// (linux/netfilter/nfnetlink_conntrack.h). Its walk is the longest part of a
// press: the kernel looks into every bucket, 262,144 on a machine of 4 GiB,
// however few connections there are. So it is walked once for both families, and
// what has to go is deleted on a second socket while the walk goes on: what an
// attacker's scan has left there never has to fit into memory.
type flowTable struct {
	walk, kill int // sockets
	seq        uint32
	buf        []byte
}

const (
	flowBuffer   = 64 << 10        // bytes; the kernel fills at most 32 KiB at a time
	flowPatience = 5 * time.Second // for one answer of the kernel; a full table takes less than one second
	killAtOnce   = 100             // so that the acknowledgements fit into the socket's buffer
)

// Messages and attributes of ctnetlink.
const (
	ctNew       = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet       = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
	ctaOrig     = 1
	ctaReply    = 2
	ctaID       = 12
	ctaZone     = 18
	ctaTupleIP  = 1
	nestedMask  = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	headerBytes = 16
	nfgenBytes  = 4
)

func openFlows() (*flowTable, error) {
	f := &flowTable{walk: -1, kill: -1, buf: make([]byte, flowBuffer)}
	for _, fd := range []*int{&f.walk, &f.kill} {
		var err error
		if *fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			f.Close()
			return nil, fmt.Errorf("open conntrack socket: %w", err)
		}
		patience := unix.NsecToTimeval(flowPatience.Nanoseconds())
		err = errors.Join(unix.Bind(*fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
			unix.SetsockoptTimeval(*fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
			unix.SetsockoptInt(*fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1))
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("set up conntrack socket: %w", err)
		}
	}
	return f, nil
}

// Close gives the sockets back.
func (f *flowTable) Close() {
	for _, fd := range []int{f.walk, f.kill} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	f.walk, f.kill = -1, -1
}

// delete removes every connection that match names, of both families, and
// returns how many. A connection that ended by itself meanwhile is no error.
func (f *flowTable) delete(match func(flowEnds) bool) (int, error) {
	f.seq++
	ask := header(nil, ctGet, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, f.seq, unix.AF_UNSPEC)
	if err := unix.Sendto(f.walk, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("list connections: %w", err)
	}
	var errs []error
	gone, walked := 0, f.seq
	for {
		n, err := read(f.walk, f.buf)
		if err != nil {
			return gone, errors.Join(append(errs, fmt.Errorf("list connections: %w", err))...)
		}
		requests, done, err := f.choose(f.buf[:n], walked, match)
		errs = append(errs, err)
		n, err = f.send(requests)
		gone, errs = gone+n, append(errs, err)
		if done {
			return gone, errors.Join(errs...)
		}
	}
}

// choose reads one part of the walk, and returns the request for each
// connection that has to go.
func (f *flowTable) choose(b []byte, walked uint32, match func(flowEnds) bool) (requests [][]byte, done bool, err error) {
	for len(b) >= headerBytes {
		size := int(binary.NativeEndian.Uint32(b))
		if size < headerBytes || size > len(b) {
			return requests, false, errors.New("list connections: the kernel's message is cut off")
		}
		m := b[:size]
		b = b[min(len(b), (size+3)&^3):]
		if binary.NativeEndian.Uint32(m[8:]) != walked {
			continue // left over from a walk that was given up
		}
		switch binary.NativeEndian.Uint16(m[4:]) {
		case unix.NLMSG_DONE:
			return requests, true, nil
		case unix.NLMSG_ERROR:
			return requests, true, fmt.Errorf("list connections: %w", errnoOf(m))
		case ctNew:
			flow, ok := parseFlow(m[headerBytes:])
			if ok && match(flow.ends) {
				f.seq++
				requests = append(requests, flow.request(f.seq))
			}
		}
	}
	return requests, false, nil
}

// send sends the requests and waits for each one's acknowledgement.
func (f *flowTable) send(requests [][]byte) (gone int, err error) {
	acks := make([]byte, 8<<10)
	for len(requests) > 0 {
		part := requests[:min(len(requests), killAtOnce)]
		requests = requests[len(part):]
		var b []byte
		for _, r := range part {
			b = append(b, r...)
		}
		if err := unix.Sendto(f.kill, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return gone, fmt.Errorf("delete connections: %w", err)
		}
		for answered := 0; answered < len(part); {
			n, readErr := read(f.kill, acks)
			if readErr != nil {
				return gone, fmt.Errorf("delete connections: %w", readErr)
			}
			for m := acks[:n]; len(m) >= headerBytes+4; m = m[min(len(m), int(max(4, binary.NativeEndian.Uint32(m)+3)&^3)):] {
				answered++
				switch errno := errnoOf(m); errno {
				case 0:
					gone++
				case unix.ENOENT:
				default:
					err = fmt.Errorf("delete connection: %w", errno)
				}
			}
		}
	}
	return gone, err
}

func errnoOf(m []byte) unix.Errno {
	if len(m) < headerBytes+4 {
		return unix.EBADMSG
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m[headerBytes:])))
}

func read(fd int, b []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// header writes nlmsghdr and nfgenmsg; the length is set when the message is
// whole.
func header(b []byte, kind, flags uint16, seq uint32, family byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, headerBytes+nfgenBytes)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return append(b, family, unix.NFNETLINK_V0, 0, 0)
}

// flowEnds are source and destination as the initiator sees them, and as the
// responder does: under NAT only both together name both real ends.
type flowEnds [4]netip.Addr

// flow is one connection, with the attributes by which the kernel finds it.
type flow struct {
	family byte
	ends   flowEnds
	keys   [3][]byte // original tuple, ID and zone, as attributes
}

// parseFlow reads the payload of one ctnetlink message. It is total: what it
// cannot read is not ok.
func parseFlow(b []byte) (f flow, ok bool) {
	if len(b) < nfgenBytes {
		return f, false
	}
	f.family = b[0]
	for kind, whole := range attributes(b[nfgenBytes:]) {
		switch kind {
		case ctaOrig:
			f.keys[0] = whole
			f.ends[0], f.ends[1] = tupleEnds(whole[4:])
		case ctaReply:
			f.ends[2], f.ends[3] = tupleEnds(whole[4:])
		case ctaID:
			f.keys[1] = whole
		case ctaZone:
			f.keys[2] = whole
		}
	}
	return f, f.ends[0].IsValid() && f.ends[1].IsValid()
}

func tupleEnds(b []byte) (src, dst netip.Addr) {
	for kind, whole := range attributes(b) {
		if kind != ctaTupleIP {
			continue
		}
		for end, ip := range attributes(whole[4:]) { // 1 and 2: IPv4 source and destination; 3 and 4: IPv6
			a, _ := netip.AddrFromSlice(ip[4:])
			switch end {
			case 1, 3:
				src = a.Unmap()
			case 2, 4:
				dst = a.Unmap()
			}
		}
	}
	return src, dst
}

// attributes yields every netlink attribute of b, with its header, until one
// does not fit.
func attributes(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			size := int(binary.NativeEndian.Uint16(b))
			if size < 4 || size > len(b) || !yield(binary.NativeEndian.Uint16(b[2:])&nestedMask, b[:size]) {
				return
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// request asks for the deletion of this connection and, by its ID, of no other
// that has taken its place.
func (f flow) request(seq uint32) []byte {
	b := header(nil, ctDelete, unix.NLM_F_REQUEST|unix.NLM_F_ACK, seq, f.family)
	for _, k := range f.keys {
		b = append(b, k...)
		b = append(b, make([]byte, (4-len(b)%4)%4)...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}
