package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTableHoldsWhatTheSourcesTeach(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	words := write("words", "station\nstation's\nnation\nbrr\n")
	makers := write("makers", "00-00-5E   (hex)\t\tZZZZ\n00005E     (base 16)\t\tQuiet Queen Ltd\n\t\t\t\t1 Quay Street\n")
	out := filepath.Join(dir, "table")
	if err := run(words, makers, out); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	table, err := io.ReadAll(z)
	if err != nil || len(table) != symbols*symbols*symbols {
		t.Fatalf("table of %d, %v", len(table), err)
	}
	cost := func(s string) byte {
		return table[(symbol(s[0])*symbols+symbol(s[1]))*symbols+symbol(s[2])]
	}
	if cost("tio") >= cost("tiz") {
		t.Errorf("tio costs %d, tiz %d: words are not learnt", cost("tio"), cost("tiz"))
	}
	if cost("qua") >= cost("qub") {
		t.Errorf("qua costs %d, qub %d: addresses are not learnt", cost("qua"), cost("qub"))
	}
	again := filepath.Join(dir, "again")
	if err := run(words, makers, again); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(out)
	b, _ := os.ReadFile(again)
	if !bytes.Equal(a, b) {
		t.Error("the same sources gave another table")
	}
}

func TestWordsOfALine(t *testing.T) {
	got := strings.Join(plain("Shin-Yokohama, Kohoku-ku 222-0033 JP (B1f) x86"), " ")
	if got != "shin yokohama kohoku ku" {
		t.Errorf("%q", got)
	}
}

func TestMissingSourceIsNamed(t *testing.T) {
	if err := run("/nonexistent/words", "", ""); err == nil || !strings.Contains(err.Error(), "/nonexistent/words") {
		t.Errorf("error %v", err)
	}
}
