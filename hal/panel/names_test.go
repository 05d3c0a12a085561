package panel

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sekisho/hal"
)

// asked is a page that asks for a device.
func asked(name, addr string, at int) hal.Status {
	s := status(hal.Attention, "ja")
	s.Suspect = hal.Device{Name: name, Addr: addr, Place: "ポート3"}
	s.Now = now.Truncate(turn).Add(time.Duration(at) * turn)
	return s
}

var letters = rapid.StringOfN(rapid.RuneFrom([]rune("abcWi-. 12経理部ノートゼ゛か")), 1, 60, -1)

// What a press acts on must not be mistaken, at no moment: names with the same
// beginning differ at their end, and that end is always there.
func TestNamesWithTheSameBeginningNeverLookAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		same := letters.Draw(t, "same beginning")
		ends := rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9A-F]{1,5}`), 2, 2, rapid.ID).Draw(t, "ends")
		for at := range 10 {
			a, b := asked(same+ends[0], "192.168.10.23", at), asked(same+ends[1], "192.168.10.24", at)
			for _, z := range []Size{Tall, Low} {
				if *RenderOn(z, a, 0, Hold{}) == *RenderOn(z, b, 0, Hold{}) {
					t.Fatalf("%q and %q look alike on %d rows, turn %d", a.Suspect.Name, b.Suspect.Name, z.Rows(), at)
				}
			}
		}
	})
}

// Whatever two devices are called, in the end the screen tells them apart.
func TestAnyTwoDevicesAreToldApart(t *testing.T) {
	told := func(name, addr string, z Size) (all []Image) {
		for at := range 50 {
			all = append(all, *RenderOn(z, asked(name, addr, at), 0, Hold{}))
		}
		return all
	}
	for what, names := range map[string][2]string{
		"no font knows them":        {"👾👾", "👻👻"},
		"differ where nobody looks": {strings.Repeat("長", 400) + "A" + strings.Repeat("長", 400), strings.Repeat("長", 400) + "B" + strings.Repeat("長", 400)},
		"differ in the middle":      {"DESKTOP-7QK3M2P.second-floor.office.example.co.jp", "DESKTOP-7QK3M2P.second-flour.office.example.co.jp"},
		"look like spaces":          {"\u2800\u2800", "\u3164\u3164"},
		"the same":                  {strings.Repeat("同じ名前", 20), strings.Repeat("同じ名前", 20)},
		"nameless":                  {"", " "},
	} {
		for _, z := range []Size{Tall, Low} {
			if slices.Equal(told(names[0], "192.168.10.23", z), told(names[1], "192.168.10.24", z)) {
				t.Errorf("%s: two devices, one picture on %d rows", what, z.Rows())
			}
		}
	}
}

// bare is a text without what a line break may swallow.
func bare(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ellipsis }), "")
}

func TestAllOfANameIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Repeat(letters.Draw(t, "name"), rapid.IntRange(1, 4).Draw(t, "times"))
		w := rapid.SampledFrom([]int{Width, 94}).Draw(t, "width")
		var all, tail string
		for _, p := range name(text, w) {
			if len(p.lines) > 2 {
				t.Fatalf("%q in %d lines", text, len(p.lines))
			}
			for _, l := range p.lines {
				if wide := l.width(true); wide > w {
					t.Fatalf("%q is %d wide", l, wide)
				}
			}
			if len(p.lines) > 0 {
				all += p.lines[0].String()
			}
			if len(p.lines) == 2 {
				tail = p.lines[1].String()
			}
		}
		if want := bare(set(text).String()); bare(all+tail) != want {
			t.Fatalf("%q shows %q", want, bare(all+tail))
		}
	})
}

func TestALetterAndItsMarkAreDrawnAsOne(t *testing.T) {
	if *Render(asked("か\u3099Å", "", 0), 0) != *Render(asked("がA\u030a", "", 0), 0) {
		t.Error("one name in two spellings of Unicode is two pictures")
	}
}

func TestATextWithoutEndTakesNoMoreRoomThanItsPicture(t *testing.T) {
	s := asked(strings.Repeat("長", 1<<20), strings.Repeat("1", 1<<20), 0)
	s.What, s.FaultText = s.Suspect.Name, s.Suspect.Name
	for _, l := range append(Lines(s, 0, Hold{}), Shows(s).Name) {
		if n := len([]rune(l)); n > 2*(headMax+tailMax+1) {
			t.Errorf("%d characters are kept", n)
		}
	}
}

func TestAllOfWhatADeviceDoesIsShown(t *testing.T) {
	s := asked("PC", "", 0)
	s.What = "ほかの機器23台のファイル共有を順に開こうとしています"
	s.Impact = "影響:共有ファイルを使う機器が4台あります"
	var shown string
	for _, r := range compose(s, 0, Hold{}).body {
		if r.kind == textRow {
			for _, p := range r.plates(Width) {
				shown += p.lines[0].String()
			}
		}
	}
	if shown != s.What+s.Impact {
		t.Errorf("shown: %q", shown)
	}
}

// arcmin is the angle under which a height is seen.
func arcmin(mm, from float64) float64 { return 2 * math.Atan(mm/2/from) * 180 / math.Pi * 60 }

// ISO 9241-303 wants characters of at least 16 minutes of arc. Capital letters
// count, and for Japanese the whole character. Arm's length is 600 mm, the
// smallest screen in use 0.96 inch: 128 columns are 21.74 mm.
func TestNamesAreReadableAtArmsLength(t *testing.T) {
	const pitch, arm = 21.744 / Width, 600
	height := func(r rune) int {
		first, last := -1, 0
		for y, row := range glyphOf(r).rows {
			if row != 0 {
				if first < 0 {
					first = y
				}
				last = y
			}
		}
		return last - first + 1
	}
	for _, text := range []string{"経理PC-2", "FRONT-PC", "DESKTOP-7QK3M2P", "192.168.110.123", "総務部ノートPC", "LAPTOP-JP-SALES-012"} {
		p := name(text, Width)
		if len(p) != 1 || p[0].size == plain {
			t.Errorf("%s is not large", text)
			continue
		}
		for _, r := range "E経" {
			if got := arcmin(2*float64(height(r))*pitch, arm); got < 16 {
				t.Errorf("%s: %c is seen under %.1f minutes of arc", text, r, got)
			}
		}
	}
}

func TestAHoldSpeaksOfWhatItActsOn(t *testing.T) {
	for _, phase := range []HoldPhase{HoldLeads, HoldAsking, HoldApprove} {
		s := asked("appeared-since", "", 0)
		h := Hold{Phase: phase, Held: time.Second, On: Shown{Target: "x", Deed: DeedIsolate, Name: "was-there"}}
		if phase != HoldLeads {
			h.On = Shown{Approve: "x", Name: "was-there"}
		}
		got := strings.Join(Lines(s, 0, h), " ")
		if !strings.Contains(got, "was-there") || strings.Contains(got, "appeared-since") {
			t.Errorf("phase %d: %q", phase, got)
		}
		s.Suspect.Name = "another"
		for _, z := range []Size{Tall, Low} {
			other := h
			other.On.Name = "was-not-there"
			if *RenderOn(z, s, 0, h) == *RenderOn(z, s, 0, other) {
				t.Errorf("phase %d: two devices, one picture on %d rows", phase, z.Rows())
			}
		}
	}
}

func TestTheBarOfAHoldGrowsUntilItIsFull(t *testing.T) {
	lit := func(phase HoldPhase, held time.Duration) (n int) {
		m := RenderHold(status(hal.Normal, "en"), 0, Hold{Phase: phase, Held: held, On: Shown{Approve: "g", Name: "IT"}})
		for x := range Width {
			if m.Lit(x, titleH+26+5) {
				n++
			}
		}
		return n
	}
	last := 0
	for held := HoldShow; held <= HoldShort; held += 5 * HoldStep {
		n := lit(HoldAsking, held)
		if n <= last {
			t.Errorf("after %v the bar is %d long, before %d", held, n, last)
		}
		last = n
	}
	if full := lit(HoldApprove, HoldShort); last > full || full != Width-4 { // 2 of the frame
		t.Errorf("the full bar is %d long, before it was %d", full, last)
	}
	if way := lit(HoldCountdown, HoldCount); way >= last {
		t.Error("the countdown's bar begins full: it leads to 8 s")
	}
}

func TestTheLastDrillTellsHowLongItTook(t *testing.T) {
	s := status(hal.Normal, "en")
	for took, want := range map[time.Duration]string{
		0: "53 days ago", time.Millisecond: "Pressed in 1 s", 14400 * time.Millisecond: "Pressed in 14 s", 59600 * time.Millisecond: "1:00 min",
		125 * time.Second: "2:05 min", 2 * time.Hour: "over an hour",
	} {
		s.DrillTook = took
		got := onPage(s, 2)
		if !strings.Contains(got, want) || strings.Contains(got, "ressed") != (took > 0 && took < time.Hour) {
			t.Errorf("%v: %q", took, got)
		}
	}
}

func TestADrillIsTodaysUntilMidnight(t *testing.T) {
	for _, c := range []struct {
		since  time.Duration
		en, ja string
	}{
		{10 * time.Hour, "today", "今日"}, {20 * time.Hour, "yesterday", "昨日"}, {40 * time.Hour, "2 days ago", "2日前"},
		{-time.Hour, "today", "今日"}, // the clock was set back
	} {
		for lang, want := range map[string]string{"en": c.en, "ja": c.ja} {
			s := status(hal.Normal, lang)
			s.LastDrill, s.DrillTook = s.Now.Add(-c.since), 0
			if got := onPage(s, 2); !strings.Contains(got, want) {
				t.Errorf("%v: %q, want %q", c.since, got, want)
			}
		}
	}
}

func TestTheLastDayOfLearningIsOneDay(t *testing.T) {
	for left, want := range map[time.Duration]string{0: "1 day", 24 * time.Hour: "1 day", 25 * time.Hour: "2 days"} {
		s := status(hal.Learning, "en")
		s.LearnLeft = left
		if got := onPage(s, 0); !strings.Contains(got, want) || strings.Contains(got, "1 days") {
			t.Errorf("%v: %q", left, got)
		}
	}
}

// Names, and everything else that comes from outside, may be any bytes.
func FuzzEveryTextIsDrawnAndNothingPanics(f *testing.F) {
	for _, text := range hostile {
		f.Add(clip(text), uint8(hal.Attention), int64(1), uint8(0))
	}
	f.Add("PC", uint8(200), int64(-1)<<62, uint8(7))
	f.Fuzz(func(t *testing.T, text string, st uint8, at int64, more uint8) {
		s := hal.Status{
			State: hal.State(st), Drill: more&1 > 0, Lockdown: more&2 > 0, Now: time.UnixMilli(at), Devices: int(at), PacketDays: float64(at),
			Suspect: hal.Device{Name: text, Addr: text, Place: text}, What: text, Impact: text, Cable: text, Waiting: int(more), LearnLeft: time.Duration(at),
			Vendor: text, VendorPhone: text, Approval: text, ApprovalID: text, ApprovalFor: text, FaultText: text, FaultCall: text,
			LastDrill: time.UnixMilli(-at), DrillTook: time.Duration(at), Since: time.UnixMilli(at), VendorUntil: time.UnixMilli(at), AskedUntil: time.UnixMilli(at + 60000),
		}
		if more&4 > 0 {
			s.Lang = "ja"
		}
		h := Hold{Phase: HoldPhase(more >> 4), Held: time.Duration(at), Left: time.Duration(at), On: Shown{Name: text, Deed: Deed(more >> 3)}}
		for _, z := range []Size{Tall, Low} {
			for _, h := range []Hold{{}, h} {
				if m := RenderOn(z, s, int(at), h); *m == (Image{Size: z}) {
					t.Fatal("a dark screen")
				}
			}
		}
		if len(Lines(s, int(at), h)) == 0 {
			t.Fatal("no words")
		}
	})
}
