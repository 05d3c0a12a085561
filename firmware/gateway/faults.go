package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sekisho/firmware/health"
)

// faults keeps, per part, the error that it last reported. Any goroutine may
// report; the health checks below read.
type faults struct {
	mu      sync.Mutex
	present map[string]error
}

func newFaults() *faults { return &faults{present: map[string]error{}} }

func (f *faults) set(part string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.present[part] = err
}

func (f *faults) clear(part string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.present, part)
}

// of joins what the named parts reported, nil when they are all well.
func (f *faults) of(parts ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, p := range parts {
		if err := f.present[p]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// checkEvery is how often the health report is made.
const checkEvery = 2 * time.Second

// checks is the tree of what has to hold. Names and texts are what the panel
// and the page show.
func (g *Gateway) checks() []health.Check {
	reported := func(parts ...string) func(context.Context) error {
		return func(context.Context) error { return g.faults.of(parts...) }
	}
	var drops uint64
	checks := []health.Check{{
		Name: "capture", Vital: true, Title: health.Text{EN: "Traffic is watched", JA: "通信の監視"},
		Help: health.Text{EN: "The network was busier than this device can read. Nothing needs to be done unless it stays.", JA: "通信量が監視能力を超えました。続く場合はIT事業者に連絡してください。"},
		Probe: func(context.Context) error {
			now := g.parts.Source.Stats().Drops
			lost := now - drops
			drops = now
			if lost > 0 {
				return fmt.Errorf("%d frames were not read in the last %v", lost, checkEvery)
			}
			return nil
		},
	}, {
		Name: "containment", Vital: true, Title: health.Text{EN: "Isolation is in force", JA: "隔離の設定"},
		Help:  health.Text{EN: "Something else changes this device's network settings. Call the IT vendor.", JA: "本装置のネットワーク設定が変更されています。IT事業者に連絡してください。"},
		Probe: reported("drift", "policy", "lockdown"),
	}, {
		Name: "mechanism", Title: health.Text{EN: "Every way of isolating works", JA: "隔離のしくみ"},
		Help:  health.Text{EN: "Isolated devices stay isolated, but one of the ways to do it failed (VLAN, Wi-Fi or switch). Call the IT vendor.", JA: "隔離は続いていますが、隔離のしくみの一部（VLAN・無線LANなど）が働いていません。IT事業者に連絡してください。"},
		Probe: reported("mechanism"),
	}, {
		Name: "records", Vital: true, Title: health.Text{EN: "Records are written", JA: "記録の保存"},
		Help:  health.Text{EN: "The internal storage does not take writes. Call the IT vendor.", JA: "内部ストレージに書き込めません。IT事業者に連絡してください。"},
		Probe: reported("store", "ledger", "size", "assets", "memory"),
	}, {
		Name: "history", Title: health.Text{EN: "Earlier records are whole", JA: "過去の記録"},
		Help:  health.Text{EN: "A damaged file was set aside. Isolation goes on; tell the IT vendor before the device is restarted.", JA: "破損した記録を退避しました。隔離は続いています。再起動する前にIT事業者へ連絡してください。"},
		Probe: reported("history"),
	}, {
		Name: "evidence", Title: health.Text{EN: "Packets are kept", JA: "通信記録（証拠）の保存"},
		Help:  health.Text{EN: "Check that the SSD is plugged in and not full. Isolation works without it.", JA: "SSDの接続と空き容量を確認してください。隔離は引き続き行えます。"},
		Probe: func(context.Context) error { return g.parts.Spool.Health() },
	}, {
		Name: "bundles", Needs: []string{"evidence", "records"}, Title: health.Text{EN: "Evidence can be sealed", JA: "証拠の封印"},
		Help:  health.Text{EN: "The packets are still pinned on the SSD. Call the IT vendor.", JA: "通信記録はSSDに残っています。IT事業者に連絡してください。"},
		Probe: reported("freeze", "seal", "findings"),
	}, {
		Name: "proof", Title: health.Text{EN: "Isolation can be proven", JA: "隔離の確認"},
		Help:  health.Text{EN: "To be sure, pull the network cable of an isolated device.", JA: "念のため、隔離した機器のLANケーブルを抜いてください。"},
		Probe: reported("probe"),
	}, {
		Name: "clock", Title: health.Text{EN: "The clock is synchronised", JA: "時計の同期"},
		Help: health.Text{EN: "Times in the evidence are marked as uncertain until it is.", JA: "同期するまで、証拠の時刻は「不確か」と記録されます。"},
		Probe: func(context.Context) error {
			if !clockSynchronised() {
				return errors.New("no time service disciplines the clock")
			}
			return nil
		},
	}}
	if g.parts.Lists != nil {
		checks = append(checks, g.listsCheck())
	}
	checks = append(checks, g.panelChecks()...)
	parts := []string{"panel", "names"}
	if g.cfg.Eve.File != "" {
		parts = append(parts, "eve")
	}
	for _, name := range append(parts, g.serviceNames()...) {
		checks = append(checks, partCheck(name, reported(name)))
	}
	return checks
}

// partCheck is about one part of the program. Where a restart would not help,
// it says what does.
func partCheck(name string, probe func(context.Context) error) health.Check {
	c := health.Check{
		Name: "part:" + name, Title: health.Text{EN: "Part: " + name, JA: "部品：" + name},
		Help:  health.Text{EN: "Restart the device; the isolation stays in force.", JA: "本装置を再起動してください。隔離は維持されます。"},
		Probe: probe,
	}
	switch name {
	case "ports":
		c.Name, c.Title = name, health.Text{EN: "Every LAN port is there", JA: "LAN ポート"}
		c.Help = health.Text{EN: "Check that the adapter is plugged in. The other ports go on working.", JA: "LAN アダプターが差し込まれているか確認してください。ほかのポートはそのまま使えます。"}
	case "panel":
		c.Title = health.Text{EN: "Button and lamp", JA: "本体のボタンとランプ"}
		c.Help = health.Text{EN: "Use this page instead of the button. Ask the IT vendor to check [panel] in the settings.", JA: "ボタンの代わりに、この画面を使ってください。IT事業者に、設定の [panel] を確かめるよう依頼してください。"}
	case "names":
		c.Name, c.Title = name, health.Text{EN: "Allow list by name", JA: "名前による許可リスト"}
		c.Help = health.Text{EN: "A limited device does not reach the names on the list. Ask the IT vendor to check network.dnsmasq in the settings.", JA: "通信を制限した機器が、名前で許可した相手とつながりません。IT事業者に、設定の network.dnsmasq を確かめるよう依頼してください。"}
	}
	return c
}

// serviceNames include parts that could not be built.
func (g *Gateway) serviceNames() []string {
	names := slices.Collect(maps.Keys(g.services()))
	if g.parts.Remote != nil && g.remote == nil {
		names = append(names, "remote")
	}
	slices.Sort(names)
	return names
}

// attendHealth makes the report again and again.
func (g *Gateway) attendHealth(ctx context.Context) error {
	tree, err := health.New(g.now, checkEvery, g.checks()...)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		report := tree.Run(ctx)
		old := g.health.Swap(&report)
		if old == nil || len(old.Warnings()) != len(report.Warnings()) {
			g.watchers.tell()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// Health is the newest report.
func (g *Gateway) Health() health.Report {
	if r := g.health.Load(); r != nil {
		return *r
	}
	return health.Report{}
}

// onPanel is the first warning that belongs on the lamp: what only matters for
// the record stays on the page.
func onPanel(r health.Report) (health.Result, bool) {
	for _, w := range r.Warnings() {
		switch w.Name {
		case "clock", "history", "indicators", "names", "part:copies", "part:copy targets", panelCheck + "buzzer":
		default:
			return w, true
		}
	}
	return health.Result{}, false
}
