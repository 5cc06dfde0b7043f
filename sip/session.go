package sip

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Session is one call on a trunk, placed by us (Server.Prepare) or by the
// trunk (the callback of Server.Serve). Its methods may be called from
// anywhere and never wait; what comes of them arrives as Events, in order, on
// the Session's own goroutine.
type Session struct {
	s     *Server
	trunk *trunk
	log   *slog.Logger
	inbox *mailbox
	trace *tracer
	begun atomic.Bool // the goroutine runs

	current atomic.Pointer[clientTx] // the INVITE of the last attempt

	state durable // guarded by stateMu, written by the goroutine only
	// stateMu is a leaf.
	stateMu sync.Mutex

	// From here on everything belongs to the Session's goroutine.
	notify  func(Event)
	reoffer func([]byte) ([]byte, error)
	changed func([]byte)
	pressed func(key byte, duration time.Duration)
	call    string // X-WA-Call
	phase   phase
	timers  map[tick]*time.Timer

	// The INVITE that we send.
	out       Outgoing
	to        endpoint
	asserted  string // P-Asserted-Identity
	loop      string // our mark
	large     bool   // TCP was chosen for the message's size
	noTCP     bool   // and was refused
	inviteSeq uint32 // CSeq of the INVITE that was answered
	ackTo     endpoint

	invite   *clientTx
	attempt  int
	creds    field // the Authorization that the INVITE carried
	proofs   int   // how often it was repeated for a challenge
	longer   bool  // and once for a longer session timer
	rung     int   // the last status reported as Ringing, or that we ring with
	wantEnd  bool
	endWith  Reason
	cancelAt bool             // a CANCEL has left
	ack      []byte           // of the 2xx, to be sent again for every repeat
	forks    map[string]*fork // by the far end's tag
	ringing  []string         // the tags of all early dialogs

	// The INVITE that we got.
	uas   *serverTx
	early []byte    // the description that it got with a 183
	rel   *reliably // nil: the caller does not insist on that

	dialog  *dialog
	local   []byte // our current session description
	remote  []byte // theirs, as it last came
	byeAuth bool   // our BYE has been repeated with credentials
	accept  *acceptance

	expiry   expiry
	updates  bool      // the far end takes UPDATE
	keys     []key     // to be sent; the first waits for its answer
	changing *ask      // our refresh that waits for its answer
	refer    *referral // the REFER that is being seen to, nil for none
	referred int       // how many came
}

// phase is where a Session stands.
type phase uint8

const (
	phasePrepared phase = iota // nothing has left
	phaseCalling               // our INVITE is out, nobody spoke
	phaseEarly                 // somebody did
	phaseOffered               // the far end's INVITE waits for our answer
	phaseUnacked               // our 2xx waits for its ACK
	phaseUp                    // the dialog stands
	phaseLeaving               // our BYE waits for its answer
	phaseOver                  // nothing more will be reported
)

// tick names the Session's timers.
type tick uint8

const (
	tickCancel   tick = iota // no final answer after our CANCEL
	tickRing                 // 180 or 183 again
	tickAnswer               // 2xx again
	tickNoAck                // no ACK for our 2xx
	tickReliable             // a reliable provisional answer again
	tickNoPrack              // nobody confirmed it
	tickRefresh              // the session timer: it is time to say that the call is there
	tickExpired              // nobody has said so for too long
	tickChange               // no final answer to our refresh
	tickRefer                // a REFER has been told of long enough
)

// durable is what State returns: enough to end the call after a crash. It
// holds no credentials.
type durable struct {
	Version int      `json:"v"`
	Trunk   string   `json:"trunk"`
	Proto   string   `json:"proto"`
	Addr    string   `json:"addr"`
	URI     string   `json:"uri,omitempty"`
	Branch  string   `json:"branch,omitempty"` // base: attempt n uses Branch + n
	Tries   int      `json:"tries,omitempty"`  // attempts that may have left
	CSeq    uint32   `json:"cseq,omitempty"`   // of attempt 0
	From    string   `json:"from,omitempty"`
	To      string   `json:"to,omitempty"`
	CallID  string   `json:"call_id"`
	Routes  []string `json:"routes,omitempty"`
	Dialog  *dialog  `json:"dialog,omitempty"`
	Asked   *asked   `json:"asked,omitempty"`
}

// asked is an INVITE of the far end's that may still wait for its final answer.
type asked struct {
	URI   string         `json:"uri"`
	Via   []string       `json:"via"`
	CSeq  uint32         `json:"cseq"`
	Local netip.AddrPort `json:"local,omitzero"` // the socket of ours that it came to; over UDP
}

