// Package offsite copies sealed bundles, and the newest signed checkpoint of the
// ledger, to places outside this box: a USB stick, S3-compatible storage with
// object lock, an SFTP server. What left the box cannot be rewritten from it.
//
// The gateway builds the targets, runs a Mover, tells it when a bundle was
// sealed, and shows its Status. It must never change or delete a bundle, never
// overwrite what already stands under a name, never call a copy done that was
// not verified at its target, and never take the whole line of the office.
//
//	m, err := offsite.New(offsite.Config{Dir: STATE/offsite, Bundles: …, Checkpoint: …, Targets: …})
//	go m.Run(ctx)
//	m.Notice()          a bundle was sealed
//	m.Retry("usb")      somebody pressed "try again"
//	m.Status()          for the page
//
// The queue is not stored: it is what the vault holds and the records of STATE
// do not have. A bundle that was sealed in the moment of a power cut is in it;
// an upload whose record was lost is found at its target and counted.
package offsite

import (
	"context"
	"errors"
	"io"
	"time"
)

// Text is one message in the two languages of the product.
type Text struct {
	EN string `json:"en"`
	JA string `json:"ja"`
}

// Package is a sealed bundle as one file.
type Package struct {
	ID        string // of the bundle: letters, digits, "._-", at most 64
	Name      string // of the file: ID.tar or ID.tar.age
	Size      int64  // bytes
	SHA256    string // of the file, hex
	Encrypted bool
	Sealed    time.Time
}

// Bundles is where sealed bundles come from: the vault.
type Bundles interface {
	// List returns the ids of every sealed bundle.
	List() ([]string, error)
	// OpenPackage returns the bytes of one, the same every time. The error
	// wraps fs.ErrNotExist when the bundle was deleted.
	OpenPackage(id string) (io.ReadSeekCloser, Package, error)
}

// Object is one file on its way to a target.
type Object struct {
	Name     string // safe on every target, see checkName
	Size     int64  // bytes
	SHA256   [32]byte
	Open     func() (io.ReadSeekCloser, error)
	Progress func(done int64) // bytes on their way so far; may be nil
}

// Copy is an object that stands at a place and was verified there.
type Copy struct {
	Place   string    `json:"place"` // which stick, bucket or server
	Name    string    `json:"name"`  // of the file there, with its folder
	Size    int64     `json:"size"`
	SHA256  string    `json:"sha256"`
	At      time.Time `json:"at"`
	Version string    `json:"version,omitempty"` // S3 version id
	ETag    string    `json:"etag,omitempty"`
	Until   time.Time `json:"until,omitzero"`   // the server refuses to delete it before
	Covers  int       `json:"covers,omitempty"` // of a checkpoint: the bundles that stood at the place by then
}

// Target is where copies go. One goroutine calls it.
type Target interface {
	// Place names what is reachable now, "usb 5f3a…" or "https://host/bucket":
	// another place gets every bundle anew. ErrAway: nothing is there, which is
	// not a fault.
	Place(ctx context.Context) (string, error)
	// Put returns when o stands under its name at the target, verified there:
	// by its size and its hash, and the lock where one was asked for. What
	// stands there already, whole, is counted and not written again; other
	// bytes under that name are ErrConflict and stay. A cut at any moment
	// leaves nothing under the name, or the whole object.
	Put(ctx context.Context, o Object) (Copy, error)
}

// watcher is a target that knows when its place appears.
type watcher interface {
	// Watch calls changed whenever another medium may be there, until ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// What can go wrong; errors of Place and Put wrap one where it is known.
var (
	ErrAway      = errors.New("no medium is plugged in")
	ErrRemoved   = errors.New("the medium was pulled out, or fails")
	ErrReadOnly  = errors.New("the medium is write-protected")
	ErrFull      = errors.New("there is not enough room")
	ErrTooLarge  = errors.New("the file is larger than the file system takes")
	ErrConflict  = errors.New("another file has this name")
	ErrSource    = errors.New("the bundle on this device is not what it was")
	ErrDamaged   = errors.New("what was read back is not what was written")
	ErrNoLock    = errors.New("the bucket has no object lock")
	ErrDenied    = errors.New("the server refuses the credentials")
	ErrIdentity  = errors.New("the server is not the one in the settings")
	ErrName      = errors.New("the name is not safe everywhere")
	ErrNoAddress = errors.New("the server does not answer")
)

// concernsOne says that err is about one object, so that the next may be tried.
func concernsOne(err error) bool {
	for _, one := range []error{ErrConflict, ErrSource, ErrTooLarge, ErrName} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}
