package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/firmware/incident"
)

// A device that opened at noon is held ten minutes later; the clock is set
// before the seal is ordered, or while it waits.
func TestAWindowSpansWhatTheClockWasSetToAndIsWaitedForByTheOther(t *testing.T) {
	const hour = time.Hour
	for name, c := range map[string]struct {
		before, during       time.Duration // how far the clock is set
		from, to, wantWaited time.Duration // since noon
	}{
		"never":          {0, 0, -30 * time.Minute, 15 * time.Minute, 5 * time.Minute},
		"slewed":         {0, step / 2, -30 * time.Minute, 15 * time.Minute, 5 * time.Minute},
		"ahead, waiting": {0, 2 * hour, -30 * time.Minute, 2*hour + 15*time.Minute, 5 * time.Minute},
		"back, waiting":  {0, -2 * hour, -2*hour - 30*time.Minute, 15 * time.Minute, 5 * time.Minute},
		"back, before":   {-2 * hour, 0, -2*hour + 10*time.Minute - 30*time.Minute, 15 * time.Minute, 5 * time.Minute},
		"years back":     {-20000 * hour, 0, -20000*hour + 10*time.Minute - 30*time.Minute, 15 * time.Minute, 5 * time.Minute},
		"long ago":       {48 * hour, 0, -30 * time.Minute, 15 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				noon := time.Now().Round(0)
				var set atomic.Int64 // ns that the wall clock is ahead
				keeper := &custody{cfg: Config{Before: 30 * time.Minute, After: 5 * time.Minute},
					now: func() time.Time { return time.Now().Round(0).Add(time.Duration(set.Load())) }}
				time.Sleep(10 * time.Minute)
				held := incident.Incident{ID: "i", Opened: noon, Contained: keeper.now()}
				set.Store(int64(c.before))
				timer := time.AfterFunc(time.Minute, func() { set.Add(int64(c.during)) })
				defer timer.Stop()
				began := time.Now()
				w, err := keeper.window(t.Context(), held)
				if err != nil || w.to.Before(w.from) {
					t.Fatalf("%+v, %v", w, err)
				}
				if waited := time.Since(began); waited != c.wantWaited {
					t.Errorf("waited %v", waited)
				}
				if from, to := w.from.Sub(noon), w.to.Sub(noon); from != c.from || to != c.to {
					t.Errorf("from %v to %v, want %v to %v", from, to, c.from, c.to)
				}
				set.Add(int64(1000 * hour))
				if again, err := keeper.window(t.Context(), held); err != nil || again != w || time.Since(began) != c.wantWaited {
					t.Errorf("asked again: %+v, %v", again, err)
				}
			})
		})
	}
}

// The clock went back between the opening and the isolation.
func TestAWindowNeverEndsBeforeItBegins(t *testing.T) {
	noon := time.Now()
	keeper := &custody{now: func() time.Time { return noon.Add(-time.Hour) }}
	for _, held := range []time.Time{noon.Add(-3 * time.Hour), {}} {
		i := incident.Incident{ID: held.String(), Opened: noon, Contained: held}
		w, err := keeper.window(t.Context(), i)
		if err != nil || w.from.After(noon.Add(-time.Hour)) || held.Year() > 1 && w.from.After(held) || w.to.Before(noon) {
			t.Errorf("held at %v: %+v, %v", held, w, err)
		}
	}
}

func TestAWindowIsNotWaitedForBeyondTheEnd(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	now := time.Now()
	keeper := &custody{cfg: Config{After: time.Hour}, now: func() time.Time { return now }}
	if _, err := keeper.window(ctx, incident.Incident{Opened: now, Contained: now}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
