package fakemeta

import (
	"context"
	"strings"
	"time"
)

// Callee is how a user behaves who is called by the business.
type Callee struct {
	User    User          // who it is; the number is the one that was dialled
	Ring    time.Duration // until the phone rings
	Answer  time.Duration // picks up so long after the ringing began; 0 with the others 0: after a second
	Reject  time.Duration // declines so long after it
	Never   bool          // lets it ring
	Setup   string        // DTLS role of Meta's answer: active or passive; default passive
	LateSDP bool          // RINGING before the connect webhook
	Sound   Sound
}

// Callee says how the user with that number or user id behaves from now on; ""
// stands for everybody else.
func (s *Server) Callee(who string, c Callee) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callees[strings.TrimPrefix(who, "+")] = c
}

// Permit gives or takes a user's permission to be called. Everybody is
// permitted until told otherwise.
func (s *Server) Permit(who string, allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if who = strings.TrimPrefix(who, "+"); allowed {
		delete(s.denied, who)
	} else {
		s.denied[who] = struct{}{}
	}
}

// WaitCallee returns the call to the user with that number or user id, once
// there is one. One that is over counts only if none is up.
func (s *Server) WaitCallee(ctx context.Context, who string) (*Customer, error) {
	who = strings.TrimPrefix(who, "+")
	var found *Customer
	_, err := s.requests.wait(ctx, "call to "+who, func(r Request) bool {
		if r.Action != "connect" || !r.Done {
			return false
		}
		c := s.call(r.CallID)
		if c == nil || c.user.Number != who && c.user.UserID != who {
			return false
		}
		found = c
		return c.State() != Ended
	})
	if found != nil {
		return found, nil
	}
	return nil, err
}

// connect is a call that the business makes.
func (s *Server) connect(n *Number, req callRequest) (outcome, *graphError) {
	who := strings.TrimPrefix(req.To, "+")
	switch {
	case who == "" && req.Recipient == "":
		return outcome{}, invalid("to or recipient is missing")
	case who != "" && strings.Trim(who, "0123456789") != "":
		return outcome{}, invalid("to is not a phone number")
	case req.CallID != "":
		return outcome{}, invalid("call_id is not allowed with connect")
	case req.Session.Type != "offer":
		return outcome{}, invalid("session.sdp_type must be \"offer\"")
	case len([]rune(req.Tag)) > maxTag:
		return outcome{}, invalid("biz_opaque_callback_data is longer than 512 characters")
	}
	offer, fail := readSDP(req.Session.SDP, nil)
	if fail != nil {
		return outcome{}, fail
	}
	behave, fail := s.reach(n, who, req.Recipient)
	if fail != nil {
		return outcome{}, fail
	}
	c := s.newCustomer(n, behave.User)
	c.outbound, c.behave, c.tag, c.answer = true, behave, req.Tag, req.Session.SDP
	local := s.answerTo(offer, behave.Setup)
	at, err := c.openMedia(s.ctx, local, behave.Sound, NoIPv6)
	if err == nil {
		err = s.enter(c)
	}
	if err != nil {
		return outcome{}, &graphError{status: 500, code: 138004, message: "(#138004) Connection error", details: err.Error()}
	}
	c.peer.begin(offer)
	answer := c.connectHook("answer", local.text(c.peer.voice.ssrc, at))
	if behave.LateSDP {
		s.deliver(c, c.statusHook(KindRinging))
	}
	s.deliver(c, answer)
	type call struct {
		ID string `json:"id"`
	}
	body := map[string]any{"messaging_product": "whatsapp", "calls": []call{{c.id}}}
	return outcome{body: body, callID: c.id}, nil
}

// reach finds the callee and whether it may be called.
func (s *Server) reach(n *Number, number, id string) (Callee, *graphError) {
	s.mu.Lock()
	behave, ok := s.callees[number]
	if !ok || number == "" {
		if behave, ok = s.callees[id]; !ok {
			behave = s.callees[""]
		}
	}
	_, denied := s.denied[number]
	_, deniedID := s.denied[id]
	s.mu.Unlock()
	if denied || deniedID {
		return behave, errNoPermission()
	}
	if number != "" {
		behave.User.Number = number
	}
	if behave.User.UserID == "" {
		behave.User.UserID = id
	}
	behave.User = s.fill(behave.User)
	for _, b := range s.Open() {
		if b.Number.ID == n.ID && b.User.UserID == behave.User.UserID {
			return behave, errBusyPair()
		}
	}
	return behave, nil
}

// answering does what the callee does by now and says when it does the next
// thing.
func (c *Customer) answering(now, placed time.Time) time.Time {
	b := c.behave
	ring := placed.Add(b.Ring)
	if now.Before(ring) {
		return ring
	}
	c.mu.Lock()
	first := c.state == Calling
	if first {
		c.enterState(Ringing, now)
	}
	c.mu.Unlock()
	if first && !b.LateSDP {
		c.s.deliver(c, c.statusHook(KindRinging))
	}
	answer := b.Answer
	if answer == 0 && b.Reject == 0 {
		answer = time.Second
	}
	pick, decline, limit := ring.Add(answer), ring.Add(b.Reject), ring.Add(c.s.opts.RingLimit)
	switch {
	case !b.Never && b.Reject > 0 && !now.Before(decline):
		c.s.deliver(c, c.statusHook(KindRejected))
		c.finish(ByUser, 0)
	case !b.Never && b.Reject == 0 && !now.Before(pick):
		c.pickUp(now)
		return now
	case !now.Before(limit):
		c.finish(ByMeta, 0)
	case b.Never:
		return limit
	case b.Reject > 0:
		return decline
	default:
		return pick
	}
	return time.Time{}
}

// pickUp is the callee's answer.
func (c *Customer) pickUp(now time.Time) {
	c.mu.Lock()
	if c.state == Ended {
		c.mu.Unlock()
		return
	}
	c.enterState(Connected, now)
	c.mu.Unlock()
	c.s.deliver(c, c.statusHook(KindAccepted))
}
