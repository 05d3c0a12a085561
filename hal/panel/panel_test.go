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

// holding is a press in progress on what a status asks.
func holding(s hal.Status, phase HoldPhase, held time.Duration) Hold {
	h := Hold{Phase: phase, Held: held, On: Shows(s)}
	if phase == HoldCountdown {
		h.Left = HoldLong - held
	}
	return h
}

// pictures is everything that a panel may show, in one language.
func pictures(lang string) []picture {
	var ps []picture
	add := func(name string, s hal.Status, page int, h Hold) {
		ps = append(ps, picture{name + "_" + lang, s, page, h})
	}
	say := func(ja, en string) string { return map[string]string{"ja": ja, "en": en}[lang] }
	with := func(st hal.State, change func(s *hal.Status)) hal.Status {
		s := status(st, lang)
		if change != nil {
			change(&s)
		}
		return s
	}
	drill := func(s hal.Status) hal.Status { s.Drill = true; return s }
	for _, st := range states {
		add(stateNames[st], status(st, lang), 0, Hold{})
		add(stateNames[st]+"_drill", drill(status(st, lang)), 0, Hold{})
	}

	calm := with(hal.Normal, func(s *hal.Status) { s.Target = "" })
	never := with(hal.Normal, func(s *hal.Status) { s.LastDrill = time.Time{} })
	add("normal_page1", calm, 1, Hold{})
	add("normal_page2", calm, 2, Hold{})
	add("normal_took", with(hal.Normal, func(s *hal.Status) { s.DrillTook = 14200 * time.Millisecond }), 2, Hold{})
	add("normal_never", never, 0, Hold{})
	add("normal_never2", never, 2, Hold{})

	long := with(hal.Attention, func(s *hal.Status) {
		s.Suspect.Name = say("総務部共有ノートパソコン(2階会議室の窓側)", "DESKTOP-7QK3M2P.office.example.co.jp")
		s.What = say("ほかの機器23台のファイル共有を順に開こうとしています", "Opens the shared files of 23 devices one by one")
		s.Waiting = 2
	})
	add("attention_long", long, 0, Hold{})
	for i := range 3 { // one name that needs three turns
		longer := long
		longer.Suspect.Name = say("総務部共有ノートパソコン(2階会議室の窓側、田中さんの席の隣)", "DESKTOP-7QK3M2P.second-floor.office.example.co.jp")
		longer.Now = now.Truncate(3 * turn).Add(time.Duration(i) * turn)
		add(fmt.Sprint("attention_turn", i+1), longer, 0, Hold{})
	}
	add("attention_mid", with(hal.Attention, func(s *hal.Status) { s.Suspect.Name = "DESKTOP-7QK3M2P" }), 0, Hold{})
	add("isolated_long", with(hal.Isolated, func(s *hal.Status) {
		s.Suspect.Name, s.Vendor = long.Suspect.Name, "株式会社あおばシステムサービス"
	}), 0, Hold{})
	add("not_isolated_nameless", with(hal.NotIsolated, func(s *hal.Status) { s.Suspect = hal.Device{Addr: "192.168.10.123"} }), 0, Hold{})
	add("attention_nameless", with(hal.Attention, func(s *hal.Status) { s.Suspect = hal.Device{} }), 0, Hold{})
	add("attention_again", with(hal.Attention, func(s *hal.Status) { s.AskedUntil = now.Add(118*time.Second - 500*time.Millisecond) }), 0, Hold{})
	stops := with(hal.Attention, func(s *hal.Status) { s.Impact = say("影響:共有ファイル4台", "Stops files: 4") })
	add("attention_stops1", stops, 0, Hold{})
	stops.Now = now.Add(turn)
	add("attention_stops2", stops, 0, Hold{})
	stops.Impact = say("影響:共有ほか250台", "Stops web pages+: 250")
	stops.AskedUntil = stops.Now.Add(80 * time.Second)
	add("attention_stops_again", stops, 0, Hold{})
	add("best_effort", with(hal.NotIsolated, func(s *hal.Status) { s.BestEffort = true }), 0, Hold{})

	locked := with(hal.Normal, func(s *hal.Status) { s.Lockdown = true })
	add("lockdown", locked, 0, Hold{})
	add("lockdown_drill", drill(locked), 0, Hold{})
	add("best_effort_drill", drill(with(hal.NotIsolated, func(s *hal.Status) { s.BestEffort = true })), 0, Hold{})
	add("attention_again_drill", drill(with(hal.Attention, func(s *hal.Status) { s.AskedUntil = now.Add(time.Minute) })), 0, Hold{})
	add("lockdown_fault", with(hal.Fault, func(s *hal.Status) { s.Lockdown = true }), 1, Hold{})
	vendor := with(hal.VendorConnected, func(s *hal.Status) { s.Held = 1 })
	add("vendor_held", vendor, 0, Hold{})
	ask := with(hal.Normal, func(s *hal.Status) {
		s.Target, s.Approval, s.ApprovalID, s.ApprovalFor = "", "あおばIT", "G-1", s.Suspect.Name
	})
	add("approval", ask, 0, Hold{})
	isolated := ask
	isolated.State, isolated.ApprovalFor = hal.Isolated, "0412-ab12" // a device without a name
	add("approval_isolated", isolated, 0, Hold{})

	suspect := status(hal.Attention, lang)
	add("hold_leads", suspect, 0, holding(suspect, HoldLeads, 1500*time.Millisecond))
	add("hold_leads_page", calm, 0, holding(calm, HoldLeads, 3*time.Second))
	add("hold_leads_vendor", vendor, 0, holding(vendor, HoldLeads, 4*time.Second))
	add("hold_leads_lockdown", locked, 0, holding(locked, HoldLeads, 2*time.Second))
	add("hold_asking", ask, 0, holding(ask, HoldAsking, 1300*time.Millisecond))
	add("hold_approve", ask, 0, holding(ask, HoldApprove, 3200*time.Millisecond))
	add("hold_countdown", calm, 0, holding(calm, HoldCountdown, 5500*time.Millisecond))
	add("hold_leads_drill", drill(suspect), 0, holding(suspect, HoldLeads, 1500*time.Millisecond))
	add("hold_countdown_drill", drill(suspect), 0, holding(suspect, HoldCountdown, 4600*time.Millisecond))
	add("hold_countdown_lockdown", locked, 0, holding(locked, HoldCountdown, 7*time.Second))
	add("hold_armed", calm, 0, holding(calm, HoldArmed, 9*time.Second))
	add("hold_stuck", status(hal.Fault, lang), 0, Hold{Phase: HoldStuck})
	if lang == "ja" {
		for name, text := range hostile {
			add("hostile_"+name, with(hal.Attention, func(s *hal.Status) { s.Suspect.Name, s.Suspect.Place = text, text }), 0, Hold{})
		}
	}
	return ps
}

