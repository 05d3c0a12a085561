// Command ngramgen makes the table of package detect that says how likely one
// character follows two others in names that people make: trigrams of English
// words (Debian's wamerican, from SCOWL, whose notice allows any use) and of
// the names and postal addresses of makers all over the world (Debian's
// ieee-data, a public registry). Only probabilities go into the table, no word.
// It runs under go generate only.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"strings"
)

func main() {
	words := flag.String("words", "/usr/share/dict/american-english", "word list, one a line")
	makers := flag.String("makers", "/usr/share/ieee-data/oui.txt", "IEEE MA-L listing")
	out := flag.String("out", "ngram.gz", "table to write")
	flag.Parse()
	if err := run(*words, *makers, *out); err != nil {
		log.Fatal(err)
	}
}

func run(words, makers, out string) error {
	var m model
	for _, in := range []struct {
		path string
		read func(io.Reader, func(...string)) error
	}{{words, readWords}, {makers, readMakers}} {
		f, err := os.Open(in.path)
		if err != nil {
			return fmt.Errorf("open source: %w", err)
		}
		err = in.read(f, m.learn)
		f.Close()
		if err != nil {
			return fmt.Errorf("read %s: %w", in.path, err)
		}
	}
	table, err := m.encode()
	if err != nil {
		return err
	}
	return os.WriteFile(out, table, 0o644)
}

// Symbols: 0 both ends of a label, 1 to 26 letters, 27 any digit, 28 hyphen.
const (
	symbols = 29
	digit   = 27
	hyphen  = 28
)

type model struct {
	three [symbols][symbols][symbols]float64
	two   [symbols][symbols]float64
	one   [symbols]float64
	seen  map[string]bool
}

// learn counts a label made of the given words, once: names on the internet
// are often two words without a space.
func (m *model) learn(parts ...string) {
	label := strings.Join(parts, "")
	if m.seen == nil {
		m.seen = make(map[string]bool)
	}
	if m.seen[label] || len(label) < 2 {
		return
	}
	m.seen[label] = true
	a, b := 0, 0
	for i := 0; i <= len(label); i++ {
		c := 0
		if i < len(label) {
			c = symbol(label[i])
		}
		m.three[a][b][c]++
		m.two[b][c]++
		m.one[c]++
		a, b = b, c
	}
}

func symbol(c byte) int {
	switch {
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 1
	case c >= '0' && c <= '9':
		return digit
	}
	return hyphen
}

// encode writes -log2 P(c|ab) in sixteenths of a bit, smoothed as Witten and
// Bell do (IEEE Trans. Inf. Theory 37(4), 1991): the shorter context weighs as
// many counts as there are different successors.
func (m *model) encode() ([]byte, error) {
	var all float64
	for _, n := range m.one {
		all += n
	}
	flat := make([]byte, 0, symbols*symbols*symbols)
	for a := range symbols {
		for b := range symbols {
			for c := range symbols {
				p := (m.one[c] + 1) / (all + symbols)
				p = blend(m.two[b][:], c, p)
				p = blend(m.three[a][b][:], c, p)
				flat = append(flat, byte(min(255, math.Round(-16*math.Log2(p)))))
			}
		}
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(flat); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func blend(counts []float64, c int, shorter float64) float64 {
	total, kinds := 0.0, 0.0
	for _, n := range counts {
		total += n
		if n > 0 {
			kinds++
		}
	}
	if total == 0 {
		return shorter
	}
	return (counts[c] + kinds*shorter) / (total + kinds)
}

// readWords learns each word, and each together with one from far away in the
// list.
func readWords(r io.Reader, learn func(...string)) error {
	var list []string
	s := bufio.NewScanner(r)
	for s.Scan() {
		if w := plain(s.Text()); len(w) == 1 && !strings.Contains(s.Text(), "'") {
			list = append(list, w[0])
		}
	}
	for i, w := range list {
		learn(w)
		learn(w, list[(i*7919+13)%len(list)])
	}
	return s.Err()
}

// readMakers learns the words of names and addresses, and neighbours joined.
func readMakers(r io.Reader, learn func(...string)) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		line := s.Text()
		if strings.Contains(line, "(hex)") {
			continue // the same name again
		}
		if _, name, ok := strings.Cut(line, "(base 16)"); ok {
			line = name
		}
		words := plain(line)
		for i, w := range words {
			learn(w)
			if i > 0 {
				learn(words[i-1], w)
			}
		}
	}
	return s.Err()
}

// plain gives the words of a line that are letters, perhaps with digits.
func plain(line string) []string {
	words := strings.FieldsFunc(strings.ToLower(line), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9')
	})
	out := words[:0]
	for _, w := range words {
		if strings.ContainsAny(w, "aeiouy") && len(w) > 1 {
			out = append(out, w)
		}
	}
	return out
}
