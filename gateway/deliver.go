package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// staleAfter is the age, by Meta's clock, at which an offer is a missed call
// and no phone rings for it any more.
const staleAfter = 60 * time.Second

// journal makes a delivery durable before Meta gets its 200.
func (g *Gateway) journal(ctx context.Context, events []whatsapp.Journaled) ([]bool, error) {
	rows := make([]store.Event, len(events))
	for i, ev := range events {
		rows[i] = store.Event{Key: ev.Key, Kind: string(ev.Kind), CallID: string(ev.CallID), At: ev.At, Body: ev.Body}
	}
	return g.store.Journal(ctx, rows)
}

// receive delivers one event; a fault over it loses none of the others.
func (g *Gateway) receive(ev whatsapp.Event) {
	contain(g.metrics, g.log, func() { g.deliver(ev) })
}

// deliver takes a fresh webhook event to the call it is about. It never waits
// for a call.
func (g *Gateway) deliver(ev whatsapp.Event) {
	switch ev := ev.(type) {
	case whatsapp.Offer:
		g.offered(ev)
		g.tellLedger(ev, nil, false) // its call marks it
	case whatsapp.Answer, whatsapp.Status, whatsapp.Terminate:
		c, settled := g.news(ev)
		g.tellLedger(ev, c, settled)
	case whatsapp.PermissionReply, whatsapp.Spoke, whatsapp.MessageFailed, whatsapp.UserMoved:
		g.outcome(ev, whatsapp.OutcomeDelivered)
		g.tellLedger(ev, nil, true)
	}
}

// offered is a customer's call.
func (g *Gateway) offered(offer whatsapp.Offer) {
	now := time.Now()
	e, number, ok := g.numberOf(offer.NumberID)
	if !ok {
		g.outcome(offer, whatsapp.OutcomeUnknown)
		g.done(offer.Key)
		return
	}
	if !offer.At.IsZero() && now.Sub(offer.At) > staleAfter {
		g.outcome(offer, whatsapp.OutcomeStale)
		switch g.registry.lapse(offer.CallID, now) {
		case duplicate, recorded:
			g.done(offer.Key)
		case admitted, tombstoned:
			g.missed(offer, number.Name, NoAnswer)
		}
		return
	}
	c := newCall(e.env, rand.Text(), g.place(e, orderOf(offer, number), now))
	switch g.registry.admit(c, offer.CallID) {
	case duplicate:
		g.outcome(offer, whatsapp.OutcomeDuplicate)
		g.done(offer.Key)
	case tombstoned: // the customer hung up before the offer reached us
		g.outcome(offer, whatsapp.OutcomeTombstoned)
		g.missed(offer, number.Name, Cancelled)
	case recorded:
		g.outcome(offer, whatsapp.OutcomeTombstoned)
		g.done(offer.Key)
	case admitted:
		g.outcome(offer, whatsapp.OutcomeDelivered)
		c.trace.webhook(offer, now)
		g.start(c)
	}
}

// place says where a customer's call may ring, or why not.
func (g *Gateway) place(e *running, o order, now time.Time) order {
	plan, err := e.router.inbound(inboundQuery{
		Number: o.number.Name, Caller: o.user.Number, UserID: o.user.UserID, Payload: o.payload, Now: now,
	})
	o.route, o.ring, o.hops = plan.Route, plan.RingTimeout, plan.Hops
	switch {
	case err != nil:
		o.refuse = NoRoute
	case plan.Reject:
		o.refuse = NotAllowed
	case !o.sent.IsZero() && now.Sub(o.sent) > e.cfg.Limits.AnswerWindow-leastRing:
		o.refuse = NoAnswer // Meta is about to give up
	default:
		o.refuse = g.capacity(e)
	}
	if o.refuse == NoCause {
		o.refuse = unreachable(e.clients[o.number.Name].Reachable())
	}
	return o
}

// unreachable is the cause for which no phone rings: Meta would not hear that it
// was answered.
func unreachable(err error) Cause {
	var barred *whatsapp.BarredError
	if !errors.As(err, &barred) || barred.Why == whatsapp.BarredThrottled && barred.Wait < preAcceptLimit {
		return NoCause
	}
	return causeOfBarred(barred)
}

// capacity says whether this node takes another call.
func (g *Gateway) capacity(e *running) Cause {
	switch {
	case g.draining.Load():
		return Draining
	case g.registry.placed() >= e.cfg.Limits.Calls, g.engine != nil && !g.engine.Admit():
		return Overloaded
	}
	return NoCause
}

