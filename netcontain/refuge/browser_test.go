package refuge

import (
	"context"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// The page is read on whatever the isolated device is, without scripts.
func TestThePageIsReadableOnAPhoneAndADesk(t *testing.T) {
	cfg := testConfig()
	cfg.Addr4 = netip.MustParseAddr("127.0.0.1")
	cfg.Vendor, cfg.VendorPhone = "株式会社あおばシステムサービス", "03-1234-5678"
	cfg.Since = func(netip.Addr) time.Time { return time.Date(2026, 4, 24, 14, 5, 0, 0, time.Local) }
	srv := httptest.NewServer(handler(cfg, fixed(cfg.Addr4, cfg.Addr6)))
	t.Cleanup(srv.Close)
	ctx := chromium(t)
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"phone", 390, 844}, {"small", 320, 568}, {"desk", 1280, 900}} {
		do(t, ctx, chromedp.EmulateViewport(size.width, size.height), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(`section[lang="en"]`))
		wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`))
		if err != nil {
			t.Fatal(err)
		}
		if wide {
			t.Errorf("%s: wider than the screen", size.name)
		}
		// What must not be missed is seen without scrolling.
		seen, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.querySelector('.off').getBoundingClientRect().bottom <= innerHeight`))
		if err != nil {
			t.Fatal(err)
		}
		if !seen {
			t.Errorf("%s: \"do not switch it off\" is below the screen", size.name)
		}
		shot(t, ctx, "help_"+size.name)
	}
	black, err := chromedp.Run(ctx, chromedp.Evaluate[string](`getComputedStyle(document.body).color`))
	if err != nil || black != "rgb(27, 42, 49)" {
		t.Errorf("in light: %q, %v", black, err)
	}
}

func chromium(t *testing.T) context.Context {
	t.Helper()
	dir, err := os.MkdirTemp("", "sekisho-browser-")
	if err != nil {
		t.Fatal(err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(func() {
		cancel()
		for range 50 { // its children may write there for a moment after its end
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	ctx, end := context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(end)
	return ctx
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	for n, a := range steps {
		if err := chromedp.Do(ctx, a); err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
	}
}

// shot keeps a picture where SEKISHO_SHOTS points to.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("SEKISHO_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
