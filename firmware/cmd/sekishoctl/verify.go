package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"sekisho/firmware/evidence"
)

type verifyCmd struct {
	Bundles       []string `arg:"" name:"bundle" help:"A bundle: its folder, its .tar, or its .tar.age."`
	Key           string   `help:"Trusted key: a file with the verifier key, the key itself, or its fingerprint."`
	OldCheckpoint string   `name:"checkpoint" help:"File with a checkpoint that was kept from the same device before the bundle was sealed." type:"existingfile"`
	Identity      []string `help:"File with the age identity that decrypts a .tar.age." type:"existingfile" sep:"none" placeholder:"KEYFILE"`
	TimestampCA   string   `name:"timestamp-ca" help:"PEM file with the roots of time-stamping authorities that you trust." type:"existingfile"`
	Profile       string   `help:"Trust the device of this profile, as from sekishoctl enroll, instead of --key."`
	Home          string   `help:"Folder of the profiles." env:"SEKISHO_HOME" type:"path"`
	JSON          bool     `name:"json" help:"Print one JSON object a bundle."`
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
		return "", usage("read key: %w", err)
	}
	if key = strings.TrimSpace(string(data)); key == "" {
		return "", usage("read key: the file is empty")
	}
	return key, nil
}

func (v verifyCmd) options() (o evidence.VerifyOptions, err error) {
	if o.Key, err = trusted(v.Key); err != nil {
		return o, err
	}
	if v.Profile != "" {
		if v.Key != "" {
			return o, usage("--key and --profile both say whom to trust: give one")
		}
		profile, err := profileFlags{Home: v.Home, Profile: v.Profile}.open()
		if err != nil {
			return o, err
		}
		o.Key = profile.DeviceKey
	}
	if v.OldCheckpoint != "" {
		if o.OldCheckpoint, err = os.ReadFile(v.OldCheckpoint); err != nil {
			return o, usage("read checkpoint: %w", err)
		}
	}
	if v.TimestampCA != "" {
		if o.TimestampRoots, err = roots(v.TimestampCA); err != nil {
			return o, err
		}
	}
	o.Identities, err = readIdentities(v.Identity)
	return o, err
}

func roots(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, usage("read time-stamping roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, usage("read time-stamping roots: no certificate in %s", path)
	}
	return pool, nil
}

func (v verifyCmd) run(p program) error {
	o, err := v.options()
	if err != nil {
		return err
	}
	var told error
	for _, path := range v.Bundles {
		r, err := evidence.Verify(path, o)
		if err != nil {
			told = errTold
		}
		if v.JSON {
			printJSON(p.out, path, r, err)
			continue
		}
		if err != nil {
			p.broken(path, err)
			continue
		}
		printReport(p.out, r)
	}
	return told
}

// broken says what does not hold, and what to do.
func (p program) broken(path string, err error) {
	if _, missing := os.Lstat(path); errors.Is(missing, fs.ErrNotExist) { // nothing is broken: nothing is there
		fmt.Fprintf(p.errs, "sekishoctl: there is no %s. Name the folder of a bundle, or its .tar or .tar.age.\n", path)
		return
	}
	fmt.Fprintf(p.errs, "BROKEN  %s\n  %s\n", path, reason(err))
	if _, todo := advice(err); todo != "" {
		fmt.Fprintln(p.errs, todo)
	}
}

// reason is the sentence about the first broken file.
func reason(err error) string {
	var file *evidence.FileError
	if errors.As(err, &file) {
		return plain(file)
	}
	return plain(err)
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
	if r.Drill {
		fmt.Fprintln(out, "               DRILL: an exercise; the device was the gateway's own and was never infected")
	}
	fmt.Fprintf(out, "  signer       %s\n  fingerprint  %s\n", r.Signer, r.Fingerprint)
	if !r.Trusted {
		fmt.Fprintln(out, "               self-asserted: compare the fingerprint with the one on the device's panel")
	}
	fmt.Fprintf(out, "  time span    %s to %s\n", stamp(r.First), stamp(r.Last))
	fmt.Fprintf(out, "  packets      %d (%d bytes)\n", r.Packets, r.Bytes)
	fmt.Fprintf(out, "  sealed       %s, ledger entry %d of %d\n", stamp(r.Sealed), r.Entry, r.LedgerSize)
	if t := r.Timestamp; t != nil {
		fmt.Fprintf(out, "  time-stamp   %s by %s\n", stamp(t.Time), printable(t.Authority))
		if !t.Trusted {
			fmt.Fprintln(out, "               self-asserted: name the authority's root with verify --timestamp-ca")
		}
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339Nano)
}
