package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"sekisho/firmware/durable"
	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/wire"
)

// TamperError says that the gateway's ledger does not continue the one of which
// a checkpoint was kept. Both are saved for whoever has to look into it.
type TamperError struct {
	Reason error
	Dir    string // with kept, received and reason.txt; empty when that could not be written
}

func (e *TamperError) Error() string {
	return "the gateway's ledger is not the one that it was: " + e.Reason.Error()
}

func (e *TamperError) Unwrap() error { return e.Reason }

// Growth is how far the ledger has come since the kept checkpoint, in entries.
type Growth struct{ From, To int64 }

// CheckLedger fetches the newest checkpoint, and puts it in the place of the kept
// one when the gateway proves that nothing before that one was changed. When it
// cannot, the error is a *TamperError and the kept checkpoint stays.
func (c *Client) CheckLedger(ctx context.Context) (Growth, error) {
	g, err := c.checkLedger(ctx)
	if err != nil {
		return Growth{}, fmt.Errorf("check the ledger: %w", err)
	}
	return g, nil
}

func (c *Client) checkLedger(ctx context.Context) (Growth, error) {
	unlock, err := c.profile.lock()
	if err != nil {
		return Growth{}, err
	}
	defer unlock()
	kept, older, err := c.profile.kept()
	if err != nil {
		return Growth{}, err
	}
	signed, newer, err := c.checkpoint(ctx)
	if err == nil {
		err = c.prove(ctx, older, newer)
	}
	if err != nil {
		return Growth{}, c.profile.alarm(err, kept, signed)
	}
	if newer.Size > older.Size {
		err = durable.WriteFile(filepath.Join(c.profile.Dir, checkpointFile), signed, 0o600)
	}
	return Growth{older.Size, newer.Size}, err
}

// CheckBag proves that the checkpoint in a verified bag belongs to the ledger of
// which one is kept. CheckLedger comes before: the kept one must be the newer.
func (c *Client) CheckBag(ctx context.Context, bag string) error {
	if err := c.checkBag(ctx, bag); err != nil {
		return fmt.Errorf("check the bundle's place in the ledger: %w", err)
	}
	return nil
}

func (c *Client) checkBag(ctx context.Context, bag string) error {
	signed, err := os.ReadFile(filepath.Join(bag, "ledger", "checkpoint"))
	if err != nil {
		return err
	}
	older, err := ledger.ParseCheckpoint(signed, c.profile.device)
	if err != nil {
		return err
	}
	unlock, err := c.profile.lock()
	if err != nil {
		return err
	}
	defer unlock()
	kept, newer, err := c.profile.kept()
	if err == nil {
		err = c.prove(ctx, older, newer)
	}
	if err != nil {
		return c.profile.alarm(err, kept, signed)
	}
	return nil
}

// checkpoint fetches the newest. One that is not the device's is a finding.
func (c *Client) checkpoint(ctx context.Context) ([]byte, ledger.Checkpoint, error) {
	var signed []byte
	if err := c.caller.call(ctx, http.MethodGet, wire.PathCheckpoint, nil, nil, &signed); err != nil {
		return nil, ledger.Checkpoint{}, err
	}
	parsed, err := ledger.ParseCheckpoint(signed, c.profile.device)
	if err != nil {
		return signed, parsed, &TamperError{Reason: err}
	}
	return signed, parsed, nil
}

// prove asks for the proof that newer only adds to older. Only what the gateway
// answers counts against it, not what the network does.
func (c *Client) prove(ctx context.Context, older, newer ledger.Checkpoint) error {
	var proof tlog.TreeProof
	if older.Size > 0 && older.Size < newer.Size {
		var err error
		if proof, err = c.consistency(ctx, older.Size, newer.Size); err != nil {
			return err
		}
	}
	if err := ledger.CheckConsistency(proof, newer, older); err != nil {
		return &TamperError{Reason: err}
	}
	return nil
}

const maxProof = 2 * 64 // hashes, of a tree of 2^63 entries

func (c *Client) consistency(ctx context.Context, from, to int64) (tlog.TreeProof, error) {
	query := url.Values{"from": {strconv.FormatInt(from, 10)}, "to": {strconv.FormatInt(to, 10)}}
	var answer wire.Consistency
	err := c.caller.call(ctx, http.MethodGet, wire.PathConsistency, query, nil, &answer)
	var refused *Error
	switch {
	case errors.As(err, &refused) && (refused.Code == wire.CodeBad || refused.Code == wire.CodeUnknown):
		return nil, &TamperError{Reason: fmt.Errorf("it gives no proof from %d to %d entries: %w", from, to, err)}
	case err != nil:
		return nil, err
	case answer.From != from || answer.To != to || len(answer.Proof) > maxProof:
		return nil, &TamperError{Reason: fmt.Errorf("the proof is from %d to %d entries, asked for was %d to %d", answer.From, answer.To, from, to)}
	}
	proof := make(tlog.TreeProof, len(answer.Proof))
	for i, text := range answer.Proof {
		if proof[i], err = tlog.ParseHash(text); err != nil {
			return nil, &TamperError{Reason: fmt.Errorf("the proof from %d to %d entries: %w", from, to, err)}
		}
	}
	return proof, nil
}

// alarm saves both checkpoints when err is a finding. The folder is named after
// what was received, so that the same fork is saved once.
func (p *Profile) alarm(err error, kept, received []byte) error {
	var found *TamperError
	if !errors.As(err, &found) {
		return err
	}
	sum := sha256.Sum256(bytes.Join([][]byte{kept, received}, nil))
	dir := filepath.Join(p.Dir, "alarm-"+hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errors.Join(found, err)
	}
	found.Dir = dir
	for name, data := range map[string][]byte{"kept": kept, "received": received, "reason.txt": []byte(found.Reason.Error() + "\n")} {
		if err := durable.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return errors.Join(found, err)
		}
	}
	return errors.Join(found, durable.SyncDir(p.Dir)) // nil adds nothing
}
