package gateway

// graphIngress is a call that a WhatsApp user placed. At most one request is on
// its way; wishes that come meanwhile are flags.
type graphIngress struct {
	Busy       graphReq // the request on its way
	Next       graphReq // the request that waits to be sent again
	Tries      uint8    // how often the request was sent again
	SkipPre    bool     // by config: no pre_accept
	WantAnswer bool
	WantEnd    bool
	Touched    bool // pre_accept or accept was sent, so the call ends with terminate
	Before     bool // it was so before the last of them
	Told       bool // Meta has our answer, so media may come up before accept
	MediaUp    bool // our peer connection is up
	PeerWait   bool // accept waits for that
	Repeated   bool // pre_accept was sent before
	Accepts    uint8
	Late       bool // accept's time is over
	Up         bool // accept was confirmed
	Closed     bool

	// Verbs that were refused: each is tried once more at most, by the other's
	// refusal. BothRefused: the call was given up like that.
	NoReject, NoTerminate, BothRefused bool
}

// prepare makes the peer connection, and then sends pre_accept.
func (l *graphIngress) prepare(p graphPort) {
	if !l.Closed && l.Busy == noReq && !l.WantEnd {
		l.request(reqPrepare, p)
	}
}

// answer connects the user, as soon as may be.
func (l *graphIngress) answer(p graphPort) {
	l.WantAnswer = true
	if l.Closed || l.WantEnd || l.Busy != noReq {
		return
	}
	l.Next = noReq
	l.accept(p)
}

// hangup ends the call with Meta.
func (l *graphIngress) hangup(p graphPort) {
	if l.Closed || l.WantEnd {
		return
	}
	l.WantEnd = true
	l.PeerWait = false
	l.Next, l.Tries = noReq, 0
	if l.Busy == noReq {
		l.requestEnd(p)
	}
}

// mediaReady: our peer connection is up.
func (l *graphIngress) mediaReady(p graphPort) {
	l.MediaUp = true
	if l.PeerWait {
		l.PeerWait = false
		l.requestAccept(p)
	}
}

// terminated: the webhook says that the call is over, with its cause if it
// names one.
func (l *graphIngress) terminated(c Cause, p graphPort) {
	if !l.Closed {
		l.end(c, p)
	}
}

// timeout: a wait is over.
func (l *graphIngress) timeout(t legTimer, p graphPort) {
	if l.Closed {
		return
	}
	switch t {
	case retryTimer:
		if r := l.Next; r != noReq {
			l.Next = noReq
			l.request(r, p)
		}
	case peerTimer:
		if l.PeerWait {
			l.PeerWait = false
			l.requestAccept(p)
		}
	case acceptTimer:
		l.Late = true
		if l.Next == reqAccept {
			l.Next = noReq
			p.emit(callerFailed{AnswerFailed})
		}
	case adoptTimer: // not ours
	}
}

// reply is the result of the request on its way.
func (l *graphIngress) reply(r graphReq, rep graphReply, p graphPort) {
	if l.Closed || r != l.Busy {
		return // the webhook got here first
	}
	l.Busy = noReq
	if rep.Result == resultGone {
		l.end(NoCause, p)
		return
	}
	if rep.Result == resultBarred {
		l.Touched = l.Before
	}
	switch r {
	case reqPrepare:
		l.prepared(rep, p)
	case reqPreAccept:
		l.preAccepted(rep, p)
	case reqAccept:
		l.accepted(rep, p)
	case reqReject, reqTerminate:
		l.endReplied(r, rep, p)
	case noReq, reqConnect: // never asked for
	}
}

func (l *graphIngress) prepared(rep graphReply, p graphPort) {
	switch {
	case l.WantEnd:
		l.requestEnd(p)
	case rep.Result != resultOK:
		p.emit(callerFailed{rep.or(MediaFailed)})
	case l.WantAnswer:
		l.accept(p)
	case !l.SkipPre:
		l.request(reqPreAccept, p)
	}
}

// preAccepted: pre_accept is optional by the protocol, so a failure of the
// moment is not the end. It is asked for again as long as the phone rings, until
// it works or Meta counts as broken: then no phone rings on in vain.
func (l *graphIngress) preAccepted(rep graphReply, p graphPort) {
	l.Told = rep.Result == resultOK
	switch {
	case l.WantEnd:
		l.requestEnd(p)
	case rep.Result == resultHopeless, rep.Result == resultBarred:
		p.emit(callerFailed{rep.or(APIError)}) // accept would meet the same
	case l.WantAnswer:
		l.accept(p)
	case rep.Result == resultTemporary, rep.Result == resultUnknown:
		l.Repeated = true
		l.Next = reqPreAccept
		p.wait(retryTimer, l.Tries)
		l.Tries = min(l.Tries+1, longestPre)
	}
}

