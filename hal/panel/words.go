package panel

import (
	"fmt"
	"math"
	"time"

	"sekisho/hal"
)

// words is the text of the panel in one language. Every text is written for
// somebody who has never read a manual.
type words struct {
	title [hal.VendorConnected + 1]string // by state
	drill string
	// calm
	devices, days, dayUnit, deviceUnit        string
	lastDrill, none, never, noDrill           string
	date, today, yesterday, daysAgo, fullDate string
	tookSeconds, tookMinutes, tookLong        string
	weekday                                   [7]string
	left, lastDay, learning                   string
	// the suspect
	press, unknown, isolatingTo, keepOn    string
	pull, call                             string
	againTitle, againLow, againLeft, again string // a protected device is asked for twice
	bestTitle, pullToBeSure                string // isolated without proof
	// the vendor
	vendorSees, vendorUntil, vendorEnd, held string
	askTitle, askWhat, askHold               string
	// a press in progress
	approveIn, letGoApprove                                    string
	leads, leadsLow, leadsWhat                                 string
	letGo                                                      [4]string // by Deed
	countTitle, countReal, countLow, countCancel, countSeconds string
	armLetGo, stuckTitle, stuck                                string
	// office-wide lockdown
	lockTitle, lockLow, lockWhat, lockEnd string
}

func lang(s hal.Status) words {
	if s.Lang == "ja" {
		return japanese
	}
	return english
}

var japanese = words{
	title: [...]string{
		hal.Normal: "正常です", hal.Learning: "学習中です", hal.Attention: "注意",
		hal.Isolating: "隔離しています", hal.Isolated: "隔離完了",
		hal.NotIsolated: "隔離が未完了です", hal.Fault: "点検が必要です",
		hal.VendorConnected: "業者が接続中",
	},
	drill:   "訓練",
	devices: "機器", days: "通信の記録", deviceUnit: "台", dayUnit: "日分",
	lastDrill: "前回の訓練", none: "なし", never: "まだありません", noDrill: "訓練をしましょう",
	date: "1月2日", fullDate: "2006年1月2日", today: "今日", yesterday: "昨日", daysAgo: "%d日前",
	tookSeconds: "%d秒で押せました", tookMinutes: "%d分%d秒で押せました", tookLong: "1時間以上かかりました",
	weekday: [7]string{"(日)", "(月)", "(火)", "(水)", "(木)", "(金)", "(土)"},
	left:    "あと%d日", lastDay: "あと1日", learning: "通信を覚えています。操作は不要です。",
	press: "ボタンで隔離します", unknown: "名前のない機器",
	isolatingTo: "確認までお待ちください", keepOn: "電源は切らないで下さい",
	pull: "次の線を抜いてください", call: "電話 ",
	againTitle: "確認", againLow: "確認", againLeft: "未隔離です 残り%d:%02d", again: "もう一度押すと隔離",
	bestTitle: "できる範囲で隔離", pullToBeSure: "念のため抜いて下さい",
	vendorSees: "記録だけを見ています", vendorUntil: "%sまで記録を閲覧",
	vendorEnd: "押すと接続を終えます", held: "隔離%d台",
	askTitle: "閲覧の許可", askWhat: "記録の閲覧を希望です", askHold: "3秒押すと許可します",
	approveIn: "あと%d秒で許可します", letGoApprove: "今離すと許可します",
	leads: "押し続けると全社遮断", leadsLow: "長押し:全社遮断", leadsWhat: "押し続けると、全社の通信を止めます。",
	letGo:      [...]string{DeedNone: "離すと何もしません", DeedPage: "離すと次の画面へ", DeedIsolate: "離すと隔離します", DeedEndVendor: "離すと接続を終えます"},
	countTitle: "全社の通信を止めます", countReal: "実際に止まります", countLow: "全社遮断まで%d秒", countCancel: "離すと中止します", countSeconds: "あと%d秒",
	armLetGo: "今離すと止まります", stuckTitle: "ボタンの故障", stuck: "ボタンが戻りません。押しても動作しません。",
	lockTitle: "全社の通信を遮断中", lockLow: "全社を遮断中", lockWhat: "社内とも社外とも、通信できません。", lockEnd: "解除は管理画面から",
}

