package panel

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/hal"
)

var update = flag.Bool("update", false, "write the golden pictures")

var jst = time.FixedZone("JST", 9*3600)

var now = time.Date(2026, 4, 24, 14, 5, 1, 200e6, jst)

func status(st hal.State, lang string) hal.Status {
	s := hal.Status{
		State: st, Lang: lang, Now: now, Devices: 23, PacketDays: 12.4,
		LastDrill: time.Date(2026, 3, 2, 10, 0, 0, 0, jst), LearnLeft: 5*24*time.Hour + time.Hour,
		Vendor: "Aoba IT", VendorPhone: "03-1234-5678", VendorUntil: now.Add(2 * time.Hour),
		Since: now.Add(-2 * time.Minute), Target: "t",
		Suspect: hal.Device{Name: "経理PC-2", Addr: "192.168.10.23", Place: "ポート3"},
		What:    "23台を順に調べています", Cable: "ポート3",
		FaultText: "記録用ディスクの残りが少なくなっています。", FaultCall: "電話 03-1234-5678",
	}
	if lang == "en" {
		s.Suspect.Name, s.Suspect.Place, s.Cable = "FRONT-PC", "Port 3", "Port 3"
		s.What = "Probing 23 devices"
		s.FaultText, s.FaultCall = "The disk for the records is almost full.", "Call 03-1234-5678"
	}
	return s
}

var states = []hal.State{hal.Normal, hal.Learning, hal.Attention, hal.Isolating, hal.Isolated, hal.NotIsolated, hal.Fault, hal.VendorConnected}

var stateNames = map[hal.State]string{
	hal.Normal: "normal", hal.Learning: "learning", hal.Attention: "attention", hal.Isolating: "isolating",
	hal.Isolated: "isolated", hal.NotIsolated: "not_isolated", hal.Fault: "fault", hal.VendorConnected: "vendor",
}

type picture struct {
	name string
	s    hal.Status
	page int
	hold Hold
}

func pictures() []picture {
	var ps []picture
	for _, lang := range []string{"ja", "en"} {
		for _, st := range states {
			s := status(st, lang)
			d := s
			d.Drill = true
			ps = append(ps, picture{stateNames[st] + "_" + lang, s, 0, Hold{}}, picture{stateNames[st] + "_drill_" + lang, d, 0, Hold{}})
		}
		n := status(hal.Normal, lang)
		never := n
		never.LastDrill = time.Time{}
		long := status(hal.Attention, lang)
		long.Suspect.Name = "DESKTOP-7QK3M2P.office.example.co.jp-second-floor"
		long.Waiting = 2
		if lang == "ja" {
			long.Suspect.Name = "総務部共有ノートパソコン(2階会議室の窓側)"
			long.What = "ほかの機器23台のファイル共有を順に開こうとしています"
		}
		mid := status(hal.Attention, lang)
		mid.Suspect.Name = "DESKTOP-7QK3M2P"
		iso := status(hal.Isolated, lang)
		iso.Suspect.Name, iso.Vendor = long.Suspect.Name, "株式会社あおばシステムサービス"
		nameless := status(hal.NotIsolated, lang)
		nameless.Suspect = hal.Device{Addr: "192.168.10.123"}
		again := status(hal.Attention, lang)
		again.AskedUntil = now.Add(118*time.Second - 500*time.Millisecond)
		stops := status(hal.Attention, lang)
		stops.Impact = map[string]string{"ja": "影響:共有ファイル4台", "en": "Stops files: 4"}[lang]
		stopsNow := stops
		stopsNow.Now = now.Add(turn * time.Second)
		stopsMore := stopsNow
		stopsMore.Impact = map[string]string{"ja": "影響:共有ほか250台", "en": "Stops web pages+: 250"}[lang]
		stopsMore.AskedUntil = stopsNow.Now.Add(80 * time.Second)
		best := status(hal.NotIsolated, lang)
		best.BestEffort = true
		locked := status(hal.Normal, lang)
		locked.Lockdown = true
		lockedFault := status(hal.Fault, lang)
		lockedFault.Lockdown = true
		vendor := status(hal.VendorConnected, lang)
		vendor.Held = 1
		ask := status(hal.Normal, lang)
		ask.Target, ask.Approval, ask.ApprovalID = "", "あおばIT", "G-1"
		ask.ApprovalFor = status(hal.Normal, lang).Suspect.Name
		askIsolated := ask
		askIsolated.State, askIsolated.ApprovalFor = hal.Isolated, "0412-ab12" // a device without a name
		ps = append(ps,
			picture{"normal_page1_" + lang, n, 1, Hold{}}, picture{"normal_page2_" + lang, n, 2, Hold{}},
			picture{"normal_never_" + lang, never, 0, Hold{}}, picture{"normal_never2_" + lang, never, 2, Hold{}},
			picture{"attention_long_" + lang, long, 0, Hold{}}, picture{"attention_mid_" + lang, mid, 0, Hold{}},
			picture{"isolated_long_" + lang, iso, 0, Hold{}}, picture{"not_isolated_nameless_" + lang, nameless, 0, Hold{}},
			picture{"attention_again_" + lang, again, 0, Hold{}}, picture{"best_effort_" + lang, best, 0, Hold{}},
			picture{"attention_stops1_" + lang, stops, 0, Hold{}}, picture{"attention_stops2_" + lang, stopsNow, 0, Hold{}}, picture{"attention_stops_again_" + lang, stopsMore, 0, Hold{}},
			picture{"lockdown_" + lang, locked, 0, Hold{}}, picture{"lockdown_fault_" + lang, lockedFault, 1, Hold{}},
			picture{"vendor_held_" + lang, vendor, 0, Hold{}},
			picture{"approval_" + lang, ask, 0, Hold{}}, picture{"approval_isolated_" + lang, askIsolated, 0, Hold{}}, picture{"hold_approve_" + lang, ask, 0, Hold{Phase: HoldApprove}},
			picture{"hold_countdown_" + lang, n, 0, Hold{Phase: HoldCountdown, Left: 2500 * time.Millisecond}},
			picture{"hold_armed_" + lang, n, 0, Hold{Phase: HoldArmed}},
			picture{"hold_stuck_" + lang, status(hal.Fault, lang), 0, Hold{Phase: HoldStuck}},
		)
	}
	return ps
}

