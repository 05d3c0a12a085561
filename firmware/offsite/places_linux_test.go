package offsite

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// place is a real target with a view from behind it.
type place struct {
	kind     Kind
	target   func() Target                  // a new one, as after a restart
	read     func(name string) []byte       // nil: not there
	plant    func(name string, data []byte) // as somebody else would put it there
	versions func(name string) int          // how many stand under the name
	env      func() map[string]string       // what a process of its own needs to make the target
	clear    func()                         // an empty place again
}

// places is every kind of target, on real servers and file systems.
func places(t *testing.T) map[string]place {
	stick := plugIn(t, "tmpfs", 64<<20)
	return map[string]place{"usb": stick.place(), "s3": startS3(t).place(t), "sftp": startSSHD(t).place(t)}
}

// stick is a medium in the folder where sticks appear.
type stick struct {
	t      *testing.T
	folder string // holds all media
	point  string // where this one is mounted
	image  string
	loop   string
}

// plugIn mounts a new medium: tmpfs, or ext4 on a loop device.
func plugIn(t *testing.T, kind string, size int64) *stick {
	t.Helper()
	s := &stick{t: t, folder: filepath.Join(t.TempDir(), "media")}
	s.point = filepath.Join(s.folder, "STICK A")
	if err := os.MkdirAll(s.point, 0o755); err != nil {
		t.Fatal(err)
	}
	if kind == "tmpfs" {
		must(t, unix.Mount("none", s.point, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, fmt.Sprintf("size=%d", size)))
		t.Cleanup(s.pull)
		return s
	}
	s.image = filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(s.image, nil, 0o600))
	must(t, os.Truncate(s.image, size))
	run(t, "mkfs."+kind, "-q", s.image)
	s.insert(0)
	return s
}

// insert mounts the image, as after the stick was pulled out.
func (s *stick) insert(flags uintptr) {
	s.t.Helper()
	s.loop = strings.TrimSpace(run(s.t, "losetup", "--find", "--show", s.image))
	err := unix.Mount(s.loop, s.point, "ext4", flags, "")
	run(s.t, "losetup", "--detach", s.loop) // now, while it is surely ours: it goes when the mount goes
	must(s.t, err)
	s.t.Cleanup(s.pull)
}

func (s *stick) pull() {
	for unix.Unmount(s.point, unix.MNT_DETACH) == nil {
	}
}

// yank lets the device fail under the mounted file system: every read and write
// from now on is an error, and what was not synced is lost.
func (s *stick) yank() {
	s.t.Helper()
	const shutdown, noFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, fs/ext4/ext4.h
	f, err := os.Open(s.point)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	var here, loop unix.Stat_t
	must(s.t, unix.Fstat(int(f.Fd()), &here))
	must(s.t, unix.Stat(s.loop, &loop))
	if here.Dev != loop.Rdev {
		s.t.Fatal("what is mounted here is not the stick") // the disk of this machine would be shut down
	}
	must(s.t, unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noFlush))
}

func (s *stick) config() USBConfig { return USBConfig{Folder: s.folder, Own: []string{"/"}} }

func (s *stick) target() Target {
	u, err := NewUSB(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

func (s *stick) place() place {
	path := func(name string) string { return filepath.Join(s.point, usbFolder, name) }
	read := func(name string) []byte { data, _ := os.ReadFile(path(name)); return data }
	return place{kind: KindUSB, target: s.target, read: read,
		plant: func(name string, data []byte) {
			must(s.t, os.MkdirAll(filepath.Dir(path(name)), 0o755))
			must(s.t, os.WriteFile(path(name), data, 0o644))
		},
		versions: func(name string) int { return min(1, len(read(name))) },
		env:      func() map[string]string { return map[string]string{"folder": s.folder} },
		clear:    func() { must(s.t, os.RemoveAll(filepath.Dir(path("x")))) }}
}

// s3Server is versitygw on a folder, with versions and object lock.
type s3Server struct {
	c      S3Config
	client *minio.Client
}

const (
	versityGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
	s3Key     = "AKTEST"
	s3Secret  = "a secret of the tests only"
	lockedIn  = "evidence" // a bucket with object lock
	openIn    = "plain"    // one without
)

// buildS3 builds the server once, beside the module: it is no dependency of it.
func buildS3() (string, error) {
	dir, err := filepath.Abs("../../.cache/versitygw-v1.8.0")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	build := exec.Command("go", "install", versityGW)
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the S3 server for the tests: %w\n%s", err, out)
	}
	return binary, nil
}

func startS3(t *testing.T, more ...string) *s3Server {
	t.Helper()
	dir := t.TempDir()
	data, versions, secret := filepath.Join(dir, "data"), filepath.Join(dir, "versions"), filepath.Join(dir, "secret")
	must(t, os.Mkdir(data, 0o755))
	must(t, os.Mkdir(versions, 0o755))
	must(t, os.WriteFile(secret, []byte("[default]\naws_access_key_id = "+s3Key+"\naws_secret_access_key = "+s3Secret+"\n"), 0o600))
	address := freeAddress()
	binary, err := buildS3()
	must(t, err)
	args := append([]string{"--port", address, "--access", s3Key, "--secret", s3Secret, "--quiet"}, more...)
	start(t, binary, append(args, "posix", "--versioning-dir", versions, data)...)
	awaitPort(t, address)
	c := S3Config{Endpoint: "http://" + address, Region: "us-east-1", Bucket: lockedIn, Prefix: "office-a", Credentials: secret, Days: 30, Line: NewLine(0)}
	if len(more) > 0 { // --cert FILE
		c.Endpoint, c.CAFile = "https://"+address, more[1]
	}
	transport, err := s3Transport(c)
	must(t, err)
	client, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(s3Key, s3Secret, ""), Region: "us-east-1",
		Secure: len(more) > 0, Transport: transport})
	must(t, err)
	must(t, client.MakeBucket(t.Context(), lockedIn, minio.MakeBucketOptions{ObjectLocking: true}))
	must(t, client.MakeBucket(t.Context(), openIn, minio.MakeBucketOptions{}))
	return &s3Server{client: client, c: c}
}

