package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/capture"
	"sekisho/firmware/detect"
	"sekisho/firmware/evidence"
	"sekisho/firmware/flow"
	"sekisho/firmware/incident"
	"sekisho/firmware/ledger"
	"sekisho/ui"
)

// custody gathers what belongs to an incident and has it sealed.
type custody struct {
	cfg   Config
	parts Parts
	log   *slog.Logger
	now   func() time.Time
	flows func() flow.Stats
	one   sync.Mutex // one seal at a time: they share the disk
	// windows are those that have passed, by incident, until the bundle is
	// sealed: trying again later must not ask for another one.
	windows sync.Map
}

func (c *custody) findingsPath(id string) string {
	return filepath.Join(c.cfg.StateDir, "findings", id+".jsonl")
}

// maxFindingsFile bounds what one incident's findings may take; a scanner that
// goes on for days says nothing new.
const maxFindingsFile = 4 << 20

// keepFinding appends a finding to the incident's file, synced: the incident
// itself keeps only a digest of it.
func (c *custody) keepFinding(id string, f detect.Finding) error {
	line, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("keep finding: %w", err)
	}
	path := c.findingsPath(id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep finding: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep finding: %w", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > maxFindingsFile {
		return nil
	}
	if _, err := file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("keep finding: %w", err)
	}
	return file.Sync()
}

// seal waits until the time after the isolation has passed, extracts the
// host's packets and seals the bundle.
func (c *custody) seal(ctx context.Context, i incident.Incident, assets []asset.Asset) (evidence.Bundle, error) {
	asked, err := c.window(ctx, i)
	if err != nil {
		return evidence.Bundle{}, err
	}
	c.one.Lock()
	defer c.one.Unlock()
	if sealed, err := c.parts.Vault.Get(i.ID); err == nil {
		c.windows.Delete(i.ID)
		return sealed, nil // from before a restart
	}
	match := evidence.Match{Addrs: i.Asset.Addrs}
	if !i.Asset.MAC.IsZero() {
		match.MACs = [][6]byte{i.Asset.MAC}
	}
	for _, k := range i.Asset.Kin { // the same device under another address
		if k.Follows && !k.MAC.IsZero() {
			match.MACs = append(match.MACs, k.MAC)
		}
	}
	packets := func(ctx context.Context, w io.Writer) (evidence.Extraction, error) {
		return c.parts.Spool.Extract(ctx, i.ID, match, asked.from, asked.to, w, nil)
	}
	ledgerFrom, err := firstAbout(c.parts.Ledger, i.ID)
	if err != nil {
		return evidence.Bundle{}, fmt.Errorf("seal the evidence of %s: %w", i.ID, err)
	}
	b, err := c.parts.Vault.Seal(ctx, evidence.BundleInput{
		ID: i.ID, Incident: i.ID, Drill: i.Drill, LedgerFrom: ledgerFrom,
		Packets:      packets,
		Findings:     func(w io.Writer) error { return c.copyFindings(w, i.ID) },
		Flows:        func(w io.Writer, packets io.Reader) error { return writeFlows(ctx, w, packets) },
		Assets:       func(w io.Writer) error { return writeJSON(w, assets) },
		IncidentJSON: func(w io.Writer) error { return writeJSON(w, i) },
		Completeness: c.completeness(asked),
		Report:       c.report(i),
	})
	if err != nil {
		return evidence.Bundle{}, fmt.Errorf("seal the evidence of %s: %w", i.ID, err)
	}
	c.windows.Delete(i.ID)
	return b, nil
}

