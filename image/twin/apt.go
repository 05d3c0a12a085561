package twin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// debianKeys is installed on every Debian.
const debianKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is Debian's package client with lists of its own, for a suite and an
// architecture that this machine need not have.
type apt struct{ dir string }

// newApt reads the lists of suite, from the mirror that this machine's own apt
// uses.
func newApt(ctx context.Context, dir, suite, arch string) (apt, error) {
	mirror, err := debianMirror(ctx)
	if err != nil {
		return apt{}, err
	}
	for _, sub := range []string{"sources", "lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return apt{}, err
		}
	}
	files := map[string]string{
		"status": "",
		"sources/debian.sources": fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: %s\nSigned-By: %s\n",
			mirror, suite, arch, debianKeys),
		"apt.conf": fmt.Sprintf(`Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "%[1]s/sources";
Dir::State::Lists "%[1]s/lists";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s";
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
`, dir, arch),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return apt{}, err
		}
	}
	a := apt{dir}
	_, err = a.run(ctx, "apt-get", "-q", "update", "--error-on=any")
	return a, err
}

func (a apt) run(ctx context.Context, tool string, args ...string) (string, error) {
	return run(ctx, func(c *exec.Cmd) {
		c.Dir = a.dir
		c.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	}, tool, args...)
}

// dependency returns the first package that name depends on.
func (a apt) dependency(ctx context.Context, name string) (string, error) {
	out, err := a.run(ctx, "apt-cache", "depends", name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if on, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
			return on, nil
		}
	}
	return "", fmt.Errorf("package %s depends on nothing", name)
}

// download returns the path of the package file, checked by apt.
func (a apt) download(ctx context.Context, name string) (string, error) {
	if _, err := a.run(ctx, "apt-get", "-q", "download", name); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("download %s: %d files came", name, len(found))
	}
	return found[0], nil
}

// debianMirror asks this machine's apt where it has Debian from.
func debianMirror(ctx context.Context) (string, error) {
	out, err := run(ctx, nil, "apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages", "Origin: Debian")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if uri, ok := strings.CutPrefix(strings.TrimSpace(line), "Debian "); ok {
			return uri, nil
		}
	}
	return "", errors.New("this machine's apt knows no Debian mirror; run apt-get update")
}

// run returns what the tool wrote to standard output; its error holds the end
// of what it wrote to standard error.
func run(ctx context.Context, adjust func(*exec.Cmd), tool string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, tool, args...)
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	if adjust != nil {
		adjust(c)
	}
	if err := c.Run(); err != nil {
		const enough = 2000
		text := bytes.TrimSpace(complaint.Bytes())
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(tool), err, text[max(0, len(text)-enough):])
	}
	return out.String(), nil
}