const stateVersion = 1

// Bind makes h the owner of an incoming call. It is called inside the callback
// of Serve, and only there.
func (c *Session) Bind(h Handling) {
	c.notify, c.reoffer, c.pressed, c.call = h.Notify, h.Reoffer, h.Pressed, h.Call
	c.trace.bind(h.Trace)
}

// CallID returns the Call-ID on the wire, for logs and traces.
func (c *Session) CallID() string {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	return c.state.CallID
}

// State returns the durable form. What Prepare leaves is enough for a CANCEL;
// after Accepted it is the dialog. It is to be on disk before Start.
func (c *Session) State() []byte {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	data, err := json.Marshal(c.state)
	if err != nil { // strings and numbers only
		return nil
	}
	return data
}

// saveDialog makes State the dialog.
func (c *Session) saveDialog() {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	d := *c.dialog
	c.state = durable{
		Version: stateVersion, Trunk: c.trunk.cfg.Name, Proto: d.Proto, Addr: d.Peer.String(), CallID: d.CallID, Dialog: &d,
	}
	if c.phase == phaseOffered && c.uas != nil {
		c.state.Asked = &asked{URI: c.uas.req.uri, Via: c.uas.req.all("Via"), CSeq: c.uas.seq()}
		if sock := c.uas.fl.sock; sock != nil {
			c.state.Asked.Local = sock.local
		}
	}
}

// Start sends the INVITE.
func (c *Session) Start() { c.do(doStart{}) }

// Cancel gives an unanswered call up. A CANCEL leaves once the far end has
// spoken, never before: it could overtake its INVITE. What follows is Refused
// (487 as a rule), Failed, or Accepted if it came too late.
func (c *Session) Cancel(r Reason) { c.do(doCancel{r}) }

// Bye hangs a call up, and is safe to repeat. Before the answer it is Cancel;
// between our answer and its ACK it waits for the ACK (RFC 3261 section 15).
// ByeDone follows, unless Hungup came first and ended the Session.
func (c *Session) Bye(r Reason) { c.do(doBye{r}) }

// Noted says that the owner of an incoming call has written it down: 100 may be
// sent.
func (c *Session) Noted() {
	if c.uas != nil {
		c.uas.note()
	}
}

// Ring says that the called phone rings: 180, repeated while it does.
func (c *Session) Ring() { c.do(doRing{}) }

// Progress lets an incoming call hear us before its answer: 183 with sdp,
// repeated until Answer or Refuse, in the place of a 180 sent before; a Ring
// after it does nothing. It does nothing itself for an INVITE without an offer,
// to which only a reliable answer may bring one (RFC 3261 section 13.2.1). A
// CANCEL ends it like any other unanswered call.
func (c *Session) Progress(sdp []byte) { c.do(doEarly{sdp}) }

// Answer takes an incoming call: 200 with sdp, until Acked or NoAck. After
// Progress it is with the description given there, whatever sdp is: a caller
// would not look at another.
func (c *Session) Answer(sdp []byte) { c.do(doAnswer{sdp}) }

// Refuse gives an incoming call its final refusal, status 300 to 699.
// retryAfter is left out when zero. Nothing is reported after it.
func (c *Session) Refuse(status int, r Reason, retryAfter time.Duration) {
	c.do(doRefuse{refusal{status, r, retryAfter}})
}

// Abandon says that nobody listens any more. Whatever the call is in is ended
// here: CANCEL, ACK and BYE of a late 2xx, BYE, refusal.
func (c *Session) Abandon() { c.do(doAbandon{}) }

// do puts a wish of the owner; the first one starts the goroutine.
func (c *Session) do(in input) {
	c.inbox.put(in)
	if !c.begun.Swap(true) && !c.s.spawn(c.run) {
		c.inbox.close()
	}
}

// run is the Session's goroutine. Except where said otherwise it owns all of
// the Session's fields.
func (c *Session) run() {
	defer c.leave()
	for c.phase != phaseOver {
		select {
		case <-c.s.ctx.Done():
			return
		case <-c.inbox.wake:
		}
		for _, in := range c.inbox.take() {
			c.safely(in)
		}
	}
}

// safely handles one input; a panic ends this call and no other.
func (c *Session) safely(in input) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		c.s.metrics.reject("panic")
		c.log.Error("sip session panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		if g, ok := in.(gotRequest); ok && g.tx != nil && !g.tx.final() {
			g.tx.answer(500)
		}
		c.handle(doAbandon{})
	}()
	c.handle(in)
}

