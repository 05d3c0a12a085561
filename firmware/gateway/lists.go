package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"sekisho/firmware/config"
	"sekisho/firmware/detect"
	"sekisho/firmware/eve"
	"sekisho/firmware/health"
	"sekisho/firmware/ioc"
)

// indicators lends the lists in force to the detectors. A nil keeper has none.
func indicators(k *ioc.Keeper) func() detect.Indicators {
	if k == nil {
		return nil
	}
	return func() detect.Indicators {
		if set := k.Set(); set.Len() > 0 {
			return lists{set}
		}
		return nil
	}
}

// ReadLists reads list files for a replay. Lists from elsewhere are left out:
// a replay asks nobody, and says the same tomorrow.
func ReadLists(list []config.IndicatorList) (func() detect.Indicators, error) {
	var read []ioc.List
	for _, l := range list {
		if l.File == "" {
			continue
		}
		entries, err := readList(l)
		if err != nil {
			return nil, fmt.Errorf("indicator list %s: %w", l.File, err)
		}
		read = append(read, ioc.List{Name: l.Name, Trust: l.Trust, Entries: entries})
	}
	if len(read) == 0 {
		return nil, nil
	}
	set := ioc.NewSet(read)
	return func() detect.Indicators { return lists{set} }, nil
}

func readList(l config.IndicatorList) ([]ioc.Entry, error) {
	f, err := os.Open(l.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, _, err := ioc.Parse(f, ioc.Format(l.Format))
	return entries, err
}

// lists says in the detectors' words what a set of indicators answers.
type lists struct{ set *ioc.Set }

func indicator(m ioc.Match, ok bool) (detect.Indicator, bool) {
	return detect.Indicator{Value: m.Value, Source: m.Source, Trust: detect.Confidence(m.Trust)}, ok
}

func (l lists) Domain(name string, at time.Time) (detect.Indicator, bool) {
	return indicator(l.set.Domain(name, at))
}

func (l lists) Addr(a netip.Addr, at time.Time) (detect.Indicator, bool) {
	return indicator(l.set.Addr(a, at))
}

func (l lists) URL(host, path string, at time.Time) (detect.Indicator, bool) {
	return indicator(l.set.URL(host, path, at))
}

// Fingerprint knows the kind by its shape, as the lists themselves do.
func (l lists) Fingerprint(text string, at time.Time) (detect.Indicator, bool) {
	k, v, err := ioc.Canonical(text)
	if err != nil {
		return detect.Indicator{}, false
	}
	return indicator(l.set.Fingerprint(k, v, at))
}

// listsCheck warns of lists that could not be refreshed, and of those that are
// too old to be in force.
func (g *Gateway) listsCheck() health.Check {
	return health.Check{
		Name: "indicators", Title: health.Text{EN: "Lists of known dangers are current", JA: "危険な接続先の一覧の更新"},
		Help: health.Text{EN: "The former lists stay in force until they are too old. If it lasts, tell the IT vendor.", JA: "古くなりすぎるまでは、前回の一覧を使い続けます。続く場合はIT事業者に連絡してください。"},
		Probe: func(context.Context) error {
			var errs []error
			for _, s := range g.parts.Lists.Status() {
				switch {
				case s.Outdated:
					errs = append(errs, &health.Problem{
						Text: health.Text{
							EN: fmt.Sprintf("The list %s is too old, and no longer in force.", s.Name),
							JA: fmt.Sprintf("一覧「%s」は古くなりすぎたため、使っていません。", s.Name),
						},
						Err: fmt.Errorf("%s: not refreshed since %s, no longer in force", s.Name, s.Good.Format(time.DateOnly)),
					})
				case s.Problem != "":
					errs = append(errs, &health.Problem{
						Text: health.Text{
							EN: fmt.Sprintf("The list %s could not be refreshed.", s.Name),
							JA: fmt.Sprintf("一覧「%s」を更新できませんでした。", s.Name),
						},
						Err: fmt.Errorf("%s: %s", s.Name, s.Problem),
					})
				}
			}
			return errors.Join(errs...)
		},
	}
}

// follower hands alerts of a Suricata beside us over as findings.
func (g *Gateway) follower() *eve.Follower {
	return eve.NewFollower(eve.Config{
		Path: g.cfg.Eve.File, Trust: detect.Confidence(g.cfg.Eve.Trust), Log: g.log.With("component", "eve"), OnLAN: g.onLAN,
		Found: func(ctx context.Context, f detect.Finding) error {
			if a, ok := g.parts.Pipeline.inventory.ByAddr(f.Host.IP); ok && f.Host.MAC.IsZero() {
				f.Host = detect.Host{MAC: a.MAC, IP: f.Host.IP, IPs: a.Addrs, Name: a.Name}
			}
			select {
			case g.sightings <- sighting{finding: f, host: g.parts.Pipeline.Host(f)}:
				return nil
			case <-ctx.Done():
				return nil
			}
		},
	})
}

func (g *Gateway) onLAN(a netip.Addr) bool {
	for _, p := range g.cfg.LAN {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
