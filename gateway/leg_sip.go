package gateway

// dialled is a SIP call that we place, whoever it is for: the egress leg, or
// the agent's phone of a summoned call. The stack acknowledges every 2xx and
// answers every BYE by itself. Each input returns what the call must know.
type dialled struct {
	Sent       bool // the INVITE left
	Proceeding bool // a response came, so a CANCEL cannot overtake the INVITE
	Rung       bool
	CancelSent bool
	Up         bool
	WantEnd    bool
	Why        Cause // of WantEnd
	Closed     bool
}

// news of a dialled call.
type news uint8

const (
	noNews news = iota
	newsRinging
	newsAnswered
	newsEnded
)

func (l *dialled) dial(p sipPort) { p.do(sipPrepare, NoCause) }

// prepared: the INVITE is on disk and may leave.
func (l *dialled) prepared(p sipPort) news {
	switch {
	case l.Closed || l.Sent:
		return noNews
	case l.WantEnd: // nothing left, so nothing is to be undone
		return l.end()
	}
	l.Sent = true
	p.do(sipInvite, NoCause)
	return noNews
}

func (l *dialled) end() news {
	if l.Closed {
		return noNews
	}
	l.Closed = true
	return newsEnded
}

func (l *dialled) hangup(c Cause, p sipPort) {
	if l.Closed || l.WantEnd {
		return
	}
	l.WantEnd, l.Why = true, c
	switch {
	case l.Up:
		p.do(sipBye, c)
	case l.Proceeding:
		l.cancel(p)
	}
	// Before the first response a CANCEL may overtake its INVITE: wait for one.
}

func (l *dialled) cancel(p sipPort) {
	l.CancelSent = true
	p.do(sipCancel, l.Why)
}

// proceeding: a provisional response came.
func (l *dialled) proceeding(p sipPort) {
	if l.Closed || l.Up {
		return
	}
	l.Proceeding = true
	if l.WantEnd && !l.CancelSent {
		l.cancel(p)
	}
}

// ringing: that response says that the phone rings.
func (l *dialled) ringing(p sipPort) news {
	l.proceeding(p)
	if l.Closed || l.Up || l.WantEnd || l.Rung {
		return noNews
	}
	l.Rung = true
	return newsRinging
}

// accepted: a 2xx came, and the stack has sent its ACK.
func (l *dialled) accepted(p sipPort) news {
	if l.Closed || l.Up {
		return noNews
	}
	l.Up, l.Proceeding = true, true
	if l.WantEnd { // it crossed our CANCEL: it is a call now, so it ends as one
		p.do(sipBye, l.Why)
		return noNews
	}
	return newsAnswered
}

// unusable: a 2xx came whose session description we cannot use. It is a call
// now, so it ends as one, but nobody is told that it was answered.
func (l *dialled) unusable() {
	if !l.Closed {
		l.Up, l.Proceeding = true, true
	}
}

// refused: a final response; or none, be it that there is no transport, or that
// the trunk said nothing at all for too long. What it still says after that is
// the session's business.
func (l *dialled) refused() news { return l.end() }

// moved: the trunk says where else the phone is. It is called there, unless it is
// not wanted any more.
func (l *dialled) moved(p sipPort) bool {
	if l.Closed || l.Up || l.WantEnd {
		return false
	}
	*l = dialled{}
	l.dial(p)
	return true
}

// hungup: the phone sent BYE, or answered ours.
func (l *dialled) hungup() news { return l.end() }

// slow means that the far end may take as long as its timers allow.
func (l *dialled) slow() bool { return !l.Closed && l.CancelSent && !l.Up }

// phoneTable is what the tables of calls that we place on a trunk have in
// common.
type phoneTable interface {
	dial(p sipPort)
	hangup(c Cause, p sipPort)
	prepared(p sipPort)
	proceeding(p sipPort)
	ringing(p sipPort)
	accepted(p sipPort)
	unusable()
	refused(c Cause, p sipPort)
	hungup(p sipPort)
	slow() bool
}

var (
	_ phoneTable = (*sipEgress)(nil)
	_ phoneTable = (*summonedIngress)(nil)
	_ phoneTable = (*relief)(nil)
)

// sipEgress is a call that we place on a trunk for a WhatsApp user.
type sipEgress struct {
	Leg uint8
	dialled
}

func (l *sipEgress) prepared(p sipPort)         { l.tell(l.dialled.prepared(p), Cancelled, p) }
func (l *sipEgress) ringing(p sipPort)          { l.tell(l.dialled.ringing(p), NoCause, p) }
func (l *sipEgress) accepted(p sipPort)         { l.tell(l.dialled.accepted(p), NoCause, p) }
func (l *sipEgress) refused(c Cause, p sipPort) { l.tell(l.dialled.refused(), c, p) }
func (l *sipEgress) hungup(p sipPort)           { l.tell(l.dialled.hungup(), Hangup, p) }

func (l *sipEgress) tell(n news, c Cause, p sipPort) {
	switch n {
	case noNews:
	case newsRinging:
		p.emit(calleeRinging{l.Leg})
	case newsAnswered:
		p.emit(calleeAnswered{l.Leg})
	case newsEnded:
		p.emit(calleeEnded{Leg: l.Leg, Cause: c})
	}
}

// summonedIngress is the phone of an agent, which we dial first and connect to
// the customer when it is up. The agent hears a ringback tone meanwhile.
type summonedIngress struct {
	dialled
	Plan   plan // of the addresses of its trunk
	Joined bool // with the customer, so that its end is a hangup
}

func (l *summonedIngress) prepare(p sipPort) { l.dial(p) }

func (l *summonedIngress) ring(p sipPort) {
	if l.Up && !l.WantEnd && !l.Closed {
		p.do(sipTone, NoCause)
	}
}

