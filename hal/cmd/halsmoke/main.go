// Command halsmoke tries the parts of a front panel one by one: for somebody with a
// fresh board, before the gateway runs on it.
//
// It lights, beeps and draws, and asks whether that is to be seen. It says what to
// mend, and can record what went over the wires, for tests to play back. It is not
// part of the gateway, which must not run meanwhile: they would want the same lines.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"sekisho/hal/cmd/halsmoke/traffic"
	"sekisho/hal/rpi"
)

// Exit codes.
const (
	exitFine    = 0
	exitFaulty  = 1 // a part does not do what it should
	exitUsage   = 2
	exitStopped = 3 // by the person, before the end
)

// flags of the program. Their defaults are the wiring that hal/rpi draws.
type flags struct {
	Chip             string   `help:"GPIO chip, by name or label. Default: the first that has the line."`
	Button           string   `default:"${button}" help:"Line of the button."`
	ActiveHigh       bool     `help:"The button pulls its line up; without, it is a switch to ground."`
	Red              string   `default:"${red}" help:"Line of the lamp's red light, or pwm:CHIP.CHANNEL."`
	Green            string   `default:"${green}" help:"Likewise green."`
	Blue             string   `default:"${blue}" help:"Likewise blue."`
	LampActiveLow    bool     `help:"The lamp has a common anode."`
	Buzzer           string   `help:"Line of the buzzer, GPIO27 in the drawing."`
	Screen           string   `enum:"ssd1306,sh1106,none" default:"ssd1306" help:"The screen's controller: ${enum}."`
	ScreenBus        int      `default:"1" help:"Number of the I2C bus."`
	ScreenAddress    uint16   `default:"60" help:"The screen's address, 0x3C (60) or 0x3D (61)."`
	ScreenHeight     int      `enum:"64,32" default:"64" help:"Rows of the screen: ${enum}."`
	ScreenUpsideDown bool     `help:"The screen is mounted with its pins below."`
	Only             []string `placeholder:"STEP" help:"Only these steps: ${steps}."`
	Yes              bool     `help:"Ask nothing: only what the parts themselves answer counts."`
	JSON             bool     `name:"json" help:"Print the results as JSON, one object a line."`
	Record           string   `type:"path" placeholder:"FILE" help:"Write what goes over the wires to a file, one JSON object a line."`
	Lang             string   `enum:"ja,en" default:"${lang}" help:"Language: ${enum}."`
}

func (f flags) config() rpi.Config {
	return rpi.Config{
		Chip: f.Chip, Button: f.Button, ActiveLow: !f.ActiveHigh, Red: f.Red, Green: f.Green, Blue: f.Blue, LampActiveLow: f.LampActiveLow, Buzzer: f.Buzzer,
		Screen: rpi.ScreenConfig{Kind: f.Screen, Bus: f.ScreenBus, Addr: f.ScreenAddress, Height: f.ScreenHeight, UpsideDown: f.ScreenUpsideDown},
	}
}

// surroundings is what the program gets from where it runs.
type surroundings struct {
	in       io.Reader
	out, err io.Writer
	lang     string                       // of the environment, as in LANG
	board    func(chip string) chipsBoard // of this machine
}

// chipsBoard is a board that can name its GPIO chips.
type chipsBoard interface {
	rpi.Board
	Chips() ([]string, error)
}

func main() {
	os.Exit(run(os.Args[1:], surroundings{os.Stdin, os.Stdout, os.Stderr, os.Getenv("LANG"), machine}))
}

// run is the program. It returns the exit code.
func run(args []string, s surroundings) int {
	f, code := parse(args, s)
	if code >= 0 {
		return code
	}
	board := s.board(f.Chip)
	m := &smoke{
		cfg: f.config(), board: board, chips: board.Chips, words: words[f.Lang], now: time.Now,
		say: s.out, answers: bufio.NewScanner(s.in), unasked: f.Yes, mark: func(string) {},
	}
	if f.JSON {
		m.say = s.err // the results alone go out
	}
	recorded := func() error { return nil }
	if f.Record != "" {
		file, err := os.Create(f.Record)
		if err != nil {
			fmt.Fprintf(s.err, "halsmoke: %v\n", err)
			return exitUsage
		}
		r := traffic.Record(board, file, time.Now)
		m.board, m.mark = r, r.Step
		recorded = func() error { return errors.Join(r.Err(), file.Close()) }
	}
	results, stopped := m.run(f.Only)
	if f.JSON {
		e := json.NewEncoder(s.out)
		for _, r := range results {
			_ = e.Encode(r) // to a pipe that may be closed
		}
	}
	if err := recorded(); err != nil {
		fmt.Fprintf(s.err, "halsmoke: record: %v\n", err)
		return exitFaulty
	}
	return verdict(results, stopped)
}

func verdict(results []result, stopped bool) int {
	for _, r := range results {
		if r.Verdict == bad {
			return exitFaulty
		}
	}
	if stopped {
		return exitStopped
	}
	return exitFine
}

// parse returns the flags, or an exit code that is not negative.
func parse(args []string, s surroundings) (f flags, code int) {
	code = -1
	wiring := rpi.Wiring()
	lang := "en"
	if strings.HasPrefix(s.lang, "ja") {
		lang = "ja"
	}
	parser, err := kong.New(&f, kong.Name("halsmoke"), kong.Description("Tries the parts of the front panel one by one. Stop the gateway first: systemctl stop sekisho."),
		kong.Writers(s.out, s.err), kong.Exit(func(n int) { code = n }), kong.Vars{
			"button": wiring.Button, "red": wiring.Red, "green": wiring.Green, "blue": wiring.Blue,
			"steps": strings.Join(stepNames(), ", "), "lang": lang,
		})
	if err != nil {
		fmt.Fprintf(s.err, "halsmoke: %v\n", err)
		return f, exitUsage
	}
	_, err = parser.Parse(args)
	if code >= 0 { // the help was asked for
		return f, code
	}
	if err == nil {
		err = known(f.Only)
	}
	if err == nil && f.Screen != "none" && (f.ScreenAddress < 0x08 || f.ScreenAddress > 0x77) { // as the settings have it
		err = fmt.Errorf("--screen-address: %#x is not an I2C address; one printed as 0x78 is 0x3C, as 0x7A is 0x3D", f.ScreenAddress)
	}
	if err != nil {
		fmt.Fprintf(s.err, "halsmoke: %v; see halsmoke --help\n", err)
		return f, exitUsage
	}
	return f, -1
}
