package virtual

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sekisho/hal"
	"sekisho/hal/panel"
)

var modern = map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "ja_JP.UTF-8"}

// fakeTTY is a terminal with somebody before it, for time that the test makes.
type fakeTTY struct {
	vt      *vt
	typed   chan []byte
	stopped atomic.Bool // the program does not run
	gone    atomic.Bool // the connection is cut
	stuck   atomic.Bool // takes nothing
	behind  atomic.Bool // another job has the terminal
	mode    atomic.Int32
	wrote   atomic.Int64
	takes   int // at most so many bytes at once; 0: all
}

func newFakeTTY(t *testing.T, cols, rows int) *fakeTTY {
	return &fakeTTY{vt: newVT(t, cols, rows), typed: make(chan []byte, 64)}
}

func (d *fakeTTY) size() (int, int, error) { return d.vt.cols, d.vt.rows, nil }
func (d *fakeTTY) foreground() bool        { return !d.behind.Load() }
func (d *fakeTTY) raw() error              { d.mode.Store(1); return nil }
func (d *fakeTTY) restore() error          { d.mode.Store(0); return nil }

func (d *fakeTTY) write(p []byte) (int, error) {
	if d.stuck.Load() {
		return 0, nil
	}
	if d.takes > 0 {
		p = p[:min(len(p), d.takes)]
	}
	d.wrote.Add(int64(len(p)))
	return d.vt.Write(p)
}

func (d *fakeTTY) read(p []byte, wait time.Duration) (int, error) {
	for d.stopped.Load() {
		time.Sleep(10 * time.Millisecond)
	}
	if d.gone.Load() {
		return 0, unix.EIO
	}
	select {
	case in := <-d.typed:
		return copy(p, in), nil
	case <-time.After(wait):
		return 0, nil
	}
}

// run brings a panel to life in the terminal; the function ends it, and fails the
// test when that takes long.
func (d *fakeTTY) run(p *Panel) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := newTerminal(p.cfg, p, d).run(ctx, nil)
		<-ctx.Done()
		p.Close()
		done <- err
	}()
	return func() {
		asked := time.Now()
		cancel()
		<-done
		if took := time.Since(asked); took > time.Second {
			d.vt.t.Errorf("the end took %v", took)
		}
	}
}

// painted is a terminal on which a scene has just been drawn anew.
func painted(t *testing.T, sc scene, l look, cols, rows int) *vt {
	v := newVT(t, cols, rows)
	v.other = true
	var s sheet
	s.clear(cols, rows)
	sc.paint(&s, l)
	v.Write(s.update(&sheet{}, l.depth)) //nolint:errcheck // never fails
	return v
}

// Whatever a terminal has shown before, it shows what it would had it been drawn
// anew: nothing is left of an older size or an older page.
func TestNothingIsLeftOfWhatWasShownBefore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := rapid.SampledFrom([]look{{trueColor, true, true, false}, {colors8, true, false, false}, {mono, false, false, false}}).Draw(rt, "look")
		v := newVT(t, 80, 24)
		v.other = true
		shown, next := &sheet{}, &sheet{}
		for range rapid.IntRange(2, 6).Draw(rt, "times") {
			cols, rows := v.cols, v.rows
			if rapid.Bool().Draw(rt, "resize") {
				cols, rows = rapid.IntRange(1, 150).Draw(rt, "cols"), rapid.IntRange(1, 48).Draw(rt, "rows")
				v.resize(cols, rows)
			}
			s := hal.Status{
				State: hal.State(rapid.IntRange(0, 8).Draw(rt, "state")), Lang: rapid.SampledFrom([]string{"ja", "en"}).Draw(rt, "lang"),
				Suspect: hal.Device{Name: rapid.StringN(0, 12, 40).Draw(rt, "name")}, What: rapid.StringN(0, 9, 30).Draw(rt, "what"), Target: "a",
			}
			p := New(Config{})
			p.Show(s)
			sc := scene{frame: p.Frame(), lang: "ja", page: "http://127.0.0.1:8080/", note: rapid.SampledFrom([]string{"", "送りました。"}).Draw(rt, "note")}
			next.clear(cols, rows)
			sc.paint(next, l)
			v.Write(next.update(shown, l.depth)) //nolint:errcheck // never fails
			shown, next = next, shown
			if diff := v.differs(painted(t, sc, l, cols, rows)); diff != "" {
				rt.Fatal(diff)
			}
			if t.Failed() { // the terminal complained
				rt.FailNow()
			}
		}
	})
}

