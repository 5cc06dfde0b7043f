package whatsapp

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What requests come to.
var (
	errFails     = &APIError{Status: 500, Code: 2}
	errThrottles = &APIError{Status: 429, Code: 4}
	errRefuses   = &APIError{Status: 401, Code: 138006}
)

func testGuard() *guard { return newGuard(NewMetrics(nil), "support") }

// ask makes one request that ends at once, and says whether it was made.
func (g *guard) ask(a action, err error) bool {
	t, barred := g.enter(a, false)
	if barred == nil {
		g.leave(t, err)
	}
	return barred == nil
}

func why(t *testing.T, err error) Barred {
	t.Helper()
	var barred *BarredError
	if !errors.As(err, &barred) || !errors.Is(err, ErrNotSent) || Sent(err) {
		t.Fatalf("got %v", err)
	}
	return barred.Why
}

// Which outcomes, in their order, open the breaker: n no news, g good, f failed.
func TestBreakerOpens(t *testing.T) {
	outcomes := map[rune]error{'g': nil, 'r': errRefuses, 'f': errFails, 'u': ErrUnknown, 's': ErrNotSent, 't': errThrottles, 'n': context.Canceled}
	for row, open := range map[string]bool{
		"fff":                      false,
		"ffff":                     false,
		"fffff":                    true,
		"ffffgf":                   false,
		"ffffrf":                   false,
		"ffffnf":                   true, // giving up says nothing
		"usust":                    true,
		"gfgfgfgfgfgfgfgfgfg":      false, // 19
		"gfgfgfgfgfgfgfgfgfgf":     true,
		"ggggffffgggfgfgfgfgggf":   false, // 10 of 22
		"ggggffffgggfgfgfgffgfgff": true,
		"nnnnnnnnnnnnnnnnnnnnnn":   false,
	} {
		synctest.Test(t, func(t *testing.T) {
			g := testGuard()
			for _, o := range row {
				if !g.ask(actConnect, outcomes[o]) {
					break
				}
				time.Sleep(400 * time.Millisecond)
			}
			if got := g.reachable(classConnect) != nil; got != open {
				t.Errorf("%s: open %v, want %v", row, got, open)
			}
			if g.reachable(classAnswer) != nil || g.reachable(classRead) != nil {
				t.Errorf("%s: another class is open", row)
			}
		})
	}
}

// Failures that are spread over more than the span are not many.
func TestBreakerForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGuard()
		for range 100 {
			g.ask(actConnect, errFails)
			time.Sleep(600 * time.Millisecond)
			if !g.ask(actConnect, nil) {
				t.Fatal("barred")
			}
			time.Sleep(600 * time.Millisecond) // 17 requests in ten seconds
		}
	})
}

func broken(g *guard, a action) {
	for range rowLimit {
		g.ask(a, errFails)
	}
}

func TestBreakerProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGuard()
		broken(g, actAccept)
		for range 3 {
			time.Sleep(probeEvery - time.Millisecond)
			if g.ask(actPreAccept, nil) {
				t.Fatal("a probe before its time")
			}
			time.Sleep(time.Millisecond)
			if !g.ask(actAccept, ErrUnknown) {
				t.Fatal("no probe")
			}
			if g.ask(actAccept, nil) {
				t.Fatal("a second probe")
			}
		}

		// A probe that hangs is not waited for, and says nothing when it comes back.
		time.Sleep(probeEvery)
		stuck, err := g.enter(actAccept, false)
		if err != nil || g.ask(actAccept, nil) {
			t.Fatal(err)
		}
		time.Sleep(probeEvery)
		if !g.ask(actAccept, errFails) {
			t.Fatal("no probe beside one that hangs")
		}
		g.leave(stuck, nil)
		if g.ask(actAccept, nil) {
			t.Error("an old answer has closed it")
		}

		time.Sleep(probeEvery)
		if !g.ask(actAccept, errRefuses) || !g.ask(actAccept, nil) {
			t.Error("a refusal by the API itself has not closed it")
		}
		for range rowLimit - 1 {
			g.ask(actAccept, errFails)
		}
		if g.reachable(classAnswer) != nil {
			t.Error("what was before counts on")
		}
	})
}

