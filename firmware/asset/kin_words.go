package asset

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// rank puts a person's word and old kin before newcomers, of which a hostile
// device can make any number, and good suggestions before poor ones.
func (w *weight) rank() int {
	switch {
	case slices.Contains(w.evidence, EvPerson):
		return 3
	case slices.Contains(w.evidence, EvTurns):
		return 2
	case !w.follows && w.confidence() != "low":
		return 1
	}
	return 0
}

// confidence is "high" only for what needs no person any more.
func (w *weight) confidence() string {
	best := "low"
	for _, word := range w.evidence {
		switch word {
		case EvPerson, EvClientID:
			if w.follows {
				return "high"
			}
			best = "medium"
		case EvName, EvBuilt, EvAddress, EvPort, EvBefore:
			best = "medium"
		}
	}
	return best
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// doubt is why a person is asked.
type doubt string

const (
	doubtNone       doubt = ""
	doubtWeak       doubt = "weak"
	doubtContested  doubt = "contested"
	doubtVaried     doubt = "varied"
	doubtContradict doubt = "contradict"
	doubtHistory    doubt = "history"
	doubtYoung      doubt = "young"
	doubtMoved      doubt = "moved"
	doubtNever      doubt = "never"
)

var doubtText = map[doubt]Text{
	doubtWeak:       {"Several devices may look like that.", "ほかの機器でも同じように見えることがあります。"},
	doubtContested:  {"Another device of the office says the same of itself.", "社内の別の機器も同じ情報を名乗っています。"},
	doubtVaried:     {"One of the two has gone by several names, as a docking station does.", "一方は複数の名前で使われてきました（ドッキングステーションなど）。"},
	doubtContradict: {"In other respects the two contradict each other.", "ほかの情報は一致していません。"},
	doubtHistory:    {"It was used before the incident, and is not known to be the same device.", "この事案の前から使われており、同じ機器だという確証はありません。"},
	doubtYoung:      {"The gateway has known this office for less than a day.", "ゲートウェイがこの事務所を見始めてから、まだ1日たっていません。"},
	doubtMoved:      {"It was seen on two ports: another device may pose as it.", "2つのポートで見つかっており、別の機器がなりすましている可能性があります。"},
	doubtNever:      {"It is protected, or forwards for others.", "保護対象の機器、または通信を中継する機器です。"},
}

var evidenceText = map[string]Text{
	EvPerson:   {"A person said that it is the same device.", "担当者が同じ機器だと判断しました。"},
	EvClientID: {"It uses the same DHCP identifier.", "同じ DHCP 識別子を使っています。"},
	EvName:     {"It has the same host name (%s) and is the same kind of system.", "機器の名前（%s）とシステムの種類が同じです。"},
	EvBuilt:    {"Its address is made from the other's MAC address.", "アドレスが、もう一方の MAC アドレスから作られています。"},
	EvAddress:  {"It took over the address %s without a lease.", "アドレス %s を、割り当てを受けずに引き継ぎました。"},
	EvPort:     {"It is on port %s, which only this device has used.", "この機器だけが使ってきたポート %s につながっています。"},
	EvTurns:    {"The two have long been used in turns.", "以前から交互に使われています。"},
	EvHost:     {"It calls itself by the same name (%s).", "同じ名前（%s）を名乗っています。"},
	EvAfter:    {"It appeared at the same place when the other fell silent.", "もう一方の通信が止まった直後に、同じ場所に現れました。"},
}

// text explains in both languages what speaks for it and what is done.
func (w *weight) text(fresh bool) Text {
	var en, ja []string
	for _, word := range w.evidence {
		t := evidenceText[word]
		if detail, ok := w.detail[word]; ok && strings.Contains(t.EN, "%s") {
			t = Text{fmt.Sprintf(t.EN, detail), fmt.Sprintf(t.JA, detail)}
		}
		en, ja = append(en, t.EN), append(ja, t.JA)
	}
	switch {
	case !w.follows && w.doubt == doubtNever: // whatever a person says about kinship
		d := doubtText[doubtNever]
		en = append(en, d.EN, "It is not held along with another one; isolate it by itself if that has to be.")
		ja = append(ja, d.JA, "ほかの機器と一緒には止めません。必要なときは、この機器を個別に隔離してください。")
	case !w.follows:
		d := doubtText[cmp.Or(w.doubt, doubtWeak)]
		en = append(en, d.EN, "It looks like the same device; a person has to decide.")
		ja = append(ja, d.JA, "同じ機器の可能性があります。担当者が判断してください。")
	case fresh:
		en = append(en, "It was not seen before the incident, and is treated as the same device.")
		ja = append(ja, "この事案の前には見られなかったため、同じ機器として扱います。")
	default:
		en, ja = append(en, "It is treated as the same device."), append(ja, "同じ機器として扱います。")
	}
	return Text{EN: strings.Join(en, " "), JA: strings.Join(ja, "")}
}
