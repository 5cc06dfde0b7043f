package fakemeta

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotAsked says that a user has no request that can still be answered.
var ErrNotAsked = errors.New("there is no request to answer")

// Consent is what a user does with call permission requests.
type Consent struct {
	Answer Answer
	// After is how long the user thinks, in real time: Options.Clock is not
	// waited for.
	After   time.Duration
	OldApp  bool // the app is too old for requests: they fail with 131026
	Offline bool // the phone is off: requests are sent and never delivered
}

// at finds the row of the business number ("": the first) and the user, and
// runs f on it under the ledger's lock.
func (s *Server) at(who, numberID string, f func(p *pair, now time.Time)) error {
	n := s.number(cmp.Or(numberID, s.opts.PhoneNumberID))
	if n == nil {
		return fmt.Errorf("number %s: no such phone-number id", numberID)
	}
	u := s.named(who)
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	f(s.pair(n, u), s.now())
	return nil
}

// Write lets the user write to the first business number, which opens the
// customer service window. It returns the message's id.
func (s *Server) Write(who, text string) string {
	id := newMessageID()
	_ = s.at(who, "", func(p *pair, now time.Time) {
		p.window = now.Add(windowLife)
		s.tell(p, p.textHook(now, id, text))
	})
	return id
}

// Grant lets the user allow calls in the profile of the first business number:
// permanently, as nothing else is offered there.
func (s *Server) Grant(who string) { s.GrantTo("", who) }

// GrantTo is Grant for the business number with that phone-number id; "" stands
// for the first.
func (s *Server) GrantTo(numberID, who string) {
	_ = s.at(who, numberID, func(p *pair, now time.Time) {
		p.grant(now, true, s.opts.Rules)
		s.tell(p, p.replyHook(now, GrantPermanent, "", false))
	})
}

// Revoke lets the user forbid calls in the profile of the first business
// number. The webhook is the one of a declined request without a context; Meta
// shows no sample of it.
func (s *Server) Revoke(who string) {
	_ = s.at(who, "", func(p *pair, now time.Time) {
		p.forbid(Revoked)
		s.tell(p, p.replyHook(now, Decline, "", false))
	})
}

// Permit gives a user permission to be called by every business number, or
// takes it, without a word to anybody. Without Options.StrictPermissions a user
// who may be called is under no rule at all; with it, the permission is a
// permanent one.
func (s *Server) Permit(who string, allowed bool) {
	for i := range s.opts.Numbers {
		_ = s.at(who, s.opts.Numbers[i].ID, func(p *pair, now time.Time) {
			if allowed {
				p.grant(now, true, s.opts.Rules)
				p.ruled = s.opts.StrictPermissions
			} else {
				p.forbid(NotPermitted)
			}
		})
	}
}

// Answer lets the user answer the newest request of the first business number
// that can be answered, at once. A user may change the answer until the request
// expires. Ignore is no answer and does nothing.
func (s *Server) Answer(who string, a Answer) error { return s.answer(who, "", a) }

// AnswerTo is Answer for the request with that message id.
func (s *Server) AnswerTo(who, messageID string, a Answer) error { return s.answer(who, messageID, a) }

func (s *Server) answer(who, messageID string, a Answer) error {
	err := ErrNotAsked
	_ = s.at(who, "", func(p *pair, now time.Time) {
		for i := len(p.asks) - 1; i >= 0; i-- {
			if ask := p.asks[i]; ask.open(now) && (messageID == "" || ask.ID == messageID) {
				s.take(p, ask, a, now)
				err = nil
				return
			}
		}
	})
	if err != nil {
		return fmt.Errorf("answer of %s: %w", who, err)
	}
	return nil
}

// WaitMessage returns the first message that was taken for the user with that
// number or user id, once there is one.
func (s *Server) WaitMessage(ctx context.Context, who string) (Request, error) {
	number := s.named(who).Number
	return s.requests.wait(ctx, "message to "+who, func(r Request) bool {
		return r.Action == "messages" && r.Done && s.named(r.To).Number == number
	})
}

// take notes an answer and tells it. The ledger's lock is held.
func (s *Server) take(p *pair, ask *Ask, a Answer, now time.Time) {
	if a == Ignore {
		return
	}
	p.reply(ask, a, now, s.opts.Rules)
	s.tell(p, p.replyHook(now, a, ask.ID, false))
}

// receive is the way of a request to the user, and what the user does with it.
// The ledger's lock is held.
func (s *Server) receive(p *pair, m message, ask *Ask, c Consent, now time.Time) {
	if m.fail != 0 {
		s.tell(p, p.statusHook(now, m, KindFailed))
		return
	}
	s.tell(p, p.statusHook(now, m, KindSent))
	if c.Offline {
		return
	}
	s.tell(p, p.statusHook(now, m, KindDelivered))
	if ask == nil {
		return
	}
	ask.Delivered = now
	if c.Answer == Ignore {
		return
	}
	s.spawn(func() {
		s.pause(s.ctx, c.After)
		if s.ctx.Err() != nil {
			return
		}
		s.ledger.mu.Lock()
		defer s.ledger.mu.Unlock()
		if now := s.now(); ask.open(now) {
			s.take(p, ask, c.Answer, now)
		}
	})
}
