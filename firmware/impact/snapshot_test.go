package impact

import (
	"strings"
	"testing"
	"time"
)

func TestASnapshotBringsTheWeekBack(t *testing.T) {
	o := newOffice(t, nil)
	for client := 10; client < 20; client++ {
		o.uses(client, 1, 445)
		o.wait(7 * time.Hour)
		o.talk(talk{from: client, to: 2, port: 80, sent: 3, received: 3})
		o.uses(client, 0, 443)
	}
	o.uses(0, 1, 443)
	data, err := o.use.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	back := New(Config{Assets: o.inv})
	if err := back.Restore(data); err != nil {
		t.Fatal(err)
	}
	again, err := back.Snapshot()
	if err != nil || string(again) != string(data) {
		t.Errorf("%d bytes came back as %d: %v", len(data), len(again), err)
	}
	want, fresh := o.preview(1), o.use
	o.use = back
	if got := o.preview(1); stops(got) != stops(want) || stops(got) == "" || !got.Since.Equal(want.Since) || got.Watched != want.Watched || len(o.preview(10).Uses) == 0 {
		t.Errorf("%+v\nwant %+v (%v)", got, want, fresh.Stats())
	}
	// What was seen once before the restart counts with the second time.
	o.talk(talk{from: 10, to: 2, port: 80, sent: 3, received: 3})
	o.want(2, "web 1")
}

func TestADamagedSnapshotChangesNothing(t *testing.T) {
	o := newOffice(t, nil)
	o.uses(10, 1, 445)
	good, err := o.use.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"cut": string(good[:len(good)/2]), "another version": strings.Replace(string(good), `"version":1`, `"version":2`, 1),
		"unknown service": strings.Replace(string(good), `"files"`, `"fils"`, 1), "no server": strings.Replace(string(good), mac(1).String(), "", 1),
		"a day too many": strings.Replace(string(good), `"days":1`, `"days":128`, 1), "empty": "", "not an object": "[]",
	} {
		if data == string(good) {
			t.Fatalf("%s: nothing was damaged in %s", name, good)
		}
		if err := o.use.Restore([]byte(data)); err == nil {
			t.Errorf("%s: taken", name)
		}
		o.want(1, "files 1")
	}
}

func TestASnapshotLargerThanMemoryKeepsTheLatest(t *testing.T) {
	o := newOffice(t, nil)
	for client := 10; client < 40; client++ {
		o.uses(client, 1, 445)
	}
	data, err := o.use.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	o.use = New(Config{Assets: o.inv, MaxRelations: 5, MaxDevices: 5})
	if err := o.use.Restore(data); err != nil {
		t.Fatal(err)
	}
	if s := o.use.Stats(); s.Relations != 5 || s.Devices != 5 || s.Evicted == 0 {
		t.Errorf("%+v", s)
	}
	if p := o.preview(1); stops(p) != "files 5" || p.Stops[0].Names[0] != mac(39).String() || !p.Incomplete {
		t.Errorf("%+v", p)
	}
}

func FuzzRestore(f *testing.F) {
	o := newOffice(f, nil)
	o.uses(10, 1, 445)
	good, err := o.use.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"relations":[{"server":"02:00:00:00:00:01","service":"files","days":127,"day":-2147483648}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		u := New(Config{Assets: o.inv, MaxRelations: 8, MaxDevices: 8})
		if u.Restore(data) != nil {
			return
		}
		if s := u.Stats(); s.Relations > 8 || s.Devices > 8 {
			t.Fatalf("%+v", s)
		}
		p := u.Preview(Device{ID: "mac:" + "02", MACs: nil}, monday)
		_ = p.Sentence()
		if _, err := u.Snapshot(); err != nil {
			t.Fatal(err)
		}
	})
}
