package detect_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// call is an answered connection between two devices.
func (o *office) call(client, server flow.MAC, from, to netip.Addr, port uint16) {
	c := flow.Conn{Meta: flow.Meta{Time: o.now, SrcMAC: client, DstMAC: server}, Proto: 6,
		Client: netip.AddrPortFrom(from, 40000), Server: netip.AddrPortFrom(to, port),
		ClientMAC: client, ServerMAC: server, Start: o.now}
	for _, s := range []flow.ConnState{flow.ConnAttempt, flow.ConnEstablished, flow.ConnClosed} {
		e := c
		e.State, e.Prev = s, max(s, 1)-1
		if s == flow.ConnClosed {
			o.now = o.now.Add(time.Second)
			e.Time, e.Sent, e.Received = o.now, 200, 2000
		}
		if s != flow.ConnAttempt {
			e.RecvPackets = 1
		}
		o.play(&e)
	}
}

// lived is an office whose device 10 has used server 20 for a week.
func lived(t *testing.T, c detect.Config) *office {
	o := newOffice(t, c)
	for range 8 {
		for _, port := range []uint16{445, 80, 9100} {
			o.call(mac(10), mac(20), ip(10), ip(20), port)
		}
		o.days(1)
	}
	return o
}

// days lets time pass as in an office that is never quite silent.
func (o *office) days(n int) {
	for range 48 * n {
		o.now = o.now.Add(30 * time.Minute)
		o.play(&flow.Tick{Meta: flow.Meta{Time: o.now}})
	}
}

func (o *office) of(name string) (list []detect.Finding) {
	for _, f := range o.found {
		if f.Detector == name {
			list = append(list, f)
		}
	}
	return list
}

func TestNewAssetIsToldOnceAfterLearning(t *testing.T) {
	o := lived(t, detect.Config{})
	if len(o.of("new_asset")) > 0 {
		t.Fatalf("something is new in the first week\n%s", o.dump())
	}
	for range 5 {
		o.call(mac(77), mac(20), ip(77), ip(20), 445)
		o.now = o.now.Add(time.Hour)
	}
	list := o.of("new_asset")
	if len(list) != 1 || list[0].Host.MAC != mac(77) || list[0].Confidence != detect.Low {
		t.Errorf("%v", list)
	}
}

// A capture that was joined from pieces has not watched for the time between.
func TestNewAssetDoesNotCountGapsAsWatching(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 20 {
		o.call(mac(i+30), mac(20), ip(30+i), ip(20), 445)
		o.now = o.now.Add(200 * 24 * time.Hour)
		o.play(&flow.Tick{Meta: flow.Meta{Time: o.now}})
	}
	if list := o.of("new_asset"); len(list) > 0 {
		t.Errorf("%d", len(list))
	}
}

func TestNewAssetIsNobodyInAReplayWithoutPast(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 100 {
		o.call(mac(i+30), mac(20), ip(30+i), ip(20), 445)
		o.wait(time.Hour)
	}
	if list := o.of("new_asset"); len(list) > 0 {
		t.Errorf("%d", len(list))
	}
}

// Phones come back under another address every day.
func TestNewAssetGroupsRandomAddresses(t *testing.T) {
	o := lived(t, detect.Config{})
	for i := range 20 {
		o.call(flow.MAC{0x02, 1, 2, 3, 4, byte(i)}, mac(20), ip(100+i), ip(20), 80)
	}
	list := o.of("new_asset")
	if len(list) == 0 || len(list) > 5 {
		t.Errorf("%d findings", len(list))
	}
	for _, f := range list {
		if f.Score > 0.5 {
			t.Errorf("score %v", f.Score)
		}
	}
}

// Invented addresses open no connection.
func TestNewAssetIgnoresFramesOfInventedAddresses(t *testing.T) {
	o := lived(t, detect.Config{})
	for i := range 5000 {
		o.tcp(10, ip(i%200), 445, flow.ConnUnanswered)
		o.arp(1, mac(1000+i), ip(i%200), ip(20))
	}
	if list := o.of("new_asset"); len(list) > 0 {
		t.Errorf("%d findings", len(list))
	}
}

