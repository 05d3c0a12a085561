// Package evidence keeps packets: the spool, a rolling ring of everything that
// was captured, and the vault, where what belongs to an incident is sealed.
//
// The gateway writes frames, pins and seals; sekishoctl verifies, on any
// system. It must never hold up the capture, never lose a frame without
// counting it, never remove what is pinned, and never call a bundle sealed that
// has not been synced, read back and verified.
//
//	spool.Write(frame)             every frame, from the capture goroutine
//	spool.Pin(incident, from)      the moment an incident opens: one small file
//	spool.Find(ctx, match, …)      where a host's packets are, by the index alone
//	vault.Seal(ctx, BundleInput)   in the background; calls spool.Extract
//	vault.OpenPackage(id)          the bundle as one file, for who asks from afar
//	Unpack(ctx, r, dir, options)   anywhere: the file back into a folder
//	Verify(path, VerifyOptions)    anywhere, without the device: folder or file
//
// Bags lie in the clear on the evidence disk, for the owner and so that they can
// be verified at any time. When recipients are set, every package that leaves
// the device is encrypted for them.
package evidence

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"
)

// What can be wrong with the spool's disk; Health wraps one of them.
var (
	ErrDiskFull    = errors.New("the evidence disk is full")
	ErrReadOnly    = errors.New("the evidence disk is read-only")
	ErrMissing     = errors.New("the evidence folder is missing")
	ErrNotMounted  = errors.New("the evidence SSD is not mounted")
	ErrDisk        = errors.New("the evidence disk does not take writes")
	ErrPinsFill    = errors.New("pinned evidence fills the packet ring")
	ErrTooSlow     = errors.New("the evidence disk is too slow, frames are being dropped")
	ErrNoPin       = errors.New("nothing is pinned under this id")
	ErrSealed      = errors.New("a bundle with this id is sealed already")
	errSpoolClosed = errors.New("spool is closed")
)

// SpoolConfig says how much is kept. Only MaxBytes has no default.
type SpoolConfig struct {
	MaxBytes      int64         // size of the ring, pinned segments included; at least 3 segments. A disk that is fuller holds less
	SegmentBytes  int64         // default 64 MiB
	BufferBytes   int           // default 1 MiB; a multiple of 4096
	Buffers       int           // default 32: frames wait here while the disk is busy; at 1 Gbit/s a buffer holds 8 ms
	SyncEvery     time.Duration // default 1 s: at most so much is lost in a power cut
	PinFollow     time.Duration // default 1 h: segments begun so long after Pin are pinned too
	InterfaceName func(iface uint32) string
	// Medium says what speaks against writing to the folder now, as OwnMedium
	// does; nil: nothing ever does. It is asked before anything is made in it,
	// and before each new segment.
	Medium func() error
	Now    func() time.Time
	Logger *slog.Logger

	// steady is the monotonic time of now since any moment; nil: its
	// monotonic reading.
	steady func(now time.Time) time.Duration
}

// SpoolStats counts since OpenSpool, except where it says "on disk".
type SpoolStats struct {
	Packets, Bytes uint64 // taken from capture; Bytes are captured bytes
	Drops          uint64 // not kept: the disk was slow, full or away
	DropBytes      uint64
	Missed         uint64    // told by Missed: lost before they came here
	DiskBytes      int64     // on disk, pinned included
	PinnedBytes    int64     // on disk
	Segments       int       // on disk
	Pins           int       // on disk
	Oldest         time.Time // first packet on disk; zero when there is none
	// DayBytes is what a day's packets take on disk, as the packets in the
	// ring tell; 0 while they tell too little.
	DayBytes float64
	// Days is how many days of packets the ring holds at that rate, without
	// what is pinned; 0 while that is not known.
	Days float64
	// Written is what was written to the medium since WrittenSince, the first
	// start on it: over restarts, but a power cut may take an hour off it.
	Written      uint64
	WrittenSince time.Time
}

// Match names a host: a frame belongs to it when any of its addresses stands in
// the Ethernet, ARP, NDP or IP header, as source or destination.
//
// With Ports a frame has to have one of them, too, as source or destination of
// TCP, UDP, UDP-Lite, SCTP or DCCP. That cannot be seen of a fragment after the
// first, of a frame that was cut off before its ports, and behind more than 8
// IPv6 extension headers: such frames are left out, and Extraction counts them.
// Not looked into are tunnels and what is encrypted (ESP), and the packet that
// an ICMP error quotes; ARP and ICMP have no ports.
type Match struct {
	MACs  [][6]byte
	Addrs []netip.Addr
	Ports []uint16 // empty: any, and frames without ports
}

