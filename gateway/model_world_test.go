package gateway

// The world around one call: a WhatsApp cloud that repeats, reorders, refuses
// and loses; a user who picks up, rejects or hangs up at any time; SIP phones on
// a wire that keeps no order, behind a stack whose news wait in the call's
// mailbox. It is a comparable value without padding.

// scene is which call is explored.
type scene uint8

const (
	sceneInbound  scene = iota // a WhatsApp user calls, up to two phones ring in turn
	sceneOutbound              // a phone calls a WhatsApp user
	sceneClicked               // we dial the agent's phone first, then the user
)

// msg is a SIP message on the wire. A message is not there if its delay
// cannot be told from a delay of its sender: what a phone that we dialled sends goes
// straight into the mailbox, and what it gets changes nothing until it acts.
// None is on the wire twice: the stack collapses repeats.
type msg uint8

const (
	msg180 msg = iota
	msg200
	msg486
	msg487
	msgACK
	msgCANCEL
	msgBYE
	msgBYEOK
	numMsg
)

var msgNames = [numMsg]string{"180", "200", "486", "487", "ACK", "CANCEL", "BYE", "200 (BYE)"}

// bag is a set of messages on the wire.
type bag uint8

func (b *bag) put(m msg)     { *b |= 1 << m }
func (b *bag) take(m msg)    { *b &^= 1 << m }
func (b bag) has(m msg) bool { return b&(1<<m) != 0 }

// phone is the far end of a SIP dialog.
type phone uint8

const (
	phoneIdle phone = iota
	phoneInvited
	phoneTalking
	phoneClosing // sent BYE
	phoneGone
)

// note is news from the SIP stack that waits in the mailbox.
type note uint8

const (
	noNote note = iota
	notePrepared
	noteRinging
	noteAccepted
	noteUnusable // accepted with an SDP of no use
	noteRefused  // busy
	noteDeclined
	noteFailed
	noteHungup
	noteByeDone
	noteCancelled
	noteAcked
	noteNoAck
)

// notes come in order.
type notes [4]note

func (q *notes) put(n note) {
	for i := range q {
		if q[i] == noNote {
			q[i] = n
			return
		}
	}
	panic("more notes than a session has")
}

func (q *notes) take() note {
	n := q[0]
	copy(q[:], q[1:])
	q[len(q)-1] = noNote
	return n
}

// line is one SIP dialog: the phone, the wire, and our stack.
type line struct {
	toPeer, toUs bag
	phone        phone
	rung         bool // the phone sent 180, and so the stack has seen a response
	gaveUp       bool // the caller's phone sent CANCEL
	final        bool // the stack has seen, or sent, the final response
	silent       bool // the stack has reported silence: the rest is its own
	cancelled    bool // the stack has sent 487
	byeOut       bool // the stack has sent BYE
	refused      bool // our leg has refused the call
	box          notes
}

// hook is a webhook.
type hook uint8

const (
	hookConnect hook = iota // the offer of an inbound call
	hookRinging
	hookAnswer
	hookAccepted
	hookRejected
	hookTerminate
	numHook
)

var hookNames = [numHook]string{"connect", "ringing", "answer", "accepted", "rejected", "terminate"}

type cloudState uint8

const (
	cloudNone cloudState = iota
	cloudLive
	cloudGone
)

// cloud is Meta and the user.
type cloud struct {
	state   cloudState
	touched bool        // it saw a pre_accept or an accept
	picked  bool        // the user took our call
	heard   bool        // the user's audio reached us
	req     graphReq    // request on the wire
	rep     graphReq    // reply on the wire
	result  graphResult // of rep
	hooks   [numHook]uint8
	sent    [numHook]bool
	applied uint8 // 1: the user's SDP is being worked on
}

// budget is what may still go wrong.
type budget struct {
	losses    uint8 // Graph requests or replies lost, SIP silence, an ACK that never comes
	dups      uint8 // webhooks that come twice
	stops     uint8 // the gateway ends the call, or a deadline passes
	transfers uint8
}

type world struct {
	scene  scene
	m      machine
	wi     graphIngress
	wo     graphEgress
	si     sipIngress
	su     summonedIngress
	so     [2]sipEgress
	rel    relief // a phone that takes the place of another, on line 1
	hand   handover
	lines  [2]line
	cloud  cloud
	budget budget

	timers    uint8 // legTimers under way, a bit each
	armed     stamp
	born      bool // the call exists here
	tombstone bool // a terminate came for a call that we do not know
	told      bool // a terminate came at all
	routed    bool
	prepared  bool
	stray     bool  // the reaper is ending a call that nobody owns
	told200   bool  // who asked for a transfer was told that it is through
	dropped   uint8 // egress legs that another one replaces, a bit each
	records   uint8
	accepts   uint8
	connects  uint8
	refused   uint8 // end requests that we know Meta refuses, a bit each
	abandoned bool
	announced bool // a prompt is spoken before a refusal
	playing   bool // it is, now
	spoken    bool // it was
	untold    bool // the leg has not heard yet that it is over
}

// slot is where the egress leg of that attempt lives.
func slot(leg uint8) uint8 { return (leg - 1) % 2 }

// The stack behind a line that we dialled, and what its phone does.

