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
	title map[hal.State]string
	drill string
	// normal
	devices, days, dayUnit, deviceUnit        string
	lastDrill, none, never, noDrill, todayAgo string
	date, daysAgo, fullDate                   string
	weekday                                   [7]string
	// learning
	left, learning string
	// the suspect
	press, unknown, isolatingTo, since, keepOn string
	pull, call                                 string
	vendorSees, vendorUntil, vendorEnd, held   string
	// approval and gestures
	askTitle, askWhat, askHold, letGoApprove string
	countTitle, countCancel, countSeconds    string
	armTitle, armLetGo, stuckTitle, stuck    string
	// a protected device is asked for twice
	againTitle, againLeft, again string
	// isolated without proof
	bestTitle, pullToBeSure string
	// office-wide lockdown
	lockTitle, lockWhat, lockEnd string
}

func lang(s hal.Status) words {
	if s.Lang == "ja" {
		return japanese
	}
	return english
}

var japanese = words{
	title: map[hal.State]string{
		hal.Normal: "正常です", hal.Learning: "学習中です", hal.Attention: "注意",
		hal.Isolating: "隔離しています", hal.Isolated: "隔離完了",
		hal.NotIsolated: "隔離が未完了です", hal.Fault: "点検が必要です",
		hal.VendorConnected: "業者が接続中",
	},
	drill:   "訓練",
	devices: "機器", days: "通信の記録", deviceUnit: "台", dayUnit: "日分",
	lastDrill: "前回の訓練 ", none: "なし", never: "まだありません", noDrill: "訓練をしましょう", todayAgo: "今日",
	date: "1月2日", fullDate: "2006年1月2日", daysAgo: "%d日前",
	weekday: [7]string{"(日)", "(月)", "(火)", "(水)", "(木)", "(金)", "(土)"},
	left:    "あと%d日", learning: "ふだんの通信を覚えています。操作は不要です。",
	press: "ボタンで隔離します", unknown: "名前のない機器",
	isolatingTo: "確認までお待ちください", since: "%s",
	keepOn: "電源は切らないで下さい",
	pull:   "次の線を抜いてください", call: "電話 ", vendorSees: "記録だけを見ています", vendorUntil: "%sまで記録を閲覧",
	vendorEnd: "押すと接続を終えます", held: "隔離%d台",
	askTitle: "閲覧の許可", askWhat: "記録の閲覧を希望です", askHold: "3秒押すと許可します", letGoApprove: "今離すと許可します",
	countTitle: "全社の通信を止めます", countCancel: "離すと中止します", countSeconds: "あと%d秒",
	armTitle: "全社の通信を止めます", armLetGo: "今離すと止まります",
	stuckTitle: "ボタンの故障", stuck: "ボタンが戻りません。押しても動作しません。",
	againTitle: "確認", againLeft: "未隔離です 残り%d:%02d", again: "もう一度押すと隔離",
	bestTitle: "できる範囲で隔離", pullToBeSure: "念のため抜いて下さい",
	lockTitle: "全社の通信を遮断中", lockWhat: "社内とも社外とも、通信できません。", lockEnd: "解除は管理画面から",
}

var english = words{
	title: map[hal.State]string{
		hal.Normal: "All is well", hal.Learning: "Learning", hal.Attention: "Alert",
		hal.Isolating: "Isolating", hal.Isolated: "Isolated",
		hal.NotIsolated: "NOT isolated", hal.Fault: "Needs a check",
		hal.VendorConnected: "Vendor online",
	},
	drill:   "DRILL",
	devices: "Devices", days: "Records", dayUnit: "days",
	lastDrill: "Last drill ", none: "none yet", never: "none yet", noDrill: "Time to practise", todayAgo: "today",
	date: "2 Jan", fullDate: "2 January 2006", daysAgo: "%d days ago",
	weekday: [7]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"},
	left:    "%d days", learning: "Getting to know your network. Nothing to do.",
	press: "Press to isolate", unknown: "Unnamed device",
	isolatingTo: "Wait for the proof", since: "%s",
	keepOn: "Leave its power on",
	pull:   "Unplug this cable:", call: "Call ", vendorSees: "Sees records only", vendorUntil: "Records until %s",
	vendorEnd: "Press to end", held: "%d held",
	askTitle: "Access?", askWhat: "asks to see records", askHold: "Hold 3 s to allow", letGoApprove: "Let go now: allow",
	countTitle: "Office lockdown", countCancel: "Let go to cancel", countSeconds: "in %d s",
	armTitle: "Office lockdown", armLetGo: "Let go now: lock",
	stuckTitle: "Button fault", stuck: "The button does not come back. It will do nothing.",
	againTitle: "Are you sure?", againLeft: "Not yet isolated %d:%02d", again: "Press again: isolate",
	bestTitle: "Isolated, unproven", pullToBeSure: "To be sure, unplug:",
	lockTitle: "Office cut off", lockWhat: "No internet, and no device-to-device.", lockEnd: "End it: web page",
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
