package rpi_test

import (
	"sync/atomic"
	"testing"
	"time"

	"sekisho/hal"
	"sekisho/hal/paneltest"
	"sekisho/hal/rpi"
	"sekisho/hal/rpi/rpitest"
)

// hanging is a bus whose transactions do not come back while it hangs.
type hanging struct{ free atomic.Pointer[chan struct{}] }

func (h *hanging) Tx(uint16, []byte, []byte) error {
	if free := h.free.Load(); free != nil {
		<-*free
	}
	return nil
}

func (h *hanging) hang() (free func()) {
	c := make(chan struct{})
	h.free.Store(&c)
	return func() { h.free.Store(nil); close(c) }
}

func TestThePanelOnTheHeaderIsAFrontPanel(t *testing.T) {
	paneltest.Run(t, func(*testing.T) (hal.Panel, paneltest.Control) {
		b, bus := &rpitest.Board{}, &hanging{}
		b.Attach(bus)
		return rpi.New(config(), b), paneltest.Control{
			Hold: func(held time.Duration) {
				b.Push(true)
				time.Sleep(held)
				b.Push(false)
			},
			Level: b.Push,
			Hang:  bus.hang,
		}
	})
}
