package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// noteLimit bounds what the ledger is told beside a call or a webhook.
const noteLimit = 5 * time.Second

// allowed says whether a customer may be called. Where the answer is no for lack
// of permission, the customer is asked, if the configuration wants that.
func (g *Gateway) allowed(ctx context.Context, o order) error {
	now := time.Now()
	err := g.permissions.mayCall(ctx, o.number, o.user.Callee(), now)
	no := denialOf(err)
	switch {
	case err == nil:
		return nil
	case no == nil:
		return &deniedError{cause: StoreFailed, reason: err.Error(), retryAfter: storeRetry}
	case no.Limited():
		return &deniedError{cause: Limited, reason: no.Error(), retryAfter: untilAgain(no.Again, now), perUser: true}
	}
	if no.Askable() {
		g.askLater(o, no.Reason)
	}
	return &deniedError{cause: NoPermission, reason: no.Error(), wordless: !no.Askable()}
}

// ask asks the customer of a call for permission.
func (g *Gateway) ask(o order) error {
	err := g.permissions.ask(context.Background(), o.number, o.user.Callee(), time.Now())
	switch {
	case denialOf(err) != nil: // the limits of asking
		g.log.Debug("customer is not asked", slog.String("number", o.number.Name), slog.Any("reason", err))
	case err != nil:
		g.log.Warn("customer cannot be asked for permission", slog.String("number", o.number.Name), slog.Any("error", err))
	default:
		g.log.Info("customer is asked for permission", slog.String("number", o.number.Name), slog.String("user", mask(o.user.Number)))
	}
	return err
}

// tellLedger applies a webhook event to the permissions. One that is settled but
// for that stays undone until its effect is on disk, and runs again at the next
// start. c is the call that has taken it, if one has.
func (g *Gateway) tellLedger(ev whatsapp.Event, c *Call, settled bool) {
	settled = settled && !c.tooLate()
	g.beside(func() {
		contain(g.metrics, g.log, func() {
			named := g.keepName(c, ev.About().CallID)
			ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
			defer cancel()
			if err := g.permissions.apply(ctx, ev, settled && named); err != nil && !errors.Is(err, store.ErrClosed) {
				g.log.Warn("permissions do not know of an event yet", slog.String("kind", string(ev.Kind())), slog.Any("error", err))
			}
		})
	})
}

// tooLate says whether a call that we placed may be written down without its
// name, although an event that it has taken tells it.
func (c *Call) tooLate() bool {
	if c == nil || c.order.direction == inbound || c.kept.Load() {
		return false
	}
	v := c.view.Load()
	return v != nil && v.phase == Ended
}