// missed writes the record of a call that never rang. The intent comes first,
// so that the event's effect and its mark are one transaction.
func (g *Gateway) missed(offer whatsapp.Offer, number string, cause Cause) {
	now := time.Now()
	call := store.Call{
		ID: rand.Text(), Direction: inbound, Number: number, NumberID: offer.NumberID, User: offer.User.Number,
		UserID: offer.User.UserID, Name: offer.User.Name, Payload: payloadOf(offer), WACID: string(offer.CallID), StartedAt: now,
	}
	rec := store.Record{
		ID: call.ID, Direction: inbound, Number: number, User: call.User, UserID: call.UserID,
		WACID: call.WACID, Payload: call.Payload, StartedAt: now, EndedAt: now,
		Cause: cause.String(), EndedBy: "customer", Q850: cause.recordQ850(false), Node: g.current.Load().cfg.Node,
	}
	m := missedCall{call: call, record: rec, eventKey: offer.Key}
	if err := m.write(g.store); err != nil {
		g.log.Warn("missed call cannot be written down yet", slog.Any("error", err))
		g.beside(func() { m.insist(g.store, g.metrics, g.log) })
	}
	g.events.publish(now, callEnded(rec))
	g.events.publish(now, callMissed{Record: rec, Reason: cause.String(), WindowOpen: g.mayWrite(offer, now)})
	g.log.Info("call missed", slog.String("call", call.ID), slog.String("number", number), slog.String("cause", cause.String()))
}

// mayWrite says whether the customer service window is open after a call that
// may be told late: by the call, or by what the customer did since.
func (g *Gateway) mayWrite(offer whatsapp.Offer, now time.Time) bool {
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	known, err := g.store.Permission(ctx, offer.NumberID, offer.User.Callee())
	if err != nil { // then the call alone tells
		g.log.Warn("permission cannot be read", slog.Any("error", err))
	}
	called := offer.At
	if called.IsZero() {
		called = now
	}
	return known.Spoke(called).Spoken(now)
}

// news is anything later about a call: c where it has taken it. It reports
// whether the event is done with its effect on the ledger.
func (g *Gateway) news(ev whatsapp.Event) (c *Call, settled bool) {
	about := ev.About()
	c, dead := g.registry.find(about)
	if c != nil {
		c.trace.webhook(ev, time.Now())
	} else {
		g.traces.webhook(ev, time.Now())
	}
	if c != nil && c.post(hooked{ev}) {
		g.outcome(ev, whatsapp.OutcomeDelivered)
		return c, true
	}
	if c != nil { // it ended just now
		_, dead = g.registry.find(about)
	}
	end, isEnd := ev.(whatsapp.Terminate)
	stray, isStray := g.registry.stray(about.Tag, time.Now())
	switch {
	case dead:
		g.outcome(ev, whatsapp.OutcomeTombstoned)
		if isEnd {
			g.amend(end)
		}
		return nil, true
	case isStray:
		g.outcome(ev, whatsapp.OutcomeUnknown)
		return nil, g.straySeen(ev, stray)
	case isEnd:
		// Its offer may still come. The event stays undone, so that the next
		// run knows of it too.
		g.registry.bury(about.CallID, time.Now(), false)
		g.outcome(ev, whatsapp.OutcomeUnknown)
		return nil, false
	}
	g.outcome(ev, whatsapp.OutcomeUnknown)
	return nil, true
}

// amend adds what Meta says of a call that is over here already: the duration
// it bills, and its error.
func (g *Gateway) amend(ev whatsapp.Terminate) {
	code := 0
	for _, e := range ev.Errors {
		code = e.Code
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	if err := g.store.Amend(ctx, string(ev.CallID), int(ev.Duration/time.Second), code); err != nil {
		g.log.Warn("record cannot be amended", slog.Any("error", err))
	}
}

// lateNews takes a webhook whose call is written down already.
func (g *Gateway) lateNews(ev whatsapp.Event) {
	if s, ok := g.registry.stray(ev.About().Tag, time.Now()); ok {
		g.straySeen(ev, s)
		return
	}
	if end, ok := ev.(whatsapp.Terminate); ok {
		g.amend(end)
	}
}

// done marks an event whose effect needs no disk. Nobody waits for it.
func (g *Gateway) done(key string) {
	g.beside(func() {
		ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
		defer cancel()
		if err := g.store.Done(ctx, key); err != nil && !errors.Is(err, store.ErrClosed) {
			g.log.Warn("webhook event cannot be marked done", slog.Any("error", err))
		}
	})
}

func (g *Gateway) outcome(ev whatsapp.Event, o whatsapp.Outcome) { g.whatsapp.Outcome(ev.Kind(), o) }

// start gives a call its goroutine, unless the gateway is about to end: then
// its event stays undone, and the next run ends it.
func (g *Gateway) start(c *Call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.calls.Go(c.run)
	}
	return !g.closed
}

// over takes a call that is written down off the registry.
func (g *Gateway) over(c *Call) {
	if c.recorded && !c.written && c.order.eventKey != "" {
		g.done(c.order.eventKey) // the intent, which marks it, did not get to the disk
	}
	if c.final != nil {
		g.traces.over(c.trace, c.final.record, g.beside)
	}
	g.forget(c)
	g.passed(c)
}

// forget takes a call off the registry, and ends a drain that waits for it.
func (g *Gateway) forget(c *Call) {
	g.registry.remove(c, c.order.tag, c.lost, time.Now())
	if g.draining.Load() && g.registry.count() == 0 {
		g.idle()
	}
}
