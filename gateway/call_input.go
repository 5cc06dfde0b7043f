package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// begin admits the call to its life: the intent goes to disk, and from there
// the machine takes over.
func (c *Call) begin() {
	c.rec = store.Record{
		ID: c.id, Direction: inbound, Number: c.number.Name, User: c.offer.User.Number, UserID: c.offer.User.UserID,
		WACID: string(c.offer.CallID), Route: c.plan.Route, Payload: payloadOf(c.offer), StartedAt: c.now,
	}
	if len(c.plan.Hops) > 0 {
		c.rec.Trunk, c.rec.To = c.plan.Hops[0].Trunk, c.plan.Hops[0].To
	}
	c.started()
	c.log.Info("call started", slog.String("user", mask(c.rec.User)), slog.String("route", c.rec.Route))
	c.m.start(c)
	intent := store.Call{
		ID: c.id, Direction: inbound, Number: c.number.Name, NumberID: c.number.PhoneNumberID,
		User: c.rec.User, UserID: c.rec.UserID, Name: c.offer.User.Name, Payload: c.rec.Payload,
		Route: c.rec.Route, Trunk: c.rec.Trunk, To: c.rec.To, WACID: c.rec.WACID,
		PreAccepted: c.refuse == NoCause, StartedAt: c.now,
	}
	c.do(beginLimit, func(ctx context.Context) input { return begun{c.env.book.Begin(ctx, intent, c.offer.Key)} })
}

// handle takes one input to the leg it is for, and its events to the machine.
func (c *Call) handle(in input) {
	if c.final != nil {
		c.late(in)
		return
	}
	switch in := in.(type) {
	case begun:
		c.begun(in.err)
	case graphDone:
		c.in.done(in)
	case hooked:
		c.in.hooked(in.event)
	case peerUp:
		c.in.table.mediaReady(c.in)
	case audioFailed:
		c.audioFailed(in)
	case setupLate:
		if !c.in.table.MediaUp {
			c.emit(mediaLost{MediaFailed})
		}
	case dialReady:
		c.dialReady(in)
	case sipNews:
		if leg := c.out[in.leg]; leg != nil {
			leg.news(in.event)
		}
	case legTimeout:
		c.in.table.timeout(in.timer, c.in)
	case timerFired:
		c.emit(deadline{Stamp: in.stamp, Over: c.patience() < leastRing})
	case giveUp:
		if c.m.Phase == Ending {
			c.emit(deadline{Stamp: stamp{c.m.Phase, c.m.Turn}})
		}
	case stopWanted:
		c.emit(stopped{in.cause})
	}
	c.drain()
}

func (c *Call) begun(err error) {
	c.written = err == nil
	switch {
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrEnded):
		c.log.Error("call is in the book already", slog.Any("error", err))
		c.emit(routeFailed{Internal})
	case err != nil:
		c.log.Error("call cannot be written down, so it is refused", slog.Any("error", err))
		c.emit(routeFailed{StoreFailed})
	case c.refuse != NoCause:
		c.emit(routeFailed{c.refuse})
	default:
		c.emit(routed{c.targets()})
	}
}

// targets fixes the addresses of each hop at this moment, those alive first.
func (c *Call) targets() plan {
	counts := make([]int, len(c.plan.Hops))
	c.in.addresses = make([][]string, len(c.plan.Hops))
	for i, hop := range c.plan.Hops {
		c.in.addresses[i] = c.env.trunks.Targets(hop.Trunk)
		counts[i] = len(c.in.addresses[i])
	}
	return newPlan(counts...)
}

// audioFailed: audio that was up is lost, audio that never was has failed.
func (c *Call) audioFailed(in audioFailed) {
	c.log.Info("audio gave up", slog.String("side", in.side), slog.Any("error", in.err))
	if in.side == sideWhatsApp && !c.in.table.MediaUp {
		c.emit(mediaLost{MediaFailed})
		return
	}
	c.emit(mediaLost{MediaLost})
}

// dialReady: an INVITE is on disk and may leave, unless it is not wanted any
// more or could not be made.
func (c *Call) dialReady(in dialReady) {
	leg := c.out[in.leg]
	if leg == nil {
		return
	}
	leg.dial = in.dial
	if in.err == nil {
		leg.table.prepared(leg)
		return
	}
	c.log.Warn("call cannot be placed", slog.String("trunk", leg.hop.Trunk), slog.Any("error", in.err))
	switch {
	case errors.Is(in.err, errTrunkFull), errors.Is(in.err, media.ErrNoPort):
		leg.table.refused(Overloaded, leg)
	case errors.Is(in.err, errNotSaved):
		leg.table.refused(StoreFailed, leg)
	case errors.Is(in.err, sip.ErrUnknownTrunk), errors.Is(in.err, sip.ErrTooLarge):
		leg.table.refused(Internal, leg)
	default:
		leg.table.refused(Unreachable, leg)
	}
}

// patience is how long the caller still waits: Meta gives up some time after it
// sent the offer, by its own clock.
func (c *Call) patience() time.Duration {
	sent := c.offer.At
	if sent.IsZero() || sent.After(c.rec.StartedAt) {
		sent = c.rec.StartedAt
	}
	return c.env.cfg.Limits.AnswerWindow - c.now.Sub(sent)
}

// payloadOf is what started the call: a call button's payload, else the deep
// link's.
func payloadOf(o whatsapp.Offer) string {
	if o.Payload != "" {
		return o.Payload
	}
	return o.DeepLink
}
