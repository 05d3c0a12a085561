package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"

	"golang.org/x/term"

	"sekisho/firmware/ledger"
	"sekisho/firmware/remote/client"
	"sekisho/firmware/remote/wire"
)

type enrollCmd struct {
	profileFlags
	Invitation string `arg:"" help:"The line sekisho:… that the owner sent, or - to read it from standard input, which keeps it out of the shell's history."`
	Name       string `help:"How you are called on the gateway's panel and page. Default: your user name."`
}

func (e enrollCmd) run(p program) error {
	invitation, err := e.invitation(p)
	if err != nil {
		return err
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	name := e.Name
	if name == "" {
		if name, err = userName(); err != nil {
			return err
		}
	}
	profile, second, err := client.Enroll(p.ctx, client.Enrolment{Home: home, Profile: e.Profile, Invitation: invitation, Name: name})
	if err != nil {
		return err
	}
	return e.tell(p.out, profile, second)
}

func (e enrollCmd) invitation(p program) (wire.Invitation, error) {
	text := e.Invitation
	if text == "-" {
		var err error
		if text, err = line(p.in); err != nil {
			return wire.Invitation{}, usage("read the invitation: %w", err)
		}
	}
	invitation, err := wire.ParseInvitation(text)
	if err != nil {
		return invitation, usage("%w", err)
	}
	return invitation, nil
}

// userName is the login's, without the domain that Windows puts before it.
func userName() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", usage("no user name is known (%w): give --name", err)
	}
	return u.Username[strings.LastIndexByte(u.Username, '\\')+1:], nil
}

// line reads one, of at most 4 KiB.
func line(in io.Reader) (string, error) {
	text, err := bufio.NewReader(io.LimitReader(in, 4<<10)).ReadString('\n')
	if text = strings.TrimSpace(text); text != "" {
		return text, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return "", err
}

// tell shows what is shown only once.
func (e enrollCmd) tell(out io.Writer, profile *client.Profile, second client.SecondFactor) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "Enrolled with %s as %q, profile %s.\n\n", profile.Office, profile.Name, profile.Dir)
	fmt.Fprintln(w, "1. Put this into an authenticator app. It is shown now and never again, and is not stored on this computer:")
	if isTerminal(out) {
		if err := drawQR(w, second.OTPAuth); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "   %s\n\n2. Write these recovery codes down. Each works once in place of the app's code:\n", second.OTPAuth)
	for _, code := range second.RecoveryCodes {
		fmt.Fprintf(w, "   %s\n", code)
	}
	fmt.Fprintf(w, "\n3. Compare with the owner: the fingerprint of the gateway's key is\n   %s\n\n", ledger.Fingerprint(profile.DeviceKey))
	fmt.Fprintf(w, "Next: sekishoctl incidents%s\ncurl works too:\n  curl -k --pinnedpubkey \"%s\" --cert \"%s\" --key \"%s\" https://%s%s\n",
		e.flag(), profile.ServerPin, profile.CertFile(), profile.KeyFile(), profile.Address, wire.PathIncidents)
	if err := w.Flush(); err != nil {
		return refused("Ask the owner to end this enrolment and for a new invitation.", "the second factor could not be shown: %w", err)
	}
	return nil
}

// flag is what later commands need to find the profile.
func (f profileFlags) flag() string {
	if f.Profile == "default" {
		return ""
	}
	return " --profile " + f.Profile
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
