package whatsapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The budget of repetitions, for each span.
const (
	extraShare = 10 // one in so many requests
	extraLeast = 2  // so that a number with little to do may repeat at all
)

// class is a set of actions that work or fail together.
type class uint8

const (
	classConnect class = iota // calls to customers
	classAnswer               // pre_accept and accept
	classMessage
	classRead
	classes
	unguarded
)

var classNames = [classes]string{
	classConnect: "connect", classAnswer: "answer", classMessage: "message", classRead: "read",
}

// classOf says what guards an action. Nothing may hold up the end of a call,
// which somebody pays for, nor the question whether Meta works again.
func classOf(a action) class {
	switch a {
	case actConnect:
		return classConnect
	case actPreAccept, actAccept:
		return classAnswer
	case actAsk:
		return classMessage
	case actPermissions:
		return classRead
	case actReject, actTerminate, actNumber, actions:
	}
	return unguarded
}

// Barred is why a request was not made.
type Barred uint8

// The reasons.
const (
	BarredFailing   Barred = iota // requests like it fail, and Meta is left in peace for a while
	BarredThrottled               // Meta has asked for a pause
	BarredBudget                  // too many requests were repeated
	barredReasons
)

var barredNames = [barredReasons]string{
	BarredFailing: "failing", BarredThrottled: "throttled", BarredBudget: "budget",
}

// BarredError is a request that was not made. It is an ErrNotSent.
type BarredError struct {
	Why  Barred
	Wait time.Duration // until such a request may be made again
}

func (e *BarredError) Error() string {
	switch e.Why {
	case BarredFailing:
		return fmt.Sprintf("not asked, because such requests fail: the next try is in %v", e.Wait.Round(time.Second))
	case BarredThrottled:
		return fmt.Sprintf("not asked, because Meta wants a pause of %v", e.Wait.Round(time.Second))
	case BarredBudget, barredReasons:
	}
	return "not asked again, because too many requests were repeated"
}

// Is makes it an ErrNotSent.
func (e *BarredError) Is(target error) bool { return target == ErrNotSent }

type againKey struct{}

// Again returns a context whose requests repeat an earlier one. They are made
// as long as few are.
func Again(ctx context.Context) context.Context { return context.WithValue(ctx, againKey{}, true) }

// guard keeps the requests of one number from making trouble worse: a breaker
// for each class, and a budget for repetitions.
type guard struct {
	mu       sync.Mutex
	start    time.Time
	breakers [classes]breaker
	budget   tally // requests, and those of them that repeat
	pause    time.Time

	repeats prometheus.Counter
	barred  [classes][barredReasons]prometheus.Counter
}

func newGuard(m *Metrics, number string) *guard {
	g := &guard{start: time.Now(), repeats: m.repeats.WithLabelValues(number)}
	for c := range classes {
		g.breakers[c].gauge = m.breakers.WithLabelValues(number, classNames[c])
		g.breakers[c].set(breakerClosed)
		for why := range barredReasons {
			g.barred[c][why] = m.barred.WithLabelValues(number, classNames[c], barredNames[why])
		}
	}
	return g
}

// ticket is a request that was let through.
type ticket struct {
	class class
	turn  uint64
}

// enter lets a request through, or says why not.
func (g *guard) enter(a action, again bool) (ticket, error) {
	t := ticket{class: classOf(a)}
	if t.class == unguarded {
		return t, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Since(g.start)
	if err := g.stops(t.class, now); err != nil {
		g.barred[t.class][err.Why].Inc()
		return t, err
	}
	if again {
		all, extra := g.budget.sum(now)
		if allowed := max((all-extra)/extraShare, extraLeast); extra >= allowed {
			err := g.breakers[t.class].why()
			if g.breakers[t.class].state == breakerClosed {
				err.Why = BarredBudget
			}
			g.barred[t.class][err.Why].Inc()
			return t, err
		}
		g.repeats.Inc()
	}
	g.budget.add(now, again)
	t.turn = g.breakers[t.class].enter(now)
	return t, nil
}

func (g *guard) stops(c class, now time.Duration) *BarredError {
	b := &g.breakers[c]
	wait := b.stoppedFor(now)
	if wait == 0 {
		return nil
	}
	err := b.why()
	err.Wait = wait
	return err
}

// reachable says whether a request of the class would be let through.
func (g *guard) reachable(c class) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.stops(c, time.Since(g.start)); err != nil {
		return err
	}
	return nil
}

// throttled is how long Meta wants no further request, not even one of those
// that nothing else bars.
func (g *guard) throttled() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(time.Until(g.pause), 0)
}

// leave takes what became of a request.
func (g *guard) leave(t ticket, err error) {
	v := verdictOf(err)
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.wait > 0 {
		g.pause = time.Now().Add(min(v.wait, longestWait))
	}
	if t.class != unguarded {
		g.breakers[t.class].leave(time.Since(g.start), t.turn, v)
	}
}

// verdict is what a request says about the requests after it.
type verdict struct {
	kind verdictKind
	wait time.Duration // that Meta asks for
}

type verdictKind uint8

const (
	verdictNone verdictKind = iota // we gave up, which says nothing of Meta
	verdictGood                    // Meta works, even if it refuses this
	verdictFailed
	verdictThrottled
)

func verdictOf(err error) verdict {
	var refusal *APIError
	switch {
	case err == nil:
		return verdict{kind: verdictGood}
	case errors.As(err, &refusal):
		switch {
		case refusal.throttles():
			return verdict{verdictThrottled, refusal.RetryAfter}
		case refusal.failed():
			return verdict{kind: verdictFailed}
		}
		return verdict{kind: verdictGood}
	case errors.Is(err, context.Canceled):
		return verdict{}
	}
	return verdict{kind: verdictFailed}
}

// throttles says that Meta wants fewer requests, whatever they are about.
func (e *APIError) throttles() bool {
	return slices.Contains(throttleCodes, e.Code) || e.Status == http.StatusTooManyRequests && !e.aboutCall()
}

// failed says that Meta could not do what it should.
func (e *APIError) failed() bool {
	return e.Temporary() && !e.aboutCall()
}

// aboutCall says that the error is one of calls: the API works.
func (e *APIError) aboutCall() bool { return e.Code >= 138000 && e.Code <= 138999 }

var throttleCodes = []int{4, 613, 80007, 130429}
