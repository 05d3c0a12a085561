package gateway

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"sekisho/firmware/evidence"
	"sekisho/firmware/ledger"
	"sekisho/firmware/store"
)

const database = "sekisho.db"

// openStore opens the database. What lies in its place and is none was ours
// once: this folder is nobody else's. It is kept, and a new one begun, because
// a gateway that does not start protects nobody.
func (o *opening) openStore() error {
	path := filepath.Join(o.config.Storage.State, database)
	st, err := store.Open(path)
	if errors.Is(err, store.ErrNotDatabase) {
		if err := setAside(path, path+"-wal", path+"-shm"); err != nil {
			return err
		}
		o.faults.set("history", fmt.Errorf("%s was overwritten by something else; it was set aside and a new one begun", path))
		st, err = store.Open(path)
	}
	if err != nil {
		return err
	}
	if aside := st.Damaged(); aside != "" {
		o.faults.set("history", fmt.Errorf("the database was damaged; it was moved to %s and a new one begun", aside))
	}
	o.opened(st)
	o.store = st
	return nil
}

// records opens what is small and precious: database, key and ledger.
func (o *opening) records(p *Parts) error {
	dir := o.config.Storage.State
	if o.store == nil { // it did not open before; say why
		if err := o.openStore(); err != nil {
			return err
		}
	}
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "device.key"))
	if err != nil {
		return err
	}
	l, aside, err := ledger.OpenAside(filepath.Join(dir, "ledger"), ledger.Config{
		Key: key, Logger: o.log.With("component", "ledger"), AtLeast: o.ledgerSize(),
	})
	if err != nil {
		return err
	}
	if aside != "" {
		if err := o.store.SetMeta(context.Background(), sizeKey, "0"); err != nil { // it was about the other
			return err
		}
		o.faults.set("history", fmt.Errorf("the ledger did not match its signature; it was moved to %s and a new one begun", aside))
	}
	o.opened(l)
	p.Store, p.Ledger = o.store, l
	return nil
}

// ledgerSize is how many entries the ledger had when the database last heard of
// it; a database that is damaged, or new, knows nothing.
func (o *opening) ledgerSize() int64 {
	text, known, err := o.store.GetMeta(context.Background(), sizeKey)
	if err != nil {
		o.log.Warn("size of the ledger", "err", err)
	}
	size, err := strconv.ParseInt(text, 10, 64)
	if !known || err != nil {
		return 0
	}
	return size
}

// medium says what speaks against writing to the evidence disk; nil: nothing is
// asked. Without the SSD its folder is one of the root file system, whatever
// partition the state has.
func (o *opening) medium() func() error {
	s := o.config.Storage
	if !s.OwnDisk {
		return nil
	}
	return func() error { return evidence.OwnMedium(s.Evidence, s.State, "/") }
}

func (o *opening) spool(p *Parts) error {
	s := o.config.Storage
	spool, err := evidence.OpenSpool(filepath.Join(s.Evidence, "spool"), evidence.SpoolConfig{
		MaxBytes: int64(s.Spool), SegmentBytes: int64(s.Segment), InterfaceName: o.network.PortName,
		Now: time.Now, Logger: o.log.With("component", "evidence"), Medium: o.medium(),
	})
	if err != nil {
		return err
	}
	o.opened(spool)
	recipients, err := recipients(o.config.Evidence.Recipients)
	if err != nil {
		return err
	}
	vault, err := evidence.OpenVault(evidence.VaultConfig{
		Dir: filepath.Join(s.Evidence, "bundles"), Software: "sekisho " + o.around.Version,
		Ledger: p.Ledger, Now: time.Now, Logger: o.log.With("component", "evidence"), Medium: o.medium(),
		Recipients: recipients, TimestampURL: o.config.Evidence.Timestamp,
	})
	if err != nil {
		return err
	}
	p.Spool, p.Vault = spool, vault
	return nil
}
