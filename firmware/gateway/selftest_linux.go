package gateway

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"sekisho/firmware/config"
)

// Check is one thing that the gateway needs; Err says what is missing and what
// to do about it.
type Check struct {
	Name string
	Err  error
}

// MachineChecks looks at what any gateway needs of its machine. It changes
// nothing.
func MachineChecks() []Check {
	return []Check{
		{"raw packets (AF_PACKET)", rawSocket()},
		{"nftables", tables()},
		{"clock is synchronised", clock()},
	}
}

// SettingsChecks looks at what the settings name. A missing port does not keep
// the gateway from starting; here it counts, because a name may be misspelt.
func SettingsChecks(c config.Config) []Check {
	n, err := Inspect(c.Network)
	if err == nil {
		err = n.incomplete()
	}
	return []Check{{"interfaces", err}}
}

func rawSocket() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return permission(err)
	}
	return unix.Close(fd)
}

func tables() error {
	c, err := nftables.New()
	if err != nil {
		return permission(err)
	}
	for family, name := range map[nftables.TableFamily]string{nftables.TableFamilyBridge: "bridge", nftables.TableFamilyINet: "inet"} {
		if _, err := c.ListTablesOfFamily(family); err != nil {
			return fmt.Errorf("list %s tables: %w (is the kernel built with nf_tables?)", name, permission(err))
		}
	}
	return nil
}

func clock() error {
	if clockSynchronised() {
		return nil
	}
	return errors.New("times in the evidence would be marked as uncertain; is chrony running?")
}
