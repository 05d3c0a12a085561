package ui

import "sekisho/hal/panel"

// knobView is the button of the box's picture: it does what the real one does, by
// the same times, and says before a release what that would do.
type knobView struct {
	Name, Hint                                   string
	More, Allow, Lockdown, Cancel, Locked, Stuck string
	// Times of a press, milliseconds; see package panel.
	Reaction, Approve, Count, Long, StuckAt int64
}

func knob(lang string) knobView {
	v := knobView{
		Name: "The box's button", Hint: "Works like the button on the box.",
		More: "Let go now: one press.", Allow: "Let go now to allow the vendor's access.",
		Cancel: "Stopping the whole office in {n} s. Let go to cancel.", Lockdown: "Let go now to stop the whole office.",
		Locked: "The office is cut off already. Let go: nothing happens.", Stuck: "Held for too long. Nothing happens.",
	}
	if lang == "ja" {
		v = knobView{
			Name: "本体のボタン", Hint: "本体のボタンと同じ働きをします。",
			More: "今離すと、1回押したことになります。", Allow: "今離すと、業者の接続を許可します。",
			Cancel: "全社の通信を止めるまで、あと{n}秒です。離すと中止します。", Lockdown: "今離すと、全社の通信を止めます。",
			Locked: "すでに全社の通信を遮断しています。離しても何も起きません。", Stuck: "押す時間が長すぎたため、何もしません。",
		}
	}
	v.Reaction, v.Approve = panel.Reaction.Milliseconds(), panel.HoldShort.Milliseconds()
	v.Count, v.Long, v.StuckAt = panel.HoldCount.Milliseconds(), panel.HoldLong.Milliseconds(), panel.StuckAt.Milliseconds()
	return v
}
