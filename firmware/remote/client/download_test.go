package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/remote/wire"
)

var bundlePath = fill(wire.PathBundle, "INC-7")

func (g *gateway) download() Download {
	return Download{Incident: "INC-7", Package: *g.pkg(), Path: filepath.Join(g.t.TempDir(), "INC-7.tar")}
}

// parts are what an unfinished download has left.
func parts(t *testing.T, d Download) []string {
	t.Helper()
	names, err := filepath.Glob(d.Path + ".*.part")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// cutAfter serves the package as http.ServeContent does, and breaks off after
// n bytes of each answer.
func (g *gateway) cutAfter(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+g.pkg().SHA256+`"`)
		http.ServeContent(&cutter{ResponseWriter: w, left: n}, r, "", time.Time{}, bytes.NewReader(g.content))
	}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b[:min(len(b), c.left)])
	if c.left -= n; c.left == 0 {
		breakOff(c.ResponseWriter)
	}
	return n, err
}

func (g *gateway) wantFile(path string) {
	g.t.Helper()
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, g.content) {
		g.t.Errorf("%d bytes, %v; want the package's %d", len(data), err, len(g.content))
	}
}

func TestADownloadGoesOnWhereItWasCut(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	const each = 500_000
	g.answer(bundlePath, g.cutAfter(each))
	d := g.download()
	cuts, last := 0, int64(0)
	d.Cut = func(error) { cuts++ }
	d.Progress = func(done, total int64) {
		if done < last || total != int64(len(g.content)) {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}
	if err := c.Download(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	g.wantFile(d.Path)
	if len(parts(t, d)) != 0 || cuts != len(g.content)/each {
		t.Errorf("%d cuts, left %v", cuts, parts(t, d))
	}
	for i, r := range g.asked() {
		want := ""
		if i > 0 {
			want = fmt.Sprintf("bytes=%d-", i*each)
		}
		if got := r.Header.Get("Range"); got != want || i > 0 && r.Header.Get("If-Range") != `"`+d.Package.SHA256+`"` {
			t.Errorf("request %d: range %q, want %q, if-range %q", i, got, want, r.Header.Get("If-Range"))
		}
	}
}

// interrupt ends a download about half-way, as a killed process does.
func (g *gateway) interrupt(c *Client, d Download) {
	g.t.Helper()
	ctx, cancel := context.WithCancel(g.t.Context())
	d.Progress = func(done, total int64) {
		if done >= total/2 {
			cancel()
		}
	}
	if err := c.Download(ctx, d); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		g.t.Fatalf("interrupted: %v", err)
	}
	g.asked()
}

func TestTheNextPullGoesOnWhereTheProcessEnded(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	d := g.download()
	g.interrupt(c, d)
	info, err := os.Stat(parts(t, d)[0])
	if err != nil {
		t.Fatal(err)
	}
	next, _ := g.client(c.profile)
	if err := next.Download(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	g.wantFile(d.Path)
	asked := g.asked()
	if len(asked) != 1 || asked[0].Header.Get("Range") != fmt.Sprintf("bytes=%d-", info.Size()) {
		t.Errorf("asked %v for the rest of %d", asked, info.Size())
	}
	if err := next.Download(t.Context(), d); err != nil || len(g.asked()) != 0 {
		t.Errorf("what is there was fetched again: %v", err)
	}
}

func TestAPartThatAPowerCutDamagedIsFetchedAnew(t *testing.T) {
	for name, harm := range map[string]func([]byte) []byte{
		"zeros":    func(b []byte) []byte { clear(b[len(b)/2:]); return b },
		"too long": func(b []byte) []byte { return make([]byte, 10*len(b)) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			c, _ := g.vendor()
			d := g.download()
			g.interrupt(c, d)
			part := parts(t, d)[0]
			data, err := os.ReadFile(part)
			if err == nil {
				err = os.WriteFile(part, harm(data), 0o600)
			}
			if err == nil {
				err = c.Download(t.Context(), d)
			}
			if err != nil {
				t.Fatal(err)
			}
			g.wantFile(d.Path)
		})
	}
}

func TestAPartIsNeverContinuedWithAnotherPackage(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	d := g.download()
	g.interrupt(c, d)
	g.content = bytes.Repeat([]byte("sealed anew "), 200_000)
	if err := c.Download(t.Context(), d); !errors.Is(err, ErrChanged) {
		t.Errorf("another package under the old hash: %v", err)
	}
	d.Package = *g.pkg()
	if err := c.Download(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	g.wantFile(d.Path)
	if left := parts(t, d); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestAHostileDownloadIsRefusedAndFillsNothing(t *testing.T) {
	g := newGateway(t)
	tag := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"`+g.pkg().SHA256+`"`)
			h(w, r)
		}
	}
	ranged := func(value string) http.HandlerFunc {
		return tag(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", value)
			w.WriteHeader(http.StatusPartialContent)
		})
	}
	size := len(g.content)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"other ETag":     {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"\x1b[2J"`) }, ErrChanged},
		"no ETag":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(g.content) }, ErrChanged},
		"other bytes":    {tag(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) }), ErrDamaged},
		"longer":         {tag(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", strconv.Itoa(size+1)) }), ErrChanged},
		"shorter":        {tag(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(g.content[:9]) }), ErrChanged},
		"endless":        {tag(endless), ErrChanged},
		"range not ours": {ranged(fmt.Sprintf("bytes 1-%d/%d", size-1, size)), ErrChanged},
		"range, longer":  {ranged(fmt.Sprintf("bytes 0-%d/%d", size, size+1)), ErrChanged},
		"no range":       {ranged("bytes */-"), ErrChanged},
		"empty success":  {tag(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := g.vendor()
			g.answer(bundlePath, c.answer)
			d := g.download()
			err := client.Download(t.Context(), d)
			if !errors.Is(err, c.want) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("error %v", err)
			}
			if _, err := os.Stat(d.Path); !errors.Is(err, fs.ErrNotExist) {
				t.Error("it got its name")
			}
			for _, part := range parts(t, d) {
				if info, err := os.Stat(part); err != nil || info.Size() > int64(size) || c.want == ErrDamaged {
					t.Errorf("left %v, %v", info, err)
				}
			}
		})
	}
}

