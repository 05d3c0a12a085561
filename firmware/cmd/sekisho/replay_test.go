package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
)

var begin = time.Date(2026, 11, 23, 1, 30, 0, 0, time.UTC)

// worm is a host that calls tcp/445 on n addresses, which refuse.
func worm(n int) []capture.Frame {
	infected, infectIP := [6]byte{0, 0, 0x5e, 0, 0x53, 0x66}, netip.MustParseAddr("192.168.77.66")
	var out []capture.Frame
	for i := range n {
		mac, ip := [6]byte{0, 0, 0x5e, 0, 0x53, byte(100 + i)}, netip.AddrFrom4([4]byte{192, 168, 77, byte(100 + i)})
		at := begin.Add(time.Duration(i) * 100 * time.Millisecond)
		there, back := flowtest.IP{Src: infectIP, Dst: ip, Proto: 6}, flowtest.IP{Src: ip, Dst: infectIP, Proto: 6}
		syn := flowtest.Segment{SrcPort: uint16(40000 + i), DstPort: 445, Seq: 1, Flags: flow.FlagSYN}
		rst := flowtest.Segment{SrcPort: 445, DstPort: uint16(40000 + i), Ack: 2, Flags: flow.FlagRST | flow.FlagACK}
		for j, data := range [][]byte{
			flowtest.Ether{Src: infected, Dst: mac}.Frame(there.EtherType(), there.Packet(syn.Bytes(nil))),
			flowtest.Ether{Src: mac, Dst: infected}.Frame(back.EtherType(), back.Packet(rst.Bytes(nil))),
		} {
			out = append(out, capture.Frame{Time: at.Add(time.Duration(j) * time.Millisecond).UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet})
		}
	}
	return out
}

func record(t *testing.T, name string, frames []capture.Frame) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := capture.NewWriter(f, capture.Section{})
	if err != nil {
		t.Fatal(err)
	}
	iface, err := w.AddInterface(capture.Interface{Name: "lan1", Link: capture.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		if err := w.WriteFrame(&frames[i], iface); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// The contract of DESIGN section 7: every field that scripts may rely on, with
// its kind.
var contract = map[string]map[string]string{
	"finding": {
		"type": "string", "time": "time", "detector": "string", "technique": "string", "host": "host", "peers": "hosts",
		"score": "share", "confidence": "band", "first": "time", "last": "time", "title": "string", "explain": "string",
	},
	"incident": {
		"type": "string", "id": "string", "host": "host", "state": "string", "opened": "time", "detectors": "strings",
		"score": "share", "confidence": "band", "action": "action", "why": "string",
	},
	"summary": {
		"type": "string", "packets": "count", "bytes": "count", "drops": "count", "malformed": "count", "hosts": "count",
		"findings": "count", "incidents": "count", "seconds": "number",
	},
}

var detectors = strings.Fields(`host_scan port_scan arp_scan arp_spoof rogue_dhcp rogue_ra dns_tunnel dga beacon exfiltration
	brute_force lateral_movement smb_ransom worm decoy_touch ioc_match tls_anomaly cleartext_credentials new_asset new_service
	mac_conflict flood c2_channel policy`)

// fits says whether a JSON value is of the contract's kind.
func fits(kind string, v any) bool {
	text, isText := v.(string)
	number, isNumber := v.(float64)
	list, isList := v.([]any)
	switch kind {
	case "string":
		return isText && text != ""
	case "time":
		at, err := time.Parse(time.RFC3339Nano, text)
		return err == nil && at.Year() == begin.Year()
	case "number":
		return isNumber && number >= 0
	case "count":
		return isNumber && number >= 0 && number == float64(int64(number))
	case "share":
		return isNumber && number >= 0 && number <= 1
	case "band":
		return slices.Contains([]string{"low", "medium", "high"}, text)
	case "action":
		return slices.Contains([]string{"none", "suggest", "auto_isolate"}, text)
	case "strings":
		return isList && len(list) > 0 && !slices.ContainsFunc(list, func(e any) bool { return !fits("string", e) })
	case "hosts":
		return isList && !slices.ContainsFunc(list, func(e any) bool { return !fits("host", e) })
	case "host":
		return fitsHost(v)
	}
	return false
}

func fitsHost(v any) bool {
	h, ok := v.(map[string]any)
	if !ok {
		return false
	}
	addr := func(v any) bool {
		text, _ := v.(string)
		_, err := netip.ParseAddr(text)
		return err == nil
	}
	ips, ok := h["ips"].([]any)
	if !ok || !addr(h["ip"]) || slices.ContainsFunc(ips, func(e any) bool { return !addr(e) }) {
		return false
	}
	mac, present := h["mac"]
	text, _ := mac.(string)
	return !present || len(text) == 17
}

// lines parses the output and checks each line against the contract.
func lines(t *testing.T, out string) (all []map[string]any) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		kind, _ := v["type"].(string)
		if contract[kind] == nil {
			t.Errorf("a line of type %q", kind)
		}
		for field, want := range contract[kind] {
			if !fits(want, v[field]) {
				t.Errorf("%s.%s = %v, want a %s", kind, field, v[field], want)
			}
		}
		if d, ok := v["detector"].(string); ok && !slices.Contains(detectors, d) {
			t.Errorf("%q is no detector of the contract", d)
		}
		all = append(all, v)
	}
	return all
}