// keepName puts Meta's id of a call that we placed on disk, and reports whether
// it is there: not before may the event that told it be marked done. Else a crash
// would leave a call that nobody can end until Meta tells more of it.
func (g *Gateway) keepName(c *Call, id whatsapp.CallID) bool {
	if c == nil || c.order.direction == inbound || id == "" || c.kept.Load() {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	if g.store.Progress(ctx, c.id, store.Progress{WACID: string(id)}) != nil {
		return false // that it has ended does not mean that its record has the name
	}
	c.kept.Store(true)
	return true
}

// connectAsked learns from Meta's refusal of a call that the ledger had allowed.
func (g *Gateway) connectAsked(o order, err error) {
	if err == nil {
		return
	}
	g.note(func(ctx context.Context) error {
		refused := g.permissions.refusedCall(ctx, o.number, o.user.Callee(), err, time.Now())
		if refused == nil && metaCode(err) == whatsapp.CodeNoConsent {
			g.askLater(o, whatsapp.ReasonRevoked) // as if we had known
		}
		return refused
	})
}

// talked tells the ledger how a call ended. Meta's webhooks say the same;
// whichever comes first, it counts once.
func (g *Gateway) talked(o order, r store.Record) {
	id, who, number := whatsapp.CallID(r.WACID), o.user.Callee(), o.number.PhoneNumberID
	answered := !r.AnsweredAt.IsZero()
	switch {
	case o.direction == inbound && answered:
		g.note(func(ctx context.Context) error { return g.permissions.answered(ctx, number, who, r.AnsweredAt) })
	case o.direction == inbound:
	case answered:
		g.note(func(ctx context.Context) error { return g.permissions.connected(ctx, number, who, id, r.AnsweredAt) })
	case r.Cause == Declined.String() && r.EndedBy == "customer": // and not the agent
		g.note(func(ctx context.Context) error { return g.permissions.rejected(ctx, number, who, id, r.EndedAt) })
	case !r.RingingAt.IsZero():
		g.note(func(ctx context.Context) error { return g.permissions.unanswered(ctx, number, who, id, r.EndedAt) })
	}
}

func (g *Gateway) note(change func(ctx context.Context) error) {
	g.beside(func() {
		contain(g.metrics, g.log, func() {
			ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
			defer cancel()
			if err := change(ctx); err != nil && !errors.Is(err, store.ErrClosed) {
				g.log.Warn("permissions do not know of a call", slog.Any("error", err))
			}
		})
	})
}

// consentChanged tells subscribers that a customer's permission is another one.
func (g *Gateway) consentChanged(n consentChange) {
	_, number, ok := g.numberOf(n.numberID)
	if !ok {
		return
	}
	g.beside(func() {
		ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
		defer cancel()
		known, err := g.store.Permission(ctx, n.numberID, n.who)
		if err != nil {
			return
		}
		now := time.Now()
		news := permissionNews{
			Number: number.Name, User: n.who.Number, UserID: n.who.UserID,
			permissionView: viewPermission(known, now, g.current.Load().cfg.Permissions),
		}
		if n.asked {
			g.events.publish(now, permissionRequested(news))
		} else {
			g.events.publish(now, permissionChanged(news))
		}
	})
}

// consents is the permissions as the API asks for them.
type consents struct{ g *Gateway }

func (c consents) view(ctx context.Context, number string, user whatsapp.User) (permissionView, error) {
	n, ok := c.g.current.Load().cfg.Number(number)
	if !ok {
		return permissionView{}, &refusedError{why: refuseUnknownNumber, reason: "no number of the configuration has this name"}
	}
	return c.g.permissions.state(ctx, n, user.Callee(), time.Now())
}

func (c consents) request(ctx context.Context, number string, user whatsapp.User) (permissionView, error) {
	n, ok := c.g.current.Load().cfg.Number(number)
	if !ok {
		return permissionView{}, &refusedError{why: refuseUnknownNumber, reason: "no number of the configuration has this name"}
	}
	now := time.Now()
	if err := c.g.permissions.ask(ctx, n, user.Callee(), now); err != nil {
		return permissionView{}, refusedAsk(err)
	}
	return c.g.permissions.state(ctx, n, user.Callee(), now)
}

// refusedAsk says why a customer was not asked, in the words of the API.
func refusedAsk(err error) error {
	no := denialOf(err)
	var api *whatsapp.APIError
	var barred *whatsapp.BarredError
	switch {
	case no != nil && no.Reason == whatsapp.ReasonGranted:
		return &refusedError{why: refusePermitted, reason: no.Error()}
	case no != nil && no.Reason == whatsapp.ReasonUnanswered:
		return &refusedError{why: refuseUnanswered, reason: no.Error()}
	case no != nil:
		return &refusedError{why: refuseLimited, reason: no.Error(), next: no.NextAsk, expires: no.Expires}
	case errors.Is(err, whatsapp.ErrNoTemplate):
		return &refusedError{why: refuseNotAllowed, reason: "outside the customer's service window a template is needed: set permissions.request.template"}
	case errors.As(err, &api):
		return refusedFor(causeOfMeta(api.Code), api.Error())
	case errors.As(err, &barred):
		return &refusedError{why: refusal(causeOfBarred(barred).String()), reason: err.Error(), retryAfter: barred.Wait}
	case errors.Is(err, whatsapp.ErrNotSent):
		return refusedFor(APIDown, err.Error())
	case errors.Is(err, whatsapp.ErrUnknown):
		return refusedFor(APITimeout, err.Error())
	}
	return err
}
