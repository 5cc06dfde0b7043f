package sip

import (
	"slices"
	"strconv"
	"time"
)

// refusal is a final answer from 300 up.
type refusal struct {
	status     int
	reason     Reason
	retryAfter time.Duration
}

// acceptance is a 2xx of ours that waits for its ACK, to the first INVITE or to
// a later one.
type acceptance struct {
	tx       *serverTx
	m        *message
	seq      uint32
	interval time.Duration
	initial  bool
	offer    bool // it carries our offer: the answer is in the ACK
}

// incomingCall opens a Session for an INVITE that the gate let through.
func (s *Server) incomingCall(t *trunk, m *message, tx *serverTx, instead *Replaced) {
	c := s.newSession(t)
	c.phase, c.uas = phaseOffered, tx
	c.dialog, c.remote = dialogOfInvite(m, tx.tag), slices.Clone(m.body)
	c.peerCan(m)
	if m.names("Require", "100rel") {
		c.rel = newReliably()
	}
	c.state = durable{Version: stateVersion, Trunk: t.cfg.Name, CallID: c.dialog.CallID}
	c.saveDialog()
	s.traces.opened(m, c.trace)
	tx.owner.Store(c)
	s.remember(c)
	tx.trying()
	c.begun.Store(true)
	if !s.spawn(func() { c.serve(m, instead) }) {
		c.inbox.close()
	}
}

// serve shows the call to its owner and then lives like any Session.
func (c *Session) serve(m *message, instead *Replaced) {
	func() {
		defer c.s.guard()
		in := incomingOf(c.trunk, m)
		in.Replaces = instead
		c.s.incoming(c, in)
	}()
	if c.notify == nil && c.phase == phaseOffered && !c.refusalQueued() {
		c.refuse(refusal{status: 500, reason: Reason{Q850: 41, WAError: "internal"}}) // nobody took it
	}
	c.run()
}

// refusalQueued tells whether the owner has already refused the call.
func (c *Session) refusalQueued() bool {
	c.inbox.mu.Lock()
	defer c.inbox.mu.Unlock()
	return slices.ContainsFunc(c.inbox.queue, func(in input) bool {
		_, refused := in.(doRefuse)
		return refused
	})
}

// incomingOf reads what the owner needs to know of an INVITE.
func incomingOf(t *trunk, m *message) Incoming {
	u, _ := parseURI(m.uri)
	hops, _ := digits(m.get("Max-Forwards"), 255)
	in := Incoming{
		Trunk: t.cfg.Name, CallID: m.get("Call-ID"), URI: m.uri, To: u.user,
		SDP: slices.Clone(m.body), MaxForwards: hops - 1, Caller: callerOf(m),
		Source: m.from.addr.Addr(),
	}
	if u.user == contactUser && t.registrar != "" { // called by our registration: the number is in To
		if a, ok := parseAddress(m.get("To")); ok {
			called, _ := parseURI(a.uri)
			in.To = called.user
		}
	}
	for _, f := range m.fields {
		if len(f.name) > 5 && f.name[:5] == "x-wa-" {
			in.Headers = append(in.Headers, Header{f.name, printable(f.value, maxHeader)})
		}
	}
	return in
}

// ring sends 180 and keeps saying so (RFC 3261 section 13.3.1.1).
func (c *Session) ring() {
	if c.phase == phaseOffered && c.rung == 0 {
		c.rung = 180
		c.sendRinging()
	}
}

// progress sends 183 with our description, once and for all of them the same.
func (c *Session) progress(sdp []byte) {
	if c.phase == phaseOffered && c.early == nil && len(c.uas.req.body) > 0 && len(sdp) > 0 {
		c.rung, c.early = 183, sdp
		c.sendRinging()
	}
}

func (c *Session) sendRinging() {
	m := response(c.uas.req, c.rung, c.uas.tag, c.uas.fl, field{"Contact", c.s.contactOf(c.uas.req.uri, c.uas.fl.endpoint())})
	if c.early != nil {
		m.add("Content-Type", contentSDP)
		m.body = c.early
	}
	if c.rel != nil {
		c.sendReliably(m)
		return
	}
	c.uas.respond(m)
	c.arm(tickRing, c.s.tm.ring)
}

