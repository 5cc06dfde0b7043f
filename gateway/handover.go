package gateway

// handover is the change of a call's phone: another one, the newcomer, is on its
// way to take the place of the one that talks. It stands between the legs and
// the machine, which learns of a newcomer only when it is up, and of the end of
// the phone before it only when it is known whether somebody takes over: whoever
// transfers a call may hang up before the next phone has rung. It is a table
// like the legs.
type handover struct {
	In   bool  // the phones are on the caller's side
	Leg  uint8 // of the newcomer, until it has taken over; 0: there is none
	Left bool  // the phone before it is over, and the machine has not been told
	Why  Cause // of Left
}

// handPort is what a handover asks of the call.
type handPort interface {
	tell(ev event)     // the machine
	inform(status int) // the phone that asked for it, by a SIP status
	comfort()          // only the customer is left, who waits for the newcomer
}

// pass takes what a leg says. talks is the number of the phone that talks.
func (h *handover) pass(ev event, talks uint8, p handPort) {
	switch ev := ev.(type) {
	case newcomerRinging:
		if ev.Leg == h.Leg {
			p.inform(180)
		}
	case newcomerUp:
		if ev.Leg == h.Leg {
			h.Leg = 0
			p.inform(200)
			p.tell(replaced{ev.Leg, h.In})
			h.settle(talks, p)
		}
	case newcomerEnded:
		if ev.Leg != h.Leg { // it had taken over, and may be the one that talks
			h.ended(h.over(ev.Leg, ev.Cause), ev.Leg == talks, ev.Cause, p)
			return
		}
		h.Leg = 0
		p.inform(ev.Cause.toldStatus())
		h.settle(talks, p)
	case callerEnded:
		h.ended(ev, h.In && ev.Leg == talks, ev.Cause, p)
	case calleeEnded:
		h.ended(ev, !h.In && ev.Leg == talks, ev.Cause, p)
	case summoned, routed, routeFailed, calleeRinging, calleeAnswered, callerConnected, callerFailed,
		mediaLost, stopped, deadline, replaced:
		p.tell(ev)
	}
}

// ended holds the end of the phone that talks back while a newcomer is on its
// way.
func (h *handover) ended(ev event, talked bool, why Cause, p handPort) {
	if !talked || h.Leg == 0 {
		p.tell(ev)
		return
	}
	h.Left, h.Why = true, why
	p.comfort()
}

// settle tells of an end that was held back.
func (h *handover) settle(talks uint8, p handPort) {
	if h.Left {
		h.Left = false
		p.tell(h.over(talks, h.Why))
	}
}

// companion is the newcomer that is to be hung up with the leg of a side; 0:
// none.
func (h *handover) companion(in bool) uint8 {
	if in != h.In {
		return 0
	}
	return h.Leg
}

func (h *handover) over(leg uint8, why Cause) event {
	if h.In {
		return callerEnded{Leg: leg, Cause: why}
	}
	return calleeEnded{Leg: leg, Cause: why}
}

// toldStatus is what a phone is told of the failure of a transfer.
func (c Cause) toldStatus() int {
	if status, _ := c.sipStatus(false); status >= 300 {
		return status
	}
	return 480
}

// relief is a phone that we dial to take the place of the one that talks.
type relief struct {
	Leg  uint8
	Plan plan // of the addresses of its trunk
	dialled
}

func (l *relief) prepared(p sipPort) { l.tell(l.dialled.prepared(p), Cancelled, p) }
func (l *relief) ringing(p sipPort)  { l.tell(l.dialled.ringing(p), NoCause, p) }
func (l *relief) accepted(p sipPort) { l.tell(l.dialled.accepted(p), NoCause, p) }
func (l *relief) hungup(p sipPort)   { l.tell(l.dialled.hungup(), l.cause(Hangup), p) }

// refused: another address of the trunk may have the same phone.
func (l *relief) refused(c Cause, p sipPort) {
	if !l.Closed && !l.Up && !l.WantEnd && l.Plan.next(c.retry()) {
		l.dialled = dialled{}
		l.dial(p)
		return
	}
	l.tell(l.dialled.refused(), l.cause(c), p)
}

// cause is why it is over: what we ended it for, if we did.
func (l *relief) cause(c Cause) Cause {
	if l.WantEnd {
		return l.Why
	}
	return c
}

func (l *relief) tell(n news, c Cause, p sipPort) {
	switch n {
	case noNews:
	case newsRinging:
		p.emit(newcomerRinging{l.Leg})
	case newsAnswered:
		p.emit(newcomerUp{l.Leg})
	case newsEnded:
		p.emit(newcomerEnded{l.Leg, c})
	}
}
