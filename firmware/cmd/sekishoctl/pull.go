package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"golang.org/x/term"

	"sekisho/firmware/remote/client"
	"sekisho/firmware/remote/wire"
)

type pullCmd struct {
	profileFlags
	Incident string   `arg:"" help:"The incident's id, as in sekishoctl incidents."`
	Code     string   `help:"Code of the authenticator, or a recovery code. Without it you are asked when it is needed."`
	Reason   string   `help:"Why, for the owner who decides; at most 200 characters."`
	Hours    int      `help:"How long the access should last. The owner may grant less." default:"4"`
	Dir      string   `help:"Folder to put the evidence into." default:"." type:"existingdir"`
	Identity []string `help:"File with the age identity that decrypts the package (age-keygen makes one)." type:"existingfile" sep:"none" placeholder:"KEYFILE"`
}

func (c pullCmd) run(p program) error {
	identities, err := readIdentities(c.Identity)
	if err != nil {
		return err
	}
	if c.Hours < 1 || c.Hours > 7*24 {
		return usage("--hours is from 1 to 168")
	}
	profile, err := c.open()
	if err != nil {
		return err
	}
	session := client.New(profile)
	defer session.Close()
	incident, err := find(p, session, c.Incident)
	if err != nil {
		return err
	}
	d := client.Download{Incident: incident.ID, Path: filepath.Join(c.Dir, incident.ID+".tar")}
	if incident.Bundle == nil {
		_, todo := adviceOn(&client.Error{Code: wire.CodeNotSealed})
		return refused(todo, "the evidence of incident %s is not sealed yet", incident.ID)
	}
	if d.Package = *incident.Bundle; d.Package.Encrypted {
		d.Path += ".age"
		if len(identities) == 0 {
			fmt.Fprintln(p.errs, "The package is encrypted: without --identity it is downloaded, but cannot be verified yet.")
		}
	}
	if err := c.fetch(p, session, d, incident.Grant); err != nil {
		return err
	}
	report, err := session.Receive(p.ctx, d.Path, identities)
	if err != nil {
		return err
	}
	printReport(p.out, report)
	fmt.Fprintf(p.out, "  ledger       proven to continue the one that was kept\n  package      %s\n", d.Path)
	fmt.Fprintf(p.out, "Look into it: sekishoctl show %s\nGive the access back: sekishoctl end %s%s\n", report.Path, incident.ID, c.flag())
	return nil
}

// fetch downloads what is not there yet; only for that an access is needed.
func (c pullCmd) fetch(p program, session *client.Client, d client.Download, g *wire.Grant) error {
	done, err := d.Done()
	if err != nil {
		return err
	}
	if done {
		fmt.Fprintf(p.errs, "%s is there already.\n", d.Path)
		return nil
	}
	if err := c.grant(p, session, g); err != nil {
		return err
	}
	m := newMeter(p.errs)
	d.Progress = m.moved
	d.Cut = func(err error) {
		m.end()
		fmt.Fprintf(p.errs, "%v; going on soon\n", err)
	}
	defer m.end()
	return session.Download(p.ctx, d)
}

// grant makes sure that there is an active one.
func (c pullCmd) grant(p program, session *client.Client, g *wire.Grant) error {
	if g != nil && g.State == wire.GrantActive {
		return nil
	}
	if g == nil || g.State != wire.GrantWaiting {
		asked, err := c.ask(p, session)
		if err != nil {
			return err
		}
		g = &asked
	}
	if g.State == wire.GrantWaiting {
		fmt.Fprintf(p.errs, "The owner has to approve now: hold the button of the gateway for 3 seconds, or use its web page.\n"+
			"Waiting until %s; Ctrl-C does not take the question back.\n", minute(g.Until))
	}
	answer, err := session.WaitGrant(p.ctx, *g)
	if err != nil {
		return err
	}
	switch answer.State {
	case wire.GrantActive:
		fmt.Fprintf(p.errs, "Approved, until %s.\n", minute(answer.Until))
		return nil
	case wire.GrantDenied:
		return refused("Ring the owner up before you ask again.", "the owner has refused the access")
	case wire.GrantExpired:
		return refused("Ring the owner up, then run the same command again.", "nobody has answered in time")
	}
	return refused("Ring the owner up, then run the same command again.", "the access is %s", answer.State)
}

func (c pullCmd) ask(p program, session *client.Client) (wire.Grant, error) {
	code := c.Code
	if code == "" {
		var err error
		if code, err = askCode(p); err != nil {
			return wire.Grant{}, err
		}
	}
	reason := c.Reason
	if reason == "" {
		reason = "Evidence of incident " + c.Incident
	}
	return session.AskGrant(p.ctx, wire.GrantRequest{Incident: c.Incident, Reason: reason, Code: code, Minutes: c.Hours * 60})
}

// askCode reads the code without showing it, where there is a terminal.
func askCode(p program) (string, error) {
	fmt.Fprint(p.errs, "Code of your authenticator app (or a recovery code): ")
	if f, ok := p.in.(*os.File); ok && isTerminal(f) {
		code, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(p.errs)
		if err != nil || len(code) == 0 {
			return "", usage("no code was given")
		}
		return strings.TrimSpace(string(code)), nil
	}
	code, err := line(p.in)
	fmt.Fprintln(p.errs)
	if err != nil {
		return "", usage("no code was given: use --code, or a line on standard input")
	}
	return code, nil
}

// readIdentities reads age identity files.
func readIdentities(files []string) ([]age.Identity, error) {
	var all []age.Identity
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, usage("read identity: %w", err)
		}
		some, err := age.ParseIdentities(f)
		_ = f.Close()
		if err != nil {
			return nil, usage("read identity %s: %w", name, err)
		}
		all = append(all, some...)
	}
	return all, nil
}
