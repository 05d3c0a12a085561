package detect

import (
	"math"
	"strings"
	"time"
)

// failures is what is remembered of the answers to one client's log-ins.
type failures struct {
	n      int     // failed log-ins in the present run
	hurry  int     // of the last ones, how many began within thinkTime of the failure before
	streak int     // the longest such row
	lists  int     // connections by SSH that had several passwords refused
	w      walk    // over log-ins
	names  walk    // over the first answer to each name
	dead   nameSet // names that failed
	good   nameSet // names that ever went well
	user   string  // first name of the run
	first  time.Time
	last   time.Time // of the last failure
	begun  bool      // the next log-in has been seen to begin since then
	inside string    // name that went well after the run had been decided
}

const (
	// mistyped: six tries is what PCI DSS 3.2.1 (8.1.6) and the MaxAuthTries of
	// OpenSSH leave to a person who mistypes.
	mistyped = 6
	// strikes: of users who may try ten times, 93 % get in (Brostoff and Sasse,
	// "Ten strikes and you're out", CHI workshop 2003); PCI DSS 4.0 (8.3.4) and
	// Microsoft's security baselines lock at ten. More failures are no typing.
	strikes = 10
	// thinkTime: nobody reads a refusal and types a password within a second,
	// and programs with a stored password wait some seconds between two tries.
	// Only a list of guesses continues at once, again and again.
	thinkTime = time.Second
	// retried: some programs retry by themselves, on as many connections as a
	// browser holds to one host (six), or Explorer has drives. Six failures of
	// each are as patient as a person.
	retried = 6 * mistyped
	// offered: NumberOfPasswordPrompts of OpenSSH; a program offers the password
	// that it has stored once, or twice by two methods.
	offered = 3
	// failuresRest ends a run: after a night without a failure it is another story.
	failuresRest = 12 * time.Hour
)

// begin notes that a log-in starts.
func (f *failures) begin(at time.Time) {
	if f.begun || f.n == 0 {
		return
	}
	f.begun = true
	if at.Sub(f.last) >= thinkTime {
		f.hurry = 0
		return
	}
	f.hurry++
	f.streak = max(f.streak, f.hurry)
}

func (f *failures) fail(user string, at time.Time) {
	if f.n > 0 && at.Sub(f.last) > failuresRest {
		*f = failures{good: f.good}
	}
	f.begin(at) // for protocols whose first message is the answer
	f.begun = false
	if f.n == 0 {
		f.first, f.user = at, strings.Clone(user)
	}
	f.n++
	f.last = at
	f.w.step(false)
	if k := nameKey(user); !f.good.has(k) && f.dead.add(k) {
		f.names.step(false)
	}
}

// succeed takes a log-in that went well, and says that it ends a run that no
// person's typing explains. After any other run all is forgiven.
func (f *failures) succeed(user string) (broke bool) {
	if f.n >= strikes && f.w.decided() {
		f.inside, broke = strings.Clone(user), true
	} else {
		f.n, f.hurry, f.streak, f.lists, f.inside = 0, 0, 0, 0, ""
	}
	f.begun = true
	f.w.step(true)
	if f.good.add(nameKey(user)) {
		f.names.step(true)
	}
	return broke
}

// nameSet holds hashes of user names, up to a bound.
type nameSet struct{ m map[uint64]struct{} }

const maxNames = 256

func (s *nameSet) has(k uint64) bool { _, ok := s.m[k]; return ok }
func (s *nameSet) len() int          { return len(s.m) }

func (s *nameSet) add(k uint64) bool {
	if s.has(k) || len(s.m) >= maxNames {
		return false
	}
	if s.m == nil {
		s.m = make(map[uint64]struct{}, 2)
	}
	s.m[k] = struct{}{}
	return true
}

// nameKey hashes a user name (FNV-1a) so that the ways in which one person
// writes one account are one: TARO, taro, OFFICE\taro, taro@office.example.
func nameKey(user string) uint64 {
	if i := strings.LastIndexAny(user, `\/`); i >= 0 {
		user = user[i+1:]
	}
	if i := strings.IndexByte(user, '@'); i > 0 {
		user = user[:i]
	}
	h := uint64(14695981039346656037)
	for i := range len(user) {
		c := user[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// rise is the CUSUM of Page, "Continuous Inspection Schemes", Biometrika 1954,
// for the rate of a Poisson process (Lucas, "Counted Data CUSUM's",
// Technometrics 1985): the log likelihood ratio of a rate per minute against
// one event a minute, never below zero.
type rise struct {
	s    float64
	last time.Time
}

// What one minute holds. One a minute is the finest grain of cron and of the
// usual monitoring (interval_length of Nagios, Zabbix' default item): nothing
// that an office runs by itself and for long is faster.
const (
	slowRate = 3.0  // one try in 20 s: a tool that waits for each answer
	fastRate = 10.0 // one try in 6 s and faster
)

// riseDecided is ln 43,200: with one event a minute, and by chance alone, a
// CUSUM crosses it once in 43,200 minutes, which are a month.
var riseDecided = math.Log(30 * 24 * 60)

func (r *rise) add(rate, weight float64, at time.Time) {
	if !r.last.IsZero() {
		r.s = max(0, r.s-(rate-1)*max(0, at.Sub(r.last).Minutes()))
	}
	r.last = at
	r.s = max(0, r.s+math.Log(rate)+weight)
}