// firstAbout is the ledger's first entry about an incident, or its end: what
// happened before is about others, and none of the bundle's business.
func firstAbout(l *ledger.Ledger, id string) (int64, error) {
	const many = 512
	subject := fmt.Appendf(nil, `"subject":%q`, id)
	size := l.Size()
	for from := int64(0); from < size; from += many {
		lines, err := l.Lines(from, min(from+many, size))
		if err != nil {
			return 0, err
		}
		for n, line := range lines {
			if bytes.Contains(line, subject) {
				return from + int64(n), nil
			}
		}
	}
	return size, nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (c *custody) copyFindings(w io.Writer, id string) error {
	file, err := os.Open(c.findingsPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // isolated by a person, without a finding
	}
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}

// flowLine is one connection in flows.jsonl.
type flowLine struct {
	Start    time.Time      `json:"start"`
	Last     time.Time      `json:"last"`
	Proto    string         `json:"proto"`
	Client   netip.AddrPort `json:"client"`
	Server   netip.AddrPort `json:"server"`
	State    string         `json:"state"`
	Sent     uint64         `json:"bytes_sent"` // payload, client to server
	Received uint64         `json:"bytes_received"`
	SentPk   uint64         `json:"packets_sent"`
	RecvPk   uint64         `json:"packets_received"`
}

// writeFlows reads the packets of the bundle through the tracker: what stands
// in flows.jsonl is thereby what anybody can derive from host.pcapng.
func writeFlows(ctx context.Context, w io.Writer, packets io.Reader) error {
	src, err := capture.OpenReader("host.pcapng", packets)
	if err != nil {
		return fmt.Errorf("read back packets: %w", err)
	}
	defer src.Close()
	enc := json.NewEncoder(w)
	var failed error
	emit := func(ev flow.Event) {
		conn, ok := ev.(*flow.Conn)
		if !ok || failed != nil || conn.State == flow.ConnAttempt || conn.State == flow.ConnEstablished {
			return
		}
		failed = enc.Encode(flowLine{
			Start: conn.Start, Last: conn.Time, Proto: map[uint8]string{6: "tcp", 17: "udp"}[conn.Proto],
			Client: conn.Client, Server: conn.Server, State: conn.State.String(),
			Sent: conn.Sent, Received: conn.Received, SentPk: conn.SentPackets, RecvPk: conn.RecvPackets,
		})
	}
	tracker := flow.New(flow.Config{})
	var f capture.Frame
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		err := src.Next(&f)
		if errors.Is(err, io.EOF) {
			tracker.Flush(emit)
			return failed
		}
		if err != nil {
			return fmt.Errorf("read back packets: %w", err)
		}
		tracker.Frame(&f, emit)
		if failed != nil {
			return failed
		}
	}
}

// completeness says what the packets cannot show.
func (c *custody) completeness(asked window) evidence.Completeness {
	synced := clockSynchronised()
	out := evidence.Completeness{
		From: asked.from, To: asked.to, ClockSynced: synced,
		BlindSpots: []evidence.Text{{
			EN: "Traffic between two devices behind the same unmanaged switch does not pass the gateway and is not recorded.",
			JA: "同じスイッチングハブにつながる機器どうしの通信は、本装置を通らないため記録されません。",
		}, {
			EN: "The content of encrypted connections is recorded, but cannot be read.",
			JA: "暗号化された通信は記録されていますが、内容は読み取れません。",
		}},
	}
	if !synced {
		out.BlindSpots = append(out.BlindSpots, evidence.Text{
			EN: "The clock was not synchronised: times may be off, their order is right.",
			JA: "時計が同期されていませんでした。時刻はずれている可能性がありますが、順序は正しいものです。",
		})
	}
	return out
}

func (c *custody) report(i incident.Incident) evidence.ReportFacts {
	r := evidence.ReportFacts{
		Office: c.cfg.Office, Device: evidence.Text{EN: deviceName(i.Asset), JA: deviceName(i.Asset)},
		MAC: i.Asset.MAC.String(), Addrs: ui.AddrsForPeople(i.Asset), Place: evidence.Text(place(i.Asset)), State: evidence.Text(stateText(i)),
		Next: []evidence.Text{
			{EN: "Do not switch the device off: its memory is evidence.", JA: "機器の電源は切らないでください。メモリの内容も証拠になります。"},
			{EN: "Tell the IT manager, management and the IT vendor.", JA: "情報システム担当者、経営者、外部のIT事業者へ報告してください。"},
			{EN: "Hand this folder to the IT vendor as it is.", JA: "このフォルダを、変更せずにそのままIT事業者へ渡してください。"},
		},
	}
	if i.Drill {
		r.Next = []evidence.Text{
			{EN: "Nothing has to be done: this was a drill.", JA: "訓練ですので、必要な対応はありません。"},
			{EN: "Talk about what went well and what did not, while everybody remembers it.", JA: "記憶が新しいうちに、うまくいったこと・迷ったことを話し合ってください。"},
		}
	}
	for _, f := range i.Findings {
		r.Findings = append(r.Findings, evidence.ReportFinding{
			Time: f.First, Technique: f.Technique, Confidence: string(f.Confidence),
			Title: evidence.Text(f.Title), Explain: evidence.Text(f.Explain),
		})
	}
	for _, t := range i.History {
		r.Timeline = append(r.Timeline, evidence.ReportStep{Time: t.At, Text: evidence.Text(transitionText(t))})
	}
	return r
}
