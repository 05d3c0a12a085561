package wifi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/netcontain"
	"sekisho/netcontain/netcontaintest"
)

var quiet = slog.New(slog.DiscardHandler)

// rig is two access points whose hostapd a test can stop.
type rig struct {
	Config
	t     testing.TB
	stop  func() // as a crash does: the sockets stay
	start func()
}

// real runs Debian's hostapd without a radio (driver=none): all that is about
// lists, nothing that is about the air; for that see TestRadioInTheTwin.
func realHostapd(t testing.TB, settings string) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, Config: Config{Folder: filepath.Join(dir, "run"), Interfaces: []string{"wlan0", "wlan1"}, Log: quiet}}
	var files []string
	for _, name := range r.Interfaces {
		file := filepath.Join(dir, name+".conf")
		text := "interface=" + name + "\ndriver=none\nssid=x\nctrl_interface=" + r.Folder + "\n" + settings
		must(t, os.WriteFile(file, []byte(text), 0o600))
		files = append(files, file)
	}
	var cmd *exec.Cmd
	r.start = func() {
		t.Helper()
		cmd = exec.Command("hostapd", files...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatalf("start hostapd (Debian package hostapd): %v", err)
		}
		until(t, "hostapd answers", func() bool { return r.ask("wlan0", "PING") == "PONG\n" && r.ask("wlan1", "PING") == "PONG\n" })
	}
	r.stop = func() {
		if cmd != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			cmd = nil
		}
	}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) ask(ap, command string) string {
	c, err := dial(context.Background(), filepath.Join(r.Folder, ap))
	if err != nil {
		return err.Error()
	}
	defer c.close()
	answer, _ := c.ask(command)
	return answer
}

// lists is both lists of both access points, as hostapd shows them.
func (r *rig) lists() string {
	var out strings.Builder
	for _, ap := range r.Interfaces {
		for _, which := range []string{"DENY_ACL", "ACCEPT_ACL"} {
			fmt.Fprintf(&out, "%s %s\n%s", ap, which, r.ask(ap, which+" SHOW"))
		}
	}
	return out.String()
}

func (r *rig) enforcer() *Enforcer {
	r.t.Helper()
	e, err := New(r.Config)
	must(r.t, err)
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	const patience = 90 * time.Second // for an emulated machine
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %v: %s", patience, what)
}

func mac(i int) netcontain.MAC { return netcontain.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)} }

func host(id string, macs ...netcontain.MAC) netcontain.Host {
	return netcontain.Host{ID: id, MACs: macs, Level: netcontain.Isolate, By: []netcontain.Mechanism{netcontain.ByWiFi}}
}

func policy(hosts ...netcontain.Host) netcontain.Policy { return netcontain.Policy{Hosts: hosts} }

func wantHeld(t *testing.T, e *Enforcer, p netcontain.Policy) {
	t.Helper()
	got, err := e.Observed(t.Context())
	if d := netcontain.Diff(p, got); err != nil || !d.Empty() {
		t.Errorf("drift %s, error %v", d, err)
	}
}

func apply(t *testing.T, e *Enforcer, p netcontain.Policy) {
	t.Helper()
	must(t, e.Apply(t.Context(), p))
}

// backends are the real hostapd, and the fake that the other tests trust.
func backends(t *testing.T, test func(*testing.T, *rig)) {
	t.Helper()
	owners := filepath.Join(t.TempDir(), "accept")
	must(t, os.WriteFile(owners, []byte("02:00:00:00:00:07 12\n02:00:00:00:00:08\n"), 0o600))
	banned := filepath.Join(t.TempDir(), "deny")
	must(t, os.WriteFile(banned, []byte("02:00:00:00:00:08 34\n02:00:00:00:00:09\n"), 0o600))
	settings := "accept_mac_file=" + owners + "\ndeny_mac_file=" + banned + "\n"
	t.Run("hostapd", func(t *testing.T) { test(t, realHostapd(t, settings)) })
	t.Run("fake", func(t *testing.T) {
		r, aps := fakeHostapds(t)
		for _, f := range aps {
			f.set(func(f *fake) {
				f.accept, f.deny = map[string]string{mac(7).String(): "12", mac(8).String(): "0"}, map[string]string{mac(8).String(): "34", mac(9).String(): "0"}
			})
		}
		test(t, r)
	})
}

