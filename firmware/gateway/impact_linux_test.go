package gateway

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/incident"
)

// share makes a host a file server that gives everybody 64 KiB.
func (o *office) share(t *testing.T, host int) {
	t.Helper()
	var l net.Listener
	var err error
	o.hosts[host].Do(t, func() { l, err = net.Listen("tcp", netip.AddrPortFrom(hostIP(host), 445).String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.ReadFull(c, make([]byte, 4)) //nolint:errcheck // whoever says nothing gets it too
			c.Write(make([]byte, 64<<10))   //nolint:errcheck
			c.Close()
		}
	}()
}

// work is a desk that opens a file of the share.
func (o *office) work(t *testing.T, desk, server int) {
	t.Helper()
	await(t, "a file of the share", func() bool {
		var c net.Conn
		var err error
		o.hosts[desk].Do(t, func() {
			c, err = net.DialTimeout("tcp", netip.AddrPortFrom(hostIP(server), 445).String(), 5*time.Second)
		})
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck
		io.WriteString(c, "file")                      //nolint:errcheck
		n, err := io.Copy(io.Discard, c)
		return err == nil && n == 64<<10
	})
}

func TestWhatAnIsolationStopsIsShownBeforeThePressAndOutlivesARestart(t *testing.T) {
	o := newOffice(t)
	gateway := o.start(t)
	o.share(t, 1)
	for desk := 2; desk <= 4; desk++ {
		o.work(t, desk, 1)
	}
	path := "/api/devices/mac:" + net.HardwareAddr(mac(1)).String() + "/impact"
	var got struct {
		Clients  int
		Sentence struct{ EN, JA string }
		Stops    []struct {
			Service string
			Names   []string
		}
	}
	known := func() bool { return o.get(path, &got) == nil && got.Clients == 3 }
	await(t, "the share's three users to be known", known)
	if len(got.Stops) != 1 || got.Stops[0].Service != "files" || got.Sentence.EN != "Isolating it stops shared files for 3 devices." ||
		got.Sentence.JA != "隔離すると、3台の共有フォルダーが使えなくなります。" {
		t.Errorf("%+v", got)
	}
	gateway.stop(t)
	gateway = o.start(t)
	await(t, "the same after a restart", known)

	stop := o.attack(t, 1)
	o.awaitIncident(t, 1, "put to a person", incident.Incident.Waiting)
	var p struct {
		State string
		Lines []string
	}
	await(t, "the panel to say it", func() bool {
		return o.get("/api/panel", &p) == nil && p.State == "attention" && strings.Contains(strings.Join(p.Lines, " "), "Stops files: 3")
	})
	stop()
	// Whom it attacked uses nothing of it, and it serves no one anew.
	if !known() {
		t.Errorf("after the attack: %+v", got)
	}
	var victim struct{ Clients int }
	if err := o.get("/api/devices/mac:"+net.HardwareAddr(mac(2)).String()+"/impact", &victim); err != nil || victim.Clients != 0 {
		t.Errorf("an attacked desk serves %d: %v", victim.Clients, err)
	}
	gateway.stop(t)
}

func mac(host int) []byte {
	m := hostMAC(host)
	return m[:]
}
