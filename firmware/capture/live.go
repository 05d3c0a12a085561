package capture

import "time"

// Tap names one interface and the directions to take from it.
//
// A gateway taps every port of its LAN bridge with In and the bridge itself
// with Out: a frame between two LAN hosts, from a LAN host to the gateway or
// the internet, and from the gateway to a LAN host is then seen exactly once,
// the first two with the port where it came in as Frame.Iface.
type Tap struct {
	Name string
	In   bool // frames that the interface received
	Out  bool // frames that this machine sent through it
}

// FanoutType is how the kernel spreads frames over the sockets of a group.
type FanoutType uint16

// The fanout types that keep the packets of a flow together, or balance best.
const (
	FanoutHash       FanoutType = 0 // by flow
	FanoutRoundRobin FanoutType = 1 // frame by frame, counting also those that the filter refuses
	FanoutCPU        FanoutType = 2 // by the CPU that received it
)

// Fanout makes a socket one of a group that shares the load. All members name
// the same ID, type and taps.
type Fanout struct {
	ID   uint16
	Type FanoutType
}

// LiveConfig says what to capture and how. Only Taps is required.
type LiveConfig struct {
	Taps []Tap

	// BlockSize is the size of one ring block in bytes, a multiple of the
	// page size; a frame that is longer than a block is cut. Default 4 MiB: the
	// reader sleeps and wakes once a block, and each time costs what some
	// hundred frames do.
	BlockSize int
	// Blocks is how many blocks the ring has. Default 16: half a second of a
	// full gigabit line waits for a reader that the machine does not let run.
	Blocks int
	// PollInterval is after how long the kernel hands over a block that is
	// not full, and Next returns ErrIdle. It is the longest that a frame
	// waits in the ring. Default 20 ms; the kernel's resolution is its tick.
	PollInterval time.Duration
	// SnapLen cuts frames after so many bytes. Default 256 KiB: nothing.
	SnapLen int
	// Fanout, if not nil, makes the socket a member of a group.
	Fanout *Fanout
	// HardwareTime takes the NIC's time stamps where it gives them, else the
	// kernel's. Off by default: a NIC's clock runs free unless something
	// (ptp4l, phc2sys) sets it, and evidence wants the system's time.
	HardwareTime bool
}

func (c LiveConfig) withDefaults() LiveConfig {
	if c.BlockSize == 0 {
		c.BlockSize = 4 << 20
	}
	if c.Blocks == 0 {
		c.Blocks = 16
	}
	if c.PollInterval == 0 {
		c.PollInterval = 20 * time.Millisecond
	}
	if c.SnapLen == 0 {
		c.SnapLen = 256 << 10
	}
	return c
}
