package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// begin admits the call to its life: the intent goes to disk, and from there
// the machine takes over.
func (c *Call) begin() {
	o := c.order
	c.rec = store.Record{
		ID: c.id, Direction: o.direction, Number: o.number.Name, User: o.user.Number, UserID: o.user.UserID,
		WACID: string(o.wacid), Route: o.route, Payload: o.payload, StartedAt: c.now, Trunk: o.trunk, To: o.dialed,
		Node: c.env.cfg.Node,
	}
	if o.agent != "" {
		c.rec.Agents = []string{o.agent}
	}
	if len(o.hops) > 0 {
		c.rec.Trunk, c.rec.To = o.hops[0].Trunk, o.hops[0].To
	}
	c.log.Info("call started", slog.String("user", mask(c.rec.User)), slog.String("route", c.rec.Route))
	c.m.start(c)
	c.started()
	if o.summoned { // who asked for it has written the intent down
		c.written = true
		return
	}
	intent := c.intent(c.now)
	c.do(routingLimit, func(ctx context.Context) input {
		if err := c.env.book.Begin(ctx, intent, o.eventKey); err != nil {
			return begun{fmt.Errorf("%w: %w", errNotSaved, err)}
		}
		if o.direction == inbound || o.refuse != NoCause {
			return begun{}
		}
		if err := c.saveIngress(ctx); err != nil {
			return begun{fmt.Errorf("%w: %w", errNotSaved, err)}
		}
		return begun{c.env.allowed(ctx, o)}
	})
}

// intent is what is on disk before anything of the call exists.
func (c *Call) intent(now time.Time) store.Call {
	o := c.order
	trunk, to := o.trunk, o.dialed
	if len(o.hops) > 0 {
		trunk, to = o.hops[0].Trunk, o.hops[0].To
	}
	return store.Call{
		ID: c.id, Direction: o.direction, Number: o.number.Name, NumberID: o.number.PhoneNumberID,
		User: o.user.Number, UserID: o.user.UserID, Name: o.user.Name, Payload: o.payload,
		Route: o.route, Trunk: trunk, To: to, WACID: string(o.wacid), Tag: o.tag,
		PreAccepted: o.refuse == NoCause, Agent: o.agent, Callback: o.callback, StartedAt: now,
	}
}

// admit asks whether the customer may be called, once the agent of a summoned
// call is there: much may have happened since the agent's phone began to ring.
func (c *Call) admit() {
	o := c.order
	c.do(routingLimit, func(ctx context.Context) input { return begun{c.env.allowed(ctx, o)} })
}

// tellPlaced tells who waits for a summoned call what became of its INVITE.
func (c *Call) tellPlaced(why Cause) {
	select {
	case c.placed <- why:
	default: // said before
	}
}

// handle takes one input to where it belongs, and what comes of it to the
// machine.
func (c *Call) handle(in input) {
	if c.final != nil {
		c.late(in)
		return
	}
	switch in := in.(type) {
	case graphDone, answerApplied, peerUp, peerHeard, audioFailed, setupLate, legTimeout, promptOver, dialReady, sipNews, reliefLate, guestSaved:
		news := in.(legInput)
		if leg := c.leg(news.leg()); leg != nil {
			leg.take(news)
		}
	case guestCame:
		c.guestCame(in)
	case begun:
		c.begun(in.err)
	case hooked:
		c.hooked(in.event)
	case timerFired:
		if in.stamp == (stamp{Routing, c.m.Turn}) {
			c.diskSilent()
			break
		}
		c.emit(deadline{Stamp: in.stamp, Over: c.impatient()})
	case giveUp:
		if c.m.Phase == Ending {
			c.emit(deadline{Stamp: stamp{c.m.Phase, c.m.Turn}})
		}
	case stopWanted:
		c.emit(stopped{in.cause})
	}
	c.drain()
}

// leg returns the ingress for 0, an egress leg for its number.
func (c *Call) leg(id uint8) side {
	if id == 0 {
		return c.first
	}
	if leg := c.out[id]; leg != nil {
		return leg
	}
	return nil
}

