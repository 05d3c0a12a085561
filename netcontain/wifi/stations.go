package wifi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sekisho/netcontain"
)

// Station is a device on an access point.
type Station struct {
	AP  string // interface
	MAC netcontain.MAC
	// KeyID names the passphrase that it used, when hostapd's wpa_psk_file gives
	// each device its own (keyid=NAME): it stays when the device changes its MAC.
	KeyID string
}

// maxStations is hostapd's own limit (AP_MAX_STA 2007, IEEE 802.11 association
// ids); no listing goes on for longer.
const maxStations = 2007

// Stations lists who is associated now, by access point and MAC. An access
// point that is off has none. What was found is returned beside an error.
func (e *Enforcer) Stations(ctx context.Context) ([]Station, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := make([][]Station, len(e.aps))
	errs := e.each(ctx, func(ctx context.Context, a *accessPoint) error {
		err := a.talk(ctx, func(c *control) (err error) {
			found[slices.Index(e.aps, a)], err = stations(c, a.name)
			return err
		})
		if errors.Is(err, errOff) {
			return nil
		}
		return err
	})
	if err := errors.Join(errs...); err != nil {
		return slices.Concat(found...), fmt.Errorf("list stations: %w", err)
	}
	return slices.Concat(found...), nil
}

func stations(c *control, ap string) ([]Station, error) {
	var out []Station
	answer, err := c.ask("STA-FIRST")
	for range maxStations {
		if err != nil {
			return out, err
		}
		s, on, ok := parseStation(answer)
		if !ok { // empty, or FAIL: the end, or it left meanwhile
			break
		}
		if on {
			s.AP = ap
			out = append(out, s)
		}
		answer, err = c.ask("STA-NEXT " + s.MAC.String())
	}
	slices.SortFunc(out, func(a, b Station) int { return compare(a.MAC, b.MAC) })
	return slices.Compact(out), nil
}

// associated says whether m is on the access point, in whatever state.
func associated(c *control, m netcontain.MAC) (bool, error) {
	answer, err := c.ask("STA " + m.String())
	if err != nil {
		return false, err
	}
	s, on, ok := parseStation(answer)
	return ok && on && s.MAC == m, nil
}

// parseStation reads the answer to STA, STA-FIRST and STA-NEXT: a MAC, then
// lines of KEY=VALUE. A station is on the access point from when it has
// authenticated (the first step of 802.11) until it is gone.
func parseStation(answer string) (s Station, on, ok bool) {
	first, rest, _ := strings.Cut(answer, "\n")
	if s.MAC, ok = parseMAC(first); !ok {
		return Station{}, false, false
	}
	for line := range strings.Lines(rest) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "flags":
			on = strings.Contains(value, "[AUTH]") || strings.Contains(value, "[ASSOC]")
		case "keyid":
			s.KeyID = value[:min(len(value), maxKeyID)]
		}
	}
	return s, on, true
}

const maxKeyID = 64 // bytes; it is the owner's word, not a stranger's