// One blink is tens of bytes: over a slow connection a whole screen each time
// would be nothing but that.
func TestABlinkIsAFewBytes(t *testing.T) {
	for term, most := range map[string]int64{"xterm-256color": 40, "xterm": 30, "vt220": 30} {
		synctest.Test(t, func(t *testing.T) {
			d := newFakeTTY(t, 140, 45)
			p := New(Config{Env: env(map[string]string{"TERM": term, "LANG": "ja_JP.UTF-8"})})
			p.Show(hal.Status{State: hal.Isolating, Lang: "ja", Suspect: hal.Device{Name: "経理PC-2"}}) // 170 ms on, 170 ms off
			end := d.run(p)
			time.Sleep(time.Second)
			first := d.wrote.Load()
			p.Show(hal.Status{State: hal.Fault, Lang: "ja"}) // 400 ms on, 2.6 s off
			time.Sleep(200 * time.Millisecond)
			before := d.wrote.Load()
			time.Sleep(10 * 3 * time.Second)
			if a := (d.wrote.Load() - before) / 20; a < 5 || a > most {
				t.Errorf("%s: %d bytes a change of the lamp", term, a)
			} else {
				t.Logf("%s: %d bytes a change of the lamp; the first second took %d", term, a, first)
			}
			end()
		})
	}
}

func TestATerminalThatTakesNothingHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeTTY(t, 140, 45)
		d.takes = 100 // a sequence or a character is cut in the middle all the time
		p := New(Config{Env: env(modern)})
		p.Show(suspect("a"))
		end := d.run(p)
		time.Sleep(time.Second)
		d.stuck.Store(true)
		p.Show(hal.Status{State: hal.Isolated, Lang: "ja", Suspect: hal.Device{Name: "経理PC-2"}})
		d.typed <- []byte(" ")
		time.Sleep(time.Second)
		if got := <-p.Presses(); got.Target != "" && got.Target != "a" {
			t.Errorf("pressed %+v", got)
		}
		d.vt.resize(80, 24)
		d.vt.late = true
		d.stuck.Store(false)
		time.Sleep(time.Second)
		if !strings.Contains(d.vt.text(), "隔離完了") {
			t.Errorf("after it goes on:\n%s", d.vt.text())
		}
		d.stuck.Store(true)
		end()
	})
}

func TestAnotherJobsTerminalIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeTTY(t, 80, 24)
		d.behind.Store(true)
		p := New(Config{Env: env(modern)})
		p.Show(suspect("a"))
		end := d.run(p)
		time.Sleep(time.Second)
		if d.wrote.Load() != 0 || d.mode.Load() != 0 {
			t.Error("a job in the background writes")
		}
		d.behind.Store(false)
		time.Sleep(time.Second)
		if d.mode.Load() != 1 || !strings.Contains(d.vt.text(), "経理PC-2") {
			t.Errorf("in the foreground:\n%s", d.vt.text())
		}
		end()
		if d.mode.Load() != 0 || d.vt.other || d.vt.hidden || d.vt.marked {
			t.Error("not left as it was")
		}
	})
}

func TestWithoutACursorEachChangeIsALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeTTY(t, 300, 40)
		p := New(Config{Env: env(map[string]string{"TERM": "dumb", "LANG": "ja_JP.UTF-8"})})
		s := suspect("a")
		s.Suspect.Name = "PC\x1b]0;owned\x07\n-7"
		p.Show(hal.Status{State: hal.Normal, Lang: "ja", Now: s.Now})
		end := d.run(p)
		time.Sleep(65 * time.Second) // the clock alone is no news
		p.Show(s)
		time.Sleep(5 * time.Second)
		end()
		text := strings.ReplaceAll(d.vt.text(), "#", "") // what stood there before
		if strings.Count(strings.TrimRight(text, "\n"), "\n") != 2 || !strings.Contains(text, "ランプ: 黄色、2回ずつ点滅 | 注意") || !strings.Contains(text, "PC?]0;owned??-7") {
			t.Errorf("%q", text)
		}
	})
}

func TestWithoutATerminalThereIsNothingToOperate(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, c := range []Config{{}, {In: r, Out: w}} {
		if err := Operate(t.Context(), c, New(Config{})); !errors.Is(err, ErrNoTerminal) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTheWordsOfATerminalWithoutJapaneseCanBeRead(t *testing.T) {
	p := New(Config{})
	s := suspect("a")
	s.Suspect.Name = "PC-7"
	p.Show(s)
	for _, size := range [][2]int{{140, 45}, {80, 24}, {30, 6}, {5, 2}, {1, 1}} {
		v := painted(t, scene{frame: p.Frame(), lang: "ja"}, look{}, size[0], size[1])
		for _, r := range v.text() {
			if r > '~' {
				t.Fatalf("%v: %q", size, v.text())
			}
		}
		if size[0] >= 30 && (!strings.Contains(v.text(), "Alert") || !strings.Contains(v.text(), "PC-7") || !strings.Contains(v.text(), "Lamp: amber, doub")) {
			t.Errorf("%v:\n%s", size, v.text())
		}
	}
}

// The size decides how the picture is drawn.
func TestThePictureIsAsLargeAsItFits(t *testing.T) {
	p := New(Config{})
	s := suspect("a")
	s.Suspect.Name = "\x1b]0;owned\x07PC"
	p.Show(s)
	const page = "http://127.0.0.1:8080/"
	utf8 := look{trueColor, true, true, false}
	for _, c := range []struct {
		cols, rows int
		look       look
		has        string
	}{
		{140, 45, utf8, "▀"}, {80, 24, utf8, "⣿"}, {80, 24, look{colors8, true, false, false}, "PC"}, {140, 45, look{}, "'"},
		{30, 8, utf8, "PC"}, {20, 8, utf8, "PC"},
	} {
		name := fmt.Sprintf("%dx%d", c.cols, c.rows)
		text := painted(t, scene{frame: p.Frame(), lang: "ja", page: page}, c.look, c.cols, c.rows).text()
		if _, drawn := pictureFor(&sheet{cols: c.cols, rows: c.rows}, c.look); strings.Contains(text, page) != (drawn > 0) {
			t.Errorf("%s: the page's address is left out, or stands in the way", name)
		}
		if !strings.Contains(text, c.has) || !strings.Contains(text, "q") || !strings.Contains(text, panel.Lines(s, 0, panel.Hold{})[0]) && c.look.utf8 {
			t.Errorf("%s lacks something:\n%s", name, text)
		}
	}
}

func TestTheWordsTakeARowMoreWhereThereIsOne(t *testing.T) {
	lines := []string{"注意 ポート3", "経理PC-2", "23台を調べています", "ボタンで隔離します"}
	for rows, want := range map[int]string{
		1: "注意 ポート3 | 経理PC-2 | 23台を調べています | ボタンで隔離します",
		2: "注意 ポート3 | 経理PC-2\n23台を調べています | ボタンで隔離します",
		4: "注意 ポート3 | 経理PC-2\n23台を調べています\nボタンで隔離します",
	} {
		if got := strings.Join(joined(lines, 30, rows), "\n"); got != want {
			t.Errorf("%d rows: %q", rows, got)
		}
	}
}
