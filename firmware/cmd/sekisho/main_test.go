package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sekisho/netcontain/nstest"
)

// asMain makes the test binary the program itself: what is tested is what
// runs, with its exit codes and its way of starting itself again.
const asMain = "SEKISHO_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	if lo, err := netlink.LinkByName("lo"); err == nil && os.Geteuid() == 0 && lo.Attrs().Flags&net.FlagUp == 0 {
		netlink.LinkSetUp(lo) //nolint:errcheck // of the fresh namespace of nstest.Main; listening will tell
	}
	os.Exit(nstest.Main(m))
}

// limit bounds one run of the program, however slow the machine is.
const limit = 3 * time.Minute

// program is the command line, not started yet.
func program(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asMain+"=1", "LC_ALL=C")
	return cmd
}

// said is what a run of the program left.
type said struct {
	code     int
	out, err string
}

func finish(t *testing.T, cmd *exec.Cmd) said {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", cmd.Args[1:], err)
	}
	s := said{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	if strings.Contains(s.err, " [running]:") {
		t.Errorf("it panicked:\n%s", s.err)
	}
	return s
}

func sekisho(t *testing.T, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return finish(t, program(ctx, args...))
}

// refuses checks code and words; exactly one message is written.
func (s said) refuses(t *testing.T, code int, words ...string) {
	t.Helper()
	if s.code != code {
		t.Errorf("exit code %d, want %d (%s)", s.code, code, s.err)
	}
	for _, w := range words {
		if !strings.Contains(s.err, w) {
			t.Errorf("it says %q, want %q in it", s.err, w)
		}
	}
	if n := strings.Count(s.err, "sekisho: "); n != 1 {
		t.Errorf("%d messages:\n%s", n, s.err)
	}
}

func TestHelpAndVersionAreNoErrors(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"replay", "--help"}, {"run", "--help"}} {
		s := sekisho(t, args...)
		if s.code != 0 || !strings.Contains(s.out, "Usage: sekisho") || s.err != "" {
			t.Errorf("sekisho %v: %+v", args, s)
		}
	}
	if s := sekisho(t, "version"); s.code != 0 || s.out != "sekisho unknown\n" {
		t.Errorf("version: %+v", s)
	}
}

func TestWrongUsageIsTwoAndSaysWhatIsRight(t *testing.T) {
	for want, args := range map[string][]string{
		"flies":                 {"flies"},
		"--config":              {"run"},
		"--nonsense":            {"replay", "--nonsense", "x"},
		"capture":               {"replay"},
		"[worm scan ping-sweep": {"demo", "--scenario", "plague", "--headless"},
		"--lan":                 {"replay", "--lan", "office", "x"},
		"--runs":                {"bench", "--runs", "0"},
		"en":                    {"replay", "--lang", "fr", "x"},
		"sekisho --help' for ":  {"run", "--config"},
	} {
		t.Run(want, func(t *testing.T) { sekisho(t, args...).refuses(t, exitUsage, want) })
	}
}

