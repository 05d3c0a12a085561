package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"sekisho/firmware/evidence"
	"sekisho/firmware/incident"
	"sekisho/firmware/remote"
	vendorapi "sekisho/firmware/remote/wire"
	"sekisho/hal"
	"sekisho/ui"
)

// vendorTarget begins the target of a press that ends a vendor's access; the
// grant's id follows.
const vendorTarget = "vendor:"

// offered is what the vendor may ask for: the list from the newest snapshots,
// the bytes from the vault. A list must not wait for the disk, nor read it.
type offered struct {
	view  func() View
	kept  func() *bundles
	vault *evidence.Vault
}

var _ remote.Evidence = offered{}

func (o offered) Incidents() []vendorapi.Incident {
	all := o.view().Incidents
	out := make([]vendorapi.Incident, 0, len(all))
	for n := len(all) - 1; n >= 0; n-- {
		i := all[n]
		out = append(out, vendorapi.Incident{ID: i.ID, State: string(i.State), Drill: i.Drill, Opened: i.Opened, Updated: i.Updated})
	}
	return out
}

func (o offered) Package(id string) (vendorapi.Package, error) {
	b, _ := o.kept().of(id)
	if b.pack.Name == "" {
		return vendorapi.Package{}, fmt.Errorf("package %s: %w", id, fs.ErrNotExist)
	}
	return onWire(b.pack), nil
}

func (o offered) OpenPackage(id string) (io.ReadSeekCloser, vendorapi.Package, error) {
	f, p, err := o.vault.OpenPackage(id)
	return f, onWire(p), err
}

func onWire(p evidence.Package) vendorapi.Package {
	return vendorapi.Package{Name: p.Name, Size: p.Size, SHA256: p.SHA256, Encrypted: p.Encrypted, Sealed: p.Sealed}
}

// openRemote builds the vendor's way in. Without it the gateway does its work
// all the same.
func (g *Gateway) openRemote() {
	if g.parts.Remote == nil {
		return
	}
	c := *g.parts.Remote
	c.Office, c.Ledger, c.DeviceKey = g.cfg.Office, g.parts.Ledger, g.parts.Ledger.Key().Public()
	c.Evidence, c.Changed, c.Now = offered{g.View, g.archive.bundles.Load, g.parts.Vault}, g.watchers.tell, g.now
	server, err := remote.New(c)
	if err != nil {
		g.log.Error("the vendor cannot connect", "err", err)
		g.faults.set("remote", err)
		return
	}
	g.remote = server
}

// showVendor puts the vendor's access on the panel: whoever has one is seen
// until it ends, and a press ends it. A device that needs somebody comes first;
// a fault only gives way while packets really leave.
func (g *Gateway) showVendor(s *hal.Status, all []incident.Incident) {
	if g.remote == nil {
		return
	}
	if waiting := g.remote.Waiting(); len(waiting) > 0 {
		s.Approval, s.ApprovalID, s.ApprovalFor = waiting[0].Name, waiting[0].ID, about(all, waiting[0].Incident)
	}
	active := g.remote.Active()
	if len(active) == 0 {
		return
	}
	if g.lockdown { // approved in the moment when it began, or before a restart
		g.decideAccess(func(s *remote.Server) error { return s.EndAll("gateway") })
		return
	}
	a, running := active[0], 0
	for _, other := range active {
		running += other.Downloads
		if other.Downloads > a.Downloads {
			a = other
		}
	}
	s.VendorOnline = true
	switch s.State {
	case hal.Normal, hal.Learning, hal.Isolated:
	case hal.Fault:
		if running == 0 {
			return
		}
	default:
		return
	}
	s.State, s.Vendor, s.VendorUntil, s.Target = hal.VendorConnected, a.Name, a.Until.In(s.Now.Location()), vendorTarget+a.ID
	for _, i := range all {
		if i.State.Held() && i.Level == incident.Isolate {
			s.Held++
		}
	}
}

// about names an incident in the little room that the panel has: by its device,
// else by the end of its id.
func about(all []incident.Incident, id string) string {
	for _, i := range all {
		if i.ID == id && i.Asset.Name != "" {
			return i.Asset.Name
		}
	}
	return id[max(0, len(id)-9):]
}

