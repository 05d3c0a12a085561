package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

// Run serves until ctx ends. An interface or address that is not there, or goes
// away, is tried again: the office must not wait for its VPN.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.watchClock(ctx) })
	g.Go(func() error {
		said := ""
		for ctx.Err() == nil {
			err := s.serveOnce(ctx)
			if err != nil && err.Error() != said {
				s.cfg.Logger.Warn("vendor access is not served, will try again", "error", err)
				said = err.Error()
			}
			if err == nil {
				said = ""
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(s.limits.retry):
			}
		}
		return nil
	})
	err := g.Wait()
	now := s.cfg.Now()
	return errors.Join(err, s.polls.flush(now, 0), s.strangers.flush(now, true))
}

// serveOnce listens and serves until ctx ends or the interface is another.
func (s *Server) serveOnce(ctx context.Context) error {
	index := s.index()
	ln, err := s.listen()
	if err != nil {
		return err
	}
	if s.index() != index { // it came or went meanwhile: which one the socket is of is not known
		return errors.Join(fmt.Errorf("%s is being made anew", s.cfg.Interface), ln.Close())
	}
	s.cfg.Logger.Info("vendor access is served", "address", ln.Addr().String(), "interface", s.cfg.Interface)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := s.httpServer(ctx)
	limited := &listener{ln, newConns(s.cfg.MaxConns, s.limits, func(from, reason string) { s.strangers.add(from, reason, s.cfg.Now()) })}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(tls.NewListener(limited, s.tlsConfig())) }()
	look := time.NewTicker(s.limits.retry)
	defer look.Stop()
	for {
		select {
		case err := <-done:
			return errors.Join(err, srv.Close())
		case <-ctx.Done():
			return s.stop(srv, cancel, done)
		case <-look.C: // a socket stays bound to an interface that is gone
			if s.index() != index {
				return s.stop(srv, cancel, done)
			}
		}
	}
}

// stop ends every request, and returns when the last has told the ledger.
func (s *Server) stop(srv *http.Server, cancel func(), done <-chan error) error {
	cancel()
	ctx, giveUp := context.WithTimeout(context.Background(), 2*time.Second)
	defer giveUp()
	if err := srv.Shutdown(ctx); err != nil { // somebody is in the middle of a header
		s.cfg.Logger.Info("connections are cut", "error", srv.Close())
	}
	<-done
	return nil
}

// interfaceIndex is 0 for an interface that is not there.
func interfaceIndex(name string) int {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return i.Index
}

type connKey struct{}

func (s *Server) httpServer(ctx context.Context) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // one request at a time: deadlines and limits mean what they say
	return &http.Server{
		Handler:                      s,
		Protocols:                    protocols,
		ReadHeaderTimeout:            s.limits.header,
		WriteTimeout:                 s.limits.write, // of the handshake and of refusals; answers set their own
		IdleTimeout:                  s.limits.idle,
		MaxHeaderBytes:               s.limits.headerBytes,
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, under(nc))
		},
		ConnState: watchState,
		// Whatever a stranger can cause is counted; a line each would fill the disk.
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// tlsConfig asks for a certificate without an authority to check it against:
// the handshake proves that the client has the key, the request's pin tells
// whose it is, and who comes without one gets an answer that says so.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{s.cert},
		ClientAuth:             tls.RequestClientCert,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true, // each connection shows its certificate
	}
}

// watchClock ends what is over and writes down what was counted.
func (s *Server) watchClock(ctx context.Context) error {
	tick := time.NewTicker(s.limits.tick)
	defer tick.Stop()
	said := ""
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			err = s.tick(s.cfg.Now())
		}
		if err != nil && err.Error() != said {
			s.cfg.Logger.Error("vendor access is not recorded", "error", err)
			said = err.Error()
		}
	}
}

func (s *Server) tick(now time.Time) error {
	s.book.cutExpired(now)
	return errors.Join(s.expire(now), s.polls.flush(now, pollSpan), s.strangers.flush(now, false))
}

// expire writes down which grants have lapsed. They opened nothing since. It
// comes again every tick while the state cannot be written; the ledger is told
// once.
func (s *Server) expire(now time.Time) error {
	lapsed := func(g grant) bool { return g.open() && g.at(now).State == wire.GrantExpired }
	due := false
	for _, g := range s.book.state().Grants {
		due = due || lapsed(g)
	}
	if !due {
		return nil
	}
	return s.book.change(func(st *state) error {
		maps.DeleteFunc(s.lapsed, func(id string, _ bool) bool { g := st.grant(id); return g == nil || !g.open() })
		for i, g := range st.Grants {
			if !lapsed(g) {
				continue
			}
			if err := s.tellLapse(g, now); err != nil {
				return err
			}
			g, err := g.step(input{act: actLapse, at: now})
			if err != nil {
				return err
			}
			st.Grants[i] = g
		}
		return nil
	})
}

func (s *Server) tellLapse(g grant, now time.Time) error {
	if s.lapsed[g.ID] {
		return nil
	}
	err := s.append(ledger.Entry{Time: now, Actor: "gateway", Action: "remote.expire", Subject: g.Incident,
		Detail: map[string]any{"grant": g.ID, "vendor": g.Name, "was": string(g.State)}})
	if err == nil {
		s.lapsed[g.ID] = true
	}
	return err
}
