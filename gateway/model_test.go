package gateway

import (
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"testing"
)

// runner drives one world: it is the call's loop, with the real machine and the
// real legs.
type runner struct {
	w     world
	err   string
	queue []event
	graph graphLink
	ports [2]linePort
}

func newRunner() *runner {
	r := &runner{}
	r.graph = graphLink{r}
	for i := range r.ports {
		r.ports[i] = linePort{r, uint8(i)}
	}
	return r
}

func (r *runner) fail(s string) {
	if r.err == "" {
		r.err = s
	}
}

func (r *runner) emit(ev event) { r.queue = append(r.queue, ev) }

// drain feeds the machine what the legs told, in order.
func (r *runner) drain() {
	for i := 0; i < len(r.queue); i++ {
		r.step(r.queue[i])
	}
	r.queue = r.queue[:0]
	for _, l := range [...]*dialled{&r.w.so[0].dialled, &r.w.so[1].dialled, &r.w.su.dialled} {
		if l.WantEnd && l.Proceeding && !l.CancelSent && !l.Up && !l.Closed {
			r.fail("a phone that was hung up rings on")
		}
	}
	if r.w.playing && r.w.si.Closed {
		r.fail("the prompt outlives its leg")
	}
	r.w.forget()
}

// forget levels what no later step looks at, so that states that differ in
// nothing else are walked once.
func (w *world) forget() {
	if w.armed == (stamp{w.m.Phase, w.m.Turn}) {
		w.m.Turn = turnBase + uint8(w.m.Phase) // timers are only ever told apart
		w.armed.Turn = w.m.Turn
	}
	if w.m.Phase >= Ending {
		w.m.Cause, w.m.By, w.m.Plan = someCause, byGateway, plan{}
		w.si.Why, w.su.Why = NoCause, NoCause
	}
	w.wi.Tries, w.wo.Tries = 0, 0
	if w.wi.Closed {
		w.wi = graphIngress{Closed: true, Busy: w.wi.Busy, BothRefused: w.wi.BothRefused}
		w.timers = 0
	}
	if w.wo.Closed {
		w.wo = graphEgress{
			Closed: true, Leg: w.wo.Leg, Busy: w.wo.Busy, Next: w.wo.Next, Lost: w.wo.Lost, Placed: w.wo.Placed, Adrift: w.wo.Adrift,
		}
		if !w.wo.Adrift {
			w.timers = 0
		}
	}
	for i := range w.so {
		w.so[i].Why = NoCause
		if w.so[i].Closed {
			w.so[i] = sipEgress{Leg: w.so[i].Leg, dialled: dialled{Closed: true}}
			w.lines[i].box = notes{}
			w.lines[i].rung = false
		}
	}
}

const (
	turnBase  = 100
	someCause = numCauses // no event brings it, so a change is seen
)

// step lets the machine take one event, and holds it to its promises.
func (r *runner) step(ev event) {
	before := r.w.m
	r.w.m.step(ev, r)
	after := r.w.m
	if before.Cause != NoCause && after.Cause != before.Cause {
		r.fail("the first cause did not win")
	}
	if d, ok := ev.(deadline); ok && d.Stamp != (stamp{before.Phase, before.Turn}) && after != before {
		r.fail("a timer of an earlier phase took effect")
	}
	if before.Phase == Ended && after != before {
		r.fail("an ended call changed")
	}
	if after.Phase < before.Phase && (after.Phase != Dialing || before.Phase != Ringing || after.Attempt != before.Attempt+1) {
		r.fail("went back a phase")
	}
	if after.Phase != Ended && r.w.armed != (stamp{after.Phase, after.Turn}) {
		r.fail("no timer for the phase")
	}
	if after.Phase == Ended && after.Cause == NoCause {
		r.fail("ended without a cause")
	}
	if _, ok := ev.(stopped); ok && r.w.playing {
		r.fail("the prompt plays on after a stop")
	}
}

// The actions.

