package sip

import (
	"strings"
	"sync"
	"testing"
	"time"
)

const robotT1 = 200 * time.Millisecond

// robot is a phone that rings, picks up after a while unless it is cancelled
// first, and keeps the books: which calls it believes to be up.
type robot struct {
	*peer
	pickUp time.Duration

	mu    sync.Mutex
	off   bool // the test is over: late timers find nobody
	calls map[string]*robotCall
}

type robotCall struct {
	invite                    *message
	answered, cancelled, over bool
	acked                     bool
}

func newRobot(t *testing.T, pickUp time.Duration) *robot {
	t.Helper()
	r := &robot{peer: newPeer(t), pickUp: pickUp, calls: map[string]*robotCall{}}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case m := <-r.in:
				r.take(m)
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		r.mu.Lock()
		defer r.mu.Unlock()
		r.off = true
	})
	return r
}

func (r *robot) take(m *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.calls[m.get("Call-ID")]
	switch m.method {
	case "INVITE":
		c = &robotCall{invite: m}
		r.calls[m.get("Call-ID")] = c
		r.reply(m, 180, "a")
		time.AfterFunc(r.pickUp, func() { r.answer(c) })
	case "CANCEL":
		r.reply(m, 200, "a")
		if !c.answered && !c.cancelled {
			c.cancelled, c.over = true, true
			r.reply(c.invite, 487, "a")
		}
	case "ACK":
		c.acked = true
	case "BYE":
		c.over = true
		r.reply(m, 200, "")
	}
}

func (r *robot) answer(c *robotCall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.off && !c.cancelled && !c.over && !c.acked {
		c.answered = true
		r.ok(c.invite, "a")
		time.AfterFunc(robotT1, func() { r.answer(c) })
	}
}

// TestCancelAtEveryMomentRoundTheAnswer hangs up before, at and after the
// answer: nothing may stay alive at either end.
func TestCancelAtEveryMomentRoundTheAnswer(t *testing.T) {
	const calls, pickUp = 300, 15 * time.Millisecond
	r := newRobot(t, pickUp)
	tm := quick()
	tm.t1, tm.t2, tm.silent = robotT1, 4*robotT1, patience // the robot may be slow, never silent
	s := newTestServer(t, tm, trunkTo(r.peer))
	o := call()
	o.Target = "sip:" + r.addr().String()
	var wg sync.WaitGroup
	lines := make(chan struct{}, 30) // tokens: as many calls at once
	for i := range calls {
		wg.Go(func() {
			lines <- struct{}{}
			defer func() { <-lines }()
			e := newEvents(t)
			c, err := s.Prepare(o, e.notify)
			if err != nil {
				t.Error(err)
				return
			}
			c.Start()
			time.AfterFunc(2*pickUp*time.Duration(i)/calls, func() { c.Cancel(Reason{Q850: 16}) })
			for {
				select {
				case ev := <-e.in:
					switch ev := ev.(type) {
					case Proceeding, Ringing:
					case Accepted:
						c.Bye(Reason{})
					case Refused:
						if ev.Status != 487 {
							t.Errorf("refused with %d", ev.Status)
						}
						return
					case ByeDone:
						if ev.Err != nil {
							t.Error(ev.Err)
						}
						return
					default:
						t.Errorf("unexpected %T %+v", ev, ev)
						return
					}
				case <-time.After(patience):
					t.Errorf("call %d is stuck", i)
					return
				}
			}
		})
	}
	wg.Wait()
	gone(t, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	answered := 0
	for _, c := range r.calls {
		if c.answered {
			answered++
		}
		if !c.over {
			t.Errorf("a phone believes in a call: %+v", c)
		}
	}
	t.Logf("%d of %d calls were answered", answered, len(r.calls))
}

// TestFloodOfATrunkLeavesNothing sends a thousand INVITEs at once and never
// an ACK.
func TestFloodOfATrunkLeavesNothing(t *testing.T) {
	p := newPeer(t)
	tm := quick()
	tm.t1, tm.t2 = 50*time.Millisecond, 200*time.Millisecond
	s := newTestServer(t, tm, trunkTo(p))
	serve(t, s, func(c *Session, _ Incoming) { c.Refuse(486, Reason{}, 0) })
	text := string(p.outside("INVITE", "v=0").bytes())
	for i := range 1000 {
		fresh := strings.Replace(text, "branch=z9hG4bK", "branch=z9hG4bK"+utoa(uint32(i))+"x", 1)
		fresh = strings.Replace(fresh, "Call-ID: ", "Call-ID: "+utoa(uint32(i)), 1)
		p.send(s.Addr("udp"), fresh)
	}
	gone(t, s)
	until(t, func() bool {
		select { // nobody reads the answers
		case <-p.in:
		default:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.servers) == 0 && len(s.merged) == 0
	})
}
