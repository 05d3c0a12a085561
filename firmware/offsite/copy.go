package offsite

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// copy puts what r stands for at the target: a bundle and its sum, or the newest
// checkpoint.
func (w *worker) copy(ctx context.Context, r *record) (Copy, error) {
	id, isBundle := strings.CutPrefix(r.Key, bundlePrefix)
	if !isBundle {
		return w.copyCheckpoint(ctx)
	}
	o, err := w.object(id)
	if err != nil {
		return Copy{}, err
	}
	c, err := w.put(ctx, o)
	if err != nil {
		return Copy{}, err
	}
	// The form of sha256sum: "sha256sum -c ID.sha256" beside the copy.
	_, err = w.put(ctx, bytesObject(id+".sha256", []byte(o.hex()+"  "+o.Name+"\n")))
	return c, err
}

// put refuses names that some target would bend.
func (w *worker) put(ctx context.Context, o Object) (Copy, error) {
	if err := checkName(o.Name); err != nil {
		return Copy{}, err
	}
	c, err := w.Target.Put(ctx, o)
	if err != nil {
		return Copy{}, fmt.Errorf("copy %s: %w", o.Name, err)
	}
	return c, nil
}

func (w *worker) copyCheckpoint(ctx context.Context) (Copy, error) {
	size, signed, err := w.c.Checkpoint()
	if err != nil {
		return Copy{}, fmt.Errorf("checkpoint: %w: %w", ErrSource, err)
	}
	return w.put(ctx, bytesObject(fmt.Sprintf("checkpoint-%d", size), signed))
}

// object describes the bundle's package as it is now.
func (w *worker) object(id string) (Object, error) {
	body, p, err := w.c.Bundles.OpenPackage(id)
	if err != nil {
		return Object{}, fmt.Errorf("bundle %s: %w: %w", id, ErrSource, err)
	}
	if err := body.Close(); err != nil {
		return Object{}, fmt.Errorf("bundle %s: %w: %w", id, ErrSource, err)
	}
	sum, err := hex.DecodeString(p.SHA256)
	if err != nil || len(sum) != 32 || p.Size <= 0 {
		return Object{}, fmt.Errorf("bundle %s: %w: size %d, hash %q", id, ErrSource, p.Size, p.SHA256)
	}
	now := w.current // kept: a transport may still read when Put is over
	w.set(func() { now.Name, now.Total = p.Name, p.Size })
	return Object{Name: p.Name, Size: p.Size, SHA256: [32]byte(sum),
		Open: func() (io.ReadSeekCloser, error) {
			body, _, err := w.c.Bundles.OpenPackage(id)
			if err != nil {
				return nil, fmt.Errorf("bundle %s: %w: %w", id, ErrSource, err)
			}
			return body, nil
		},
		Progress: func(done int64) { w.set(func() { now.Done = done }) },
	}, nil
}