func (r *runner) prepareIn() {
	w := &r.w
	if w.prepared {
		r.fail("the ingress leg was prepared twice")
	}
	w.prepared = true
	switch w.scene {
	case sceneInbound:
		w.wi.prepare(&r.graph)
	case sceneOutbound:
		w.si.prepare(&r.ports[0])
	case sceneClicked:
		w.su.prepare(&r.ports[0])
	}
}

func (r *runner) dialOut(leg uint8) {
	w := &r.w
	if w.scene != sceneInbound {
		w.wo = graphEgress{Leg: leg}
		w.wo.dial(&r.graph)
		return
	}
	if w.told {
		r.fail("rang a phone for a call that we knew was over")
	}
	i := slot(leg)
	if old := leg - 1; old > 0 && !w.so[slot(old)].Closed && w.dropped&(1<<slot(old)) == 0 {
		r.fail("dialled the next trunk while the last one is alive and not given up")
	}
	if leg > 2 {
		r.fail("more attempts than the plan has")
	}
	w.so[i] = sipEgress{Leg: leg}
	w.so[i].dial(&r.ports[i])
}

func (r *runner) ringIn() {
	w := &r.w
	switch w.scene {
	case sceneInbound: // Meta has no such request
	case sceneOutbound:
		w.si.ring(&r.ports[0])
	case sceneClicked:
		w.su.ring(&r.ports[0])
	}
}

func (r *runner) answerIn() {
	w := &r.w
	if w.scene != sceneInbound && !w.cloud.picked {
		r.fail("answered the caller before the user picked up")
	}
	if w.scene != sceneInbound && !w.wo.HasAnswer {
		r.fail("answered the caller before the user's audio is known")
	}
	if w.scene != sceneInbound && !w.wo.MediaUp {
		r.fail("answered the caller before the user can be heard")
	}
	if w.scene == sceneInbound && !w.so[slot(w.m.Attempt)].Up {
		r.fail("answered the caller before the phone was picked up")
	}
	switch w.scene {
	case sceneInbound:
		w.wi.answer(&r.graph)
	case sceneOutbound:
		w.si.answer(&r.ports[0])
	case sceneClicked:
		w.su.answer(&r.ports[0])
	}
}

func (r *runner) hangupIn(c Cause) {
	w := &r.w
	switch w.scene {
	case sceneInbound:
		w.wi.hangup(&r.graph)
	case sceneOutbound:
		w.si.hangup(c, w.announced && c != Draining, &r.ports[0])
	case sceneClicked:
		w.su.hangup(c, &r.ports[0])
	}
}

func (r *runner) hurryIn() {
	if r.w.scene == sceneOutbound {
		r.w.si.spoken(&r.ports[0])
	}
}

func (r *runner) hangupOut(leg uint8, c Cause) {
	if r.w.scene != sceneInbound {
		r.w.wo.hangup(&r.graph)
		return
	}
	i := slot(leg)
	r.w.so[i].hangup(c, &r.ports[i])
}

func (r *runner) dropOut(leg uint8, c Cause) {
	r.w.dropped |= 1 << slot(leg)
	r.hangupOut(leg, c)
}

func (r *runner) startBridge() {
	w := &r.w
	var in, out bool
	switch w.scene {
	case sceneInbound:
		in, out = w.wi.Up, w.so[slot(w.m.Attempt)].Up
	case sceneOutbound:
		in, out = w.si.Up, w.wo.Up
	case sceneClicked:
		in, out = w.su.Up, w.wo.Up
	}
	if !in || !out {
		r.fail("bridged before both legs are up")
	}
}

func (r *runner) stopBridge() {}

func (r *runner) swap(leg uint8) {
	if !r.w.so[slot(leg)].Up {
		r.fail("bridged a leg that is not up")
	}
}

func (r *runner) arm(s stamp) { r.w.armed = s }

func (r *runner) record(c Cause, abandoned bool) {
	w := &r.w
	w.records++
	w.abandoned = abandoned
	switch {
	case w.records != 1:
		r.fail("not exactly one record")
	case c == NoCause:
		r.fail("record without a cause")
	case w.m.Bridged:
		r.fail("ended with the bridge running")
	case !abandoned && !w.legsOver():
		r.fail("ended with a leg open")
	case !abandoned && w.playing:
		r.fail("ended with the prompt playing")
	}
	if w.wo.Adrift { // its end is owed, and the leg is no more
		w.wo.Adrift, w.stray = false, true
	}
}

