//go:build !linux

package main

import (
	"errors"

	"sekisho/hal/rpi"
)

func machine(string) chipsBoard { return none{} }

// none is a board without anything.
type none struct{}

var errNone = errors.New("halsmoke runs on Linux")

func (none) Chips() ([]string, error)                    { return nil, errNone }
func (none) OpenButton(string, bool) (rpi.Button, error) { return nil, errNone }
func (none) OpenLight(string, bool) (rpi.Light, error)   { return nil, errNone }
func (none) OpenBus(int) (rpi.Bus, error)                { return nil, errNone }
