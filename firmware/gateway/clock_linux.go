package gateway

import "golang.org/x/sys/unix"

// timeError is TIME_ERROR of adjtimex(2): the clock is not synchronised.
const timeError = 5

// clockSynchronised asks the kernel whether a time service disciplines the
// clock.
func clockSynchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != timeError
}