func (w *world) legsOver() bool {
	switch w.scene {
	case sceneInbound:
		for i := range w.so {
			if w.so[i].Leg != 0 && !w.so[i].Closed {
				return false
			}
		}
		return w.wi.Closed
	case sceneOutbound:
		return w.si.Closed && (w.wo.Leg == 0 || w.wo.Closed)
	case sceneClicked:
		return w.su.Closed && (w.wo.Leg == 0 || w.wo.Closed)
	}
	return false
}

// A forced move is one that somebody is bound to make: a message on the wire
// arrives, a request gets a reply, a timer fires. A free move is somebody's
// choice, so a state in which only free moves are left must be a good place to
// stay for ever.
type move struct {
	do   func(r *runner, arg uint8)
	arg  uint8
	free bool
	name func(arg uint8) string
}

// quiet says what is wrong with a state in which nothing more is bound to
// happen.
func (w *world) quiet() string {
	live := w.cloud.state == cloudLive
	if w.scene == sceneInbound && !w.born {
		if live {
			return "a live offer was ignored"
		}
		return ""
	}
	switch w.m.Phase {
	case Ending:
		return "stuck in Ending"
	case Ended:
		switch {
		case w.records != 1:
			return "not exactly one record"
		case live && (!w.wo.orphaned() || w.cloud.sent != [numHook]bool{}):
			// A call whose connect reply was lost is unknown to us until its
			// first webhook; Meta always sends one.
			return "WhatsApp call left alive"
		}
		for i := range w.lines {
			if p := w.lines[i].phone; p != phoneGone && p != phoneIdle {
				return fmt.Sprintf("SIP dialog left alive (phone in state %d)", p)
			}
		}
		return ""
	case Summoning, Routing, Dialing, Ringing, Answering, Active:
	}
	current := &w.lines[0]
	if w.scene == sceneInbound && w.m.Attempt > 0 {
		current = &w.lines[slot(w.m.Attempt)]
	}
	switch { // waiting for somebody to do something, unless all is done
	case w.cloud.state == cloudGone:
		return fmt.Sprintf("the WhatsApp side is gone and the call is still %v", w.m.Phase)
	case current.phone == phoneGone:
		return fmt.Sprintf("the SIP side is gone and the call is still %v", w.m.Phase)
	case w.scene != sceneInbound && w.cloud.picked && w.wo.HasAnswer && w.wo.MediaUp && w.m.Phase < Answering:
		return fmt.Sprintf("the user picked up and the call is still %v", w.m.Phase)
	case w.scene != sceneClicked && current.phone == phoneTalking && w.m.Phase < Active:
		return fmt.Sprintf("both sides talk and the call is still %v", w.m.Phase)
	case w.m.Leaving > 0:
		return "a leg that was given up never left"
	case w.wo.Lost && !w.wo.Placed:
		return "waits for a call that nobody can name"
	}
	return ""
}

// hashes is a set with a word per element, which is what millions of them may
// cost.
type hashes struct {
	slots []uint64 // zero is free
	n     int
}

// add reports whether h is new.
func (s *hashes) add(h uint64) bool {
	h = max(h, 1)
	if 2*s.n >= len(s.slots) {
		old := s.slots
		s.slots, s.n = make([]uint64, max(1<<10, 2*len(old))), 0
		for _, o := range old {
			if o != 0 {
				s.add(o)
			}
		}
	}
	at := h & uint64(len(s.slots)-1)
	for ; s.slots[at] != 0; at = (at + 1) & uint64(len(s.slots)-1) {
		if s.slots[at] == h {
			return false
		}
	}
	s.slots[at] = h
	s.n++
	return true
}

