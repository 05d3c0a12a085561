package netcontain_test

import (
	"testing"

	"sekisho/netcontain"
)

func TestAMACIsReadAsItIsWrittenAndNothingElseIs(t *testing.T) {
	want := netcontain.MAC{2, 0, 0, 0, 0, 0xfe}
	text, err := want.MarshalText()
	var got netcontain.MAC
	if err != nil || got.UnmarshalText(text) != nil || got != want {
		t.Errorf("%s, %v, read as %s", text, err, got)
	}
	for _, text := range []string{"", "02:00:00:00:00", "02:00:00:00:00:00:00:01", "router"} {
		if err := got.UnmarshalText([]byte(text)); err == nil || got != want {
			t.Errorf("%q was taken as %s", text, got)
		}
	}
}
