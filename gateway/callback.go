package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/whatsapp"
)

// grantSlack is how much earlier than the refused call its grant may seem to be:
// clocks differ, and Meta's tells whole seconds. A grant that was there before
// is older by far, else there would have been no refusal.
const grantSlack = time.Minute

// What becomes of callbacks, as a label.
const (
	callbackKept    = "kept"    // promised to an agent
	callbackCalled  = "called"  // the agent's phone was called
	callbackDropped = "dropped" // it could not be placed when the customer granted
)

// askLater sees to the customer whom an agent may not call, while the agent
// hears so: the customer is asked, and the agent is promised a callback. The
// promise is on disk before the request leaves, so that no grant comes too
// early for it; it is taken back where nobody is asked.
func (g *Gateway) askLater(o order, why whatsapp.Reason) {
	rules := g.current.Load().cfg.Permissions
	promised := rules.Callback && !o.summoned && (rules.AutoRequest || why == whatsapp.ReasonRequested)
	if !promised && !rules.AutoRequest {
		return
	}
	g.beside(func() {
		contain(g.metrics, g.log, func() {
			var promise store.Callback
			if promised {
				promise, promised = g.promise(o, rules)
			}
			if promised && g.awaited(o) == nil {
				g.callBack(o.number.PhoneNumberID, o.user.Callee()) // the grant came meanwhile
				return
			}
			if !rules.AutoRequest {
				return // asked before
			}
			if err := g.ask(o); err == nil || !promised {
				return
			}
			switch no := denialOf(g.awaited(o)); {
			case no == nil:
				g.callBack(o.number.PhoneNumberID, o.user.Callee())
			case no.Reason != whatsapp.ReasonRequested:
				g.withdraw(promise)
			}
		})
	})
}

// awaited is what the ledger says just now of the customer.
func (g *Gateway) awaited(o order) error {
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	return g.permissions.noted(ctx, o.number, o.user.Callee(), time.Now())
}

// passed looks after the callbacks that had to wait for a call with the
// customer: a grant comes while an agent hears why not, or while the customer
// talks to somebody else.
func (g *Gateway) passed(c *Call) {
	if !g.calling.Load() || !g.current.Load().cfg.Permissions.Callback {
		return
	}
	g.beside(func() {
		contain(g.metrics, g.log, func() {
			number, who := c.order.number.PhoneNumberID, c.order.user.Callee()
			switch {
			case c.order.callback != 0:
				g.used(number, who, c.order.sent)
			case g.awaited(c.order) == nil:
				g.callBack(number, who)
			}
		})
	})
}

// used takes back what was promised about a customer before one of those agents
// was called back: a grant is not for a row of calls.
func (g *Gateway) used(number string, who whatsapp.Callee, at time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	waiting, err := g.store.CallbacksOf(ctx, number, who, time.Now())
	if err != nil {
		g.log.Error("callbacks cannot be read", slog.Any("error", err))
	}
	for _, c := range waiting {
		if c.Since.Before(at) {
			g.drop(c, errCustomerTaken)
		}
	}
}

