package detect

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the table
	"io"
	"math"
	"sync"
)

// How likely one character follows two others in names that people make:
// trigrams of Debian's wamerican 2020.12.07 (SCOWL; any use is allowed with its
// notice) and of the makers and addresses in ieee-data 20220827.1 (a public
// registry), as probabilities only. ngramgen/ makes it again.
//
//go:generate go run sekisho/firmware/detect/ngramgen
//go:embed ngram.gz
var ngramTable []byte

// Symbols as in ngramgen: 0 both ends, letters, any digit, hyphen.
const (
	ngramSymbols = 29
	ngramDigit   = 27
	ngramHyphen  = 28
)

// ngrams reads the table once: -log2 P(c|ab) in sixteenths of a bit.
var ngrams = sync.OnceValue(func() []byte {
	z, err := gzip.NewReader(bytes.NewReader(ngramTable))
	if err != nil {
		panic(err) // the table is part of the program, and its test reads it
	}
	t, err := io.ReadAll(z)
	if err != nil || len(t) != ngramSymbols*ngramSymbols*ngramSymbols {
		panic("detect: ngram table is damaged")
	}
	return t
})

func ngramSymbol(c byte) int {
	switch {
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 1
	case c >= '0' && c <= '9':
		return ngramDigit
	}
	return ngramHyphen
}

// randomness is the log likelihood ratio, in bits, of a label drawn at random
// against one that people made. A random label has letters only, letters and
// digits, or hexadecimal digits, each as likely as the others.
func randomness(label string) float64 {
	t, made := ngrams(), 0.0
	letters, hex := true, true
	a, b := 0, 0
	for i := 0; i <= len(label); i++ {
		c := 0
		if i < len(label) {
			c = ngramSymbol(label[i])
			switch {
			case c == ngramHyphen:
				letters, hex = false, false
			case c == ngramDigit:
				letters = false
				made += math.Log2(10)
			case c > 6:
				hex = false
			}
		}
		made += float64(t[(a*ngramSymbols+b)*ngramSymbols+c]) / 16
		a, b = b, c
	}
	n := float64(len(label))
	p := math.Exp2(-n * math.Log2(37))
	if letters {
		p += math.Exp2(-n * math.Log2(26))
	}
	if hex {
		p += math.Exp2(-n * 4)
	}
	return made + math.Log2(p/3)
}
