package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sekisho/firmware/remote/client"
	"sekisho/firmware/remote/wire"
)

type watchCmd struct {
	profileFlags
	Every time.Duration `help:"How often to look, at least 10s." default:"5m"`
	Once  bool          `help:"Look once and end, for a scheduler."`
	JSON  bool          `name:"json" help:"Print one JSON object an event."`
}

// event is one line of watch --json.
type event struct {
	Time     time.Time      `json:"time"`
	Event    string         `json:"event"` // incident, state, sealed, grant, gone, ledger, trouble, alarm
	Incident *wire.Incident `json:"incident,omitempty"`
	Was      string         `json:"was,omitempty"`
	From     int64          `json:"from,omitempty"` // ledger entries
	To       int64          `json:"to,omitempty"`
	Error    string         `json:"error,omitempty"`
	Saved    string         `json:"saved,omitempty"` // alarm: folder with both checkpoints
}

func (w watchCmd) run(p program) error {
	if w.Every < 10*time.Second {
		return usage("--every is at least 10s")
	}
	profile, err := w.open()
	if err != nil {
		return err
	}
	c := client.New(profile)
	defer c.Close()
	for first := true; ; first = false {
		err := w.look(p, profile, c, first)
		if !w.Once && errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how it ends
		}
		exit, _ := advice(err)
		last := w.Once || err != nil && exit != exitNetwork
		if err != nil && (w.JSON || !last) { // otherwise the last word is fail's
			w.trouble(p, err)
		}
		if last {
			return err
		}
		select {
		case <-p.ctx.Done():
			return nil
		case <-time.After(w.Every):
		}
	}
}

// look holds the ledger against the kept checkpoint before it believes the rest.
// The first time says that all is well, too.
func (w watchCmd) look(p program, profile *client.Profile, c *client.Client, first bool) error {
	growth, err := c.CheckLedger(p.ctx)
	if err != nil {
		return err
	}
	list, err := c.Incidents(p.ctx)
	if err != nil {
		return err
	}
	changes, err := profile.Changes(list)
	if err != nil {
		return err
	}
	if growth.To > growth.From || first {
		w.say(p, event{Event: "ledger", From: growth.From, To: growth.To},
			fmt.Sprintf("the ledger holds: it has grown from %d to %d entries, nothing before was changed", growth.From, growth.To))
	}
	for _, x := range changes {
		w.say(p, event{Event: string(x.Kind), Incident: &x.Incident, Was: x.Was}, words(x))
	}
	return profile.Remember(list)
}

func (w watchCmd) trouble(p program, err error) {
	e := event{Event: "trouble", Error: err.Error()}
	if found := (*client.TamperError)(nil); errors.As(err, &found) {
		e.Event, e.Saved = "alarm", found.Dir
	}
	w.say(p, e, e.Event+": "+e.Error)
}

func (w watchCmd) say(p program, e event, text string) {
	e.Time = time.Now().UTC()
	if w.JSON {
		_ = json.NewEncoder(p.out).Encode(e)
		return
	}
	fmt.Fprintf(p.out, "%s  %s\n", e.Time.Local().Format(time.DateTime), text)
}

// words are a change as a sentence.
func words(x client.Change) string {
	id := "incident " + x.Incident.ID
	switch x.Kind {
	case client.ChangeNew:
		return fmt.Sprintf("new %s: %s, opened %s", id, x.Incident.State, minute(x.Incident.Opened))
	case client.ChangeState:
		return fmt.Sprintf("%s: %s, was %s", id, x.Incident.State, x.Was)
	case client.ChangeSealed:
		return fmt.Sprintf("%s: evidence is sealed, %s", id, size(x.Incident.Bundle.Size))
	case client.ChangeGrant:
		return fmt.Sprintf("%s: access %s", id, access(x.Incident.Grant))
	}
	return id + ": is no longer listed"
}
