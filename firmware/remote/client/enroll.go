package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

// Enrolment is what Enroll is told.
type Enrolment struct {
	Home       string // folder of the profiles, made when it is not there
	Profile    string // name of the new one
	Invitation wire.Invitation
	Name       string // how the vendor is called on the gateway's panel and page
}

// SecondFactor is shown to the person once, and kept nowhere.
type SecondFactor struct {
	OTPAuth       string // otpauth://totp/…
	RecoveryCodes []string
}

const (
	maxOTPAuth  = 1024
	maxRecovery = 64
)

// Enroll makes a key, spends the invitation, and keeps the profile. When the
// power goes there is a whole profile or none; an invitation that was spent for
// none has to be asked for again.
func Enroll(ctx context.Context, e Enrolment) (*Profile, SecondFactor, error) {
	p, second, err := enroll(ctx, e, time.Now())
	if err != nil {
		return nil, SecondFactor{}, fmt.Errorf("enrol: %w", err)
	}
	return p, second, nil
}

func enroll(ctx context.Context, e Enrolment, now time.Time) (*Profile, SecondFactor, error) {
	var none SecondFactor
	if err := roomFor(e, now); err != nil {
		return nil, none, err
	}
	certPEM, keyPEM, err := newCertificate(now)
	if err != nil {
		return nil, none, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, none, err
	}
	caller := newCaller(e.Invitation.Addr(), e.Invitation.Pin, cert)
	defer caller.http.CloseIdleConnections()
	var reply wire.EnrollReply
	err = caller.call(ctx, http.MethodPost, wire.PathEnroll, nil, wire.EnrollRequest{Secret: e.Invitation.Secret, Name: e.Name}, &reply)
	if err != nil {
		return nil, none, err
	}
	second, err := checkReply(reply)
	if err != nil {
		return nil, none, err
	}
	p := &Profile{Dir: filepath.Join(e.Home, e.Profile), Facts: Facts{Version: profileVersion,
		Office: Printable(reply.Office, 200), Vendor: Printable(reply.Vendor, 64), Name: e.Name,
		Address: e.Invitation.Addr(), ServerPin: e.Invitation.Pin.Curl(), DeviceKey: reply.DeviceKey, Enrolled: now.UTC().Truncate(time.Second)}}
	if err := p.create(certPEM, keyPEM, []byte(reply.Checkpoint)); err != nil {
		return nil, none, fmt.Errorf("keep the profile: %w", err)
	}
	p, err = OpenProfile(e.Home, e.Profile)
	return p, second, err
}

// roomFor finds out what would go wrong before the invitation is spent.
func roomFor(e Enrolment, now time.Time) error {
	if !validName(e.Profile) {
		return fmt.Errorf("profile %q: %w", e.Profile, ErrName)
	}
	if err := os.MkdirAll(e.Home, 0o700); err != nil {
		return err
	}
	_, err := os.Lstat(filepath.Join(e.Home, e.Profile))
	if err == nil {
		return fmt.Errorf("profile %s: %w", e.Profile, ErrProfile)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	removeDrafts(e.Home, now)
	probe, err := os.MkdirTemp(e.Home, draftPrefix)
	if err != nil {
		return err
	}
	return os.Remove(probe)
}

// checkReply takes nothing on trust that later steps rely on.
func checkReply(r wire.EnrollReply) (SecondFactor, error) {
	device, err := note.NewVerifier(r.DeviceKey)
	if err != nil {
		return SecondFactor{}, fmt.Errorf("%w: device key: %w", ErrAnswer, err)
	}
	if _, err := ledger.ParseCheckpoint([]byte(r.Checkpoint), device); err != nil {
		return SecondFactor{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if !strings.HasPrefix(r.OTPAuth, "otpauth://totp/") || Printable(r.OTPAuth, maxOTPAuth) != r.OTPAuth {
		return SecondFactor{}, fmt.Errorf("%w: no otpauth address", ErrAnswer)
	}
	if len(r.RecoveryCodes) > maxRecovery {
		return SecondFactor{}, fmt.Errorf("%w: %d recovery codes", ErrAnswer, len(r.RecoveryCodes))
	}
	second := SecondFactor{OTPAuth: r.OTPAuth}
	for _, code := range r.RecoveryCodes {
		second.RecoveryCodes = append(second.RecoveryCodes, Printable(code, 64))
	}
	return second, nil
}