func TestNewAssetAndServiceSurviveARestart(t *testing.T) {
	before := lived(t, detect.Config{})
	data, err := before.eng.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t, detect.Config{})
	o.now = before.now
	if err := o.eng.Restore(data); err != nil {
		t.Fatal(err)
	}
	o.call(mac(10), mac(20), ip(10), ip(20), 445)
	if len(o.of("new_asset"))+len(o.of("new_service")) > 0 {
		t.Fatalf("the past is forgotten\n%s", o.dump())
	}
	o.call(mac(77), mac(20), ip(77), ip(20), 445)
	o.call(mac(10), mac(20), ip(10), ip(20), 3389)
	if len(o.of("new_asset")) != 1 || len(o.of("new_service")) != 1 {
		t.Errorf("after a restart nothing is new\n%s", o.dump())
	}
}

func TestNewAssetRefusesADamagedPast(t *testing.T) {
	for _, bad := range []string{`{"version":1,"detectors":{"new_asset":{"version":9}}}`,
		`{"version":1,"detectors":{"new_asset":{"version":1,"watched":9,"known":[{"mac":"","since":1}]}}}`,
		`{"version":1,"detectors":{"new_asset":{"version":1,"watched":-9}}}`,
		`{"version":1,"detectors":{"new_asset":{"version":1,"watched":9,"known":[{"mac":"00:16:3e:00:00:01","since":10}]}}}`,
		`{"version":1,"detectors":{"new_service":[]}}`,
		`{"version":1,"detectors":{"new_service":{"version":1,"known":[{"mac":"ff:ff:ff:ff:ff:ff","port":1}]}}}`} {
		o := newOffice(t, detect.Config{})
		if err := o.eng.Restore([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestNewServiceIsToldOnce(t *testing.T) {
	o := lived(t, detect.Config{})
	for range 10 {
		o.call(mac(10), mac(20), ip(10), ip(20), 4444)
		o.now = o.now.Add(10 * time.Minute)
	}
	list := o.of("new_service")
	if len(list) != 1 || list[0].Host.MAC != mac(20) || list[0].Confidence != detect.Low || list[0].Technique != "T1571" {
		t.Errorf("%v", list)
	}
}

func TestNewServiceIsMediumWhenAStrangerIsLetIn(t *testing.T) {
	o := lived(t, detect.Config{})
	o.call(gatewayMAC, mac(20), net4(1), ip(20), 3389)
	o.want("new_service", detect.Medium)
}

func TestNewServiceIsQuietAboutPortsThatServeOnce(t *testing.T) {
	o := lived(t, detect.Config{})
	for i := range 50 { // passive FTP
		o.call(mac(10), mac(20), ip(10), ip(20), uint16(2000+37*i))
		o.call(mac(10), mac(20), ip(10), ip(20), uint16(40000+i))
	}
	if list := o.of("new_service"); len(list) > 0 {
		t.Errorf("%d findings", len(list))
	}
}

func TestNewServiceIsQuietAboutWhatItHasKnown(t *testing.T) {
	o := lived(t, detect.Config{})
	for range 20 {
		o.call(mac(10), mac(20), ip(10), ip(20), 9100)
		o.call(mac(11), mac(20), ip(11), ip(20), 445)
		o.now = o.now.Add(time.Hour)
	}
	o.call(mac(10), mac(88), ip(10), ip(88), 22) // a device that is new itself
	if list := o.of("new_service"); len(list) > 0 {
		t.Errorf("%s", o.dump())
	}
}

// A scan meets what nobody used; the devices did nothing.
func TestNewServiceDoesNotBlameTheScanned(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 30 {
		o.call(mac(10), mac(100+i), ip(10), ip(100+i), 80)
	}
	o.days(8)
	for i := range 30 {
		for _, port := range []uint16{22, 139, 443, 5900} {
			o.call(mac(11), mac(100+i), ip(11), ip(100+i), port)
		}
	}
	if list := o.of("new_service"); len(list) > 2 || strings.Contains(o.dump(), "new_service medium") {
		t.Errorf("%d findings", len(list))
	}
}
