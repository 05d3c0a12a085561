package capture

import (
	"encoding/binary"
	"math"
)

// Section is what a section header block says of the capture.
type Section struct {
	Hardware string // what captured it
	OS       string
	App      string // which program wrote it
	Comment  string
}

// Interface is what an interface description block says. Written times are
// always in nanoseconds.
type Interface struct {
	Name        string // as the kernel calls it, "lan2"
	Description string // for people, "LAN port 2"
	MAC         []byte // 6 bytes, or nil when unknown
	Link        LinkType
	SnapLen     uint32 // 0: no limit
}

// Counters is what an interface statistics block says.
type Counters struct {
	Start    int64 // nanoseconds since the Unix epoch; 0: not written
	End      int64 // the same
	Received uint64
	Dropped  uint64
	// OSDropped is isb_osdrop, what the operating system had no room for; 0:
	// not written.
	OSDropped uint64
}

// The Append functions encode one little-endian pcapng block at the end of
// dst and return the longer slice, like append. They are pure and allocate
// only when dst has no room, so that the spool builds records in its own
// buffers. Strings beyond 65535 bytes are cut, as the option length demands.

// AppendSHB appends a section header block of unknown section length.
func AppendSHB(dst []byte, s Section) []byte {
	dst, at := begin(dst, blockSHB)
	dst = binary.LittleEndian.AppendUint32(dst, byteOrderMagic)
	dst = binary.LittleEndian.AppendUint16(dst, 1) // major
	dst = binary.LittleEndian.AppendUint16(dst, 0) // minor
	dst = binary.LittleEndian.AppendUint64(dst, math.MaxUint64)
	n := len(dst)
	dst = appendText(dst, shbHardware, s.Hardware)
	dst = appendText(dst, shbOS, s.OS)
	dst = appendText(dst, shbApp, s.App)
	dst = appendText(dst, optComment, s.Comment)
	return end(endOptions(dst, n), at)
}

// AppendIDB appends an interface description block. Interfaces are numbered
// from 0 within the section, in the order of their blocks.
func AppendIDB(dst []byte, i Interface) []byte {
	dst, at := begin(dst, blockIDB)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(i.Link))
	dst = binary.LittleEndian.AppendUint16(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, i.SnapLen)
	n := len(dst)
	dst = appendText(dst, idbName, i.Name)
	dst = appendText(dst, idbDescription, i.Description)
	if len(i.MAC) == 6 {
		dst = append(option(dst, idbMAC, 6), i.MAC...)
		dst = pad4(dst, 6)
	}
	dst = append(option(dst, idbTsResol, 1), nanoseconds, 0, 0, 0)
	return end(endOptions(dst, n), at)
}

// EPBSize is the number of bytes that AppendEPB adds for f.
func EPBSize(f *Frame) int {
	n := epbFixed + (len(f.Data)+3)&^3
	if f.Out {
		n += 12
	}
	return n
}

// AppendEPB appends f as an enhanced packet block of the section's interface
// iface (f.Iface is not used). Outbound frames are flagged as such.
func AppendEPB(dst []byte, f *Frame, iface uint32) []byte {
	le := binary.LittleEndian
	size := uint32(EPBSize(f))
	dst = le.AppendUint32(dst, blockEPB)
	dst = le.AppendUint32(dst, size)
	dst = le.AppendUint32(dst, iface)
	dst = le.AppendUint32(dst, uint32(uint64(f.Time)>>32))
	dst = le.AppendUint32(dst, uint32(f.Time))
	dst = le.AppendUint32(dst, uint32(len(f.Data)))
	dst = le.AppendUint32(dst, uint32(max(f.OrigLen, len(f.Data))))
	dst = append(dst, f.Data...)
	dst = pad4(dst, len(f.Data))
	if f.Out {
		dst = le.AppendUint32(option(dst, epbFlags, 4), epbOutbound)
		dst = option(dst, optEnd, 0)
	}
	return le.AppendUint32(dst, size)
}

// AppendISB appends an interface statistics block, valid at time at
// (nanoseconds since the Unix epoch).
func AppendISB(dst []byte, iface uint32, at int64, c Counters) []byte {
	dst, start := begin(dst, blockISB)
	dst = binary.LittleEndian.AppendUint32(dst, iface)
	dst = appendTime(dst, at)
	n := len(dst)
	if c.Start != 0 {
		dst = appendTime(option(dst, isbStart, 8), c.Start)
	}
	if c.End != 0 {
		dst = appendTime(option(dst, isbEnd, 8), c.End)
	}
	dst = binary.LittleEndian.AppendUint64(option(dst, isbReceived, 8), c.Received)
	dst = binary.LittleEndian.AppendUint64(option(dst, isbDropped, 8), c.Dropped)
	if c.OSDropped != 0 {
		dst = binary.LittleEndian.AppendUint64(option(dst, isbOSDropped, 8), c.OSDropped)
	}
	return end(endOptions(dst, n), start)
}

// AppendCustom appends a custom block that other tools skip. pen is the
// writer's IANA private enterprise number.
func AppendCustom(dst []byte, pen uint32, data []byte) []byte {
	dst, at := begin(dst, blockCustom)
	dst = binary.LittleEndian.AppendUint32(dst, pen)
	dst = append(dst, data...)
	dst = pad4(dst, len(data))
	return end(dst, at)
}

func begin(dst []byte, kind uint32) ([]byte, int) {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, kind)
	return binary.LittleEndian.AppendUint32(dst, 0), at
}

func end(dst []byte, at int) []byte {
	size := uint32(len(dst) - at + 4)
	binary.LittleEndian.PutUint32(dst[at+4:], size)
	return binary.LittleEndian.AppendUint32(dst, size)
}

// endOptions closes an option list that started at length n, if there is one.
func endOptions(dst []byte, n int) []byte {
	if len(dst) == n {
		return dst
	}
	return option(dst, optEnd, 0)
}

func option(dst []byte, code, size uint16) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, code)
	return binary.LittleEndian.AppendUint16(dst, size)
}

func appendText(dst []byte, code uint16, s string) []byte {
	if s == "" {
		return dst
	}
	s = s[:min(len(s), math.MaxUint16)]
	dst = append(option(dst, code, uint16(len(s))), s...)
	return pad4(dst, len(s))
}

// appendTime writes a time as pcapng does: high word first, each word in the
// section's byte order.
func appendTime(dst []byte, ns int64) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(uint64(ns)>>32))
	return binary.LittleEndian.AppendUint32(dst, uint32(ns))
}

// pad4 appends the zero bytes that bring n written bytes to a word boundary.
func pad4(dst []byte, n int) []byte {
	var zero [3]byte
	return append(dst, zero[:-n&3]...)
}
