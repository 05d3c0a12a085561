package detect

import (
	"math"
	"slices"
	"time"
)

// rhythm holds the last intervals between the exchanges of one pair, and how
// much was sent at each. What lies closer than mergeGap belongs to one
// exchange: a page, or a beacon that opens two connections.
//
// The measures are those of RITA (activecm/rita, beacon scoring): Bowley's
// skewness of the intervals and the median absolute deviation over the median,
// for intervals and for sizes. RITA ranks a day of logs for an analyst; a
// device that has to decide needs a false-alarm rate, so the decision is a
// likelihood ratio (see odds) and RITA's scores are what the text reports.
type rhythm struct {
	last   time.Time
	first  time.Time
	n      int    // exchanges so far
	judged int    // n at which it was looked at last
	now    uint32 // bytes of the exchange that is going on
	rings  *rings // from the second exchange on
}

type rings struct {
	gap  [rhythmKept]float32 // seconds
	size [rhythmKept]uint32  // payload bytes to the server
	gaps int                 // intervals ever stored
}

const (
	// rhythmKept intervals are twice what 50 % jitter needs (see odds); older
	// ones are forgotten, so that a new sleep time is seen as such.
	rhythmKept = 64
	// mergeGap is flow.ActivityEvery: shorter pauses inside a connection are
	// not reported either.
	mergeGap = time.Second
	// setBack: starts of connections are told a little out of order, at most by
	// the time that an unanswered one waits.
	setBack = time.Minute
)

// note takes one exchange that began at t. It reports whether that was a new
// one; bytes are added to the exchange that goes on.
func (r *rhythm) note(t time.Time, bytes uint64) bool {
	if r.n > 0 && r.last.Sub(t) > setBack {
		*r = rhythm{} // what was measured by another clock is no measure
	}
	if r.n > 0 && t.Sub(r.last) < mergeGap {
		r.add(bytes)
		return false
	}
	if r.n == 0 {
		r.first = t
	} else {
		if r.rings == nil {
			r.rings = new(rings)
		}
		i := r.rings.gaps % rhythmKept
		r.rings.gap[i] = float32(t.Sub(r.last).Seconds())
		r.rings.size[i] = r.now
		r.rings.gaps++
		r.now = 0
	}
	r.last = t
	r.n++
	r.add(bytes)
	return true
}

// add counts payload of the exchange that goes on.
func (r *rhythm) add(bytes uint64) {
	r.now = uint32(min(uint64(r.now)+bytes, math.MaxUint32))
}

// due says that enough came since the last look: each costs a sort, so the
// series is looked at again only when it is a fifth longer.
func (r *rhythm) due() bool {
	if r.n < leastGaps+1 || r.n < r.judged+max(1, r.judged/5) {
		return false
	}
	r.judged = r.n
	return true
}

// leastGaps intervals are the fewest that can decide: the narrowest band gives
// 3.2 nats each far from mergeGap, of which one pays for the median.
const leastGaps = 6

// cadence is what the intervals say.
type cadence struct {
	odds       float64 // nats for "a timer" against "by chance"
	period     float64 // median, seconds
	width      float64 // half width of the band that explains best, of the median
	within     int     // intervals inside it
	gaps       int
	skew       float64 // RITA: 1-|Bowley|, 0…1
	dispersion float64 // RITA: 1-MADM/median, 0…1
	alike      float64 // share of exchanges whose size is within 5 % of the median
	size       float64 // median bytes sent
}

// score is RITA's: the mean of its two interval scores and the same of size.
func (p cadence) score() float64 { return (p.skew + p.dispersion + p.alike) / 3 }

// Half widths of the band round the median: a bare sleep (scheduler and round
// trip, a few per cent), 20 to 25 % jitter, and the 50 % of common kits. Cobalt
// Strike and its kin take jitter j off the sleep uniformly: intervals in
// [(1-j)T, T], which is the median ± j/(2-j): 0.33 for j = 50 %.
var bandWidths = [...]float64{0.05, 0.15, 0.35}

// timerHolds is the share of a timer's intervals that keep to its band: a
// beat is lost or delayed now and then, a laptop sleeps.
const timerHolds = 0.9

// sureOdds: 50 devices with some 200 destinations each are 10^4 series a week.
// Chance is to pass for a timer in one of a hundred weeks: ln 10^6.
var sureOdds = math.Log(1e6)

// read measures the series.
func (r *rhythm) read() cadence {
	if r.rings == nil {
		return cadence{}
	}
	var gapBuf, sizeBuf [rhythmKept]float64
	n := min(r.rings.gaps, rhythmKept)
	gaps, sizes := gapBuf[:n], sizeBuf[:n]
	for i := range n {
		gaps[i], sizes[i] = float64(r.rings.gap[i]), float64(r.rings.size[i])
	}
	slices.Sort(gaps)
	slices.Sort(sizes)
	p := cadence{gaps: n, period: quantile(gaps, 0.5), size: quantile(sizes, 0.5)}
	p.skew = 1 - math.Abs(bowley(gaps))
	p.dispersion = max(0, 1-deviation(gaps, p.period)/p.period)
	for _, s := range sizes {
		if math.Abs(s-p.size) <= 0.05*p.size {
			p.alike += 1 / float64(n)
		}
	}
	p.odds = math.Inf(-1)
	for _, w := range bandWidths {
		if o, k := odds(gaps, p.period, w); o > p.odds {
			p.odds, p.width, p.within = o, w, k
		}
	}
	return p
}

// odds is the log-likelihood ratio of the number of intervals that fall within
// the band of half width w round the median: timerHolds for a timer; for
// chance what an exponential law of the same median puts there, shifted by
// mergeGap, since nothing shorter is seen. One interval pays for the fitted
// median, ln 3 for the choice of the width.
//
// Power, simulated with a period of a minute: a bare sleep is found with 6
// intervals always; 20 % jitter with 8 in 94 % of cases, with 12 in 99 %; 30 %
// with 14; 50 % with 14 in 59 %, with 16 in 81 %, with 24 in 97 %. A late or
// lost beat costs about two more intervals.
func odds(gaps []float64, median, w float64) (nats float64, within int) {
	lo, hi := median*(1-w), median*(1+w)
	for _, g := range gaps {
		if g >= lo && g <= hi {
			within++
		}
	}
	floor := mergeGap.Seconds()
	scale := median - floor
	if scale <= 0.01*floor {
		return math.Inf(-1), within
	}
	p := math.Exp2(-max(0, lo-floor)/scale) - math.Exp2(-(hi-floor)/scale)
	p = min(max(p, 1e-3), 0.999)
	miss := len(gaps) - within
	return float64(within-1)*math.Log(timerHolds/p) + float64(miss)*math.Log((1-timerHolds)/(1-p)) - math.Log(float64(len(bandWidths))), within
}

// quantile of sorted values, interpolated.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 >= len(v) {
		return v[len(v)-1]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

// bowley is the quartile skewness of sorted values, -1…1; 0 where the quartiles
// coincide.
func bowley(v []float64) float64 {
	q1, q2, q3 := quantile(v, 0.25), quantile(v, 0.5), quantile(v, 0.75)
	if q3 <= q1 {
		return 0
	}
	return (q1 + q3 - 2*q2) / (q3 - q1)
}

// deviation is the median absolute deviation from the median.
func deviation(v []float64, median float64) float64 {
	var buf [rhythmKept]float64
	d := buf[:0]
	for _, x := range v {
		d = append(d, math.Abs(x-median))
	}
	slices.Sort(d)
	return quantile(d, 0.5)
}