// explore walks through every state that a start leads to, breadth first, so
// that the first violation has the shortest story.
func explore(start world, visit func(*world)) (states int, bad []string) {
	type node struct {
		parent int32
		move   uint8
	}
	seed := maphash.MakeSeed()
	r := newRunner()
	begin := func(w world) {
		r.w, r.err, r.queue = w, "", r.queue[:0]
	}
	begin(start)
	if start.scene != sceneInbound {
		r.w.m.start(r)
		r.drain()
	}
	first := r.w
	nodes := []node{{-1, 0}}
	var seen hashes
	seen.add(maphash.Comparable(seed, first))
	var buf []move

	story := func(i int32, last string) string {
		var path []uint8
		for ; nodes[i].parent >= 0; i = nodes[i].parent {
			path = append(path, nodes[i].move)
		}
		begin(first)
		var text strings.Builder
		for k := len(path) - 1; k >= 0; k-- {
			m := r.moves(nil)[path[k]]
			m.do(r, m.arg)
			r.drain()
			fmt.Fprintf(&text, "    %-34s %v\n", m.name(m.arg), r.w.m.Phase)
		}
		if last != "" {
			text.WriteString("    " + last + "\n")
		}
		return text.String()
	}

	level, next, base := []world{first}, []world(nil), int32(0)
	for len(level) > 0 {
		next = next[:0]
		for k, w := range level {
			at := base + int32(k)
			visit(&w)
			begin(w)
			buf = r.moves(buf[:0])
			forced := 0
			for i, m := range buf {
				if !m.free {
					forced++
				}
				begin(w)
				m.do(r, m.arg)
				r.drain()
				if what := r.err; what != "" {
					bad = append(bad, what+"\n"+story(at, m.name(m.arg)))
					if len(bad) >= 3 {
						return len(nodes), bad
					}
					continue
				}
				if r.w == w {
					continue
				}
				if !seen.add(maphash.Comparable(seed, r.w)) {
					continue
				}
				nodes = append(nodes, node{at, uint8(i)})
				next = append(next, r.w)
			}
			if forced == 0 && !w.abandoned {
				if q := w.quiet(); q != "" {
					bad = append(bad, q+"\n"+story(at, ""))
					if len(bad) >= 3 {
						return len(nodes), bad
					}
				}
			}
		}
		base += int32(len(level))
		level, next = next, level
	}
	return len(nodes), bad
}

// scenes are the worlds that are explored.
var scenes = []struct {
	name  string
	small bool // quick enough for every run
	start world
}{
	{"inbound", false, inboundWorld(2, budget{losses: 1, dups: 1, stops: 1})},
	{"inbound, all well", true, inboundWorld(2, budget{})},
	{"inbound, one stop", true, inboundWorld(1, budget{stops: 1})},
	{"inbound, one loss", true, inboundWorld(1, budget{losses: 1})},
	{"inbound, two losses", true, inboundWorld(1, budget{losses: 2})},
	{"inbound, transfer", true, inboundWorld(1, budget{stops: 1, transfers: 1})},
	{"inbound, no pre_accept", true, skipPre(inboundWorld(1, budget{losses: 1, stops: 1}))},
	{"outbound", false, outboundWorld(budget{losses: 1, dups: 1, stops: 1})},
	{"outbound, one loss", true, outboundWorld(budget{losses: 1})},
	{"outbound, one stop", true, outboundWorld(budget{stops: 1})},
	{"outbound, announced", true, announced(outboundWorld(budget{stops: 2}))},
	{"outbound, announced, one loss", false, announced(outboundWorld(budget{losses: 1, dups: 1, stops: 1}))},
	{"clicked", false, clickedWorld(budget{losses: 1, dups: 1, stops: 1})},
	{"clicked, all well", true, clickedWorld(budget{})},
	{"clicked, one loss", true, clickedWorld(budget{losses: 1})},
}

func inboundWorld(hops int, b budget) world {
	w := world{scene: sceneInbound, budget: b}
	for i := range hops {
		w.m.Plan.Targets[i] = 1
	}
	w.m.Plan.Hops = uint8(hops)
	w.cloud.state = cloudLive
	w.cloud.hooks[hookConnect] = 1
	w.cloud.sent[hookConnect] = true
	return w
}

func skipPre(w world) world {
	w.wi.SkipPre = true
	return w
}