var english = words{
	title: [...]string{
		hal.Normal: "All is well", hal.Learning: "Learning", hal.Attention: "Alert",
		hal.Isolating: "Isolating", hal.Isolated: "Isolated",
		hal.NotIsolated: "NOT isolated", hal.Fault: "Needs a check",
		hal.VendorConnected: "Vendor online",
	},
	drill:   "DRILL",
	devices: "Devices", days: "Records", dayUnit: " days",
	lastDrill: "Last drill", none: "none yet", never: "none yet", noDrill: "Time to practise",
	date: "2 Jan", fullDate: "2 January 2006", today: "today", yesterday: "yesterday", daysAgo: "%d days ago",
	tookSeconds: "Pressed in %d s", tookMinutes: "Pressed in %d:%02d min", tookLong: "Took over an hour",
	weekday: [7]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"},
	left:    "%d days", lastDay: "1 day", learning: "Getting to know your network. Nothing to do.",
	press: "Press to isolate", unknown: "Unnamed device",
	isolatingTo: "Wait for the proof", keepOn: "Leave its power on",
	pull: "Unplug this cable:", call: "Call ",
	againTitle: "Are you sure?", againLow: "Sure?", againLeft: "Not yet isolated %d:%02d", again: "Press again: isolate",
	bestTitle: "Likely isolated", pullToBeSure: "To be sure, unplug:",
	vendorSees: "Sees records only", vendorUntil: "Records until %s",
	vendorEnd: "Press to end", held: "%d held",
	askTitle: "Access?", askWhat: "asks to see records", askHold: "Hold 3 s to allow",
	approveIn: "Allow in %d s", letGoApprove: "Let go now: allow",
	leads: "Hold on: lockdown", leadsLow: "Hold: lockdown", leadsWhat: "Holding on cuts off the whole office.",
	letGo:      [...]string{DeedNone: "Let go: no effect", DeedPage: "Let go: next page", DeedIsolate: "Let go: isolate", DeedEndVendor: "Let go: end access"},
	countTitle: "Office lockdown", countReal: "This is for real", countLow: "Lockdown in %d s", countCancel: "Let go to cancel", countSeconds: "in %d s",
	armLetGo: "Let go now: lock", stuckTitle: "Button fault", stuck: "The button does not come back. It will do nothing.",
	lockTitle: "Office cut off", lockLow: "Office cut off", lockWhat: "No internet, and no device-to-device.", lockEnd: "End it: web page",
}

// named is a device's name, or what to call it without one.
func (w words) named(name string) string {
	if name == "" {
		return w.unknown
	}
	return name
}

// ago tells how many nights have passed between two times.
func (w words) ago(then, now time.Time) string {
	day := func(t time.Time) time.Time {
		y, m, d := t.Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) // where each day has 24 hours
	}
	switch n := int(day(now).Sub(day(then)) / (24 * time.Hour)); {
	case n <= 0:
		return w.today
	case n == 1:
		return w.yesterday
	default:
		return fmt.Sprintf(w.daysAgo, n)
	}
}

// took tells a person's reaction time, in whole seconds.
func (w words) took(d time.Duration) string {
	sec := max(1, int(d.Round(time.Second)/time.Second))
	switch {
	case sec < 60:
		return fmt.Sprintf(w.tookSeconds, sec)
	case sec < 3600:
		return fmt.Sprintf(w.tookMinutes, sec/60, sec%60)
	}
	return w.tookLong
}

// clock is the time of day; nothing while the clock is not known.
func clock(t time.Time) string {
	if t.IsZero() {
		return "--:--"
	}
	return t.Format("15:04")
}

// count prints a number that fits the screen.
func count(n int) string {
	if n > 999 {
		return "999+"
	}
	return fmt.Sprint(max(n, 0))
}

// days prints a number of days, with one decimal while they are few.
func days(d float64) string {
	switch {
	case math.IsNaN(d) || d <= 0:
		return "0"
	case d < 9.95:
		return fmt.Sprintf("%.1f", d)
	case d >= 100:
		return "99+"
	}
	return fmt.Sprintf("%.0f", math.Floor(d))
}
