package gateway

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
	"sekisho/firmware/offsite"
)

// shelf is the vault as the copies see it.
type shelf struct{ vault *evidence.Vault }

func (s shelf) List() ([]string, error) {
	all, err := s.vault.List()
	ids := make([]string, 0, len(all))
	for _, b := range all {
		ids = append(ids, b.ID)
	}
	return ids, err
}

func (s shelf) OpenPackage(id string) (io.ReadSeekCloser, offsite.Package, error) {
	f, p, err := s.vault.OpenPackage(id)
	return f, offsite.Package{ID: p.ID, Name: p.Name, Size: p.Size, SHA256: p.SHA256, Encrypted: p.Encrypted, Sealed: p.Sealed}, err
}

// copies builds the places off the box. One that cannot be built is a fault to
// show; the others are used.
func (o *opening) copies(p *Parts) error {
	targets, err := o.targets()
	if err != nil { // beside "copies", which are the targets that work
		p.Services["copy targets"] = broken{err}
	}
	if len(targets) == 0 {
		return nil
	}
	log := o.log.With("component", "offsite")
	mover, err := offsite.New(offsite.Config{
		Dir: filepath.Join(o.config.Storage.State, "offsite"), Bundles: shelf{p.Vault}, Targets: targets, Logger: log,
		Checkpoint: func() (int64, []byte, error) { return newestCheckpoint(p.Ledger) },
		Copied: func(target, bundle string, c offsite.Copy) {
			_, err := p.Ledger.Append(ledger.Entry{Time: time.Now().UTC(), Actor: "gateway", Action: "bundle.copy", Subject: bundle,
				Detail: map[string]any{"target": target, "place": c.Place, "name": c.Name, "sha256": c.SHA256, "bytes": c.Size}})
			if err != nil {
				log.Error("copy is not in the ledger", "err", err)
				o.faults.set("ledger", err)
			}
		},
	})
	if err != nil {
		p.Services["copies"] = broken{err}
		return nil
	}
	p.Copies = mover
	return nil
}

func newestCheckpoint(l *ledger.Ledger) (int64, []byte, error) {
	signed, err := l.Checkpoint()
	if err != nil {
		return 0, nil, err
	}
	c, err := ledger.ParseCheckpoint(signed, l.Key().Verifier())
	return c.Size, signed, err
}

func (o *opening) targets() (out []offsite.Named, err error) {
	c, s := o.config.Copy, o.config.Storage
	line := offsite.NewLine(int64(c.Rate))
	add := func(name string, kind offsite.Kind, t offsite.Target, failed error) {
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("copy.%s: %w", name, failed))
			return
		}
		out = append(out, offsite.Named{Name: name, Kind: kind, Target: t})
	}
	if c.Medium != "" {
		t, failed := offsite.NewUSB(offsite.USBConfig{Folder: c.Medium, Own: []string{s.State, s.Evidence}})
		add("usb", offsite.KindUSB, t, failed)
	}
	if c.S3.Bucket != "" {
		t, failed := offsite.NewS3(offsite.S3Config{
			Endpoint: c.S3.Endpoint, Region: c.S3.Region, Bucket: c.S3.Bucket, Prefix: c.S3.Prefix, Credentials: c.S3.Credentials,
			Days: int(time.Duration(c.S3.Lock).Hours() / 24), Governance: c.S3.LockMode == "governance", Line: line,
		})
		add("s3", offsite.KindS3, t, failed)
	}
	if c.SFTP.Host != "" {
		t, failed := offsite.NewSFTP(offsite.SFTPConfig{
			Address: c.SFTP.Host, User: c.SFTP.User, Folder: c.SFTP.Folder, HostKey: c.SFTP.HostKey,
			KeyFile: filepath.Join(s.State, "offsite", "sftp.key"), Line: line,
		})
		if failed == nil {
			o.sftpKey = t.PublicKey()
		}
		add("sftp", offsite.KindSFTP, t, failed)
	}
	return out, err
}
