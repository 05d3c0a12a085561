package detect

import (
	"math"
	"math/rand"
	"strings"
	"testing"
)

// The names are none of the training lists': joined, borrowed or made up for
// businesses.
func TestMadeNamesAreLikelierThanRandomOnes(t *testing.T) {
	for _, label := range []string{"shinkansen", "yodobashi", "rakutencard", "officeprinter", "deutschebahn", "kawasakikogyo",
		"wetransfer", "mycloudbackup", "steampowered", "onlinebanking24", "tokyo2020", "sunny-garden-hotel"} {
		if r := randomness(label); r >= randomBits {
			t.Errorf("%s: %.1f bits", label, r)
		}
	}
}

func TestMostRandomLabelsAreRecognised(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	const all = 2000
	for _, alphabet := range []string{"abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz0123456789", "0123456789abcdef"} {
		missed := 0
		for range all {
			b := make([]byte, 12)
			for i := range b {
				b[i] = alphabet[r.Intn(len(alphabet))]
			}
			if randomness(string(b)) < randomBits {
				missed++
			}
		}
		if missed > all/10 {
			t.Errorf("%s: %d of %d missed", alphabet, missed, all)
		}
	}
}

func TestEveryContextOfTheTableIsAProbability(t *testing.T) {
	table := ngrams()
	for i := 0; i < len(table); i += ngramSymbols {
		sum := 0.0
		for _, v := range table[i : i+ngramSymbols] {
			sum += math.Exp2(-float64(v) / 16)
		}
		if sum < 0.9 || sum > 1.1 {
			t.Fatalf("context %d sums to %.2f", i/ngramSymbols, sum)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a.b", "com", "co.jp", "www.example.co.jp", `\195\1.tunnel.com`, "h4si====.x", "arpa", "xn--.xn--p1ai"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p := splitName(name)
		if p.domain != "" && !under(name, p.domain) {
			t.Errorf("domain %q of %q", p.domain, name)
		}
		if !strings.HasPrefix(name, p.prefix) {
			t.Errorf("prefix %q of %q", p.prefix, name)
		}
		guessed(&p)
		fileIn(name)
		var m nameCode
		if bits := m.bits(name, 3, func(string) bool { return false }); !(bits > 0) {
			t.Errorf("%q costs %f bits", name, bits)
		}
	})
}
