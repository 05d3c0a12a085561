package powercut

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/evidence"
)

// start is the time of frame 0; a frame follows every interval.
var start = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

const (
	interval   = 10 * time.Millisecond
	maxPayload = 1200
)

var host = [6]byte{2, 0, 0, 0, 0, 7}

// suspect is the host that every frame is of.
var suspect = evidence.Match{MACs: [][6]byte{host}}

func frameTime(n int64) time.Time { return start.Add(time.Duration(n) * interval) }

// frame makes frame n, always the same: Ethernet of a local experiment (IEEE
// 802), the number, and noise.
func frame(n int64) *capture.Frame {
	random := rand.New(rand.NewPCG(uint64(n), 802))
	data := append([]byte{2, 0, 0, 0, 0, 1}, host[:]...)
	data = append(data, 0x88, 0xb5)
	data = binary.BigEndian.AppendUint64(data, uint64(n))
	for range random.IntN(maxPayload / 8) {
		data = binary.BigEndian.AppendUint64(data, random.Uint64())
	}
	return &capture.Frame{Time: frameTime(n).UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet, Iface: 1}
}
