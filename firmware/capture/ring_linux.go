package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	tagLen = 4 // an IEEE 802.1Q tag
	macLen = 12

	blockHeader  = int(unsafe.Sizeof(unix.TpacketBlockDesc{}))
	packetHeader = int(unsafe.Sizeof(unix.Tpacket3Hdr{}))
)

// ring walks the blocks that kernel and program share. A block belongs to one
// side at a time; its status word says to which.
type ring struct {
	fd    int
	mem   []byte
	block int // size
	count int

	cur  int    // block being read, or to be read next
	held bool   // cur is ours
	left uint32 // frames not yet taken from it
	at   int    // offset in mem of the next frame header

	packets, bytes uint64
}

func (r *ring) open(fd int, cfg LiveConfig) error {
	req := unix.TpacketReq3{
		Block_size:     uint32(cfg.BlockSize),
		Block_nr:       uint32(cfg.Blocks),
		Frame_size:     2048, // V3 packs frames; the kernel only checks the product
		Frame_nr:       uint32(cfg.BlockSize / 2048 * cfg.Blocks),
		Retire_blk_tov: uint32(cfg.PollInterval.Milliseconds()),
	}
	mib := cfg.BlockSize * cfg.Blocks >> 20
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		if errors.Is(err, unix.ENOMEM) {
			return fmt.Errorf("make a ring of %d MiB: %w: use fewer or smaller blocks", mib, err)
		}
		return fmt.Errorf("make a ring of %d MiB: %w", mib, err)
	}
	mem, err := unix.Mmap(fd, 0, cfg.BlockSize*cfg.Blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the ring of %d MiB: %w", mib, err)
	}
	*r = ring{fd: fd, mem: mem, block: cfg.BlockSize, count: cfg.Blocks}
	return nil
}

func (r *ring) close() error {
	mem := r.mem
	r.mem, r.held, r.left = nil, false, 0
	if mem == nil {
		return nil
	}
	return unix.Munmap(mem)
}

// desc is the header of block cur.
func (r *ring) desc() *unix.TpacketHdrV1 {
	d := (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.mem[r.cur*r.block]))
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&d.Hdr))
}

// ready gives the block that is read back to the kernel, and takes the next
// one if the kernel has handed it over.
func (r *ring) ready() bool {
	if r.held {
		atomic.StoreUint32(&r.desc().Block_status, unix.TP_STATUS_KERNEL)
		r.held = false
		r.cur = (r.cur + 1) % r.count
	}
	d := r.desc()
	if atomic.LoadUint32(&d.Block_status)&unix.TP_STATUS_USER == 0 {
		return false
	}
	r.held = true
	r.left = d.Num_pkts
	r.at = r.cur*r.block + int(d.Offset_to_first_pkt)
	return true
}

// take fills f with the next frame of the held block.
func (r *ring) take(f *Frame) bool {
	if r.left == 0 {
		return false
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[r.at]))
	sll := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.mem[r.at+packetHeader]))
	start := r.at + int(h.Mac)
	end := start + int(h.Snaplen)
	orig := int(h.Len)
	link := linkOf(sll.Hatype)
	if h.Status&unix.TP_STATUS_VLAN_VALID != 0 && link == LinkEthernet && end-start >= macLen {
		// PACKET_RESERVE made the room before the frame.
		start -= tagLen
		orig += tagLen
		restoreTag(r.mem[start:end], h)
	}
	*f = Frame{
		Time:    int64(h.Sec)*1e9 + int64(h.Nsec),
		Data:    r.mem[start:end:end],
		OrigLen: orig,
		Link:    link,
		Iface:   uint32(sll.Ifindex),
		Out:     sll.Pkttype == unix.PACKET_OUTGOING,
	}
	r.left--
	r.at += int(h.Next_offset)
	r.packets++
	r.bytes += uint64(end - start)
	return true
}

// restoreTag puts the VLAN tag that the kernel took out back in. b starts with
// four spare bytes.
func restoreTag(b []byte, h *unix.Tpacket3Hdr) {
	tpid := uint16(unix.ETH_P_8021Q)
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = h.Hv1.Vlan_tpid
	}
	copy(b, b[tagLen:tagLen+macLen])
	binary.BigEndian.PutUint16(b[macLen:], tpid)
	binary.BigEndian.PutUint16(b[macLen+2:], uint16(h.Hv1.Vlan_tci))
}

// linkOf says how frames of an ARPHRD_ type start on a SOCK_RAW socket.
func linkOf(hatype uint16) LinkType {
	switch hatype {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return LinkEthernet
	case unix.ARPHRD_IEEE80211:
		return LinkIEEE80211
	case unix.ARPHRD_IEEE80211_RADIOTAP:
		return LinkRadiotap
	}
	return LinkRaw // tunnels have no link header
}
