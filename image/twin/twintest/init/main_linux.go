// Command init is the only program of a twin that runs the tests of a package,
// see twintest: it starts the test binary that came along, says how it ended,
// and ends the machine.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"sekisho/image/twin/guest"
)

// What twintest put there. The arguments stand one on a line; the folder is
// where `go test` would run the tests.
const (
	binary    = "/test/binary"
	arguments = "/test/arguments"
	folder    = "/test/package"
)

func main() {
	fmt.Println("TESTS END", run())
	if err := guest.PowerOff(); err != nil {
		fmt.Println(err)
	}
}

// run returns what twintest reads: "exit N", or why there is no such number.
func run() string {
	if err := errors.Join(guest.Up(), guest.Settle()); err != nil {
		return err.Error()
	}
	args, err := os.ReadFile(arguments)
	if err != nil {
		return err.Error()
	}
	c := exec.Command(binary, strings.Split(strings.TrimSuffix(string(args), "\n"), "\n")...)
	c.Dir, c.Stdout, c.Stderr = folder, os.Stdout, os.Stdout
	fmt.Println("TESTS BEGIN")
	err = c.Run()
	fmt.Println() // what the tests said may not end with a line
	if c.ProcessState == nil {
		return err.Error()
	}
	if !c.ProcessState.Exited() {
		return c.ProcessState.String()
	}
	return fmt.Sprint("exit ", c.ProcessState.ExitCode())
}
