package ui

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser starts a headless Chromium of its own.
func browser(t *testing.T, lang string, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.UserDataDir(profile(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", lang), chromedp.Flag("accept-lang", lang))
	opts = append(opts, more...)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// profile is a fresh folder. The browser's children may write there for a
// moment after its end, which t.TempDir would take as an error.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sekisho-browser-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 50 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	return dir
}

// shot keeps a picture of the page where SEKISHO_SHOTS points to.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("SEKISHO_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func act(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	for n, a := range steps {
		err := chromedp.Do(ctx, a)
		for again := 0; redrawn(err) && again < 10; again++ {
			err = chromedp.Do(ctx, a)
		}
		if err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
	}
}

// redrawn says that the page was drawn anew between looking a node up and using it,
// so that nothing was done. A person would reach for it again.
func redrawn(err error) bool {
	return err != nil && strings.Contains(err.Error(), "node with given id")
}

func ask[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAPersonIsolatesTheSuspectInABrowser(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		t.Run(lang, func(t *testing.T) {
			o := newOffice(lang)
			srv := httptest.NewServer(handler(t, o, func(c *Config) { c.Lang = lang }))
			t.Cleanup(srv.CloseClientConnections)
			ctx := browser(t, lang)
			w := wordsIn(lang)
			act(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(srv.URL+"/"))
			act(t, ctx, chromedp.WaitVisible(`body[data-state="attention"]`))
			shot(t, ctx, "desktop_attention_"+lang)
			if h := ask(t, ctx, chromedp.Text("h1")); h != w["head_open"] {
				t.Errorf("headline %q before the press", h)
			}
			act(t, ctx, chromedp.EmulateViewport(390, 844))
			shot(t, ctx, "phone_attention_"+lang)
			act(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.Click("#press"),
				chromedp.WaitVisible(`body[data-state="isolated"]`), chromedp.WaitVisible(".lead.tone-held"))
			shot(t, ctx, "desktop_isolated_"+lang)
			if h := ask(t, ctx, chromedp.Text("h1")); h != w["head_contained"] {
				t.Errorf("headline %q after the press", h)
			}
			if said := ask(t, ctx, chromedp.Text("#said")); said != w["sent"] {
				t.Errorf("said %q", said)
			}
			if spoken := ask(t, ctx, chromedp.TextContent("#lines")); !strings.Contains(spoken, "経理PC-2") {
				t.Errorf("a screen reader would hear %q", spoken)
			}
			act(t, ctx, chromedp.Click(".incident summary"), chromedp.WaitVisible(`button[value="dismiss"]`))
			shot(t, ctx, "desktop_details_"+lang)
			act(t, ctx, chromedp.EmulateViewport(390, 844))
			if !ask(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= innerWidth`)) {
				t.Error("the page is wider than a phone")
			}
			act(t, ctx, chromedp.Evaluate[chromedp.Void](`scrollTo(0,0)`))
			shot(t, ctx, "phone_isolated_"+lang)
			o.mu.Lock()
			defer o.mu.Unlock()
			if got := strings.Join(o.calls, ";"); got != "press 0 "+inID {
				t.Errorf("gateway was asked %q", got)
			}
		})
	}
}
