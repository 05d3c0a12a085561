package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sekisho/firmware/remote/wire"
)

// Download says what to fetch, and where to.
type Download struct {
	Incident string       // whose evidence
	Package  wire.Package // as Incidents gave it
	// Path is the finished file. Until then it is Path.HASH.part, HASH being the
	// first half of the package's: a part can only be continued with its own bytes.
	Path     string
	Progress func(done, total int64) // bytes, from this goroutine; may be nil
	Cut      func(err error)         // the line was cut and is tried again; may be nil
}

const (
	maxCuts      = 8         // one after another; some progress begins a new count
	someProgress = 256 << 10 // bytes
	maxPause     = 2 * time.Minute
)

// errCut says that the bytes ended before their time.
var errCut = fmt.Errorf("%w: the line was cut", ErrUnreachable)

// Download fetches a package to d.Path, going on where an earlier call ended,
// and verifies its SHA-256 before the file gets its name. What came before an
// error is kept for the next call, except bytes that proved wrong.
func (c *Client) Download(ctx context.Context, d Download) error {
	if err := c.download(ctx, d); err != nil {
		return fmt.Errorf("download the package of incident %s: %w", d.Incident, err)
	}
	return nil
}

func (c *Client) download(ctx context.Context, d Download) error {
	if d.Progress == nil {
		d.Progress = func(int64, int64) {}
	}
	if d.Cut == nil {
		d.Cut = func(error) {}
	}
	if done, err := d.Done(); done || err != nil {
		return err
	}
	p, err := openPart(d.Path, d.Package)
	if err != nil {
		return err
	}
	defer p.close()
	if err := room(d.Path, p.total-p.size); err != nil {
		return err
	}
	resumed := p.size > 0
	if err := c.complete(ctx, d, p); err != nil {
		return err
	}
	// What a power cut left of a part need not be what was written to it.
	if resumed && !p.whole() {
		if err := p.restart(); err != nil {
			return err
		}
		if err := c.complete(ctx, d, p); err != nil {
			return err
		}
	}
	if !p.whole() {
		return errors.Join(ErrDamaged, p.discard())
	}
	return p.publish(d.Path)
}

// Done says whether the package has come already. Another file of that name is
// somebody's evidence: it stays, and the error wraps fs.ErrExist.
func (d Download) Done() (bool, error) {
	f, err := os.Open(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false, err
	}
	if hex.EncodeToString(h.Sum(nil)) != d.Package.SHA256 {
		return false, fmt.Errorf("%s: %w, with other bytes", d.Path, fs.ErrExist)
	}
	return true, nil
}

// room refuses what the disk cannot take, before it is full.
func room(path string, need int64) error {
	free, err := freeSpace(filepath.Dir(path))
	if err == nil && uint64(need) > free {
		return fmt.Errorf("%w: %d bytes are to come, %d are free", ErrSpace, need, free)
	}
	return nil // where the system does not tell, the write will
}

// complete fetches until the part has its size, over cuts.
func (c *Client) complete(ctx context.Context, d Download, p *part) error {
	cuts, best := 0, p.size // a gateway that begins anew each time makes no progress
	for p.size < p.total {
		err := c.fetch(ctx, d, p)
		if err == nil {
			continue
		}
		wait, again := retry(err, cuts)
		if !again || ctx.Err() != nil {
			return err
		}
		if cuts++; p.size-best >= someProgress {
			cuts, best = 1, p.size
		}
		if cuts > maxCuts {
			return err
		}
		d.Cut(err)
		if err := c.pause(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// retry says whether err may pass by itself, and how long to wait: longer each
// time, or as the gateway asks.
func retry(err error, cuts int) (wait time.Duration, again bool) {
	wait = min(time.Second<<cuts, maxPause)
	var refused *Error
	if errors.As(err, &refused) {
		return max(wait, refused.Retry), refused.Temporary() && refused.Retry <= maxPause
	}
	return wait, errors.Is(err, ErrUnreachable)
}

// fetch asks once for what is missing.
func (c *Client) fetch(ctx context.Context, d Download, p *part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := time.AfterFunc(c.stall, func() { cancel(errCut) })
	defer alive.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.caller.base+fill(wire.PathBundle, d.Incident), nil)
	if err != nil {
		return err
	}
	tag := `"` + d.Package.SHA256 + `"`
	if p.size > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.size))
		req.Header.Set("If-Range", tag)
	}
	resp, err := c.caller.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Header.Get("ETag") != tag {
		return fmt.Errorf("%w: its ETag is %s", ErrChanged, Printable(resp.Header.Get("ETag"), 80))
	}
	if err := fits(resp, p); err != nil {
		return err
	}
	return p.take(ctx, resp.Body, func() {
		alive.Reset(c.stall)
		d.Progress(p.size, p.total)
	})
}

// fits holds the head of the answer against what was asked for. A whole file
// instead of a range begins the part anew.
func fits(resp *http.Response, p *part) error {
	switch resp.StatusCode {
	case http.StatusOK:
		if err := p.restart(); err != nil {
			return err
		}
		if resp.ContentLength >= 0 && resp.ContentLength != p.total {
			return fmt.Errorf("%w: %d bytes instead of %d", ErrChanged, resp.ContentLength, p.total)
		}
	case http.StatusPartialContent:
		got := resp.Header.Get("Content-Range") // bytes FROM-LAST/TOTAL, RFC 9110, 14.4
		if !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", p.size)) || !strings.HasSuffix(got, fmt.Sprintf("/%d", p.total)) {
			return fmt.Errorf("%w: range %q of %d bytes from %d", ErrChanged, Printable(got, 80), p.total, p.size)
		}
	default:
		return fmt.Errorf("%w: status %d to a download", ErrAnswer, resp.StatusCode)
	}
	return nil
}

// take reads r into the part, no further than its size.
func (p *part) take(ctx context.Context, r io.Reader, moved func()) error {
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := r.Read(buf)
		if n > 0 {
			if int64(n) > p.total-p.size {
				return fmt.Errorf("%w: more than %d bytes come", ErrChanged, p.total)
			}
			if err := p.write(buf[:n]); err != nil {
				return err
			}
			moved()
		}
		switch {
		case err == io.EOF && p.size < p.total:
			return errCut
		case err == io.EOF:
			return nil
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("%w: %w", errCut, err)
		}
	}
	return context.Cause(ctx) // silence is errCut
}
