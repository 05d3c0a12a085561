package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"sekisho/firmware/remote/wire"
)

// route is one thing that can be asked for.
type route struct {
	method, path, action string
	serve                func(*Server, *call) (answer, error)
	poll                 bool // it only looks: identical requests are counted, see polls
}

var (
	enrollRoute  = route{"POST", wire.PathEnroll, "remote.enroll", (*Server).enroll, false}
	unknownRoute = route{"", "/", "remote.unknown", (*Server).unknown, false}
)

func table() []route {
	return []route{
		enrollRoute,
		{"GET", wire.PathStatus, "remote.status", (*Server).status, true},
		{"GET", wire.PathIncidents, "remote.incidents", (*Server).incidents, true},
		{"GET", wire.PathBundle, "remote.download", (*Server).bundle, false},
		{"POST", wire.PathGrants, "remote.ask", (*Server).ask, false},
		{"GET", wire.PathGrant, "remote.grant", (*Server).look, true},
		{"DELETE", wire.PathGrant, "remote.end", (*Server).giveBack, false},
		{"GET", wire.PathCheckpoint, "remote.checkpoint", (*Server).checkpoint, true},
		{"GET", wire.PathConsistency, "remote.consistency", (*Server).consistency, true},
		{"GET", wire.PathOpenAPI, "remote.openapi", (*Server).openAPI, true},
	}
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, rt := range append(table(), unknownRoute) {
		mux.HandleFunc(strings.TrimSpace(rt.method+" "+rt.path), func(w http.ResponseWriter, r *http.Request) { s.run(w, r, rt) })
	}
	return mux
}

// call is one request of somebody whose key is known, or who enrols.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	from    string // address
	vendor  vendor // zero while enrolling
	route   route
	now     time.Time
	noted   bool           // in the ledger, or counted
	status  int            // with which it was noted
	subject string         // of its entry
	detail  map[string]any // of its entry, besides what all have
}

// answer is given once the ledger has taken the entry.
type answer struct {
	status int
	body   any                                      // JSON, unless kind says otherwise; nil with stream
	kind   string                                   // content type of a body that is a []byte
	stream func(http.ResponseWriter, *http.Request) // writes it all
}

// refusal is a wire.ErrorDetail with its status; cause is for the log.
type refusal struct {
	status  int
	code    string
	message string
	retry   time.Duration
	cause   error
}

func (e *refusal) Error() string { return e.message }
func (e *refusal) Unwrap() error { return e.cause }

func bad(message string) error {
	return &refusal{status: http.StatusBadRequest, code: wire.CodeBad, message: message}
}

func unavailable(cause error) error {
	return &refusal{status: http.StatusServiceUnavailable, code: wire.CodeUnavailable, retry: time.Minute, cause: cause,
		message: "the gateway cannot do or record this now, so nothing is given out"}
}

// ServeHTTP answers one request. Paths that are spelled in any other way than
// the plain one are not looked at further.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, _ := r.Context().Value(connKey{}).(*conn); c != nil {
		c.pending.Store(false)
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	defer s.contain()
	defer s.deadline(w, s.limits.body, 0) // for what the client still sends of the body
	s.deadline(w, s.limits.body, s.limits.write)
	r.Body = http.MaxBytesReader(w, r.Body, s.limits.bodyBytes)
	if r.Method == http.MethodConnect || r.URL.RawPath != "" || r.URL.Path != path.Clean(r.URL.Path) || !strings.HasPrefix(r.URL.Path, "/") {
		s.run(w, r, unknownRoute)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// contain ends the connection, and nothing else, after a mistake of ours.
func (s *Server) contain() {
	v := recover()
	if v == nil {
		return
	}
	if v != http.ErrAbortHandler {
		s.cfg.Logger.Error("vendor's request made the gateway stumble", "panic", v, "stack", string(debug.Stack()))
	}
	panic(http.ErrAbortHandler)
}

// deadline sets how long reading and writing may take from now, by the real
// clock as the kernel keeps it; 0 leaves it.
func (s *Server) deadline(w http.ResponseWriter, read, write time.Duration) {
	c := http.NewResponseController(w)
	if read > 0 {
		_ = c.SetReadDeadline(time.Now().Add(read))
	}
	if write > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(write))
	}
}

