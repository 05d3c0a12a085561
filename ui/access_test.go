package ui

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// cabinet is a fake of what the page asks about evidence and the vendor.
type cabinet struct {
	mu     sync.Mutex
	access Access
	kept   Kept
	calls  []string
	err    error
	took   chan string // who; filled by Taken, as far as there is room
}

func newCabinet() *cabinet {
	return &cabinet{
		took: make(chan string, 1),
		access: Access{
			Waiting:  []Grant{{ID: "G-1", Vendor: "あおばIT", Incident: inID, Reason: "感染元を調べます", Wished: 60, Asked: now, Until: now.Add(15 * time.Minute)}},
			Vendors:  []Vendor{{ID: "V-1", Name: "あおばIT", Enrolled: now.Add(-48 * time.Hour), By: "web:山田"}},
			Usual:    8 * time.Hour,
			MaxGrant: 24 * time.Hour,
		},
		kept: Kept{
			Days: 12.3, Ring: 150e9, Size: 200e9, PerDay: 12.4e9, Wear: Wear{Device: "sda", Used: 7},
			Bundles: []Bundle{
				{ID: inID, Sealed: now.Add(-time.Minute), Size: 4_812_345, Packets: 12_034, Held: true, Encrypted: true, Copies: []string{"USB"}},
				{ID: "B-0", Sealed: now.Add(-72 * time.Hour), Size: 1_000, Packets: 3, Copies: []string{}},
			},
			Targets: []Target{
				{Name: "USB", State: detect.Text{EN: "Safe to unplug.", JA: "取り外せます。"}},
				{Name: "S3", State: detect.Text{EN: "No answer; tried again by itself.", JA: "応答がありません。自動でやり直します。"}, Waiting: 2, Bad: true},
			},
		},
	}
}

func (c *cabinet) did(what string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, strings.TrimSuffix(what+" "+fmt.Sprintln(args...), "\n"))
	return c.err
}

func (c *cabinet) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.calls) == 0 {
		return ""
	}
	return c.calls[len(c.calls)-1]
}

func (c *cabinet) Access() Access { c.mu.Lock(); defer c.mu.Unlock(); return c.access }
func (c *cabinet) Kept() Kept     { c.mu.Lock(); defer c.mu.Unlock(); return c.kept }
func (c *cabinet) Invite(_ context.Context, by string) (Invitation, error) {
	return Invitation{Text: "sekisho:192.168.10.1:8443:pin:secret", Until: now.Add(24 * time.Hour)}, c.did("invite", by)
}
func (c *cabinet) Approve(_ context.Context, g, by string, d time.Duration) error {
	return c.did("approve", g, by, d)
}
func (c *cabinet) Deny(_ context.Context, g, by string) error   { return c.did("deny", g, by) }
func (c *cabinet) End(_ context.Context, g, by string) error    { return c.did("end", g, by) }
func (c *cabinet) Revoke(_ context.Context, v, by string) error { return c.did("revoke", v, by) }
func (c *cabinet) SetHold(_ context.Context, b string, on bool, by, why string) error {
	return c.did("hold", b, on, by, why)
}
func (c *cabinet) Delete(_ context.Context, b, by, why string) error {
	return c.did("delete", b, by, why)
}
func (c *cabinet) Purge(_ context.Context, id asset.ID, by, why string) (Purged, error) {
	return Purged{Incidents: 1, Bundles: []string{"B-0"}, Held: []string{inID}}, c.did("purge", id, by, why)
}
func (c *cabinet) ConfirmClock(_ context.Context, by string) error { return c.did("clock", by) }
func (c *cabinet) RetryCopies(target string) error                 { return c.did("retry", target) }
func (c *cabinet) Open(_ context.Context, b string) (io.ReadSeekCloser, Package, error) {
	if b != inID {
		return nil, Package{}, fmt.Errorf("%w: %s", ErrUnknown, b)
	}
	f := struct {
		io.ReadSeeker
		io.Closer
	}{strings.NewReader("0123456789"), io.NopCloser(nil)}
	return f, Package{Name: b + ".tar", SHA256: "abc", Sealed: now}, nil
}
func (c *cabinet) Taken(_ context.Context, b, by string, p Package) error {
	select {
	case c.took <- by:
	default:
	}
	return c.did("taken", b, by, p.SHA256)
}

func withCabinet(c *cabinet) func(*Config) {
	return func(cfg *Config) { cfg.Vendors, cfg.Evidence = c, c }
}

