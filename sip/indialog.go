package sip

import (
	"errors"
	"slices"
)

// request takes a request inside the dialog, or one that may belong to it.
func (c *Session) request(in gotRequest) {
	if in.m.method == "ACK" {
		c.acked(in.m)
		return
	}
	if in.tx.final() {
		return
	}
	if !c.belongs(in) {
		return
	}
	switch in.m.method {
	case "BYE":
		c.peerBye(in)
	case "INVITE":
		c.peerInvite(in)
	case "UPDATE":
		c.peerUpdate(in)
	case "OPTIONS":
		in.tx.answer(200, field{"Allow", allow}, field{"Accept", contentSDP})
	case "INFO":
		c.peerInfo(in)
	case "REFER":
		c.peerRefer(in)
	case "PRACK":
		c.peerPrack(in)
	default: // NOTIFY of what we never asked for
		in.tx.answer(481)
	}
}

// belongs checks a request against the dialog: the far end's tag, and a CSeq
// that moves on (RFC 3261 section 12.2.2). It answers what does not fit.
func (c *Session) belongs(in gotRequest) bool {
	seq, _ := in.m.cseq()
	d := c.dialog
	if d == nil { // our INVITE is not answered: only its end can come
		if in.m.method == "BYE" {
			return true
		}
		c.peerEarly(in)
		return false
	}
	if tag(in.m.get("From")) != d.remoteTag() {
		c.s.metrics.reject("dialog")
		in.tx.answer(481)
		return false
	}
	if d.RemoteSeq != 0 && seq <= d.RemoteSeq {
		c.s.metrics.reject("cseq")
		in.tx.answer(500)
		return false
	}
	d.RemoteSeq = seq
	return true
}

// peerBye is the far end hanging up: before our ACK came through, before its
// own answer did, crossing our BYE, or just so.
func (c *Session) peerBye(in gotRequest) {
	in.tx.answer(200)
	cause := q850(in.m)
	switch c.phase {
	case phaseOffered: // the caller may hang an early dialog up (RFC 3261 section 15)
		c.giveUp(cause)
	case phaseCalling, phaseEarly: // its 2xx was lost or overtaken; a late one is an orphan's
		c.invite.lingerFor(c.s.tm.limit())
		c.s.metrics.invite(inbound, c.trunk.cfg.Name, 200)
		c.tell(Hungup{cause})
	case phaseUnacked, phaseUp:
		c.leaveRefer()
		c.tell(Hungup{cause})
	case phaseLeaving:
		c.s.metrics.glare("bye_bye")
		c.tell(Hungup{cause})
		return // our own BYE is still to be answered
	case phasePrepared, phaseOver:
	}
	c.phase = phaseOver
}

// sendBye hangs up.
func (c *Session) sendBye(r Reason) {
	if c.refer != nil && c.refer.next != 0 { // it would not be told any more
		c.sendNotify(c.refer)
	}
	c.settle()
	c.quit()
	c.phase = phaseLeaving
	c.endWith = c.ours(r)
	c.byeAgain(field{})
}

func (c *Session) byeAgain(creds field) {
	c.dialog.LocalSeq++
	c.saveDialog()
	bye := c.dialog.request("BYE", c.dialog.LocalSeq)
	bye.add(creds.name, creds.value)
	bye.addReason(c.endWith)
	bye.add("User-Agent", userAgent)
	c.s.request(c.trunk, bye, c.s.nextHop(c.trunk, c.dialog), newBranch(), c.s.tm.limit(), func(_ *clientTx, m *message, err error) bool {
		return c.inbox.put(gotBye{m, err})
	})
}

// byeAnswered takes the answer to our BYE. Any final one ends the dialog (RFC
// 3261 section 15.1.1); a challenge is answered once.
func (c *Session) byeAnswered(in gotBye) {
	if c.phase != phaseLeaving || (in.m != nil && in.m.status < 200) {
		return
	}
	if in.m != nil && !c.byeAuth {
		if creds, _, ok := c.trunk.authorize(in.m, "BYE", c.byeURI()); ok && in.m.from.addr.Addr() == c.dialog.Peer.Addr() {
			c.byeAuth = true
			c.byeAgain(creds)
			return
		}
	}
	c.tell(ByeDone{in.err})
	c.phase = phaseOver
}

