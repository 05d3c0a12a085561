//go:build sample

// Package sample is what twintest is tried with: tests that pass, and tests
// that go wrong in each way that has to be noticed.
package sample

import (
	"os"
	"os/exec"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestTheKernelFiltersVLANs(t *testing.T) {
	on := true
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, VlanFiltering: &on}
	if err := netlink.LinkAdd(br); err != nil {
		t.Fatal(err)
	}
	if err := netlink.BridgeVlanAdd(br, 666, false, false, true, false); err != nil {
		t.Error(err)
	}
	t.Run("tagged", func(t *testing.T) {
		if err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "br0.666", ParentIndex: br.Index}, VlanId: 666}); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatCameAlongIsThere(t *testing.T) {
	if out, err := exec.Command("ip", "-V").CombinedOutput(); err != nil {
		t.Error(err, string(out))
	}
	if b, err := os.ReadFile("testdata/word"); err != nil || string(b) != "word\n" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := os.ReadFile("/etc/some/file"); err != nil || string(b) != "word\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestFails(t *testing.T)  { t.Error("on purpose") }
func TestSkips(t *testing.T)  { t.Skip("on purpose") }
func TestPanics(t *testing.T) { panic("on purpose") }
func TestExits(t *testing.T)  { os.Exit(0) }
func TestHangs(t *testing.T)  { select {} }
func TestCrashes(t *testing.T) {
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0o200); err != nil {
		t.Error(err)
	}
}
