package sip

import (
	"strconv"
	"time"
)

// subscription is how long a REFER is told of at most.
const subscription = 60 * time.Second

// referral is a REFER and the implicit subscription that it makes (RFC 3515).
// NOTIFYs go one at a time, so that none overtakes another.
type referral struct {
	tx     *serverTx
	event  string // value of the Event header
	silent bool   // it wants no NOTIFY (RFC 4488)
	taken  bool   // 202 was sent
	asking bool   // a NOTIFY waits for its answer
	next   int    // what the next one tells; 0: nothing yet
	told   int    // what the last one told
}

// TakeRefer accepts the REFER that was reported: 202, and a NOTIFY that it is
// being tried. What becomes of it is told by Progressed.
func (c *Session) TakeRefer() { c.do(doTakeRefer{}) }

// RefuseRefer answers the REFER that was reported, status 300 to 699.
func (c *Session) RefuseRefer(status int, r Reason) { c.do(doRefuseRefer{status, r}) }

// Progressed tells by NOTIFY what the call says that a REFER asked for. A status
// from 200 up is the last. It does nothing when nobody is to be told any more.
func (c *Session) Progressed(status int) { c.do(doProgressed{status}) }

// peerRefer is the wish of a phone that another one take its place. It is for
// the owner to grant; what is no good wish is answered here.
func (c *Session) peerRefer(in gotRequest) {
	switch {
	case c.phase == phaseOffered || c.phase == phaseUnacked || c.refer != nil:
		in.tx.answer(491)
		return
	case c.phase != phaseUp || c.wantEnd:
		in.tx.answer(481)
		return
	case c.notify == nil:
		in.tx.answer(603)
		return
	}
	bad := malformed("One Refer-To, Please")
	var to referTo
	if in.m.count("Refer-To") == 1 {
		to, bad = parseReferTo(in.m.get("Refer-To"))
	}
	if bad == nil && to.uri.scheme == "sips" && !c.trunk.sips { // we would not keep what it promises
		bad = &fault{status: 416, label: "scheme", text: "Unsupported URI Scheme"}
	}
	if bad != nil {
		c.s.metrics.reject(bad.label)
		m := response(in.m, bad.status, in.tx.tag, in.tx.fl)
		m.reason = bad.text
		in.tx.respond(m)
		return
	}
	c.refer = &referral{tx: in.tx, event: "refer", silent: in.m.get("refer-sub") == "false"}
	if c.referred++; c.referred > 1 {
		seq, _ := in.m.cseq()
		c.refer.event += ";id=" + utoa(seq)
	}
	c.tell(Refer{
		To: to.user, Replaces: to.replaces, Ours: c.s.isDialog(to.replaces), Foreign: !c.s.leadsToTrunk(c.trunk, to.uri),
		By: referrer(in.m.get("Referred-By")),
	})
}

// referrer is the URI of Referred-By (RFC 3892), "" where it is none to be
// carried on.
func referrer(value string) string {
	a, ok := parseAddress(value)
	u, good := parseURI(a.uri)
	if !ok || !good || u.headers || len(a.uri) > maxHeader || (u.scheme != "sip" && u.scheme != "sips") || printable(a.uri, maxHeader) != a.uri {
		return ""
	}
	return a.uri
}

// isDialog tells whether a Replaces names a dialog of ours, seen from the far
// end.
func (s *Server) isDialog(r Replaces) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.CallID != "" && (s.sessions[sessionKey{r.CallID, r.ToTag}] != nil || s.sessions[sessionKey{r.CallID, r.FromTag}] != nil)
}

func (c *Session) takeRefer() {
	r := c.refer
	if r == nil || r.taken {
		return
	}
	r.taken = true
	extra := []field{{"Contact", c.s.contactOf(r.tx.req.uri, r.tx.fl.endpoint())}}
	if r.silent {
		r.tx.answer(202, append(extra, field{"Refer-Sub", "false"})...)
		return
	}
	r.tx.answer(202, extra...)
	c.arm(tickRefer, c.s.tm.refer)
	c.progressed(100)
}

// leaveRefer answers the REFER of a phone that hangs up before the owner has said
// what it thinks of it. The owner takes it up or not, in the order in which the two
// came; 202 promises no more than that (RFC 3515 section 2.4.2).
func (c *Session) leaveRefer() {
	if r := c.refer; r != nil && !r.taken {
		r.silent = true
		c.takeRefer()
	}
}

func (c *Session) refuseRefer(status int, why Reason) {
	if c.refer == nil || c.refer.taken {
		return
	}
	if status < 300 || status > 699 {
		status = 603
	}
	c.refer.tx.answer(status, c.ours(why).fields()...)
	c.refer = nil
}

// progressed queues a NOTIFY; of several that wait only the last counts.
func (c *Session) progressed(status int) {
	r := c.refer
	if r == nil || !r.taken || r.told == status {
		return
	}
	if r.silent || c.phase != phaseUp {
		if status >= 200 {
			c.refer = nil
		}
		return
	}
	r.next = status
	if !r.asking {
		c.sendNotify(r)
	}
}

// sendNotify tells what waits. The last NOTIFY ends the subscription.
func (c *Session) sendNotify(r *referral) {
	r.asking, r.told, r.next = true, r.next, 0
	state := "active;expires=" + strconv.Itoa(int(subscription/time.Second))
	switch {
	case r.told == 408:
		state = "terminated;reason=timeout"
	case r.told >= 200:
		state = "terminated;reason=noresource"
	}
	if r.told >= 200 && c.refer == r {
		c.refer = nil
		c.disarm(tickRefer)
	}
	to := c.s.nextHop(c.trunk, c.dialog)
	c.ask(&ask{
		dialog: c.dialog, method: "NOTIFY",
		fields: []field{
			{"Contact", c.s.contactOf(c.dialog.Target, to)},
			{"Event", r.event},
			{"Subscription-State", state},
			{"Content-Type", "message/sipfrag;version=2.0"},
		},
		body: []byte("SIP/2.0 " + strconv.Itoa(r.told) + " " + phrase(r.told) + "\r\n"),
		done: func(m *message, err error) { c.notified(r, m, err) },
	})
}

// notified takes the answer to a NOTIFY. Whoever knows no subscription is told
// nothing more.
func (c *Session) notified(r *referral, m *message, err error) {
	r.asking = false
	switch {
	case c.phase != phaseUp:
	case err != nil || m.status >= 300:
		if c.refer == r {
			c.refer = nil
			c.disarm(tickRefer)
		}
	case r.next != 0:
		c.sendNotify(r)
	}
}

// referTimeout ends a subscription that lasts too long.
func (c *Session) referTimeout() {
	if r := c.refer; r != nil && r.taken {
		c.progressed(408)
		c.refer = nil
	}
}