func TestWhatIsHeldIsAsAskedAndReleaseLeavesTheOwnersLists(t *testing.T) {
	backends(t, func(t *testing.T, r *rig) {
		before := r.lists()
		if !strings.Contains(before, "02:00:00:00:00:07 VLAN_ID=12") || !strings.Contains(before, "02:00:00:00:00:08 VLAN_ID=34") {
			t.Fatalf("the owner's lists:\n%s", before)
		}
		e := r.enforcer()
		// mac(7) and mac(8) are on the accept list, which would win; mac(8) and mac(9) are denied by the owner.
		steps := []netcontain.Policy{
			policy(host("a", mac(1), mac(2)), host("b", mac(7))), policy(host("b", mac(7), mac(8), mac(9))),
			policy(host("c", mac(1))), policy(host("b", mac(9))), policy(), policy(host("a", mac(7), mac(8))), policy(),
		}
		for i, p := range steps {
			for _, turn := range []string{"once", "twice"} {
				apply(t, e, p)
				wantHeld(t, e, p)
				for _, ap := range r.Interfaces {
					deny, _ := parseList(r.ask(ap, "DENY_ACL SHOW"))
					accept, _ := parseList(r.ask(ap, "ACCEPT_ACL SHOW"))
					for m := range macsOf(p.Hosts) {
						if !deny.has(m) || accept.has(m) {
							t.Errorf("step %d, %s: %s gets in on %s", i, turn, m, ap)
						}
					}
				}
			}
		}
		if after := r.lists(); after != before {
			t.Errorf("after release\n%s\nbefore\n%s", after, before)
		}
	})
}

func TestItConformsAsALayer(t *testing.T) {
	backends(t, func(t *testing.T, r *rig) {
		netcontaintest.ConformLayer(t, netcontaintest.Layer{
			Enforcer: r.enforcer(), By: netcontain.ByWiFi, Hosts: []netcontain.Host{host("a", mac(1), mac(7)), host("b", mac(9))},
			Lose: func() { r.ask("wlan1", "DENY_ACL DEL_MAC "+mac(1).String()) },
		})
	})
}

func TestANewProgramReleasesWhatTheOneBeforeDenied(t *testing.T) {
	backends(t, func(t *testing.T, r *rig) {
		before := r.lists()
		apply(t, r.enforcer(), policy(host("a", mac(1), mac(7)), host("b", mac(8))))
		e := r.enforcer()
		got, err := e.Observed(t.Context())
		if err != nil || len(got.Hosts) != 3 || got.Hosts[0].By[0] != netcontain.ByWiFi {
			t.Fatalf("observed %+v, %v", got, err)
		}
		apply(t, e, policy(host("b", mac(8))))
		wantHeld(t, e, policy(host("b", mac(8))))
		apply(t, e, policy())
		if after := r.lists(); after != before {
			t.Errorf("after release\n%s\nbefore\n%s", after, before)
		}
	})
}

func TestARestartedHostapdIsMissingAndIsTold(t *testing.T) {
	r := realHostapd(t, "")
	e, p := r.enforcer(), policy(host("a", mac(1)))
	apply(t, e, p)
	r.stop()
	r.start()
	got, err := e.Observed(t.Context())
	if err != nil || len(got.Hosts) != 0 {
		t.Errorf("observed %+v, %v", got, err)
	}
	apply(t, e, p)
	wantHeld(t, e, p)
}

func TestHostapdStartsWithTheDenyFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "wlan0.deny")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "wlan1.deny"), nil, 0o600))
	owners := filepath.Join(t.TempDir(), "deny")
	must(t, os.WriteFile(owners, []byte("02:00:00:00:00:09\n"), 0o600))
	r := realHostapd(t, "deny_mac_file="+owners+"\ndeny_mac_file="+file+"\n")
	r.DenyFolder = dir
	before := r.lists()
	e, p := r.enforcer(), policy(host("a", mac(1), mac(2)), host("b", mac(9)))
	apply(t, e, p)
	held := r.lists()
	r.stop()
	r.start()
	if now := r.lists(); now != held {
		t.Errorf("after a restart\n%s\nbefore\n%s", now, held)
	}
	wantHeld(t, e, p)
	apply(t, r.enforcer(), policy())
	r.stop()
	r.start()
	if now := r.lists(); now != before {
		t.Errorf("after release and a restart\n%s\nbefore\n%s", now, before)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestADenyFileThatCannotBeWrittenKeepsNobodyFree(t *testing.T) {
	r, _ := fakeHostapds(t)
	r.DenyFolder = filepath.Join(t.TempDir(), "missing")
	e, p := r.enforcer(), policy(host("a", mac(1)))
	if err := e.Apply(t.Context(), p); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	wantHeld(t, e, p)
}

// The listing is cut off at 4096 bytes; 300 devices are more than that.
func TestMoreIsHeldThanHostapdCanList(t *testing.T) {
	backends(t, func(t *testing.T, r *rig) {
		r.Timeout = 20 * time.Second // a busy builder; see the scale test for the time
		before := r.lists()
		var p netcontain.Policy
		for i := range 300 {
			p.Hosts = append(p.Hosts, host(fmt.Sprint("host ", i), mac(1000+i)))
		}
		e := r.enforcer()
		apply(t, e, p)
		wantHeld(t, e, p)
		apply(t, e, p)
		fewer := policy(p.Hosts[10:]...)
		apply(t, e, fewer)
		wantHeld(t, e, fewer)
		apply(t, r.enforcer(), policy())
		if after := r.lists(); after != before {
			t.Errorf("after release\n%s\nbefore\n%s", after, before)
		}
	})
}

func TestWhatWasNotShownIsNotBelievedOfARestartedHostapd(t *testing.T) {
	var owners strings.Builder
	for i := range 200 {
		fmt.Fprintln(&owners, mac(i+1))
	}
	file := filepath.Join(t.TempDir(), "deny")
	must(t, os.WriteFile(file, []byte(owners.String()), 0o600))
	r := realHostapd(t, "deny_mac_file="+file+"\n")
	e, p := r.enforcer(), policy(host("a", mac(5000)))
	apply(t, e, p)
	wantHeld(t, e, p)
	r.stop()
	r.start()
	if got, err := e.Observed(t.Context()); err != nil || len(got.Hosts) != 0 {
		t.Errorf("observed %+v, %v", got, err)
	}
	apply(t, e, p)
	wantHeld(t, e, p)
}

func TestAnAcceptListTooLongToBeShownDoesNotLetTheDeviceIn(t *testing.T) {
	r, aps := fakeHostapds(t)
	for _, f := range aps {
		f.set(func(f *fake) {
			for i := range 200 {
				f.accept[mac(i+1).String()] = "0"
			}
		})
	}
	e, p := r.enforcer(), policy(host("a", mac(200)))
	apply(t, e, p)
	aps[0].set(func(f *fake) {
		if _, on := f.accept[mac(200).String()]; on {
			t.Error("still on the accept list, which beats the deny list")
		}
	})
	wantHeld(t, e, p)
}

func TestAnAssociatedStationIsTakenOffTheAirOnce(t *testing.T) {
	r, aps := fakeHostapds(t)
	aps[1].set(func(f *fake) { f.stations = []string{mac(1).String(), mac(5).String()} })
	e, p := r.enforcer(), policy(host("a", mac(1), mac(2)))
	apply(t, e, p)
	apply(t, e, p)
	aps[1].set(func(f *fake) {
		if !slices.Equal(f.stations, []string{mac(5).String()}) {
			t.Errorf("stations %v", f.stations)
		}
	})
	if n := aps[0].asked("DEAUTHENTICATE") + aps[1].asked("DEAUTHENTICATE"); n != 1 {
		t.Errorf("%d deauthentications", n)
	}
	aps[1].set(func(f *fake) { f.stations = append(f.stations, mac(2).String()) }) // a driver let it in all the same
	if got, err := e.Observed(t.Context()); err != nil || len(got.Hosts) != 0 {
		t.Errorf("observed %+v, %v", got, err)
	}
}

func TestAHungHostapdIsWaitedForOnceAndTheOtherHolds(t *testing.T) {
	r, aps := fakeHostapds(t)
	aps[0].set(func(f *fake) { f.hung = true })
	e, p := r.enforcer(), policy(host("a", mac(1)), host("b", mac(2)), host("c", mac(3)))
	err := e.Apply(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "access point wlan0: hostapd does not answer") {
		t.Errorf("error %v", err)
	}
	if n := aps[0].asked(""); n != 1 {
		t.Errorf("asked %d times, and waited for each", n)
	}
	for _, m := range []int{1, 2, 3} {
		if aps[1].deniedBy(mac(m)) != fmt.Sprint(int(ours)) {
			t.Errorf("%v is not denied by the other access point", mac(m))
		}
	}
	asked := aps[0].asked("")
	if err := e.Apply(t.Context(), p); err == nil {
		t.Error("no error from the second Apply")
	}
	if _, err := e.Observed(t.Context()); err == nil {
		t.Error("no error from Observed")
	}
	if aps[0].asked("") != asked {
		t.Error("a hung hostapd was asked again at once")
	}
	// With nobody to hold, it is nobody's trouble.
	if err := e.Apply(t.Context(), policy()); err == nil {
		t.Error("a release that could not be done was not told")
	}
	if err := e.Apply(t.Context(), policy()); err != nil {
		t.Error(err)
	}
	wantHeld(t, e, policy())
}

func TestACallerThatGivesUpDoesNotWaitForAHungHostapdNorCondemnIt(t *testing.T) {
	r, aps := fakeHostapds(t)
	aps[0].set(func(f *fake) { f.hung = true })
	e, p := r.enforcer(), policy(host("a", mac(1)))
	ctx, cancel := context.WithCancel(t.Context())
	looked := make(chan error)
	go func() {
		_, err := e.Observed(ctx)
		looked <- err
	}()
	until(t, "hostapd is asked", func() bool { return aps[0].asked("") > 0 })
	cancel()
	if err := <-looked; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	aps[0].set(func(f *fake) { f.hung = false }) // it was only slow
	apply(t, e, p)
	wantHeld(t, e, p)
}

func TestAnEndedContextChangesNothing(t *testing.T) {
	r, aps := fakeHostapds(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := r.enforcer()
	if err := e.Apply(ctx, policy(host("a", mac(1)))); err == nil {
		t.Error("applied")
	}
	if _, err := e.Observed(ctx); err == nil {
		t.Error("observed")
	}
	if aps[0].asked("") != 0 {
		t.Error("hostapd was asked")
	}
}

func TestWithoutHostapd(t *testing.T) {
	r, aps := fakeHostapds(t)
	for _, f := range aps {
		f.close()
	}
	for _, up := range []bool{false, true} {
		e, p := r.enforcer(), policy(host("a", mac(1)))
		for _, a := range e.aps {
			a.isUp = func(string) bool { return up }
		}
		err := e.Apply(t.Context(), p)
		got, obsErr := e.Observed(t.Context())
		if up && (err == nil || obsErr == nil) {
			t.Errorf("hostapd crashed and its stations may be there: %v, %v", err, obsErr)
		}
		if !up && (err != nil || obsErr != nil || !netcontain.Diff(p, got).Empty()) {
			t.Errorf("the access point is off, nobody can be there: %v, %v, %+v", err, obsErr, got)
		}
	}
}

func TestWhatAnAccessPointCannotHoldIsNamedAndTheOthersAreHeld(t *testing.T) {
	r, aps := fakeHostapds(t)
	limited, addressOnly := host("limited", mac(2)), host("address")
	limited.Level = netcontain.Limit
	addressOnly.Addrs = append(addressOnly.Addrs, someAddr)
	e := r.enforcer()
	err := e.Apply(t.Context(), policy(host("a", mac(1)), limited, addressOnly))
	if err == nil || !strings.Contains(err.Error(), `"limited"`) || !strings.Contains(err.Error(), `"address"`) {
		t.Errorf("error %v", err)
	}
	wantHeld(t, e, policy(host("a", mac(1))))
	if aps[0].deniedBy(mac(2)) != "" {
		t.Error("a device that is merely limited was denied")
	}
}

func TestHostapdThatTalksNonsenseIsAnError(t *testing.T) {
	for _, answer := range []string{"UNKNOWN COMMAND\n", "FAIL\n", "nonsense", "02:00:00:00:00:01 VLAN_ID=x\n", strings.Repeat("x", 8192), strings.Repeat("x", 60000)} {
		r, aps := fakeHostapds(t)
		e := r.enforcer()
		apply(t, e, policy(host("a", mac(1))))
		aps[0].set(func(f *fake) { f.answer = answer })
		if err := e.Apply(t.Context(), policy(host("a", mac(1)))); err == nil {
			t.Errorf("%.20q: applied", answer)
		}
		if _, err := e.Observed(t.Context()); err == nil {
			t.Errorf("%.20q: observed", answer)
		}
	}
}

func TestOneRefusedCommandDoesNotFreeTheOthers(t *testing.T) {
	r, aps := fakeHostapds(t)
	aps[0].set(func(f *fake) { f.refuse = mac(1).String() })
	e := r.enforcer()
	if err := e.Apply(t.Context(), policy(host("a", mac(1)), host("b", mac(2)))); err == nil || !strings.Contains(err.Error(), "FAIL") {
		t.Errorf("error %v", err)
	}
	wantHeld(t, e, policy(host("b", mac(2))))
}

func TestStationsAreListed(t *testing.T) {
	r, aps := fakeHostapds(t)
	aps[0].set(func(f *fake) { f.stations, f.key = []string{mac(1).String(), mac(2).String()}, "desk" })
	aps[1].set(func(f *fake) { f.stations = []string{mac(3).String()} })
	got, err := r.enforcer().Stations(t.Context())
	want := []Station{{"wlan0", mac(1), "desk"}, {"wlan0", mac(2), "desk"}, {AP: "wlan1", MAC: mac(3)}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	aps[0].set(func(f *fake) { f.endless = true })
	if got, err := r.enforcer().Stations(t.Context()); err != nil || len(got) > maxStations+1 {
		t.Errorf("%d stations, %v", len(got), err)
	}
}

// BenchmarkApply holds devices on two access points of the real hostapd; an op
// is one isolation more and its release, with the others held meanwhile.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var p netcontain.Policy
			for i := range n {
				p.Hosts = append(p.Hosts, host(fmt.Sprint(i), mac(10*i), mac(10*i+1)))
			}
			e := realHostapd(b, "").enforcer()
			for b.Loop() {
				must(b, e.Apply(b.Context(), p))
				must(b, e.Apply(b.Context(), policy(p.Hosts[1:]...)))
			}
		})
	}
}