// hooked takes a webhook to the WhatsApp leg.
func (c *Call) hooked(ev whatsapp.Event) {
	if id := ev.About().CallID; c.rec.WACID == "" && id != "" {
		c.named(id)
	}
	if c.order.direction == inbound {
		c.in.hooked(ev)
	} else if leg := c.out[c.m.Attempt]; leg != nil {
		leg.hooked(ev)
	}
}

// named notes Meta's id of a call that we placed.
func (c *Call) named(id whatsapp.CallID) {
	c.rec.WACID = string(id)
	c.env.named(c, id)
	c.progress(store.Progress{WACID: string(id)})
}

func (c *Call) begun(err error) {
	c.written = !errors.Is(err, errNotSaved)
	var denied *deniedError
	switch {
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrEnded):
		c.log.Error("call is in the book already", slog.Any("error", err))
		c.emit(routeFailed{Internal})
	case errors.Is(err, errNotSaved):
		c.log.Error("call cannot be written down, so it is refused", slog.Any("error", err))
		c.retryAfter = storeRetry
		c.emit(routeFailed{StoreFailed})
	case errors.As(err, &denied):
		c.log.Info("call is not allowed", slog.String("cause", denied.cause.String()), slog.String("reason", denied.reason))
		c.retryAfter, c.perUser = denied.retryAfter, denied.perUser
		if denied.cause != StoreFailed { // a fault of ours is nothing for the agent's phone
			c.detail = denied.reason
		}
		c.wordless = denied.wordless
		c.emit(routeFailed{denied.cause})
	case err != nil:
		c.log.Error("call cannot be checked", slog.Any("error", err))
		c.emit(routeFailed{Internal})
	case c.order.refuse != NoCause:
		c.emit(routeFailed{c.order.refuse})
	case c.order.direction == outbound:
		c.emit(routed{newPlan(1)})
	default:
		c.emit(routed{c.targets()})
	}
}

// diskSilent: the intent is not on disk in time. Meta and the rules are asked
// under limits of their own, so it is the disk that does not answer.
func (c *Call) diskSilent() {
	c.log.Error("call is not written down in time, so it is refused", slog.Duration("limit", routingLimit))
	c.emit(routeFailed{StoreFailed})
}

// deniedError says why a call to a customer is not placed.
type deniedError struct {
	cause      Cause
	reason     string
	retryAfter time.Duration
	perUser    bool // of Limited: it is the limit of this customer alone
	wordless   bool // there is a grant, and the spoken prompt would deny it
}

func (e *deniedError) Error() string { return e.cause.String() + ": " + e.reason }

// targets fixes the addresses of each hop at this moment, those alive first.
func (c *Call) targets() plan {
	counts := make([]int, len(c.order.hops))
	c.addresses = make([][]string, len(c.order.hops))
	for i, hop := range c.order.hops {
		c.addresses[i] = c.env.trunks.Targets(hop.Trunk)
		counts[i] = len(c.addresses[i])
	}
	return newPlan(counts...)
}

// patience is how long the caller still waits. Meta gives up some time after it
// sent the offer, by its own clock; a PBX tells us when it gives up.
func (c *Call) patience() time.Duration {
	if c.order.direction == outbound {
		return c.order.ring
	}
	age := time.Duration(0) // when the call began here; from then on a clock that is set changes nothing
	if sent := c.order.sent; !sent.IsZero() && sent.Before(c.rec.StartedAt) {
		age = c.rec.StartedAt.Sub(sent)
	}
	return c.env.cfg.Limits.AnswerWindow - age - c.now.Sub(c.rec.StartedAt)
}

// impatient means that what the caller still waits is too little to ring
// another phone.
func (c *Call) impatient() bool { return c.patience() < leastRing }

// saveIngress writes down what is needed to end the trunk's side after a crash.
func (c *Call) saveIngress(ctx context.Context) error {
	leg, ok := c.in.(*callerLeg)
	if !ok {
		return nil
	}
	err := c.env.book.SaveDialog(ctx, c.id, store.Dialog{Trunk: c.order.trunk, To: c.order.dialed, State: leg.session.State()})
	if err == nil {
		leg.session.Noted()
	}
	return err
}
