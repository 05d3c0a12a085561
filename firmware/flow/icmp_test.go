package flow

import "testing"

func TestTheDataOfAnEchoIsKnownAgain(t *testing.T) {
	data := make([]byte, 120)
	for i := range data {
		data[i] = byte(i)
	}
	stamped := append([]byte(nil), data...)
	stamped[0], stamped[15] = 99, 99 // a time stamp is no content
	long := append([]byte(nil), data...)
	long[110] = 99 // nor is what lies behind the first 64 bytes looked at
	for name, same := range map[string][]byte{"time stamp": stamped, "end": long} {
		if echoSum(same) != echoSum(data) {
			t.Errorf("%s: not the same content", name)
		}
	}
	for _, i := range []int{16, 40, 79} {
		other := append([]byte(nil), data...)
		other[i] ^= 1
		if echoSum(other) == echoSum(data) {
			t.Errorf("byte %d changed and nobody noticed", i)
		}
	}
	if echoSum(nil) != echoSum(data[:16]) {
		t.Error("echoes without content differ")
	}
}