func TestSettingsAreChecked(t *testing.T) {
	good := Config{Folder: "/run/hostapd", Interfaces: []string{"wlan0"}, Log: quiet}
	for name, change := range map[string]func(*Config){
		"no log": func(c *Config) { c.Log = nil }, "relative": func(c *Config) { c.Folder = "hostapd" },
		"none": func(c *Config) { c.Interfaces = nil }, "twice": func(c *Config) { c.Interfaces = []string{"a", "a"} },
		"path": func(c *Config) { c.Interfaces = []string{"../x"} }, "dots": func(c *Config) { c.Interfaces = []string{".."} },
		"deny folder": func(c *Config) { c.DenyFolder = "x" },
	} {
		bad := good
		change(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := NewWatcher(bad); err == nil {
			t.Errorf("%s: taken by the watcher", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

// fake is hostapd's side of a control socket, with the ways in which it can go
// wrong.
type fake struct {
	t    *testing.T
	path string
	conn *net.UnixConn

	mu           sync.Mutex
	deny, accept map[string]string // MAC -> VLAN_ID
	stations     []string
	key          string
	log          []string
	listeners    []net.Addr

	hung    bool
	endless bool   // STA-NEXT never ends
	answer  string // to everything
	refuse  string // a MAC
}

func fakeHostapds(t *testing.T) (*rig, []*fake) {
	t.Helper()
	r := &rig{t: t, Config: Config{Folder: t.TempDir(), Interfaces: []string{"wlan0", "wlan1"}, Log: quiet}}
	var out []*fake
	for _, name := range r.Interfaces {
		f := &fake{t: t, path: filepath.Join(r.Folder, name), deny: map[string]string{}, accept: map[string]string{}}
		f.open()
		t.Cleanup(f.close)
		out = append(out, f)
	}
	return r, out
}

func (f *fake) open() {
	f.t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: f.path, Net: "unixgram"})
	must(f.t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn, f.listeners = conn, nil
	go f.serve(conn)
}

func (f *fake) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.conn.Close()
	_ = os.Remove(f.path)
}

func (f *fake) serve(conn *net.UnixConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		f.mu.Lock()
		command := string(buf[:n])
		f.log = append(f.log, command)
		if !f.hung {
			answer := f.answer
			if answer == "" {
				answer = f.execute(command, from)
			}
			_, _ = conn.WriteTo([]byte(answer), from)
		}
		f.mu.Unlock()
	}
}

func (f *fake) execute(command string, from net.Addr) string {
	words := strings.Fields(command)
	switch words[0] {
	case "PING":
		return "PONG\n"
	case "ATTACH":
		f.listeners = append(f.listeners, from)
		return "OK\n"
	case "DENY_ACL":
		return f.executeList(f.deny, words)
	case "ACCEPT_ACL":
		return f.executeList(f.accept, words)
	case "DEAUTHENTICATE":
		f.stations = slices.DeleteFunc(f.stations, func(s string) bool { return s == words[1] })
		return "OK\n"
	case "STA-FIRST":
		return f.station(0)
	case "STA-NEXT":
		i := slices.Index(f.stations, words[1])
		if f.endless {
			i = (i+1)%len(f.stations) - 1
		}
		return f.station(i + 1)
	case "STA":
		i := slices.Index(f.stations, words[1])
		if i < 0 {
			return "FAIL\n"
		}
		return f.station(i)
	}
	return "UNKNOWN COMMAND\n"
}

func (f *fake) station(i int) string {
	if i >= len(f.stations) {
		return ""
	}
	out := f.stations[i] + "\nflags=[AUTH][ASSOC][AUTHORIZED]\naid=1\n"
	if f.key != "" {
		out += "keyid=" + f.key + "\n"
	}
	return out
}

func (f *fake) executeList(list map[string]string, words []string) string {
	switch {
	case words[1] == "SHOW":
		out := ""
		for _, m := range slices.Sorted(maps.Keys(list)) {
			line := m + " VLAN_ID=" + list[m] + "\n"
			if len(out)+len(line) >= replyBytes {
				break
			}
			out += line
		}
		return out
	case words[2] == f.refuse:
		return "FAIL\n"
	case words[1] == "ADD_MAC":
		if _, there := list[words[2]]; !there {
			list[words[2]] = "0"
			if len(words) > 3 {
				list[words[2]] = strings.TrimPrefix(words[3], "VLAN_ID=")
			}
		}
	case words[1] == "DEL_MAC":
		delete(list, words[2])
	}
	return "OK\n"
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// asked counts the commands that begin so.
func (f *fake) asked(prefix string) (n int) {
	f.set(func(f *fake) {
		for _, c := range f.log {
			if strings.HasPrefix(c, prefix) {
				n++
			}
		}
	})
	return n
}

func (f *fake) deniedBy(m netcontain.MAC) (vlan string) {
	f.set(func(f *fake) { vlan = f.deny[m.String()] })
	return vlan
}

// say sends an event to whoever attached.
func (f *fake) say(event string) {
	f.set(func(f *fake) {
		for _, l := range f.listeners {
			_, _ = f.conn.WriteTo([]byte(event), l)
		}
	})
}
