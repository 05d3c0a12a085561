package offsite

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNamesAreSafeOnEveryFileSystem(t *testing.T) {
	for name, safe := range map[string]bool{
		"INC-20261126-01.tar": true, "a_b.c-d.tar.age": true, "checkpoint-12": true, "x": true, strings.Repeat("a", maxName): true,
		"": false, ".": false, "..": false, ".x": false, "-rf": false, "a/b": false, `a\b`: false, "a b": false, "a:b": false, "a\x00": false,
		"a.": false, "日本": false, "con": false, "Nul.tar": false, "com1.tar": false, "LPT9": false, "com10": true, "console.tar": true,
		strings.Repeat("a", maxName+1): false,
	} {
		if err := checkName(name); (err == nil) != safe {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestTheLastBytesGoOnlyWhenTheWholeIsRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 1, 2000).Draw(t, "data")
		from := rapid.IntRange(0, len(data)-1).Draw(t, "from")
		flip := rapid.IntRange(-1, len(data)-1).Draw(t, "flip")
		o := objectOf("x", data)
		if flip >= 0 {
			bad := bytes.Clone(data)
			bad[flip] ^= 1
			o.Open = objectOf("x", bad).Open
		}
		r, err := o.reader(context.Background(), int64(from))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if flip < 0 && (err != nil || !bytes.Equal(got, data[from:])) {
			t.Fatalf("%d bytes: %v", len(got), err)
		}
		if flip >= 0 && (!errors.Is(err, ErrSource) || len(got) >= len(data)-from) {
			t.Fatalf("%d of %d bytes of a damaged source: %v", len(got), len(data)-from, err)
		}
	})
}

func TestReadingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := objectOf("x", make([]byte, 100))
	r, err := o.reader(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := o.same(ctx, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestASourceThatFailsIsNotTheMediumsFault(t *testing.T) {
	o := objectOf("x", make([]byte, 100))
	o.Open = func() (io.ReadSeekCloser, error) { return brokenDisk{}, nil }
	r, err := o.reader(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, ErrSource) {
		t.Error(err)
	}
}

type brokenDisk struct{ io.Seeker }

func (brokenDisk) Read([]byte) (int, error) { return 0, errors.New("input/output error") }
func (brokenDisk) Close() error             { return nil }