func TestPicturesMatchGolden(t *testing.T) {
	for _, p := range pictures() {
		t.Run(p.name, func(t *testing.T) {
			m := RenderHold(p.s, p.page, p.hold)
			path := filepath.Join("testdata", p.name+".png")
			if *update {
				var b bytes.Buffer
				if err := m.WritePNG(&b, 1); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := ascii(m), ascii(readPNG(t, path)); got != want {
				t.Errorf("picture differs from %s (run with -update after looking at it):\n%s", path, got)
			}
		})
	}
}

func readPNG(t *testing.T, path string) image.Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ascii(m image.Image) string {
	var b strings.Builder
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			if color.GrayModel.Convert(m.At(x, y)).(color.Gray).Y > 127 {
				b.WriteByte('#')
			} else {
				b.WriteByte('.')
			}
		}
		b.WriteByte('\n')
	}
	return fmt.Sprintf("%v\n%s", m.Bounds(), b.String())
}

func TestEveryPageHasInkAndAtMostFourRowsOfWords(t *testing.T) {
	for _, p := range pictures() {
		lines := Lines(p.s, p.page, p.hold)
		if len(lines) < 2 || len(lines) > 4 {
			t.Errorf("%s: %d lines: %q", p.name, len(lines), lines)
		}
		if p.s.Drill && !strings.Contains(lines[0], lang(p.s).drill) {
			t.Errorf("%s does not say that it is a drill", p.name)
		}
	}
}

func TestDrillMarksEveryPicture(t *testing.T) {
	for _, p := range pictures() {
		if p.s.Drill {
			continue
		}
		d := p.s
		d.Drill = true
		if *RenderHold(p.s, p.page, p.hold) == *RenderHold(d, p.page, p.hold) {
			t.Errorf("%s looks the same in a drill", p.name)
		}
	}
}

func TestNameOfTheSuspectIsInThePictureOfItsStates(t *testing.T) {
	for _, st := range []hal.State{hal.Attention, hal.Isolating, hal.Isolated, hal.NotIsolated} {
		a, b := status(st, "ja"), status(st, "ja")
		b.Suspect.Name = "営業PC-7"
		if *Render(a, 0) == *Render(b, 0) {
			t.Errorf("%s: two devices, one picture", stateNames[st])
		}
	}
}

func TestWhatAnIsolationStopsTakesTurnsWithWhatTheDeviceDoes(t *testing.T) {
	s := status(hal.Attention, "en")
	plain := *Render(s, 0)
	s.Impact = "Stops files: 4"
	seen := map[Image]int{}
	for sec := range 4 * turn {
		s.Now = now.Truncate(time.Second).Add(time.Duration(sec) * time.Second)
		seen[*Render(s, 0)]++
	}
	if len(seen) != 2 || seen[plain] != 2*turn {
		t.Errorf("%d pictures, the suspect's deed in %d of %d seconds", len(seen), seen[plain], 4*turn)
	}
	if lines := strings.Join(Lines(s, 0, Hold{}), "|"); !strings.Contains(lines, "Probing 23 devices Stops files: 4") {
		t.Errorf("a screen reader hears %q", lines)
	}
}

func TestHostileNamesDrawSomethingAndNeverPanic(t *testing.T) {
	for _, name := range []string{"\x00\x1b[2J", "\u202egnp.exe", strings.Repeat("長", 5000), "👾", "a\u0300", "\xff\xfe", "   "} {
		s := status(hal.Attention, "ja")
		s.Suspect.Name, s.What, s.Suspect.Place, s.Impact = name, name, name, name
		empty := *Render(status(hal.Attention, "ja"), 0)
		if got := Render(s, 0); *got == empty || *got == (Image{}) {
			t.Errorf("%q: nothing drawn", name)
		}
	}
}

func TestPixSentAsIsMatchesTheDriversLayout(t *testing.T) {
	var m Image
	m.Set(5, 10, true)
	if m.Pix[128+5] != 1<<2 {
		t.Errorf("pixel (5,10) is not bit 2 of byte 133")
	}
	m.Set(-1, 0, true)
	m.Set(128, 64, true)
	m.Set(5, 10, false)
	if m != (Image{}) {
		t.Error("pixels left behind")
	}
}