// handle dispatches one input.
func (c *Session) handle(in input) {
	switch in := in.(type) {
	case doStart:
		c.start()
	case doCancel:
		c.end(in.reason)
	case doBye:
		c.end(in.reason)
	case doRing:
		c.ring()
	case doEarly:
		c.progress(in.sdp)
	case doAnswer:
		c.answer(in.sdp)
	case doRefuse:
		c.refuse(in.refusal)
	case doAbandon:
		c.notify = nil
		c.end(abandoned)
	case gotResponse:
		c.response(in)
	case gotBye:
		c.byeAnswered(in)
	case doPress:
		c.press(in.key)
	case gotAnswer:
		c.answeredAsk(in)
	case gotRequest:
		c.request(in)
	case gotCancel:
		c.cancelled(in.m)
	case doTakeRefer:
		c.takeRefer()
	case doRefuseRefer:
		c.refuseRefer(in.status, in.reason)
	case doProgressed:
		c.progressed(in.status)
	case gotReplacing:
		c.replacing(in)
	case ticked:
		c.tick(in.what)
	}
}

// end is every wish to end the call: what it takes depends on where it stands.
func (c *Session) end(r Reason) {
	switch c.phase {
	case phasePrepared:
		c.tell(Failed{ErrClosed})
		c.phase = phaseOver
	case phaseCalling, phaseEarly:
		if !c.wantEnd {
			c.wantEnd, c.endWith = true, c.ours(r)
			c.sendCancel()
		}
	case phaseOffered:
		c.refuse(refusal{status: 480, reason: r})
	case phaseUnacked:
		if !c.wantEnd {
			c.wantEnd, c.endWith = true, c.ours(r)
		}
	case phaseUp:
		c.sendBye(r)
	case phaseLeaving, phaseOver: // said already
	}
}

// tell reports an event.
func (c *Session) tell(ev Event) {
	if c.notify != nil {
		c.notify(ev)
	}
}

// arm winds a timer up; its firing comes back through the mailbox.
func (c *Session) arm(what tick, d time.Duration) {
	if t := c.timers[what]; t != nil {
		t.Reset(d)
		return
	}
	if c.timers == nil {
		c.timers = map[tick]*time.Timer{}
	}
	c.timers[what] = time.AfterFunc(d, func() { c.inbox.put(ticked{what}) })
}

// disarm stops a timer. A firing that is already queued finds a phase in which
// it means nothing.
func (c *Session) disarm(what tick) {
	if t := c.timers[what]; t != nil {
		t.Stop()
	}
}

func (c *Session) tick(what tick) {
	switch what {
	case tickCancel:
		c.cancelUnanswered()
	case tickRing:
		if c.phase == phaseOffered && c.rung != 0 {
			c.sendRinging()
		}
	case tickAnswer:
		c.answerAgain()
	case tickNoAck:
		c.noAck()
	case tickReliable:
		c.reliablyAgain()
	case tickNoPrack:
		c.unconfirmed()
	case tickRefresh:
		c.refreshSession()
	case tickExpired:
		c.expired()
	case tickChange:
		c.unanswered()
	case tickRefer:
		c.referTimeout()
	}
}

// leave takes the Session off the server and settles what was still in its
// mailbox: a request gets its answer, an answered INVITE its end.
func (c *Session) leave() {
	for _, t := range c.timers {
		t.Stop()
	}
	c.quit()
	c.refuseRefer(481, Reason{})
	c.trunk.live.Add(-1)
	c.s.forget(c)
	c.untrace()
	for _, in := range c.inbox.close() {
		switch in := in.(type) {
		case gotRequest:
			if in.tx != nil {
				in.tx.answer(c.afterlife(in.m.method))
			}
		case gotResponse:
			if in.m != nil && in.m.status < 300 && in.tx != nil {
				in.tx.hand(in.m)
			}
		case gotAnswer:
			if in.ask.method == "INVITE" && in.err == nil && in.m.status >= 200 && in.m.status < 300 {
				c.acknowledge(in.ask)
			}
		case gotReplacing:
			in.tx.answer(603, notReplaced.fields()...)
		case doTakeRefer, doRefuseRefer, doProgressed, doStart, doCancel, doBye, doRing, doEarly, doAnswer, doRefuse, doAbandon, doPress,
			gotBye, gotCancel, ticked:
		}
	}
	c.notify, c.reoffer, c.pressed, c.changed = nil, nil, nil, nil // transactions that rest keep no call
}

// afterlife is the answer to a request of a dialog that has just ended: a BYE
// that crossed ours is welcome, anything else is late.
func (c *Session) afterlife(method string) int {
	if method == "BYE" {
		return 200
	}
	return 481
}
