package twin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// guestTags leave out what a static program cannot have.
const guestTags = "netgo,osusergo,sqlite_omit_load_extension"

// BuildGuest compiles a main package of this module as one static program for
// arm64, with cgo: SQLite comes along.
func BuildGuest(ctx context.Context, pkg, out string) error {
	if err := compile(ctx, true, "build", "-o", out, "-tags", guestTags, pkg); err != nil {
		return fmt.Errorf("build guest %s: %w", pkg, err)
	}
	return nil
}

// BuildGuestTests compiles the tests of a package, with the build tags of the
// list beside those of BuildGuest. Without cgo, which few packages need, the
// linker is done in a fraction of the time.
func BuildGuestTests(ctx context.Context, pkg, out, tags string, cgo bool) error {
	if tags != "" {
		tags = "," + tags
	}
	if err := compile(ctx, cgo, "test", "-c", "-o", out, "-tags", guestTags+tags, pkg); err != nil {
		return fmt.Errorf("build tests of %s for the guest: %w", pkg, err)
	}
	return nil
}

func compile(ctx context.Context, cgo bool, verb string, args ...string) error {
	enabled, link := "0", "-s -w"
	if cgo {
		enabled, link = "1", "-s -w -linkmode external -extldflags -static"
	}
	_, err := run(ctx, func(c *exec.Cmd) {
		c.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CC=aarch64-linux-gnu-gcc", "CGO_ENABLED="+enabled)
	}, "go", append([]string{verb, "-ldflags", link}, args...)...)
	return err
}
