package remote

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

// chunk is what is sent in one go, bytes: so much may leave before the line's
// limit and the grant are looked at again.
const chunk = 16 << 10

// bundle sends a sealed bundle, or a range of it (RFC 9110, section 14).
func (s *Server) bundle(c *call) (answer, error) {
	id := c.r.PathValue("id")
	c.subject = clean(id, 64)
	if err := s.incident(id); err != nil {
		return answer{}, err
	}
	ctx, cut := context.WithCancelCause(c.r.Context())
	g, u, ok := s.book.begin(c.vendor.ID, id, c.now, func() { cut(errEnded) })
	if !ok {
		cut(nil)
		return answer{}, &refusal{status: http.StatusForbidden, code: wire.CodeNoGrant, message: "no access to this incident is open; ask for one"}
	}
	release := func() {
		cut(nil)
		s.book.finish(u)
		s.cfg.Changed()
	}
	file, p, err := s.cfg.Evidence.OpenPackage(id)
	if err != nil {
		release()
		if errors.Is(err, fs.ErrNotExist) {
			return answer{}, &refusal{status: http.StatusNotFound, code: wire.CodeNotSealed, message: "the bundle is not sealed yet", retry: time.Minute}
		}
		return answer{}, unavailable(err)
	}
	c.detail["grant"], c.detail["file"], c.detail["sha256"], c.detail["size"] = g.ID, p.Name, p.SHA256, p.Size
	if asked := c.r.Header.Get("Range"); asked != "" {
		c.detail["range"] = clean(asked, 64)
	}
	if err := s.note(c, 0, ""); err != nil {
		release()
		return answer{}, errors.Join(err, file.Close())
	}
	s.cfg.Changed()
	return answer{stream: func(w http.ResponseWriter, r *http.Request) {
		defer release()
		defer file.Close()
		s.send(ctx, c, u, file, p)
	}}, nil
}

// errEnded is why a download was cut when the grant was.
var errEnded = errors.New("access ended")

// send writes the file and, however that ends, the entry that says how much of
// it left.
func (s *Server) send(ctx context.Context, c *call, u *use, file io.ReadSeeker, p wire.Package) {
	if nc, _ := c.r.Context().Value(connKey{}).(*conn); nc != nil {
		// Even what waits in the kernel for a slow reader is not sent any more.
		stop := context.AfterFunc(ctx, nc.abort)
		defer stop()
	}
	h := c.w.Header()
	h.Set("ETag", `"`+p.SHA256+`"`)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+p.Name+`"`)
	out := &meter{s: s, ctx: ctx, use: u, w: c.w}
	http.ServeContent(out, c.r, "", time.Time{}, file)
	whole := out.err == nil && (c.r.Method == http.MethodHead || out.status >= 300 || h.Get("Content-Length") == strconv.FormatInt(out.bytes, 10))
	s.recordEnd(c, out, p, whole)
	if !whole {
		panic(http.ErrAbortHandler) // the connection is broken off: the client must not take it for the end
	}
}

func (s *Server) recordEnd(c *call, out *meter, p wire.Package, whole bool) {
	d := map[string]any{"from": c.from, "grant": out.use.grant, "file": p.Name, "status": out.status, "bytes": out.bytes, "whole": whole}
	switch {
	case errors.Is(out.err, errEnded):
		d["reason"] = "access ended"
	case out.err != nil:
		d["reason"] = "connection lost, or too slow"
	case !whole:
		d["reason"] = "the file could not be read"
	}
	err := s.append(ledger.Entry{Time: s.cfg.Now(), Actor: "vendor:" + c.vendor.Name, Action: "remote.download.end", Subject: c.subject, Detail: d})
	if err != nil {
		s.cfg.Logger.Error("end of a download is not recorded", "error", err)
	}
}

// meter is the way out for one download: at the line's pace, as long as the
// grant is active, and never waiting for a client that does not read.
type meter struct {
	s      *Server
	ctx    context.Context
	use    *use
	w      http.ResponseWriter
	status int
	bytes  int64
	err    error // the first
}

func (m *meter) Header() http.Header { return m.w.Header() }

func (m *meter) WriteHeader(status int) {
	m.status = status
	m.w.WriteHeader(status)
}

func (m *meter) Write(p []byte) (n int, err error) {
	for n < len(p) && m.err == nil {
		part := p[n:min(n+chunk, len(p))]
		var wrote int
		wrote, m.err = m.write(part)
		n += wrote
	}
	return n, m.err
}

func (m *meter) write(p []byte) (int, error) {
	if err := m.s.line.WaitN(m.ctx, len(p)); err != nil {
		return 0, errors.Join(context.Cause(m.ctx), err)
	}
	if !m.s.book.passes(m.use, len(p), m.s.cfg.Now()) {
		return 0, errEnded
	}
	m.s.deadline(m.w, 0, m.s.limits.write)
	n, err := m.w.Write(p)
	m.bytes += int64(n)
	return n, errors.Join(context.Cause(m.ctx), err)
}

func remoteAddr(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr) // by the kernel
	return ap.Addr().Unmap()
}