func TestWhatAPersonDecidesAboutTheVendorIsHandedOnWithTheName(t *testing.T) {
	for _, tc := range []struct{ name, path, body, want string }{
		{"allowed as asked", "/api/vendor/grants/G-1/approve", `{"by":"山田"}`, "approve G-1 web:山田 0s"},
		{"allowed as asked, in so many words", "/api/vendor/grants/G-1/approve", `{"by":"山田","minutes":0}`, "approve G-1 web:山田 0s"},
		{"allowed for an hour", "/api/vendor/grants/G-1/approve", `{"by":"山田","minutes":60}`, "approve G-1 web:山田 1h0m0s"},
		{"refused", "/api/vendor/grants/G-1/deny", `{"by":"山田"}`, "deny G-1 web:山田"},
		{"ended", "/api/vendor/grants/G-1/end", `{"by":"山田"}`, "end G-1 web:山田"},
		{"invited", "/api/vendor/invitations", `{"by":"山田"}`, "invite web:山田"},
		{"removed", "/api/vendor/vendors/V-1/revoke", `{"by":"山田"}`, "revoke V-1 web:山田"},
		{"hold lifted", "/api/evidence/B-0/hold", `{"on":false,"by":"山田","note":"調査終了"}`, "hold B-0 false web:山田 調査終了"},
		{"date confirmed", "/api/evidence/clock", `{"by":"山田"}`, "clock web:山田"},
		{"copied again", "/api/copies/s3/retry", `{"by":"山田"}`, "retry s3"},
		{"deleted", "/api/evidence/B-0/delete", `{"by":"山田","note":"不要"}`, "delete B-0 web:山田 不要"},
		{"purged", "/api/devices/mac:02:00:00:00:00:23/purge", `{"by":"山田","note":"退職"}`, "purge mac:02:00:00:00:00:23 web:山田 退職"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCabinet()
			w := do(handler(t, newOffice("ja"), withCabinet(c)), request("POST", tc.path, tc.body))
			if w.Code != http.StatusOK || c.last() != tc.want {
				t.Errorf("%d %s; called %q, want %q", w.Code, w.Body, c.last(), tc.want)
			}
		})
	}
}

func TestARefusalDuringALockdownSaysWhatToDo(t *testing.T) {
	c := newCabinet()
	c.err = fmt.Errorf("approve: %w", ErrCutOff)
	w := do(handler(t, newOffice("en"), withCabinet(c)), request("POST", "/api/vendor/grants/G-1/approve", `{"by":"a"}`, "Accept-Language", "en"))
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "Reconnect the office first") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWhatLacksANameOrASenseIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name, path, body string
		code             int
	}{
		{"nobody", "/api/vendor/grants/G-1/approve", `{"by":" "}`, 422},
		{"for a week", "/api/vendor/grants/G-1/approve", `{"by":"a","minutes":10080}`, 422},
		{"another deed", "/api/vendor/grants/G-1/extend", `{"by":"a"}`, 404},
		{"hold of nothing", "/api/evidence/B-0/hold", `{"by":"a","note":"n"}`, 422},
		{"hold without a reason", "/api/evidence/B-0/hold", `{"on":false,"by":"a"}`, 422},
		{"deleted without a reason", "/api/evidence/B-0/delete", `{"by":"a","note":" "}`, 422},
		{"purge without a reason", "/api/devices/x/purge", `{"by":"a","note":""}`, 422},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCabinet()
			if w := do(handler(t, newOffice("ja"), withCabinet(c)), request("POST", tc.path, tc.body)); w.Code != tc.code || c.last() != "" {
				t.Errorf("%d %s; called %q", w.Code, w.Body, c.last())
			}
		})
	}
}

func TestThePageOffersFirstWhatWasAskedFor(t *testing.T) {
	for _, tc := range []struct {
		lang           string
		wished         int
		says, and, not string
	}{
		{"en", 60, `<p>Asks for 1 h.</p>`, `<select name="minutes"><option value="0">as asked (1 h)</option><option value="60">1 h</option>`, "as usual"},
		{"en", 90, `<p>Asks for 90 min.</p>`, `<select name="minutes"><option value="0">as asked (90 min)</option>`, "as usual"},
		{"en", 9 * 60, `<p>Asks for 9 h.</p>`, `<select name="minutes"><option value="0">as usual (8 h)</option>`, "as asked"},
		{"en", 0, `<option value="1440">24 h</option>`, `<select name="minutes"><option value="0">as usual (8 h)</option>`, "Asks for "},
		{"ja", 60, `<p>1時間の閲覧を希望しています。</p>`, `<select name="minutes"><option value="0">希望どおり（1時間）</option>`, "通常の時間"},
	} {
		c := newCabinet()
		c.access.Waiting[0].Wished, c.access.Waiting[0].Incident = tc.wished, "x"
		w := do(handler(t, newOffice(tc.lang), withCabinet(c)), request("GET", "/parts", "", "Accept-Language", tc.lang))
		_, part, _ := strings.Cut(w.Body.String(), `id="part-access"`)
		part, _, _ = strings.Cut(part, `id="part-kept"`)
		if !strings.Contains(part, tc.says) || !strings.Contains(part, tc.and) || strings.Contains(part, tc.not) {
			t.Errorf("%s, %d min: %s", tc.lang, tc.wished, part)
		}
	}
}

