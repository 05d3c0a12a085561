package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"

	"sekisho/firmware/evidence"
)

// Receive unpacks the downloaded package beside itself and verifies the bag: it
// is signed by the device that was enrolled, and proven to stand in the ledger
// of which a checkpoint is kept. An identity is needed when it is encrypted. The
// bag's folder is Report.Path; one that lies there already is verified again.
func (c *Client) Receive(ctx context.Context, path string, identities []age.Identity) (evidence.Report, error) {
	bag, err := unpack(ctx, path, evidence.VerifyOptions{Key: c.profile.DeviceKey, Identities: identities})
	if err != nil {
		return evidence.Report{}, err
	}
	report, err := evidence.Verify(bag, evidence.VerifyOptions{Key: c.profile.DeviceKey})
	if err != nil {
		return evidence.Report{}, err
	}
	if _, err := c.CheckLedger(ctx); err != nil {
		return evidence.Report{}, err
	}
	return report, c.CheckBag(ctx, bag)
}

func unpack(ctx context.Context, path string, o evidence.VerifyOptions) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	// Neither tar nor age makes anything smaller.
	bag, err := evidence.Unpack(ctx, f, filepath.Dir(path), evidence.UnpackOptions{Identities: o.Identities, MaxBytes: info.Size()})
	if !errors.Is(err, fs.ErrExist) {
		return bag, err
	}
	report, err := evidence.Verify(path, o) // says whose folder it is
	if err != nil {
		return "", fmt.Errorf("the package of the folder that is there: %w", err)
	}
	return filepath.Join(filepath.Dir(path), report.ID), nil
}
