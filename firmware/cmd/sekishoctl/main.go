// Command sekishoctl is the vendor's tool. It enrols with a gateway, pulls
// evidence from it by an access that the owner grants, watches its ledger, and
// verifies and shows bundles without it, on Linux, macOS and Windows. It never
// writes into a bundle, and never believes a gateway more than it proves.
//
// Exit status: 0 everything holds; 1 something does not verify (the first
// broken file is named), or was refused; 2 wrong usage; 3 the gateway cannot be
// reached or is busy, trying again may help.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

const (
	exitBroken  = 1
	exitUsage   = 2
	exitNetwork = 3
)

const about = `The vendor's tool for Sekisho gateways. In the usual order:

    sekishoctl enroll INVITATION    once, with the line that the owner sent
    sekishoctl incidents            what has happened there
    sekishoctl pull INCIDENT        ask the owner, download, verify
    sekishoctl show FOLDER          what is in the bundle that was pulled
    sekishoctl end INCIDENT         give the access back
    sekishoctl watch                stay informed, and notice a rewritten ledger

The gateway is dialled directly, past any proxy, and known by its key alone. Exit
status: 0 good, 1 not verified or refused, 2 wrong usage, 3 not reached.`

type commands struct {
	Enroll    enrollCmd    `cmd:"" help:"Enrol this computer with a gateway."`
	Incidents incidentsCmd `cmd:"" help:"List the incidents of a gateway."`
	Pull      pullCmd      `cmd:"" help:"Download the evidence of an incident, and verify it."`
	End       endCmd       `cmd:"" help:"Give an access back before its time is over."`
	Watch     watchCmd     `cmd:"" help:"Tell news as they come; sound the alarm when the ledger was rewritten."`
	Verify    verifyCmd    `cmd:"" help:"Check bundles completely: signature, every file, ledger proof, packets."`
	Show      showCmd      `cmd:"" help:"Verify a bundle and print what is in it."`
}

// command is a subcommand with its flags. What run returns goes through fail.
type command interface {
	run(p program) error
}

// program is what a command gets from outside.
type program struct {
	ctx       context.Context
	in        io.Reader
	out, errs io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	os.Exit(program{ctx, os.Stdin, os.Stdout, os.Stderr}.run(os.Args[1:]))
}

func (p program) run(args []string) int {
	var c commands
	exit := -1
	parser, err := kong.New(&c, kong.Name("sekishoctl"), kong.Description(about),
		kong.Writers(p.out, p.errs), kong.Exit(func(code int) { exit = code }))
	if err != nil {
		fmt.Fprintln(p.errs, "sekishoctl:", err)
		return exitUsage
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 {
		return exit // --help
	}
	if err != nil {
		fmt.Fprintf(p.errs, "sekishoctl: %v\nRun \"sekishoctl --help\" for usage.\n", err)
		return exitUsage
	}
	name, _, _ := strings.Cut(parsed.Command(), " ")
	chosen := map[string]command{"enroll": c.Enroll, "incidents": c.Incidents, "pull": c.Pull, "end": c.End,
		"watch": c.Watch, "verify": c.Verify, "show": c.Show}[name]
	if err := chosen.run(p); err != nil {
		return p.fail(err)
	}
	return 0
}
