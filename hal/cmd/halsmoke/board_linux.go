package main

import "sekisho/hal/rpi"

// machine is the board without the kernel's debounce: what bounces is to be seen.
func machine(chip string) chipsBoard { return rpi.NewMachine(chip, 0) }
