package main

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// talker sends the speech of all calls: one goroutine, a wheel with one place
// for each slotTime of a packet's time, every side of a call at a place of its
// own.
type talker struct {
	speech *speech
	stop   chan struct{}
	done   chan struct{}

	mu    sync.Mutex
	fresh []*call // being set up
	slots [slots][]mouth
	late  time.Duration // worst of this program's own
	slips int           // places that came later than slipAfter
	turns int
}

const (
	slotTime   = 500 * time.Microsecond
	slots      = int(time.Second / frameRate / slotTime)
	slipAfter  = 3 * time.Millisecond
	reportGap  = 100 // packets between two reports of a customer
	freshSlots = 4   // between two looks at the ports of a call that is set up
)

// mouth is one side of a call.
type mouth struct {
	say     func(payload []byte)
	hear    func()
	report  func()
	packets [][]byte
	talk    *talk
}

func newTalker(s *speech) *talker {
	t := &talker{speech: s, stop: make(chan struct{}), done: make(chan struct{})}
	go t.run()
	return t
}

// listen empties the ports of a call: often while it is set up, else once per
// packet.
func (t *talker) listen(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh = append(t.fresh, c)
}

// forget is for a call that did not come about.
func (t *talker) forget(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetLocked(c)
}

func (t *talker) forgetLocked(c *call) {
	if i := slices.Index(t.fresh, c); i >= 0 {
		t.fresh = slices.Delete(t.fresh, i, i+1)
	}
}

// talk lets both sides of a call talk, each at its own moment.
func (t *talker) talk(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetLocked(c)
	for _, m := range []mouth{
		{say: c.customer.say, hear: c.customer.listen, report: c.customer.report, packets: t.speech.packets(opusCodec), talk: c.toPhone},
		{say: c.phone.say, hear: c.phone.listen, packets: t.speech.packets(c.phone.codec), talk: c.toWA},
	} {
		at := rand.IntN(slots)
		t.slots[at] = append(t.slots[at], m)
	}
}

// run goes round the wheel. A turn that comes late is made at once, so that the
// far ends keep their rate.
func (t *talker) run() {
	defer close(t.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for turn := 0; ; turn++ {
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-t.stop:
				return
			}
		}
		t.turn(turn%slots, due)
		due = due.Add(slotTime)
		select {
		case <-t.stop:
			return
		default:
		}
	}
}

func (t *talker) turn(at int, due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	late := time.Since(due)
	t.late = max(t.late, late)
	if t.turns++; late > slipAfter {
		t.slips++
	}
	for _, m := range t.slots[at] {
		n := m.talk.went(time.Now())
		m.say(m.packets[n%int64(len(m.packets))])
		if m.report != nil && n%reportGap == 0 {
			m.report()
		}
	}
	for _, m := range t.slots[(at+slots/2)%slots] {
		m.hear()
	}
	if at%freshSlots == 0 {
		for _, c := range t.fresh {
			c.customer.listen()
			c.phone.listen()
		}
	}
}

// reset forgets how late the talker was.
func (t *talker) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late, t.slips, t.turns = 0, 0, 0
}

// own is how late the talker itself was: the worst, and the share of turns that
// slipped.
func (t *talker) own() (worst time.Duration, slipped float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.late, float64(t.slips) / float64(max(t.turns, 1))
}

func (t *talker) close() {
	close(t.stop)
	<-t.done
}
