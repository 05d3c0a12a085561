package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/ledger"
)

var (
	victim = [6]byte{2, 0, 0, 0, 0, 7}
	other  = [6]byte{2, 0, 0, 0, 0, 8}
	base   = time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
)

// ipFrame is an Ethernet frame with an IPv4 header and size bytes after it.
func ipFrame(src, dst [6]byte, from, to string, size int) []byte {
	b := append(append(append([]byte{}, dst[:]...), src[:]...), 8, 0, 0x45)
	b = append(b, make([]byte, 11)...)
	a, z := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	b = append(append(b, a[:]...), z[:]...)
	return append(b, make([]byte, size)...)
}

func frameAt(i int, data []byte) *capture.Frame {
	return &capture.Frame{Time: base.Add(time.Duration(i) * time.Millisecond).UnixNano(), Data: data, OrigLen: len(data), Link: capture.LinkEthernet, Iface: 3}
}

func testVault(t testing.TB, dir string) *Vault {
	t.Helper()
	key, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	v, err := OpenVault(VaultConfig{Dir: filepath.Join(dir, "bundles"), Ledger: l, Now: func() time.Time { return base.Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = removeSealed(v.dir) })
	return v
}

// packetsOf writes n packets of the victim.
func packetsOf(n int) func(context.Context, io.Writer) (Extraction, error) {
	return func(_ context.Context, w io.Writer) (Extraction, error) {
		b := capture.AppendSHB(nil, capture.Section{App: "test"})
		b = capture.AppendIDB(b, capture.Interface{Name: "lan1", Link: capture.LinkEthernet})
		for i := range n {
			b = capture.AppendEPB(b, frameAt(i, ipFrame(victim, other, "192.0.2.7", "192.0.2.8", 6)), 0)
		}
		_, err := w.Write(b)
		return Extraction{Packets: uint64(n)}, err
	}
}

func testInput(id string) BundleInput {
	return BundleInput{ID: id, Incident: "INC-1", Packets: packetsOf(3),
		Findings: func(w io.Writer) error {
			_, err := io.WriteString(w, `{"detector":"worm","title":{"en":"Scans","ja":"走査しています"}}`+"\n")
			return err
		},
		Report: ReportFacts{Device: Text{EN: "<script>alert(1)</script>", JA: "機器"}}}
}

func sealed(t *testing.T) (*Vault, Bundle) {
	t.Helper()
	v := testVault(t, t.TempDir())
	b, err := v.Seal(t.Context(), testInput("B-1"))
	if err != nil {
		t.Fatal(err)
	}
	return v, b
}

func TestFlowsAreMadeFromTheVeryPacketsOfTheBundle(t *testing.T) {
	v, in, asked := testVault(t, t.TempDir()), testInput("B-1"), 0
	packets := in.Packets
	in.Packets = func(ctx context.Context, w io.Writer) (Extraction, error) {
		asked++
		return packets(ctx, w)
	}
	in.Flows = func(w io.Writer, r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	}
	b, err := v.Seal(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(b.Path, packetsFile))
	got, gotErr := os.ReadFile(filepath.Join(b.Path, "data/flows.jsonl"))
	if err != nil || gotErr != nil || len(want) == 0 || !bytes.Equal(got, want) || asked != 1 {
		t.Errorf("%d bytes of %d, extracted %d times; %v, %v", len(got), len(want), asked, err, gotErr)
	}
}

func TestAVaultOpensWithoutItsDiskAndSealsWhenItIsBack(t *testing.T) {
	mount := filepath.Join(t.TempDir(), "ssd")
	if err := os.WriteFile(mount, nil, 0o644); err != nil { // a file where the disk should be
		t.Fatal(err)
	}
	v, err := OpenVault(VaultConfig{Dir: filepath.Join(mount, "bundles"), Ledger: testVault(t, t.TempDir()).c.Ledger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = removeSealed(v.dir) })
	_, sealErr := v.Seal(t.Context(), testInput("B-1"))
	_, getErr := v.Get("B-1")
	_, listErr := v.List()
	for name, err := range map[string]error{"seal": sealErr, "get": getErr, "list": listErr} {
		if !errors.Is(err, ErrMissing) {
			t.Errorf("%s without the disk: %v", name, err)
		}
	}
	half := filepath.Join(mount, "bundles", unfinished+"OLD")
	for _, err := range []error{os.Remove(mount), os.MkdirAll(half, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Seal(t.Context(), testInput("B-1")); err != nil {
		t.Fatalf("the disk is back: %v", err)
	}
	if all, err := v.List(); err != nil || len(all) != 1 {
		t.Errorf("list %v, %v", all, err)
	}
	if _, err := v.Get("B-2"); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("one bundle that is not there: %v", err)
	}
	if _, err := os.Stat(half); err == nil {
		t.Error("what a crash left is still there")
	}
}

func TestNothingIsSealedOnAnotherMediumThanItsOwn(t *testing.T) {
	dir := t.TempDir()
	away := fmt.Errorf("check medium: %w", ErrNotMounted)
	v := testVault(t, dir)
	v.dir = filepath.Join(dir, "ssd", "bundles")
	v.c.Medium = func() error { return away }
	if _, err := v.Seal(t.Context(), testInput("B-1")); !errors.Is(err, ErrNotMounted) {
		t.Errorf("sealed: %v", err)
	}
	if _, err := os.Lstat(filepath.Dir(v.dir)); err == nil {
		t.Error("a folder was made on the system's own disk")
	}
	away = nil
	if _, err := v.Seal(t.Context(), testInput("B-1")); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

func TestASpanThatEndsBeforeItBeginsIsRefusedInsteadOfSealedEmpty(t *testing.T) {
	v := testVault(t, t.TempDir())
	in := testInput("B-1")
	in.Completeness.From, in.Completeness.To = base, base.Add(-time.Nanosecond)
	if _, err := v.Seal(t.Context(), in); !errors.Is(err, ErrSpan) || v.c.Ledger.Size() != 0 {
		t.Errorf("seal: %v, %d ledger entries", err, v.c.Ledger.Size())
	}
	s := mustSpool(t, t.TempDir(), smallSpool(), systemDisk{})
	feed(t, s, 0, 10)
	if err := s.Pin("A", base); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := s.Extract(t.Context(), "A", wanted, base, base.Add(-time.Nanosecond), &out, nil); !errors.Is(err, ErrSpan) || out.Len() != 0 {
		t.Errorf("extract: %v, %d bytes", err, out.Len())
	}
	in.Completeness.To = base
	if _, err := v.Seal(t.Context(), in); err != nil {
		t.Errorf("a span of one moment: %v", err)
	}
}

func TestASealedBundleVerifies(t *testing.T) {
	v, b := sealed(t)
	r, err := Verify(b.Path, VerifyOptions{Key: v.c.Ledger.Key().Fingerprint()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Packets != 3 || !r.Trusted || r.ID != "B-1" || !r.First.Equal(base) || !r.Last.Equal(base.Add(2*time.Millisecond)) || len(r.Files) != 12 {
		t.Errorf("report %+v", r)
	}
	if got, err := v.Get("B-1"); err != nil || got != b {
		t.Errorf("get %+v, %v; sealed %+v", got, err, b)
	}
	if _, err := v.Seal(t.Context(), testInput("B-1")); !errors.Is(err, ErrSealed) {
		t.Errorf("second seal: %v", err)
	}
	for _, m := range []string{manifestFile, tagManifestFile} {
		cmd := exec.Command("sha256sum", "--strict", "-c", m)
		cmd.Dir = b.Path
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("sha256sum -c %s: %v\n%s", m, err, out)
		}
	}
	page, _ := os.ReadFile(filepath.Join(b.Path, "data", "report.html"))
	if bytes.Contains(page, []byte("<script")) || !bytes.Contains(page, []byte("&lt;script&gt;")) {
		t.Error("the report does not escape names")
	}
	if info, _ := os.Stat(b.Path); info.Mode().Perm() != 0o555 {
		t.Errorf("bundle mode %v", info.Mode())
	}
}

func TestLostPacketsAreThoseOfTheBundlesOwnTime(t *testing.T) {
	v, in := testVault(t, t.TempDir()), testInput("B-1")
	in.Completeness.KernelDrops = 1000 // of another time
	write := in.Packets
	in.Packets = func(ctx context.Context, w io.Writer) (Extraction, error) {
		ex, err := write(ctx, w)
		ex.Gaps = []Gap{{Frames: 7, Where: GapKernel}, {Frames: 4, Where: GapSpool}, {Frames: 5, Where: GapSpool}}
		return ex, err
	}
	b, err := v.Seal(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(b.Path, "data", "completeness.json"))
	var c Completeness
	if err := errors.Join(err, json.Unmarshal(data, &c)); err != nil || c.KernelDrops != 7 || c.SpoolDrops != 9 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAnotherDevicesBundleIsNotTrusted(t *testing.T) {
	_, b := sealed(t)
	v2, _ := sealed(t)
	_, err := Verify(b.Path, VerifyOptions{Key: v2.c.Ledger.Key().Public()})
	if err == nil || !strings.Contains(err.Error(), signatureFile) {
		t.Errorf("verify with another key: %v", err)
	}
	if r, err := Verify(b.Path, VerifyOptions{}); err != nil || r.Trusted {
		t.Errorf("without a key: %+v, %v", r.Trusted, err)
	}
}

func TestAFailedSealOffersNothing(t *testing.T) {
	for _, at := range []string{"payload", "ledger", "signed", "verified"} {
		v := testVault(t, t.TempDir())
		v.step = func(s string) error {
			if s == at {
				return errors.New("power")
			}
			return nil
		}
		if _, err := v.Seal(t.Context(), testInput("B-1")); err == nil {
			t.Errorf("%s: sealed", at)
		}
		if entries, _ := os.ReadDir(v.dir); len(entries) != 0 {
			t.Errorf("%s: left %v", at, entries)
		}
		v.step = func(string) error { return nil }
		if _, err := v.Seal(t.Context(), testInput("B-1")); err != nil {
			t.Errorf("%s: again: %v", at, err)
		}
	}
}

func FuzzHeaderKeysAreTotal(f *testing.F) {
	f.Add(uint16(1), ipFrame(victim, other, "192.0.2.7", "192.0.2.8", 0))
	f.Add(uint16(276), make([]byte, 60))
	f.Fuzz(func(_ *testing.T, link uint16, data []byte) {
		var k keys
		k.read(capture.LinkType(link), data)
	})
}

func FuzzBlocksAreTotal(f *testing.F) {
	var b bytes.Buffer
	_, _ = packetsOf(2)(context.Background(), &b)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		x := newIndex()
		if n, err := x.blocks(newWalker(bytes.NewReader(data))); err == nil || n > int64(len(data)) {
			t.Fatalf("%d of %d: %v", n, len(data), err)
		}
		_, _ = decodeIndex(data)
	})
}
