package sip

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// reliably is how a call rings whose caller insists on reliable provisional
// answers (RFC 3262 section 3): one at a time, each until its PRACK.
type reliably struct {
	rseq     int
	waiting  *message // sent, not confirmed
	carries  bool     // it has our description
	interval time.Duration
	more     bool   // something else is to be said after it
	settled  bool   // the caller has our description
	answer   []byte // waits for that
	answered bool   // there is such an answer
}

func newReliably() *reliably {
	return &reliably{rseq: 1 + rand.IntN(1<<20)} //nolint:gosec // no secret
}

// sendReliably sends a provisional answer until its PRACK, or notes that it is
// to be sent. Without an offer in the INVITE it would have to bring ours, which
// is not known yet: then nothing may be said.
func (c *Session) sendReliably(m *message) {
	r := c.rel
	switch {
	case len(c.uas.req.body) == 0:
		return
	case r.waiting != nil:
		r.more = true
		return
	}
	if r.settled {
		m.remove("Content-Type")
		m.body = nil
	}
	r.rseq++
	m.add("Require", "100rel")
	m.add("RSeq", strconv.Itoa(r.rseq))
	r.waiting, r.carries, r.interval, r.more = m, len(m.body) > 0, c.s.tm.t1, false
	c.uas.respond(m)
	c.arm(tickReliable, r.interval)
	c.arm(tickNoPrack, c.s.tm.limit())
	c.arm(tickRing, c.s.tm.ring)
}

// reliablyAgain repeats what was not confirmed, at T1 doubling.
func (c *Session) reliablyAgain() {
	r := c.rel
	if c.phase != phaseOffered || r == nil || r.waiting == nil {
		return
	}
	c.uas.respond(r.waiting)
	r.interval *= 2
	c.arm(tickReliable, r.interval)
}

// peerPrack takes the confirmation. An offer in it is answered like that of an
// UPDATE.
func (c *Session) peerPrack(in gotRequest) {
	r := c.rel
	named, ok := parseRAck(in.m.get("RAck"))
	if !ok || r == nil || r.waiting == nil || named.rseq != r.rseq || named.method != "INVITE" || named.cseq != c.uas.seq() {
		in.tx.answer(481)
		return
	}
	r.settled = r.settled || r.carries
	r.waiting = nil
	c.disarm(tickReliable)
	c.disarm(tickNoPrack)
	c.confirm(in)
	if c.phase != phaseOffered {
		return
	}
	switch {
	case r.answered:
		c.answer(r.answer)
	case r.more:
		c.sendRinging()
	}
}

// confirm answers a PRACK.
func (c *Session) confirm(in gotRequest) {
	if len(in.m.body) == 0 {
		in.tx.answer(200)
		return
	}
	answer, err := []byte(nil), errNoReoffer
	if c.rel.settled {
		answer, err = c.offered(in.m.body)
	}
	if err != nil {
		in.tx.answer(488)
		return
	}
	c.local = answer
	m := response(in.m, 200, in.tx.tag, in.tx.fl, field{"Content-Type", contentSDP})
	m.body = answer
	in.tx.respond(m)
}

// unconfirmed gives up a caller that insists on reliable answers and confirms
// none.
func (c *Session) unconfirmed() {
	if c.phase != phaseOffered || c.rel == nil || c.rel.waiting == nil {
		return
	}
	const status = 504
	c.uas.answer(status, c.ours(Reason{Q850: 102, Text: "no PRACK", WAError: "cancelled"}).fields()...)
	c.s.metrics.invite(outbound, c.trunk.cfg.Name, status)
	c.tell(Cancelled{Status: status, Q850: 102})
	c.phase = phaseOver
}

// held tells whether an answer has to wait: before the description that is on
// its way is confirmed no 2xx may follow.
func (c *Session) held(sdp []byte) bool {
	r := c.rel
	if r == nil {
		return false
	}
	if r.waiting != nil && r.carries {
		r.answer, r.answered = sdp, true
		return true
	}
	c.disarm(tickReliable)
	c.disarm(tickNoPrack)
	return false
}
