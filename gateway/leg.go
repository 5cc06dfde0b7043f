package gateway

// The legs are tables like the machine: comparable values without I/O, clock or
// goroutine. A leg gets a port with each input; through it it acts, and tells
// the call what happened. Nothing on a port may call back into the leg or the
// machine: what it emits waits until the input is through.

// legTimer is a wait that a WhatsApp leg asks for. It comes back once as timeout and is
// never stopped: a leg ignores the ones it does not wait for any more.
type legTimer uint8

const (
	// retryTimer: a Graph request is sent again after a pause; nth says which
	// pause of the row it is, from 0.
	retryTimer legTimer = iota
	// peerTimer: how long accept, or a customer who took our call, waits for our
	// peer connection.
	peerTimer
	// acceptTimer: how long accept may take with its repetition.
	acceptTimer
	// adoptTimer: how long a call whose connect reply was lost may take to name
	// itself in a webhook.
	adoptTimer
)

// graphPort is a WhatsApp leg's way to the Graph API. request starts one; the
// leg gets its reply later. There is never more than one on its way.
type graphPort interface {
	emit(ev event)
	wait(t legTimer, nth uint8)
	request(r graphReq)
}

// sipPort is a SIP leg's way to its session. do never waits for the far end.
type sipPort interface {
	emit(ev event)
	do(a sipAct, c Cause)
}

// graphReq is what a WhatsApp leg asks for.
type graphReq uint8

const (
	noReq        graphReq = iota
	reqPrepare            // ours: make the peer connection and answer the offer
	reqPreAccept          // let media come up while it rings
	reqAccept             // connect the customer; same answer as pre_accept
	reqReject             // end a call of which Meta has seen nothing of ours
	reqTerminate          // end any other call
	reqConnect            // place a call: make the offer, note it, send it
)

// graphResult is what is known after a request.
type graphResult uint8

const (
	// resultOK: done. Also for an accept that Meta says is in progress already.
	resultOK graphResult = iota
	// resultGone: there is no such call any more.
	resultGone
	// resultRefused: not done, and the call may well live.
	resultRefused
	// resultHopeless: refused for a reason that the same request meets again:
	// our SDP, our token, our settings.
	resultHopeless
	// resultTemporary: not done, or not even sent; the next try may succeed.
	resultTemporary
	// resultUnknown: no reply came, which says nothing about the effect.
	resultUnknown
	// resultBarred: not even asked, because Meta fails or wants a pause.
	resultBarred
)

// graphReply is the result of a request, and its cause where it failed.
type graphReply struct {
	Result graphResult
	Cause  Cause
}

// or returns the reply's cause, or c if it names none.
func (r graphReply) or(c Cause) Cause {
	if r.Cause != NoCause {
		return r.Cause
	}
	return c
}

// sipAct is what a SIP leg asks of its session.
type sipAct uint8

const (
	sipPrepare sipAct = iota // socket and INVITE made, their state on disk; comes back as prepared
	sipInvite                // the INVITE leaves
	sipCancel                // after a provisional response only
	sipBye
	sipRing   // 180
	sipAnswer // 200
	sipRefuse // the final response of the cause
	sipTone   // ringback in the answered dialog
	sipSpeak  // 183 and a prompt; comes back as spoken
	sipHush   // the prompt stops
)
