package media

import (
	"testing"
	"time"
)

// ruled is a governor whose clock is the test's.
type ruled struct {
	governor

	now time.Time
}

func newRuled(limit float64) *ruled {
	r := &ruled{now: time.Unix(1, 0)}
	r.guard(limit)
	return r
}

// under judges the same load for a time, of 20 calls on two CPUs.
func (r *ruled) under(cpu float64, late, during time.Duration) {
	for end := r.now.Add(during); r.now.Before(end); {
		r.now = r.now.Add(judgeEvery)
		r.judge(r.now, load{cpu: cpu, late: late, calls: 20, cpus: 2})
	}
}

func (r *ruled) want(t *testing.T, when string, saving Economy, admits bool) {
	t.Helper()
	if r.saving != saving {
		t.Errorf("%s: saves %d, want %d", when, r.saving, saving)
	}
	if got := r.admit(); got != admits {
		t.Errorf("%s: admits %v, want %v", when, got, admits)
	}
}

// Encoders save first, then calls are refused; the way back is slower and lower
// than the way there.
func TestGovernorSavesBeforeItRefuses(t *testing.T) {
	r := newRuled(0.8)
	r.want(t, "at the start", NoEconomy, true)
	r.under(0.3, 0, 10*time.Second)
	r.want(t, "at rest", NoEconomy, true)
	r.under(0.62, 0, 5*time.Second)
	r.want(t, "at three quarters of the limit", LowComplexity, true)
	r.under(0.73, 0, 5*time.Second)
	r.want(t, "close to the limit", NoRedundancy, true)
	r.under(0.9, 0, 5*time.Second)
	r.want(t, "above the limit", NoRedundancy, false)
	r.under(0.76, 0, 20*time.Second)
	r.want(t, "just below the limit", NoRedundancy, false)
	r.under(0.6, 0, 2*time.Second)
	r.want(t, "well below the limit, for too short a time", NoRedundancy, false)
	r.under(0.6, 0, 5*time.Second)
	r.want(t, "well below the limit", NoRedundancy, true)
	r.under(0.5, 0, time.Minute)
	r.want(t, "where spending more would lead back", NoRedundancy, true)
	r.under(0.3, 0, easyTime+3*time.Second)
	r.want(t, "at rest for a while", LowComplexity, true)
	r.under(0.3, 0, easyTime)
	r.want(t, "at rest for long", NoEconomy, true)
}

// A clock that is late closes the door whatever the CPU says: others may have it.
func TestGovernorMindsLateness(t *testing.T) {
	r := newRuled(0.8)
	r.under(0.2, time.Millisecond, 5*time.Second)
	r.want(t, "on time", NoEconomy, true)
	r.under(0.2, 5*time.Millisecond, 5*time.Second)
	r.want(t, "a little late", LowComplexity, true)
	r.under(0.2, 10*time.Millisecond, 5*time.Second)
	r.want(t, "later", NoRedundancy, true)
	r.under(0.2, 20*time.Millisecond, 5*time.Second)
	r.want(t, "a frame late", NoRedundancy, false)
	r.under(0.2, 7*time.Millisecond, 20*time.Second)
	r.want(t, "still late", NoRedundancy, false)
	r.under(0.2, 0, calmTime+3*time.Second)
	r.want(t, "on time again", NoRedundancy, true)
}

// A moment of load is no reason.
func TestGovernorBearsPeaks(t *testing.T) {
	r := newRuled(0.8)
	for range 20 {
		r.under(0.3, 0, 5*time.Second)
		r.under(0.8, 8*time.Millisecond, judgeEvery)
		r.want(t, "after a peak", NoEconomy, true)
	}
}

// Calls that were admitted and are not felt yet are reckoned with: a crowd does
// not get in between two measurements.
func TestGovernorReckonsWithCrowds(t *testing.T) {
	r := newRuled(0.8)
	r.under(0.4, 0, 10*time.Second) // 20 calls take 0.4 of two CPUs, so 0.4 more is 20 more
	admitted := 0
	for range 100 {
		if r.admit() {
			admitted++
		}
	}
	if admitted < 18 || admitted > 20 {
		t.Errorf("%d of a hundred were admitted, want about 20", admitted)
	}
	r.under(0.4, 0, judgeEvery)
	if r.admit() {
		t.Error("admitted, though those before are not felt yet")
	}
	r.under(0.4, 0, settleTurns*judgeEvery)
	if !r.admit() {
		t.Error("not admitted, though nothing came of those before")
	}
}

// Without a limit nothing is ever refused or saved, and setting none lifts what
// was decided.
func TestGovernorWithoutLimit(t *testing.T) {
	r := newRuled(0)
	r.under(1, time.Second, time.Minute)
	r.want(t, "without a limit", NoEconomy, true)
	r.guard(0.8)
	r.under(1, time.Second, time.Minute)
	r.want(t, "with a limit", NoRedundancy, false)
	r.guard(0)
	r.want(t, "without it again", NoEconomy, true)
}
