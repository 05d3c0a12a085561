package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sekisho/firmware/remote/wire"
)

// What can go wrong besides an *Error; errors wrap one of them.
var (
	ErrUnreachable = errors.New("the gateway cannot be reached")
	ErrPin         = errors.New("whoever answers there does not have the gateway's key")
	ErrAnswer      = errors.New("the gateway's answer makes no sense")
	ErrChanged     = errors.New("the package is not the one that was announced")
	ErrDamaged     = errors.New("what came does not have the announced SHA-256")
	ErrSpace       = errors.New("not enough room on this disk")
	ErrInUse       = errors.New("another sekishoctl is at work there")
	ErrNoProfile   = errors.New("there is no such profile")
	ErrName        = errors.New("a profile's name is made of letters and digits, '.', '_' and '-' within")
	ErrProfile     = errors.New("there is a profile of this name already")
)

// Error is a refusal by the gateway.
type Error struct {
	Status  int
	Code    string // of package wire; empty when the gateway gave none
	Message string // printable
	Retry   time.Duration
}

func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = http.StatusText(e.Status)
	}
	return fmt.Sprintf("the gateway refused (%d): %s", e.Status, text)
}

// Temporary says that the same request may be answered later.
func (e *Error) Temporary() bool {
	return e.Code == wire.CodeBusy || e.Code == wire.CodeUnavailable || e.Code == "" && e.Status >= 500
}

const (
	maxError = 16 << 10
	maxRetry = 24 * time.Hour
)

// readError makes an Error of an answer that is not 2xx, a redirect among them.
func readError(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // half a body is no worse than none
	var body wire.Error
	_ = json.Unmarshal(data, &body)
	e := &Error{Status: resp.StatusCode, Code: Printable(body.Error.Code, 64), Message: Printable(body.Error.Message, 500)}
	if resp.StatusCode/100 == 3 {
		e.Message = "it points to another address, where sekishoctl does not go"
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil {
		seconds = body.Error.Retry
	}
	e.Retry = min(time.Duration(max(0, min(seconds, int(maxRetry/time.Second))))*time.Second, maxRetry)
	return e
}

// Printable keeps text that a stranger chose from steering the terminal: at most
// limit characters, and none that is not visible.
func Printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
	n := 0
	for i := range s {
		if n == limit {
			return s[:i] + "…"
		}
		n++
	}
	return s
}
