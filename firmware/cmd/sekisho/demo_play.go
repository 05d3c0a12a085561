package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"sekisho/firmware/config"
	"sekisho/firmware/evidence"
	"sekisho/firmware/lab"
)

// demoResult is the contract of `demo --json`. Times are seconds since the
// first attack packet left the attacker.
type demoResult struct {
	Scenario    string  `json:"scenario"`
	DetectedS   float64 `json:"detected_s"`
	PressedS    float64 `json:"pressed_s"`
	IsolatedS   float64 `json:"isolated_s"`
	Proof       string  `json:"proof"`
	Reached     int     `json:"hosts_reached_before"`
	LeakedAfter int     `json:"leaked_frames_after"`
	TrafficOK   bool    `json:"office_traffic_ok"`
	Bundle      string  `json:"bundle"`
	Verified    bool    `json:"verified"`
	// Detectors spoke about the attacker until it was isolated, each once.
	Detectors []string `json:"detectors"`
	// FilesLost counts what the attack had destroyed by then.
	FilesLost int `json:"files_lost"`
}

// Bounds of the parts of a headless demonstration.
const (
	startTime    = 20 * time.Second
	detectTime   = 30 * time.Second
	isolateTime  = 10 * time.Second
	afterTime    = 2 * time.Second // the attack goes on that long against the closed gate
	healTime     = 20 * time.Second
	sealTime     = 20 * time.Second
	warmUpRounds = 10 * time.Second
	personTime   = time.Hour
	pollEvery    = 20 * time.Millisecond
)

// errQuit says that the person at the terminal ended the gateway.
var errQuit = errors.New("ended before the device was isolated")

// play is one demonstration, inside.
type play struct {
	cmd    *demoCmd
	s      streams
	office *lab.Office
	api    *http.Client
	child  *exec.Cmd
	ended  chan error
	meter  *lab.Meter
	result demoResult

	measure *measuring // nil unless the bench asked
}

func (c *demoCmd) play(ctx context.Context, s streams) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	scenario, err := lab.FindScenario(c.Scenario)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if c.Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: level}))
	p := &play{cmd: c, s: s, api: pageClient(fdDialer), result: demoResult{Scenario: c.Scenario}}
	p.say("building the virtual office")
	if p.office, err = lab.Start(ctx, lab.Config{Dir: lab.Dir, HoldPorts: true, Seed: c.Seed, Log: log}); err != nil {
		return err
	}
	defer p.office.Close() //nolint:errcheck // the namespaces go with this process
	defer func() { err = errors.Join(err, keepDrills(lab.Dir, os.Getenv(keepVariable))) }()
	if err := p.startGateway(ctx); err != nil {
		return err
	}
	defer p.stopGateway()
	err = p.run(ctx, scenario)
	if c.JSON {
		if encodeErr := json.NewEncoder(s.out).Encode(p.result); encodeErr != nil {
			return encodeErr
		}
	}
	if errors.Is(err, errQuit) && !c.JSON {
		return nil // whoever watched has seen enough
	}
	if err != nil {
		return err
	}
	most := scenario.MaxLost
	if !c.Headless { // what a person takes their time for is no fault of the product
		most = p.result.FilesLost
	}
	if err := p.result.judge(c.Auto, most); err != nil {
		return err
	}
	p.say("isolated after %.2f s, proven on the wire; bundle: %s", p.result.IsolatedS, p.result.Bundle)
	if !c.Headless {
		p.say("the office keeps running; q or Ctrl-C ends it")
		p.office.Traffic(p.untilChildEnds(ctx), p.office.Attacker())
	}
	return nil
}

// say is silent while the panel has the terminal.
func (p *play) say(format string, args ...any) {
	if p.cmd.Headless {
		fmt.Fprintf(p.s.err, "demo: "+format+"\n", args...)
	}
}

