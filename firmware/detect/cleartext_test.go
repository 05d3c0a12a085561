package detect_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

func (o *office) secret(from int, to netip.Addr, service, mechanism, user string, readable bool) {
	o.play(&flow.Login{Meta: flow.Meta{Time: o.now, SrcMAC: mac(from), DstMAC: o.macOf(to)},
		Client: netip.AddrPortFrom(ip(from), 40000), Server: netip.AddrPortFrom(to, 110),
		Service: service, Mechanism: mechanism, User: user, Result: flow.LoginTried, Cleartext: readable})
	o.now = o.now.Add(time.Minute)
}

func TestCleartextIsToldOnceForDeviceServiceAndServer(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 50 {
		o.secret(10, net4(1), "pop3", "", "taro", true)
	}
	if len(o.found) != 1 {
		t.Fatalf("%d findings", len(o.found))
	}
	o.want("cleartext_credentials", detect.Low)
	if f := o.found[0]; f.Host.IP != ip(10) || f.Score > 0.5 || !strings.Contains(f.Explain.EN, `"taro"`) {
		t.Errorf("%v %v %s", f.Host.IP, f.Score, f.Explain.EN)
	}
	o.secret(10, ip(20), "ftp", "", "taro", true)
	o.secret(11, net4(1), "pop3", "", "hanako", true)
	if len(o.found) != 3 {
		t.Errorf("another service and another device: %d findings", len(o.found))
	}
}

func TestCleartextIsQuietWhereNoSecretCanBeRead(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.secret(10, net4(1), "pop3", "md5", "taro", false)
	o.secret(10, net4(1), "ftp", "", "anonymous", true)
	o.secret(10, net4(1), "ftp", "", "FTP", true)
	o.secret(10, ip(1), "http", "form", "", true) // settings page of a router
	o.quiet()
	o.secret(10, net4(1), "http", "form", "", true)
	o.want("cleartext_credentials", detect.Low)
}

// A web client with many servers is one habit, not one finding for each.
func TestCleartextDoesNotFlood(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 200 {
		o.secret(10, net4(i), "http", "basic", "taro", true)
	}
	if n := len(o.found); n > 10 {
		t.Errorf("%d findings", n)
	}
}

// Who logs in is the client, also when the server's packet caused the event.
func TestCleartextNamesTheClient(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.play(&flow.Login{Meta: flow.Meta{Time: o.now, SrcMAC: mac(20), DstMAC: mac(10)},
		Client: netip.AddrPortFrom(ip(10), 40000), Server: netip.AddrPortFrom(ip(20), 21),
		FromServer: true, Service: "ftp", User: "taro", Result: flow.LoginOK, Cleartext: true})
	if f := o.last("cleartext_credentials"); f.Host.MAC != mac(10) {
		t.Errorf("host %v", f.Host)
	}
}
