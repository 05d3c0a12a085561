package client

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sekisho/firmware/durable"
	"sekisho/firmware/remote/wire"
)

// part is a package that is not there whole. Its bytes are hashed as they come.
type part struct {
	f     *os.File
	hash  hash.Hash
	size  int64 // bytes in f, all of them hashed
	total int64
	sum   string // that the whole must have, hex
}

const partSuffix = ".part"

// openPart opens or makes the part of a package, alone.
func openPart(path string, pkg wire.Package) (*part, error) {
	f, err := os.OpenFile(path+"."+pkg.SHA256[:sha256.Size]+partSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	p := &part{f: f, hash: sha256.New(), total: pkg.Size, sum: pkg.SHA256}
	if err := p.resume(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	return p, nil
}

// resume hashes what is there already. More than the whole is none of it.
func (p *part) resume() error {
	if err := lockNow(p.f); err != nil {
		return err
	}
	n, err := io.Copy(p.hash, io.LimitReader(p.f, p.total+1))
	if err != nil {
		return err
	}
	if p.size = n; n > p.total {
		return p.restart()
	}
	return nil
}

func (p *part) restart() error {
	p.hash.Reset()
	p.size = 0
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	_, err := p.f.Seek(0, io.SeekStart)
	return err
}

func (p *part) write(b []byte) error {
	if _, err := p.f.Write(b); err != nil {
		return err
	}
	p.hash.Write(b)
	p.size += int64(len(b))
	return nil
}

func (p *part) whole() bool {
	return p.size == p.total && hex.EncodeToString(p.hash.Sum(nil)) == p.sum
}

func (p *part) close() { _ = p.f.Close() }

// discard removes bytes that are of no use.
func (p *part) discard() error {
	return errors.Join(p.f.Close(), os.Remove(p.f.Name()))
}

// publish gives the whole file its name, and clears away parts of other packages
// that were to have it.
func (p *part) publish(path string) error {
	if err := p.f.Sync(); err != nil {
		return err
	}
	if err := p.f.Close(); err != nil {
		return err
	}
	if err := os.Rename(p.f.Name(), path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+".") && strings.HasSuffix(e.Name(), partSuffix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
