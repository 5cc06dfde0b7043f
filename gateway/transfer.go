package gateway

import (
	"log/slog"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/store"
)

// A call is handed from phone to phone so often at most. Newcomers have numbers
// that no egress leg of the machine's has.
const (
	maxTransfers  = 20
	firstNewcomer = 200
)

// referrer is the session of a phone that may ask for a transfer.
type referrer interface {
	CallID() string
	TakeRefer()
	RefuseRefer(status int, r sip.Reason)
	Progressed(status int)
}

// The ways in which a transfer ends, as a label.
const (
	transferCompleted = "completed"
	transferFailed    = "failed"  // the other phone did not take it
	transferDenied    = "denied"  // the target is not allowed
	transferRefused   = "refused" // not in this state, or too often
)

var transferOutcomes = []string{transferCompleted, transferFailed, transferDenied, transferRefused}

// seat returns the number of a new phone of the call, 0 when it has had too many.
// It may be called by anybody.
func (c *Call) seat() uint8 {
	if n := c.seats.Add(1); n <= maxTransfers {
		return uint8(firstNewcomer + n) //nolint:gosec // at most maxTransfers
	}
	return 0
}

// talks is the number of the phone that talks.
func (c *Call) talks() uint8 {
	if c.hand.In {
		return c.m.Caller
	}
	return c.m.Attempt
}

// referred grants or refuses the wish of a phone that another one take its place
// (RFC 3515). The new phone is dialled on the same trunk. A PBX whose dialplan
// answers and transfers at once asks before the customer is connected: its wish
// waits for that.
func (c *Call) referred(from uint8, trunk string, by referrer, ev sip.Refer) {
	if c.m.Phase == Answering && from == c.talks() {
		c.wish = func() { c.referred(from, trunk, by, ev) }
		return
	}
	why, reason := c.mayRefer(from, trunk, ev)
	if why != "" {
		status := 491
		if why == transferDenied {
			status = 403
			c.log.Warn("transfer is not allowed", slog.String("trunk", trunk), slog.String("to", hide(ev.To, c.rec.User)), slog.String("reason", reason))
		}
		c.env.metrics.transfer(trunk, why)
		r := c.reason(NotAllowed, NotAllowed.row().q850)
		r.Text = reason
		by.RefuseRefer(status, r)
		return
	}
	id := c.seat()
	if id == 0 {
		c.env.metrics.transfer(trunk, transferRefused)
		r := c.reason(NotAllowed, NotAllowed.row().q850)
		r.Text = "transferred too often"
		by.RefuseRefer(603, r)
		return
	}
	by.TakeRefer()
	c.asker = by
	leg := newReliefLeg(c, id, config.Hop{Trunk: trunk, To: dialSeparators.Replace(ev.To)}, ev.Replaces, ev.By)
	c.expect(id, trunk, leg)
	c.after(reliefLimit, reliefLate{of(id)})
}

// grant takes up a wish that waited.
func (c *Call) grant() {
	if wish := c.wish; wish != nil {
		c.wish = nil
		wish()
	}
}

// mayRefer returns why a transfer is not begun, as its outcome and in words for
// people; "": it is.
func (c *Call) mayRefer(from uint8, trunk string, ev sip.Refer) (outcome, reason string) {
	t, ok := c.env.cfg.Trunk(trunk)
	switch {
	case c.m.Phase != Active || from != c.talks():
		return transferRefused, "the call is not up"
	case c.hand.Leg != 0:
		return transferRefused, "a transfer is on its way"
	case !ok:
		return transferRefused, "the trunk is gone"
	case ev.Foreign:
		return transferDenied, "the target is not at this PBX"
	case ev.Ours:
		return transferDenied, "two customers cannot be connected"
	}
	if reason := c.env.mayTransfer(t, ev.To); reason != "" {
		return transferDenied, reason
	}
	return "", ""
}

// expect begins a handover to a new phone.
func (c *Call) expect(id uint8, trunk string, leg newcomer) {
	c.out[id] = leg
	c.hand.Leg = id
	c.handTrunk = trunk
	leg.dial()
}

// dismiss ends a newcomer with the side of the call that it was to join.
func (c *Call) dismiss(in bool, why Cause) {
	if id := c.hand.companion(in); id != 0 {
		c.out[id].hangup(why)
	}
}

// The port of the handover.

func (c *Call) tell(ev event) { c.pending = append(c.pending, ev) }

func (c *Call) inform(status int) {
	if status >= 300 {
		c.env.metrics.transfer(c.handTrunk, transferFailed)
		c.log.Info("transfer failed", slog.String("trunk", c.handTrunk), slog.Int("status", status))
	}
	if c.asker != nil {
		c.asker.Progressed(status)
	}
	if status >= 200 {
		c.asker = nil
	}
}

// comfort lets the customer hear that a phone rings: the one that talked is gone.
func (c *Call) comfort() {
	if c.m.Phase != Active {
		return
	}
	c.bridge.Stop()
	customer := c.in.audio()
	if c.hand.In {
		customer = c.out[c.m.Attempt].audio()
	}
	c.ringback = c.env.audio.Player(customer, media.Ringback())
	c.ringback.Start()
}

func (c *Call) hush() {
	if c.ringback != nil {
		c.ringback.Stop()
		c.ringback = nil
	}
}

// swap lets the bridge go on with another phone. The customer's side does not
// notice.
func (c *Call) swap(id uint8, in bool) {
	leg, ok := c.out[id].(newcomer)
	if !ok {
		return
	}
	c.hush()
	leg.joined()
	leg.open()
	place := media.B
	if in {
		place = media.A
		c.in = leg
	}
	c.bridge.Swap(place, leg.audio())
	c.bridge.Start()
	c.noteTransfer(leg)
}

// pickUp takes down who has the call: a phone that picked it up for the one that
// rings. It is told to hear and be heard with everybody else.
func (c *Call) pickUp(id uint8) {
	if leg, ok := c.out[id].(newcomer); ok {
		leg.joined()
		c.rec.Trunk, c.rec.To = c.handTrunk, leg.extension()
		c.rec.SIPStatus, c.rec.Q850 = 200, 0
		c.env.metrics.transfer(c.handTrunk, transferCompleted)
	}
}

func (c *Call) noteTransfer(leg newcomer) {
	if len(c.rec.Agents) == 0 && c.order.direction == inbound {
		c.rec.Agents = []string{c.rec.To}
	}
	c.rec.Agents = append(c.rec.Agents, leg.extension())
	c.rec.Transfers++
	c.rec.SIPStatus, c.rec.Q850 = 200, 0
	if c.order.direction == inbound {
		c.rec.Trunk, c.rec.To = c.handTrunk, leg.extension()
		c.progress(store.Progress{Trunk: c.rec.Trunk, To: c.rec.To})
	}
	c.env.metrics.transfer(c.handTrunk, transferCompleted)
	c.log.Info("call transferred", slog.String("trunk", c.handTrunk), slog.String("to", hide(leg.extension(), c.rec.User)))
}
