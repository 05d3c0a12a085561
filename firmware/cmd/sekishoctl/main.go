// Command sekishoctl is the vendor's tool: it verifies and shows evidence
// bundles without the device, on Linux, macOS and Windows. It never writes
// into a bundle and never opens a connection.
//
// Exit status: 0 everything holds; 1 a bundle is broken (the first broken file
// is named) or cannot be read; 2 wrong usage.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"sekisho/firmware/evidence"
)

const (
	exitBroken = 1
	exitUsage  = 2
)

type commands struct {
	Verify verifyCmd `cmd:"" help:"Check bundles completely: signature, every file, ledger proof, packets."`
	Show   showCmd   `cmd:"" help:"Verify a bundle and print what is in it."`
}

type verifyCmd struct {
	Bundles       []string `arg:"" name:"bundle" help:"Folder of a bundle."`
	Key           string   `help:"Trusted key: a file with the verifier key, the key itself, or its fingerprint."`
	OldCheckpoint string   `name:"checkpoint" help:"File with a checkpoint that was kept from the same device earlier." type:"existingfile"`
	JSON          bool     `name:"json" help:"Print one JSON object a bundle."`
}

type showCmd struct {
	Bundle string `arg:"" help:"Folder of a bundle."`
	Key    string `help:"Trusted key, as in verify."`
	Lang   string `help:"Language of titles: en or ja." enum:"en,ja" default:"en"`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	var c commands
	exit := -1
	parser, err := kong.New(&c, kong.Name("sekishoctl"), kong.Description("Checks Sekisho's evidence bundles."),
		kong.Writers(out, errs), kong.Exit(func(code int) { exit = code }))
	if err != nil {
		fmt.Fprintln(errs, "sekishoctl:", err)
		return exitUsage
	}
	ctx, err := parser.Parse(args)
	if exit >= 0 {
		return exit // --help
	}
	if err != nil {
		fmt.Fprintf(errs, "sekishoctl: %v\nRun \"sekishoctl --help\" for usage.\n", err)
		return exitUsage
	}
	if strings.HasPrefix(ctx.Command(), "show") {
		return c.Show.run(out, errs)
	}
	return c.Verify.run(out, errs)
}

// trusted reads --key: a file when there is one of that name.
func trusted(key string) (string, error) {
	if key == "" {
		return "", nil
	}
	data, err := os.ReadFile(key)
	if errors.Is(err, os.ErrNotExist) {
		return key, nil
	}
	if err != nil {
		return "", err
	}
	if key = strings.TrimSpace(string(data)); key == "" {
		return "", errors.New("the key file is empty")
	}
	return key, nil
}

func (v verifyCmd) run(out, errs io.Writer) int {
	key, err := trusted(v.Key)
	if err != nil {
		fmt.Fprintln(errs, "sekishoctl: read key:", err)
		return exitUsage
	}
	o := evidence.VerifyOptions{Key: key}
	if v.OldCheckpoint != "" {
		if o.OldCheckpoint, err = os.ReadFile(v.OldCheckpoint); err != nil {
			fmt.Fprintln(errs, "sekishoctl: read checkpoint:", err)
			return exitUsage
		}
	}
	status := 0
	for _, path := range v.Bundles {
		r, err := evidence.Verify(path, o)
		if err != nil {
			status = exitBroken
		}
		if v.JSON {
			printJSON(out, path, r, err)
			continue
		}
		if err != nil {
			fmt.Fprintf(errs, "BROKEN  %s\n  %s\n", path, reason(err))
			continue
		}
		printReport(out, r)
	}
	return status
}

// reason is the sentence about the first broken file.
func reason(err error) string {
	var file *evidence.FileError
	if errors.As(err, &file) {
		return file.Error()
	}
	return err.Error()
}

func printJSON(out io.Writer, path string, r evidence.Report, err error) {
	var object any = struct {
		OK bool `json:"ok"`
		evidence.Report
	}{true, r}
	if err != nil {
		failed := struct {
			OK    bool   `json:"ok"`
			Path  string `json:"path"`
			File  string `json:"file,omitempty"`
			Error string `json:"error"`
		}{Path: path, Error: err.Error()}
		var file *evidence.FileError
		if errors.As(err, &file) {
			failed.File = file.File
		}
		object = failed
	}
	_ = json.NewEncoder(out).Encode(object)
}

func printReport(out io.Writer, r evidence.Report) {
	fmt.Fprintf(out, "OK  %s\n", r.Path)
	fmt.Fprintf(out, "  bundle       %s, incident %s\n", r.ID, r.Incident)
	fmt.Fprintf(out, "  signer       %s\n  fingerprint  %s\n", r.Signer, r.Fingerprint)
	if !r.Trusted {
		fmt.Fprintln(out, "               self-asserted: compare the fingerprint with the one on the device's panel")
	}
	fmt.Fprintf(out, "  time span    %s to %s\n", stamp(r.First), stamp(r.Last))
	fmt.Fprintf(out, "  packets      %d (%d bytes)\n", r.Packets, r.Bytes)
	fmt.Fprintf(out, "  sealed       %s, ledger entry %d of %d\n", stamp(r.Sealed), r.Entry, r.LedgerSize)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339Nano)
}
