package remote

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
)

// Numbers of RFC 6238 as authenticators know them, and of the back-off.
const (
	totpPeriod    = 30 // seconds
	totpSkew      = 1  // steps to either side, section 5.2
	freeTries     = 5  // wrong codes in a row before the first lock
	firstLock     = time.Minute
	longestLock   = time.Hour
	recoveryCodes = 10
	recoveryChars = 20 // of 5 bits each: too many to guess, so that a plain hash keeps them
)

// crockford is an alphabet without letters that are taken for others.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// secrets is what tells one person from others; part of a vendor.
type secrets struct {
	TOTP     string    `json:"totp"`      // base32
	Recovery []string  `json:"recovery"`  // SHA-256, hex; used ones are gone
	LastStep int64     `json:"last_step"` // newest TOTP step that was accepted
	Wrong    int       `json:"wrong"`     // in a row
	Locked   time.Time `json:"locked,omitzero"`
}

// newSecrets also returns what is shown once: the otpauth URL and the recovery
// codes.
func newSecrets(office, name string) (s secrets, url string, codes []string, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Sekisho " + office, AccountName: name, Period: totpPeriod})
	if err != nil {
		return secrets{}, "", nil, fmt.Errorf("make TOTP secret: %w", err)
	}
	s.TOTP = key.Secret()
	for range recoveryCodes {
		code := newRecovery()
		codes = append(codes, code)
		s.Recovery = append(s.Recovery, hashRecovery(code))
	}
	return s, key.URL(), codes, nil
}

func newRecovery() string {
	raw := make([]byte, recoveryChars)
	_, _ = rand.Read(raw) // never fails
	var b strings.Builder
	for i, c := range raw {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(crockford[c%32])
	}
	return b.String()
}

// lockedFor is how long no code is looked at.
func (s *secrets) lockedFor(now time.Time) time.Duration {
	wait := s.Locked.Sub(now)
	if wait > longestLock { // the clock was ahead when the lock was set
		s.Locked, wait = now.Add(longestLock), longestLock
	}
	return max(wait, 0)
}

// accept tells whether code is right, and takes note of it either way: a right
// one works once, a wrong one counts. The caller writes s to disk before it
// answers. The time it takes does not depend on the code.
func (s *secrets) accept(code string, now time.Time) bool {
	code = normal(code)
	step := s.matchTOTP(code, now)
	used := s.matchRecovery(code)
	switch {
	case step > s.LastStep:
		s.LastStep = step
	case used >= 0:
		s.Recovery = slices.Delete(slices.Clone(s.Recovery), used, used+1)
	default:
		s.Wrong++
		if over := s.Wrong - freeTries; over >= 0 {
			s.Locked = now.Add(min(firstLock<<min(over, 10), longestLock))
		}
		return false
	}
	s.Wrong, s.Locked = 0, time.Time{}
	return true
}

// matchTOTP is the newest step whose code it is, or -1.
func (s *secrets) matchTOTP(code string, now time.Time) int64 {
	found := int64(-1)
	for skew := int64(-totpSkew); skew <= totpSkew; skew++ {
		step := now.Unix()/totpPeriod + skew
		want, err := hotp.GenerateCode(s.TOTP, uint64(step))
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			found = step
		}
	}
	return found
}

// matchRecovery is the index of the code among the unused ones, or -1.
func (s *secrets) matchRecovery(code string) int {
	sum, found := hashRecovery(code), -1
	for i, want := range s.Recovery {
		if subtle.ConstantTimeCompare([]byte(want), []byte(sum)) == 1 {
			found = i
		}
	}
	return found
}

func hashRecovery(code string) string {
	sum := sha256.Sum256([]byte("sekisho recovery code " + normal(code)))
	return hex.EncodeToString(sum[:])
}

// normal is a code as people mean it: without spaces and dashes, and with the
// letters that crockford leaves out read as the digits they look like.
func normal(code string) string {
	return strings.NewReplacer(" ", "", "-", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(code))
}
