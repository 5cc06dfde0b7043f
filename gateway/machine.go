package gateway

// machine is the call machine: one table for both directions. The ingress leg
// is the one that called us, the egress leg the one we place. It does no I/O,
// has no clock and no goroutine: step takes what happened and asks the actions
// for what follows. It is a plain comparable value, so that a test can walk
// through everything that may happen.
type machine struct {
	Phase Phase
	Cause Cause // why the call ended; set once
	By    party // who ended it; set with Cause

	In, Out life
	Caller  uint8 // number of the current ingress leg: 0 until a transfer
	Attempt uint8 // number of the current egress leg, from 1; the older ones are leaving or over
	Leaving uint8 // legs that were given up and are not over yet
	Plan    plan

	Summoned bool // the ingress leg is a phone that we dialled
	ToGraph  bool // the egress leg is a WhatsApp call
	Bridged  bool
	Turn     uint8 // phases entered so far
}

// life of a leg, as far as the machine is concerned.
type life uint8

const (
	noLeg life = iota
	legOpen
	legOver
)

// party is the side whose doing fixed the cause.
type party uint8

const (
	byGateway party = iota
	byCaller
	byCallee
)

// actions is what the machine asks of the call. Each starts something and
// returns at once; what becomes of it is an event of a later step. An action
// must not call step: an event that is known at once waits until the running
// step is through.
type actions interface {
	prepareIn()                   // get the ingress leg ready to be answered (summoned: dial it)
	dialOut(leg uint8)            // place this egress leg, where Plan points
	ringIn()                      // tell the caller that it rings
	answerIn()                    // connect the caller
	hangupIn(c Cause)             // end the ingress leg; once
	hurryIn()                     // the ingress leg was to end, and may not linger over it
	hangupOut(leg uint8, c Cause) // end the current egress leg; once
	drop(leg uint8, c Cause)      // the same for a leg that another one replaces; 0: the ingress
	startBridge()                 // both are up: let them hear each other
	stopBridge()
	swap(leg uint8, in bool)        // the bridge goes on with this leg in the place of the egress, or of the ingress
	pickUp(leg uint8)               // this leg, which we did not place, is the egress now, and was picked up
	arm(s stamp)                    // restart the one timer for this phase; it returns as deadline
	record(c Cause, abandoned bool) // the call is over; abandoned: what is still open are debts
}

// start begins the life of a call whose ingress leg exists, or is to be dialled
// (Summoned).
func (m *machine) start(do actions) {
	m.In = legOpen
	if m.Summoned {
		m.enter(Summoning, do)
		do.prepareIn()
		return
	}
	m.enter(Routing, do)
}

// step takes one event.
func (m *machine) step(ev event, do actions) {
	switch m.Phase {
	case Ended:
		return // late news of a finished call
	case Ending:
		m.note(ev)
		m.ending(ev, do)
		return
	case Summoning, Routing, Dialing, Ringing, Answering, Active:
	}
	m.note(ev)

	switch ev := ev.(type) {
	case summoned:
		if m.Phase == Summoning {
			m.enter(Routing, do)
		}
	case routed:
		m.routed(ev.Plan, do)
	case routeFailed:
		if m.Phase == Routing {
			m.end(ev.Cause, byGateway, do)
		}
	case calleeRinging:
		m.calleeRinging(ev.Leg, do)
	case calleeAnswered:
		m.calleeAnswered(ev.Leg, do)
	case callerConnected:
		m.callerConnected(do)
	case callerEnded:
		if ev.Leg == m.Caller {
			m.end(ev.Cause, doing(ev.Cause, byCaller), do)
		}
	case calleeEnded:
		m.calleeEnded(ev, do)
	case callerFailed:
		m.end(ev.Cause, byGateway, do)
	case mediaLost:
		m.end(ev.Cause, byGateway, do)
	case stopped:
		m.end(ev.Cause, byGateway, do)
	case deadline:
		m.deadline(ev, do)
	case replaced:
		m.replaced(ev, do)
	case newcomerRinging, newcomerUp, newcomerEnded: // the handover keeps them
	}
}

// note takes down that a leg is over, whatever the phase.
func (m *machine) note(ev event) {
	switch ev := ev.(type) {
	case callerEnded:
		switch {
		case ev.Leg == m.Caller:
			m.In = legOver
		case m.Leaving > 0:
			m.Leaving--
		}
	case calleeEnded:
		switch {
		case ev.Leg == m.Attempt:
			m.Out = legOver
		case m.Leaving > 0:
			m.Leaving--
		}
	case summoned, routed, routeFailed, calleeRinging, calleeAnswered, callerConnected,
		callerFailed, mediaLost, stopped, deadline, replaced, newcomerRinging, newcomerUp, newcomerEnded:
	}
}

func (m *machine) routed(p plan, do actions) {
	if m.Phase != Routing {
		return
	}
	m.Plan = p
	m.enter(Dialing, do)
	if !m.Summoned {
		do.prepareIn()
	}
	m.dial(do)
}

// dial places the next egress leg.
func (m *machine) dial(do actions) {
	m.Attempt++
	m.Out = legOpen
	do.dialOut(m.Attempt)
}

func (m *machine) calleeRinging(leg uint8, do actions) {
	if leg != m.Attempt {
		return // rings on until it learns that it was given up
	}
	switch m.Phase {
	case Dialing:
		m.enter(Ringing, do)
		do.ringIn()
	case Ringing: // said twice
	case Answering, Active: // late
	case Summoning, Routing: // cannot be: nothing was dialled
	case Ending, Ended: // nobody is told any more
	}
}

