package detect_test

import (
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

// A worm that sends faster than time-outs pass is stopped at its fifth peer.
func TestWormInTheInternetCountsWhenItIsTried(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 50 {
		o.tcp(10, net4(i), 445, flow.ConnAttempt)
		if i == 3 {
			o.want("worm", "")
		}
		if i == 4 {
			o.want("worm", detect.High)
		}
	}
	for _, f := range o.found {
		if f.Detector == "worm" {
			if f.PeerCount != 5 || len(f.Peers) != 5 {
				t.Errorf("%d peers, %d named", f.PeerCount, len(f.Peers))
			}
			return
		}
	}
}

// What is answered was no miss, however many are on their way; and inside, or
// for services that people call, nothing counts before its time.
func TestWormWaitsForAnswersWhereCallsAreOrdinary(t *testing.T) {
	for name, do := range map[string]func(o *office){
		"answers of far servers": func(o *office) {
			for i := range 20 {
				o.tcp(10, net4(i), 445, flow.ConnEstablished)
			}
		},
		"a console that calls every PC": func(o *office) {
			for i := range 20 {
				o.tcp(10, ip(20+i), 445, flow.ConnAttempt)
			}
		},
		"SSH to many servers at once": func(o *office) {
			for i := range 20 {
				o.tcp(10, net4(i), 22, flow.ConnAttempt)
			}
		},
		"four dead shortcuts an hour": func(o *office) {
			for range 10 {
				for i := range 4 {
					o.tcp(10, net4(i), 445, flow.ConnUnanswered)
				}
				o.wait(time.Hour)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			do(o)
			o.want("worm", "")
		})
	}
}

// A clock without battery runs ahead until it is set. What was counted by it
// must not wait for that time to come again.
func TestAClockSetBackDoesNotMakeAWormOfDeadShortcuts(t *testing.T) {
	o, bytes := newOffice(t, detect.Config{}), random(t, 7)
	o.now = o.now.AddDate(10, 0, 0)
	for i := range 3 {
		o.tcp(10, ip(50+i), 445, flow.ConnUnanswered)
	}
	for range 60 {
		o.missing(7, invented(bytes, 11)+".net")
		o.now = o.now.Add(time.Minute)
	}
	o.now = o.now.AddDate(-10, 0, 0)
	for i := range 6 {
		o.tcp(10, ip(60+i), 445, flow.ConnUnanswered)
		o.now = o.now.Add(time.Hour)
	}
	o.want("worm", "")
	for range 60 { // twelve an hour
		o.missing(7, invented(bytes, 11)+".net")
		o.now = o.now.Add(5 * time.Minute)
	}
	o.want("dga", detect.Medium)
}
