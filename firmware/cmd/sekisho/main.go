// Command sekisho is the gateway: it runs on the appliance, replays captures,
// and plays through an infection on a virtual office. main is flags and wiring
// only.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker.
var version = "unknown"

// Exit codes of DESIGN section 7. Everything else that goes wrong is 1.
const (
	exitUsage   = 2
	exitDamaged = 3
)

type cli struct {
	Run      runCmd      `cmd:"" help:"Run the gateway on this machine."`
	Demo     demoCmd     `cmd:"" help:"Play an infection through on a virtual office; no hardware needed."`
	Drill    drillCmd    `cmd:"" help:"Practise on the running gateway: a device of its own plays an infected one."`
	Panel    panelCmd    `cmd:"" help:"Show and press the panel of a running gateway in this terminal, over SSH too."`
	Replay   replayCmd   `cmd:"" help:"Read capture files and print what would have been found."`
	Bench    benchCmd    `cmd:"" help:"Measure this machine: packets a second, press to isolation."`
	Selftest selftestCmd `cmd:"" help:"Check that this machine has what the gateway needs."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// exitError carries an exit code along with what to say, if anything.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// streams is where a command reads and writes; commands get it by kong.Bind.
type streams struct {
	out, err io.Writer
}

type versionCmd struct{}

func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "sekisho", version)
	return err
}

func main() {
	if done, code := labInit(); done {
		os.Exit(code)
	}
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) means it
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	code := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, s streams) (code int) {
	exited := -1
	parser, err := kong.New(&cli{},
		kong.Name("sekisho"),
		kong.Description("関所: the gateway that lets a small office survive an infection."),
		kong.UsageOnError(),
		kong.Writers(s.out, s.err),
		kong.Exit(func(c int) { exited = c }),
		kong.Vars{"scenarios": scenarioNames()},
		kong.Bind(s),
		kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		fmt.Fprintln(s.err, "sekisho:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(s.err, "sekisho: %v\nrun 'sekisho --help' for the commands\n", err)
		return exitUsage
	}
	err = command.Run()
	var coded *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		if coded.err != nil {
			fmt.Fprintln(s.err, "sekisho:", coded.err)
		}
		return coded.code
	default:
		fmt.Fprintln(s.err, "sekisho:", err)
		return 1
	}
}
