package incident

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
)

// assess weighs the incident's evidence with f added.
func (d *Desk) assess(now time.Time, f detect.Finding, i Incident, active int) Assessment {
	i = i.clone()
	i.observe(f)
	// As of the finding's own time: live, it has waited in a queue, and a moment's
	// decay would put the weakest of each band below that band.
	at := now
	if f.Time.Before(now) {
		at = f.Time
	}
	found := i.Findings
	if i.State == Probation {
		fresh := Incident{Findings: i.since(f.Detector)}
		fresh.observe(f)
		found = fresh.Findings
	}
	sum := odds(found, at)
	confirmed, again := d.confirmed(i)
	if again {
		sum += confirmedOdds
	}
	a := Assessment{Action: None, Guard: d.policy.guard(i.Asset), Why: detect.Text{EN: bounded(f.Explain.EN), JA: bounded(f.Explain.JA)}}
	if len(found) > 1 {
		a.because(fmt.Sprintf("%d detectors agree.", len(found)), fmt.Sprintf("%d種類の検知が重なっています。", len(found)))
	}
	sum, trial := d.weigh(now, i, f, sum, &a)
	a.Score, a.Confidence = probability(sum), band(sum)
	if again {
		a.because(
			fmt.Sprintf("The same was confirmed on this device on %s.", confirmed.At.Format(time.DateOnly)),
			fmt.Sprintf("この機器では、%sにも同じ動きが実際の問題と確認されています。", confirmed.At.Format(time.DateOnly)),
		)
	}
	switch {
	case a.Guard == GuardNever:
		a.because("This is the gateway or its uplink, which is never isolated.", "ゲートウェイまたは上位ルーターのため、隔離の対象にはなりません。")
		return a
	case !d.local(i.Asset):
		a.because("The device is not on the office network.", "社内ネットワークの機器ではありません。")
		return a
	case trial.old:
		a.because("It is from before the device was let back on the network.", "ネットワークに戻す前の動きです。")
		return a
	case a.Confidence == detect.Low:
		a.because("This alone is no reason to act.", "これだけでは対処の必要はありません。")
		return a
	}
	a.Action = Suggest
	if l, ok := d.harmless(i.Asset.ID, f.Detector, a.Confidence); ok && !(again && confirmed.At.After(l.At)) && !trial.word.After(l.At) {
		a.because(
			fmt.Sprintf("%s called this harmless on %s.", who(l.By), l.At.Format(time.DateOnly)),
			fmt.Sprintf("%sに%sが問題なしと判断しています。", l.At.Format(time.DateOnly), who(l.By)),
		)
		if a.Confidence != detect.High {
			a.Action = None
		}
		return a
	}
	if a.Confidence != detect.High || i.State.Held() {
		return a
	}
	d.auto(now, at, i, trial, active, &a)
	return a
}

func (a *Assessment) because(en, ja string) { a.Why.EN += " " + en; a.Why.JA += ja }

// auto says whether policy may hold the device by itself, and why not. at is the
// time of the evidence.
func (d *Desk) auto(now, at time.Time, i Incident, trial tried, active int, a *Assessment) {
	host, limits := i.Asset, d.limits(now, i.Asset.ID, active)
	switch {
	case i.Drill:
		a.because("This is a drill: the button is yours to press.", "これは訓練です。ボタンはご自身で押してください。")
	case a.Guard != GuardNone:
		a.because("A protected device or router: a person has to decide.", "保護対象の機器またはルーターのため、担当者の判断が必要です。")
	case twoPorts(now, host):
		a.because(
			fmt.Sprintf("The device was seen on two ports, %s and %s, within the last minutes: another one may pose as it. A person has to decide.", host.MovedFrom, host.Port),
			fmt.Sprintf("この機器は直近の数分間に2つのポート（%sと%s）で見つかりました。別の機器がなりすましている可能性があるため、担当者の判断が必要です。", host.MovedFrom, host.Port),
		)
	case trial.open:
		a.because("It may rest on what the device sent before it was let back on the network: a person has to decide.", "ネットワークに戻す前の通信が含まれている可能性があるため、担当者の判断が必要です。")
	case !d.policy.AutoIsolate:
		a.because("Automatic isolation is switched off.", "自動隔離は無効に設定されています。")
	case i.Automatic.Undone() && band(odds(i.news(), at)) != detect.High:
		by := who(i.Automatic.UndoneBy)
		a.because(
			fmt.Sprintf("%s undid the automatic isolation; until a person decides, only other or stronger evidence acts by itself.", by),
			fmt.Sprintf("%sが自動隔離を取り消しました。担当者が判断するまでは、別の、またはより強い証拠が出たときだけ自動で隔離します。", by),
		)
	case limits.Full() && !trial.relapse:
		trip := limits.tripped()
		a.because(trip.EN, trip.JA)
	default:
		a.Action, a.Level = AutoIsolate, Isolate
		if limits.Business && !(trial.relapse && trial.level == Isolate) {
			a.Level = Limit
			a.because("Business hours: limited instead of isolated.", "業務時間中のため、隔離ではなく制限にとどめます。")
		}
		a.Allowed = limits.allowed(a.Level, trial.relapse)
	}
}

// movedLately is how long a change of port makes it doubtful whose frames the
// evidence rests on.
const movedLately = 10 * time.Minute

// twoPorts says that the device's address was seen on two ports lately. Whoever
// forges it must not have policy isolate its owner.
func twoPorts(now time.Time, a asset.Asset) bool {
	return a.MovedFrom != "" && a.MovedFrom != a.Port && now.Sub(a.Moved) <= movedLately
}

var privateRanges = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// local says that the device is one of the office's own: only those can be held.
func (d *Desk) local(a asset.Asset) bool {
	if len(a.Addrs) == 0 {
		return !a.MAC.IsZero() // only ever seen in ARP or DHCP
	}
	lan := d.policy.LAN
	if lan == nil {
		lan = privateRanges
	}
	return slices.ContainsFunc(a.Addrs, func(addr netip.Addr) bool {
		return slices.ContainsFunc(lan, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) }) ||
			addr.IsLinkLocalUnicast()
	})
}
