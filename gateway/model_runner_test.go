package gateway

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

func (r *runner) emit(ev event) { r.w.hand.pass(ev, r.w.talks(), r) }

// talks is the number of the phone that talks.
func (w *world) talks() uint8 {
	if w.hand.In {
		return w.m.Caller
	}
	return w.m.Attempt
}

// drain feeds the machine what the legs told, in order.
func (r *runner) drain() {
	for i := 0; i < len(r.queue); i++ {
		r.step(r.queue[i])
	}
	r.queue = r.queue[:0]
	for _, l := range [...]*dialled{&r.w.so[0].dialled, &r.w.so[1].dialled, &r.w.su.dialled, &r.w.rel.dialled} {
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
	w.hand.Why = NoCause
	if w.rel.Closed {
		w.rel = relief{Leg: w.rel.Leg, dialled: dialled{Closed: true}}
		w.lines[1].box = notes{}
		w.lines[1].rung = false
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
	if before.Phase < Ending && after.Phase >= Ending {
		in, isIn := ev.(callerEnded)
		out, isOut := ev.(calleeEnded)
		if isIn && in.Leg != before.Caller || isOut && out.Leg != before.Attempt {
			r.fail("the end of a phone that was replaced ended the call")
		}
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