// longestPre is where the row of pauses of pre_accept stays.
const longestPre = 3

// accept waits for our peer connection where that can come up: the first
// packets after accept are the user's first impression.
func (l *graphIngress) accept(p graphPort) {
	if l.Told && !l.MediaUp {
		l.PeerWait = true
		p.wait(peerTimer, 0)
		return
	}
	l.requestAccept(p)
}

func (l *graphIngress) requestAccept(p graphPort) {
	p.wait(acceptTimer, 0)
	l.request(reqAccept, p)
}

func (l *graphIngress) accepted(rep graphReply, p graphPort) {
	switch {
	case l.WantEnd:
		l.requestEnd(p)
	case rep.Result == resultOK:
		l.Up = true
		p.emit(callerConnected{})
	case (rep.Result == resultTemporary || rep.Result == resultUnknown) && l.Accepts < 2 && !l.Late:
		l.Next = reqAccept
		p.wait(retryTimer, 0)
	case rep.Result == resultHopeless, rep.Result == resultBarred:
		p.emit(callerFailed{rep.or(APIError)})
	default: // it may still ring, or even be up
		p.emit(callerFailed{AnswerFailed})
	}
}

func (l *graphIngress) requestEnd(p graphPort) {
	if l.Touched {
		l.request(reqTerminate, p)
	} else {
		l.request(reqReject, p)
	}
}

func (l *graphIngress) endReplied(r graphReq, rep graphReply, p graphPort) {
	switch rep.Result {
	case resultOK, resultGone:
		l.end(NoCause, p)
	case resultTemporary, resultUnknown, resultBarred: // harmless to repeat
		l.Next = r
		p.wait(retryTimer, l.Tries)
		l.Tries = min(l.Tries+1, maxTries)
	case resultRefused, resultHopeless: // the wrong verb for the state the call is really in
		l.NoReject = l.NoReject || r == reqReject
		l.NoTerminate = l.NoTerminate || r == reqTerminate
		switch {
		case !l.NoTerminate:
			l.request(reqTerminate, p)
		case !l.NoReject:
			l.request(reqReject, p)
		default:
			l.BothRefused = true
			l.end(NoCause, p)
		}
	}
}

// maxTries is where the row of pauses stays at its last.
const maxTries = 7

func (l *graphIngress) request(r graphReq, p graphPort) {
	l.Busy = r
	if r == reqPreAccept || r == reqAccept {
		l.Before, l.Touched = l.Touched, true
	}
	if r == reqAccept {
		l.Accepts++
	}
	p.request(r)
}

func (l *graphIngress) end(c Cause, p graphPort) {
	l.Closed = true
	l.Next, l.PeerWait = noReq, false
	switch {
	case c != NoCause:
	case l.Up:
		c = Hangup
	default:
		c = Cancelled
	}
	p.emit(callerEnded{Cause: c})
}

// graphEgress is a call that we place to a WhatsApp user. Its tag is known to
// the registry before the connect request leaves, so a webhook that overtakes
// the reply names the call.
type graphEgress struct {
	Leg       uint8
	Busy      graphReq
	Next      graphReq
	Tries     uint8
	Lost      bool // the connect reply never came: the call may or may not exist
	Placed    bool // the call's id is known
	HasAnswer bool // the user's SDP is in our peer connection
	MediaUp   bool // our peer connection is up
	Picked    bool // the user took it: ACCEPTED, or audio
	Up        bool
	WantEnd   bool
	Closed    bool
	Adrift    bool // given up without a name, and named since: it is to be ended for nobody but itself
}

func (l *graphEgress) dial(p graphPort) { l.request(reqConnect, p) }

// orphaned means that a call may exist at Meta that nobody can name yet: it is
// to be ended on sight of its tag.
func (l *graphEgress) orphaned() bool { return l.Closed && l.Lost && !l.Placed }

func (l *graphEgress) hangup(p graphPort) {
	if l.Closed || l.WantEnd {
		return
	}
	l.WantEnd = true
	l.proceedToEnd(p)
}

func (l *graphEgress) proceedToEnd(p graphPort) {
	switch {
	case l.Busy != noReq: // one at a time
	case l.Placed:
		l.request(reqTerminate, p)
	case l.Lost: // nothing to terminate by name
		l.end(APITimeout, p)
	}
}

