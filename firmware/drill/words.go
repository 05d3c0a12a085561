package drill

import (
	"fmt"
	"strings"
	"time"
)

// Text is words for people in both languages of the product.
type Text struct{ EN, JA string }

// In returns the words in "ja" or "en"; anything else is "en".
func (t Text) In(lang string) string {
	if lang == "ja" {
		return t.JA
	}
	return t.EN
}

// Now says what is going on, while the drill runs.
func (d Drill) Now() Text {
	switch d.State {
	case Preparing:
		return Text{"The drill device is being made ready.", "訓練用の機器を準備しています。"}
	case Acting:
		return Text{"The drill device behaves as if it were infected. The gateway has not noticed it yet.", "訓練用の機器が、感染したときのような動きを始めました。本装置が気づくのを待っています。"}
	case Asking:
		return Text{"The lamp and the screen are asking now. Press the button on the box.", "ランプと画面でお知らせしています。本体のボタンを押してください。"}
	case Isolating:
		return Text{"The button was pressed. The device is being isolated.", "ボタンが押されました。機器を隔離しています。"}
	case Sealing:
		return Text{"The device is isolated, and that is proven. The evidence is being sealed.", "隔離できたことを確認しました。証拠を封印しています。"}
	}
	return Text{}
}

// Remark says how the drill ended, in a sentence or two. Empty while it runs.
func (d Drill) Remark() Text {
	if d.State != Ended {
		return Text{}
	}
	took, known := d.Reaction()
	switch d.Outcome {
	case Passed:
		if !known {
			break
		}
		return Text{
			fmt.Sprintf("The button was pressed %s after the lamp came on. The device was isolated and the evidence sealed. Well done.", Span(took).EN),
			fmt.Sprintf("ランプがついてから%sでボタンが押され、機器を隔離できました。証拠の封印まで、すべて確認できています。", Span(took).JA),
		}
	case NobodyPressed:
		return Text{
			fmt.Sprintf("Nobody pressed the button within %s. Talk about who looks at the lamp, and practise again soon.", Span(d.Limit).EN),
			fmt.Sprintf("%s以内にボタンは押されませんでした。ランプをだれが見るかを話し合い、近いうちにもう一度試してみましょう。", Span(d.Limit).JA),
		}
	case NotDetected:
		return Text{"The drill device was not detected. Please tell the IT vendor: this should not happen.", "訓練用の機器を検知できませんでした。通常は起きないことですので、IT事業者に連絡してください。"}
	case NotProven:
		return Text{"The button was pressed, but it could not be proven that the isolation works. Please tell the IT vendor.", "ボタンは押されましたが、隔離できたことを確認できませんでした。IT事業者に連絡してください。"}
	case NotSealed:
		return Text{"The device was isolated, but the evidence was not sealed in time. Please check the SSD and tell the IT vendor.", "機器は隔離できましたが、証拠の封印が間に合いませんでした。SSDを確かめ、IT事業者に連絡してください。"}
	case Stopped:
		return Text{"The drill was stopped by hand.", "訓練は途中で中止されました。"}
	case Yielded:
		return Text{"The drill was called off because something real needs attention. Please look at the screen.", "訓練ではない知らせがあるため、訓練を打ち切りました。画面を確認してください。"}
	case Copied:
		return Text{"The drill was called off: another device used the address of the drill device. Please tell the IT vendor.", "別の機器が訓練用の機器のアドレスを使ったため、訓練を打ち切りました。IT事業者に連絡してください。"}
	case Interrupted:
		return Text{"The gateway was restarted during the drill. Everything has been put back; you can start again.", "訓練の途中で本装置が再起動しました。元の状態に戻してありますので、あらためて始められます。"}
	case Broken:
		return Text{"The drill was ended because its device did not work. Please tell the IT vendor.", "訓練用の機器がうまく動かなかったため、訓練を終了しました。IT事業者に連絡してください。"}
	}
	return Text{"The device was isolated and the evidence sealed.", "機器を隔離し、証拠を封印しました。"}
}

// Text says why, and what to do instead.
func (r Refusal) Text() Text {
	switch r {
	case RefusedRunning:
		return Text{"A drill is running already.", "すでに訓練を行っています。"}
	case RefusedIncident:
		return Text{"A real device needs attention, or is isolated. Deal with that first; then you can practise.", "対応中の機器（訓練ではないもの）があります。先にそちらを終えてから、訓練を始めてください。"}
	case RefusedLockdown:
		return Text{"The whole office is cut off now. End that first.", "現在、社内全体の通信を遮断しています。解除してから訓練を始めてください。"}
	case RefusedEvidence:
		return Text{"Evidence cannot be kept at the moment. Check that the SSD is plugged in and not full.", "いまは証拠を保存できません。SSDの接続と空き容量を確かめてください。"}
	case RefusedRecords:
		return Text{"The drill could not be written down, so it was not started. Please tell the IT vendor.", "記録を書き込めないため、訓練を始めませんでした。IT事業者に連絡してください。"}
	case RefusedContainment:
		return Text{"Isolation does not work as it should at the moment. Please tell the IT vendor before you practise.", "隔離のしくみに異常があります。訓練の前に、IT事業者へ連絡してください。"}
	case RefusedIdle:
		return Text{"No drill is running.", "訓練は行われていません。"}
	}
	return Text{"This gateway cannot run drills.", "この装置では訓練を行えません。"}
}

// Span is a length of time as people say it: to the second, from a minute on in
// minutes too.
func Span(d time.Duration) Text {
	s := int(d.Round(time.Second) / time.Second)
	m, s := s/60, s%60
	var en, ja []string
	if m > 0 {
		en, ja = append(en, counted(m, "minute")), append(ja, fmt.Sprintf("%d分", m))
	}
	if s > 0 || m == 0 {
		en, ja = append(en, counted(s, "second")), append(ja, fmt.Sprintf("%d秒", s))
	}
	return Text{strings.Join(en, " "), strings.Join(ja, "")}
}

func counted(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