func TestALineThatStaysCutEndsTheDownload(t *testing.T) {
	g := newGateway(t)
	c, pauses := g.vendor()
	g.answer(bundlePath, g.cutAfter(1000))
	d := g.download()
	if err := c.Download(t.Context(), d); !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	if asked := len(g.asked()); asked != maxCuts+1 || len(*pauses) != maxCuts {
		t.Errorf("asked %d times with pauses %v", asked, *pauses)
	}
	for i, p := range *pauses {
		if i > 0 && p <= (*pauses)[i-1] && p < maxPause {
			t.Errorf("the pauses do not grow: %v", *pauses)
		}
	}
	if info, err := os.Stat(parts(t, d)[0]); err != nil || info.Size() != 1000*(maxCuts+1) {
		t.Errorf("kept %v, %v", info, err)
	}
}

func TestAGatewayThatAlwaysBeginsAnewEndsTheDownload(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	answers := 0
	g.answer(bundlePath, func(w http.ResponseWriter, r *http.Request) {
		answers++
		r.Header.Del("Range")
		g.cutAfter(400_000*(1+answers%3))(w, r) // forth and back
	})
	if err := c.Download(t.Context(), g.download()); !errors.Is(err, ErrUnreachable) || answers > 4*maxCuts {
		t.Errorf("%v after %d answers", err, answers)
	}
}

func TestALineThatIsSilentCountsAsCut(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	c.stall = 50 * time.Millisecond
	silent := 0
	g.answer(bundlePath, func(w http.ResponseWriter, r *http.Request) {
		if silent++; silent > 2 {
			g.answer(bundlePath, nil)
		}
		w.Header().Set("ETag", `"`+g.pkg().SHA256+`"`)
		w.Header().Set("Content-Length", strconv.Itoa(len(g.content)))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // the vendor hangs up
	})
	d := g.download()
	if err := c.Download(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	g.wantFile(d.Path)
}

func TestABusyGatewayIsAskedLaterAndARefusalIsFinal(t *testing.T) {
	for name, c := range map[string]struct {
		code  string
		retry string
		again bool
	}{
		"busy":            {wire.CodeBusy, "7", true},
		"ledger is away":  {wire.CodeUnavailable, "", true},
		"busy for an age": {wire.CodeBusy, "9999999999", false},
		"no grant":        {wire.CodeNoGrant, "", false},
		"locked":          {wire.CodeLocked, "7", false},
		"not enrolled":    {wire.CodeNotEnrolled, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			client, pauses := g.vendor()
			g.answer(bundlePath, func(w http.ResponseWriter, _ *http.Request) {
				g.answer(bundlePath, nil)
				if c.retry != "" {
					w.Header().Set("Retry-After", c.retry)
				}
				refuse(w, http.StatusTooManyRequests, wire.ErrorDetail{Code: c.code})
			})
			err := client.Download(t.Context(), g.download())
			var refused *Error
			if c.again != (err == nil) || !c.again && (!errors.As(err, &refused) || refused.Code != c.code) {
				t.Errorf("error %v", err)
			}
			if c.again && c.retry != "" && (len(*pauses) != 1 || (*pauses)[0] != 7*time.Second) {
				t.Errorf("pauses %v", *pauses)
			}
		})
	}
}

func TestADownloadTakesNobodysFileAndNoMoreThanFits(t *testing.T) {
	g := newGateway(t)
	c, _ := g.vendor()
	d := g.download()
	if err := os.WriteFile(d.Path, []byte("older evidence"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Download(t.Context(), d); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another file: %v", err)
	}
	d = g.download()
	d.Package.Size = 1 << 60
	if err := c.Download(t.Context(), d); !errors.Is(err, ErrSpace) {
		t.Errorf("an exabyte: %v", err)
	}
	d = g.download()
	held, err := openPart(d.Path, d.Package)
	if err != nil {
		t.Fatal(err)
	}
	defer held.close()
	if err := c.Download(t.Context(), d); !errors.Is(err, ErrInUse) {
		t.Errorf("beside another download: %v", err)
	}
	if asked := g.asked(); len(asked) != 0 {
		t.Errorf("the gateway was asked: %v", asked)
	}
}
