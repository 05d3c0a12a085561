package gateway

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/incident"
)

func TestWithoutADiskForEvidenceIsolationStillWorksAndThePageSaysIt(t *testing.T) {
	for _, disk := range []string{"full", "ro"} {
		t.Run(disk, func(t *testing.T) {
			o := newOffice(t)
			if err := os.MkdirAll(o.config.Storage.Evidence, 0o755); err != nil {
				t.Fatal(err)
			}
			o.disk, o.diskIs = o.config.Storage.Evidence, disk
			o.start(t)
			await(t, "a warning about the evidence", func() bool { return o.warned(t, "evidence") })
			o.attack(t, 1)
			o.press(t, 1)
			o.awaitIncident(t, 1, "contained and proven", proven)
			o.silent(t, o.witness(t, 3), 2, 1)
			if i, _ := o.incidentOf(1); i.Bundle != "" {
				t.Errorf("a bundle is said to be in %s", i.Bundle)
			}
		})
	}
}

func TestWithoutADiskForRecordsIsolationStillWorksAndThePageSaysIt(t *testing.T) {
	o := newOffice(t)
	if err := os.MkdirAll(o.config.Storage.State, 0o755); err != nil {
		t.Fatal(err)
	}
	o.disk = o.config.Storage.State
	p := o.start(t)
	o.fill(t, p)
	o.attack(t, 1)
	o.press(t, 1)
	o.awaitIncident(t, 1, "contained and proven", proven)
	o.silent(t, o.witness(t, 3), 2, 1)
	await(t, "a warning about the records", func() bool { return o.warned(t, "records") })
}

// fill leaves not one byte on the child's disk.
func (o *office) fill(t *testing.T, p *process) {
	t.Helper()
	path := "/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/root" + o.disk + "/other"
	if err := os.WriteFile(path, make([]byte, 32<<20), 0o600); err == nil {
		t.Fatal("the disk is larger than it should be")
	}
}

// refused starts a gateway that must not start, and returns what it says.
func (o *office) refused(t *testing.T) string {
	t.Helper()
	p := o.launch(t)
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if strings.Contains(p.log.String(), " [running]:") {
		t.Errorf("it panicked:\n%s", p.log)
	}
	return p.log.String()
}

func TestASecondInstanceIsRefusedAndTheFirstGoesOn(t *testing.T) {
	o := newOffice(t)
	o.start(t)
	o.config.Web.Listen = "127.0.0.1:8081"
	if said := o.refused(t); !strings.Contains(said, "another sekisho runs") || !strings.Contains(said, "stop it first") {
		t.Errorf("it says %q", said)
	}
	o.attack(t, 1)
	o.press(t, 1)
	o.awaitIncident(t, 1, "contained and proven", proven)
}

func TestASecondInstanceOfOtherStateDoesNotLetAHeldHostGo(t *testing.T) {
	o := newOffice(t)
	o.hold(t)
	neighbour := o.witness(t, 3)
	o.config.Web.Listen = "127.0.0.1:8081"
	o.config.Storage.State += "-other"
	o.config.Storage.Evidence += "-other"
	if said := o.refused(t); !strings.Contains(said, "another sekisho guards bridge br0") {
		t.Errorf("it says %q", said)
	}
	o.silent(t, neighbour, 2, 1)
}

func TestOpenNamesTheSettingToMend(t *testing.T) {
	o := newOffice(t)
	o.gw.Run(t, "ip link add other0 type veth peer name other1")
	for _, c := range []struct {
		name, want string
		spoil      func(*office)
	}{
		{"not a port of the bridge", `network.ports[1]: "other0" is not a port of bridge "br0"`, func(o *office) { o.config.Network.Ports = []string{"lan1", "other0"} }},
		{"no such bridge", `network.bridge: there is no interface "br9"`, func(o *office) { o.config.Network.Bridge = "br9" }},
		{"bridge without an address", `network.bridge: "br1" has no address`, func(o *office) {
			o.gw.Run(t, "ip link add br1 type bridge")
			o.gw.Run(t, "ip link add lan8 type veth peer name lan7")
			o.gw.Run(t, "ip link set lan8 master br1")
			o.config.Network.Bridge, o.config.Network.Ports = "br1", []string{"lan8"}
		}},
		{"not a bridge", "not a bridge", func(o *office) {
			o.gw.Run(t, "ip addr add 192.0.2.77/24 dev other0")
			o.config.Network.Bridge, o.config.Network.Ports = "other0", []string{"lan1"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o.config = o.settings()
			c.spoil(o)
			if said := o.refused(t); !strings.Contains(said, c.want) {
				t.Errorf("it says %q, want %q", said, c.want)
			}
		})
	}
}

// One dead adapter must not end the defence of all the others.
func TestAPortThatIsMissingAtTheStartStopsNothing(t *testing.T) {
	o := newOffice(t)
	o.unplug(t, 4)
	o.hold(t) // with a proof: what is watched are the ports that are there
	if !o.warned(t, "ports") {
		t.Error("the page does not say that a port is missing")
	}
	o.replug(t, 4)
	await(t, "the port to be raised", func() bool { return o.up(t, "lan4") })
	await(t, "the page to say that all is well", func() bool { return !o.warned(t, "ports") })
	o.captured(t, 4, [6]byte{2, 0, 0, 0, 9, 4})
	talk(t, o.hosts[4], o.hosts[3], hostIP(3))
	at := time.Now()
	o.awaitIncident(t, 1, "proven with the new port watched", func(i incident.Incident) bool { return proven(i) && i.Proof.At.After(at) })
	o.silent(t, o.witness(t, 4), 2, 1)
}