// promise writes down that the agent is to be called back. An agent is who is
// named in the INVITE; a name that cannot be dialled, or not by us, gets no
// callback.
func (g *Gateway) promise(o order, rules config.Permissions) (store.Callback, bool) {
	e := g.current.Load()
	if trunk, ok := e.cfg.Trunk(o.trunk); !ok || !agentPattern.MatchString(o.agent) || e.env.mayRing(trunk, o.agent) != "" {
		g.log.Debug("agent cannot be called back", slog.String("trunk", o.trunk))
		return store.Callback{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	now := time.Now()
	c, err := g.store.KeepCallback(ctx, store.Callback{
		Number: o.number.PhoneNumberID, User: o.user.Number, UserID: o.user.UserID, Trunk: o.trunk, Agent: o.agent,
		Since: now, Expires: now.Add(rules.CallbackWithin),
	})
	if err != nil {
		g.log.Warn("callback cannot be written down, so there will be none", slog.String("agent", o.agent), slog.Any("error", err))
		return c, false
	}
	g.metrics.callbacks.WithLabelValues(callbackKept).Inc()
	return c, true
}

// withdraw takes a promise back.
func (g *Gateway) withdraw(c store.Callback) (was bool) {
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	was, err := g.store.DropCallback(ctx, c)
	if err != nil && !errors.Is(err, store.ErrClosed) {
		g.log.Warn("callback cannot be taken off the book", slog.Any("error", err))
	}
	return was
}

// granted carries out what agents were promised, when a customer has allowed
// calls. Before Run nobody is called; resume looks at the whole book.
func (g *Gateway) granted(numberID string, who whatsapp.Callee) {
	if !g.calling.Load() || !g.current.Load().cfg.Permissions.Callback {
		return
	}
	g.beside(func() { contain(g.metrics, g.log, func() { g.callBack(numberID, who) }) })
}

// callBack calls an agent who waits for a customer, when it is their turn. The
// latest comes first, and the others get nothing: Meta lets one of them talk to
// the customer, and a grant is not for a row of calls.
func (g *Gateway) callBack(numberID string, who whatsapp.Callee) {
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	waiting, err := g.store.CallbacksOf(ctx, numberID, who, time.Now())
	if err != nil {
		g.log.Error("callbacks cannot be read", slog.Any("error", err))
		return
	}
	for i, c := range waiting {
		if !g.mayPlace(c) {
			continue // all wait on, or there is time for one that was promised later
		}
		switch g.fulfil(c) {
		case nextOne:
			continue
		case noneNow:
		case customerTaken:
			for _, other := range waiting[i+1:] {
				g.drop(other, errCustomerTaken)
			}
		}
		return
	}
}

var errCustomerTaken = errors.New("somebody else talks to the customer")

// fulfilment says what an attempt to keep a promise means for the other agents
// who wait for the customer.
type fulfilment uint8

const (
	nextOne       fulfilment = iota // this agent cannot be called, so it is their turn
	customerTaken                   // one of them is called, and there is no call for the others
	noneNow                         // all of them wait on
)

// resume carries out what an earlier run has promised, where the customer has
// allowed calls while nobody was there to hear it.
func (g *Gateway) resume(ctx context.Context) {
	g.calling.Store(true)
	if !g.current.Load().cfg.Permissions.Callback {
		return
	}
	waiting, err := g.store.Callbacks(ctx, time.Now())
	if err != nil {
		g.log.Error("callbacks cannot be read", slog.Any("error", err))
		return
	}
	for _, c := range waiting {
		if ctx.Err() != nil {
			return
		}
		known, err := g.store.Permission(ctx, c.Number, whatsapp.Callee{Number: c.User, UserID: c.UserID})
		if err != nil {
			g.log.Error("callback cannot be checked", slog.Any("error", err))
		} else if known.GrantedAt.After(c.Since.Add(-grantSlack)) {
			g.granted(c.Number, whatsapp.Callee{Number: c.User, UserID: c.UserID})
		}
	}
}

// fulfil calls an agent back. The promise is taken with the commit that writes
// the call down, so a crash, or the same grant told twice, makes no second call:
// a crash before it leaves the promise, and one after it a call, which the next
// start ends and records. What cannot be placed is not tried again, unless it is
// for a call with the customer, which ends some time.
func (g *Gateway) fulfil(c store.Callback) fulfilment {
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	log := g.log.With(slog.String("trunk", c.Trunk), slog.String("agent", c.Agent))
	call, err := g.placeCallback(ctx, c)
	var no *refusedError
	switch {
	case err == nil:
		g.metrics.callbacks.WithLabelValues(callbackCalled).Inc()
		log.Info("agent is called back", slog.String("call", call.id))
		return customerTaken
	case errors.Is(err, store.ErrTaken):
		return customerTaken
	case errors.As(err, &no) && no.why == refuseDraining:
		log.Info("callback is left to the next start")
		return noneNow
	case errors.As(err, &no) && no.why == refuseNoPermission:
		log.Debug("callback waits for another grant")
		return noneNow
	case errors.As(err, &no) && no.why == refuseBusy:
		log.Debug("callback waits for the end of a call with the customer")
		return noneNow
	}
	g.drop(c, err)
	return nextOne
}

// drop takes back a promise that is not kept.
func (g *Gateway) drop(c store.Callback, why error) {
	if g.withdraw(c) {
		g.metrics.callbacks.WithLabelValues(callbackDropped).Inc()
		g.log.Warn("agent is not called back", slog.String("trunk", c.Trunk), slog.String("agent", c.Agent), slog.Any("error", why))
	}
}

func (g *Gateway) placeCallback(ctx context.Context, c store.Callback) (*Call, error) {
	e, number, ok := g.numberOf(c.Number)
	if !ok {
		return nil, &refusedError{why: refuseUnknownNumber, reason: "the business number has left the configuration"}
	}
	d := dialRequest{
		Number: number.Name, To: plus(c.User), User: whatsapp.User{Number: c.User, UserID: c.UserID}, Trunk: c.Trunk, Agent: c.Agent,
	}
	if d.To == "" {
		d.To = c.UserID
	}
	now := time.Now()
	o, err := g.summonOrder(e, d, now)
	if err != nil {
		return nil, err
	}
	o.callback = c.ID
	if err := g.permissions.mayCall(ctx, number, o.user.Callee(), now); err != nil {
		if no := denialOf(err); no != nil && no.Askable() {
			return nil, refusedFor(NoPermission, no.Error())
		}
		return nil, err
	}
	return g.summon(ctx, e, o)
}
