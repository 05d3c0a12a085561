// Package smart asks a disk how worn it is.
//
// The gateway calls it now and then, for the page and the vendor. Wear is a
// courtesy: whatever the disk, its bridge or smartctl say, or do not, there is
// an answer, and it must never be taken for a fault of the gateway.
package smart

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Wear is what a disk says of itself.
type Wear struct {
	Device string `json:"device,omitempty"` // "/dev/sda"
	Model  string `json:"model,omitempty"`
	// PercentUsed is the part of the rated life that is used up; it may exceed
	// 100. -1: the disk does not say.
	PercentUsed int `json:"percent_used"`
	// SparePercent is what is left of the blocks that stand in for worn ones.
	// -1: the disk does not say.
	SparePercent int    `json:"spare_percent"`
	WrittenBytes uint64 `json:"written_bytes,omitempty"` // in its life; 0: it does not say
	// Critical is the disk's own alarm (NVMe critical warning): spare blocks,
	// temperature, reliability, read-only, in any combination.
	Critical bool  `json:"critical,omitempty"`
	Passed   *bool `json:"passed,omitempty"` // its own verdict; nil: none
	// Unavailable says why nothing is known; empty when anything is.
	Unavailable string `json:"unavailable,omitempty"`
}

// report is what we read of smartctl's JSON, format version 1.
type report struct {
	Model    string `json:"model_name"`
	SCSI     string `json:"scsi_model_name"`
	Smartctl struct {
		Messages []struct {
			Text     string `json:"string"`
			Severity string `json:"severity"`
		} `json:"messages"`
	} `json:"smartctl"`
	Status struct {
		Passed *bool `json:"passed"`
	} `json:"smart_status"`
	Sector    uint64 `json:"logical_block_size"`
	Endurance struct {
		Used *int `json:"current_percent"`
	} `json:"endurance_used"`
	NVMe *nvme `json:"nvme_smart_health_information_log"`
	ATA  struct {
		Table []attribute `json:"table"`
	} `json:"ata_smart_attributes"`
}

// nvme is the SMART / Health Information log (NVM Express Base Specification
// 2.0, section 5.16.1.3).
type nvme struct {
	Critical uint64 `json:"critical_warning"`
	Spare    *int   `json:"available_spare"`
	Used     *int   `json:"percentage_used"`
	Written  uint64 `json:"data_units_written"` // thousands of 512 bytes
}

type attribute struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Value int    `json:"value"` // normalised, falls from 100
	Raw   struct {
		Value uint64 `json:"value"`
	} `json:"raw"`
}

// lives are the ATA attributes whose normalised value is the life left. Makers
// use the numbers for other things, too, so that the name, which smartctl has
// from its drive database, must fit.
var lives = map[int][]string{
	177: {"Wear_Leveling_Count"},
	202: {"Percent_Lifetime_Remain", "Perc_Rated_Life_Used", "Percent_Lifetime_Used"},
	231: {"SSD_Life_Left", "SSD_Life_Left_Perc", "Lifetime_Left", "Percent_Lifetime_Remain", "Perc_Rated_Life_Remain"},
	233: {"Media_Wearout_Indicator", "Remaining_Lifetime_Perc"},
}

// parse reads smartctl's answer. It is total: what does not fit is not known.
func parse(answer []byte) Wear {
	w := Wear{PercentUsed: -1, SparePercent: -1}
	var r report
	if err := json.Unmarshal(answer, &r); err != nil {
		var odd *json.UnmarshalTypeError
		if !errors.As(err, &odd) { // that one leaves the other fields good
			w.Unavailable = "smartctl gave no JSON"
			return w
		}
	}
	w.Model, w.Passed = clean(r.Model), r.Status.Passed
	if w.Model == "" {
		w.Model = clean(r.SCSI)
	}
	if n := r.NVMe; n != nil {
		w.PercentUsed, w.SparePercent = percent(n.Used), percent(n.Spare)
		w.WrittenBytes, w.Critical = times(n.Written, 512_000), n.Critical != 0
	}
	for _, a := range r.ATA.Table {
		w.attribute(a, r.Sector)
	}
	if r.Endurance.Used != nil {
		w.PercentUsed = percent(r.Endurance.Used)
	}
	if w.PercentUsed < 0 && w.WrittenBytes == 0 && w.Passed == nil && r.NVMe == nil {
		w.Unavailable = "the disk has no SMART data"
		for _, m := range r.Smartctl.Messages {
			if m.Severity == "error" {
				w.Unavailable = clean(m.Text)
			}
		}
	}
	return w
}

func (w *Wear) attribute(a attribute, sector uint64) {
	if slices.Contains(lives[a.ID], a.Name) && a.Value > 0 {
		w.PercentUsed = max(w.PercentUsed, max(0, 100-a.Value))
	}
	if a.ID != 241 {
		return
	}
	if sector == 0 {
		sector = 512
	}
	for _, unit := range []struct {
		name string
		size uint64
	}{{"32MiB", 32 << 20}, {"GiB", 1 << 30}, {"GB", 1e9}, {"LBAs", sector}} {
		if strings.Contains(a.Name, unit.name) && !strings.HasSuffix(a.Name, "_Low") {
			w.WrittenBytes = times(a.Raw.Value, unit.size)
			return
		}
	}
}

func percent(p *int) int {
	if p == nil || *p < 0 || *p > math.MaxUint8 { // a byte in every standard
		return -1
	}
	return *p
}

// times stays at the end when it would overflow.
func times(a, b uint64) uint64 {
	if b != 0 && a > math.MaxUint64/b {
		return math.MaxUint64
	}
	return a * b
}

// clean keeps a text from the disk short and printable.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if len(s) <= 200 {
		return s
	}
	return strings.ToValidUTF8(s[:200], "")
}