func (r *runner) phoneRings(i uint8) {
	l := &r.w.lines[i]
	l.rung = true
	if l.silent {
		l.toPeer.put(msgCANCEL)
		return
	}
	r.note(i, noteRinging)
}

func (r *runner) phonePicks(i uint8, n note) {
	l := &r.w.lines[i]
	l.final = true
	l.phone = phoneTalking // the stack has sent ACK
	if l.silent {
		l.byeOut = true
		l.toPeer.put(msgBYE)
		return
	}
	r.note(i, n)
}

func (r *runner) phoneRefuses(i uint8, n note) {
	l := &r.w.lines[i]
	l.final = true
	l.phone = phoneGone
	r.note(i, n)
}

func (r *runner) phoneHangsUp(i uint8) {
	l := &r.w.lines[i]
	if r.w.scene == sceneOutbound && i == 0 {
		l.phone = phoneClosing
		l.toUs.put(msgBYE)
		return
	}
	l.phone = phoneGone // the stack has answered
	r.note(i, noteHungup)
}

func (r *runner) calleeGets(i uint8, m msg) {
	l := &r.w.lines[i]
	switch m {
	case msgCANCEL:
		if l.phone == phoneInvited {
			r.phoneRefuses(i, noteRefused)
		}
	case msgBYE:
		l.phone = phoneGone
		r.note(i, noteByeDone)
	case msg180, msg200, msg486, msg487, msgACK, msgBYEOK, numMsg:
	}
}

// The stack towards a phone that calls us.

func (r *runner) callingGets(m msg) {
	l := &r.w.lines[0]
	switch m {
	case msgCANCEL:
		if !l.final {
			l.final, l.cancelled = true, true
			l.toPeer.put(msg487)
			r.note(0, noteCancelled)
		}
	case msgACK:
		if !l.byeOut {
			r.note(0, noteAcked)
		}
	case msgBYE: // may overtake the ACK
		l.toPeer.put(msgBYEOK)
		r.note(0, noteHungup)
	case msgBYEOK:
		r.note(0, noteByeDone)
	case msg180, msg200, msg486, msg487, numMsg:
	}
}

// note puts news into the mailbox, unless the leg is past all news.
func (r *runner) note(i uint8, n note) {
	w := &r.w
	over := w.so[i].Closed
	switch {
	case i == 1 && w.rel.Leg != 0:
		over = w.rel.Closed
	case w.scene == sceneInbound:
	case w.scene == sceneOutbound:
		over = w.si.Closed
	case w.scene == sceneClicked: // a line that is silent has said its last, and the next address has another
		over = w.su.Closed || w.lines[i].silent && n != noteFailed
	}
	if !over {
		w.lines[i].box.put(n)
	}
}

// A phone that calls us.

func (r *runner) callerGets(m msg) {
	l := &r.w.lines[0]
	switch m {
	case msg200:
		if l.phone == phoneInvited {
			l.toUs.put(msgACK)
			l.phone = phoneTalking
			if l.gaveUp {
				l.toUs.put(msgBYE)
				l.phone = phoneClosing
			}
		}
	case msg486, msg487, msgBYEOK:
		l.phone = phoneGone
	case msgBYE:
		l.toUs.put(msgBYEOK)
		l.phone = phoneGone
	case msg180, msgACK, msgCANCEL, numMsg:
	}
}

// linePort is what the legs of a SIP line do.
type linePort struct {
	r *runner
	i uint8
}

func (p *linePort) emit(ev event) { p.r.emit(ev) }

func (p *linePort) do(a sipAct, _ Cause) {
	r, l := p.r, &p.r.w.lines[p.i]
	switch a {
	case sipPrepare:
		if r.w.scene == sceneClicked && l.silent { // the next address has a line of its own
			r.w.lines[1], *l = *l, line{}
		}
		r.note(p.i, notePrepared)
	case sipInvite:
		if r.w.m.Phase == Ending && (r.w.scene != sceneOutbound || p.i == 1) {
			r.fail("an INVITE left for a call that is ending")
		}
		l.phone = phoneInvited
	case sipCancel:
		if !l.rung {
			r.fail("a CANCEL before any response")
		}
		if !l.final {
			l.toPeer.put(msgCANCEL)
		}
	case sipBye:
		if r.w.scene == sceneOutbound && p.i == 0 && !r.w.si.Up {
			r.fail("a BYE before the ACK")
		}
		if l.byeOut {
			r.fail("a second BYE")
		}
		l.byeOut = true
		l.toPeer.put(msgBYE)
	case sipRing:
		if !l.final {
			l.toPeer.put(msg180)
		}
	case sipAnswer:
		if !l.final {
			l.final = true
			l.toPeer.put(msg200)
		}
	case sipRefuse:
		if l.refused {
			r.fail("refused twice")
		}
		l.refused = true
		if r.w.playing {
			r.fail("refused while the prompt plays")
		}
		if !l.final {
			l.final = true
			l.toPeer.put(msg486)
		}
	case sipSpeak:
		if r.w.spoken || l.refused || r.w.si.Rung || r.w.si.Answering || r.w.si.Up {
			r.fail("a prompt for a call that is not to be refused now")
		}
		r.w.playing, r.w.spoken, r.w.untold = true, true, true
	case sipHush:
		if !r.w.playing {
			r.fail("stopped a prompt that does not play")
		}
		r.w.playing = false
	case sipTone:
	}
}
