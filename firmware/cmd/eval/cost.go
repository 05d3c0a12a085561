package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"sekisho/firmware/eval"
)

// measured runs a program to its end and says what it used.
func measured(cmd *exec.Cmd) (cpu float64, peak int64, err error) {
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return 0, 0, err
	}
	use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return cpu, use.Maxrss << 10, err // getrusage(2): kilobytes
}

// least is the least of three measurements: whatever else the machine does can
// only add to it, through its caches.
func least(measure func() (float64, error)) (float64, error) {
	best := 0.0
	for range 3 {
		cpu, err := measure()
		if err != nil {
			return 0, err
		}
		if best == 0 || cpu < best {
			best = cpu
		}
	}
	return best, nil
}

// malformed reads the whole malformed set in a process of its own.
func (o options) malformed(all []eval.Capture) (peak int64, crashed bool) {
	args := []string{childMalformed}
	for _, c := range all {
		if c.Malformed() {
			args = append(args, filepath.Join(o.corpus, c.File))
		}
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	_, peak, err := measured(cmd)
	return peak, err != nil
}

// speed measures on one large capture, and Suricata on the same file.
func (o options) speed(all []eval.Capture, cost *eval.Cost, unknown *[]string) error {
	dir, err := os.MkdirTemp("", "sekisho-eval-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "office.pcap")
	packets, err := o.concatenate(file, all)
	if err != nil {
		return fmt.Errorf("make a large capture: %w", err)
	}
	cpu, err := least(func() (float64, error) {
		cmd := exec.Command("/proc/self/exe", childSpeed, file)
		cmd.Stderr = os.Stderr
		cpu, _, err := measured(cmd)
		return cpu, err
	})
	if err != nil {
		return fmt.Errorf("measure speed: %w", err)
	}
	cost.MeasuredPackets, cost.PacketsPerCPU = packets, float64(packets)/cpu
	s, err := findSuricata(o.suricata)
	if err != nil {
		*unknown = append(*unknown, "the ratio to Suricata: "+err.Error())
		return nil
	}
	if cpu, err = least(func() (float64, error) { return s.read(dir, file) }); err != nil {
		return fmt.Errorf("measure Suricata: %w", err)
	}
	cost.SuricataVersion, cost.SuricataPerCPU = s.version, float64(packets)/cpu
	cost.TimesSuricata = cost.PacketsPerCPU / cost.SuricataPerCPU
	return nil
}

// suricata is an installed one, or one in a tree of its own.
type suricata struct {
	root    string
	version string
}

func findSuricata(root string) (suricata, error) {
	s := suricata{root: root}
	if _, err := exec.LookPath("suricata"); root == "" && err != nil {
		return s, errors.New("suricata is not installed, and --suricata-root names no tree with it")
	}
	out, err := s.command("-V").CombinedOutput()
	if err != nil {
		return s, fmt.Errorf("suricata -V: %w: %s", err, out)
	}
	_, after, _ := strings.Cut(string(out), "version ")
	s.version = "Suricata " + strings.Fields(after + " unknown")[0]
	return s, nil
}

func (s suricata) command(args ...string) *exec.Cmd {
	if s.root != "" {
		return exec.Command("chroot", append([]string{s.root, "suricata"}, args...)...)
	}
	return exec.Command("suricata", args...)
}

// rules are a small set of our own: what the gateway looks for, as far as a
// signature can say it.
const rules = `alert tcp any any -> any 445 (msg:"SMB admin share"; flow:to_server,established; content:"|5c 00|A|00|D|00|M|00|I|00|N|00 24 00|"; sid:1000001; rev:1;)
alert tcp any any -> any 445 (msg:"SMB1 negotiation"; flow:to_server,established; content:"|ff|SMB|72|"; offset:4; depth:5; sid:1000002; rev:1;)
alert tcp any any -> any any (msg:"connections to many"; flags:S; threshold:type both, track by_src, count 50, seconds 10; sid:1000003; rev:1;)
alert tcp any any -> any 22 (msg:"many log-ins"; flags:S; threshold:type both, track by_src, count 10, seconds 60; sid:1000004; rev:1;)
alert dns any any -> any any (msg:"long name"; dns.query; bsize:>100; sid:1000005; rev:1;)
alert http any any -> any any (msg:"program fetched"; flow:established,to_client; file_data; content:"MZ"; depth:2; sid:1000006; rev:1;)
alert http any any -> any any (msg:"HTTP by address"; flow:to_server,established; http.host; pcre:"/^\d+\.\d+\.\d+\.\d+$/"; sid:1000007; rev:1;)
alert tls any any -> any !443 (msg:"TLS on an odd port"; flow:to_server,established; sid:1000008; rev:1;)
alert icmp any any -> any any (msg:"large ping"; itype:8; dsize:>800; sid:1000009; rev:1;)
alert tcp any any -> any 23 (msg:"Telnet"; flags:S; threshold:type both, track by_src, count 5, seconds 60; sid:1000010; rev:1;)
`

// read runs it over the file with EVE output on, as it is set up by Debian,
// and one thread, so that both are measured alike.
func (s suricata) read(dir, file string) (cpu float64, err error) {
	inside := dir
	if s.root != "" {
		inside = "/tmp/" + filepath.Base(dir)
		at := s.root + inside
		if err := os.MkdirAll(at, 0o755); err != nil {
			return 0, err
		}
		defer os.RemoveAll(at)
		if err := os.Link(file, filepath.Join(at, filepath.Base(file))); err != nil {
			text, readErr := os.ReadFile(file) // another file system
			if readErr != nil {
				return 0, errors.Join(err, readErr)
			}
			if err := os.WriteFile(filepath.Join(at, filepath.Base(file)), text, 0o600); err != nil {
				return 0, err
			}
		}
		dir = at
	}
	if err := os.WriteFile(filepath.Join(dir, "small.rules"), []byte(rules), 0o644); err != nil {
		return 0, err
	}
	cmd := s.command("-r", filepath.Join(inside, filepath.Base(file)), "-S", filepath.Join(inside, "small.rules"),
		"-l", inside, "--runmode", "single", "-k", "none")
	cpu, _, err = measured(cmd)
	if err != nil {
		return 0, err
	}
	eve, err := os.Stat(filepath.Join(dir, "eve.json"))
	if err != nil || eve.Size() == 0 {
		return 0, fmt.Errorf("it wrote no EVE output: %w", err)
	}
	return cpu, nil
}
