package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Defaults of Config.
const (
	defaultSettle = 300 * time.Millisecond
	defaultLimit  = 3 * time.Second
	askEvery      = 50 * time.Millisecond
)

// Prove makes the host speak and says what the wire says of the time after
// since (the moment at which Apply returned). It returns as soon as the host
// was heard after since and nothing leaked for Config.Settle, or when
// Config.Limit is over. It may be called as often as one likes.
func (w *Watch) Prove(ctx context.Context, since time.Time) (Result, error) {
	start := time.Now()
	settle, limit := w.cfg.Settle, w.cfg.Limit
	if settle <= 0 {
		settle = defaultSettle
	}
	if limit <= 0 {
		limit = defaultLimit
	}
	end, ask := time.NewTimer(limit), time.NewTicker(askEvery)
	defer end.Stop()
	defer ask.Stop()
	for {
		if err := w.stimulate(); err != nil {
			return Result{}, fmt.Errorf("probe: %w", err)
		}
		r, err := w.result(since)
		if err != nil {
			return Result{}, err
		}
		r.Took = time.Since(start)
		if r.FramesFromHost > 0 && r.FramesLeaked == 0 && r.Took >= settle {
			return w.judge(r), nil
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("probe: %w", ctx.Err())
		case <-end.C:
			r, err := w.result(since)
			r.Took = time.Since(start)
			return w.judge(r), err
		case <-ask.C:
		}
	}
}

// Stats is what was seen since the given time, without asking the host.
func (w *Watch) Stats(since time.Time) (Result, error) {
	r, err := w.result(since)
	return w.judge(r), err
}

func (w *Watch) result(since time.Time) (Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return Result{}, fmt.Errorf("probe: the watch is closed")
	}
	for _, t := range w.taps {
		_ = t.control(func(fd int) error { w.sampleLocked(t, fd); return nil }) // closed: ended says so next time
	}
	r := Result{LastLeak: w.last, Drops: w.lost(since)}
	for _, t := range w.taps {
		if t.routed {
			r.Routed = append(r.Routed, t.name)
		} else {
			r.Watched = append(r.Watched, t.name)
		}
	}
	for _, at := range w.inward {
		if at.After(since) {
			r.FramesFromHost++
		}
	}
	for _, l := range w.leaked {
		if l.at.After(since) {
			r.FramesLeaked++
			if !slices.Contains(r.LeakPorts, l.port) {
				r.LeakPorts = append(r.LeakPorts, l.port)
			}
		}
	}
	slices.Sort(r.LeakPorts)
	return r, nil
}

// judge fills in the verdict and its text.
func (w *Watch) judge(r Result) Result {
	switch {
	case r.FramesLeaked > 0:
		r.Verdict = NotIsolated
		r.Text = Text{
			EN: fmt.Sprintf("NOT isolated: %d frame(s) of the device still left by %s. Pull %s.", r.FramesLeaked, strings.Join(r.LeakPorts, ", "), w.cable("the cable at port %s", "the device's network cable")),
			JA: fmt.Sprintf("遮断できていません。この機器の通信が %d 件、%s から出ています。%sを抜いてください。", r.FramesLeaked, strings.Join(r.LeakPorts, "、"), w.cable("ポート %s の LAN ケーブル", "この機器の LAN ケーブル")),
		}
	case r.Drops > 0:
		r.Verdict = BestEffort
		r.Text = Text{
			EN: fmt.Sprintf("No frame of the device was seen leaving, but %d frame(s) could not be looked at.", r.Drops),
			JA: fmt.Sprintf("この機器の通信は外に出ていませんが、%d 件は確認できませんでした。", r.Drops),
		}
	case r.FramesFromHost == 0:
		r.Verdict = BestEffort
		r.Text = Text{
			EN: "Nothing of the device leaves, but it did not answer either: it may be off. The rules are in force.",
			JA: "この機器の通信は外に出ていませんが、応答もありません。電源が切れている可能性があります。遮断の設定は有効です。",
		}
	case w.cfg.Shared || w.cfg.HostPort == "":
		r.Verdict = BestEffort
		r.Text = Text{
			EN: fmt.Sprintf("The device sent %d frame(s), and none passed the gateway. Devices on the same switch are not protected.", r.FramesFromHost),
			JA: fmt.Sprintf("この機器は %d 件を送信しましたが、ゲートウェイを通ったものはありません。同じスイッチにつながる機器は保護できません。", r.FramesFromHost),
		}
	default:
		r.Verdict = Proven
		r.Text = Text{
			EN: fmt.Sprintf("Isolated, proven on the wire: the device sent %d frame(s), none left by the %d other LAN port(s).", r.FramesFromHost, w.others(r)),
			JA: fmt.Sprintf("遮断を回線上で確認しました。この機器は %d 件を送信しましたが、ほかの LAN ポート（%d 個）から出たものはありません。", r.FramesFromHost, w.others(r)),
		}
	}
	if len(r.Routed) > 0 && r.Verdict != NotIsolated {
		r.Text.EN += fmt.Sprintf(" Towards %s the rules stop it: behind address translation its IPv4 frames cannot be told apart.", strings.Join(r.Routed, ", "))
		r.Text.JA += fmt.Sprintf("%s 側への通信は遮断の設定で止めています（アドレス変換後の IPv4 通信は、回線上では機器を見分けられません）。", strings.Join(r.Routed, "、"))
	}
	return r
}

// cable names what to pull: where nobody else is behind the port, the port.
func (w *Watch) cable(port, device string) string {
	if w.cfg.HostPort == "" || w.cfg.Shared {
		return device
	}
	return fmt.Sprintf(port, w.cfg.HostPort)
}

// others is the number of LAN ports at which the host must not appear.
func (w *Watch) others(r Result) int {
	if slices.Contains(r.Watched, w.cfg.HostPort) {
		return len(r.Watched) - 1
	}
	return len(r.Watched)
}
