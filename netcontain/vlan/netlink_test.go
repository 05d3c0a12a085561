package vlan

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/netcontain"
	"sekisho/netcontain/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

func TestAHostThatFloodsWithAddressesDoesNotKeepTheBridgeFromBeingRead(t *testing.T) {
	ns := nstest.New(t)
	for _, c := range []string{"link add br0 type bridge", "link add lan1 type veth peer name to-lan1", "link set lan1 master br0 up", "link set to-lan1 up", "link set br0 up"} {
		ns.Run(t, "ip "+c)
	}
	var e *Enforcer
	var err error
	ns.Do(t, func() { e, err = New(Config{Bridge: "br0", Log: discard}) })
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var batch strings.Builder
	for i := range 3 * maxForwarding {
		fmt.Fprintf(&batch, "fdb add %s dev lan1 master dynamic\n", netcontain.MAC{2, 0x11, 0, 0, byte(i >> 8), byte(i)})
	}
	last := netcontain.MAC{2, 0x22}
	fmt.Fprintf(&batch, "fdb add %s dev lan1 master dynamic\n", last)
	file := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ns.Run(t, "bridge -batch "+file)
	for range 2 { // the socket of the first look is of no consequence for the second
		b, err := e.Observe() // from outside the namespace
		if err != nil || b.Office[last] != "lan1" || len(b.Office) > 2*maxForwarding || len(b.Ports) != 1 {
			t.Fatalf("%d of %d addresses, the newest on %q, error %v", len(b.Office), 3*maxForwarding, b.Office[last], err)
		}
	}
}
