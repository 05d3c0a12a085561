package panel

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/hal"
)

// onPage is the text of one page.
func onPage(s hal.Status, page int) string { return strings.Join(Lines(s, page, Hold{}), " ") }

func TestLockdownStandsBeforeWhatIsCalmAndBehindWhatIsUrgent(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		title := map[string]string{"ja": japanese.lockTitle, "en": english.lockTitle}[lang]
		for _, st := range states {
			s := status(st, lang)
			plain := onPage(s, 0)
			n := Pages(s)
			s.Lockdown = true
			if Pages(s) != n+1 {
				t.Fatalf("%s: %d pages in a lockdown, %d without", stateNames[st], Pages(s), n)
			}
			locked, own := 0, 1
			if urgent(st) {
				locked, own = n, 0
			}
			if got := onPage(s, locked); !strings.Contains(got, title) || strings.Contains(got, plain) {
				t.Errorf("%s: page %d is %q", stateNames[st], locked, got)
			}
			if got := onPage(s, own); got != plain {
				t.Errorf("%s: its own page became %q, was %q", stateNames[st], got, plain)
			}
			if onPage(s, Pages(s)) != onPage(s, 0) || onPage(s, -1) != onPage(s, Pages(s)-1) {
				t.Errorf("%s: pages do not wrap around", stateNames[st])
			}
		}
	}
}

func TestLockdownHasItsOwnLampUnlessADeviceNeedsSomebody(t *testing.T) {
	for _, st := range states {
		s := hal.Status{State: st}
		before := Lamp(s)
		s.Lockdown = true
		same := slices.Equal(before, Lamp(s))
		if same != urgent(st) {
			t.Errorf("%s: the lamp is the same: %v", stateNames[st], same)
		}
	}
}

func TestNoVendorIsAskedForDuringALockdown(t *testing.T) {
	s := status(hal.Normal, "en")
	s.Target, s.Approval, s.ApprovalID = "", "Aoba IT", "G-1"
	if Shows(s).Approve != "G-1" {
		t.Fatal("not asked without a lockdown")
	}
	s.Lockdown = true
	if Shows(s).Approve != "" {
		t.Error("a page that nobody sees asks for approval")
	}
}

func TestTheSecondAskCountsDownAndEnds(t *testing.T) {
	s := status(hal.Attention, "en")
	s.AskedUntil = now.Add(2 * time.Minute)
	for _, c := range []struct {
		after time.Duration
		has   string
	}{{0, "2:00"}, {time.Second, "1:59"}, {119500 * time.Millisecond, "0:01"}} {
		s.Now = now.Add(c.after)
		if got := onPage(s, 0); !strings.Contains(got, c.has) || !strings.Contains(got, english.again) || !strings.Contains(got, "FRONT-PC") {
			t.Errorf("after %v: %q", c.after, got)
		}
	}
	s.Now = now.Add(2 * time.Minute)
	if got := onPage(s, 0); strings.Contains(got, english.again) || !strings.Contains(got, english.press) {
		t.Errorf("after the end: %q", got)
	}
}

func TestBestEffortIsNoFailureAndStillNamesTheCable(t *testing.T) {
	for _, lang := range []string{"ja", "en"} {
		s := status(hal.NotIsolated, lang)
		failed := onPage(s, 0)
		s.BestEffort = true
		got := onPage(s, 0)
		if w := wordsOf(lang); strings.Contains(got, w.title[hal.NotIsolated]) || !strings.Contains(got, w.bestTitle) || !strings.Contains(got, s.Cable) {
			t.Errorf("%s: %q", lang, got)
		}
		if strings.Contains(failed, wordsOf(lang).bestTitle) {
			t.Errorf("%s: a failure is told as a success: %q", lang, failed)
		}
	}
}

func wordsOf(l string) words { return lang(hal.Status{Lang: l}) }
