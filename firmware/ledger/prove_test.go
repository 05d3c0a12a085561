package ledger

import "testing"

func TestAnyTwoSizesAreProvenWhileTheLedgerGrows(t *testing.T) {
	l, err := open(t, filled(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	var heads []Checkpoint
	for i := range 9 {
		if _, err := l.Append(entry(i)); err != nil {
			t.Fatal(err)
		}
		signed, err := l.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseCheckpoint(signed, l.Key().Verifier())
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, c)
	}
	for i, older := range heads {
		for _, newer := range heads[i:] {
			proof, err := l.ProveTree(older.Size, newer.Size)
			if err != nil || CheckConsistency(proof, newer, older) != nil {
				t.Errorf("%d to %d: %v", older.Size, newer.Size, err)
			}
		}
	}
	for _, c := range [][2]int64{{0, 3}, {4, 3}, {-1, 3}, {1, 10}} {
		if _, err := l.ProveTree(c[0], c[1]); err == nil {
			t.Errorf("%v was proven", c)
		}
	}
}
