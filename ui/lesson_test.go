package ui

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sekisho/firmware/incident"
)

// dismissed ends the office's one incident as harmless.
func (o *office) dismissed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := o.all[0]
	i.State, i.Since, i.Closed = incident.Dismissed, now, now
	i.Lesson = incident.Lesson{Kind: incident.Harmless, At: now.Add(-time.Hour), By: "web:佐藤"}
	o.all = []incident.Incident{i}
	o.st.State, o.st.Target = 0, ""
	o.tell()
}

func TestWhatIsKeptQuietIsOnThePageUntilItIsTakenBack(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		o := newOffice(lang)
		s := &site{cfg: Config{Gateway: o, Panel: o, Now: func() time.Time { return now }}}
		if got := s.lessons(o.Incidents(), lang); len(got) != 0 {
			t.Errorf("%s: %v before anybody decided", lang, got)
		}
		o.dismissed()
		got := s.lessons(o.Incidents(), lang)
		if len(got) != 1 || got[0].Name != "経理PC-2" || got[0].By != "佐藤" || got[0].What != o.all[0].Findings[0].Title.In(lang) {
			t.Errorf("%s: %+v", lang, got)
		}
		o.all[0].Lesson.UndoneAt = now
		if got := s.lessons(o.Incidents(), lang); len(got) != 0 {
			t.Errorf("%s: still there after it was taken back: %v", lang, got)
		}
	}
}

func TestAPersonTakesALessonBackInABrowser(t *testing.T) {
	o := newOffice("ja")
	o.dismissed()
	srv := httptest.NewServer(handler(t, o, func(c *Config) { c.Lang = "ja" }))
	t.Cleanup(srv.CloseClientConnections)
	ctx := browser(t, "ja")
	act(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(srv.URL+"/"), chromedp.WaitVisible(".lesson"), script(`window.confirm = () => true`),
		chromedp.Click(".lesson summary"), chromedp.WaitVisible(`button[value="unteach"]`))
	shot(t, ctx, "desktop_lesson_ja")
	act(t, ctx, script(`const f = document.querySelector('.lesson form'); f.elements.by.value = '鈴木'; f.requestSubmit(f.querySelector('button'))`))
	asked := func() string {
		o.mu.Lock()
		defer o.mu.Unlock()
		return strings.Join(o.calls, ";")
	}
	for asked() == "" && ctx.Err() == nil {
		act(t, ctx, script(``))
	}
	if got := asked(); got != "unteach|"+inID+"|web:鈴木|" {
		t.Errorf("gateway was asked %q", got)
	}
}
