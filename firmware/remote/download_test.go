package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

func number(t *testing.T, e ledger.Entry, key string) int64 {
	t.Helper()
	n, ok := e.Detail[key].(json.Number)
	if !ok {
		t.Fatalf("%s of %+v is no number", key, e)
	}
	i, err := n.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestADownloadResumesWhereItWasCut(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	p.granted("i-1")
	want := o.shelf.files["i-1"]
	info, _ := o.shelf.Package("i-1")
	tag := `"` + info.SHA256 + `"`
	half := bundleSize / 2
	status, data, header := p.fetch(bundlePath("i-1"), "Range", fmt.Sprintf("bytes=%d-", half), "If-Range", tag)
	if status != http.StatusPartialContent || !bytes.Equal(data, want[half:]) || header.Get("ETag") != tag {
		t.Errorf("rest: %d, %d bytes, %v", status, len(data), header)
	}
	status, data, _ = p.fetch(bundlePath("i-1"), "Range", fmt.Sprintf("bytes=%d-", half), "If-Range", `"another"`)
	if status != http.StatusOK || !bytes.Equal(data, want) {
		t.Errorf("another file: %d, %d bytes", status, len(data))
	}
	if status, data, _ = p.fetch(bundlePath("i-1"), "If-None-Match", tag); status != http.StatusNotModified || len(data) != 0 {
		t.Errorf("the same file: %d, %d bytes", status, len(data))
	}
	if status, _, _ = p.fetch(bundlePath("i-1"), "Range", fmt.Sprintf("bytes=%d-", bundleSize)); status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("beyond the end: %d", status)
	}
	resp, err := p.client.Head("https://" + o.addr + bundlePath("i-1"))
	if err != nil || resp.ContentLength != bundleSize || resp.Header.Get("ETag") != tag {
		t.Errorf("head: %+v, %v", resp, err)
	}
	var got []int64
	for _, e := range o.recorded("remote.download.end", 5) {
		got = append(got, number(t, e, "status"), number(t, e, "bytes"))
		if e.Detail["whole"] != true {
			t.Errorf("%+v", e)
		}
	}
	got[7] = 0 // the text of an error
	if want := []int64{206, int64(half), 200, bundleSize, 304, 0, 416, 0, 200, 0}; !slices.Equal(got, want) {
		t.Errorf("status and bytes %v, want %v", got, want)
	}
	begun := o.entries("remote.download")
	if len(begun) != 5 || begun[0].Detail["range"] != fmt.Sprintf("bytes=%d-", half) || begun[0].Detail["sha256"] != info.SHA256 || begun[0].Detail["from"] != "127.0.0.1" || begun[4].Detail["method"] != "HEAD" {
		t.Errorf("begun %+v", begun)
	}
}

// slowly is an office whose line lets one chunk through in a while.
func slowly(t *testing.T) *office {
	t.Helper()
	return openOffice(t, func(c *Config, _ *limits) { c.BytesPerSecond = 4 * chunk })
}

// underWay is a download of which something has arrived.
func underWay(t *testing.T, p *person) io.ReadCloser {
	t.Helper()
	resp, err := p.get(bundlePath("i-1"))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", resp, err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp.Body
}

func TestADownloadIsCutTheMomentItsAccessEnds(t *testing.T) {
	for name, end := range map[string]func(*office, string) error{
		"owner":   func(o *office, id string) error { return o.End(id, "owner") },
		"press":   func(o *office, _ string) error { return o.EndAll("person:panel") },
		"revoked": func(o *office, _ string) error { return o.Revoke(o.Vendors()[0].ID, "owner") },
		"expired": func(o *office, _ string) error { o.clock.pass(time.Hour); return nil },
		"nothing is written": func(o *office, id string) error {
			o.ledger.broken.Store(true)
			if err := o.End(id, "owner"); !errors.Is(err, errDisk) {
				return fmt.Errorf("the broken ledger took it: %w", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := slowly(t)
			p := o.enrolled("V")
			g := p.granted("i-1")
			body := underWay(t, p)
			if a := o.Active(); len(a) != 1 || a[0].Downloads != 1 || a[0].Bytes == 0 {
				t.Fatalf("active %+v", a)
			}
			if err := end(o, g.ID); err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, body)
			if err == nil || n >= bundleSize {
				t.Errorf("%d more bytes came, %v", n, err)
			}
			if len(o.Active()) != 0 {
				t.Errorf("active %+v", o.Active())
			}
			if o.ledger.broken.Load() {
				return
			}
			e := o.recorded("remote.download.end", 1)[0]
			if e.Detail["whole"] != false || e.Detail["reason"] != "access ended" || number(t, e, "bytes") >= bundleSize {
				t.Errorf("recorded %+v", e)
			}
		})
	}
}

