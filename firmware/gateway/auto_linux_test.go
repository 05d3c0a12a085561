package gateway

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/config"
	"sekisho/firmware/flow/flowtest"
	"sekisho/firmware/incident"
)

// alone lets the gateway act by itself, up to two hosts.
func alone(c *config.Config) {
	c.Policy.AutoIsolate, c.Policy.MaxHosts, c.Policy.MaxPercent = true, 2, 100
	c.Policy.Window = config.Duration(time.Hour)
}

func TestTheThirdHostIsOnlySuggested(t *testing.T) {
	o := newOffice(t)
	alone(&o.config)
	o.start(t)
	for i := 1; i <= hosts; i++ { // so that all of them are devices
		talk(t, o.hosts[i], o.inet, outside)
	}
	for host := 1; host <= 2; host++ {
		o.attack(t, host)
		if i := o.awaitIncident(t, host, "contained by itself", proven); i.Decision.By != incident.ByAuto {
			t.Errorf("host %d was decided by %q", host, i.Decision.By)
		}
	}
	stop := o.attack(t, 3)
	i := o.awaitIncident(t, 3, "suggested, with the breaker's reason", func(i incident.Incident) bool {
		return i.Waiting() && strings.Contains(i.Why.EN, "circuit breaker")
	})
	if o.inKernel(t, 3) {
		t.Error("the third host is held")
	}
	talk(t, o.hosts[3], o.hosts[4], hostIP(4))
	o.press(t, 3) // a person may
	o.awaitIncident(t, 3, "contained by a person", proven)
	stop()
	if i.Level != incident.Watch {
		t.Errorf("the suggestion held at %s", i.Level)
	}
}

func TestAProtectedHostIsOnlySuggested(t *testing.T) {
	o := newOffice(t)
	alone(&o.config)
	mac := hostMAC(1)
	o.config.Policy.Protected = []string{net.HardwareAddr(mac[:]).String()}
	o.start(t)
	o.attack(t, 1)
	o.awaitIncident(t, 1, "suggested", incident.Incident.Waiting)
	o.attack(t, 2) // the same behaviour without protection is isolated
	o.awaitIncident(t, 2, "contained by itself", proven)
	if o.inKernel(t, 1) {
		t.Error("a protected host was isolated without a person")
	}
	if i, _ := o.incidentOf(1); !i.Waiting() {
		t.Errorf("the protected host's incident is %s, %s", i.State, i.Action)
	}
}

func TestWhoeverActsAsTheGatewayNeverIsolatesTheGateway(t *testing.T) {
	o := newOffice(t)
	alone(&o.config)
	o.start(t)
	talk(t, o.hosts[2], o.inet, outside)
	hw, err := net.ParseMAC(gatewayMAC)
	if err != nil {
		t.Fatal(err)
	}
	gateway := [6]byte(hw)
	// Scans with the gateway's MAC, then with its own MAC and the gateway's
	// address, which it claims by ARP too.
	stop := o.flood(t, 1, func(n int) [][]byte {
		return [][]byte{probeFrame(gateway, gatewayIP, n), probeFrame(gateway, hostIP(1), n), claim(gateway, gatewayIP)}
	})
	o.attack(t, 4) // the yardstick: whoever does this undisguised is isolated
	o.awaitIncident(t, 4, "contained by itself", proven)
	stop()
	o.flood(t, 1, func(n int) [][]byte {
		return [][]byte{probeFrame(hostMAC(1), gatewayIP, n), claim(hostMAC(1), gatewayIP)}
	})
	// It insists on the address of the gateway: the claimant goes, not the gateway.
	o.awaitIncident(t, 1, "contained by itself", proven)
	neighbour := o.witness(t, 3)
	o.silent(t, neighbour, 2, 1)
	talk(t, o.hosts[2], o.inet, outside)
	talk(t, o.hosts[3], o.gw, gatewayIP)
	var all struct{ Incidents []incident.Incident }
	if err := o.get("/api/incidents", &all); err != nil {
		t.Fatal(err)
	}
	for _, i := range all.Incidents {
		if i.Asset.MAC == gateway && (i.State.Held() || i.Waiting()) {
			t.Errorf("the gateway is %s, %s", i.State, i.Action)
		}
	}
}

// claim is an ARP reply to everybody: addr is at mac.
func claim(mac [6]byte, addr netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 2}
	b = append(append(b, mac[:]...), addr.AsSlice()...)
	b = append(append(b, 255, 255, 255, 255, 255, 255), addr.AsSlice()...)
	return flowtest.Ether{Src: mac, Dst: [6]byte{255, 255, 255, 255, 255, 255}}.Frame(0x0806, b)
}
