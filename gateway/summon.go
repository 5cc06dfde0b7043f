package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"wagate/store"
)

// summons places calls for operators: the agent's phone is rung first.
type summons struct{ g *Gateway }

// dial implements dialer. Nothing of the call exists anywhere before all checks
// are through and it is written down.
func (s summons) dial(ctx context.Context, d dialRequest) (callView, error) {
	g := s.g
	e := g.current.Load()
	o, err := g.summonOrder(e, d, time.Now())
	if err != nil {
		return callView{}, err
	}
	if err := g.permitted(ctx, o); err != nil {
		return callView{}, err
	}
	c, err := g.summon(ctx, e, o)
	if err != nil {
		return callView{}, err
	}
	select {
	case why := <-c.placed:
		if why == NoCause || why == Hangup || why == Cancelled { // it is, or was, a call like any other
			return c.view.Load().show(), nil
		}
		return callView{}, e.refuseCall(why)
	case <-ctx.Done(): // nobody will know of it
		c.post(stopWanted{Cancelled})
		return callView{}, ctx.Err()
	}
}

// summonOrder says what is to be placed, or why nothing is: the number and the
// trunk are ours, this node takes calls, and a route allows the call as it would
// if the agent had dialled.
func (g *Gateway) summonOrder(e *running, d dialRequest, now time.Time) (order, error) {
	number, ok := e.cfg.Number(d.Number)
	if !ok {
		return order{}, &refusedError{why: refuseUnknownNumber, reason: "no number of the configuration has this name"}
	}
	trunk, ok := e.cfg.Trunk(d.Trunk)
	if !ok {
		return order{}, &refusedError{why: refuseUnknownTrunk, reason: "no trunk of the configuration has this name"}
	}
	if why := e.env.mayRing(trunk, d.Agent); why != "" {
		return order{}, refusedFor(NotAllowed, "the agent cannot be rung: "+why)
	}
	if busy := g.capacity(e); busy != NoCause {
		return order{}, e.refuseCall(busy)
	}
	plan, err := e.router.clicked(outboundQuery{Trunk: d.Trunk, Dialed: d.To, Caller: d.Agent, Number: d.Number, Now: now})
	switch {
	case errors.Is(err, errBadDial):
		return order{}, refusedFor(BadNumber, err.Error())
	case errors.Is(err, errNoRouteOut):
		return order{}, refusedFor(NoRoute, "no outbound route is for this trunk, agent, customer and time")
	case err != nil:
		return order{}, refusedFor(NotAllowed, err.Error())
	}
	return order{
		direction: outbound, summoned: true, number: number, user: d.User, route: plan.Route, ring: plan.RingTimeout,
		trunk: d.Trunk, dialed: d.To, agent: d.Agent, tag: rand.Text(), sent: now,
	}, nil
}

// refuseCall is the refusal where this node, and not the customer, is the
// reason.
func (r *running) refuseCall(why Cause) error {
	no := refusedFor(why, nodeReasons[why])
	switch {
	case no.reason == "":
		return &refusedError{why: refuseInternal, reason: "this failed inside the gateway; its log has the reason"}
	case why == Draining:
		no.retryAfter = r.cfg.Limits.DrainTimeout
	case why == Overloaded:
		no.retryAfter = overloadRetry
	case why == StoreFailed:
		no.retryAfter = storeRetry
	}
	return no
}

var nodeReasons = map[Cause]string{
	Draining:    "this node is about to end",
	Overloaded:  "a limit of this node or of the trunk is reached",
	StoreFailed: "the call cannot be written down",
	Unreachable: "the trunk cannot be reached",
}

// permitted says whether the customer may be called. Where permission is
// lacking, the customer is asked if the configuration wants that, so that the
// refusal tells what is true from then on.
func (g *Gateway) permitted(ctx context.Context, o order) error {
	now := time.Now()
	err := g.permissions.mayCall(ctx, o.number, o.user.Callee(), now)
	no := denialOf(err)
	if err == nil {
		return nil
	}
	if no != nil && no.Askable() && g.current.Load().cfg.Permissions.AutoRequest && g.ask(o) == nil {
		if err = g.permissions.noted(ctx, o.number, o.user.Callee(), time.Now()); err == nil {
			return nil // the customer was quick
		}
		no = denialOf(err)
	}
	switch {
	case no == nil && ctx.Err() != nil: // who asked has gone
		return ctx.Err()
	case no == nil:
		g.log.Error("call cannot be checked", slog.Any("error", err))
		return g.current.Load().refuseCall(StoreFailed)
	case no.Limited():
		limited := refusedFor(Limited, no.Error())
		limited.retryAfter = untilAgain(no.Again, now)
		limited.expires = no.Expires
		return limited
	}
	denied := refusedFor(NoPermission, no.Error())
	denied.next, denied.expires = no.NextAsk, no.Expires
	return denied
}

// summon writes a call down and starts it. The caller has checked that it may be
// placed.
func (g *Gateway) summon(ctx context.Context, e *running, o order) (*Call, error) {
	c := newCall(e.env, rand.Text(), o)
	if !g.registry.admitAlone(c, o.tag) {
		return nil, &refusedError{why: refuseBusy, reason: "a call with this customer is up or on its way"}
	}
	now := time.Now()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), routingLimit)
	defer cancel()
	if err := e.env.book.Begin(limited, c.intent(now), ""); err != nil {
		g.forget(c)
		if errors.Is(err, store.ErrTaken) {
			return nil, err
		}
		g.log.Error("call cannot be written down, so it is refused", slog.String("call", c.id), slog.Any("error", err))
		return nil, e.refuseCall(StoreFailed)
	}
	if g.start(c) {
		return c, nil
	}
	err := e.env.book.End(limited, store.Record{
		ID: c.id, Direction: o.direction, Number: o.number.Name, User: o.user.Number, UserID: o.user.UserID,
		Trunk: o.trunk, To: o.dialed, Agents: []string{o.agent}, StartedAt: now, EndedAt: now, Route: o.route,
		Cause: Draining.String(), EndedBy: "gateway", Q850: Draining.recordQ850(false), Node: e.env.cfg.Node,
	}, nil, "")
	if err != nil {
		g.log.Error("call record cannot be written; the next start ends and records this call again", slog.Any("error", err))
	}
	g.forget(c)
	return nil, e.refuseCall(Draining)
}