func kinds(all []map[string]any) (out []string) {
	for _, v := range all {
		out = append(out, v["type"].(string))
	}
	return slices.Compact(out)
}

func TestReplayKeepsItsContract(t *testing.T) {
	path := record(t, "worm.pcapng", worm(20))
	s := sekisho(t, "replay", "--json", path)
	if s.code != 0 || s.err != "" {
		t.Fatalf("%+v", s)
	}
	all := lines(t, s.out)
	if got, want := kinds(all), []string{"finding", "incident", "summary"}; !reflect.DeepEqual(got, want) {
		t.Errorf("lines come as %v, want %v", got, want)
	}
	sum := all[len(all)-1]
	if sum["packets"] != 40.0 || sum["incidents"] != 1.0 || sum["drops"] != 0.0 || sum["malformed"] != 0.0 || sum["seconds"] != 1.901 {
		t.Errorf("the summary is %v", sum)
	}
	if again := sekisho(t, "replay", "--json", path); again.out != s.out {
		t.Error("two replays differ")
	}
}

func TestSeveralFilesAreOneCaptureInTimeOrder(t *testing.T) {
	all := worm(20)
	whole := record(t, "whole.pcapng", all)
	first, second := record(t, "first.pcapng", all[:14]), record(t, "second.pcapng", all[14:])
	want := sekisho(t, "replay", "--json", whole)
	if !strings.Contains(want.out, `"type":"incident"`) {
		t.Fatalf("nothing is found in the whole:\n%s", want.out)
	}
	for _, files := range [][]string{{first, second}, {second, first}} {
		if got := sekisho(t, append([]string{"replay", "--json"}, files...)...); got.out != want.out || got.code != 0 {
			t.Errorf("%v read differently:\n%s%s", files, got.out, got.err)
		}
	}
}

func actions(t *testing.T, s said) (out []string) {
	t.Helper()
	if s.code != 0 {
		t.Fatalf("%+v", s)
	}
	for _, l := range lines(t, s.out) {
		if l["type"] == "incident" {
			out = append(out, l["action"].(string))
		}
	}
	return out
}

