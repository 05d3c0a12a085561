package smart

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func yes(b bool) *bool { return &b }

func TestWhatDisksSay(t *testing.T) {
	ata := func(rows ...string) string {
		return `{"model_name":"M","smart_status":{"passed":true},"ata_smart_attributes":{"table":[` + strings.Join(rows, ",") + `]}}`
	}
	for _, tc := range []struct {
		name, answer string
		want         Wear
	}{
		{"NVMe", `{"model_name":"NV 1TB","smart_status":{"passed":true},"nvme_smart_health_information_log":
			{"critical_warning":0,"available_spare":98,"percentage_used":7,"data_units_written":2000000}}`,
			Wear{Model: "NV 1TB", PercentUsed: 7, SparePercent: 98, WrittenBytes: 1_024_000_000_000, Passed: yes(true)}},
		{"NVMe that is worn out", `{"smart_status":{"passed":false},"nvme_smart_health_information_log":
			{"critical_warning":4,"available_spare":3,"percentage_used":120,"data_units_written":18446744073709551615}}`,
			Wear{PercentUsed: 120, SparePercent: 3, WrittenBytes: math.MaxUint64, Critical: true, Passed: yes(false)}},
		{"wear levelling and sectors", ata(`{"id":177,"name":"Wear_Leveling_Count","value":93}`, `{"id":241,"name":"Total_LBAs_Written","value":99,"raw":{"value":1000}}`),
			Wear{Model: "M", PercentUsed: 7, SparePercent: -1, WrittenBytes: 512_000, Passed: yes(true)}},
		{"lifetime and 32 MiB", ata(`{"id":202,"name":"Percent_Lifetime_Remain","value":60}`, `{"id":241,"name":"Host_Writes_32MiB","value":1,"raw":{"value":2}}`),
			Wear{Model: "M", PercentUsed: 40, SparePercent: -1, WrittenBytes: 64 << 20, Passed: yes(true)}},
		{"the worst of several", ata(`{"id":231,"name":"SSD_Life_Left","value":80}`, `{"id":233,"name":"Media_Wearout_Indicator","value":70}`),
			Wear{Model: "M", PercentUsed: 30, SparePercent: -1, Passed: yes(true)}},
		{"numbers that mean something else", ata(`{"id":231,"name":"Temperature_Celsius","value":60}`, `{"id":233,"name":"Flash_Writes_GiB","value":100,"raw":{"value":5}}`,
			`{"id":202,"name":"Data_Address_Mark_Errs","value":1}`, `{"id":241,"name":"Host_Writes","value":1,"raw":{"value":5}}`),
			Wear{Model: "M", PercentUsed: -1, SparePercent: -1, Passed: yes(true)}},
		{"a newer smartctl that sums up", `{"endurance_used":{"current_percent":12},"ata_smart_attributes":{"table":[{"id":231,"name":"SSD_Life_Left","value":80}]}}`,
			Wear{PercentUsed: 12, SparePercent: -1}},
		{"one field of another type", `{"model_name":7,"smart_status":{"passed":true},"endurance_used":{"current_percent":3}}`,
			Wear{PercentUsed: 3, SparePercent: -1, Passed: yes(true)}},
		{"no SMART", `{"smartctl":{"messages":[{"string":"/dev/vda: Unable to detect device type","severity":"error"}],"exit_status":1}}`,
			Wear{PercentUsed: -1, SparePercent: -1, Unavailable: "/dev/vda: Unable to detect device type"}},
		{"nothing", `{}`, Wear{PercentUsed: -1, SparePercent: -1, Unavailable: "the disk has no SMART data"}},
		{"no JSON", `smartctl: unknown option`, Wear{PercentUsed: -1, SparePercent: -1, Unavailable: "smartctl gave no JSON"}},
	} {
		got, _ := json.Marshal(parse([]byte(tc.answer)))
		want, _ := json.Marshal(tc.want)
		if string(got) != string(want) {
			t.Errorf("%s:\n%s, want\n%s", tc.name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"model_name":"x","nvme_smart_health_information_log":{"percentage_used":255,"available_spare":-1,"data_units_written":1e30}}`))
	f.Add([]byte(`{"ata_smart_attributes":{"table":[{"id":241,"name":"Total_LBAs_Written","raw":{"value":18446744073709551615}},null]},"logical_block_size":4096}`))
	f.Add([]byte(`{"smartctl":{"messages":[{"string":"\u0000\ud800","severity":"error"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := parse(b)
		if w.PercentUsed < -1 || w.PercentUsed > 255 || w.SparePercent < -1 || w.SparePercent > 255 {
			t.Errorf("percent out of range: %+v", w)
		}
		if !utf8.ValidString(w.Model+w.Unavailable) || len(w.Model) > 200 || len(w.Unavailable) > 200 {
			t.Errorf("text: %+v", w)
		}
	})
}