func outboundWorld(b budget) world {
	w := world{scene: sceneOutbound, born: true, budget: b, m: machine{ToGraph: true, Plan: newPlan(1)}}
	w.lines[0].phone = phoneInvited
	return w
}

// announced lets the phone hear a prompt before any refusal but that of a
// shutdown.
func announced(w world) world {
	w.announced = true
	return w
}

func clickedWorld(b budget) world {
	return world{scene: sceneClicked, born: true, budget: b, m: machine{ToGraph: true, Summoned: true, Plan: newPlan(1)}}
}

// facts are what the walks must have come across; a model that does not get
// there proves nothing.
var facts = []struct {
	name string
	seen func(*world) bool
}{
	{"a summoned phone rings", func(w *world) bool { return w.m.Phase == Summoning && w.lines[0].rung }},
	{"two phones alive", func(w *world) bool {
		return w.lines[0].phone == phoneTalking && w.lines[1].phone == phoneInvited
	}},
	{"a call while a phone is leaving", func(w *world) bool { return w.m.Phase == Active && w.m.Leaving > 0 }},
	{"a transfer during the end", func(w *world) bool { return w.m.Phase == Ending && w.newcomer }},
	{"a bridge over the second phone", func(w *world) bool { return w.m.Bridged && w.m.Attempt == 2 }},
	{"accept repeated", func(w *world) bool { return w.wi.Accepts == 2 && w.wi.Up }},
	{"accept waits for media", func(w *world) bool { return w.wi.PeerWait }},
	{"answered while still preparing", func(w *world) bool { return w.wi.WantAnswer && w.wi.Busy == reqPrepare }},
	{"the other verb", func(w *world) bool { return w.refused != 0 && w.cloud.state == cloudGone }},
	{"dead on arrival", func(w *world) bool { return w.tombstone }},
	{"a call that nobody owns", func(w *world) bool { return w.stray }},
	{"a call named after it was given up", func(w *world) bool { return w.wo.Adrift }},
	{"a call named by its webhook", func(w *world) bool { return w.wo.Lost && w.wo.Placed && w.m.Phase == Active }},
	{"487 and 200 cross", func(w *world) bool { return w.lines[0].cancelled && w.si.Answering }},
	{"a prompt while the user's call is being ended", func(w *world) bool { return w.playing && w.m.Out == legOpen }},
	{"a prompt that is heard out", func(w *world) bool { return w.spoken && w.m.Phase == Ended && !w.lines[0].cancelled }},
	{"a prompt that a CANCEL ends", func(w *world) bool { return w.playing && w.lines[0].cancelled }},
	{"abandoned during a prompt", func(w *world) bool { return w.abandoned && w.playing }},
	{"abandoned", func(w *world) bool { return w.abandoned }},
}

// TestModel walks through everything that may happen to a call. The large
// worlds take a quarter of a minute and some memory; -short and the race
// detector leave them out.
func TestModel(t *testing.T) {
	var mu sync.Mutex
	reached, small := make([]bool, len(facts)), 0
	t.Run("scenes", func(t *testing.T) {
		for _, s := range scenes {
			t.Run(s.name, func(t *testing.T) {
				if !s.small && (testing.Short() || raceDetector) {
					t.Skip("too large for -short and for the race detector")
				}
				t.Parallel()
				here := make([]bool, len(facts))
				visit := func(w *world) {
					for i := range facts {
						here[i] = here[i] || facts[i].seen(w)
					}
				}
				if !s.small {
					visit = func(*world) {}
				}
				states, bad := explore(s.start, visit)
				for _, b := range bad {
					t.Errorf("VIOLATION: %s", b)
				}
				t.Logf("%d states, %d violations", states, len(bad))
				mu.Lock()
				defer mu.Unlock()
				if s.small {
					small++
				}
				for i := range facts {
					reached[i] = reached[i] || here[i]
				}
			})
		}
	})
	for _, s := range scenes {
		if s.small {
			small--
		}
	}
	if t.Failed() || small < 0 { // or -run chose only some
		return
	}
	for i, f := range facts {
		if !reached[i] {
			t.Errorf("no walk came across: %s", f.name)
		}
	}
}
