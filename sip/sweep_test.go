package sip

import (
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/test/ether"
)

// sweepCalls is how many moments of each race are played, a millisecond apart.
const sweepCalls = 500

// fixed is when the one side acts, counted from the INVITE; the other acts at
// each millisecond around it.
const fixed = 250 * time.Millisecond

// side is one end of a swept call and what became of it.
type side struct {
	c      *Session
	ends   atomic.Int32 // terminal events
	seen   atomic.Int32 // offers of the other side
	lost   atomic.Bool  // Expired or NoAck
	hungup bool
	bye    atomic.Bool // hang up as soon as it is up
	// up runs on the Session's goroutine when the call stands.
	up func(c *Session)
}

func (s *side) notify(ev Event) {
	switch ev.(type) {
	case Accepted, Acked:
		if s.bye.Load() {
			s.c.Bye(Reason{Q850: 16})
		} else if s.up != nil {
			s.up(s.c)
		}
	case ByeDone:
		if !s.hungup { // else it crossed theirs
			s.ends.Add(1)
		}
	case Hungup:
		s.hungup = true
		s.ends.Add(1)
	case Refused, Failed, Cancelled:
		s.ends.Add(1)
	case Expired, NoAck:
		s.lost.Store(true)
	}
}

func (s *side) reoffer(offer []byte) ([]byte, error) {
	s.seen.Add(1)
	return offer, nil
}

// race is what the two sides of a call do. at is the millisecond that is swept.
type race struct {
	name string
	// callee and caller run when the INVITE is there and when it has left.
	callee, caller func(s *side, at time.Duration)
	// stays means that neither side hangs up: the test does, once all is quiet.
	stays bool
}

func after(d time.Duration, f func()) { time.AfterFunc(d, f) }

// refresh makes a side send a re-INVITE at a moment after the call is up.
func (s *side) refresh(at time.Duration) {
	s.up = func(c *Session) {
		c.expiry.interval, c.expiry.ours, c.updates = time.Hour, true, false
		c.arm(tickExpired, time.Hour)
		c.arm(tickRefresh, at)
	}
}

func answersAt(d time.Duration) func(*side, time.Duration) {
	return func(s *side, _ time.Duration) {
		s.c.Ring()
		after(d, func() { s.c.Answer([]byte("v=0 callee")) })
	}
}

func races() []race {
	give := func(s *side, at time.Duration) {
		after(at, func() {
			s.bye.Store(true)
			s.c.Cancel(Reason{Q850: 16})
		})
	}
	hang := func(s *side, at time.Duration) {
		after(at, func() {
			s.bye.Store(true)
			s.c.Bye(Reason{Q850: 16})
		})
	}
	const early = 60 * time.Millisecond
	return []race{
		{"CANCEL and answer", answersAt(fixed), give, false},
		{"CANCEL and refusal", func(s *side, _ time.Duration) {
			s.c.Ring()
			after(fixed, func() { s.c.Refuse(486, Reason{Q850: 17}, 0) })
		}, give, false},
		{"BYE of the callee and ACK", func(s *side, at time.Duration) {
			answersAt(early)(s, at)
			hang(s, early+time.Millisecond+at/4)
		}, func(*side, time.Duration) {}, false},
		{"BYE and BYE", func(s *side, at time.Duration) {
			answersAt(early)(s, at)
			hang(s, fixed)
		}, hang, false},
		{"re-INVITE and BYE", func(s *side, at time.Duration) {
			answersAt(early)(s, at)
			s.refresh(fixed - early)
		}, hang, false},
		{"re-INVITE and its sender's BYE", func(s *side, at time.Duration) {
			answersAt(early)(s, at)
			s.refresh(fixed - early)
			hang(s, early+time.Millisecond+at)
		}, func(*side, time.Duration) {}, false},
		{"re-INVITE and re-INVITE", func(s *side, at time.Duration) {
			answersAt(early)(s, at)
			s.refresh(fixed)
		}, func(s *side, at time.Duration) { s.refresh(at) }, true},
	}
}

// TestRacesInFakeTime plays every race at each millisecond between two servers,
// whole and with every tenth datagram lost: no session and no transaction is
// left at either end, and each side hears of exactly one end.
func TestRacesInFakeTime(t *testing.T) {
	for _, loss := range []float64{0, 0.1} {
		for _, r := range races() {
			t.Run(r.name+" "+strconv.FormatFloat(100*loss, 'f', 0, 64)+"% lost", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { r.sweep(t, loss) })
			})
		}
	}
}

