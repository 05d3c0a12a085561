package incident

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/detect"
)

// Item is one thing that a named person says is done before a held device goes
// back to the network.
type Item struct {
	Key      string      `json:"key"`
	Text     detect.Text `json:"text"` // the task
	Required bool        `json:"required"`
	At       time.Time   `json:"at,omitzero"` // ticked; zero: not yet
	By       string      `json:"by,omitempty"`
	Note     string      `json:"note,omitempty"`
}

// Done says that somebody ticked it.
func (it Item) Done() bool { return !it.At.IsZero() }

// The items, in the order of the work. They are the tasks that the handbook names
// for 根絶 (28-2-1 ③: find the cause, delete what infected, patch, reissue
// accounts, scan before recovery so that nothing is re-infected), its backups
// (28-2-2), and the agreement of whoever answers for it (27-3-2).
var items = []Item{
	{Key: "cause", Required: true, Text: detect.Text{EN: "Find out how it happened (mail, USB stick, weak password …)", JA: "原因を突き止める（メール・USBメモリ・弱いパスワードなど）"}},
	{Key: "cleaned", Required: true, Text: detect.Text{EN: "Remove the malicious software, or set the device up anew", JA: "不正なプログラムを取り除く（または初期化して入れ直す）"}},
	{Key: "settings", Required: true, Text: detect.Text{EN: "Correct the wrong setting or connection", JA: "誤った設定や接続を直す"}},
	{Key: "updated", Required: true, Text: detect.Text{EN: "Install all updates", JA: "更新プログラムをすべて適用する"}},
	{Key: "passwords", Required: true, Text: detect.Text{EN: "Change the passwords used on this device, from another device", JA: "この機器で使っていたパスワードを、別の機器から変更する"}},
	{Key: "backup", Required: true, Text: detect.Text{EN: "Check the backup: it is intact and can be restored", JA: "バックアップが無事で、復元できることを確かめる"}},
	{Key: "scanned", Required: true, Text: detect.Text{EN: "Scan this device for viruses until nothing is found", JA: "ウイルス検査をして、何も見つからないことを確かめる"}},
	{Key: "others", Text: detect.Text{EN: "Scan the other devices too", JA: "ほかの機器も検査する"}},
	{Key: agreed, Required: true, Text: detect.Text{EN: "Ask your manager or the IT vendor whether it may go back", JA: "戻してよいか、責任者または業者に確かめる"}},
}

// Items by what was seen. Every list has cause and agreed; a person's isolation
// without findings, and what is not here, has the list of malware.
var (
	malware = []string{"cleaned", "scanned"}
	tasks   = map[string][]string{ // by family of detectors, or detector
		"posing": {"settings"}, "weakness": {"settings", "passwords"},
		"search": {"cleaned", "updated", "scanned", "others"},
		"entry":  {"cleaned", "updated", "passwords", "scanned", "others"},
		"call":   {"cleaned", "passwords", "scanned"}, "names": {"cleaned", "passwords", "scanned"},
		"smb_ransom": {"cleaned", "updated", "passwords", "backup", "scanned", "others"},
	}
)

// needed are the keys of the items that the evidence asks for.
func needed(found []Observation) []string {
	out := []string{"cause", agreed}
	if len(found) == 0 {
		out = append(out, malware...)
	}
	for _, o := range found {
		t, ok := tasks[family(o.Detector)]
		if !ok {
			t = malware
		}
		out = append(out, t...)
	}
	return out
}

// agreed is the key of the item that a false alarm needs, too.
const agreed = "agreed"

// ItemText is what an item asks, for the words of a history.
func ItemText(key string) (detect.Text, bool) {
	at := slices.IndexFunc(items, func(it Item) bool { return it.Key == key })
	if at < 0 {
		return detect.Text{}, false
	}
	return items[at].Text, true
}

func family(detector string) string { return cmp.Or(families[detector], detector) }

// list makes the checklist fit the evidence. What stands in it stays, ticked or
// not: new evidence only adds.
func (i *Incident) list() {
	var out []Item
	keys := needed(i.Findings)
	for _, it := range items {
		at := slices.IndexFunc(i.Checklist, func(have Item) bool { return have.Key == it.Key })
		switch {
		case at >= 0:
			out = append(out, i.Checklist[at])
		case slices.Contains(keys, it.Key):
			out = append(out, it)
		}
	}
	for _, it := range i.Checklist { // from a former version
		if !slices.ContainsFunc(items, func(have Item) bool { return have.Key == it.Key }) {
			out = append(out, it)
		}
	}
	i.Checklist = out
}