func (p *play) settings() config.Config {
	c := config.Default()
	o := p.office
	c.Office = config.Office{Name: "Virtual office", Lang: language(), Vendor: "IT support", VendorPhone: "03-5550-0100"}
	c.Network.Bridge, c.Network.WAN, c.Network.Ports, c.Network.HoldPorts = o.Bridge, o.WAN, o.Ports, true
	c.Network.LAN = []netip.Prefix{o.LAN}
	c.Network.DHCPPool = config.Range{First: o.Pool[0], Last: o.Pool[1]}
	c.Storage = config.Storage{
		State: filepath.Join(lab.Dir, "state"), Evidence: filepath.Join(lab.Dir, "evidence"),
		Spool: 64 << 20, Segment: 4 << 20,
	}
	c.Evidence.After = config.Duration(afterTime)
	if port, err := strconv.Atoi(os.Getenv(vendorVariable)); err == nil {
		c.Remote.Interface, c.Remote.Host, c.Remote.Port = o.Bridge, "127.0.0.1", port
	}
	c.Policy.AutoIsolate = p.cmd.Auto
	if p.cmd.Headless {
		c.Panel.Kind = "headless"
	}
	return c
}

// startGateway starts `sekisho run` in the gateway's namespace with the page's
// socket handed over as a service manager does (sd_listen_fds(3)).
func (p *play) startGateway(ctx context.Context) error {
	text, err := p.settings().Encode()
	if err != nil {
		return fmt.Errorf("write the gateway's settings: %w", err)
	}
	file := filepath.Join(lab.Dir, "sekisho.toml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("write the gateway's settings: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	// LISTEN_PID has to be the number that the program itself will have.
	args := []string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, exe, "run", "--config", file}
	if p.cmd.Debug {
		args = append(args, "--debug")
	}
	p.child = p.office.Gateway.Command(context.WithoutCancel(ctx), "sh", args...)
	p.child.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=page:"+vendorSocket, "SEKISHO_LAB_STAGE=")
	p.child.ExtraFiles = []*os.File{os.NewFile(fdListener, "page"), os.NewFile(fdVendor, "vendor")}
	p.child.Stderr = p.s.err
	if !p.cmd.Headless {
		p.child.Stdin, p.child.Stdout = os.Stdin, p.s.out
	}
	if err := p.child.Start(); err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	p.ended = make(chan error, 1)
	go func() { p.ended <- p.child.Wait() }()
	p.say("starting the gateway")
	var last error
	err = p.poll(ctx, startTime, "the gateway to be healthy", func(ctx context.Context) (bool, error) {
		var health struct {
			Ready bool `json:"ready"`
		}
		if err := p.get(ctx, "/api/health", &health); err != nil {
			last = err
			return false, nil
		}
		last = errors.New("it says that it is not ready")
		return health.Ready, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

func (p *play) stopGateway() {
	p.child.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		p.child.Process.Kill() //nolint:errcheck // process 1 would do it as well
	}
}

// untilChildEnds is a context that ends with the gateway, as when a person
// presses q.
func (p *play) untilChildEnds(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case err := <-p.ended:
			p.ended <- err // for stopGateway
		case <-ctx.Done():
		}
	}()
	return ctx
}

// run goes from the first lease to the verified bundle.
func (p *play) run(ctx context.Context, scenario lab.Scenario) error {
	attacker := p.office.Attacker()
	joinCtx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := p.office.Join(joinCtx); err != nil {
		return err
	}
	if err := scenario.Prepare(joinCtx, p.office); err != nil {
		return err
	}
	p.say("ordinary traffic")
	warm, cancelWarm := context.WithTimeout(ctx, warmUpRounds)
	defer cancelWarm()
	if err := p.office.Check(warm); err != nil {
		return fmt.Errorf("the office does not work before the attack: %w", err)
	}
	var err error
	if p.meter, err = p.office.Measure(scenario); err != nil {
		return err
	}
	defer p.meter.Close()
	attack, stop := context.WithCancel(ctx)
	defer stop()
	background := make(chan struct{}, 2)
	attackErr := make(chan error, 1)
	go func() {
		attackErr <- scenario.Attack(attack, p.office)
		background <- struct{}{}
	}()
	go func() {
		p.office.Traffic(attack, attacker)
		background <- struct{}{}
	}()
	p.say("%s misbehaves: %s", attacker.Name, scenario.Name)
	if err := p.startMeasuring(attack); err != nil {
		return err
	}
	err = p.detectAndIsolate(ctx, scenario, attackErr)
	stop()
	<-background
	<-background
	if err != nil {
		return err
	}
	return p.collect(ctx)
}

