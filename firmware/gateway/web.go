package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"sekisho/firmware/asset"
	"sekisho/firmware/detect"
	"sekisho/firmware/drill"
	"sekisho/firmware/health"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/ui"
)

// web is the gateway as the page sees it: snapshots for those who look, and
// deeds that go through the core like everything else.
type web struct {
	*Gateway
	ctx context.Context
}

var _ ui.Gateway = web{}

func (g *Gateway) page(ctx context.Context, log *slog.Logger) (http.Handler, error) {
	screen, ok := g.parts.Panel.(ui.Panel)
	if !ok {
		return nil, fmt.Errorf("the panel %T has no picture for the page", g.parts.Panel)
	}
	site, err := ui.New(ui.Config{
		Gateway: web{g, ctx}, Panel: screen, Logger: log.With("component", "web"), Lang: g.cfg.Lang, Now: g.now,
		Fingerprint: g.parts.Ledger.Key().Fingerprint(), Evidence: web{g, ctx}, Impacts: web{g, ctx}, Containments: g.containments(), Vendors: g.vendors(), Drills: web{g, ctx},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", g.healthz)
	mux.Handle("/", site)
	return mux, nil
}

// healthz is for service managers and scripts: 200 when every vital check
// holds, else 503 and the names of those that do not.
func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	report := g.Health()
	if report.Ready() {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	if len(report.Results) == 0 {
		fmt.Fprintln(w, "starting")
	}
	for _, warning := range report.Warnings() {
		fmt.Fprintln(w, warning.Name)
	}
}

func (w web) Incidents() []incident.Incident { return w.View().Incidents }

func (w web) Lockdown() bool { return w.View().Lockdown }

func (w web) SetLockdown(ctx context.Context, on bool, by string) error {
	var failed error
	err := w.do(ctx, func() { failed = w.setLockdown(w.ctx, on, by) })
	return errors.Join(err, failed)
}

func (w web) Subscribe() (<-chan struct{}, func()) { return w.watchers.add() }

func (w web) Health() health.Report { return w.Gateway.Health() }

// do runs fn in the core and waits for it.
func (w web) do(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case w.requests <- func() { defer close(done); fn() }:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ctx.Done():
		return errors.New("the gateway is stopping")
	}
	<-done
	return nil
}

// step applies an input in the core. A refusal is recorded, and told.
func (w web) step(ctx context.Context, id string, in incident.Input) (incident.Incident, error) {
	var out incident.Incident
	var failed error
	in.At = w.now()
	err := w.do(ctx, func() {
		if out, failed = w.apply(w.ctx, id, in); failed != nil {
			failed = fmt.Errorf("%w: incident %s", ui.ErrUnknown, id)
			return
		}
		failed = refused(out, in.Kind)
	})
	return out, errors.Join(err, failed)
}

func (w web) Isolate(ctx context.Context, id, by string) (incident.Incident, error) {
	return w.step(ctx, id, incident.Input{Kind: incident.InRequest, By: by, Level: incident.Isolate})
}

func (w web) Limit(ctx context.Context, id, by string) (incident.Incident, error) {
	return w.step(ctx, id, incident.Input{Kind: incident.InRequest, By: by, Level: incident.Limit})
}

// HoldDevice holds a device that a person names in the list of devices. Whether it is
// done or refused, the ledger says who wished for it.
func (w web) HoldDevice(ctx context.Context, id asset.ID, level incident.Level, by, note string) (incident.Incident, error) {
	var out incident.Incident
	var failed error
	err := w.do(ctx, func() {
		a, known := w.parts.Pipeline.inventory.Get(id)
		if !known {
			failed = fmt.Errorf("%w: device %s", ui.ErrUnknown, id)
			return
		}
		untouchable := w.desk.Untouchable(a)
		w.record(ledger.Entry{Actor: by, Action: "device." + string(level), Subject: string(id), Detail: map[string]any{"note": note, "refused": untouchable}})
		if untouchable {
			failed = fmt.Errorf("%w: the gateway and its uplink are never contained", ui.ErrRefused)
			return
		}
		change := w.desk.Request(w.now(), a, level, by, note)
		w.carry(w.ctx, change)
		out = change.Incident
		if now, ok := w.desk.Get(out.ID); ok { // carrying it out went further
			out = now
		}
		failed = refused(change.Incident, incident.InRequest)
	})
	return out, errors.Join(err, failed)
}

// refused is what became of the newest input, when that is of this kind.
func refused(i incident.Incident, kind incident.Kind) error {
	if n := len(i.History); n > 0 && i.History[n-1].Refused && i.History[n-1].Input == kind {
		return fmt.Errorf("%w: %s", ui.ErrRefused, i.History[n-1].Note)
	}
	return nil
}

func (w web) Lower(ctx context.Context, id, by, note string) (incident.Incident, error) {
	return w.step(ctx, id, incident.Input{Kind: incident.InLower, By: by, Note: note, Level: incident.Limit})
}

func (w web) Undo(ctx context.Context, id, by, note string) (incident.Incident, error) {
	return w.step(ctx, id, incident.Input{Kind: incident.InUndo, By: by, Note: note})
}

func (w web) Tick(ctx context.Context, id, item string, done bool, by, note string) (incident.Incident, error) {
	kind := incident.InTick
	if !done {
		kind = incident.InUntick
	}
	i, err := w.step(ctx, id, incident.Input{Kind: kind, By: by, Note: note, Item: item})
	if errors.Is(err, ui.ErrRefused) && i.State.Held() && !i.Lists(item) {
		err = fmt.Errorf("%w: item %q of incident %s", ui.ErrUnknown, item, id)
	}
	return i, err
}

func (w web) Limits() incident.Limits { return w.View().Limits }

func (w web) Release(ctx context.Context, id, by, note string) (incident.Incident, error) {
	i, err := w.step(ctx, id, incident.Input{Kind: incident.InRelease, By: by, Note: note})
	if missing := i.Missing(); errors.Is(err, ui.ErrRefused) && i.State.Held() && len(missing) > 0 {
		err = &ui.MissingError{Items: missing}
	}
	return i, err
}

func (w web) Dismiss(ctx context.Context, id, by, note string) (incident.Incident, error) {
	i, err := w.step(ctx, id, incident.Input{Kind: incident.InDismiss, By: by, Note: note})
	if missing := i.Unasked(); errors.Is(err, ui.ErrRefused) && len(missing) > 0 {
		err = &ui.MissingError{Items: missing}
	}
	return i, err
}

func (w web) Unteach(ctx context.Context, id, by, note string) (incident.Incident, error) {
	return w.step(ctx, id, incident.Input{Kind: incident.InUnteach, By: by, Note: note})
}

func (w web) SetDevice(ctx context.Context, id asset.ID, change ui.DeviceChange, by string) (asset.Asset, error) {
	inventory := w.parts.Pipeline.inventory
	known := true
	if change.Name != nil {
		known = inventory.SetName(id, *change.Name)
	}
	if change.Protected != nil {
		known = inventory.SetProtected(id, *change.Protected) && known
	}
	if !known {
		return asset.Asset{}, fmt.Errorf("%w: device %s", ui.ErrUnknown, id)
	}
	if change.Kin != nil {
		if err := w.judge(ctx, id, *change.Kin, by); err != nil {
			return asset.Asset{}, err
		}
	}
	a, _ := inventory.Get(id)
	err := w.do(ctx, func() {
		w.record(ledger.Entry{Actor: by, Action: "device.change", Subject: string(id), Detail: map[string]any{"name": a.Name, "protected": a.Protected}})
		w.saveAssets(w.ctx)
	})
	w.watchers.tell()
	return a, err
}

func (w web) Drills() []drill.Drill { return w.View().Drills }

func (w web) StartDrill(ctx context.Context, by string) (drill.Drill, error) {
	return w.drilled(ctx, func() (drill.Drill, error) { return w.startDrill(w.ctx, by) })
}

func (w web) StopDrill(ctx context.Context, by string) (drill.Drill, error) {
	return w.drilled(ctx, func() (drill.Drill, error) { return w.stopDrill(w.ctx, by) })
}

func (w web) drilled(ctx context.Context, deed func() (drill.Drill, error)) (drill.Drill, error) {
	var d drill.Drill
	var failed error
	err := w.do(ctx, func() { d, failed = deed() })
	return d, errors.Join(err, failed)
}

// containments is nil where nothing says how devices are held.
func (g *Gateway) containments() ui.Containments {
	if g.parts.Holds == nil {
		return nil
	}
	return holds{g.parts.Holds}
}

// holds tells the page what plan chose.
type holds struct{ Holds }

func (h holds) Containment(incident string) (ui.Containment, bool) {
	p, ok := h.Hold(incident)
	if !ok {
		return ui.Containment{}, false
	}
	out := ui.Containment{
		Mechanisms: []string{}, Ports: append([]string{}, p.Ports...), Reason: detect.Text(p.Reason), BestEffort: p.BestEffort, Limits: []detect.Text{},
	}
	for _, m := range p.Mechanisms {
		out.Mechanisms = append(out.Mechanisms, string(m))
	}
	for _, t := range p.Limits {
		out.Limits = append(out.Limits, detect.Text(t))
	}
	return out, true
}
