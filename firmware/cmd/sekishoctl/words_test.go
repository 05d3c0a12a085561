package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/boombuler/barcode/qr"

	"sekisho/firmware/evidence"
	"sekisho/firmware/remote/client"
	"sekisho/firmware/remote/wire"
)

func TestEveryFailureSaysWhatToDoAndHasItsStatus(t *testing.T) {
	refusal := func(code string, status int) error {
		return &client.Error{Status: status, Code: code, Retry: time.Minute}
	}
	for _, c := range []struct {
		err  error
		exit int
		says string
	}{
		{client.ErrUnreachable, 3, "VPN"},
		{client.ErrPin, 1, "ring the owner up"},
		{&client.TamperError{Reason: errors.New("x"), Dir: "/saved"}, 1, "/saved"},
		{refusal(wire.CodeInvitation, 403), 1, "new one"},
		{refusal(wire.CodeNotEnrolled, 401), 1, "new invitation"},
		{refusal(wire.CodeWrong, 403), 1, "clock"},
		{refusal(wire.CodeLocked, 429), 1, "in 1m0s"},
		{refusal(wire.CodeBusy, 503), 3, "in 1m0s"},
		{refusal(wire.CodeUnavailable, 503), 3, "later"},
		{refusal(wire.CodeNoGrant, 403), 1, "what has come is kept"},
		{refusal(wire.CodeNotSealed, 404), 1, "watch"},
		{refusal("", 500), 3, "later"},
		{client.ErrDamaged, 1, "again"},
		{client.ErrChanged, 1, "again"},
		{client.ErrSpace, 1, "--dir"},
		{client.ErrNoProfile, 2, "enroll"},
		{client.ErrProfile, 2, "--profile"},
		{evidence.ErrEncrypted, 1, "--identity"},
		{&evidence.FileError{File: "data/x", Reason: errors.New("changed")}, 1, "evidence"},
		{fs.ErrExist, 1, "left as it is"},
		{errors.New("anything"), 1, "anything"},
	} {
		var out bytes.Buffer
		exit := program{errs: &out}.fail(fmt.Errorf("pull: %w", c.err))
		if exit != c.exit || !strings.Contains(out.String(), c.says) || !strings.Contains(out.String(), "pull: ") {
			t.Errorf("%v: exit %d, want %d\n%s", c.err, exit, c.exit, out.String())
		}
		if _, alarm := c.err.(*client.TamperError); alarm != strings.Contains(out.String(), "*** ALARM ***") {
			t.Errorf("%v: alarm is %v\n%s", c.err, !alarm, out.String())
		}
	}
}

// What is drawn is read back, module by module.
func TestTheQRCodeIsDrawnAsItIs(t *testing.T) {
	const uri = "otpauth://totp/Example%20Ltd.:Anna?issuer=Example&secret=JBSWY3DPEHPK3PXP"
	var out bytes.Buffer
	if err := drawQR(&out, uri); err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(uri, qr.M, qr.Unicode)
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(regexp.MustCompile(`\x1b\[[0-9;]*m|\n$`).ReplaceAllString(out.String(), ""), "\n")
	size := code.Bounds().Dx()
	if len(rows) != (size+2*4+1)/2 {
		t.Fatalf("%d rows for %d modules", len(rows), size)
	}
	dark := 0
	for y := -4; y < size+4; y++ {
		cells := []rune(rows[(y+4)/2])
		for x := -4; x < size+4; x++ {
			light := map[rune][2]bool{'█': {true, true}, '▀': {true, false}, '▄': {false, true}}[cells[x+4]][(y+4)%2]
			inside := x >= 0 && y >= 0 && x < size && y < size
			want := !inside || color.GrayModel.Convert(code.At(x, y)) == color.Gray{Y: 255}
			if light != want {
				t.Fatalf("module %d,%d is light: %v", x, y, light)
			}
			if !light {
				dark++
			}
		}
	}
	if dark < size*size/4 {
		t.Errorf("%d dark modules of %d", dark, size*size)
	}
}

func TestTheMeterDrawsABarOnATerminalAndLinesElsewhere(t *testing.T) {
	const total = 10_000_000
	run := func(terminal bool) string {
		var out bytes.Buffer
		at := time.Unix(0, 0)
		m := newMeter(&out)
		m.terminal, m.now = terminal, func() time.Time { at = at.Add(50 * time.Millisecond); return at }
		for done := int64(4_000_000); done <= total; done += 100_000 { // the first 4 MB were there
			m.moved(done, total)
		}
		m.end()
		m.end()
		return out.String()
	}
	lines := run(false)
	if strings.Count(lines, "\n") != 7 || strings.Contains(lines, "\r") || !strings.Contains(lines, " 70 %  7.0 MB of 10.0 MB  2.0 MB/s  2s left") {
		t.Errorf("lines:\n%s", lines)
	}
	bar := run(true)
	if strings.Count(bar, "\n") != 1 || strings.Count(bar, "\r") > 61/4+2 || !strings.Contains(bar, "[##############################] 100 %  10.0 MB of 10.0 MB") {
		t.Errorf("bar: %q", bar)
	}
}

func TestSizesAreReadable(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 3_200_000_000: "3.2 GB", 1 << 60: "1152921.5 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
