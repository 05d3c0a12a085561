package remote

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sekisho/firmware/remote/wire"
)

const (
	askLife   = 15 * time.Minute // a question that nobody answers lapses
	maxName   = 40               // characters
	maxReason = 200              // characters
	maxCode   = 64               // bytes
	// A longer wish than the office grants is no mistake: it is cut when approved.
	maxMinutes = 7 * 24 * 60
	rsaBits    = 3072 // least, as strong as P-256
)

// enroll pins the certificate of whoever has an invitation.
func (s *Server) enroll(c *call) (answer, error) {
	var in wire.EnrollRequest
	if err := c.read(&in); err != nil {
		return s.strange(c, err)
	}
	name := strings.TrimSpace(in.Name)
	cert := c.r.TLS.PeerCertificates[0]
	reply := wire.EnrollReply{Office: s.cfg.Office, DeviceKey: s.cfg.DeviceKey}
	err := s.book.change(func(st *state) error {
		i := findInvitation(st.Invitations, in.Secret, c.now)
		if i < 0 {
			return &refusal{status: http.StatusForbidden, code: wire.CodeInvitation, message: "this invitation is used up, expired or wrong; ask the office for another"}
		}
		if err := enrollable(st, name, cert); err != nil {
			return err
		}
		v := vendor{ID: newID(), Name: name, Pin: wire.PinOf(cert).String(), Enrolled: c.now, EnrolledBy: st.Invitations[i].By}
		var err error
		if v.Secrets, reply.OTPAuth, reply.RecoveryCodes, err = newSecrets(s.cfg.Office, name); err != nil {
			return err
		}
		st.Invitations = slices.Delete(st.Invitations, i, i+1)
		st.Vendors = append(st.Vendors, v)
		c.vendor, c.subject, reply.Vendor = v, v.ID, v.ID
		c.detail["pin"], c.detail["invited_by"] = v.Pin, v.EnrolledBy
		if err := s.note(c, http.StatusCreated, ""); err != nil {
			return err
		}
		signed, err := s.cfg.Ledger.Checkpoint()
		reply.Checkpoint = string(signed)
		return err
	})
	if err != nil {
		return s.strange(c, err)
	}
	return answer{status: http.StatusCreated, body: reply}, nil
}

// strange refuses an enrolment of somebody unknown as a stranger's: whoever
// knocks at this door often must not fill the ledger.
func (s *Server) strange(c *call, err error) (answer, error) {
	if c.vendor.ID == "" { // not enrolled before, nor recorded by now
		c.noted = true
		c.w.Header().Set("Connection", "close")
		s.strangers.add(source(remoteAddr(c.r)), reasonEnrolment, c.now)
	}
	return answer{}, err
}

// findInvitation takes as long whether or not the secret is one.
func findInvitation(all []invitation, secret string, now time.Time) int {
	sum, found := hashSecret(secret), -1
	for i, inv := range all {
		if subtle.ConstantTimeCompare([]byte(sum), []byte(inv.Hash)) == 1 && inv.good(now) {
			found = i
		}
	}
	return found
}

func enrollable(st *state, name string, cert *x509.Certificate) error {
	if !plain(name, maxName) || name == "" {
		return bad(fmt.Sprintf("the name must be 1 to %d printable characters", maxName))
	}
	if !strong(cert) {
		return bad(fmt.Sprintf("the certificate's key must be ECDSA from P-256, Ed25519, or RSA from %d bits", rsaBits))
	}
	pin := wire.PinOf(cert).String()
	for _, v := range st.Vendors {
		if v.Pin == pin {
			return bad("this certificate is enrolled already")
		}
		if strings.EqualFold(v.Name, name) {
			return bad("there is a vendor of that name already")
		}
	}
	if len(st.Vendors) >= maxVendors {
		return ErrTooMany
	}
	return nil
}

func strong(cert *x509.Certificate) bool {
	switch k := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize >= 256
	case ed25519.PublicKey:
		return true
	case *rsa.PublicKey:
		return k.N.BitLen() >= rsaBits
	}
	return false
}

