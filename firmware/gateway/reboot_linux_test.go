package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/health"
	"sekisho/firmware/incident"
	"sekisho/firmware/store"
)

// hold starts a gateway and has host 1 isolated.
func (o *office) hold(t *testing.T) *process {
	t.Helper()
	p := o.start(t)
	stop := o.attack(t, 1)
	o.press(t, 1)
	o.awaitIncident(t, 1, "contained and proven", proven)
	stop()
	return p
}

// freed releases host 1 by the page and checks that it is free.
func (o *office) freed(t *testing.T, w *witness) {
	t.Helper()
	i := o.awaitIncident(t, 1, "held", func(i incident.Incident) bool { return i.State.Held() && i.Applied })
	o.release(t, i.ID)
	o.heard(t, w, 1)
	await(t, "rules that hold nobody", func() bool { return !o.inKernel(t, 1) })
}

func TestAHeldHostStaysHeldWhileTheServiceIsAwayAndAfterItsRestart(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *process){
		"stopped": func(t *testing.T, p *process) { p.stop(t) },
		"killed":  func(_ *testing.T, p *process) { p.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			p := o.hold(t)
			was, _ := o.incidentOf(1)
			neighbour := o.witness(t, 3)
			end(t, p)
			o.silent(t, neighbour, 2, 1)
			talk(t, o.hosts[2], o.hosts[3], hostIP(3)) // the office works on
			o.start(t)
			o.silent(t, neighbour, 2, 1)
			i := o.awaitIncident(t, 1, "proven again", proven)
			if i.ID != was.ID {
				t.Errorf("incident %s became %s", was.ID, i.ID)
			}
			o.freed(t, neighbour)
		})
	}
}

// warned says whether a check of the health page does not hold.
func (o *office) warned(t *testing.T, check string) bool {
	t.Helper()
	var report health.Report
	if err := o.get("/api/health", &report); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(report.Warnings(), func(r health.Result) bool { return r.Name == check })
}

// reboot does to the network what a power cut does: the rules are gone, and
// the ports down.
func (o *office) reboot(t *testing.T) {
	t.Helper()
	for i := 1; i <= hosts; i++ {
		o.gw.Run(t, fmt.Sprintf("ip link set lan%d down", i))
	}
	o.gw.Run(t, "nft flush ruleset")
}

