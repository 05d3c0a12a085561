//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"runtime"
)

// Live is not available on this system.
type Live struct{}

var _ Source = (*Live)(nil)

// OpenLive always fails: live capture needs the Linux kernel.
func OpenLive(LiveConfig) (*Live, error) {
	return nil, fmt.Errorf("capture live on %s: %w: read a capture file instead", runtime.GOOS, errors.ErrUnsupported)
}

// Next always fails.
func (*Live) Next(*Frame) error { return errors.ErrUnsupported }

// Stats is always zero.
func (*Live) Stats() Stats { return Stats{} }

// Retap always fails.
func (*Live) Retap([]Tap) error { return errors.ErrUnsupported }

// Close does nothing.
func (*Live) Close() error { return nil }