func (p *play) since(t time.Time) float64 {
	return float64(t.Sub(p.meter.First()).Microseconds()) / 1e6
}

type panelState struct {
	State  string `json:"state"`
	Target string `json:"target"`
}

type incidentState struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Asset struct {
		ID string `json:"id"`
	} `json:"asset"`
	Proof struct {
		Grade string `json:"grade"`
	} `json:"proof"`
	Bundle   string `json:"bundle"`
	Findings []struct {
		Detector string `json:"detector"`
	} `json:"findings"`
}

// detectors lists who spoke, each once.
func (i incidentState) detectors() []string {
	out := []string{}
	for _, f := range i.Findings {
		if !slices.Contains(out, f.Detector) {
			out = append(out, f.Detector)
		}
	}
	return out
}

// ours finds the incident of the attacker's machine.
func (p *play) ours(ctx context.Context) (incidentState, error) {
	var all struct {
		Incidents []incidentState `json:"incidents"`
	}
	if err := p.get(ctx, "/api/incidents", &all); err != nil {
		return incidentState{}, err
	}
	for _, i := range all.Incidents {
		if i.Asset.ID == "mac:"+p.office.Attacker().MAC.String() {
			return i, nil
		}
	}
	return incidentState{}, nil
}

// detectAndIsolate waits for a detector that knows this attack: another one may
// have spoken first.
func (p *play) detectAndIsolate(ctx context.Context, scenario lab.Scenario, attackErr <-chan error) error {
	wait := max(detectTime, scenario.Within)
	if !p.cmd.Headless {
		wait = personTime
	}
	var panel panelState
	if err := p.poll(ctx, wait, "the attacker to be noticed", func(ctx context.Context) (bool, error) {
		select {
		case err := <-attackErr:
			return false, errors.Join(errors.New("the attack ended before anybody noticed"), err)
		default:
		}
		i, err := p.ours(ctx)
		if err != nil || i.ID == "" {
			return false, nil
		}
		p.result.Detectors = i.detectors()
		if p.cmd.Headless && !slices.ContainsFunc(p.result.Detectors, func(d string) bool { return slices.Contains(scenario.Detectors, d) }) {
			return false, nil
		}
		if err := p.get(ctx, "/api/panel", &panel); err != nil {
			return false, nil
		}
		return panel.State == "attention" || i.State != "open", nil
	}); err != nil {
		return fmt.Errorf("%w; %v spoke, wanted one of %v; the panel shows %q", err, p.result.Detectors, scenario.Detectors, panel.State)
	}
	p.result.DetectedS = p.since(time.Now())
	p.say("noticed after %.2f s", p.result.DetectedS)
	if p.cmd.Headless && !p.cmd.Auto {
		pressed := time.Now()
		if p.measure != nil {
			p.measure.pressed = pressed
		}
		if err := p.press(ctx, panel.Target); err != nil {
			return err
		}
		p.result.PressedS = p.since(pressed)
	}
	wait = isolateTime
	if !p.cmd.Headless {
		wait = personTime
	}
	if err := p.poll(ctx, wait, "the proof of isolation", func(ctx context.Context) (bool, error) {
		i, err := p.ours(ctx)
		if err != nil {
			return false, nil
		}
		if i.State == "contain_failed" {
			return false, errors.New("the gateway says that the isolation failed")
		}
		if !p.cmd.Headless && p.result.PressedS == 0 && i.State != "open" && !p.cmd.Auto {
			p.result.PressedS = p.since(time.Now())
		}
		return i.State == "contained" && i.Proof.Grade == "proven", nil
	}); err != nil {
		return err
	}
	isolated := time.Now()
	var err error
	if p.result.FilesLost, err = scenario.Lost(p.office); err != nil {
		return err
	}
	p.result.IsolatedS, p.result.Proof = p.since(isolated), "wire"
	p.result.Reached = p.meter.Reached(isolated)
	p.say("isolated after %.2f s, %d machines had been reached; the attack goes on against the closed gate", p.result.IsolatedS, p.result.Reached)
	return p.closedGate(ctx, scenario, isolated)
}