// decideAccess carries out what a gesture said about the vendor. It waits for
// the ledger, so it is no work for the core.
func (g *Gateway) decideAccess(decide func(*remote.Server) error) {
	if g.remote == nil {
		return
	}
	g.work.Go(func() {
		if err := decide(g.remote); err != nil && !errors.Is(err, remote.ErrUnknown) && !errors.Is(err, remote.ErrOver) {
			g.settle("remote", err)
		}
	})
}

// heldForVendor approves the request that the screen named. During a lockdown no
// screen names one; a hold that came before it must not open anything now.
func (g *Gateway) heldForVendor(id, by string) {
	if g.lockdown {
		g.log.Warn("vendor's access is not approved during a lockdown", "grant", id)
		return
	}
	g.decideAccess(func(s *remote.Server) error {
		_, err := s.Approve(id, by, 0)
		return err
	})
}

func (g *Gateway) pressedVendor(target, by string) bool {
	id, ok := strings.CutPrefix(target, vendorTarget)
	if ok {
		g.decideAccess(func(s *remote.Server) error { return s.End(id, by) })
	}
	return ok
}

// vendors is nil, and not a typed nil, when the access is off.
func (g *Gateway) vendors() ui.Vendors {
	if g.remote == nil {
		return nil
	}
	usual, longest := g.remote.Spans()
	return vendorDesk{server: g.remote, usual: usual, longest: longest, cutOff: func() bool { return g.View().Lockdown }, now: g.now}
}

// vendorDesk is the owner's side of the vendor's access as the page sees it.
type vendorDesk struct {
	server         *remote.Server
	usual, longest time.Duration // of an access
	cutOff         func() bool   // the office is in lockdown
	now            func() time.Time
}

var _ ui.Vendors = vendorDesk{}

func (d vendorDesk) Access() ui.Access {
	a := ui.Access{Usual: d.usual, MaxGrant: d.longest}
	grants := func(views []remote.GrantView) (out []ui.Grant) {
		for _, v := range views {
			out = append(out, ui.Grant{
				ID: v.ID, Vendor: v.Name, Incident: v.Incident, Reason: v.Reason, Wished: int(v.Wished / time.Minute),
				Asked: v.Asked, Until: v.Until, Sent: uint64(max(v.Bytes, 0)),
			})
		}
		return out
	}
	a.Waiting, a.Active = grants(d.server.Waiting()), grants(d.server.Active())
	for _, v := range d.server.Vendors() {
		a.Vendors = append(a.Vendors, ui.Vendor{ID: v.ID, Name: v.Name, Enrolled: v.Enrolled, By: v.InvitedBy, Locked: v.LockedUntil})
	}
	return a
}

func (d vendorDesk) Invite(_ context.Context, by string) (ui.Invitation, error) {
	text, err := d.server.Invite(by)
	return ui.Invitation{Text: text, Until: d.now().Add(remote.InvitationLife)}, told(err)
}

func (d vendorDesk) Approve(_ context.Context, id, by string, span time.Duration) error {
	if d.cutOff() { // it would read unseen: the screen shows the lockdown
		return fmt.Errorf("approve access %s: %w", id, ui.ErrCutOff)
	}
	_, err := d.server.Approve(id, by, span)
	return told(err)
}

func (d vendorDesk) Deny(_ context.Context, id, by string) error { return told(d.server.Deny(id, by)) }

func (d vendorDesk) End(_ context.Context, id, by string) error { return told(d.server.End(id, by)) }

func (d vendorDesk) Revoke(_ context.Context, id, by string) error {
	return told(d.server.Revoke(id, by))
}

// told turns the server's refusals into those of the page.
func told(err error) error {
	switch {
	case errors.Is(err, remote.ErrUnknown):
		return fmt.Errorf("%w: %w", ui.ErrUnknown, err)
	case errors.Is(err, remote.ErrOver), errors.Is(err, remote.ErrTooMany), errors.Is(err, remote.ErrNoAddress):
		return fmt.Errorf("%w: %w", ui.ErrRefused, err)
	}
	return err
}
