// Package firmware_test holds the one test about the module as a whole: which
// way its imports point.
package firmware_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed is the package table of the design: each package, and which packages
// of this module it may import. "*" means any library.
var allowed = map[string][]string{
	"firmware/cmd/sekisho":     {"*"},
	"firmware/cmd/sekishoctl":  {"firmware/evidence", "firmware/ledger", "firmware/remote/client", "firmware/remote/wire"},
	"firmware/cmd/eval":        {"*"},
	"firmware/capture":         {},
	"firmware/flow":            {"firmware/capture"},
	"firmware/asset":           {"firmware/flow"},
	"firmware/asset/ouigen":    {},
	"firmware/detect":          {"firmware/flow", "firmware/asset"},
	"firmware/detect/ngramgen": {},
	"firmware/incident":        {"firmware/detect", "firmware/asset"},
	"firmware/impact":          {"firmware/flow", "firmware/asset", "firmware/detect"},
	"firmware/evidence":        {"firmware/capture", "firmware/ledger", "firmware/durable"},
	"firmware/ledger":          {"firmware/durable"},
	"firmware/durable":         {},
	"firmware/smart":           {},
	"firmware/eval":            {"firmware/detect", "firmware/incident", "firmware/flow"},
	"firmware/store":           {"firmware/incident", "firmware/asset", "firmware/drill"},
	"firmware/remote":          {"firmware/evidence", "firmware/ledger", "firmware/durable", "firmware/remote/wire"},
	"firmware/remote/wire":     {},
	"firmware/remote/client":   {"firmware/evidence", "firmware/ledger", "firmware/durable", "firmware/remote/wire"},
	"firmware/offsite":         {"firmware/evidence", "firmware/durable"},
	"image/twin":               {"image/twin/i2cwave"},
	"image/twin/i2cwave":       {},
	"image/twin/blklog":        {},
	"image/twin/guest":         {"image/twin"},
	"image/twin/twintest/init": {"image/twin/guest"},
	"image/twin/office":        {"*"},
	"image/twin/office/init":   {"*"},
	"image/twin/powercut":      {"*"},
	"image/twin/powercut/init": {"*"},
	"firmware/health":          {},
	"firmware/config":          {},
	"firmware/decoy":           {},
	"firmware/drill":           {},
	"firmware/drill/dummy":     {"firmware/decoy"},
	"firmware/ioc":             {"firmware/durable"},
	"firmware/eve":             {"firmware/detect", "firmware/flow"},
	"firmware/lab":             {"firmware/capture"},
	"firmware/gateway":         {"*"},
	"hal":                      {},
	"hal/panel":                {"hal"},
	"hal/face":                 {"hal", "hal/panel"},
	"hal/virtual":              {"hal", "hal/face", "hal/panel"},
	"hal/rpi":                  {"hal", "hal/face", "hal/panel", "hal/ssd1306"},
	"hal/cmd/halsmoke":         {"hal", "hal/panel", "hal/rpi", "hal/ssd1306", "hal/cmd/halsmoke/traffic"},
	"hal/cmd/halsmoke/traffic": {"hal/rpi"},
	"hal/ssd1306":              {},
	"netcontain":               {},
	"netcontain/plan":          {"netcontain"},
	"netcontain/nft":           {"netcontain"},
	"netcontain/vlan":          {"netcontain"},
	"netcontain/wifi":          {"netcontain"},
	"netcontain/neigh":         {"netcontain"},
	"netcontain/refuge":        {"netcontain"},
	"netcontain/probe":         {"netcontain", "firmware/capture"},
	"ui":                       {"firmware/incident", "firmware/drill", "firmware/impact", "firmware/asset", "firmware/detect", "firmware/response", "firmware/evidence", "firmware/health", "hal", "hal/panel"},
	"ui/mirror":                {"hal", "hal/face", "hal/panel"},
}

// onlyIn names the single home of a dependency.
var onlyIn = map[string]string{
	"periph.io/x/host":             "hal/rpi",
	"github.com/mattn/go-sqlite3":  "firmware/store",
	"github.com/google/gopacket":   "firmware/flow",
	"github.com/alecthomas/kong":   "firmware/cmd hal/cmd",
	"github.com/BurntSushi/toml":   "firmware/config",
	"github.com/google/nftables":   "netcontain/nft firmware/decoy firmware/gateway image/twin/office",
	"github.com/hajimehoshi/":      "hal/panel",
	"github.com/insomniacslk/dhcp": "firmware/flow firmware/lab netcontain/refuge",
}

var vague = []string{"util", "utils", "common", "types", "helpers", "misc", "base"}

type file struct {
	dir, path string
	test      bool
	imports   []string
}

func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || (strings.HasPrefix(d.Name(), ".") && path != "..")) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel("..", path)
		f := file{dir: filepath.ToSlash(filepath.Dir(rel)), path: rel, test: strings.HasSuffix(path, "_test.go")}
		for _, spec := range parsed.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			f.imports = append(f.imports, p)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files found; the walk is broken", len(files))
	}
	return files
}

// testOnly says that a package exists for tests (fakes, generators,
// namespaces): anything may be imported by it, nothing but tests imports it.
func testOnly(dir string) bool { return strings.HasSuffix(filepath.Base(dir), "test") }

func home(dir string) ([]string, bool) {
	for d := dir; d != "."; d = filepath.ToSlash(filepath.Dir(d)) {
		if imports, ok := allowed[d]; ok && (d == dir || strings.HasPrefix(dir, d+"/internal/")) {
			return imports, true
		}
	}
	return nil, false
}

func TestImportsPointOneWay(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || testOnly(f.dir) || f.dir == "firmware" {
			continue
		}
		may, known := home(f.dir)
		if !known {
			t.Errorf("%s: package %s is not in the design's table", f.path, f.dir)
			continue
		}
		for _, imp := range f.imports {
			target, inModule := strings.CutPrefix(imp, "sekisho/")
			if !inModule || strings.HasPrefix(target, f.dir+"/internal/") {
				continue
			}
			if testOnly(target) {
				t.Errorf("%s imports %s, which is for tests only", f.path, target)
			}
			if !slices.Contains(may, "*") && !slices.Contains(may, target) {
				t.Errorf("%s: %s may not import %s", f.path, f.dir, target)
			}
			if target == "ui" && f.dir != "firmware/gateway" && f.dir != "firmware/cmd/sekisho" {
				t.Errorf("%s: nothing but the gateway imports ui", f.path)
			}
		}
	}
}

func TestADependencyHasOneHome(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || testOnly(f.dir) {
			continue
		}
		for _, imp := range f.imports {
			for dep, homes := range onlyIn {
				if strings.HasPrefix(imp, dep) && !slices.ContainsFunc(strings.Fields(homes), func(h string) bool { return strings.HasPrefix(f.dir, h) }) {
					t.Errorf("%s imports %s, whose home is %s", f.path, imp, homes)
				}
			}
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, f := range goFiles(t) {
		if slices.Contains(vague, filepath.Base(f.dir)) {
			t.Errorf("%s: %q is not a name for a room", f.path, filepath.Base(f.dir))
		}
	}
}
