package remote

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

// What the owner's side can be told.
var (
	ErrUnknown   = errors.New("there is no such vendor or access")
	ErrTooMany   = errors.New("there are too many already")
	ErrNoAddress = errors.New("the interface has no address yet that the vendor could reach")
)

// InvitationLife is how long an invitation can be used.
const InvitationLife = 24 * time.Hour

// VendorView is one enrolment as the owner sees it.
type VendorView struct {
	ID, Name      string
	Enrolled      time.Time
	InvitedBy     string
	RecoveryCodes int       // left
	LockedUntil   time.Time // zero: codes are taken
}

// GrantView is one access as the owner sees it.
type GrantView struct {
	ID, Vendor, Name string // Vendor is the enrolment's id
	Incident, Reason string
	State            wire.GrantState
	Wished           time.Duration // 0: not said
	Asked, Until     time.Time
	By               string // who approved it
	Downloads        int    // that run now
	Bytes            int64  // sent since the gateway's start
}

// Invite makes an invitation: one line to hand to the vendor, for one enrolment
// within 24 hours. It is shown once; the gateway keeps a hash. by is who asked
// for it, as the ledger names people ("person:page").
func (s *Server) Invite(by string) (string, error) {
	secret := make([]byte, wire.SecretBytes)
	_, _ = rand.Read(secret) // never fails
	text := base64.RawURLEncoding.EncodeToString(secret)
	line, err := s.invitation(text)
	if err != nil {
		return "", fmt.Errorf("invite vendor: %w", err)
	}
	now := s.cfg.Now().UTC()
	err = s.book.change(func(st *state) error {
		st.Invitations = slices.DeleteFunc(st.Invitations, func(i invitation) bool { return !i.good(now) })
		if len(st.Invitations) >= maxInvitations || len(st.Vendors) >= maxVendors {
			return ErrTooMany
		}
		st.Invitations = append(st.Invitations, invitation{Hash: hashSecret(text), By: by, Made: now, Expires: now.Add(InvitationLife)})
		return s.append(ledger.Entry{Time: now, Actor: by, Action: "remote.invite", Subject: s.cfg.Addr,
			Detail: map[string]any{"until": now.Add(InvitationLife)}})
	})
	if err != nil {
		return "", fmt.Errorf("invite vendor: %w", err)
	}
	return line, nil
}

// invitation spells the line and reads it back: a host that vendors' tools
// refuse is better noticed here.
func (s *Server) invitation(secret string) (string, error) {
	_, port, err := net.SplitHostPort(s.cfg.Addr)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", err
	}
	host := s.cfg.Host
	if host == "" { // now, because a VPN may get its address long after the start
		if host = firstAddr(s.cfg.Interface); host == "" {
			return "", fmt.Errorf("%w: %s", ErrNoAddress, s.cfg.Interface)
		}
	}
	v := wire.Invitation{Host: host, Port: uint16(n), Pin: s.pin, Secret: secret}
	_, err = wire.ParseInvitation(v.String())
	return v.String(), err
}

func (i invitation) good(now time.Time) bool {
	return now.Before(i.Expires) && !now.Before(i.Made.Add(-clockSlack))
}

func hashSecret(text string) string {
	sum := sha256.Sum256([]byte("sekisho invitation " + text))
	return hex.EncodeToString(sum[:])
}

// Vendors lists who is enrolled.
func (s *Server) Vendors() []VendorView {
	now := s.cfg.Now()
	var out []VendorView
	for _, v := range s.book.vendors() {
		view := VendorView{ID: v.ID, Name: v.Name, Enrolled: v.Enrolled, InvitedBy: v.EnrolledBy, RecoveryCodes: len(v.Secrets.Recovery)}
		if wait := v.Secrets.lockedFor(now); wait > 0 {
			view.LockedUntil = now.Add(wait)
		}
		out = append(out, view)
	}
	return out
}

// Revoke ends an enrolment and everything that it opened, at once. An error
// after that, from ledger or disk, means that it may not outlast a restart.
func (s *Server) Revoke(id, by string) error {
	now := s.cfg.Now().UTC()
	if st := s.book.state(); st.vendor(id) == nil {
		return fmt.Errorf("revoke vendor %s: %w", id, ErrUnknown)
	}
	s.book.close(id)
	s.mu.Lock()
	delete(s.tempo, id)
	s.mu.Unlock()
	var unrecorded error
	err := s.book.change(func(st *state) error {
		v := st.vendor(id)
		if v == nil {
			return ErrUnknown // somebody else was faster
		}
		unrecorded = s.append(ledger.Entry{Time: now, Actor: by, Action: "remote.revoke", Subject: v.Name, Detail: map[string]any{"vendor": id}})
		st.Vendors = slices.DeleteFunc(st.Vendors, func(v vendor) bool { return v.ID == id })
		for i, g := range st.Grants {
			if ended, err := g.step(input{act: actEnd, at: now, by: by}); err == nil && g.Vendor == id {
				st.Grants[i] = ended
			}
		}
		return nil
	})
	if err = errors.Join(err, unrecorded); err != nil {
		return fmt.Errorf("revoke vendor %s: %w", id, err)
	}
	return nil
}