// closedGate lets the attack go on, looks at what of it arrives, and whether
// the others work.
func (p *play) closedGate(ctx context.Context, scenario lab.Scenario, isolated time.Time) error {
	attacker := p.office.Attacker()
	timer := time.NewTimer(afterTime)
	defer timer.Stop()
	confined := errors.Join(p.office.Confined(ctx, attacker), scenario.Stopped(ctx, p.office))
	if p.cmd.Scenario == "rogue-dhcp" { // what the rogue handed out is given back
		if err := p.office.Host(lab.VictimName).Renew(ctx); err != nil {
			return err
		}
	}
	heal, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	traffic := p.office.Check(heal, attacker)
	p.result.TrafficOK = traffic == nil
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	leaked, err := p.meter.After(isolated)
	p.result.LeakedAfter = len(leaked)
	for i, l := range leaked {
		if i == 5 {
			break
		}
		p.say("leaked to %s: %s", l.Host, l.What)
	}
	if confined != nil {
		confined = fmt.Errorf("the isolated machine: %w", confined)
	}
	if traffic != nil {
		traffic = fmt.Errorf("the others' traffic: %w", traffic)
	}
	return errors.Join(err, confined, traffic, p.noteMeasured(isolated))
}

// collect waits for the bundle, copies it out of the lab and verifies the copy.
func (p *play) collect(ctx context.Context) error {
	var sealed string
	if err := p.poll(ctx, sealTime, "the sealed bundle", func(ctx context.Context) (bool, error) {
		i, err := p.ours(ctx)
		if err != nil || i.Bundle == "" {
			return false, nil
		}
		sealed = i.Bundle
		return true, nil
	}); err != nil {
		return err
	}
	if !filepath.IsAbs(sealed) {
		sealed = filepath.Join(lab.Dir, "evidence", sealed)
	}
	kept := filepath.Join(os.Getenv(keepVariable), filepath.Base(sealed))
	if err := os.CopyFS(kept, os.DirFS(sealed)); err != nil {
		return fmt.Errorf("keep the bundle: %w", err)
	}
	p.result.Bundle = kept
	if _, err := evidence.Verify(kept, evidence.VerifyOptions{}); err != nil {
		return err
	}
	p.result.Verified = true
	return nil
}

// keepDrills copies the bundles of drills that a person held meanwhile: their
// folder goes with the office that is in dir.
func keepDrills(dir, keep string) error {
	bundles, err := filepath.Glob(filepath.Join(dir, "evidence", "bundles", "*"))
	if err != nil {
		return fmt.Errorf("keep the drills: %w", err)
	}
	for _, b := range bundles {
		if r, err := evidence.Verify(b, evidence.VerifyOptions{}); err != nil || !r.Drill {
			continue // half sealed when the office closed, or not of a drill
		}
		if err := os.CopyFS(filepath.Join(keep, filepath.Base(b)), os.DirFS(b)); err != nil {
			return fmt.Errorf("keep the drills: %w", err)
		}
	}
	return nil
}

// judge says what of the result is not as it has to be.
func (r demoResult) judge(auto bool, maxLost int) error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(r.DetectedS > 0, "the attack was not noticed")
	want(auto || r.PressedS > 0, "the button was not pressed")
	want(r.IsolatedS > 0 && r.Proof == "wire", "the isolation was not proven on the wire")
	want(r.LeakedAfter == 0, "%d frames of the isolated machine still arrived", r.LeakedAfter)
	want(r.TrafficOK, "the others' traffic does not work")
	want(r.FilesLost <= maxLost, "%d files were lost before the isolation, wanted at most %d", r.FilesLost, maxLost)
	want(r.Bundle != "" && r.Verified, "the bundle is not verified")
	return errors.Join(errs...)
}

// poll asks until done, the gateway ends, or the time is over.
func (p *play) poll(ctx context.Context, limit time.Duration, what string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			if err == nil && !p.cmd.Headless {
				return errQuit
			}
			return fmt.Errorf("the gateway ended while waiting for %s: %v", what, err)
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", limit, what, ctx.Err())
		case <-tick.C:
		}
	}
}
