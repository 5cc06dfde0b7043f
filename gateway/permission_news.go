package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"wagate/config"
	"wagate/whatsapp"
)

// apply tells the ledger what a webhook event says. An event that is settled but
// for that is marked done with its effect, in one transaction; another one may be
// applied again.
func (p *permissions) apply(ctx context.Context, ev whatsapp.Event, settled bool) error {
	about := ev.About()
	if !settled {
		about.Key = ""
	}
	switch ev := ev.(type) {
	case whatsapp.PermissionReply:
		return p.replied(ctx, about, ev)
	case whatsapp.MessageFailed:
		return p.undelivered(ctx, about, ev)
	case whatsapp.Spoke:
		return p.event(ctx, about, ev.User, func(old whatsapp.Permission) whatsapp.Permission { return old.Spoke(ev.At) })
	case whatsapp.UserMoved:
		return p.ledger.MoveCustomer(ctx, about.Key, ev.NumberID, ev.Old.Callee(), ev.New.Callee(), ev.At)
	case whatsapp.Offer:
		return p.event(ctx, about, ev.User, func(old whatsapp.Permission) whatsapp.Permission { return old.Spoke(ev.At) })
	case whatsapp.Status:
		return p.event(ctx, about, ev.User, func(old whatsapp.Permission) whatsapp.Permission {
			switch ev.State {
			case whatsapp.Ringing:
				return old.Rang(ev.CallID, ev.At)
			case whatsapp.Accepted:
				return old.Connected(ev.CallID, ev.At)
			case whatsapp.Rejected:
				return old.Rejected(ev.CallID, ev.At)
			}
			return old
		})
	case whatsapp.Terminate:
		return p.event(ctx, about, ev.User, func(old whatsapp.Permission) whatsapp.Permission { return endOfCall(old, ev) })
	case whatsapp.Answer: // nobody has done anything yet
	}
	return p.nothing(ctx, about)
}

// endOfCall is the end of a call, as Meta tells it.
func endOfCall(p whatsapp.Permission, ev whatsapp.Terminate) whatsapp.Permission {
	inbound := ev.Direction == whatsapp.UserInitiated
	switch {
	case inbound && !ev.Start.IsZero():
		return p.Answered(ev.Start)
	case inbound: // its offer said that the customer called
		return p
	case !ev.Start.IsZero():
		return p.Connected(ev.CallID, ev.Start)
	case ev.Failed && len(ev.Errors) > 0:
		return p // it was not for the customer to take, or was taken and broke
	}
	return p.Over(ev.CallID, ev.At)
}

// replied is a customer's word.
func (p *permissions) replied(ctx context.Context, about whatsapp.Meta, ev whatsapp.PermissionReply) error {
	p.metrics.replied(ev)
	return p.event(ctx, about, ev.User, func(old whatsapp.Permission) whatsapp.Permission { return old.Replied(ev) })
}

// undelivered is the end of a message, perhaps of one of ours.
func (p *permissions) undelivered(ctx context.Context, about whatsapp.Meta, ev whatsapp.MessageFailed) error {
	lost := false
	err := p.event(ctx, about, ev.User, func(old whatsapp.Permission) whatsapp.Permission {
		next := old.AskUndelivered(ev)
		lost = old.Pending && !next.Pending
		return next
	})
	if lost && err == nil {
		p.metrics.requests[askUndelivered].Inc()
		p.log.Warn("request for permission did not reach the customer", slog.String("user", mask(ev.User.Number)),
			slog.Int("code", ev.Code()), slog.String("hint", undeliveredHint(ev.Code())))
	}
	return err
}

// undeliveredHint is what an operator can do. The request counts all the same,
// so that another one has to wait.
func undeliveredHint(code int) string {
	const allow = "the customer can allow calls in the profile of the business, or call"
	if code == codeUndeliverable {
		return "the customer's app is too old for such a request, or cannot be reached: let it be updated; " + allow
	}
	return "look the code up at Meta; " + allow
}

// codeUndeliverable is Meta's code for an app that cannot show a request.
const codeUndeliverable = 131026