// Waiting lists what the owner is asked for; at most one.
func (s *Server) Waiting() []GrantView { return s.views(wire.GrantWaiting) }

// Active lists what is open now.
func (s *Server) Active() []GrantView { return s.views(wire.GrantActive) }

func (s *Server) views(want wire.GrantState) []GrantView {
	now := s.cfg.Now()
	var out []GrantView
	for _, g := range s.book.state().Grants {
		if g = s.book.grantNow(g, now); g.State == want {
			out = append(out, s.view(g))
		}
	}
	return out
}

func (s *Server) view(g grant) GrantView {
	v := GrantView{ID: g.ID, Vendor: g.Vendor, Name: g.Name, Incident: g.Incident, Reason: g.Reason, State: g.State,
		Wished: g.Wished, Asked: g.Asked, Until: g.Until, By: g.By}
	v.Downloads, v.Bytes = s.book.usage(g.ID)
	return v
}

// Approve opens the access for d, at most Config.MaxGrant. With 0 it is as long
// as the vendor wished, at most Config.Grant.
func (s *Server) Approve(id, by string, d time.Duration) (GrantView, error) {
	now := s.cfg.Now().UTC()
	approved, err := s.decide(id, func(st *state, g grant) (grant, error) {
		next, err := g.step(input{act: actApprove, at: now, by: by, until: now.Add(s.length(d, g.Wished))})
		if err != nil {
			return g, err
		}
		if s.book.active(st, now) >= maxActive {
			return g, ErrTooMany
		}
		return next, s.append(ownerEntry(next, by, "remote.approve", now))
	})
	if err != nil {
		return GrantView{}, fmt.Errorf("approve access: %w", err)
	}
	return s.view(approved), nil
}

// Spans are the longest access that Approve gives where the owner names no time,
// and the longest that it gives at all.
func (s *Server) Spans() (usual, longest time.Duration) { return s.cfg.Grant, s.cfg.MaxGrant }

// length of an access for which the owner said d, 0 for nothing.
func (s *Server) length(d, wished time.Duration) time.Duration {
	if d == 0 {
		if d = s.cfg.Grant; wished > 0 {
			d = min(d, wished)
		}
	}
	return min(d, s.cfg.MaxGrant)
}

// Deny refuses an access that was asked for.
func (s *Server) Deny(id, by string) error {
	now := s.cfg.Now().UTC()
	_, err := s.decide(id, func(_ *state, g grant) (grant, error) {
		next, err := g.step(input{act: actDeny, at: now, by: by})
		if err != nil {
			return g, err
		}
		return next, s.append(ownerEntry(next, by, "remote.deny", now))
	})
	if err != nil {
		return fmt.Errorf("deny access: %w", err)
	}
	return nil
}

// decide changes one grant, as it counts now.
func (s *Server) decide(id string, fn func(*state, grant) (grant, error)) (next grant, err error) {
	err = s.book.change(func(st *state) error {
		g := st.grant(id)
		if g == nil {
			return ErrUnknown
		}
		if next, err = fn(st, s.book.grantNow(*g, s.cfg.Now())); err != nil {
			return err
		}
		*g = next
		return nil
	})
	return next, err
}

func ownerEntry(g grant, by, action string, now time.Time) ledger.Entry {
	d := map[string]any{"grant": g.ID, "vendor": g.Name}
	if g.State == wire.GrantActive {
		d["until"] = g.Until
	}
	return ledger.Entry{Time: now, Actor: by, Action: action, Subject: g.Incident, Detail: d}
}

// End ends an access at once: downloads are cut before this returns. An error
// after that, from ledger or disk, means that it may not outlast a restart.
func (s *Server) End(id, by string) error {
	now := s.cfg.Now().UTC()
	if err := s.end(id, now, by, func(g grant) error { return s.append(ownerEntry(g, by, "remote.end", now)) }); err != nil {
		return fmt.Errorf("end access: %w", err)
	}
	return nil
}

// EndAll ends every access that is open, as End does.
func (s *Server) EndAll(by string) error {
	active := s.Active()
	for _, g := range active { // all are cut before the first is written down
		s.book.close(g.ID)
	}
	var errs error
	for _, g := range active {
		if err := s.End(g.ID, by); !errors.Is(err, ErrOver) { // somebody was faster
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// end closes first and writes afterwards, the other way round than everything
// that opens: here the safe error is to have closed. What note says is joined.
func (s *Server) end(id string, now time.Time, by string, note func(grant) error) error {
	st := s.book.state()
	g := st.grant(id)
	if g == nil {
		return ErrUnknown
	}
	if !g.at(now).open() {
		return ErrOver
	}
	s.book.close(id)
	var unrecorded error
	err := s.book.change(func(st *state) error {
		g := st.grant(id)
		if g == nil {
			return ErrUnknown
		}
		next, err := g.step(input{act: actEnd, at: now, by: by})
		if err != nil {
			return err
		}
		*g, unrecorded = next, note(next)
		return nil
	})
	return errors.Join(err, unrecorded)
}