func TestAfterAPowerCutThePolicyComesBeforeThePorts(t *testing.T) {
	garbage := func(name string) func(*testing.T, string) {
		return func(t *testing.T, state string) {
			if err := os.WriteFile(filepath.Join(state, name), []byte(strings.Repeat("garbage\x00", 4096)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, state string) {
			for _, name := range names {
				if err := os.Remove(filepath.Join(state, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
	}
	for _, c := range []struct {
		name   string
		damage func(*testing.T, string)
		same   bool // the incident is still known, not found anew
		told   bool // the damage stands on the health page
	}{
		{"nothing damaged", remove(), true, false},
		{"database gone", remove("sekisho.db", "sekisho.db-wal", "sekisho.db-shm"), false, false},
		{"database garbage", garbage("sekisho.db"), false, true},
		{"policy file garbage", garbage("policy.json"), true, true},
		{"policy file gone", remove("policy.json"), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t)
			p := o.hold(t)
			was, _ := o.incidentOf(1)
			p.kill()
			o.reboot(t)
			c.damage(t, o.config.Storage.State)
			if o.inKernel(t, 1) {
				t.Fatal("the power cut left rules")
			}
			neighbour, internet := o.witness(t, 3), o.witness(t, 0)
			stop := o.attack(t, 1) // before, while and after the ports come up
			o.start(t)
			o.silent(t, neighbour, 2, 1)
			stop()
			if a, b := neighbour.count(1), internet.count(1); a+b != 0 {
				t.Errorf("%d frames of the held host reached a neighbour, %d the internet", a, b)
			}
			i := o.awaitIncident(t, 1, "held and visible", func(i incident.Incident) bool { return i.State.Held() && i.Applied })
			if adopted := i.Decision.By == "gateway"; c.same == adopted || c.same && i.ID != was.ID {
				t.Errorf("incident %s is now %s, decided by %q", was.ID, i.ID, i.Decision.By)
			}
			if told := o.warned(t, "history"); told != c.told {
				t.Errorf("the health page tells of damage: %t", told)
			}
			o.freed(t, neighbour)
		})
	}
}

// The host comes back under a name that nobody knows: only its port can hold it.
func TestWithoutThePolicyFileAHeldHostsPortIsKnownBeforeItIsRaised(t *testing.T) {
	o := newOffice(t)
	o.hold(t).stop(t)
	o.reboot(t)
	st, err := store.Open(filepath.Join(o.config.Storage.State, database))
	if err != nil {
		t.Fatal(err)
	}
	known, err := st.Assets(t.Context())
	for i := range known { // the office is older than the test
		known[i].FirstSeen = known[i].FirstSeen.Add(-48 * time.Hour)
	}
	if err := errors.Join(err, st.SaveAssets(t.Context(), known), st.Close(), os.Remove(policyPath(o.config.Storage.State))); err != nil {
		t.Fatal(err)
	}
	var gw [6]byte
	hw, _ := net.ParseMAC(gatewayMAC)
	copy(gw[:], hw)
	ip := flowtest.IP{Src: netip.MustParseAddr("192.168.77.222"), Dst: outside, Proto: 17}
	disguised := flowtest.Ether{Src: [6]byte{2, 0, 0, 0, 9, 9}, Dst: gw}.Frame(ip.EtherType(), ip.Packet(flowtest.UDP(31001, 4444, []byte("out"))))
	neighbour, internet := o.witness(t, 3), o.witness(t, 0)
	stop := o.flood(t, 1, func(int) [][]byte { return [][]byte{disguised} })
	o.start(t)
	o.silent(t, neighbour, 2, 1)
	stop()
	talk(t, o.hosts[2], o.inet, outside)
	if n := internet.count(1); n != 0 {
		t.Errorf("%d frames left the office", n)
	}
}

func TestALockdownSurvivesAPowerCutAndADamagedFile(t *testing.T) {
	for _, name := range []string{"", "policy.json", "sekisho.db"} {
		t.Run("without "+name, func(t *testing.T) {
			o := newOffice(t)
			p := o.start(t)
			internet := o.witness(t, 0)
			o.heard(t, internet, 1)
			if err := o.post("/api/press", map[string]string{"gesture": "hold8", "target": ""}); err != nil {
				t.Fatal(err)
			}
			await(t, "the lockdown", func() bool { return o.locked(t) })
			p.kill()
			o.reboot(t)
			if name != "" {
				if err := os.WriteFile(filepath.Join(o.config.Storage.State, name), []byte("garbage of no format at all"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o.start(t)
			before := internet.count(1)
			for range 100 {
				o.send(t, 1, outFrame(1))
			}
			if !o.locked(t) {
				t.Error("the office is open again")
			}
			if n := internet.count(1); n != before {
				t.Errorf("%d frames left the office", n-before)
			}
		})
	}
}

// locked says whether a host cannot reach the internet, from many attempts.
func (o *office) locked(t *testing.T) bool {
	t.Helper()
	w := o.witness(t, 0)
	for range 20 {
		o.send(t, 1, outFrame(1))
	}
	var c net.Conn
	var err error
	o.hosts[2].Do(t, func() { c, err = net.DialTimeout("tcp", outside.String()+":9", time.Second) })
	if err == nil {
		c.Close()
	}
	refused := errors.Is(err, syscall.ECONNREFUSED) // the internet host itself answered
	return !refused && w.count(1) == 0
}

func TestWhatSomebodyElseFlushesIsHeldAgainAndReported(t *testing.T) {
	o := newOffice(t)
	p := o.hold(t)
	neighbour := o.witness(t, 3)
	o.gw.Run(t, "nft flush ruleset")
	await(t, "the rules to be back", func() bool { return o.inKernel(t, 1) })
	o.silent(t, neighbour, 2, 1)
	await(t, "the log to say so", func() bool {
		return strings.Contains(p.log.String(), "containment repaired")
	})
	talk(t, o.hosts[2], o.hosts[3], hostIP(3))
}
