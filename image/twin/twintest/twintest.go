// Package twintest runs the tests of one package inside the twin: on Debian's
// arm64 kernel, whose modules the build machine's own kernel need not have.
//
// Tests with the build tag twin call it; they run by `make test-vm`. It needs
// no root. A test that is skipped in the twin has failed: what cannot be shown
// there can be shown nowhere.
//
//	func TestInTheTwin(t *testing.T) {
//		twintest.Run(t, twintest.Package{Import: "sekisho/netcontain/vlan", Modules: []string{"bridge", "8021q"}})
//	}
package twintest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/image/twin"
)

// Package says which tests run, and what is with them in the guest.
type Package struct {
	Import    string            // "sekisho/netcontain/vlan"
	Tags      string            // build tags of the tests, comma-separated
	Run       string            // -test.run; default all
	Args      []string          // further arguments of the test binary
	Cgo       bool              // the tests need it: SQLite
	Modules   []string          // of the kernel, with what they need
	Debian    []string          // packages whose programs the tests start, with what they need
	Files     map[string]string // path in the guest -> file or folder here
	MemoryMiB int               // default 512
	Timeout   time.Duration     // of the tests in the guest; default 3 minutes
	Machine   []string          // further arguments of QEMU
}

// boot is what a machine may need beside the tests' time, on a busy builder.
const boot = 90 * time.Second

// Run builds and boots, and reports each test of the package as a subtest of
// t. It fails too when there is no test, when the test binary ends otherwise
// than its results say (a panic), and when the guest hangs; then it shows the
// last lines of the console. The package's folder testdata comes along.
func Run(t *testing.T, p Package) {
	t.Helper()
	if p.Timeout == 0 {
		p.Timeout = 3 * time.Minute
	}
	console, err := p.boot(t)
	if err != nil {
		t.Error(err)
	}
	results, end := read(console)
	report(t, "", results)
	failed := 0
	for _, r := range results {
		if r.verdict != "PASS" {
			failed++
		}
	}
	switch {
	case err != nil: // said
	case len(results) == 0:
		t.Errorf("no test ran; the console:\n%s", tail(console))
	case end != "exit 0" && failed == 0:
		t.Errorf("the test binary ended with %q; the console:\n%s", end, tail(console))
	}
}

// boot returns what the guest said from its start to its end.
func (p Package) boot(t *testing.T) ([]string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), p.Timeout+boot+5*time.Minute) // to build, to fetch
	defer cancel()
	kernel, initramfs, err := p.image(ctx, t.TempDir())
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithTimeout(ctx, p.Timeout+boot)
	defer cancel()
	m, err := twin.Start(running, twin.Config{Kernel: kernel, Initramfs: initramfs, MemoryMiB: p.MemoryMiB, Args: p.Machine})
	if err != nil {
		return nil, err
	}
	_, err = m.Await(running, "TESTS END ")
	if err != nil {
		return m.Console(), err
	}
	_ = m.Stop() // it may have ended by itself
	return m.Console(), nil
}

// image makes the initramfs in dir.
func (p Package) image(ctx context.Context, dir string) (twin.Kernel, string, error) {
	file := func(name string) string { return filepath.Join(dir, name) }
	none := func(err error) (twin.Kernel, string, error) { return twin.Kernel{}, "", err }
	cache, err := twin.CacheFolder()
	if err != nil {
		return none(err)
	}
	kernel, err := twin.FetchKernel(ctx, cache)
	if err != nil {
		return none(err)
	}
	i := twin.Initramfs{Init: file("init"), Modules: p.Modules, Files: map[string]string{"test/binary": file("binary"), "test/arguments": file("arguments")}}
	if len(p.Debian) > 0 {
		tree, err := twin.FetchPackages(ctx, cache, p.Debian...)
		if err != nil {
			return none(err)
		}
		i.Trees = append(i.Trees, tree)
	}
	if err := twin.BuildGuest(ctx, "sekisho/image/twin/twintest/init", file("init")); err != nil {
		return none(err)
	}
	if err := twin.BuildGuestTests(ctx, p.Import, file("binary"), p.Tags, p.Cgo); err != nil {
		return none(err)
	}
	if err := p.addTestdata(ctx, file("package"), i.Files); err != nil {
		return none(err)
	}
	for at, from := range p.Files {
		i.Files[at] = from
	}
	if err := os.WriteFile(file("arguments"), []byte(p.arguments()), 0o644); err != nil {
		return none(err)
	}
	return kernel, file("initramfs"), i.Write(file("initramfs"), kernel)
}

// addTestdata puts what the tests read beside them, in a folder of their own
// also when that is nothing.
func (p Package) addTestdata(ctx context.Context, empty string, files map[string]string) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-find", "-tags", p.Tags, "-f", "{{.Dir}}", p.Import).CombinedOutput()
	if err != nil {
		return fmt.Errorf("find package %s: %w: %s", p.Import, err, out)
	}
	if err := os.Mkdir(empty, 0o755); err != nil {
		return err
	}
	files["test/package"] = empty
	data := filepath.Join(strings.TrimSpace(string(out)), "testdata")
	if _, err := os.Stat(data); err == nil {
		files["test/package/testdata"] = data
	}
	return nil
}

// arguments stand one on a line.
func (p Package) arguments() string {
	args := append([]string{"-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + p.Timeout.String(), "-test.run=" + p.Run}, p.Args...)
	return strings.Join(args, "\n") + "\n"
}
