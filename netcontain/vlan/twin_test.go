//go:build twin

package vlan

import (
	"testing"

	"sekisho/image/twin/twintest"
)

// The build machine's kernel need not filter VLANs; Debian's does.
func TestVLANInTheTwin(t *testing.T) {
	twintest.Run(t, twintest.Package{
		Import: "sekisho/netcontain/vlan", Tags: "guest", Run: "^TestKernel",
		Modules: []string{"bridge", "8021q", "veth", "af_packet"}, Debian: []string{"iproute2"},
	})
}