func (r race) sweep(t *testing.T, loss float64) {
	t.Helper()
	n := &ether.Net{Delay: 20 * time.Millisecond}
	chance := rand.New(rand.NewPCG(1, uint64(len(r.name)))) //nolint:gosec // the same in every run
	n.Lose = func() bool { return chance.Float64() < loss }
	caller, callee := serverIn(t, n, "127.0.0.1:5060", "127.0.0.1:5070"), serverIn(t, n, "127.0.0.1:5070", "127.0.0.1:5060")
	calls := r.prepare(t, caller, callee, "sip:127.0.0.1:5070", sweepCalls, time.Millisecond)
	for _, c := range calls {
		r.caller(&c.near, c.at)
		c.near.c.Start()
		time.Sleep(6 * time.Second)
	}
	time.Sleep(3 * time.Minute)
	if r.stays {
		for _, c := range calls {
			if a, b := c.near.seen.Load(), c.far.seen.Load(); loss == 0 && (a != 1 || b != 1) {
				t.Errorf("%v: %d and %d offers came through", c.at, a, b)
			}
			c.near.c.Bye(Reason{Q850: 16})
			time.Sleep(time.Second)
		}
		time.Sleep(3 * time.Minute)
	}
	for _, c := range calls {
		r.judge(t, c, loss > 0)
		if loss == 0 && (c.near.lost.Load() || c.far.lost.Load()) {
			t.Errorf("%v: the call was given up as lost", c.at)
		}
	}
	for _, s := range []*Server{caller, callee} {
		s.mu.Lock()
		if len(s.sessions)+len(s.clients)+len(s.servers) != 0 {
			t.Errorf("%d sessions, %d and %d transactions are left", len(s.sessions), len(s.clients), len(s.servers))
		}
		s.mu.Unlock()
	}
}

// TestRacesOnTheWire plays every race at twenty moments over real sockets.
func TestRacesOnTheWire(t *testing.T) {
	const moments = 20
	tm := quick()
	tm.t1, tm.t2, tm.silent = 100*time.Millisecond, 400*time.Millisecond, patience
	for _, r := range races() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			callee := newTestServer(t, tm, config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:127.0.0.1:9"}}})
			target := "sip:" + callee.Addr("udp").String()
			caller := newTestServer(t, tm, config.Trunk{Name: "pbx", Targets: []config.Target{{URI: target}}, CallerFormat: "e164", FromUser: "caller"})
			calls := r.prepare(t, caller, callee, target, moments, 2*fixed/moments)
			for _, c := range calls {
				r.caller(&c.near, c.at)
				c.near.c.Start()
			}
			if r.stays {
				for _, c := range calls {
					until(t, func() bool { return c.near.seen.Load() == 1 && c.far.seen.Load() == 1 })
					c.near.c.Bye(Reason{Q850: 16})
				}
			}
			for _, c := range calls {
				until(t, func() bool { return c.near.ends.Load() == 1 })
			}
			gone(t, caller)
			gone(t, callee)
			for _, c := range calls {
				r.judge(t, c, false) // but a busy machine may be late
			}
		})
	}
}

// swept is one call of a sweep. The callee is there before its INVITE is.
type swept struct {
	at        time.Duration
	near, far side
	came      atomic.Bool
}

// prepare makes the calls of a sweep, each for its moment.
func (r race) prepare(t *testing.T, caller, callee *Server, target string, n int, step time.Duration) []*swept {
	t.Helper()
	calls := make([]*swept, n)
	for i := range calls {
		s := &swept{at: time.Duration(i+1) * step}
		calls[i] = s
		o := call()
		o.To, o.Target, o.Reoffer = strconv.Itoa(i), target, s.near.reoffer
		var err error
		if s.near.c, err = caller.Prepare(o, s.near.notify); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, callee, func(c *Session, in Incoming) {
		i, err := strconv.Atoi(in.To)
		if err != nil || i >= len(calls) || calls[i].came.Swap(true) {
			t.Errorf("a call for %q came", in.To)
			c.Refuse(404, Reason{}, 0)
			return
		}
		s := &calls[i].far
		s.c = c
		c.Bind(Handling{Notify: s.notify, Reoffer: s.reoffer})
		r.callee(s, calls[i].at)
	})
	return calls
}

// judge looks at what both sides heard. Where datagrams get lost the INVITE may.
func (r race) judge(t *testing.T, c *swept, lossy bool) {
	t.Helper()
	if got := c.near.ends.Load(); got != 1 {
		t.Errorf("%v: the caller heard of %d ends", c.at, got)
	}
	if got := c.far.ends.Load(); got > 1 || (got == 0 && c.came.Load() && r.name != "CANCEL and refusal") {
		t.Errorf("%v: the callee heard of %d ends", c.at, got)
	}
	if !lossy && !c.came.Load() {
		t.Errorf("%v: the call never came", c.at)
	}
}

// serverIn is a server in memory whose one trunk is another.
func serverIn(t *testing.T, n *ether.Net, addr, peer string) *Server {
	t.Helper()
	trunk := config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:" + peer}}, CallerFormat: "e164", FromUser: "caller"}
	s, err := makeServer(config.SIP{}, []config.Trunk{trunk}, logger(), nil, defaultTiming())
	if err != nil {
		t.Fatal(err)
	}
	attach(t, s, n, addr)
	return s
}
