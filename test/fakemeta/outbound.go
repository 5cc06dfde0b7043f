package fakemeta

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// Callee is how a user behaves who is called by the business.
type Callee struct {
	User    User          // who it is; the number is the one that was dialled
	Absent  bool          // has no WhatsApp
	Ring    time.Duration // until the phone rings
	Answer  time.Duration // picks up so long after the ringing began; 0 with the others 0: after a second
	Reject  time.Duration // declines so long after it
	Never   bool          // lets it ring, until Customer.PickUp or Decline
	Fail    int           // the call fails with that code when it should ring
	Setup   string        // DTLS role of Meta's answer: active or passive; default passive
	LateSDP bool          // RINGING before the connect webhook
	Dark    bool          // the way of its media is blocked: no check and no packet gets through
	// LateAccepted is how long the ACCEPTED webhook comes after the user picked
	// up, and speaks.
	LateAccepted time.Duration
	Flaw         Flaw
	Sound        Sound
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

// checkCallee is what Meta wants of to and recipient.
func checkCallee(number, id string) *graphError {
	switch {
	case number == "" && id == "":
		return invalid("to or recipient is missing")
	case number != "" && !isNumber(number):
		return invalid("to is not a phone number")
	}
	return nil
}

// reachable is whether the user can be reached at all.
func (s *Server) reachable(to Callee) *graphError {
	switch {
	case !s.opts.Rules.allows(to.User.Number):
		return &graphError{
			status: http.StatusBadRequest, code: 131030, message: "(#131030) Recipient phone number not in allowed list",
			details: "Recipient phone number not in allowed list: Add recipient phone number to recipient list and try again.",
		}
	case to.Absent:
		return &graphError{
			status: http.StatusBadRequest, code: codeNoAccount, message: fmt.Sprintf("(#%d) Receiver uncallable", codeNoAccount),
			details: "The recipient has no WhatsApp account that can receive calls", race: true,
		}
	}
	return nil
}

// connect is a call that the business makes.
func (s *Server) connect(n *Number, req callRequest) (outcome, *graphError) {
	who := strings.TrimPrefix(req.To, "+")
	if fail := checkCallee(who, req.Recipient); fail != nil {
		return outcome{}, fail
	}
	switch {
	case req.CallID != "":
		return outcome{}, invalid("call_id is not allowed with connect")
	case req.Session.Type != "offer":
		return outcome{}, invalid("session.sdp_type must be \"offer\"")
	case utf8.RuneCountInString(req.Tag) > maxTag:
		return outcome{}, invalid("biz_opaque_callback_data is longer than 512 characters")
	}
	offer, fail := readSDP(req.Session.SDP, nil)
	if fail != nil {
		return outcome{}, fail
	}
	for _, c := range offer.audio {
		if !n.has(c.name) {
			return outcome{}, invalid(fmt.Sprintf("SDP codec %s is not in the number's additional_codecs", c.name))
		}
	}
	s.mu.Lock()
	behave := s.people.person(who, req.Recipient)
	s.mu.Unlock()
	if fail := s.reachable(behave); fail != nil {
		return outcome{}, fail
	}
	if who != "" {
		behave.User.Private = false // the business knows the number
	}
	p, fail := s.begin(n, behave.User, true)
	if fail != nil {
		return outcome{}, fail
	}
	c := s.newCustomer(n, behave.User)
	c.outbound, c.behave, c.tag, c.answer, c.pair = true, behave, req.Tag, req.Session.SDP, p
	if fail := s.dial(c, offer); fail != nil {
		s.leave(n, p)
		return outcome{}, fail
	}
	type call struct {
		ID string `json:"id"`
	}
	body := map[string]any{"messaging_product": "whatsapp", "calls": []call{{c.id}}}
	return outcome{body: body, callID: c.id}, nil
}

// dial opens the media of a call to a user and tells Meta's answer.
func (s *Server) dial(c *Customer, offer description) *graphError {
	c.opts.Flaw = c.behave.Flaw
	local := s.answerTo(offer, c.behave.Setup)
	c.opts.Flaw.spoil(&local)
	at, err := c.openMedia(s.ctx, local, c.behave.Sound, NoIPv6)
	if err == nil {
		err = s.enter(c)
	}
	if err != nil {
		return &graphError{
			status: http.StatusInternalServerError, code: 138004, message: "(#138004) Connection error", details: err.Error(),
		}
	}
	c.peer.gone.Store(c.behave.Dark)
	c.peer.begin(offer)
	answer := c.connectHook("answer", local.text(c.peer.voice.ssrc, at))
	if c.behave.LateSDP {
		s.deliver(&c.lane, c.statusHook(KindRinging))
	}
	s.deliver(&c.lane, answer)
	s.spawn(c.run)
	return nil
}

// answering does what the callee does by now and says when it does the next
// thing.
func (c *Customer) answering(now, placed time.Time) time.Time {
	b := c.behave
	ring := placed.Add(b.Ring)
	if now.Before(ring) {
		return ring
	}
	if b.Fail != 0 {
		c.finish(ByMeta, b.Fail)
		return time.Time{}
	}
	c.mu.Lock()
	first := c.state == Calling
	if first {
		c.enterState(Ringing, now)
		if !b.LateSDP {
			c.s.deliver(&c.lane, c.statusHook(KindRinging))
		}
	}
	c.mu.Unlock()
	answer := b.Answer
	if answer == 0 && b.Reject == 0 {
		answer = time.Second
	}
	pick, decline, limit := ring.Add(answer), ring.Add(b.Reject), ring.Add(c.s.opts.RingLimit)
	switch {
	case !b.Never && b.Reject > 0 && !now.Before(decline):
		c.Decline()
	case !b.Never && b.Reject == 0 && !now.Before(pick):
		c.PickUp()
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

// rings says whether the phone rings and nobody has reacted. The lock is held.
func (c *Customer) rings() bool { return c.outbound && c.state == Ringing && !c.declined }

// PickUp is the answer of a user whose phone rings. It reports whether there
// was something to answer.
func (c *Customer) PickUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.rings() {
		return false
	}
	c.s.picked(c)
	c.enterState(Connected, time.Now())
	c.s.deliverLate(&c.lane, c.statusHook(KindAccepted), c.behave.LateAccepted)
	return true
}

// Decline is the refusal of a user whose phone rings. It reports whether there
// was something to refuse.
func (c *Customer) Decline() bool {
	c.mu.Lock()
	ok := c.rings()
	if ok {
		c.declined = true
		c.s.deliver(&c.lane, c.statusHook(KindRejected))
	}
	c.mu.Unlock()
	return ok && c.finish(ByUser, 0)
}

// Break lets Meta end the call as failed, with that code.
func (c *Customer) Break(code int) { c.finish(ByMeta, code) }
