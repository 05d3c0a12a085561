//go:build twin

package nft

import (
	"testing"
	"time"

	"sekisho/image/twin/twintest"
)

// TestInTheTwin runs on the kernel of the image what depends on the kernel, and
// what the build machine's kernel cannot do: VLANs on the bridge.
func TestInTheTwin(t *testing.T) {
	twintest.Run(t, twintest.Package{
		Import: "sekisho/netcontain/nft", Tags: "guest", Timeout: 5 * time.Minute, MemoryMiB: 1024,
		Run: "^Test(NoKind|AnAddressIs|VLAN)",
		Modules: []string{"crc32c_generic", "bridge", "8021q", "veth", "af_packet", "nf_tables", "nft_meta_bridge", "nft_ct", "nft_nat", "nft_masq", "nft_redir", "nft_chain_nat",
			"nf_conntrack_netlink", "nf_conntrack_bridge"},
		Debian: []string{"iproute2", "nftables", "conntrack", "procps", "dnsmasq-base"},
		Files:  map[string]string{"etc/passwd": "/etc/passwd", "etc/group": "/etc/group"}, // dnsmasq looks up its user
	})
}
