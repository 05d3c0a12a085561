package detect

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"sekisho/firmware/flow"
)

func testHistory(suspect func(flow.MAC) bool) *history {
	return newHistory(&network{Config: Config{MaxHosts: 8, Learn: 7 * 24 * time.Hour, Suspect: suspect}})
}

var noon = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

func device(n byte) source { return source{mac: flow.MAC{2, 0, 0, 0, 0, n}} }

func TestHistoryComesBackAsItWas(t *testing.T) {
	h := testHistory(nil)
	for hour := range 200 {
		now := noon.Add(time.Duration(hour) * time.Hour)
		h.sent(device(1), device(1).mac, uint64(1000*hour), now)
		h.sent(source{ip: netip.MustParseAddr("192.0.2.7")}, flow.MAC{}, 5, now)
		h.familiar(device(1), device(1).mac, "beacon a", now)
	}
	first, err := h.remember()
	if err != nil {
		t.Fatal(err)
	}
	again := testHistory(nil)
	if err := again.recall(first); err != nil {
		t.Fatal(err)
	}
	second, err := again.remember()
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("not the same after a restart (%v):\n%s\n%s", err, first, second)
	}
	if !again.familiar(device(1), device(1).mac, "beacon a", noon.Add(300*time.Hour)) {
		t.Error("what was familiar is forgotten")
	}
	if again.of(device(1), noon).usualHour() != h.of(device(1), noon).usualHour() {
		t.Error("the volumes differ")
	}
}

func TestNothingIsLearntFromASuspect(t *testing.T) {
	suspect := true
	h := testHistory(func(flow.MAC) bool { return suspect })
	h.familiar(device(1), device(1).mac, "x", noon)
	for hour := range 30 {
		h.sent(device(1), device(1).mac, 1<<30, noon.Add(time.Duration(hour)*time.Hour))
	}
	suspect = false
	if h.familiar(device(1), device(1).mac, "x", noon.Add(10*24*time.Hour)) {
		t.Error("a suspect taught what is familiar")
	}
	if u := h.of(device(1), noon).usualHour(); u.n != 0 {
		t.Errorf("a suspect taught %d hours", u.n)
	}
}

func TestWhatIsWorthMediumIsNeverFurniture(t *testing.T) {
	h, later := testHistory(nil), noon.Add(8*24*time.Hour)
	if h.quiets(device(1), flow.MAC{}, "x", Medium, noon) || h.quiets(device(1), flow.MAC{}, "y", Low, noon) {
		t.Error("quiet while learning")
	}
	if h.quiets(device(1), flow.MAC{}, "x", Medium, later) {
		t.Error("an intruder of the learning time became familiar")
	}
	if !h.quiets(device(1), flow.MAC{}, "y", Low, later) || !h.quiets(device(1), flow.MAC{}, "y", Medium, later) {
		t.Error("a habit of the learning time is told")
	}
}

func TestOneBackupDoesNotMoveTheMeasure(t *testing.T) {
	values := make([]float32, 100)
	for i := range values {
		values[i] = float32(1 << 20 * (1 + i%3))
	}
	quiet := usualOf(values)
	values[50] = 1 << 34
	if u := usualOf(values); u.median != quiet.median || u.deviation > quiet.deviation+0.1 {
		t.Errorf("median %v to %v, deviation %v to %v", quiet.median, u.median, quiet.deviation, u.deviation)
	}
}

func TestAHistoryIsBounded(t *testing.T) {
	h := testHistory(nil)
	for i := range 100 {
		for j := range 1000 {
			h.familiar(device(byte(i)), flow.MAC{}, string(rune('a'+j)), noon)
		}
	}
	if h.size() != 8 || h.evictions() != 92 || len(h.of(device(99), noon).known) != keptFacts {
		t.Errorf("%d devices, %d evicted, %d facts", h.size(), h.evictions(), len(h.of(device(99), noon).known))
	}
}

func FuzzRecall(f *testing.F) {
	h := testHistory(nil)
	h.sent(device(1), flow.MAC{}, 1<<20, noon)
	h.sent(device(1), flow.MAC{}, 1<<20, noon.Add(48*time.Hour))
	h.familiar(device(1), flow.MAC{}, "x", noon)
	good, err := h.remember()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, s := range []string{"", "{}", "null", "[]", `{"version":2}`, `{"version":1,"devices":[{}]}`,
		`{"version":1,"devices":[{"mac":"02:00:00:00:00:01","day_count":-1}]}`,
		`{"version":1,"devices":[{"mac":"02:00:00:00:00:01","hours":[-1]}]}`,
		`{"version":1,"devices":[{"ip":"fe80::1%eth0"}]}`,
		`{"version":1,"devices":[{"mac":"02:00:00:00:00:01","since":9223372036854775807,"hour":9223372036854775807}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := testHistory(nil)
		h.sent(device(9), flow.MAC{}, 7, noon)
		before, _ := h.remember()
		if h.recall(data) != nil {
			if after, _ := h.remember(); !bytes.Equal(before, after) {
				t.Fatal("damaged data changed the history")
			}
			return
		}
		if h.size() > 8 {
			t.Fatalf("%d devices", h.size())
		}
		for i := range byte(3) { // it must be usable, whatever it says
			h.familiar(device(i), flow.MAC{}, "x", noon)
			h.sent(device(i), flow.MAC{}, 1<<40, noon.Add(time.Hour))
			h.of(device(i), noon).usualHour()
		}
		if _, err := h.remember(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestADamagedPartDoesNotCostTheOthers(t *testing.T) {
	e := New(Config{})
	now := noon
	e.Observe(&flow.Conn{Meta: flow.Meta{Time: now}, State: flow.ConnClosed, Proto: 6, Client: netip.MustParseAddrPort("192.168.0.2:9"),
		Server: netip.MustParseAddrPort("192.0.2.1:443"), ClientMAC: device(1).mac, Sent: 10})
	data, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := e.Snapshot(); !bytes.Equal(data, again) {
		t.Error("two snapshots of one state differ")
	}
	var m memoryFile
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Detectors["exfiltration"]) == 0 {
		t.Fatalf("the history is not in the snapshot: %s", data)
	}
	for name := range m.Detectors {
		if name != "exfiltration" {
			m.Detectors[name] = json.RawMessage(`"damaged"`)
		}
	}
	m.Detectors["nobody"] = json.RawMessage(`1`)
	data, err = json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	fresh := New(Config{})
	if err := fresh.Restore(data); (err != nil) != (len(m.Detectors) > 2) {
		t.Errorf("restore: %v", err)
	}
	for _, d := range fresh.list {
		if x, ok := d.(*exfiltration); ok && x.past.size() != 1 {
			t.Errorf("%d devices came back", x.past.size())
		}
	}
	for _, bad := range []string{"", "{", "null", `{"version":9}`} {
		if fresh.Restore([]byte(bad)) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