func TestAnEndedAccessSendsNotEvenWhatWaitsInTheKernel(t *testing.T) {
	o := openOffice(t, nil)
	o.shelf.files["i-1"] = make([]byte, 64<<20) // more than buffers hold
	p := o.enrolled("V")
	g := p.granted("i-1")
	resp, err := p.get(bundlePath("i-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := o.End(g.ID, "owner"); err != nil { // nobody reads: the handler waits in a write
		t.Fatal(err)
	}
	e := o.recorded("remote.download.end", 1)[0]
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil || n > number(t, e, "bytes") || e.Detail["reason"] != "access ended" {
		t.Errorf("%d bytes came, %v; recorded %+v", n, err, e)
	}
}

func TestAReaderThatStandsStillIsCut(t *testing.T) {
	o := openOffice(t, func(_ *Config, l *limits) { l.write = time.Second })
	o.shelf.files["i-1"] = make([]byte, 64<<20)
	p := o.enrolled("V")
	p.granted("i-1")
	resp, err := p.get(bundlePath("i-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	e := o.recorded("remote.download.end", 1)[0]
	if e.Detail["whole"] != false || e.Detail["reason"] != "connection lost, or too slow" {
		t.Errorf("recorded %+v", e)
	}
}

func TestAllDownloadsTogetherKeepToTheLine(t *testing.T) {
	const perSecond = 256 << 10
	o := openOffice(t, func(c *Config, _ *limits) { c.BytesPerSecond = perSecond })
	o.shelf.files["i-1"] = make([]byte, 96<<10)
	p := o.enrolled("V")
	p.granted("i-1")
	begun := time.Now()
	done := make(chan int)
	for range 3 {
		go func() {
			resp, err := p.get(bundlePath("i-1"))
			if err != nil {
				done <- -1
				return
			}
			defer resp.Body.Close()
			n, _ := io.Copy(io.Discard, resp.Body)
			done <- int(n)
		}()
	}
	total := 0
	for range 3 {
		total += <-done
	}
	// A lower bound only, which a busy machine cannot break: the burst is one chunk.
	least := time.Duration(total-chunk) * time.Second / perSecond
	if took := time.Since(begun); total != 3*96<<10 || took < least {
		t.Errorf("%d bytes in %s, the line's least is %s", total, took, least)
	}
}

func TestAnAccessOutlastsARestartAndNoLongerThanItsTime(t *testing.T) {
	o := openOffice(t, nil)
	p := o.enrolled("V")
	g := p.granted("i-1")
	o.restart()
	if a := o.Active(); len(a) != 1 || a[0].ID != g.ID {
		t.Fatalf("active %+v", a)
	}
	if status, data, _ := p.fetch(bundlePath("i-1")); status != http.StatusOK || len(data) != bundleSize {
		t.Errorf("%d, %d bytes", status, len(data))
	}
	o.stop()
	o.clock.pass(time.Hour)
	o.start()
	p.refused(http.StatusForbidden, wire.CodeNoGrant, p.call("GET", bundlePath("i-1"), nil, nil))
	o.recorded("remote.expire", 1)
	p.granted("i-1")
	o.stop()
	o.clock.pass(-24 * time.Hour) // no battery, no time service yet
	o.start()
	p.refused(http.StatusForbidden, wire.CodeNoGrant, p.call("GET", bundlePath("i-1"), nil, nil))
}

// torn is evidence on a disk that fails in the middle of a file.
type torn struct{ *shelf }

type tornFile struct{ io.ReadSeekCloser }

func (f tornFile) Read(p []byte) (int, error) {
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at > bundleSize/2 {
		return 0, errDisk
	}
	return f.ReadSeekCloser.Read(p)
}

func (s torn) OpenPackage(id string) (io.ReadSeekCloser, wire.Package, error) {
	f, p, err := s.shelf.OpenPackage(id)
	return tornFile{f}, p, err
}

func TestABundleThatCannotBeReadIsNotTakenForWhole(t *testing.T) {
	o := openOffice(t, func(c *Config, _ *limits) { c.Evidence = torn{c.Evidence.(*shelf)} })
	p := o.enrolled("V")
	p.granted("i-1")
	resp, err := p.get(bundlePath("i-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("%d bytes came, and an end", n)
	}
	if e := o.recorded("remote.download.end", 1)[0]; e.Detail["whole"] != false || e.Detail["reason"] != "the file could not be read" {
		t.Errorf("recorded %+v", e)
	}
	p.granted("i-0") // no bundle yet
	p.refused(http.StatusNotFound, wire.CodeNotSealed, p.call("GET", bundlePath("i-0"), nil, nil))
	if a := o.Active(); len(a) != 2 || a[0].Downloads+a[1].Downloads != 0 {
		t.Errorf("active %+v", a)
	}
}