// hostile is what a stranger may call his device.
var hostile = map[string]string{
	"control":   "\x00\x1b[2J\r\nPC",
	"rtl":       "\u202egnp.exe\u202c محاسبة",
	"combining": "e\u0301\u0301\u0301\u0301か\u3099PC",
	"emoji":     "👾👩\u200d💻PC",
	"invalid":   "\xff\xfePC\x80",
	"spaces":    " \u3000\t\u00a0 ",
	"long":      strings.Repeat("とても長い名前の機器", 30),
	"wide":      strings.Repeat("W", 300),
	"endless":   strings.Repeat("長", 1<<20),
}

func allPictures() []picture { return append(pictures("ja"), pictures("en")...) }

func TestPicturesMatchGolden(t *testing.T) {
	for _, p := range allPictures() {
		t.Run(p.name, func(t *testing.T) {
			golden(t, p.name, RenderHold(p.s, p.page, p.hold))
		})
	}
}

// On a low screen everything comes in turn: a golden file is all its turns, one
// below the other.
func TestPicturesOfALowScreenMatchGolden(t *testing.T) {
	for _, p := range allPictures() {
		if strings.HasSuffix(strings.TrimRight(p.name, "_jaen"), "drill") && p.s.State != hal.Attention {
			continue // like the one without, but for the mark
		}
		t.Run(p.name, func(t *testing.T) {
			turns := lowTurns(p)
			if len(turns) > 12 {
				turns = turns[:12]
			}
			golden(t, "low_"+p.name, stack(turns))
		})
	}
}

