package detect

import "math"

// The sequential hypothesis test of Jung, Paxson, Berger and Balakrishnan,
// "Fast Portscan Detection Using Sequential Hypothesis Testing", IEEE S&P 2004,
// section 4: each first contact of a source is a Bernoulli trial that succeeds
// with theta0 for an ordinary host and theta1 for a scanner. The walk stops
// above eta1 = PD/PF. All four values are the paper's (section 5).
const (
	theta0 = 0.8
	theta1 = 0.2
	alpha  = 0.01 // false positives, PF
	beta   = 0.99 // detection, PD
)

// walk is log likelihood ratio, scanner against ordinary.
type walk float64

var (
	stepFail = math.Log((1 - theta1) / (1 - theta0)) // ln 4
	stepHit  = math.Log(theta1 / theta0)             // -ln 4
	eta1     = math.Log(beta / alpha)                // ln 99: four failures in a row cross it
	eta0     = math.Log((1 - beta) / (1 - alpha))
	// Our own assumption, not the paper's: one source in a hundred that shows
	// failing first contacts at all is a scanner.
	prior = math.Log(1.0 / 99)
)

func (w *walk) step(ok bool) {
	if ok {
		*w += walk(stepHit)
	} else {
		*w += walk(stepFail)
	}
	// At eta0 the paper decides for "ordinary" and starts again; a host that is
	// infected later starts from there, not from years of good conduct.
	*w = max(*w, walk(eta0))
}

// score is the posterior probability of a scanner.
func (w walk) score() float64 { return math.Round(1e4/(1+math.Exp(-float64(w)-prior))) / 1e4 }

func (w walk) decided() bool { return float64(w) >= eta1 }
