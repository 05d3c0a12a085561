package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsReplacedAndNothingElseIsLeft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.json")
	// What a crash in the middle of an earlier write has left.
	if err := os.WriteFile(path+".tmp", []byte("half of something longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); string(got) != text || err != nil {
			t.Errorf("file holds %q (%v), want %q", got, err, text)
		}
	}
	if left, err := os.ReadDir(dir); len(left) != 1 || err != nil {
		t.Errorf("left are %v (%v)", left, err)
	}
}

func TestAFailedWriteKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "inside"), 0o700); err != nil { // rename cannot replace it
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new"), 0o600); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if _, err := os.Stat(filepath.Join(path, "inside")); err != nil {
		t.Errorf("what was there is gone: %v", err)
	}
	if _, err := os.Stat(path + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("the temporary file is left (%v)", err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "file"), nil, 0o600); err == nil {
		t.Error("a missing folder is no error")
	}
}
