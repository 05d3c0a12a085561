package remote

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sekisho/firmware/remote/wire"
)

// maxListed bounds the list of incidents; older ones can still be asked for.
const maxListed = 500

//go:embed openapi.json
var openAPI []byte

func (s *Server) status(c *call) (answer, error) {
	return answer{status: http.StatusOK, body: wire.Status{Office: s.cfg.Office, Version: s.cfg.Version, Now: c.now, Vendor: c.vendor.Name}}, nil
}

func (s *Server) openAPI(*call) (answer, error) {
	return answer{status: http.StatusOK, body: openAPI, kind: "application/json"}, nil
}

func (s *Server) checkpoint(*call) (answer, error) {
	signed, err := s.cfg.Ledger.Checkpoint()
	if err != nil {
		return answer{}, unavailable(err)
	}
	return answer{status: http.StatusOK, body: signed, kind: "text/plain; charset=utf-8"}, nil
}

func (s *Server) consistency(c *call) (answer, error) {
	q := c.r.URL.Query()
	from, err1 := strconv.ParseInt(q.Get("from"), 10, 64)
	to, err2 := strconv.ParseInt(q.Get("to"), 10, 64)
	if err1 != nil || err2 != nil || from < 0 || from > to || to > s.cfg.Ledger.Size() {
		return answer{}, bad("from and to must be sizes of this ledger, from not above to")
	}
	out := wire.Consistency{From: from, To: to, Proof: []string{}}
	if from > 0 {
		proof, err := s.cfg.Ledger.ProveTree(from, to)
		if err != nil {
			return answer{}, unavailable(err)
		}
		for _, h := range proof {
			out.Proof = append(out.Proof, base64.StdEncoding.EncodeToString(h[:]))
		}
	}
	return answer{status: http.StatusOK, body: out}, nil
}

func (s *Server) incidents(c *call) (answer, error) {
	list := s.cfg.Evidence.Incidents()
	out := wire.Incidents{Incidents: slices.Clone(list[:min(len(list), maxListed)])}
	if out.Incidents == nil {
		out.Incidents = []wire.Incident{}
	}
	for n := range out.Incidents {
		i := &out.Incidents[n]
		p, err := s.cfg.Evidence.Package(i.ID)
		if err == nil {
			i.Bundle = &p
		} else if !errors.Is(err, fs.ErrNotExist) {
			s.cfg.Logger.Warn("bundle cannot be listed", "incident", i.ID, "error", err)
		}
		i.Grant = s.newestGrant(c, i.ID)
	}
	return answer{status: http.StatusOK, body: out}, nil
}

func (s *Server) newestGrant(c *call, incident string) *wire.Grant {
	for _, g := range slices.Backward(s.book.state().Grants) {
		if g.Vendor == c.vendor.ID && g.Incident == incident {
			w := s.book.grantNow(g, c.now).wire()
			return &w
		}
	}
	return nil
}

// incident finds what a path or body names; nothing else reaches the evidence.
func (s *Server) incident(id string) error {
	if !slices.ContainsFunc(s.cfg.Evidence.Incidents(), func(i wire.Incident) bool { return i.ID == id }) {
		return &refusal{status: http.StatusNotFound, code: wire.CodeUnknown, message: "there is no such incident"}
	}
	return nil
}

// look shows a grant, with ?wait once the owner has decided.
func (s *Server) look(c *call) (answer, error) {
	var wait time.Duration
	if text := c.r.URL.Query().Get("wait"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return answer{}, bad("wait must be a time such as 30s")
		}
		wait = min(d, s.limits.wait)
	}
	s.deadline(c.w, 0, wait+s.limits.write)
	ctx, cancel := context.WithTimeout(c.r.Context(), wait)
	defer cancel()
	news := s.book.next() // before the state, so that no change falls in between
	g, err := s.ownGrant(c)
	for err == nil && g.State == wire.GrantWaiting && ctx.Err() == nil {
		select {
		case <-news:
		case <-ctx.Done():
		}
		c.now, news = s.cfg.Now().UTC(), s.book.next()
		g, err = s.ownGrant(c)
	}
	if err != nil {
		return answer{}, err
	}
	c.subject = g.ID + " " + string(g.State) // another state is another entry
	return answer{status: http.StatusOK, body: g.wire()}, nil
}

// ownGrant is the caller's grant that the path names, as it counts now.
func (s *Server) ownGrant(c *call) (grant, error) {
	st := s.book.state()
	g := st.grant(c.r.PathValue("id"))
	if g == nil || g.Vendor != c.vendor.ID {
		c.subject, c.route.poll = "unknown", true // whatever it is called, it is told once an hour
		return grant{}, &refusal{status: http.StatusNotFound, code: wire.CodeUnknown, message: "there is no such access of yours"}
	}
	c.subject = g.ID
	return s.book.grantNow(*g, c.now), nil
}