// plain tells whether s is at most n printable characters: it is shown on page
// and panel.
func plain(s string, n int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= n && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// newID is for vendors and grants: 64 bit, not to be guessed.
func newID() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// ask puts a question to the owner. The code is looked at only when everything
// else is in order, so that none is used up in vain.
func (s *Server) ask(c *call) (answer, error) {
	var in wire.GrantRequest
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	c.subject = clean(in.Incident, 64)
	if err := s.askable(in); err != nil {
		return answer{}, err
	}
	var asked grant
	var refused error
	err := s.book.change(func(st *state) error {
		v := st.vendor(c.vendor.ID)
		if _, still := s.book.pinned(wire.PinOf(c.r.TLS.PeerCertificates[0])); v == nil || !still {
			return &refusal{status: http.StatusUnauthorized, code: wire.CodeNotEnrolled, message: "this enrolment was revoked"}
		}
		if s.othersWait(st, c) {
			return &refusal{status: http.StatusServiceUnavailable, code: wire.CodeBusy, message: "the owner is being asked by somebody else", retry: time.Minute}
		}
		if refused = c.code(v, in.Code); refused != nil {
			return nil // the wrong code counts, so it is written down
		}
		if err := s.takeBack(st, c); err != nil {
			return err
		}
		asked = grant{ID: newID(), Vendor: v.ID, Name: v.Name, Incident: in.Incident, Reason: in.Reason,
			Wished: time.Duration(in.Minutes) * time.Minute, State: wire.GrantWaiting, Asked: c.now, Until: c.now.Add(askLife)}
		c.detail["grant"], c.detail["reason"], c.detail["minutes"] = asked.ID, in.Reason, in.Minutes
		if err := s.note(c, http.StatusCreated, ""); err != nil {
			return err
		}
		st.Grants = append(st.Grants, asked)
		return nil
	})
	if err == nil { // only once it is written down the code's owner hears of it
		err = refused
	}
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: asked.wire()}, nil
}

func (s *Server) askable(in wire.GrantRequest) error {
	switch {
	case !plain(in.Reason, maxReason):
		return bad(fmt.Sprintf("the reason must be at most %d printable characters", maxReason))
	case in.Minutes < 0 || in.Minutes > maxMinutes:
		return bad(fmt.Sprintf("minutes must be 0 to %d", maxMinutes))
	case in.Code == "" || len(in.Code) > maxCode:
		return bad("a code of your authenticator or a recovery code is needed")
	}
	return s.incident(in.Incident)
}

// othersWait tells whether another vendor's question is put to the owner: one at
// a time is.
func (s *Server) othersWait(st *state, c *call) bool {
	return slices.ContainsFunc(st.Grants, func(g grant) bool {
		return g.Vendor != c.vendor.ID && s.book.grantNow(g, c.now).State == wire.GrantWaiting
	})
}

// takeBack ends the caller's own former question.
func (s *Server) takeBack(st *state, c *call) error {
	for i, g := range st.Grants {
		if g = s.book.grantNow(g, c.now); g.State != wire.GrantWaiting {
			continue
		}
		next, err := g.step(input{act: actEnd, at: c.now, by: "vendor:" + c.vendor.Name})
		if err != nil {
			return err
		}
		c.detail["instead_of"] = g.ID
		st.Grants[i] = next
	}
	return nil
}

// code checks the person's code, as far as any is looked at now.
func (c *call) code(v *vendor, code string) error {
	if wait := v.Secrets.lockedFor(c.now); wait > 0 {
		return &refusal{status: http.StatusTooManyRequests, code: wire.CodeLocked, message: "too many wrong codes; no code is looked at for now", retry: wait}
	}
	before := len(v.Secrets.Recovery)
	if !v.Secrets.accept(code, c.now) {
		c.detail["wrong_in_a_row"] = v.Secrets.Wrong
		return &refusal{status: http.StatusForbidden, code: wire.CodeWrong, message: "the code is wrong or was used before", retry: v.Secrets.lockedFor(c.now)}
	}
	c.detail["proof"] = "totp"
	if len(v.Secrets.Recovery) < before {
		c.detail["proof"] = "recovery code"
	}
	return nil
}

// giveBack ends the caller's own access or question.
func (s *Server) giveBack(c *call) (answer, error) {
	g, err := s.ownGrant(c)
	if err != nil {
		return answer{}, err
	}
	c.detail["incident"] = g.Incident
	if !g.open() {
		return answer{status: http.StatusOK, body: g.wire()}, nil
	}
	err = s.end(g.ID, c.now, "vendor:"+c.vendor.Name, func(grant) error { return s.note(c, http.StatusOK, "") })
	if err != nil && !errors.Is(err, ErrOver) { // somebody else was faster
		return answer{}, err
	}
	if g, err = s.ownGrant(c); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: g.wire()}, nil
}