// settings writes a settings file of valid lines, changed by edit.
func settings(t *testing.T, edit func(string) string) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`version = 1
[network]
bridge = "br0"
ports = ["lan1"]
wan = "wan0"
lan = ["192.168.77.0/24"]
[storage]
state = %q
evidence = %q
spool = "16MiB"
segment = "4MiB"
[decoy]
count = 0
[panel]
kind = "headless"
[web]
listen = "127.0.0.1:0"
`, filepath.Join(dir, "state"), filepath.Join(dir, "evidence"))
	path := filepath.Join(dir, "sekisho.toml")
	if err := os.WriteFile(path, []byte(edit(text)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func same(text string) string { return text }

func TestBadSettingsAreUsageAndNamedByTheirKey(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.toml")
	for name, c := range map[string]struct {
		path string
		want []string
	}{
		"missing":  {missing, []string{missing, "does not exist", "README"}},
		"a folder": {t.TempDir(), []string{"read settings"}},
		"unknown key": {settings(t, func(s string) string { return s + "colour = \"red\"\n" }),
			[]string{"web.colour: unknown key"}},
		"not TOML":   {settings(t, func(s string) string { return "bridge == br0\n" }), []string{"line 1"}},
		"wrong type": {settings(t, func(s string) string { return strings.Replace(s, "count = 0", `count = "three"`, 1) }), []string{"count"}},
		"several at once": {settings(t, func(s string) string {
			return strings.Replace(strings.Replace(s, `["lan1"]`, "[]", 1), "count = 0", "count = 99", 1)
		}), []string{"network.ports: is empty", "decoy.count: 99 is not between"}},
		"a newer version": {settings(t, func(s string) string { return strings.Replace(s, "version = 1", "version = 99", 1) }), []string{"version"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, command := range []string{"run", "selftest"} {
				sekisho(t, command, "--config", c.path).refuses(t, exitUsage, c.want...)
			}
			sekisho(t, "replay", "--config", c.path, "x.pcap").refuses(t, exitUsage, c.want...)
		})
	}
}

// gatewayNS has the interfaces that settings names.
func gatewayNS(t *testing.T) *nstest.NS {
	t.Helper()
	ns := nstest.New(t)
	for _, command := range []string{
		"link set lo up", "link add br0 type bridge", "addr add 192.168.77.1/24 dev br0", "link set br0 up",
		"link add lan1 type veth peer name pc1", "link set lan1 master br0", "link add wan0 type veth peer name isp",
		"link add spare type veth peer name spare2",
	} {
		ns.Run(t, "ip "+command)
	}
	return ns
}

func (s said) in(t *testing.T, ns *nstest.NS, cmd *exec.Cmd) said {
	t.Helper()
	ns.Do(t, func() { s = finish(t, cmd) })
	return s
}

func TestRunSaysWhichInterfaceOrAddressIsWrong(t *testing.T) {
	ns := gatewayNS(t)
	for want, edit := range map[string]func(string) string{
		`network.ports[0]: "spare" is not a port of bridge "br0"`: func(s string) string { return strings.Replace(s, `"lan1"`, `"spare"`, 1) },
		`network.bridge: there is no interface "br9"`:             func(s string) string { return strings.Replace(s, `"br0"`, `"br9"`, 1) },
	} {
		t.Run(want, func(t *testing.T) {
			said{}.in(t, ns, program(t.Context(), "run", "--config", settings(t, edit))).refuses(t, 1, want)
		})
	}
}

func TestABusyWebAddressIsNamed(t *testing.T) {
	ns := gatewayNS(t)
	var l net.Listener
	var err error
	ns.Do(t, func() { l, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := settings(t, func(s string) string { return strings.Replace(s, "127.0.0.1:0", l.Addr().String(), 1) })
	said{}.in(t, ns, program(t.Context(), "run", "--config", path)).refuses(t, 1, "web.listen", "another program")
}

func TestWithoutTheRightsItSaysWhichAreMissing(t *testing.T) {
	ns := gatewayNS(t)
	path := settings(t, same)
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	s := said{}.in(t, ns, unprivileged(t, program(t.Context(), "run", "--config", path)))
	s.refuses(t, 1, "CAP_NET_ADMIN")
	s = said{}.in(t, ns, unprivileged(t, program(t.Context(), "selftest", "--config", path)))
	s.refuses(t, 1, "checks failed")
	if !strings.Contains(s.out, "FAIL  raw packets") || !strings.Contains(s.out, "CAP_NET_RAW") {
		t.Errorf("selftest says:\n%s", s.out)
	}
}

// unprivileged runs the command as root of a user namespace of its own, whose
// rights end at the network of its parent: it is EPERM that comes, as for any user.
func unprivileged(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

func TestSelftestNamesEveryFolderAndInterface(t *testing.T) {
	ns := gatewayNS(t)
	s := said{}.in(t, ns, program(t.Context(), "selftest", "--config", settings(t, same)))
	for _, want := range []string{"ok    raw packets", "ok    nftables", "ok    interfaces", "ok    storage.state", "ok    storage.evidence"} {
		if !strings.Contains(s.out, want) {
			t.Errorf("%q is missing in\n%s", want, s.out)
		}
	}
	bad := settings(t, func(s string) string { return strings.Replace(s, "wan0", "ppp0", 1) })
	s = said{}.in(t, ns, program(t.Context(), "selftest", "--config", bad))
	s.refuses(t, 1, "checks failed")
	if !strings.Contains(s.out, `FAIL  interfaces: network.wan: there is no interface "ppp0"`) {
		t.Errorf("it says\n%s", s.out)
	}
	// Run starts without a port or the uplink: only here a name that is misspelt is seen.
	bad = settings(t, func(s string) string { return strings.Replace(s, `"lan1"`, `"lan9"`, 1) })
	s = said{}.in(t, ns, program(t.Context(), "selftest", "--config", bad))
	s.refuses(t, 1, "checks failed")
	if !strings.Contains(s.out, `FAIL  interfaces: network.ports[0]: there is no interface "lan9"; 'ip link' lists`) {
		t.Errorf("it says\n%s", s.out)
	}
}
