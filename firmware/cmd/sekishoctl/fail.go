package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"sekisho/firmware/evidence"
	"sekisho/firmware/remote/client"
	"sekisho/firmware/remote/wire"
)

// failure is an error that says itself what it means for the exit status and
// what to do.
type failure struct {
	exit int
	err  error
	todo string
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...), `Run "sekishoctl --help" for usage.`}
}

func refused(todo, format string, args ...any) error {
	return &failure{exitBroken, fmt.Errorf(format, args...), todo}
}

// errTold is a failure of which everything has been said.
var errTold = errors.New("told")

// fail says what went wrong and what to do, and returns the exit status.
func (p program) fail(err error) int {
	if errors.Is(err, errTold) {
		return exitBroken
	}
	exit, todo := advice(err)
	if found := (*client.TamperError)(nil); errors.As(err, &found) {
		fmt.Fprintln(p.errs, "*** ALARM ***")
		if found.Dir != "" {
			todo += "\nBoth checkpoints were saved as evidence: " + found.Dir
		}
	}
	fmt.Fprintln(p.errs, "sekishoctl:", plain(err))
	if todo != "" {
		fmt.Fprintln(p.errs, todo)
	}
	return exit
}

// plain is an error's text, in which a name may stand that a stranger chose.
func plain(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// advice is what to do about err.
func advice(err error) (exit int, todo string) {
	var own *failure
	var found *client.TamperError
	var answer *client.Error
	switch {
	case errors.As(err, &own):
		return own.exit, own.todo
	case errors.As(err, &found):
		return exitBroken, "Somebody may have rewritten what the gateway logged, or its disk was replaced. Ring the owner up, do not rely on new\n" +
			"evidence before it is explained. When the owner has a good reason, enrol again under another --profile."
	case errors.As(err, &answer):
		return adviceOn(answer)
	case errors.Is(err, client.ErrPin):
		return exitBroken, "Either the gateway was replaced, or somebody stands in between. Do not go on: ring the owner up."
	case errors.Is(err, client.ErrUnreachable):
		return exitNetwork, "Check the line and the VPN to the gateway (sekishoctl dials it directly, past any proxy), then run the same command\n" +
			"again. A download goes on where it ended."
	case errors.Is(err, context.Canceled):
		return exitBroken, "Interrupted. Run the same command again to go on."
	}
	for _, known := range adviceByError {
		if errors.Is(err, known.err) {
			return known.exit, known.todo
		}
	}
	if file := (*evidence.FileError)(nil); errors.As(err, &file) {
		return exitBroken, "Do not use it as evidence. Pull it again into another folder; when that fails too, ring the owner up."
	}
	return exitBroken, ""
}

var adviceByError = []struct {
	err  error
	exit int
	todo string
}{
	{client.ErrNoProfile, exitUsage, "Enrol first: sekishoctl enroll INVITATION. --profile chooses among several."},
	{client.ErrName, exitUsage, "Choose another --profile."},
	{client.ErrProfile, exitUsage, "Choose another name with --profile, or take the old profile's folder away when the owner has ended that enrolment."},
	{client.ErrDamaged, exitBroken, "Run the same command again. When it happens twice, the gateway's disk is bad, or the gateway is not honest."},
	{client.ErrChanged, exitBroken, "Run the same command again: it asks what the package is now."},
	{client.ErrAnswer, exitBroken, "Perhaps the gateway is of another version than this sekishoctl, or it is not honest."},
	{client.ErrSpace, exitBroken, "Make room, or choose another --dir."},
	{client.ErrInUse, exitBroken, "Wait for it to end."},
	{evidence.ErrEncrypted, exitBroken, "Give the age key that the owner's setting names: --identity KEYFILE. What was downloaded is kept."},
	{fs.ErrExist, exitBroken, "It was left as it is. Move it away, or choose another --dir."},
}

// adviceOn is about a refusal by the gateway.
func adviceOn(e *client.Error) (exit int, todo string) {
	if e.Temporary() {
		return exitNetwork, "Try again later" + after(e.Retry) + "."
	}
	return exitBroken, map[string]string{
		wire.CodeInvitation: "An invitation works once, and not for long. Ask the owner for a new one. When an earlier try was cut off after the\n" +
			"gateway had taken it, tell the owner to remove that entry from the list of vendors too.",
		wire.CodeNotEnrolled: "The owner has ended this enrolment, or the gateway was set up anew. Ask for a new invitation, and enrol under another\n" +
			"--profile.",
		wire.CodeWrong: "Wait for the next code of the authenticator, each works once, and check the clock of the telephone. A recovery code\n" +
			"works too, once.",
		wire.CodeLocked:    "There were too many wrong codes. Try again" + after(e.Retry) + "; when it was not you, ring the owner up.",
		wire.CodeNoGrant:   "The access has ended. Run the same command again to ask for a new one; what has come is kept.",
		wire.CodeNotSealed: "The gateway is still collecting packets. Try again in some minutes; sekishoctl watch tells when.",
		wire.CodeUnknown:   "Look with: sekishoctl incidents",
	}[e.Code]
}

func after(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return " in " + d.String()
}