func (c *Session) byeURI() string { return c.dialog.request("BYE", 0).uri }

var errNoReoffer = errors.New("session descriptions cannot change here")

// offered answers a description that the far end sends on the live dialog.
func (c *Session) offered(offer []byte) ([]byte, error) {
	if c.reoffer == nil {
		return nil, errNoReoffer
	}
	return c.reoffer(slices.Clone(offer))
}

// peerInvite is a re-INVITE. It is absorbed here: the other leg of the call
// cannot be renegotiated. Without an offer it gets our current description.
func (c *Session) peerInvite(in gotRequest) {
	switch {
	case c.phase == phaseOffered: // two INVITEs at once (RFC 3261 section 14.2)
		in.tx.answer(500, field{"Retry-After", "1"})
		return
	case c.phase == phaseLeaving:
		in.tx.answer(481)
		return
	case c.accept != nil && (c.accept.initial || c.accept.offer): // what we said last is not settled
		in.tx.answer(491)
		return
	case c.offering():
		c.s.metrics.glare("offer_offer")
		in.tx.answer(491)
		return
	}
	sdp := c.local
	switch {
	case len(in.m.body) == 0 && c.reoffer != nil: // what we want, whatever was agreed on: a hold ends like that (RFC 6337 section 5.1)
		if offer, err := c.reoffer(nil); err == nil {
			sdp, c.remote = offer, nil // the answer is news, also where it is the same
		}
	case len(in.m.body) > 0:
		answer, err := c.offered(in.m.body)
		if err != nil {
			in.tx.answer(488)
			return
		}
		sdp, c.remote = answer, slices.Clone(in.m.body)
	}
	c.local = sdp
	c.refresh(in.m)
	m := response(in.m, 200, in.tx.tag, in.tx.fl, field{"Contact", c.s.contactOf(in.m.uri, in.tx.fl.endpoint())}, field{"Allow", allow},
		field{"Supported", supported}, field{"Content-Type", contentSDP})
	m.fields = append(m.fields, c.refreshedByPeer(in.m)...)
	m.body = sdp
	seq, _ := in.m.cseq()
	c.acceptWith(&acceptance{tx: in.tx, m: m, seq: seq, offer: len(in.m.body) == 0})
}

// peerUpdate is the same without an ACK (RFC 3311). Without an offer it only
// refreshes.
func (c *Session) peerUpdate(in gotRequest) {
	extra := []field{{"Contact", c.s.contactOf(in.m.uri, in.tx.fl.endpoint())}, {"Allow", allow}, {"Supported", supported}}
	if len(in.m.body) == 0 {
		c.refresh(in.m)
		in.tx.answer(200, append(extra, c.refreshedByPeer(in.m)...)...)
		return
	}
	switch {
	case c.phase == phaseOffered: // their first offer is not answered yet
		in.tx.answer(500, field{"Retry-After", "1"})
		return
	case c.accept != nil && c.accept.offer:
		in.tx.answer(491)
		return
	case c.offering():
		c.s.metrics.glare("offer_offer")
		in.tx.answer(491)
		return
	}
	answer, err := c.offered(in.m.body)
	if err != nil {
		in.tx.answer(488)
		return
	}
	c.local, c.remote = answer, slices.Clone(in.m.body)
	c.refresh(in.m)
	extra = append(append(extra, field{"Content-Type", contentSDP}), c.refreshedByPeer(in.m)...)
	m := response(in.m, 200, in.tx.tag, in.tx.fl, extra...)
	m.body = answer
	in.tx.respond(m)
}

// refresh moves the remote target; only re-INVITE, UPDATE and their answers do.
func (c *Session) refresh(m *message) {
	c.peerCan(m)
	if target := contactURI(m); target != "" {
		c.dialog.Target = target
		c.ack = nil
		if c.phase == phaseUp {
			c.saveDialog()
		}
	}
}