func TestWithoutThemTheRoutesAndThePartsAreNotThere(t *testing.T) {
	h := handler(t, newOffice("ja"), nil)
	if w := do(h, request("POST", "/api/vendor/invitations", `{"by":"a"}`)); w.Code != http.StatusNotFound {
		t.Errorf("an invitation where the access is off: %d", w.Code)
	}
	if body := page(t, newOffice("ja"), "ja"); strings.Contains(body, japanese["access"]) || strings.Contains(body, japanese["kept"]) {
		t.Error("the page speaks of what is not there")
	}
}

func TestAPurgeIsToldInWordsWithWhatItLeaves(t *testing.T) {
	p := Purged{Incidents: 1, Bundles: []string{"B-0"}, Held: []string{inID}, Entries: 3, Rest: []detect.Text{{EN: "Copies elsewhere stay.", JA: "外の控えは残ります。"}}}
	for lang, want := range map[string]string{
		"en": "Removed from incidents: 1, bundles: 1, ledger entries: 3. On hold, and therefore still there: " + inID + ". Copies elsewhere stay.",
		"ja": "出来事1件、証拠1件、台帳の記録3件から消しました。 保全中のため残した証拠：" + inID + "。 外の控えは残ります。",
	} {
		if got := said(p, lang); got != want {
			t.Errorf("%s: %s", lang, got)
		}
	}
}

func TestSizesAreReadableAndNeverNegative(t *testing.T) {
	for n, want := range map[int64]string{-1: "0 B", 0: "0 B", 999: "999 B", 1500: "1.5 kB", 999_600: "1.0 MB", 123e6: "123 MB", 200e9: "200 GB", 9e18: "9000000 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestTheOwnerAllowsTheVendorAndLiftsAHoldInABrowser(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		t.Run(lang, func(t *testing.T) {
			o, c := newOffice(lang), newCabinet()
			srv := httptest.NewServer(handler(t, o, func(cfg *Config) { cfg.Lang = lang; withCabinet(c)(cfg) }))
			t.Cleanup(srv.CloseClientConnections)
			ctx := browser(t, lang)
			act(t, ctx, chromedp.EmulateViewport(1280, 1500), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(`body[data-state="attention"]`))
			act(t, ctx, script(`window.confirm = () => true; document.querySelector('#part-access').scrollIntoView(); null`))
			shot(t, ctx, "access_"+lang)
			act(t, ctx, script(`document.querySelector('.ask form').elements.minutes.value = '60'; null`))
			c.mu.Lock() // something changes: what was chosen stays
			c.access.Waiting[0].Reason, c.kept.Days = "…", 99.5
			c.mu.Unlock()
			o.tell()
			until(t, ctx, `document.querySelector('#part-kept').textContent.includes('99.5')`)
			act(t, ctx, script(`const f = document.querySelector('.ask form'); f.elements.by.value = 'Yamada'; f.querySelector('button').click(); null`))
			until(t, ctx, `document.querySelector('.ask form .said').textContent !== '' || document.querySelector('.ask form').elements.by.value === ''`)
			if got := c.last(); got != "approve G-1 web:Yamada 1h0m0s" {
				t.Errorf("called %q", got)
			}
			act(t, ctx, script(`const b = document.getElementById('b-`+inID+`'); b.open = true; b.scrollIntoView(); null`))
			shot(t, ctx, "kept_"+lang)
			act(t, ctx, script(`const g = document.querySelector('#part-kept .incident form.act'); g.elements.by.value = 'Yamada'; g.elements.note.value = 'done'; g.querySelector('button').click(); null`))
			until(t, ctx, `document.querySelector('#part-kept .incident form.act').elements.by.value === ''`)
			if got := c.last(); got != "hold "+inID+" false web:Yamada done" {
				t.Errorf("called %q", got)
			}
			act(t, ctx, script(`const k = document.querySelector('#part-kept form.take'); k.elements.by.value = 'Yamada'; k.querySelector('button').click(); null`))
			select {
			case got := <-c.took:
				if got != "web:Yamada" {
					t.Errorf("taken out by %q", got)
				}
			case <-ctx.Done():
				t.Fatal("nothing is taken out")
			}
			until(t, ctx, `document.querySelector('#part-kept form.take').elements.by.value === ''`) // and the part lives on
			act(t, ctx, script(`const i = document.getElementById('invite'); i.open = true; i.querySelector('input').value = 'Yamada'; i.querySelector('button').click(); null`))
			until(t, ctx, `document.querySelector('.once textarea').value.startsWith('sekisho:')`)
			act(t, ctx, script(`document.getElementById('invite').scrollIntoView(); null`))
			shot(t, ctx, "invite_"+lang)
			c.mu.Lock() // something changes: what is shown once stays
			c.access.Waiting = nil
			c.mu.Unlock()
			o.tell()
			until(t, ctx, `!document.querySelector('.ask') && document.querySelector('.once textarea').value.startsWith('sekisho:')`)
			act(t, ctx, chromedp.EmulateViewport(390, 844), script(`document.querySelector('#part-access').scrollIntoView(); null`))
			shot(t, ctx, "access_phone_"+lang)
		})
	}
}