func (l *graphEgress) reply(r graphReq, rep graphReply, p graphPort) {
	if l.Closed && !l.Adrift || r != l.Busy {
		return
	}
	l.Busy = noReq
	switch r {
	case reqConnect:
		l.connected(rep, p)
	case reqTerminate:
		switch rep.Result {
		case resultOK, resultGone:
			if l.Adrift {
				l.Adrift = false
				return
			}
			l.end(Hangup, p)
		case resultRefused, resultHopeless, resultTemporary, resultUnknown, resultBarred:
			l.Next = r
			p.wait(retryTimer, l.Tries)
			l.Tries = min(l.Tries+1, maxTries)
		}
	case noReq, reqPrepare, reqPreAccept, reqAccept, reqReject: // never asked for
	}
}

func (l *graphEgress) connected(rep graphReply, p graphPort) {
	switch {
	case l.Placed: // a webhook has named it already, whatever the reply says
	case rep.Result == resultOK:
		l.Placed = true
	case rep.Result == resultTemporary: // Meta failed, perhaps after the call was on its way
		l.Lost = true
		l.end(rep.or(APIDown), p)
		return
	case rep.Result == resultUnknown:
		l.Lost = true // never ask again: it could ring twice
		if !l.WantEnd {
			p.wait(adoptTimer, 0)
			return
		}
	default:
		l.end(rep.or(APIError), p)
		return
	}
	if l.WantEnd {
		l.proceedToEnd(p)
	}
}

func (l *graphEgress) timeout(t legTimer, p graphPort) {
	if l.Closed && !l.Adrift {
		return
	}
	switch t {
	case retryTimer:
		if r := l.Next; r != noReq {
			l.Next = noReq
			l.request(r, p)
		}
	case adoptTimer:
		if l.Lost && !l.Placed {
			l.end(APITimeout, p)
		}
	case peerTimer:
		if l.Picked && !l.Up && !l.WantEnd {
			p.emit(mediaLost{MediaFailed})
		}
	case acceptTimer: // not ours
	}
}

// The webhooks. Each also names the call.

func (l *graphEgress) ringing(p graphPort) {
	if l.found(p) {
		return
	}
	l.Placed = true
	if !l.WantEnd {
		p.emit(calleeRinging{l.Leg})
	}
}

// named: a webhook has come whose own news is still being worked on, as the
// user's SDP is until it is in our peer connection.
func (l *graphEgress) named(p graphPort) {
	if !l.found(p) {
		l.Placed = true
	}
}

// found takes a webhook where the leg is over. If nothing could name the call
// when it was given up, this has: it lives, and is ended.
func (l *graphEgress) found(p graphPort) (over bool) {
	if l.orphaned() {
		l.Placed, l.Adrift = true, true
		l.request(reqTerminate, p)
	}
	return l.Closed
}

// answered: the user's SDP is in our peer connection. The phone may well ring
// on.
func (l *graphEgress) answered(p graphPort) {
	if l.Closed {
		return
	}
	l.Placed = true
	l.HasAnswer = true
	l.upIfComplete(p)
}

func (l *graphEgress) accepted(p graphPort) {
	if l.found(p) {
		return
	}
	l.Placed = true
	l.pick(p)
}

// heard: the first audio of the user, which is the same news as ACCEPTED.
func (l *graphEgress) heard(p graphPort) {
	if l.Closed {
		return
	}
	l.MediaUp = true
	l.pick(p)
}

// mediaReady: our peer connection is up, as a rule while the phone rings.
func (l *graphEgress) mediaReady(p graphPort) {
	l.MediaUp = true
	if !l.Closed {
		l.upIfComplete(p)
	}
}

// pick: the user took the call. What is not there yet of our side has a while
// to come: until then the caller hears that it rings, and after that no PBX
// shall believe that there was an answer.
func (l *graphEgress) pick(p graphPort) {
	first := !l.Picked
	l.Picked = true
	l.upIfComplete(p)
	if first && !l.Up && !l.WantEnd {
		p.wait(peerTimer, 0)
	}
}

func (l *graphEgress) rejected(p graphPort) { l.terminated(Declined, p) }

// terminated: the call is over, with its cause if the webhook names one.
func (l *graphEgress) terminated(c Cause, p graphPort) {
	if l.Closed {
		l.Placed, l.Adrift = true, false
		return
	}
	l.Placed = true
	switch {
	case c != NoCause:
	case l.Picked:
		c = Hangup
	default:
		c = NoAnswer
	}
	l.end(c, p)
}

func (l *graphEgress) upIfComplete(p graphPort) {
	if l.HasAnswer && l.MediaUp && l.Picked && !l.Up && !l.WantEnd {
		l.Up = true
		p.emit(calleeAnswered{l.Leg})
	}
}

func (l *graphEgress) request(r graphReq, p graphPort) {
	l.Busy = r
	p.request(r)
}

func (l *graphEgress) end(c Cause, p graphPort) {
	l.Closed = true
	l.Next = noReq
	p.emit(calleeEnded{Leg: l.Leg, Cause: c})
}
