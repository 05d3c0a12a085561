// Package ui is the web page of the gateway and its API: the panel, what is
// suspected, what to do now, incidents, devices and warnings, in Japanese and
// English.
//
// Only the gateway builds it. It reads snapshots and hands on what a person
// asked for; it never decides, never blocks the gateway, and never shows a
// stranger's text as anything but text.
package ui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/health"
	"sekisho/firmware/incident"
	"sekisho/hal"
	"sekisho/hal/panel"
)

// Gateway is what the page needs of the gateway. Snapshots must return at
// once; the deeds may wait for the core and honour ctx. by is "web:NAME".
type Gateway interface {
	Incidents() []incident.Incident
	Devices() []asset.Asset
	Health() health.Report
	// Isolate, Release, Dismiss and Unteach return ErrUnknown for an id that is not
	// there and ErrRefused (wrapped, with the reason) when the state forbids it.
	Isolate(ctx context.Context, id, by string) (incident.Incident, error)
	Release(ctx context.Context, id, by, note string) (incident.Incident, error)
	Dismiss(ctx context.Context, id, by, note string) (incident.Incident, error)
	// Unteach takes back what the end of an incident taught.
	Unteach(ctx context.Context, id, by, note string) (incident.Incident, error)
	Steps
	// Lockdown says whether the whole office is cut off; SetLockdown begins or
	// ends that. Its error means that the kernel did not take it.
	Lockdown() bool
	SetLockdown(ctx context.Context, on bool, by string) error
	// HoldDevice isolates or limits a device that a person names, with or without an
	// incident. It returns ErrRefused for the gateway and its uplink; an incident
	// that is not held yet, and has Guard, is asked for a second time.
	HoldDevice(ctx context.Context, id asset.ID, level incident.Level, by, note string) (incident.Incident, error)
	SetDevice(ctx context.Context, id asset.ID, change DeviceChange, by string) (asset.Asset, error)
	// Subscribe returns a channel that gets a token when a snapshot has
	// changed, and a function that ends it. The channel has room for one.
	Subscribe() (<-chan struct{}, func())
}

// DeviceChange is what an owner says of a device; nil leaves it as it is.
type DeviceChange struct {
	Name      *string `json:"name,omitempty"`
	Protected *bool   `json:"protected,omitempty"`
	// Kin says whether another Ethernet address is the same device.
	Kin *KinChange `json:"kin,omitempty"`
}

// KinChange is a person's word on two Ethernet addresses; without Same it is
// taken back.
type KinChange struct {
	With asset.ID `json:"with"`
	Same *bool    `json:"same"`
}

// Panel is the panel that the page shows; *virtual.Panel is one.
type Panel interface {
	Frame() panel.Frame
	Subscribe() (<-chan struct{}, func())
	Press(g hal.Gesture, target string) error
}

// Errors that a Gateway returns.
var (
	ErrUnknown = errors.New("ui: not known")
	ErrRefused = errors.New("ui: refused")
	// ErrCutOff refuses what has to wait until the office-wide lockdown ends.
	ErrCutOff = fmt.Errorf("%w: the whole office is cut off", ErrRefused)
)

// Guard says whether a request may pass. Accounts are not part of this
// package: whoever opens the page beyond loopback passes a Guard that knows who
// is asking.
type Guard func(*http.Request) error

// Loopback lets only this machine pass. It is the Guard when none is given.
func Loopback(r *http.Request) error {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && ap.Addr().Unmap().IsLoopback() {
		return nil
	}
	return errors.New("only from the gateway itself")
}

// AllowAll lets everybody pass who can reach the listener.
func AllowAll(*http.Request) error { return nil }

// Config of the page. Gateway and Panel must not be nil.
type Config struct {
	Gateway Gateway
	Panel   Panel
	Logger  *slog.Logger // nil: discard
	Lang    string       // "ja" or "en" when the browser asks for neither; empty: "ja"
	// Fingerprint of the key that signs evidence, for people to compare with what
	// sekishoctl says; empty: not shown.
	Fingerprint  string
	Vendors      Vendors          // nil: the vendor's access is off
	Evidence     Evidence         // nil: not shown
	Containments Containments     // nil: how a device is held is not shown
	Impacts      Impacts          // nil: not shown
	Drills       Drills           // nil: no drills
	Hosts        []string         // names under which the page may be asked for, besides localhost and addresses
	Guard        Guard            // nil: Loopback
	Now          func() time.Time // nil: time.Now
}

// New builds the handler. Time-outs, except that of each write of the event
// stream, are the server's. The server must not set a WriteTimeout.
func New(cfg Config) (http.Handler, error) {
	if cfg.Gateway == nil || cfg.Panel == nil {
		return nil, errors.New("build web page: no gateway or no panel")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Lang != "en" {
		cfg.Lang = "ja"
	}
	if cfg.Guard == nil {
		cfg.Guard = Loopback
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s, err := newSite(cfg)
	if err != nil {
		return nil, err
	}
	return s.protect(s.routes()), nil
}

// maxBody bounds every request body, bytes.
const maxBody = 16 << 10

// protect wraps every route: who may ask, under which name, from which page.
func (s *site) protect(next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusForbidden, "cross_origin")
	}))
	next = csrf.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.knownHost(r.Host) {
			s.fail(w, r, http.StatusMisdirectedRequest, "host")
			return
		}
		if err := s.cfg.Guard(r); err != nil {
			s.cfg.Logger.Warn("web request refused", "from", r.RemoteAddr, "err", err)
			s.fail(w, r, http.StatusForbidden, "guard")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// knownHost refuses names that are not ours: a page elsewhere could point its
// own name at our address (DNS rebinding). An address cannot be pointed.
func (s *site) knownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
		return true
	}
	for _, ok := range s.cfg.Hosts {
		if strings.EqualFold(name, ok) {
			return true
		}
	}
	return false
}