// Who dropped the frames of a Gap.
const (
	GapKernel = "kernel" // the capture ring was full
	GapSpool  = "spool"  // the disk was slow, full or away
)

// Gap is a span in which frames passed that were not kept.
type Gap struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Frames uint64    `json:"frames"`
	Where  string    `json:"where"` // GapKernel or GapSpool
}

// Extraction says what Extract wrote.
type Extraction struct {
	Packets  uint64    `json:"packets"`
	Bytes    uint64    `json:"bytes"` // captured bytes of these packets
	First    time.Time `json:"first,omitzero"`
	Last     time.Time `json:"last,omitzero"`
	Segments int       `json:"segments"` // that were read
	Skipped  int       `json:"skipped"`  // that the index ruled out
	Read     int64     `json:"read"`     // bytes of segments that were read
	Gaps     []Gap     `json:"gaps,omitempty"`
	// ClockJumps are the places where packet times before and after are not
	// comparable.
	ClockJumps []ClockJump `json:"clock_jumps,omitempty"`
	// HiddenPorts counts frames of the host that were left out because their
	// ports cannot be read; see Match.
	HiddenPorts uint64 `json:"hidden_ports,omitempty"`
	// Damaged names segments that could not be read to their end, or were
	// pinned and are gone: one, or the first and the last of several.
	Damaged []string `json:"damaged,omitempty"`
}

// Progress is called now and then from Extract's goroutine: bytes of segments
// done, of all. It may be nil.
type Progress func(done, total int64)

// Text is one message in the two languages of the product.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja"`
}

// In returns the text in lang, "ja" or "en".
func (t Text) In(lang string) string {
	if lang == "ja" {
		return t.JA
	}
	return t.EN
}

// BundleInput is everything that Seal puts into a bag. The callbacks write the
// files of that name and run one after another in Seal's goroutine; a nil one
// leaves an empty file, or an empty object for JSON.
type BundleInput struct {
	ID       string // letters, digits, "._-", at most 64; the folder's name
	Incident string // the incident's id
	Drill    bool   // of an exercise: bag-info.txt and report.html say so

	// Packets writes host.pcapng, as Spool.Extract does.
	Packets func(ctx context.Context, w io.Writer) (Extraction, error)

	// Flows writes flows.jsonl from the packets of host.pcapng.
	Flows func(w io.Writer, packets io.Reader) error

	Findings     func(w io.Writer) error // findings.jsonl, the contract's finding objects
	Assets       func(w io.Writer) error // assets.json
	IncidentJSON func(w io.Writer) error // incident.json

	Completeness Completeness // Seal adds what Packets returned
	Report       ReportFacts
	LedgerFrom   int64 // first ledger entry of the extract, which has the newest 8192 at most; the seal is the last
}

// Completeness says honestly what the packets cannot show.
type Completeness struct {
	From        time.Time  `json:"from"` // what was asked for
	To          time.Time  `json:"to"`
	KernelDrops uint64     `json:"kernel_drops"` // of the gaps in the extraction; Seal counts them
	SpoolDrops  uint64     `json:"spool_drops"`
	ClockSynced bool       `json:"clock_synced"`
	BlindSpots  []Text     `json:"blind_spots"`
	Extraction  Extraction `json:"extraction"`
}

// ReportFacts is what report.html tells. Everything in it was observed; it is
// escaped, whatever a stranger put into a name.
type ReportFacts struct {
	Office   string
	Device   Text // what the host is called: "PC-07 (Yamada)"
	MAC      string
	Addrs    []netip.Addr
	Place    Text // "LAN port 3"
	State    Text // containment now
	Findings []ReportFinding
	Timeline []ReportStep
	Next     []Text // what to do next
}

// ReportFinding is one finding in the report.
type ReportFinding struct {
	Time       time.Time
	Technique  string
	Confidence string
	Title      Text
	Explain    Text
}

// ReportStep is one line of the report's timeline.
type ReportStep struct {
	Time time.Time
	Text Text
}

// Bundle is a sealed bag.
type Bundle struct {
	ID      string    `json:"id"`
	Path    string    `json:"path"` // absolute
	Sealed  time.Time `json:"sealed"`
	Packets uint64    `json:"packets"`
	Bytes   uint64    `json:"bytes"` // captured bytes
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
	Entry   int64     `json:"entry"` // index of the sealing entry in the ledger

	Timestamp TimestampState `json:"timestamp,omitempty"`
}
