package asset_test

import (
	"testing"
	"unicode"
	"unicode/utf8"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
)

// FuzzNames gives a device any name, by DHCP and by the owner: what comes out is
// short, visible, reads in one direction and stays as it is.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"pc-1", "経理のパソコン", "", " . ", "a\x00b", "\u202egnp.exe", "\xff\xfe", "e\u0301", "\u200b\ufeff", "…" + string(make([]byte, 300))} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := asset.New(asset.Config{})
		v.Observe(&flow.DHCP{Meta: meta(1, 0), Type: 3, ClientMAC: mac(1), Hostname: s})
		learnt, _ := v.Get(id(1))
		v.SetName(id(1), s)
		given, _ := v.Get(id(1))
		v.SetName(id(1), given.Name)
		again, _ := v.Get(id(1))
		if again.Name != given.Name {
			t.Errorf("%q becomes %q", given.Name, again.Name)
		}
		for _, name := range []string{learnt.Name, given.Name} {
			if !utf8.ValidString(name) || utf8.RuneCountInString(name) > 63 {
				t.Errorf("name %q", name)
			}
			for _, r := range name {
				if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || !unicode.IsPrint(r) {
					t.Errorf("%q holds %U", name, r)
				}
			}
		}
	})
}