// answer sends 200 with our description, again and again until its ACK.
func (c *Session) answer(sdp []byte) {
	if c.phase != phaseOffered || c.held(sdp) {
		return
	}
	c.disarm(tickRing)
	if c.early != nil {
		sdp = c.early
	}
	c.local = sdp
	m := response(c.uas.req, 200, c.uas.tag, c.uas.fl,
		field{"Contact", c.s.contactOf(c.uas.req.uri, c.uas.fl.endpoint())}, field{"Allow", allow}, field{"Supported", supported})
	if c.rel == nil || !c.rel.settled { // else it has it, and another would be an offer
		m.add("Content-Type", contentSDP)
		m.body = sdp
	}
	c.phase = phaseUnacked
	m.fields = append(m.fields, c.refreshedByPeer(c.uas.req)...)
	c.saveDialog()
	c.s.metrics.invite(outbound, c.trunk.cfg.Name, 200)
	c.acceptWith(&acceptance{tx: c.uas, m: m, seq: c.uas.seq(), initial: true, offer: len(c.uas.req.body) == 0})
}

// acceptWith sends a 2xx and starts waiting for its ACK.
func (c *Session) acceptWith(a *acceptance) {
	a.interval = c.s.tm.t1
	c.accept = a
	a.tx.respond(a.m)
	c.arm(tickAnswer, a.interval)
	c.arm(tickNoAck, c.s.tm.limit())
}

// answerAgain repeats the 2xx, at T1 doubling to T2, over every transport: the
// ACK comes end to end (RFC 3261 section 13.3.1.4).
func (c *Session) answerAgain() {
	a := c.accept
	if a == nil || c.phase == phaseOver {
		return
	}
	a.tx.respond(a.m)
	a.interval = min(2*a.interval, c.s.tm.t2)
	c.arm(tickAnswer, a.interval)
}

// acked takes an ACK. One that belongs to no answer of ours means nothing.
func (c *Session) acked(m *message) {
	seq, _ := m.cseq()
	a := c.accept
	if a == nil || a.seq != seq {
		return
	}
	c.settle()
	if !a.initial {
		if a.offer {
			c.moved(m.body)
		}
		return
	}
	if c.phase != phaseUnacked {
		return
	}
	c.phase = phaseUp
	c.tell(Acked{slices.Clone(m.body)})
	if c.wantEnd {
		c.sendBye(c.endWith)
	}
}

// settle stops repeating the 2xx.
func (c *Session) settle() {
	c.accept = nil
	c.disarm(tickAnswer)
	c.disarm(tickNoAck)
}

// noAck ends a call whose answer was never acknowledged.
func (c *Session) noAck() {
	if c.accept == nil || (c.phase != phaseUnacked && c.phase != phaseUp) {
		return
	}
	c.settle()
	c.phase = phaseUp
	c.tell(NoAck{})
	r := Reason{Q850: 102, Text: "no ACK", WAError: "answer_failed"}
	if c.wantEnd {
		r = c.endWith
	}
	c.sendBye(r)
}

// refuse gives the final refusal. Its repeats and its ACK are the
// transaction's business, so the Session is over.
func (c *Session) refuse(r refusal) {
	if c.phase != phaseOffered {
		return
	}
	if r.status < 300 || r.status > 699 {
		r.status = 500
	}
	extra := c.ours(r.reason).fields()
	if seconds := int((r.retryAfter + time.Second - 1) / time.Second); seconds > 0 {
		extra = append(extra, field{"Retry-After", strconv.Itoa(seconds)})
	}
	c.uas.answer(r.status, extra...)
	c.s.metrics.invite(outbound, c.trunk.cfg.Name, r.status)
	c.phase = phaseOver
}

// cancelled takes a CANCEL, which has been answered already. After our answer
// it has no effect: the far end acknowledges and hangs up (RFC 3261 section 9.2).
func (c *Session) cancelled(m *message) {
	if c.phase != phaseOffered {
		if c.phase == phaseUnacked {
			c.s.metrics.glare("answer_cancel")
		}
		return
	}
	c.giveUp(q850(m))
	c.phase = phaseOver
}

// giveUp ends an unanswered call that the caller does not want any more.
func (c *Session) giveUp(cause int) {
	c.uas.answer(487, c.ours(givenUp).fields()...)
	c.s.metrics.invite(outbound, c.trunk.cfg.Name, 487)
	c.tell(Cancelled{487, cause})
}