// lowTurns is everything that a low screen shows of a page, once.
func lowTurns(p picture) (out []*Image) {
	n := 1
	if c := compose(p.s, p.page, p.hold); !c.still {
		n = len(c.slides())
	}
	for turnAt(p.s.Now)%n != 0 {
		p.s.Now = p.s.Now.Add(turn)
	}
	for range n {
		out = append(out, RenderOn(Low, p.s, p.page, p.hold))
		p.s.Now = p.s.Now.Add(turn)
	}
	return out
}

// stack puts pictures one below the other, with a grey line between.
func stack(ms []*Image) image.Image {
	const gap = 2
	h := Low.Rows() + gap
	out := image.NewGray(image.Rect(0, 0, Width, len(ms)*h-gap))
	for i, m := range ms {
		for y := range h {
			for x := range Width {
				c := color.Gray{Y: 90}
				if y < Low.Rows() {
					c = color.GrayModel.Convert(m.At(x, y)).(color.Gray)
				}
				out.SetGray(x, i*h+y, c)
			}
		}
	}
	return out
}

func golden(t *testing.T, name string, m image.Image) {
	t.Helper()
	path := filepath.Join("testdata", name+".png")
	if *update {
		var b bytes.Buffer
		err := png.Encode(&b, m)
		if p, ok := m.(*Image); ok {
			b.Reset()
			err = p.WritePNG(&b, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := ascii(m), ascii(readPNG(t, path)); got != want {
		t.Errorf("picture differs from %s (run with -update after looking at it):\n%s", path, got)
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

func TestEveryPageHasAtMostFourRowsAndFitsTheScreen(t *testing.T) {
	for _, p := range allPictures() {
		for _, drill := range []bool{false, true} {
			p.s.Drill = drill
			if lines := Lines(p.s, p.page, p.hold); len(lines) < 2 || len(lines) > 4 || drill && !strings.Contains(lines[0], lang(p.s).drill) {
				t.Errorf("%s, drill %v: %q", p.name, drill, lines)
			}
			c := compose(p.s, p.page, p.hold)
			high, rows := titleH, 1
			for _, r := range c.body {
				high += r.kind.height()
				for _, plate := range r.plates(Width) {
					if r.kind == paraRow && len(plate.lines) > 3 || (r.kind == bigRow || r.kind == midRow) && len(plate.lines) > 2 {
						t.Errorf("%s: %d lines in a row", p.name, len(plate.lines))
					}
				}
				rows++
			}
			if high > Height || rows > 4 {
				t.Errorf("%s: %d rows, %d high", p.name, rows, high)
			}
		}
	}
}

// What the panel itself says is never cut and never takes turns: only what
// comes from outside may be too long.
func TestThePanelsOwnWordsFit(t *testing.T) {
	for _, p := range allPictures() {
		p.s.Drill = true // has the least room
		c := compose(p.s, p.page, p.hold)
		title := c.title
		if w := set(title).width(true); w > Width-4-c.drillWidth() {
			title = c.low
		}
		if w := set(title).width(true); w == 0 || w > Width-4-c.drillWidth() {
			t.Errorf("%s: the title %q is too wide", p.name, c.title)
		}
		for _, r := range c.body {
			if r.kind != deedRow && r.kind != softRow {
				continue
			}
			for _, text := range r.texts {
				if w := set(text).width(true); w > Width-2 {
					t.Errorf("%s: %q is %d wide", p.name, text, w)
				}
			}
		}
	}
}

func TestDrillMarksEveryPicture(t *testing.T) {
	for _, p := range allPictures() {
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
	for sec := range 12 {
		s.Now = now.Truncate(time.Second).Add(time.Duration(sec) * time.Second)
		seen[*Render(s, 0)]++
	}
	if len(seen) != 2 || seen[plain] != 6 {
		t.Errorf("%d pictures, the suspect's deed in %d of %d seconds", len(seen), seen[plain], 12)
	}
	if lines := strings.Join(Lines(s, 0, Hold{}), "|"); !strings.Contains(lines, "Probing 23 devices Stops files: 4") {
		t.Errorf("a screen reader hears %q", lines)
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