// event applies what an event says of the customer, and marks it done where it
// has a key.
func (p *permissions) event(
	ctx context.Context, about whatsapp.Meta, user whatsapp.User, change func(whatsapp.Permission) whatsapp.Permission,
) error {
	if user.Number == "" && user.UserID == "" {
		if about.CallID == "" { // a call knows whom it is with, and tells us itself
			p.log.Warn("event is about nobody", slog.String("event", about.Key))
		}
		return p.nothing(ctx, about)
	}
	_, err := p.change(ctx, about.Key, about.NumberID, user.Callee(), about.At, about.At, change)
	return err
}

// nothing marks an event that says nothing of anybody.
func (p *permissions) nothing(ctx context.Context, about whatsapp.Meta) error {
	if about.Key == "" {
		return nil
	}
	return p.ledger.Done(ctx, about.Key)
}

// connected, rejected, unanswered and answered are what a call knows of its
// end. Meta's webhooks say the same; whichever comes first, and however often,
// a call counts once. unanswered is for a call that rang.
func (p *permissions) connected(ctx context.Context, numberID string, who whatsapp.Callee, id whatsapp.CallID, at time.Time) error {
	return p.note(ctx, numberID, who, at, func(old whatsapp.Permission) whatsapp.Permission { return old.Connected(id, at) })
}

func (p *permissions) rejected(ctx context.Context, numberID string, who whatsapp.Callee, id whatsapp.CallID, at time.Time) error {
	return p.note(ctx, numberID, who, at, func(old whatsapp.Permission) whatsapp.Permission { return old.Rejected(id, at) })
}

func (p *permissions) unanswered(ctx context.Context, numberID string, who whatsapp.Callee, id whatsapp.CallID, at time.Time) error {
	return p.note(ctx, numberID, who, at, func(old whatsapp.Permission) whatsapp.Permission { return old.Unanswered(id, at) })
}

// answered is a customer's call that we took.
func (p *permissions) answered(ctx context.Context, numberID string, who whatsapp.Callee, at time.Time) error {
	return p.note(ctx, numberID, who, at, func(old whatsapp.Permission) whatsapp.Permission { return old.Answered(at) })
}

func (p *permissions) note(
	ctx context.Context, numberID string, who whatsapp.Callee, at time.Time, change func(whatsapp.Permission) whatsapp.Permission,
) error {
	_, err := p.change(ctx, "", numberID, who, time.Time{}, at, change)
	return err
}

// refusedCall learns from Meta's refusal of a call that the ledger had allowed.
// What it does not concern it ignores.
func (p *permissions) refusedCall(ctx context.Context, number config.Number, who whatsapp.Callee, err error, now time.Time) error {
	var api *whatsapp.APIError
	if !errors.As(err, &api) {
		return nil
	}
	var learn func(whatsapp.Permission) whatsapp.Permission
	switch api.Code {
	case whatsapp.CodeNoConsent:
		learn = func(old whatsapp.Permission) whatsapp.Permission {
			return old.Learned(whatsapp.PermissionState{From: now.Add(-metaClock), To: now.Add(metaClock)})
		}
	case whatsapp.CodeCallLimit:
		until := api.Until(now)
		if until.IsZero() {
			until = now.Add(limitRest)
		}
		learn = func(old whatsapp.Permission) whatsapp.Permission { return old.CallsHeld(now, until) }
	default:
		return nil
	}
	is, failed := p.change(ctx, "", number.PhoneNumberID, who, time.Time{}, now, learn)
	if failed == nil {
		p.metrics.denied(is.MayCall(now, p.rules()))
	}
	return failed
}

// change changes the ledger, and tells of a permission that is another then.
func (p *permissions) change(
	ctx context.Context, key, numberID string, who whatsapp.Callee, seen, now time.Time,
	change func(whatsapp.Permission) whatsapp.Permission,
) (is whatsapp.Permission, err error) {
	was, is, err := p.ledger.ApplyPermission(ctx, key, numberID, who, seen, change)
	if err == nil && was.State(now) != is.State(now) {
		p.tell(consentChange{numberID, who, was.State(now), is.State(now), false})
	}
	if err == nil && p.granted != nil && !is.GrantedAt.Equal(was.GrantedAt) {
		p.granted(numberID, who)
	}
	return is, err
}

func (p *permissions) tell(n consentChange) {
	if p.changed != nil {
		p.changed(n)
	}
}
