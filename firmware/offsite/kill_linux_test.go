package offsite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const killPlan = "SEKISHO_TEST_KILL_PLAN"

// plan is what the process that will be killed works on.
type plan struct {
	Kind  Kind
	Where map[string]string // the target, see place.env
	State string
	Size  int    // bytes of the bundle
	Step  string // where it kills itself
}

const killedBundle = "inc-1"

// killSteps are the moments; "read" is when so many percent were handed out.
var killSteps = []string{
	"read 0", "read 1", "read 95", "read 100",
	"before put inc-1.tar", "after put inc-1.tar", "before put inc-1.sha256", "after put inc-1.sha256",
	"ledger", "before put checkpoint-8", "after put checkpoint-8",
}

// workUntilKilled copies one bundle and dies at the step of its plan.
func workUntilKilled() {
	var p plan
	if err := json.Unmarshal([]byte(os.Getenv(killPlan)), &p); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	reached := func(step string) {
		if step == p.Step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
	target, err := p.target()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	b := newBox(map[string]int{killedBundle: p.Size})
	b.readers = func(r io.ReadSeekCloser) io.ReadSeekCloser { return dyingReader{r, reached, p, new(int)} }
	m, err := New(Config{Dir: p.State, Bundles: b, Checkpoint: b.checkpoint, Copied: func(string, string, Copy) { reached("ledger") },
		Targets: []Named{{Name: "one", Kind: p.Kind, Target: dyingTarget{target, reached}}}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for m.workers[0].turn(context.Background()) == 0 {
	}
	fmt.Printf("was not killed: %+v\n", m.Status())
	os.Exit(1)
}

func (p plan) target() (Target, error) {
	switch p.Kind {
	case KindUSB:
		return NewUSB(USBConfig{Folder: p.Where["folder"], Own: []string{"/"}})
	case KindS3:
		return smallS3(S3Config{Endpoint: p.Where["endpoint"], Region: "us-east-1", Bucket: lockedIn, Prefix: p.Where["prefix"],
			Credentials: p.Where["secret"], Days: 30, Line: NewLine(0)})
	default:
		return NewSFTP(SFTPConfig{Address: p.Where["address"], User: "root", Folder: p.Where["dir"],
			HostKey: p.Where["host"], KeyFile: p.Where["key"], Line: NewLine(0)})
	}
}

type dyingTarget struct {
	Target
	reached func(string)
}

func (d dyingTarget) Put(ctx context.Context, o Object) (Copy, error) {
	d.reached("before put " + o.Name)
	c, err := d.Target.Put(ctx, o)
	if err == nil {
		d.reached("after put " + o.Name)
	}
	return c, err
}

// dyingReader hands out bytes up to the step of the plan, and then dies.
type dyingReader struct {
	io.ReadSeekCloser
	reached func(string)
	plan    plan
	done    *int
}

func (d dyingReader) Read(p []byte) (int, error) {
	var percent int
	if n, _ := fmt.Sscanf(d.plan.Step, "read %d", &percent); n == 1 {
		left := d.plan.Size*percent/100 - *d.done
		if left == 0 {
			d.reached(d.plan.Step)
		}
		p = p[:min(len(p), left)]
	}
	n, err := d.ReadSeekCloser.Read(p)
	*d.done += n
	if *d.done == d.plan.Size {
		d.reached("read 100")
	}
	return n, err
}

func TestAKillAtAnyStepLosesNothingAndCopiesNothingTwice(t *testing.T) {
	server := startS3(t)
	for name, p := range map[string]place{"usb": plugIn(t, "tmpfs", 256<<20).place(), "sftp": startSSHD(t).place(t), "s3": server.place(t)} {
		t.Run(name, func(t *testing.T) {
			size := 1 << 20
			if p.kind == KindS3 {
				size = 6 << 20 // two parts
			}
			for _, step := range killSteps {
				p.clear()
				killed := plan{Kind: p.kind, Where: p.env(), State: t.TempDir(), Size: size, Step: step}
				killAt(t, killed)
				if whole := p.read(killedBundle + ".tar"); len(whole) != 0 && !bytes.Equal(whole, contents(killedBundle, size)) {
					t.Errorf("%s: half a file has the name", step)
				}
				checkAfterKill(t, p, killed)
			}
			if p.kind == KindS3 {
				for left := range server.client.ListIncompleteUploads(t.Context(), lockedIn, "", true) {
					t.Errorf("parts are left: %+v", left)
				}
			}
		})
	}
}

func killAt(t *testing.T, p plan) {
	t.Helper()
	text, err := json.Marshal(p)
	must(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), killPlan+"="+string(text))
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); err == nil || !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%s: %v %s", p.Step, err, out)
	}
}

func checkAfterKill(t *testing.T, p place, killed plan) {
	t.Helper()
	b := newBox(map[string]int{killedBundle: killed.Size})
	m := mustMover(t, Config{Dir: killed.State, Bundles: b, Checkpoint: b.checkpoint, Targets: []Named{{Name: "one", Kind: p.kind, Target: p.target()}}})
	s := drain(t, m)
	if s.State != Idle || s.Copied != 1 || s.Problem != nil {
		t.Fatalf("%s: %+v %+v", killed.Step, s, s.Problem)
	}
	want := map[string][]byte{killedBundle + ".tar": contents(killedBundle, killed.Size),
		killedBundle + ".sha256": []byte(s.Last.SHA256 + "  " + killedBundle + ".tar\n"), "checkpoint-8": []byte("sekisho-test\n8\n")}
	for name, data := range want {
		if !bytes.Equal(p.read(name), data) || p.versions(name) != 1 {
			t.Errorf("%s: %s stands there %d times, %d bytes", killed.Step, name, p.versions(name), len(p.read(name)))
		}
	}
}