// smallS3 uploads in parts as small as S3 allows them.
func smallS3(c S3Config) (*S3, error) {
	s, err := NewS3(c)
	if err == nil {
		s.one, s.part = 5<<20, 5<<20
	}
	return s, err
}

func (s *s3Server) key(name string) string { return s.c.Prefix + "/" + name }

func (s *s3Server) versions(t *testing.T, name string) (found []minio.ObjectInfo) {
	t.Helper()
	for o := range s.client.ListObjects(context.Background(), lockedIn, minio.ListObjectsOptions{Prefix: s.key(name), WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if o.Key == s.key(name) {
			found = append(found, o)
		}
	}
	return found
}

func (s *s3Server) place(t *testing.T) place {
	return place{kind: KindS3,
		target: func() Target {
			target, err := smallS3(s.c)
			if err != nil {
				t.Fatal(err)
			}
			return target
		},
		read: func(name string) []byte {
			o, err := s.client.GetObject(context.Background(), lockedIn, s.key(name), minio.GetObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			return readAllOrNil(o)
		},
		plant: func(name string, data []byte) {
			_, err := s.client.PutObject(t.Context(), lockedIn, s.key(name), strings.NewReader(string(data)), int64(len(data)), minio.PutObjectOptions{})
			must(t, err)
		},
		versions: func(name string) int { return len(s.versions(t, name)) },
		env: func() map[string]string {
			return map[string]string{"endpoint": s.c.Endpoint, "secret": s.c.Credentials, "prefix": s.c.Prefix}
		},
		// What is locked stays: the next round gets a folder of its own.
		clear: func() { s.c.Prefix += "x" }}
}

// sshServer is OpenSSH's sshd as this user.
type sshServer struct{ c SFTPConfig }

func startSSHD(t *testing.T) *sshServer {
	t.Helper()
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Fatal("OpenSSH's server is needed: apt-get install openssh-server openssh-sftp-server")
	}
	must(t, os.MkdirAll("/run/sshd", 0o755)) // where sshd empties itself; its unit makes it otherwise
	dir := t.TempDir()
	hostFile, authorized, conf := filepath.Join(dir, "host"), filepath.Join(dir, "authorized"), filepath.Join(dir, "conf")
	public := writeHostKey(t, hostFile)
	address := freeAddress()
	s := &sshServer{c: SFTPConfig{Address: address, User: "root", Folder: filepath.Join(dir, "evidence"),
		HostKey: "[127.0.0.1]:22 " + public, KeyFile: filepath.Join(dir, "our.key"), Line: NewLine(0)}}
	target, err := NewSFTP(s.c)
	if err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile(authorized, []byte(target.PublicKey()+"\n"), 0o600))
	must(t, os.WriteFile(conf, []byte("ListenAddress "+address+"\nHostKey "+hostFile+"\nAuthorizedKeysFile "+authorized+
		"\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"+
		"MaxStartups 100\nSubsystem sftp internal-sftp\n"), 0o600))
	start(t, sshd, "-D", "-e", "-f", conf)
	awaitPort(t, address)
	return s
}

func writeHostKey(t *testing.T, file string) (public string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
}

func (s *sshServer) place(t *testing.T) place {
	path := func(name string) string { return filepath.Join(s.c.Folder, name) }
	read := func(name string) []byte { data, _ := os.ReadFile(path(name)); return data }
	return place{kind: KindSFTP, read: read,
		target: func() Target {
			target, err := NewSFTP(s.c)
			must(t, err)
			return target
		},
		plant: func(name string, data []byte) {
			must(t, os.MkdirAll(s.c.Folder, 0o755))
			must(t, os.WriteFile(path(name), data, 0o644))
		},
		versions: func(name string) int { return min(1, len(read(name))) },
		env: func() map[string]string {
			return map[string]string{"address": s.c.Address, "dir": s.c.Folder, "host": s.c.HostKey, "key": s.c.KeyFile}
		},
		clear: func() { must(t, os.RemoveAll(s.c.Folder)) }}
}

// ports counts from below those that the kernel hands out; the network
// namespace is ours, so that nobody else takes one.
var ports atomic.Int32

func freeAddress() string { return fmt.Sprintf("127.0.0.1:%d", 10_000+ports.Add(1)) }

// start runs a server until the test ends.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second // its children may hold the pipe for longer
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %.4000s", name, out.String())
		}
	})
}

// awaitPort returns when the server takes connections.
func awaitPort(t *testing.T, address string) {
	t.Helper()
	limit := time.Now().Add(30 * time.Second)
	for time.Now().Before(limit) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(20 * time.Millisecond) // a process of its own tells us nothing else
	}
	t.Fatalf("nothing listens on %s", address)
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}