// What was asked before the breaker opened neither closes nor feeds it.
func TestBreakerLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGuard()
		early, _ := g.enter(actConnect, false)
		broken(g, actConnect)
		g.leave(early, nil)
		if g.ask(actConnect, nil) {
			t.Error("an early answer has closed it")
		}
	})
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGuard()
		waits := &APIError{Status: 429, Code: 80007, RetryAfter: 7 * time.Second}
		g.ask(actConnect, waits)
		_, err := g.enter(actConnect, false)
		if why(t, err) != BarredThrottled || g.throttled() != 7*time.Second {
			t.Errorf("got %v, and a pause of %v", err, g.throttled())
		}
		time.Sleep(7 * time.Second)
		if g.throttled() != 0 || !g.ask(actConnect, nil) || !g.ask(actConnect, nil) {
			t.Error("still throttled")
		}
		g.ask(actConnect, &APIError{Status: 429, RetryAfter: 10 * time.Hour})
		time.Sleep(longestWait)
		if !g.ask(actConnect, nil) {
			t.Error("Meta may ask for too long a pause")
		}
		// A limit on calls is none on requests.
		for range 30 {
			if !g.ask(actConnect, &APIError{Status: 429, Code: 138005, RetryAfter: time.Second}) {
				t.Fatal("barred by a limit on calls")
			}
		}
		g.ask(actTerminate, waits)
		if g.throttled() != 7*time.Second || g.reachable(classAnswer) != nil {
			t.Error("a throttled end bars a class, or nobody knows of it")
		}
	})
}

// What may not be repeated does not find out either whether Meta works again.
func TestNoBudgetForProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGuard()
		for range extraLeast {
			if _, err := g.enter(actAccept, true); err != nil {
				t.Fatal(err)
			}
		}
		_, err := g.enter(actAccept, true)
		if why(t, err) != BarredBudget {
			t.Error(err)
		}
		broken(g, actAccept)
		time.Sleep(probeEvery)
		if _, err = g.enter(actAccept, true); why(t, err) != BarredFailing {
			t.Error(err)
		}
		if _, err = g.enter(actAccept, false); err != nil {
			t.Error(err)
		}
	})
}

// Ends are made whatever happens.
func TestEndsAreNeverBarred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGuard()
		for range 1000 {
			for a := range actions {
				_, err := g.enter(a, true)
				if unbarred := a == actTerminate || a == actReject || a == actNumber; unbarred && err != nil {
					t.Fatalf("%v: %v", a, err)
				}
				g.leave(ticket{class: classOf(a), turn: g.turnOf(a)}, errThrottles)
			}
		}
	})
}

func (g *guard) turnOf(a action) uint64 {
	if c := classOf(a); c != unguarded {
		return g.breakers[c].turn
	}
	return 0
}

// Random requests at random times, compared with books that forget nothing.
func TestBudgetProperties(t *testing.T) {
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 1))
			g := testGuard()
			start := time.Now()
			var firsts, extras []time.Duration
			within := func(of []time.Duration, now time.Duration) (n int) {
				for _, at := range of {
					if now/time.Second-at/time.Second < span {
						n++
					}
				}
				return n
			}
			pace := dice.IntN(400) + 1
			for range 1000 {
				time.Sleep(time.Duration(dice.IntN(pace)) * time.Millisecond)
				now := time.Since(start)
				again := dice.IntN(3) == 0
				_, err := g.enter(actAccept, again)
				if !again {
					firsts = append(firsts, now)
					continue
				}
				allowed := max(within(firsts, now)/extraShare, extraLeast)
				if made := within(extras, now); (err == nil) != (made < allowed) {
					t.Fatalf("seed %d, %v: %d repeated, %d allowed: %v", seed, now, made, allowed, err)
				}
				if err == nil {
					extras = append(extras, now)
				} else if why(t, err) != BarredBudget {
					t.Fatal(err)
				}
			}
		})
	}
}

// Meta breaks down and recovers at random. While it is down few requests get
// there, and once it works again so do they.
func TestBreakerProperties(t *testing.T) {
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 2))
			g := testGuard()
			for range 20 {
				began, made := time.Now(), 0
				for outage := time.Duration(dice.IntN(60)) * time.Second; time.Since(began) < outage; {
					if g.ask(actConnect, errFails) {
						made++
					}
					time.Sleep(time.Duration(dice.IntN(200)) * time.Millisecond)
				}
				if most := rowLimit + int(time.Since(began)/probeEvery) + 1; made > most {
					t.Fatalf("seed %d: %d requests in an outage of %v, want at most %d", seed, made, time.Since(began), most)
				}
				time.Sleep(probeEvery)
				for i := range 30 + dice.IntN(50) {
					if !g.ask(actConnect, nil) {
						t.Fatalf("seed %d: good request %d was barred", seed, i)
					}
					time.Sleep(time.Duration(dice.IntN(500)) * time.Millisecond)
				}
			}
		})
	}
}

func TestForget(t *testing.T) {
	m := NewMetrics(nil)
	newGuard(m, "support")
	newGuard(m, "sales")
	m.Forget("support")
	if n := len(collect(m.breakers)); n != int(classes) {
		t.Errorf("%d gauges are left, want those of the other number", n)
	}
}

func collect(c prometheus.Collector) (all []prometheus.Metric) {
	found := make(chan prometheus.Metric, 100)
	c.Collect(found)
	close(found)
	for m := range found {
		all = append(all, m)
	}
	return all
}