// answer has nothing to wait for: the phone is up since before the call was
// routed.
func (l *summonedIngress) answer(p sipPort) {
	if l.Up && !l.WantEnd && !l.Closed {
		l.Joined = true
		p.emit(callerConnected{})
	}
}

func (l *summonedIngress) prepared(p sipPort) { l.tell(l.dialled.prepared(p), Cancelled, p) }
func (l *summonedIngress) ringing(p sipPort)  { l.tell(l.dialled.ringing(p), NoCause, p) }
func (l *summonedIngress) accepted(p sipPort) { l.tell(l.dialled.accepted(p), NoCause, p) }

// refused: another address of the trunk may have the same phone.
func (l *summonedIngress) refused(c Cause, p sipPort) {
	if !l.Closed && !l.Up && !l.WantEnd && l.Plan.next(c.retry()) {
		l.dialled = dialled{}
		l.dial(p)
		return
	}
	l.tell(l.dialled.refused(), c, p)
}

// hungup before the customer was there is giving up.
func (l *summonedIngress) hungup(p sipPort) {
	why := Cancelled
	if l.Joined {
		why = Hangup
	}
	l.tell(l.dialled.hungup(), why, p)
}

func (l *summonedIngress) tell(n news, c Cause, p sipPort) {
	switch n {
	case noNews, newsRinging:
	case newsAnswered:
		p.emit(summoned{})
	case newsEnded:
		p.emit(callerEnded{Cause: c})
	}
}

// sipIngress is a call that a trunk placed. The session reports a CANCEL only
// when it won, that is, when the stack has answered the INVITE with 487; one
// that comes after our 200 is void, and the peer sends BYE.
type sipIngress struct {
	Leg       uint8 // 0; or the number of a phone that calls to take the place of another
	Rung      bool
	Answering bool // 200 sent, ACK not seen
	Up        bool
	ByeSent   bool
	WantEnd   bool
	Why       Cause // of WantEnd
	Speaking  bool  // 183 sent, the caller hears a prompt; the refusal follows
	Closed    bool
}

// prepare has nothing to do: the offer was checked at admission.
func (l *sipIngress) prepare(sipPort) {}

func (l *sipIngress) ring(p sipPort) {
	if l.Closed || l.Rung || l.Answering || l.Up {
		return
	}
	l.Rung = true
	p.do(sipRing, NoCause)
}

// answer sends 200. If the stack has just sent 487, nothing leaves, and
// cancelled is on its way to us.
func (l *sipIngress) answer(p sipPort) {
	if l.Closed || l.WantEnd || l.Answering || l.Up {
		return
	}
	l.Answering = true
	p.do(sipAnswer, NoCause)
}

// hangup ends the call. Where it still waits for an answer and prompt is set,
// the caller hears why before the refusal; one whose phone has rung by then is
// refused at once.
func (l *sipIngress) hangup(c Cause, prompt bool, p sipPort) {
	if l.Closed || l.WantEnd {
		return
	}
	l.WantEnd, l.Why = true, c
	switch {
	case l.Up:
		l.bye(c, p)
	case l.Answering: // no BYE before the ACK (RFC 3261 section 15)
	case prompt && !l.Rung:
		l.Speaking = true
		p.do(sipSpeak, c)
	default:
		l.refuse(p)
	}
}

// spoken: the prompt has had its time, or gets no more.
func (l *sipIngress) spoken(p sipPort) {
	if l.Speaking {
		l.refuse(p)
	}
}

// refuse sends the final response. It is void when a CANCEL won; the call is
// over in either case.
func (l *sipIngress) refuse(p sipPort) {
	l.hush(p)
	p.do(sipRefuse, l.Why)
	l.end(l.Why, p)
}

func (l *sipIngress) hush(p sipPort) {
	if l.Speaking {
		l.Speaking = false
		p.do(sipHush, NoCause)
	}
}

func (l *sipIngress) bye(c Cause, p sipPort) {
	if !l.ByeSent {
		l.ByeSent = true
		p.do(sipBye, c)
	}
}

// cancelled: the caller gave up, and the stack has sent 487.
func (l *sipIngress) cancelled(p sipPort) {
	if !l.Closed {
		l.end(Cancelled, p)
	}
}

// acked: the caller has our 200.
func (l *sipIngress) acked(p sipPort) {
	if l.Closed || l.Up {
		return
	}
	l.Answering, l.Up = false, true
	if l.WantEnd {
		l.bye(l.Why, p)
		return
	}
	if l.Leg != 0 {
		p.emit(newcomerUp{l.Leg})
		return
	}
	p.emit(callerConnected{})
}

// unacked: no ACK came in all the time of our 200. The dialog may exist, so the
// stack ends it with BYE.
func (l *sipIngress) unacked(p sipPort) {
	if l.Closed || l.Up {
		return
	}
	l.Answering, l.Up, l.ByeSent = false, true, true
	if !l.WantEnd {
		l.WantEnd = true
		if l.Leg == 0 { // else its end says it
			p.emit(callerFailed{AnswerFailed})
		}
	}
}

// hungup: the caller sent BYE, perhaps ahead of its ACK, or answered ours.
func (l *sipIngress) hungup(p sipPort) {
	if !l.Closed {
		l.end(Hangup, p)
	}
}

// slow means that the far end may take as long as its timers allow, or that a
// prompt is to be heard out.
func (l *sipIngress) slow() bool { return !l.Closed && (l.Answering || l.Speaking) }

func (l *sipIngress) end(c Cause, p sipPort) {
	l.hush(p)
	l.Closed = true
	if l.Leg != 0 {
		p.emit(newcomerEnded{l.Leg, c})
		return
	}
	p.emit(callerEnded{Cause: c})
}
