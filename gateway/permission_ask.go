package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"wagate/config"
	"wagate/whatsapp"
)

const (
	// askTimeout is how long a request for permission may take in all.
	askTimeout = 12 * time.Second
	// askRest is how long a customer is not asked after Meta refused to, if
	// Meta does not say how long.
	askRest = time.Minute
	// limitRest is the same after Meta said that a limit is reached.
	limitRest = time.Hour
)

// ask asks a customer for permission to call. It returns once Meta has taken
// the message, and keeps to the limits whoever else asks at the same time: the
// request is counted on disk before it is sent. A *whatsapp.PermissionError is
// a no of the limits, or says that permission is there for good;
// whatsapp.ErrNoTemplate, that a template is needed. Otherwise it is Meta that
// refuses, or nobody knows.
func (p *permissions) ask(ctx context.Context, number config.Number, who whatsapp.Callee, now time.Time) error {
	rules := p.rules()
	graph := p.graph(number.Name)
	if graph == nil {
		return fmt.Errorf("request permission: there is no number %s", number.Name)
	}
	// A caller that goes away must not leave a slot taken and nothing sent.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	defer p.flights.begin()()
	known, err := p.ledger.Permission(ctx, number.PhoneNumberID, who)
	if err != nil {
		p.metrics.requests[askFailed].Inc()
		return fmt.Errorf("look up permission: %w", err)
	}
	if known.ReadAt.IsZero() {
		known = p.learn(ctx, number, who, known, now)
	}
	var kind whatsapp.AskKind
	var taken whatsapp.Permission
	err = p.flights.land(who, func() (err error) {
		taken, err = p.ledger.TakeRequest(ctx, number.PhoneNumberID, who, func(old whatsapp.Permission) (whatsapp.Permission, error) {
			if err := old.MayAsk(now, rules); err != nil {
				return old, err
			}
			if kind = old.AskKind(now); kind == whatsapp.Template && rules.Request.Template.Name == "" {
				return old, whatsapp.ErrNoTemplate
			}
			return old.Asked(now), nil
		})
		return err
	})
	switch {
	case denialOf(err) != nil:
		p.metrics.requests[askLimited].Inc()
		return err
	case errors.Is(err, whatsapp.ErrNoTemplate):
		p.metrics.requests[askNoTemplate].Inc()
		return err
	case err != nil:
		p.metrics.requests[askFailed].Inc()
		return fmt.Errorf("take a request: %w", err)
	}
	return p.send(ctx, graph, number, who, kind, known.State(now), taken.AskedAt, now)
}

// send sends the request that was counted at slot, and gives that back if it
// surely did not leave.
func (p *permissions) send(
	ctx context.Context, graph asker, number config.Number, who whatsapp.Callee, kind whatsapp.AskKind,
	before whatsapp.Consent, slot, now time.Time,
) error {
	words := p.rules().Request
	receipt, err := graph.RequestPermission(ctx, who, kind, words, whatsapp.AskTag(slot))
	if kind == whatsapp.FreeForm && metaCode(err) == whatsapp.CodeNeedTemplate && words.Template.Name != "" {
		// Meta sees the customer's last message longer ago than we do.
		receipt, err = graph.RequestPermission(ctx, who, whatsapp.Template, words, whatsapp.AskTag(slot))
	}
	switch {
	case err == nil:
		p.metrics.requests[askSent].Inc()
		if receipt.User.Number != "" && receipt.User.UserID != "" {
			who = receipt.User.Callee() // Meta tells who is who
		}
		saved := p.flights.land(who, func() error {
			_, is, err := p.ledger.ApplyPermission(ctx, "", number.PhoneNumberID, who, now, func(old whatsapp.Permission) whatsapp.Permission {
				return old.AskSent(slot, receipt.MessageID)
			})
			p.tell(consentChange{number.PhoneNumberID, who, before, is.State(now), true})
			return err
		})
		if saved != nil {
			p.log.Warn("sent request cannot be written down", slog.String("number", number.Name), slog.Any("error", saved))
		}
		return nil
	case !whatsapp.Sent(err):
		p.metrics.requests[askNotSent].Inc()
		p.giveBack(ctx, number, who, slot, now, time.Time{})
	case metaRefused(err):
		p.metrics.requests[askRefused].Inc()
		p.giveBack(ctx, number, who, slot, now, restAfter(err, now))
		p.learnFrom(ctx, number, who, err, now)
	default:
		p.metrics.requests[askUnknown].Inc()
	}
	return fmt.Errorf("request permission: %w", err)
}

// giveBack uncounts a request, and asks no more for a while.
func (p *permissions) giveBack(ctx context.Context, number config.Number, who whatsapp.Callee, slot, now, until time.Time) {
	err := p.flights.land(who, func() error {
		_, err := p.change(ctx, "", number.PhoneNumberID, who, time.Time{}, now, func(old whatsapp.Permission) whatsapp.Permission {
			return old.AskFailed(slot, now, until)
		})
		return err
	})
	if err != nil {
		p.log.Warn("failed request still counts", slog.String("number", number.Name), slog.Any("error", err))
	}
}

// learnFrom asks Meta for what its refusal does not tell.
func (p *permissions) learnFrom(ctx context.Context, number config.Number, who whatsapp.Callee, err error, now time.Time) {
	switch metaCode(err) {
	case whatsapp.CodeAskLimit, whatsapp.CodePermanent:
		if known, err := p.ledger.Permission(ctx, number.PhoneNumberID, who); err == nil {
			p.learn(ctx, number, who, known, now)
		}
	}
}

// metaRefused says whether Meta has surely not sent anything. A server error
// says little about that.
func metaRefused(err error) bool {
	var api *whatsapp.APIError
	return errors.As(err, &api) && api.Status < http.StatusInternalServerError
}

// restAfter returns until when a customer is not asked after Meta refused.
func restAfter(err error, now time.Time) time.Time {
	var api *whatsapp.APIError
	if !errors.As(err, &api) {
		return time.Time{}
	}
	if until := api.Until(now); !until.IsZero() {
		return until
	}
	switch api.Code {
	case whatsapp.CodeAskLimit:
		return now.Add(limitRest)
	case whatsapp.CodePermanent:
		return time.Time{}
	}
	return now.Add(askRest)
}

func metaCode(err error) int {
	var api *whatsapp.APIError
	if errors.As(err, &api) {
		return api.Code
	}
	return 0
}
