package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"sekisho/firmware/capture"
	"sekisho/firmware/config"
	"sekisho/firmware/detect"
	"sekisho/firmware/gateway"
	"sekisho/firmware/incident"
)

type replayCmd struct {
	JSON   bool           `name:"json" help:"One JSON object a line, for scripts."`
	LAN    []netip.Prefix `name:"lan" placeholder:"CIDR" help:"The office's network, such as 192.168.1.0/24; may be repeated. Without it: private addresses."`
	Config string         `type:"path" placeholder:"FILE" help:"Take networks, policy and list files from this settings file."`
	Lists  []string       `name:"indicators" type:"path" placeholder:"FILE" help:"A list of known bad names, addresses or fingerprints; may be repeated."`
	Lang   string         `enum:"en,ja" default:"en" help:"Language of the text output: en or ja."`
	Files  []string       `arg:"" name:"capture" type:"path" help:"Capture files (pcap, pcapng), read as one in time order."`
}

// Run reads the captures to the end, or as far as they are readable.
func (c *replayCmd) Run(s streams) error {
	rc := gateway.ReplayConfig{LAN: c.LAN, Policy: incident.DefaultPolicy()}
	var lists []config.IndicatorList
	for _, path := range c.Lists {
		lists = append(lists, config.IndicatorList{Name: filepath.Base(path), File: path})
	}
	if c.Config != "" {
		settings, err := config.Load(c.Config)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		rc.Policy.AutoIsolate, rc.Policy.MaxHosts, rc.Policy.MaxPercent =
			settings.Policy.AutoIsolate, settings.Policy.MaxHosts, settings.Policy.MaxPercent
		rc.Policy.Window = time.Duration(settings.Policy.Window)
		if len(rc.LAN) == 0 {
			rc.LAN = settings.Network.LAN
		}
		lists = append(lists, settings.Indicators...)
	}
	known, err := gateway.ReadLists(lists)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	rc.Indicators = known
	rc.Policy.LAN = rc.LAN
	src, err := capture.OpenFiles(c.Files...)
	if err != nil {
		return &exitError{exitDamaged, err}
	}
	defer src.Close()
	out := bufio.NewWriterSize(s.out, 64<<10)
	if c.JSON {
		err = gateway.WriteReplay(out, src, rc)
	} else {
		err = c.text(out, src, rc)
	}
	if flushErr := out.Flush(); flushErr != nil {
		return fmt.Errorf("write output: %w", flushErr)
	}
	var damaged *capture.DamageError
	if errors.As(err, &damaged) {
		return &exitError{exitDamaged, err}
	}
	return err
}

// undecoded says what the analysis could not look into.
func undecoded(w *bufio.Writer, sum gateway.Summary) {
	for _, link := range slices.Sorted(maps.Keys(sum.Undecoded)) {
		fmt.Fprintf(w, "%d frames of %s were not decoded: this link type is not supported\n", sum.Undecoded[link], link)
	}
}

// text is for a person: what was found, then what would have been done.
func (c *replayCmd) text(w *bufio.Writer, src capture.Source, rc gateway.ReplayConfig) error {
	incidents, sum, err := gateway.Replay(src, rc, func(f detect.Finding) error {
		_, err := fmt.Fprintf(w, "%s  %-6s  %-12s  %-15s  %s\n", f.Time.Format("2006-01-02 15:04:05.000"),
			f.Confidence, f.Detector, f.Host.IP, f.Title.In(c.Lang))
		fmt.Fprintf(w, "%27s%s\n", "", f.Explain.In(c.Lang))
		return err
	})
	var damaged *capture.DamageError
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	for _, i := range incidents {
		fmt.Fprintf(w, "\nincident %s: %s, %s\n  %s\n", i.ID, i.Line().Host.IP, i.Action, i.Why.In(c.Lang))
	}
	fmt.Fprintf(w, "\n%d packets, %d bytes, %.1f s, %d devices: %d findings, %d incidents; %d malformed, %d dropped\n",
		sum.Packets, sum.Bytes, sum.Seconds, sum.Hosts, sum.Findings, sum.Incidents, sum.Malformed, sum.Drops)
	undecoded(w, sum)
	return err
}
