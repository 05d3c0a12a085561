package remote

import (
	"encoding/base32"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

func testSecrets(t *testing.T) (*secrets, []string) {
	t.Helper()
	s, url, codes, err := newSecrets("Office: 1/2", "Vendor & Sons")
	if err != nil || !strings.HasPrefix(url, "otpauth://totp/") || len(codes) != recoveryCodes {
		t.Fatalf("%s, %d codes, %v", url, len(codes), err)
	}
	return &s, codes
}

func codeAt(t *testing.T, s *secrets, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCode(s.TOTP, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCodesAreThoseOfRFC6238(t *testing.T) {
	// Appendix B, SHA-1; six digits are the last six of its eight.
	for at, code := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		s := secrets{TOTP: base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))}
		if !s.accept(code[:3]+" "+code[3:], time.Unix(at, 0)) {
			t.Errorf("%s at %d was refused", code, at)
		}
	}
}

func TestEachCodeWorksOnceAndInOrder(t *testing.T) {
	s, _ := testSecrets(t)
	now, later := codeAt(t, s, noon), codeAt(t, s, noon.Add(totpPeriod*time.Second))
	if !s.accept(later, noon) || s.accept(later, noon) || s.accept(now, noon) {
		t.Error("a code was refused, or taken again, or taken after a newer one")
	}
}

func TestAClockMayBeOneStepOffAndNoMore(t *testing.T) {
	for steps, want := range map[int]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
		s, _ := testSecrets(t)
		if got := s.accept(codeAt(t, s, noon.Add(time.Duration(steps)*totpPeriod*time.Second)), noon); got != want {
			t.Errorf("%d steps off: %v", steps, got)
		}
	}
}

func TestARecoveryCodeWorksOnceHoweverItIsSpelled(t *testing.T) {
	s, codes := testSecrets(t)
	seen := map[string]bool{}
	for i, code := range codes {
		if seen[code] || strings.Contains(fmt.Sprint(s), code) {
			t.Fatalf("code %s is there twice, or kept in the clear", code)
		}
		seen[code] = true
		spelled := []string{code, strings.ToLower(code), strings.ReplaceAll(code, "-", " "), strings.NewReplacer("0", "o", "1", "l", "-", "").Replace(code)}[i%4]
		if !s.accept(spelled, noon) || s.accept(code, noon) {
			t.Errorf("%s spelled %s: refused, or taken twice", code, spelled)
		}
	}
	if len(s.Recovery) != 0 {
		t.Errorf("%d codes are left", len(s.Recovery))
	}
}

func TestWrongCodesLockLongerAndLonger(t *testing.T) {
	s, codes := testSecrets(t)
	want := []time.Duration{0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60}
	for i, minutes := range want {
		if s.accept("000000x", noon) || s.lockedFor(noon) != minutes*time.Minute {
			t.Errorf("wrong code %d: locked for %s, want %d min", i+1, s.lockedFor(noon), minutes)
		}
	}
	for range 2000 { // no shift runs over
		s.accept("", noon)
	}
	if s.lockedFor(noon) != longestLock {
		t.Errorf("locked for %s", s.lockedFor(noon))
	}
	if !s.accept(codes[0], noon) || s.Wrong != 0 || s.lockedFor(noon) != 0 {
		t.Error("a right code did not begin the count anew")
	}
}

func TestALockOfAWrongClockDoesNotLastForYears(t *testing.T) {
	s := secrets{Locked: noon.AddDate(3, 0, 0)}
	if s.lockedFor(noon) != longestLock || s.lockedFor(noon.Add(longestLock)) != 0 {
		t.Errorf("locked until %s", s.Locked)
	}
}
