package virtual

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sekisho/hal"
	"sekisho/hal/panel"
)

// redraw is how often the terminal is looked after: often enough for the
// lamp's shortest stretch.
const redraw = 40 * time.Millisecond

type terminal struct {
	in, out *os.File
	page    string // see Config
	last    string // what stands on the terminal now
}

// openTerminal returns nil when there is none.
func openTerminal(cfg Config) *terminal {
	if cfg.In == nil || cfg.Out == nil || !term.IsTerminal(int(cfg.In.Fd())) || !term.IsTerminal(int(cfg.Out.Fd())) {
		return nil
	}
	return &terminal{in: cfg.In, out: cfg.Out, page: cfg.Page}
}

// run draws and reads keys until ctx ends. The other screen of the terminal is
// used, so that what the person had there comes back.
func (t *terminal) run(ctx context.Context, p *Panel) error {
	fd := int(t.in.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("open panel in terminal: %w", err)
	}
	defer func() {
		fmt.Fprint(t.out, "\x1b[0m\x1b[?25h\x1b[?1049l")
		if err := term.Restore(fd, old); err != nil {
			p.cfg.Logger.Error("terminal not restored", "err", err)
		}
	}()
	fmt.Fprint(t.out, "\x1b[?1049h\x1b[?25l\x1b[2J")
	for ctx.Err() == nil {
		p.tick()
		if err := t.draw(p.Frame()); err != nil {
			return fmt.Errorf("draw panel in terminal: %w", err)
		}
		keys, err := t.keys(fd)
		if err != nil {
			p.cfg.Logger.Warn("terminal gone, panel goes on without it", "err", err)
			<-ctx.Done()
			return nil
		}
		for _, k := range keys {
			p.handle(k)
		}
	}
	return nil
}

// keys waits one redraw for keys.
func (t *terminal) keys(fd int) ([]byte, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(redraw/time.Millisecond))
	if errors.Is(err, unix.EINTR) || (err == nil && n == 0) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var buf [64]byte
	n, err = unix.Read(fd, buf[:])
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, os.ErrClosed
	}
	return buf[:n], nil
}

// handle is the keyboard of the simulated button.
func (p *Panel) handle(k byte) {
	switch k {
	case '\r', '\n', ' ':
		p.keyDown(100 * time.Millisecond)
	case '3':
		p.keyDown(panel.HoldShort + 500*time.Millisecond)
	case '8':
		p.keyDown(panel.HoldLong + 300*time.Millisecond)
	case 'q', 'Q', 3: // 3 is Ctrl-C, which raw mode hands over as a key
		p.quit()
	}
}

func (p *Panel) quit() {
	p.mu.Lock()
	quit := p.cfg.Quit
	p.cfg.Quit = nil
	p.mu.Unlock()
	if quit != nil {
		quit()
	}
}

// draw writes the frame when it differs from what stands there.
func (t *terminal) draw(f Frame) error {
	cols, rows, err := term.GetSize(int(t.out.Fd()))
	if err != nil {
		return err
	}
	text := picture(f, t.page, cols, rows)
	if text == t.last {
		return nil
	}
	t.last = text
	_, err = t.out.WriteString(text)
	return err
}

// picture is the whole terminal: where the page is, the lamp, the screen and
// the keys.
func picture(f Frame, page string, cols, rows int) string {
	var b strings.Builder
	b.WriteString("\x1b[H\x1b[0m")
	put := func(line string) { b.WriteString(line + "\x1b[0m\x1b[K\r\n") }
	if len(page)+2 > cols { // it would wrap
		page = ""
	}
	put("  " + page)
	put("  " + blob(f.Lamp) + "  " + inWords(f.Lines, cols-14))
	put("")
	switch {
	case cols >= panel.Width+4 && rows >= panel.Height/2+6:
		for y := 0; y < panel.Height; y += 2 {
			put("  " + halfBlocks(&f.Image, y))
		}
	case cols >= panel.Width/2+2 && rows >= panel.Height/4+5:
		for y := 0; y < panel.Height; y += 4 {
			put("  " + braille(&f.Image, y))
		}
	default: // too small for the picture: its words
		for _, l := range f.Lines {
			put("  " + printable(l))
		}
	}
	put("")
	if cols >= 78 { // a line that wraps would scroll the picture away
		b.WriteString("  " + keysWord(f.Status))
	}
	b.WriteString("\x1b[K\x1b[J")
	return b.String()
}

func blob(c panel.Color) string {
	if !c.Lit() {
		return "\x1b[38;2;70;70;70m(      )\x1b[0m"
	}
	return fmt.Sprintf("\x1b[38;2;%d;%d;%dm(██████)\x1b[0m", c.R, c.G, c.B)
}

// halfBlocks draws two rows of pixels as one row of cells.
func halfBlocks(m *panel.Image, y int) string {
	var b strings.Builder
	b.WriteString("\x1b[38;2;225;240;255;48;2;8;12;18m")
	for x := range panel.Width {
		b.WriteRune([]rune(" ▄▀█")[bit(m, x, y)<<1|bit(m, x, y+1)])
	}
	return b.String()
}

// braille draws two by four pixels as one cell (Unicode 17, block 2800).
func braille(m *panel.Image, y int) string {
	var b strings.Builder
	for x := 0; x < panel.Width; x += 2 {
		r := rune(0x2800)
		for i, d := range [8][2]int{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {0, 3}, {1, 3}} {
			r |= rune(bit(m, x+d[0], y+d[1])) << i
		}
		b.WriteRune(r)
	}
	return b.String()
}

func bit(m *panel.Image, x, y int) int {
	if m.Lit(x, y) {
		return 1
	}
	return 0
}

// printable keeps a stranger's name from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

// inWords is the page as text within so many cells: where the picture is small
// the strokes of its characters run together.
func inWords(lines []string, cells int) string {
	text := printable(strings.Join(lines, " | "))
	used := 0
	for i, r := range text {
		used++
		if r >= 0x1100 { // from here on most characters are two cells wide
			used++
		}
		if used > cells {
			return text[:i]
		}
	}
	return text
}

func keysWord(s hal.Status) string {
	if s.Lang == "ja" {
		return "Enter: ボタンを押す   3: 3秒押す   8: 8秒押す(もう一度押すと離す)   q: 終了"
	}
	return "Enter: press   3: hold 3 s   8: hold 8 s (any of them again: let go)   q: quit"
}
