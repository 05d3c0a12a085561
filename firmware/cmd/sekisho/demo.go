package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/term"

	"sekisho/firmware/lab"
)

type demoCmd struct {
	Scenario string `default:"worm" help:"What happens: ${scenarios}."`
	Headless bool   `help:"No person: the program presses the button itself."`
	Auto     bool   `help:"Nobody presses: the gateway isolates alone when it is sure."`
	JSON     bool   `name:"json" help:"End with one JSON object."`
	Keep     string `type:"path" placeholder:"DIR" help:"Keep the sealed bundle there (default: a new temporary folder)."`
	Listen   string `default:"127.0.0.1:0" help:"Where the web page is served on this machine."`
	Seed     uint64 `default:"1" help:"Order of ordinary traffic and of the worm."`
	Debug    bool   `help:"Say more on stderr."`
}

func scenarioNames() string {
	var names []string
	for _, s := range lab.Scenarios() {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// keepVariable hands the folder's name to the inside, where it is used.
const keepVariable = "SEKISHO_DEMO_KEEP"

// Descriptors that the inside gets beside the standard ones.
const (
	fdListener = 3
	fdDialer   = 4
	fdVendor   = 5
)

// vendorVariable tells the inside the port of the vendor's socket, for
// invitations.
const vendorVariable = "SEKISHO_DEMO_VENDOR"

// labInit is the first thing that main does: it takes over when this process
// is the first of the lab's PID namespace.
func labInit() (bool, int) { return lab.Init() }

// Run is the demonstration. Outside it opens the web page's socket, which has
// to be of this machine's network, and watches over a copy of this program
// inside of the lab; that one does the rest.
func (c *demoCmd) Run(ctx context.Context, s streams) error {
	if lab.Inside() {
		return c.play(ctx, s)
	}
	if _, err := lab.FindScenario(c.Scenario); err != nil {
		return &exitError{exitUsage, err}
	}
	keep, err := c.keepFolder()
	if err != nil {
		return err
	}
	if c.Keep == "" {
		defer os.Remove(keep) //nolint:errcheck // refuses, as it should, when a bundle is in it
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--listen: %w", err)}
	}
	defer listener.Close()
	page, err := listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("hand the web page's socket over: %w", err)
	}
	defer page.Close()
	inner, err := dialFor(ctx, listener.Addr().String())
	if err != nil {
		return err
	}
	defer inner.Close()
	vendor, port, err := vendorDoor()
	if err != nil {
		return err
	}
	defer vendor.Close()
	if !c.Headless {
		defer restoreTerminal()()
		guide(s, listener.Addr().String(), c.Auto)
	}
	code, err := lab.Supervise(ctx, lab.Child{
		Args: os.Args[1:], Env: []string{keepVariable + "=" + keep, vendorVariable + "=" + port}, Files: []*os.File{page, inner, vendor},
		Stdin: os.Stdin, Stdout: s.out, Stderr: s.err,
	})
	if errors.Is(err, context.Canceled) {
		err = errors.New("stopped; the virtual office is gone")
	}
	if code != 0 || err != nil {
		return &exitError{max(code, 1), err}
	}
	if !c.Headless {
		farewell(s, keep)
	}
	return nil
}

// farewell says what is left of the office: the evidence, if any was sealed.
func farewell(s streams, keep string) {
	bundles, err := os.ReadDir(keep)
	if err != nil || len(bundles) == 0 {
		return
	}
	text := "The virtual office is gone. The sealed evidence stays in "
	if language() == "ja" {
		text = "仮想オフィスを片づけました。封印した証拠は、次のフォルダーに残してあります: "
	}
	fmt.Fprintln(s.err, text+keep)
}

// vendorDoor is a socket on this machine's loopback, so that sekishoctl outside
// of the lab can play the vendor.
func vendorDoor() (*os.File, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("open the vendor's socket: %w", err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, "", fmt.Errorf("hand the vendor's socket over: %w", err)
	}
	return f, strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

func (c *demoCmd) keepFolder() (string, error) {
	if c.Keep == "" {
		return os.MkdirTemp("", "sekisho-demo-")
	}
	dir, err := filepath.Abs(c.Keep)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", &exitError{exitUsage, fmt.Errorf("--keep: %w", err)}
	}
	return dir, nil
}

// restoreTerminal gives the terminal back as it was, also when the panel died
// in the middle.
func restoreTerminal() func() {
	fd := int(os.Stdin.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return func() {} // no terminal
	}
	return func() { term.Restore(fd, state) } //nolint:errcheck
}

func guide(s streams, addr string, auto bool) {
	lines := []string{
		"Sekisho on a virtual office: eight machines, and one of them will misbehave.",
		"Panel as a web page: http://" + addr + "/",
		"When the lamp turns amber, press Enter (or click the button): the named machine is cut off.",
		"Then play the IT vendor: make an invitation on the page, and run bin/sekishoctl enroll with it in another terminal.",
		"q or Ctrl-C ends everything.",
	}
	press := 2
	if language() == "ja" {
		lines = []string{
			"仮想オフィスで Sekisho を動かします。8 台のうち 1 台が、まもなく不審な動きを始めます。",
			"パネルのページ: http://" + addr + "/",
			"ランプが黄色になったら Enter を押してください(画面のボタンでも構いません)。表示中の機器を切り離します。",
			"その後は業者の役もできます。ページで招待コードを作り、別の端末で bin/sekishoctl enroll に渡してください。",
			"q または Ctrl-C で終了します。",
		}
	}
	for i, line := range lines {
		if i == press && auto {
			continue
		}
		fmt.Fprintln(s.err, line)
	}
}

// language follows the rule of setlocale(3): LC_ALL, LC_MESSAGES, LANG.
func language() string {
	for _, key := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(key); v != "" {
			if strings.HasPrefix(v, "ja") {
				return "ja"
			}
			return "en"
		}
	}
	return "en"
}
