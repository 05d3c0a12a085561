package lab

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain runs all tests inside: as root directly, otherwise in a user
// namespace. Where the kernel refuses, the tests fail.
func TestMain(m *testing.M) {
	if done, code := Init(); done {
		os.Exit(code)
	}
	if os.Getenv(victimMode) != "" {
		os.Exit(victim())
	}
	if Inside() {
		os.Exit(m.Run())
	}
	code, err := Supervise(context.Background(), Child{Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func open(t *testing.T) (context.Context, *Office) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	o, err := Start(ctx, Config{Dir: shortDir(t), Seed: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := o.Join(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx, o
}

// shortDir is a folder of the lab's own; smbd, another account, must reach it.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp(Dir, "office")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEveryMachineWorks(t *testing.T) {
	ctx, o := open(t)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := o.Check(ctx); err != nil {
		t.Fatal(err)
	}
	for _, h := range o.Hosts {
		l := h.Lease()
		if !o.LAN.Contains(l.Addr.Addr()) || l.Router != gatewayLAN || l.DNS != gatewayLAN {
			t.Errorf("%s has lease %+v", h.Name, l)
		}
		ip, err := o.Hosts[0].Resolve(ctx, h.Name+"."+domain)
		if err != nil || ip != l.Addr.Addr() {
			t.Errorf("the name of %s leads to %v, %v; want %v", h.Name, ip, err, l.Addr.Addr())
		}
	}
}

// cut is a stand-in for containment: the bridge drops what the attacker sends.
func cut(ctx context.Context, t *testing.T, o *Office) time.Time {
	t.Helper()
	rules := fmt.Sprintf("table bridge cut { chain c { type filter hook prerouting priority -300; ether saddr %s drop; }; }", o.Attacker().MAC)
	nft := o.Gateway.Command(ctx, "nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return time.Now()
}

func until(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if retry(ctx, 10*time.Millisecond, func() error {
		if ok() {
			return nil
		}
		return os.ErrNotExist
	}) != nil {
		t.Fatalf("never happened: %s", what)
	}
}

func TestEveryScenarioIsSeenToReachOthersAndToBeCut(t *testing.T) {
	ctx, o := open(t)
	for _, name := range []string{"worm", "scan", "arp-spoof", "rogue-dhcp", "udp-scan", "flood", "ettercap", "dns-tunnel", "exfiltration", "ransomware"} {
		t.Run(name, func(t *testing.T) {
			s, err := FindScenario(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Prepare(ctx, o); err != nil {
				t.Fatal(err)
			}
			m, err := o.Measure(s)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			attackCtx, stop := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() { ended <- s.Attack(attackCtx, o) }()
			until(ctx, t, "the first attack frame", func() bool { return !m.First().IsZero() })
			until(ctx, t, "another machine is reached", func() bool {
				select {
				case err := <-ended:
					t.Fatalf("the attack ended: %v", err)
				default:
				}
				if s.works != nil { // through a server of the gateway
					return s.works(ctx, o) == nil
				}
				if n, err := s.Lost(o); s.lost != nil && (err != nil || n == 0) {
					return false
				}
				return m.Reached(time.Now()) > 0
			})
			after := cut(ctx, t, o)
			if err := s.Stopped(ctx, o); err != nil {
				t.Error(err)
			}
			if lost, err := s.Lost(o); err != nil || lost > shareFiles || (lost > 0) != (s.MaxLost > 0) {
				t.Errorf("%d files are lost, %v", lost, err)
			}
			if s.Name == "rogue-dhcp" { // what the rogue gave is given back
				if err := o.Host(VictimName).Renew(ctx); err != nil {
					t.Error(err)
				}
			}
			heal, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if err := o.Check(heal, o.Attacker()); err != nil {
				t.Errorf("the others do not work: %v", err)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if leaked, err := m.After(after); err != nil || len(leaked) > 0 {
				t.Errorf("leaked %v, %v", leaked, err)
			}
			if out, err := o.Gateway.Command(ctx, "nft", "delete", "table", "bridge", "cut").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			before := time.Now()
			if err := o.Attacker().Renew(ctx); err != nil {
				t.Error(err)
			}
			conn, err := o.Attacker().Dial(ctx, "tcp", addrPort(dropServer, 443))
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if leaked, _ := m.After(before); len(leaked) == 0 {
				t.Error("the meter does not see the attacker after the cut was taken back")
			}
		})
	}
}

func TestConfinedTellsAFreeMachineFromAHeldOne(t *testing.T) {
	ctx, o := open(t)
	err := o.Confined(ctx, o.Attacker())
	if err == nil || strings.Count(err.Error(), "still reaches") != 5 {
		t.Errorf("a free machine: %v", err)
	}
}

func TestAServerThatSignalsItsProcessGroupReachesNobodyElse(t *testing.T) {
	s, err := startService("signaller", exec.Command("sh", "-c", "kill -TERM 0; sleep 60"))
	if err != nil {
		t.Fatal(err)
	}
	<-s.done // ended by its own signal; in a shared group that would be this test too
	if s.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended by itself: %s", s.cmd.ProcessState)
	}
}

func TestHeldPortsStayDown(t *testing.T) {
	ctx := t.Context()
	o, err := Start(ctx, Config{Dir: shortDir(t), HoldPorts: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	out, err := o.Gateway.Command(ctx, "ip", "-br", "link", "show", "up").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "lan") || !strings.Contains(string(out), "br0") {
		t.Errorf("up are:\n%s", out)
	}
}

func TestAMissingToolNamesItsPackage(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	if _, err := exec.LookPath("nmap"); err == nil {
		t.Fatal("PATH is not empty")
	}
	packages["no-such-tool"] = "no-such-package"
	defer delete(packages, "no-such-tool")
	err := Tools("no-such-tool")
	if err == nil || !strings.Contains(err.Error(), "apt-get install no-such-package") {
		t.Errorf("Tools = %v", err)
	}
}
