// Package client is the vendor's side of the evidence API: it enrols with a
// gateway, asks for access, downloads packages so that a cut costs nothing, and
// keeps the checkpoints by which a rewritten ledger is noticed.
//
// sekishoctl calls it, on Windows, macOS and Linux. The gateway may have been
// stolen or taken over: the client must never believe an answer beyond what is
// proven, hold or write more than was announced, take a file name from it, or
// follow it to another address. The gateway's address is dialled directly and
// its key is pinned; proxies of the environment are not asked, as none could
// look inside or stand in for it.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	callTimeout = time.Minute
	pollWait    = 30 * time.Second // of a long poll; the gateway answers then at the latest
	maxJSON     = 4 << 20          // bytes of an answer that is not a package
)

// Client talks to the gateway of one profile. Its methods may be called from
// several goroutines.
type Client struct {
	profile *Profile
	caller  caller
	now     func() time.Time
	pause   func(context.Context, time.Duration) error
	stall   time.Duration // a download that brings nothing for so long was cut
}

// New prepares a client; nothing is sent yet.
func New(p *Profile) *Client {
	return &Client{profile: p, caller: newCaller(p.Address, p.pin, p.cert), now: time.Now, pause: pause, stall: time.Minute}
}

// Close drops idle connections.
func (c *Client) Close() { c.caller.http.CloseIdleConnections() }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// caller sends requests to one pinned server.
type caller struct {
	base string // https://host:port
	http *http.Client
}

// send returns the response when it is 2xx; the caller closes its body. Every
// other answer is an *Error, and what was no answer wraps ErrUnreachable.
func (c caller) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(req.Context(), err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

// call sends in as JSON (nil: no body) and reads the answer into out, which is
// a pointer, or a *[]byte for the bytes as they are.
func (c caller) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
	switch {
	case err != nil:
		return unreachable(ctx, err)
	case len(data) > maxJSON:
		return fmt.Errorf("%w: longer than %d bytes", ErrAnswer, maxJSON)
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = data
		return nil
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return nil
}

// fill puts id, which has been checked, into a path of package wire.
func fill(path, id string) string { return strings.Replace(path, "{id}", url.PathEscape(id), 1) }

// unreachable classes what the transport said. A key that is not the pinned one
// is no trouble of the network.
func unreachable(ctx context.Context, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without method and address, which the user knows
	}
	if errors.Is(err, ErrPin) || errors.Is(context.Cause(ctx), context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