func (m *machine) calleeAnswered(leg uint8, do actions) {
	if leg != m.Attempt {
		return // crossed the end of that attempt: the leg ends it itself
	}
	switch m.Phase {
	case Dialing, Ringing:
		m.enter(Answering, do)
		do.answerIn()
	case Answering, Active: // said twice
	case Summoning, Routing: // cannot be: nothing was dialled
	case Ending, Ended: // crossed our hangup: the leg ends it itself
	}
}

func (m *machine) callerConnected(do actions) {
	switch m.Phase {
	case Answering:
		m.enter(Active, do)
		m.Bridged = true
		do.startBridge()
	case Active: // said twice
	case Summoning, Routing, Dialing, Ringing: // cannot be: it was not asked to
	case Ending, Ended: // crossed our hangup: the leg ends it itself
	}
}

func (m *machine) calleeEnded(ev calleeEnded, do actions) {
	if ev.Leg != m.Attempt {
		return // one that was leaving has left
	}
	switch m.Phase {
	case Dialing:
		if !ev.Over && m.Plan.next(ev.Cause.retry()) {
			m.dial(do) // the phase goes on, and so does its timer
			return
		}
	case Ringing:
		if !ev.Over && m.Plan.next(ev.Cause.retry()) {
			m.enter(Dialing, do)
			m.dial(do)
			return
		}
	case Answering, Active: // it was a call already; no other phone takes it over
	case Summoning, Routing: // cannot be: nothing was dialled
	case Ending, Ended:
	}
	m.end(ev.Cause, doing(ev.Cause, byCallee), do)
}

// doing is who ended a call whose leg on that side ended so: the side itself,
// or we and Meta.
func doing(c Cause, side party) party {
	if !c.farSide() {
		return byGateway
	}
	return side
}

func (m *machine) deadline(ev deadline, do actions) {
	if ev.Stamp != (stamp{m.Phase, m.Turn}) {
		return // armed for a phase that is over
	}
	switch m.Phase {
	case Summoning:
		m.end(NoAnswer, byCaller, do)
	case Routing:
		m.end(Internal, byGateway, do)
	case Dialing:
		switch {
		case m.ToGraph:
			m.end(APITimeout, byGateway, do)
		case ev.Over: // there was no time left, which is no fault of the trunk's
			m.end(NoAnswer, byGateway, do)
		default:
			m.end(Unreachable, byGateway, do)
		}
	case Ringing:
		if ev.Over || !m.Plan.next(NoAnswer.retry()) {
			m.end(NoAnswer, byGateway, do)
			return
		}
		m.leave(m.Attempt, NoAnswer, do)
		m.enter(Dialing, do)
		m.dial(do)
	case Answering:
		m.end(AnswerFailed, byGateway, do)
	case Active:
		m.end(MaxDuration, byGateway, do)
	case Ending, Ended:
	}
}

// leave hangs a leg up in the background. It keeps its own crossed
// answers, and the call is not over before it is.
func (m *machine) leave(leg uint8, c Cause, do actions) {
	m.Leaving++
	do.drop(leg, c)
}

func (m *machine) replaced(ev replaced, do actions) {
	current := &m.Attempt
	if ev.In {
		current = &m.Caller
	}
	switch m.Phase {
	case Active:
		old := *current
		*current = ev.Leg
		do.swap(ev.Leg, ev.In)
		m.leave(old, Hangup, do)
	case Dialing, Ringing:
		if ev.In { // cannot be: the caller rings nobody
			m.leave(ev.Leg, Hangup, do)
			return
		}
		old := *current
		*current = ev.Leg
		m.enter(Answering, do)
		do.pickUp(ev.Leg)
		m.leave(old, Hangup, do)
		do.answerIn()
	case Summoning, Routing, Answering, Ending:
		m.leave(ev.Leg, Hangup, do) // there is nothing to take over, and it must not stay
	case Ended:
	}
}

// end fixes the cause and hangs up what is open. The first cause wins.
func (m *machine) end(c Cause, by party, do actions) {
	m.Phase = Ending
	m.Turn++
	m.Cause, m.By = c, by
	if m.Bridged {
		m.Bridged = false
		do.stopBridge()
	}
	if m.In == legOpen {
		do.hangupIn(c)
	}
	if m.Out == legOpen {
		do.hangupOut(m.Attempt, c)
	}
	if !m.finishIfOver(do) {
		do.arm(stamp{m.Phase, m.Turn}) // last, so that the legs can say how long they may take
	}
}

// ending waits for the legs.
func (m *machine) ending(ev event, do actions) {
	switch ev := ev.(type) {
	case deadline:
		if ev.Stamp == (stamp{m.Phase, m.Turn}) {
			m.finish(true, do) // a leg never reported back
		}
	case replaced:
		m.replaced(ev, do)
	case callerEnded, calleeEnded:
		m.finishIfOver(do)
	case summoned, routed, routeFailed, calleeRinging, calleeAnswered, callerConnected: // crossed our hangup
	case stopped: // by somebody who does not want to wait for a prompt
		if m.In == legOpen {
			do.hurryIn()
		}
	case newcomerRinging, newcomerUp, newcomerEnded: // the handover keeps them
	case callerFailed, mediaLost: // it is ending already
	}
}

func (m *machine) finishIfOver(do actions) bool {
	if m.In == legOpen || m.Out == legOpen || m.Leaving > 0 {
		return false
	}
	m.finish(false, do)
	return true
}

func (m *machine) finish(abandoned bool, do actions) {
	m.Phase = Ended
	do.record(m.Cause, abandoned)
}

// enter goes to a phase before Ending and restarts the timer for it.
func (m *machine) enter(p Phase, do actions) {
	m.Phase = p
	m.Turn++
	do.arm(stamp{p, m.Turn})
}
