package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"sekisho/firmware/remote/client"
	"sekisho/firmware/remote/wire"
)

// profileFlags say which gateway is meant.
type profileFlags struct {
	Home    string `help:"Folder of the profiles. Default: sekisho in your configuration folder." env:"SEKISHO_HOME" type:"path"`
	Profile string `help:"Which gateway, where there are several." default:"default"`
}

func (f profileFlags) home() (string, error) {
	if f.Home != "" {
		return f.Home, nil
	}
	return client.DefaultHome()
}

func (f profileFlags) open() (*client.Profile, error) {
	home, err := f.home()
	if err != nil {
		return nil, err
	}
	return client.OpenProfile(home, f.Profile)
}

type incidentsCmd struct {
	profileFlags
	JSON bool `name:"json" help:"Print one JSON object an incident."`
}

func (i incidentsCmd) run(p program) error {
	profile, err := i.open()
	if err != nil {
		return err
	}
	c := client.New(profile)
	defer c.Close()
	list, err := c.Incidents(p.ctx)
	if err != nil {
		return err
	}
	if i.JSON {
		lines := json.NewEncoder(p.out)
		for _, x := range list {
			if err := lines.Encode(x); err != nil {
				return err
			}
		}
		return nil
	}
	return table(p.out, list)
}

func table(out io.Writer, list []wire.Incident) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "There are no incidents.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INCIDENT\tSTATE\tOPENED\tPACKAGE\tSIZE\tACCESS")
	for _, x := range list {
		state, name, length := x.State, "not sealed yet", ""
		if x.Drill {
			state += " (drill)"
		}
		if x.Bundle != nil {
			name, length = x.Bundle.Name, size(x.Bundle.Size)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.ID, state, minute(x.Opened), name, length, access(x.Grant))
	}
	return w.Flush()
}

// access is a grant in words.
func access(g *wire.Grant) string {
	switch {
	case g == nil:
		return "-"
	case g.State == wire.GrantWaiting:
		return "asked, waits for the owner until " + minute(g.Until)
	case g.State == wire.GrantActive:
		return "until " + minute(g.Until)
	}
	return string(g.State)
}

// minute is a time of the vendor's own clock.
func minute(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// size is a number of bytes in decimal units.
func size(n int64) string {
	units := []string{"kB", "MB", "GB", "TB"}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1000, 0
	for ; value >= 999.95 && unit < len(units)-1; unit++ {
		value /= 1000
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

type endCmd struct {
	profileFlags
	Incident string `arg:"" help:"Whose evidence the access is for."`
}

func (e endCmd) run(p program) error {
	profile, err := e.open()
	if err != nil {
		return err
	}
	c := client.New(profile)
	defer c.Close()
	incident, err := find(p, c, e.Incident)
	if err != nil {
		return err
	}
	g := incident.Grant
	if g == nil || g.State != wire.GrantActive && g.State != wire.GrantWaiting {
		fmt.Fprintln(p.out, "There is no access to end.")
		return nil
	}
	if err := c.EndGrant(p.ctx, *g); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "The access to incident %s has ended.\n", incident.ID)
	return nil
}

func find(p program, c *client.Client, id string) (*wire.Incident, error) {
	incident, err := c.Incident(p.ctx, id)
	if err == nil && incident == nil {
		err = refused("Look with: sekishoctl incidents", "the gateway has no incident %q", id)
	}
	return incident, err
}