// run finds out who asks, lets the route decide, has it recorded, and answers.
func (s *Server) run(w http.ResponseWriter, r *http.Request, rt route) {
	c := &call{w: w, r: r, route: rt, from: remoteAddr(r).String(), now: s.cfg.Now().UTC(), detail: map[string]any{}}
	if len(r.TLS.PeerCertificates) == 0 {
		s.turnAway(c, reasonNoCert)
		return
	}
	var known bool
	c.vendor, known = s.book.pinned(wire.PinOf(r.TLS.PeerCertificates[0]))
	if !known && rt.path != wire.PathEnroll {
		s.turnAway(c, reasonCertificate)
		return
	}
	if r.ContentLength == 0 { // nothing more to read: the deadline must not end a long answer
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	if known && !s.inTempo(c) {
		s.refuse(c, s.busy(c))
		return
	}
	a, err := rt.serve(s, c)
	if err == nil && !c.noted {
		err = s.note(c, a.status, "")
	}
	if err != nil {
		s.refuse(c, err)
		return
	}
	s.give(c, a)
}

// turnAway answers a stranger, who is counted and not recorded one by one.
func (s *Server) turnAway(c *call, reason string) {
	s.strangers.add(source(remoteAddr(c.r)), reason, c.now)
	c.w.Header().Set("Connection", "close")
	s.writeRefusal(c, &refusal{status: http.StatusUnauthorized, code: wire.CodeNotEnrolled,
		message: "this gateway does not know your certificate; ask the office for an invitation"})
}

// inTempo bounds what one vendor can have written into the ledger.
func (s *Server) inTempo(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.tempo[c.vendor.ID]
	if l == nil {
		l = rate.NewLimiter(s.limits.requests, s.limits.burst)
		s.tempo[c.vendor.ID] = l
	}
	return l.AllowN(c.now, 1)
}

func (s *Server) busy(c *call) error {
	c.route.action, c.route.poll = "remote.busy", true
	return &refusal{status: http.StatusTooManyRequests, code: wire.CodeBusy, message: "too many requests; slow down", retry: 5 * time.Second}
}

// refuse records a refusal and answers with it.
func (s *Server) refuse(c *call, err error) {
	var e *refusal
	if !errors.As(err, &e) {
		errors.As(unavailable(err), &e)
	}
	if !c.noted || c.status != 0 && c.status != e.status { // or noted as done, and then not done
		if noteErr := s.note(c, e.status, e.code); noteErr != nil {
			errors.As(noteErr, &e)
		}
	}
	if e.cause != nil {
		s.cfg.Logger.Error("vendor's request cannot be served", "action", c.route.action, "error", e.cause)
	}
	s.writeRefusal(c, e)
}

func (s *Server) writeRefusal(c *call, e *refusal) {
	retry := int((e.retry + time.Second - 1) / time.Second)
	if retry > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(retry))
	}
	s.give(c, answer{status: e.status, body: wire.Error{Error: wire.ErrorDetail{Code: e.code, Message: e.message, Retry: retry}}})
}

func (s *Server) give(c *call, a answer) {
	s.deadline(c.w, 0, s.limits.write)
	if a.stream != nil {
		a.stream(c.w, c.r)
		return
	}
	data, plain := a.body.([]byte)
	if !plain {
		var err error
		if data, err = json.Marshal(a.body); err != nil {
			s.cfg.Logger.Error("answer cannot be spelled", "error", err)
			c.w.WriteHeader(http.StatusInternalServerError)
			return
		}
		data, a.kind = append(data, '\n'), "application/json"
	}
	c.w.Header().Set("Content-Type", a.kind)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(a.status)
	_, _ = c.w.Write(data) // who does not read it does not get it
}

// read decodes the body, one JSON object with known fields.
func (c *call) read(into any) error {
	data, err := io.ReadAll(c.r.Body)
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return &refusal{status: http.StatusRequestEntityTooLarge, code: wire.CodeBad, message: fmt.Sprintf("the body is longer than %d bytes", tooLong.Limit)}
	}
	if err != nil {
		return bad("the body did not arrive whole")
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	return decode(data, into)
}

func decode(data []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return bad("the body is not the JSON object that openapi.json describes")
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("there is something after the JSON object")
	}
	return nil
}

func (s *Server) unknown(c *call) (answer, error) {
	return answer{}, &refusal{status: http.StatusNotFound, code: wire.CodeUnknown, message: "there is no such thing here; see " + wire.PathOpenAPI}
}
