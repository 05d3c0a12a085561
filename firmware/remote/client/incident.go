package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"sekisho/firmware/remote/wire"
)

// Status asks who answers.
func (c *Client) Status(ctx context.Context) (wire.Status, error) {
	var s wire.Status
	if err := c.caller.call(ctx, http.MethodGet, wire.PathStatus, nil, nil, &s); err != nil {
		return wire.Status{}, fmt.Errorf("ask for the status: %w", err)
	}
	s.Office, s.Version, s.Vendor = Printable(s.Office, 200), Printable(s.Version, 64), Printable(s.Vendor, 64)
	return s, nil
}

// Incidents is the list, newest first. Every text in it is printable, every id
// may stand in a path, every package has a size and a hash.
func (c *Client) Incidents(ctx context.Context) ([]wire.Incident, error) {
	var list wire.Incidents
	if err := c.caller.call(ctx, http.MethodGet, wire.PathIncidents, nil, nil, &list); err != nil {
		return nil, fmt.Errorf("ask for the incidents: %w", err)
	}
	for i := range list.Incidents {
		if err := checkIncident(&list.Incidents[i]); err != nil {
			return nil, fmt.Errorf("ask for the incidents: %w", err)
		}
	}
	return list.Incidents, nil
}

// Incident is the one of this id; nil when the gateway has none.
func (c *Client) Incident(ctx context.Context, id string) (*wire.Incident, error) {
	list, err := c.Incidents(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(x wire.Incident) bool { return x.ID == id })
	if i < 0 {
		return nil, nil
	}
	return &list[i], nil
}

func checkIncident(i *wire.Incident) error {
	if !validName(i.ID) {
		return fmt.Errorf("%w: incident %q", ErrAnswer, Printable(i.ID, 64))
	}
	i.State = Printable(i.State, 32)
	if b := i.Bundle; b != nil {
		sum, err := hex.DecodeString(b.SHA256)
		if err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != b.SHA256 || b.Size <= 0 {
			return fmt.Errorf("%w: package of incident %s", ErrAnswer, i.ID)
		}
		b.Name = Printable(b.Name, 128)
	}
	if i.Grant != nil {
		return checkGrant(i.Grant, i.ID)
	}
	return nil
}

func checkGrant(g *wire.Grant, incident string) error {
	if !validName(g.ID) || g.Incident != incident {
		return fmt.Errorf("%w: grant %q for incident %q", ErrAnswer, Printable(g.ID, 64), Printable(g.Incident, 64))
	}
	g.State = wire.GrantState(Printable(string(g.State), 32))
	return nil
}

// AskGrant asks for access to one incident. The code in r is spent by it.
func (c *Client) AskGrant(ctx context.Context, r wire.GrantRequest) (wire.Grant, error) {
	var g wire.Grant
	err := c.caller.call(ctx, http.MethodPost, wire.PathGrants, nil, r, &g)
	if err == nil {
		err = checkGrant(&g, r.Incident)
	}
	if err != nil {
		return wire.Grant{}, fmt.Errorf("ask for access: %w", err)
	}
	return g, nil
}

// EndGrant gives access back.
func (c *Client) EndGrant(ctx context.Context, g wire.Grant) error {
	if err := c.caller.call(ctx, http.MethodDelete, fill(wire.PathGrant, g.ID), nil, nil, nil); err != nil {
		return fmt.Errorf("end the access: %w", err)
	}
	return nil
}

const (
	maxWait   = 24 * time.Hour  // for an owner
	minPoll   = time.Second     // a gateway that answers at once is not asked more often
	pollRetry = 5 * time.Second // after a cut
)

// WaitGrant waits until the owner has answered, or the gateway says that the
// question has lapsed. A line that is down meanwhile is waited for.
func (c *Client) WaitGrant(ctx context.Context, g wire.Grant) (wire.Grant, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, errors.New("nobody has answered for a day"))
	defer cancel()
	for g.State == wire.GrantWaiting {
		asked := c.now()
		next, err := c.grant(ctx, g)
		rest := minPoll - c.now().Sub(asked)
		var refused *Error
		switch {
		case err == nil:
			g = next
		case errors.Is(err, ErrUnreachable):
			rest = pollRetry
		case errors.As(err, &refused) && refused.Temporary():
			rest = max(pollRetry, refused.Retry)
		default:
			return g, fmt.Errorf("wait for the owner: %w", err)
		}
		if g.State == wire.GrantWaiting && rest > 0 {
			if err := c.pause(ctx, rest); err != nil {
				return g, fmt.Errorf("wait for the owner: %w", err)
			}
		}
	}
	return g, nil
}

// grant looks once, by a long poll.
func (c *Client) grant(ctx context.Context, g wire.Grant) (wire.Grant, error) {
	var now wire.Grant
	err := c.caller.call(ctx, http.MethodGet, fill(wire.PathGrant, g.ID), url.Values{"wait": {pollWait.String()}}, nil, &now)
	if err == nil {
		err = checkGrant(&now, g.Incident)
	}
	return now, err
}
