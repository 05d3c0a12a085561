package evidence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"sekisho/firmware/capture"
	"sekisho/firmware/ledger"
)

// Mention is a bundle that holds data of the device. A bundle is signed as a
// whole: nothing can be taken out of it, it can only be deleted.
type Mention struct {
	ID    string   `json:"id"`
	Held  bool     `json:"held"`  // lift the hold first
	Files []string `json:"files"` // where it was found, or what could not be read
}

// PurgePlan is what holds data of a device and can be reached from evidence and
// ledger. The gateway adds the store's incidents and devices.
type PurgePlan struct {
	Bundles []Mention
	Entries []int64 // of the ledger
	Rest    []Text  // what a purge does not reach, for the person who asks
}

// PlanPurge looks through every bundle and the whole ledger; it reads all
// packets, so it takes as long as the disk. Names inside packets are not looked
// for, addresses in their headers are.
func (v *Vault) PlanPurge(ctx context.Context, s Subject) (PurgePlan, error) {
	plan := PurgePlan{Rest: notReached()}
	ids, err := v.folders()
	if err != nil {
		return PurgePlan{}, fmt.Errorf("plan purge: %w", err)
	}
	for _, id := range ids {
		files, err := v.mentions(ctx, id, s)
		if err != nil {
			return PurgePlan{}, fmt.Errorf("plan purge: bundle %s: %w", id, err)
		}
		if len(files) > 0 {
			plan.Bundles = append(plan.Bundles, Mention{ID: id, Held: v.Held(id), Files: files})
		}
	}
	if plan.Entries, err = ledgerMentions(ctx, v.c.Ledger, s); err != nil {
		return PurgePlan{}, fmt.Errorf("plan purge: %w", err)
	}
	return plan, nil
}

// Purge carries the plan out: it deletes the bundles that are not under hold and
// redacts the ledger's entries; a bundle under hold stays, and is ErrHeld once
// everything else is done. The ledger gets an entry with the pseudonym first.
// why must not name the device. It may be repeated after an error.
func (v *Vault) Purge(s Subject, plan PurgePlan, by, why string) error {
	if err := checkWords(by, why); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if s.Matches(why) {
		return errors.New("purge: the reason names the device, and would stay in the ledger")
	}
	if _, err := v.record("data.purge", s.Pseudonym, by, map[string]any{
		"bundles": len(plan.Bundles), "entries": len(plan.Entries), "why": why}); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	var failed error
	for _, b := range plan.Bundles {
		if _, err := v.Delete(b.ID, by, why); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if err := v.c.Ledger.Redact(plan.Entries, by, why); err != nil {
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return fmt.Errorf("purge: %w", failed)
	}
	return nil
}

// mentions names the files of a bundle that hold data of the device.
func (v *Vault) mentions(ctx context.Context, id string, s Subject) ([]string, error) {
	var out []string
	for _, name := range append(slices.Clone(payloadFiles), ledgerFile) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := os.Open(filepath.Join(v.dir, id, filepath.FromSlash(name)))
		found := err != nil // what cannot be read may hold it
		if err == nil {
			if filepath.Ext(name) == ".pcapng" {
				found, err = packetsMention(ctx, f, s)
			} else {
				found, err = textMentions(f, s)
			}
			_ = f.Close()
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if found || err != nil {
			out = append(out, name)
		}
	}
	return out, nil
}

// textMentions reads in pieces that overlap by more than the longest term; a
// piece's edge can make it say yes too often, never too seldom.
func textMentions(r io.Reader, s Subject) (bool, error) {
	overlap := 4 * len(s.terms[0].text)
	buf := make([]byte, 256<<10+overlap)
	have := 0
	for {
		n, err := io.ReadFull(r, buf[have:])
		have += n
		if s.Matches(string(buf[:have])) {
			return true, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		have = copy(buf, buf[have-overlap:have])
	}
}

func packetsMention(ctx context.Context, r io.Reader, s Subject) (bool, error) {
	m := newMatcher(s.Match)
	w := newWalker(r)
	var links []capture.LinkType
	var k keys
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		kind, block, err := w.next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		switch kind {
		case kindIDB:
			links = append(links, capture.LinkType(binary.LittleEndian.Uint16(block[8:])))
		case kindEPB:
			iface, _, data, err := packet(block)
			if err != nil || int(iface) >= len(links) {
				return false, errTorn
			}
			if k.read(links[iface], data); m.host(&k) {
				return true, nil
			}
		}
	}
}

// ledgerMentions returns the entries that name the device.
func ledgerMentions(ctx context.Context, l *ledger.Ledger, s Subject) ([]int64, error) {
	const many = 512
	var out []int64
	for from, size := int64(0), l.Size(); from < size; from += many {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entries, err := l.Entries(from, min(from+many, size))
		if err != nil {
			return nil, err
		}
		for n, e := range entries {
			redactable := e.Action != ledger.ActionRedact && e.Action != ledger.ActionRedacted
			if redactable && (s.Matches(e.Actor) || s.Matches(e.Subject) || valueMentions(e.Detail, s)) {
				out = append(out, from+int64(n))
			}
		}
	}
	return out, nil
}

func valueMentions(v any, s Subject) bool {
	switch v := v.(type) {
	case string:
		return s.Matches(v)
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return valueMentions(e, s) })
	case map[string]any:
		for k, e := range v {
			if s.Matches(k) || valueMentions(e, s) {
				return true
			}
		}
	}
	return false
}

// notReached is said to whoever asks for a purge.
func notReached() []Text {
	return []Text{{
		EN: "Packets in the rolling recording stay until they are overwritten; the screen shows how many days that is.",
		JA: "常時記録されているパケットは、上書きされるまで残ります。残り日数は画面に表示されます。",
	}, {
		EN: "What detection learnt about the device's habits fades by itself; while the device is connected it is learnt anew.",
		JA: "検知のために学習した通信の傾向は、時間とともに消えます。機器が接続されている間は、あらためて学習されます。",
	}, {
		EN: "Copies that left this box (the IT vendor's, on a USB medium, in a cloud storage) have to be deleted where they are; the tombstone tells which.",
		JA: "本装置の外にあるコピー（IT事業者、USB媒体、クラウド）は、それぞれの保管先で削除してください。対象は削除記録で確認できます。",
	}, {
		EN: "A ledger or database that was damaged and put aside is not searched.",
		JA: "破損のため退避された台帳やデータベースは、検索の対象になりません。",
	}, {
		EN: "The ledger keeps the hash of each redacted entry: whoever knows all the rest of an entry can test a guess.",
		JA: "台帳には、消去した記録のハッシュ値が残ります。記録のほかの内容をすべて知る人は、推測が正しいかを確かめられます。",
	}}
}
