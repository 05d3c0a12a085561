// Package store keeps incidents, their journal, the inventory and a few
// settings of the machine in one SQLite file.
//
// The gateway owns one Store and calls it from its loop; every call that
// returned nil is on the disk. It must never delete what it cannot read, never
// run beside a second writer, and never change a line of the journal, except for
// names and addresses that somebody asked to have removed (Redact).
package store

import (
	"bytes"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
)

// What Open and the writers may fail with, besides errors of the system.
var (
	ErrLocked      = errors.New("another sekisho is running on this database; stop it first")
	ErrNewer       = errors.New("the database was written by a newer version of sekisho; install that version again")
	ErrNotDatabase = errors.New("the file is not a sekisho database; check the path in the settings")
	ErrFull        = errors.New("the disk is full; make room, nothing that was acknowledged is lost")
	ErrPermission  = errors.New("no permission; check the owner of the folder and the file")
)

// errDamaged is handled inside Open: the file is moved aside.
var errDamaged = errors.New("the database is damaged")

// applicationID stands in the file's header: "SKSH".
const applicationID = 0x534b5348

//go:embed migrations/*.sql
var embedded embed.FS

// Store is the open database. It is safe for concurrent use: there is one
// connection, and calls wait for each other.
type Store struct {
	db      *sql.DB
	lock    *os.File
	damaged string
}

// Open opens or creates the database at path, alone, checks it and brings its
// schema up to date. A damaged file is moved aside, never deleted, and a fresh
// one takes its place: see Damaged. Errors wrap the ones above.
func Open(path string) (*Store, error) {
	s, err := open(path, time.Now(), nil)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, explain(err))
	}
	return s, nil
}

// open calls pause, for tests, inside each migration's transaction.
func open(path string, now time.Time, pause func(version int)) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	lock, err := acquire(path + ".lock")
	if err != nil {
		return nil, err
	}
	s := &Store{lock: lock}
	s.db, err = connect(path, pause)
	if errors.Is(err, errDamaged) {
		if s.damaged, err = moveAside(path, now); err == nil {
			s.db, err = connect(path, pause)
		}
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return s, nil
}

// acquire takes the lock that a second instance runs into. The kernel gives it
// back when the process dies, however it dies.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	return f, nil
}

func connect(path string, pause func(int)) (*sql.DB, error) {
	if err := checkHeader(path); err != nil {
		return nil, err
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_journal_mode=WAL&_synchronous=FULL&_foreign_keys=on&_busy_timeout=5000&_txlock=immediate&_secure_delete=on" // what is deleted does not stay in a free page
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // one writer, and no second cache to disagree with it
	if err := prepare(db, pause); err != nil {
		db.Close()
		return nil, err
	}
	return db, os.Chmod(path, 0o600)
}

// checkHeader tells a file of somebody else's from a damaged one: zeros at the
// start are what a power cut leaves, other bytes are not ours to move.
func checkHeader(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	switch head = head[:n]; {
	case err == io.EOF: // empty: SQLite makes a database of it
		return nil
	case err != nil && err != io.ErrUnexpectedEOF:
		return err
	case string(head) == "SQLite format 3\x00":
		return nil
	case len(bytes.Trim(head, "\x00")) == 0 || strings.HasPrefix("SQLite format 3\x00", string(head)):
		return errDamaged
	}
	return ErrNotDatabase
}

func prepare(db *sql.DB, pause func(int)) error {
	var app, version int
	if err := db.QueryRow("PRAGMA application_id").Scan(&app); err != nil {
		return damage(err)
	}
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return damage(err)
	}
	if app != applicationID && (app != 0 || version != 0) {
		return ErrNotDatabase
	}
	if err := integrity(db); err != nil {
		return err
	}
	return migrate(db, version, pause)
}

func integrity(db *sql.DB) error {
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return damage(err)
	}
	if verdict != "ok" {
		return errDamaged
	}
	return nil
}

func damage(err error) error {
	var e sqlite3.Error
	if errors.As(err, &e) && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB) {
		return errDamaged
	}
	return err
}

// migrate runs each missing migration in a transaction of its own, together
// with its number: a power cut leaves the one before.
func migrate(db *sql.DB, version int, pause func(int)) error {
	names, err := fs.Glob(embedded, "migrations/*.sql")
	if err != nil {
		return err
	}
	slices.Sort(names)
	if version > len(names) {
		return fmt.Errorf("%w (schema %d, this program knows %d)", ErrNewer, version, len(names))
	}
	for n, name := range names[version:] {
		if err := migrateOne(db, name, version+n+1, pause); err != nil {
			return fmt.Errorf("migrate %s: %w", name, err)
		}
	}
	return nil
}

func migrateOne(db *sql.DB, name string, version int, pause func(int)) error {
	script, err := embedded.ReadFile(name)
	if err != nil {
		return err
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec(string(script)); err != nil {
		return err
	}
	if pause != nil {
		pause(version)
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version)); err != nil {
		return err
	}
	return tx.Commit()
}

// moveAside keeps the damaged file and its log under a name with the time.
func moveAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102-150405")
	to := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s-%d", base, n)
	}
	for _, part := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(path+part, to+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("move the damaged database aside: %w", err)
		}
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return to, dir.Sync()
}

// Damaged is where Open put a database that could not be read, or empty. The
// incidents in it are not known to this store: a person has to be told.
func (s *Store) Damaged() string { return s.damaged }

// Close closes the database and gives the lock back.
func (s *Store) Close() error { return errors.Join(s.db.Close(), s.lock.Close()) }

// explain adds to an error what the reader can do about it.
func explain(err error) error {
	var e sqlite3.Error
	switch {
	case errors.As(err, &e) && e.Code == sqlite3.ErrFull, errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.As(err, &e) && (e.Code == sqlite3.ErrPerm || e.Code == sqlite3.ErrReadonly || e.Code == sqlite3.ErrCantOpen),
		errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	}
	return err
}