// blank takes back what was ticked in a holding before: whoever said that the device
// is clean said so before it was held again. The history keeps who that was.
func (i *Incident) blank() {
	for n, it := range i.Checklist {
		if _, ours := ItemText(it.Key); ours {
			i.Checklist[n].At, i.Checklist[n].By, i.Checklist[n].Note = time.Time{}, "", ""
		}
	}
}

// Lists says that an item is on the list.
func (i Incident) Lists(key string) bool {
	return slices.ContainsFunc(i.Checklist, func(it Item) bool { return it.Key == key })
}

// Missing are the required items that nobody has ticked yet.
func (i Incident) Missing() (out []Item) {
	for _, it := range i.Checklist {
		if it.Required && !it.Done() {
			out = append(out, it)
		}
	}
	return out
}

// Unasked is what is still to do before a held device is let go as a false alarm:
// there is nothing to clean, but nobody lets go alone what a person has stopped.
// What the gateway did by itself is undone in one step.
func (i Incident) Unasked() []Item {
	if !i.State.Held() || i.Undoable() {
		return nil
	}
	i = i.clone()
	i.list()
	return slices.DeleteFunc(i.Missing(), func(it Item) bool { return it.Key != agreed })
}

// update gives an incident of a former version what a held one has today.
func (i *Incident) update() {
	if !i.State.Held() {
		return
	}
	i.Checklist = slices.Clone(i.Checklist)
	i.list()
	if i.Decision.By == ByAuto && i.Automatic.At.IsZero() {
		i.Automatic = Automatic{Kind: InAuto, At: i.Decision.At, Level: i.Level, From: Open, Before: Watch, Why: i.Decision.Why}
	}
}

// formerSteps turns the free notes of former versions into ticked items: the
// history has who made them and when.
func (i *Incident) formerSteps(steps []string) {
	for n, text := range steps[:min(len(steps), maxObservations)] {
		it := Item{Key: fmt.Sprintf("note_%d", n+1), Text: detect.Text{EN: text, JA: text}, At: i.Updated}
		for _, t := range i.History {
			if t.Input == formerEradicated && t.Note == text && !t.Refused {
				it.At, it.By = t.At, t.By
				break
			}
		}
		i.Checklist = append(i.Checklist, it)
	}
}

// formerEradicated is what a tick was called before there was a list.
const formerEradicated Kind = "eradicated"

// person says that somebody signed by name on the web page.
func person(by string) bool {
	name, ok := strings.CutPrefix(by, "web:")
	return ok && strings.TrimSpace(name) != ""
}

// tick notes that an item is done, or that it is not after all.
func (m *move) tick(done bool) {
	at := slices.IndexFunc(m.i.Checklist, func(it Item) bool { return it.Key == m.in.Item })
	switch {
	case !person(m.in.By):
		m.refuse("only a person on the web page, by name, says what is done")
	case !m.i.State.Held():
		m.refuse("the list is worked through while the device is held")
	case at < 0:
		m.refuse("no such item")
	case !done && !m.i.Checklist[at].Done():
		m.silent = true
	case done && m.i.Checklist[at].Done() && m.in.Note == "":
		m.silent = true // whoever said so first stands
	case done:
		it := &m.i.Checklist[at]
		it.At, it.By, it.Note = m.in.At, bounded(m.in.By), bounded(m.in.Note)
		m.note = it.Key
		if it.Note != "" {
			m.note += ": " + it.Note
		}
		// A device that still gets through stays the first thing to see to.
		if m.i.State == Contained {
			m.to(Eradicating)
		}
	default:
		it := &m.i.Checklist[at]
		it.At, it.By, it.Note = time.Time{}, "", ""
		m.note = it.Key
		if m.in.Note != "" {
			m.note += ": " + m.in.Note
		}
	}
}

// release is the return-to-network gate: never a gesture, never a machine, and
// only when everything is done that has to be.
func (m *move) release() {
	if m.i.State.Held() {
		m.i.list() // no way around the gate without a list
	}
	missing := m.i.Missing()
	switch {
	case !person(m.in.By):
		m.refuse("only a person on the web page releases a device")
	case !m.i.State.Held():
		m.refuse("the device is not held")
	case len(missing) > 0:
		var names []string
		for _, it := range missing {
			names = append(names, it.Key)
		}
		m.refuse("not done yet: " + strings.Join(names, ", "))
	default:
		m.free()
		m.teach(Confirmed)
	}
}

// free lets the device go into probation. What comes after is exactly what was
// before it was held.
func (m *move) free() {
	m.to(Probation)
	m.i.Level, m.i.Applied = Watch, false
	m.i.Until = m.in.At.Add(cmp.Or(m.in.probation, DefaultPolicy().Probation))
	m.do(Release{}, Notify{NoticeReleased})
	m.seal()
	m.unpin()
}
