package media

import (
	"sync"
	"time"
)

// governor decides, from the CPU that the process takes and from how late its
// clock runs, what to save and whether new calls may come. It acts before
// anything is heard: running calls are worth more than new ones. It has no clock
// of its own.
type governor struct {
	mu       sync.Mutex
	limit    float64 // share of the CPUs from which on no call is admitted; 0: the governor sleeps
	cpu      float64 // smoothed share of all CPUs
	late     time.Duration
	started  bool
	saving   Economy
	full     bool
	easy     time.Time // since when the load is low enough to save less; zero: it is not
	calm     time.Time // since when it is low enough to admit again; zero: it is not
	room     int       // calls that fit, as of the last judgement
	admitted [settleTurns]int
}

// load is what was measured since the last judgement.
type load struct {
	cpu   float64       // share of all CPUs that the process took, 0-1
	late  time.Duration // mean lateness of the media clock
	calls int           // that run
	cpus  int
}

// The governor's rules. Shares are of its limit.
const (
	judgeEvery  = 500 * time.Millisecond
	settleTurns = 4   // judgements until a call that was admitted shows in the load
	smoothing   = 0.4 // weight of the last measurement

	saveFrom    = 0.75 // the encoders begin to save
	saveMore    = 0.9
	saveLess    = 0.5 // below it they spend again what twice as much would cost
	admitAgain  = 0.93
	easyTime    = 10 * time.Second
	calmTime    = 3 * time.Second
	usualCall   = 0.005 // of one CPU, until enough calls run to know
	enoughCalls = 8

	saveLate  = 4 * time.Millisecond
	savedLate = 8 * time.Millisecond
	fullLate  = 15 * time.Millisecond // nearly a frame, on average
	calmLate  = 5 * time.Millisecond
	easyLate  = 2 * time.Millisecond
)

// guard sets the limit, a share of all CPUs; 0 admits everybody and saves nothing.
func (g *governor) guard(limit float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
	g.settle()
}

// judge takes a measurement.
func (g *governor) judge(now time.Time, l load) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.started {
		g.started, g.cpu, g.late = true, l.cpu, l.late
	}
	g.cpu += smoothing * (l.cpu - g.cpu)
	g.late += time.Duration(smoothing * float64(l.late-g.late))
	g.settle()
	if g.limit == 0 {
		return
	}
	g.save(now)
	g.admission(now)
	copy(g.admitted[:], g.admitted[1:])
	g.admitted[settleTurns-1] = 0
	perCall := usualCall
	if l.calls >= enoughCalls {
		perCall = max(l.cpu, g.cpu) * float64(l.cpus) / float64(l.calls)
	}
	g.room = max(int((g.limit-g.cpu)*float64(l.cpus)/max(perCall, 1e-6)), 0)
}

// settle forgets what was decided when there is nothing to guard.
func (g *governor) settle() {
	if g.limit == 0 {
		g.saving, g.full, g.easy, g.calm = NoEconomy, false, time.Time{}, time.Time{}
	}
}

// save goes up by a level with each judgement that wants more, and down by one
// when it was easy for a while.
func (g *governor) save(now time.Time) {
	busy := g.cpu / g.limit
	switch {
	case busy >= saveMore || g.late >= savedLate:
		g.saving, g.easy = min(g.saving+1, NoRedundancy), time.Time{}
	case busy >= saveFrom || g.late >= saveLate:
		g.saving, g.easy = max(g.saving, LowComplexity), time.Time{}
	case busy >= saveLess || g.late >= easyLate:
		g.easy = time.Time{}
	case g.easy.IsZero():
		g.easy = now
	case now.Sub(g.easy) >= easyTime:
		g.saving, g.easy = max(g.saving-1, NoEconomy), now
	}
}

// admission closes at the limit, or when the clock is late, and opens again when
// both have been well for a while.
func (g *governor) admission(now time.Time) {
	busy := g.cpu / g.limit
	switch {
	case busy >= 1 || g.late >= fullLate:
		g.full, g.calm = true, time.Time{}
	case !g.full:
	case busy >= admitAgain || g.late >= calmLate:
		g.calm = time.Time{}
	case g.calm.IsZero():
		g.calm = now
	case now.Sub(g.calm) >= calmTime:
		g.full = false
	}
}

// admit says whether another call may come, and reckons with it from then on.
func (g *governor) admit() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limit == 0 || !g.started {
		return true
	}
	coming := 0
	for _, n := range g.admitted {
		coming += n
	}
	if g.full || coming >= g.room {
		return false
	}
	g.admitted[settleTurns-1]++
	return true
}

// state is what the metrics show.
func (g *governor) state() (cpu float64, late time.Duration, saving Economy, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cpu, g.late, g.saving, g.full
}