func TestNetworkAndPolicyOfTheReplayComeFromTheCommandLineOrTheSettings(t *testing.T) {
	path := record(t, "worm.pcapng", worm(20))
	edit := func(old, new string) string {
		return settings(t, func(s string) string { return strings.Replace(s, old, new, 1) })
	}
	for _, c := range []struct {
		name string
		args []string
		acts bool // the worm's host is isolated
	}{
		{"private addresses", nil, true},
		{"its own network", []string{"--lan", "192.168.77.0/24"}, true},
		{"one of several", []string{"--lan", "10.0.0.0/8", "--lan", "192.168.77.0/24"}, true},
		{"another network", []string{"--lan", "10.0.0.0/8"}, false},
		{"the settings' network", []string{"--config", settings(t, same)}, true},
		{"another in the settings", []string{"--config", edit("192.168.77.0/24", "10.0.0.0/8")}, false},
		{"the command line before the settings", []string{"--lan", "192.168.77.0/24", "--config", edit("192.168.77.0/24", "10.0.0.0/8")}, true},
		{"nothing by itself", []string{"--config", edit("[decoy]", "[policy]\nauto_isolate = false\n[decoy]")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := actions(t, sekisho(t, append(append([]string{"replay", "--json"}, c.args...), path)...))
			if slices.Contains(got, "auto_isolate") != c.acts {
				t.Errorf("actions are %v", got)
			}
		})
	}
}

func TestTheTextIsForAPersonInBothLanguages(t *testing.T) {
	path := record(t, "worm.pcapng", worm(20))
	for lang, words := range map[string][]string{
		"en": {"worm", "192.168.77.66", "auto_isolate", "tried to reach", "40 packets"},
		"ja": {"worm", "192.168.77.66", "auto_isolate", "台", "。"},
	} {
		s := sekisho(t, "replay", "--lang", lang, path)
		if s.code != 0 || s.err != "" {
			t.Errorf("%+v", s)
		}
		for _, w := range words {
			if !strings.Contains(s.out, w) {
				t.Errorf("%s: %q is missing in\n%s", lang, w, s.out)
			}
		}
	}
}

func TestABadCaptureIsThreeAndNamed(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ path, want string }{
		"missing":       {filepath.Join(dir, "none.pcap"), "no such file"},
		"empty":         {put("empty.pcap", ""), "only 0 bytes"},
		"not a capture": {put("letter.pcap", "Dear Sir or Madam"), "starts with"},
		"a folder":      {dir, "director"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, args := range [][]string{{"replay", "--json"}, {"replay"}, {"bench"}} {
				sekisho(t, append(args, c.path)...).refuses(t, exitDamaged, c.path, c.want)
			}
		})
	}
}

func TestADamagedCaptureIsThreeAndWhatIsReadableIsReported(t *testing.T) {
	whole, err := os.ReadFile(record(t, "worm.pcapng", worm(20)))
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(whole)
	copy(damaged[len(damaged)-60:], strings.Repeat("\xff", 60))
	for name, data := range map[string][]byte{"truncated": whole[:len(whole)-10], "damaged": damaged} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.pcapng")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			s := sekisho(t, "replay", "--json", path)
			s.refuses(t, exitDamaged, path)
			all := lines(t, s.out)
			if got := kinds(all); !reflect.DeepEqual(got, []string{"finding", "incident", "summary"}) {
				t.Errorf("reported is %v", got)
			}
			text := sekisho(t, "replay", path)
			text.refuses(t, exitDamaged, path)
			if !strings.Contains(text.out, "packets") {
				t.Errorf("no summary in %q", text.out)
			}
		})
	}
}

func TestAClosedPipeEndsTheReplayWithoutNoise(t *testing.T) {
	path := record(t, "worm.pcapng", worm(60))
	for _, args := range [][]string{{"replay", "--json", path}, {"replay", path}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		cmd := program(t.Context(), args...)
		var errs strings.Builder
		cmd.Stdout, cmd.Stderr = w, &errs
		err = cmd.Run()
		w.Close()
		if err == nil || strings.Contains(errs.String(), " [running]:") || strings.Count(errs.String(), "\n") > 1 {
			t.Errorf("%v: %v, %q", args[:2], err, errs.String())
		}
	}
}
