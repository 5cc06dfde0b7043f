package sip

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

// refreshPause is how long a refresh waits that was refused for a reason which
// may pass.
const refreshPause = 10 * time.Second

// windExpiry starts the session timer anew: something has just refreshed it.
func (c *Session) windExpiry() {
	c.disarm(tickRefresh)
	c.disarm(tickExpired)
	if c.expiry.interval == 0 {
		return
	}
	if c.expiry.ours {
		c.arm(tickRefresh, c.expiry.interval/2)
	}
	c.arm(tickExpired, c.expiry.patience())
}

// peerCan notes which methods the far end takes.
func (c *Session) peerCan(m *message) {
	if m.has("allow") {
		c.updates = m.names("allow", "UPDATE")
	}
}

// refreshSession says that the call is still there: by UPDATE, or by an INVITE
// with the description that stands. While another offer is open it waits.
func (c *Session) refreshSession() {
	if c.phase != phaseUp || c.expiry.interval == 0 || !c.expiry.ours || c.changing != nil {
		return
	}
	if c.accept != nil {
		c.arm(tickRefresh, c.backOff())
		return
	}
	a := &ask{dialog: c.dialog, method: "UPDATE", fields: append([]field{{"Supported", supported}}, c.expiry.offer(true)...)}
	if !c.updates {
		if len(c.local) == 0 {
			return
		}
		a.method, a.body = "INVITE", c.local
		a.fields = append(a.fields, field{"Content-Type", contentSDP})
	}
	a.done = func(m *message, err error) { c.refreshed(a, m, err) }
	c.changing = a
	c.arm(tickChange, c.s.tm.limit())
	c.ask(a)
}

// refreshed takes the answer to a refresh. What says that the call is not there
// any more ends it; whatever else goes wrong leaves the session as it was, and
// is tried again as long as it lasts.
func (c *Session) refreshed(a *ask, m *message, err error) {
	if c.changing != a {
		return
	}
	c.changing = nil
	c.disarm(tickChange)
	if c.phase != phaseUp {
		return
	}
	switch {
	case errors.Is(err, ErrTransport):
		c.arm(tickRefresh, refreshPause)
	case err != nil:
		c.expired()
	case m.status < 300:
		c.refreshedBy(m)
	case m.status == 491:
		c.s.metrics.glare("offer_offer")
		c.arm(tickRefresh, c.backOff())
	case c.expiry.tooSmall(m):
		c.refreshSession()
	case a.method == "UPDATE" && (m.status == 405 || m.status == 501 || m.status == 420):
		c.updates = false
		c.refreshSession()
	case endsCall(m.status):
		c.expired()
	default:
		c.arm(tickRefresh, max(refreshPause, retryAfter(m)))
	}
}

// refreshedBy takes the 2xx of a refresh. Its description tells where the far
// end is now.
func (c *Session) refreshedBy(m *message) {
	c.refresh(m)
	c.expiry.agreed(m)
	c.windExpiry()
	c.moved(m.body)
}

// refreshedByPeer takes a re-INVITE or UPDATE that is about to be accepted, and
// returns what the 2xx says of the session timer.
func (c *Session) refreshedByPeer(m *message) []field {
	if c.phase != phaseUp && c.phase != phaseUnacked {
		return nil
	}
	fs := c.expiry.answer(m)
	c.windExpiry()
	return fs
}

// offering tells whether an offer of ours is open.
func (c *Session) offering() bool { return c.changing != nil && len(c.changing.body) > 0 }

// moved shows the owner a description that needs no answer.
func (c *Session) moved(sdp []byte) {
	if len(sdp) == 0 || bytes.Equal(sdp, c.remote) || c.reoffer == nil {
		return
	}
	c.remote = slices.Clone(sdp)
	_, _ = c.reoffer(slices.Clone(sdp))
}

// backOff is the wait after two offers met: longer for the one who made the
// call, so that they do not meet again (RFC 3261 section 14.1).
func (c *Session) backOff() time.Duration {
	const step = 10 * time.Millisecond
	if c.uas == nil {
		return 2100*time.Millisecond + time.Duration(rand.IntN(191))*step //nolint:gosec // no secret
	}
	return time.Duration(rand.IntN(201)) * step //nolint:gosec // no secret
}

// endsCall tells whether a refusal inside a dialog means that the call is gone
// (RFC 5057 section 5.1, RFC 3261 section 12.2.1.2).
func endsCall(status int) bool {
	switch status {
	case 404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 502, 604:
		return true
	}
	return false
}

// expired ends a call that the far end does not have any more, or does not
// speak of.
func (c *Session) expired() {
	if c.phase != phaseUp {
		return
	}
	c.tell(Expired{})
	c.sendBye(Reason{Q850: 102, Text: "session expired", WAError: "unreachable"})
}

// quit drops what waits for an answer where the call ends: nothing of it may
// hold the end up.
func (c *Session) quit() {
	for _, what := range []tick{tickRefresh, tickExpired, tickChange} {
		c.disarm(what)
	}
	if a := c.changing; a != nil {
		c.changing = nil
		a.tx.lingerFor(c.s.tm.limit())
	}
}

// unanswered ends the wait for an answer to a refresh that was begun and not
// finished.
func (c *Session) unanswered() {
	if a := c.changing; a != nil {
		a.tx.lingerFor(c.s.tm.limit())
		c.refreshed(a, nil, ErrTimeout)
	}
}
