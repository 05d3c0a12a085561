//go:build twin

package gateway

import (
	"testing"
	"time"

	"sekisho/image/twin/twintest"
)

// The build machine's kernel need not filter VLANs; Debian's does.
func TestADrillInTheTwin(t *testing.T) {
	twintest.Run(t, twintest.Package{
		Import: "sekisho/firmware/gateway", Tags: "guest", Run: "^TestADrillOnABridgeThatFiltersVLANs$", Cgo: true,
		Modules: []string{
			"bridge", "8021q", "veth", "af_packet", "crc32c_generic", "nf_tables", "nft_meta_bridge", "nft_ct", "nft_chain_nat", "nft_redir", "nf_conntrack", "nf_conntrack_netlink",
		},
		Debian: []string{"iproute2", "nftables", "procps"}, MemoryMiB: 1024,
		Timeout: 8 * time.Minute, // one minute on a machine that does nothing else
	})
}
