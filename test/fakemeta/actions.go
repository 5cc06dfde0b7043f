package fakemeta

import (
	"fmt"
	"time"
	"unicode/utf8"
)

const maxTag = 512 // characters of biz_opaque_callback_data

// EndRule says which verb ends a user's call before it is accepted. Meta's
// pages do not agree with each other, so a gateway must cope with all of them.
type EndRule uint8

// The rules.
const (
	EndByPage   EndRule = iota // reject before pre_accept, terminate after it
	EndByEither                // both verbs, at any moment
	EndReversed                // terminate before pre_accept, reject between it and accept
)

// SetEndRule changes the rule for all calls.
func (s *Server) SetEndRule(r EndRule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rule = r
}

// act carries out an action on a call.
func (s *Server) act(n *Number, req callRequest) (outcome, *graphError) {
	switch req.Action {
	case "connect":
		return s.connect(n, req)
	case "pre_accept", "accept", "reject", "terminate":
	case "":
		return outcome{}, invalid("action is missing")
	default:
		return outcome{}, invalid(fmt.Sprintf("action must be one of connect, pre_accept, accept, reject, terminate, not %q", req.Action))
	}
	if req.CallID == "" {
		return outcome{}, invalid("call_id is missing")
	}
	c := s.call(req.CallID)
	if c == nil || c.number != n {
		return outcome{}, errUnknownCall()
	}
	if utf8.RuneCountInString(req.Tag) > maxTag {
		return outcome{}, invalid("biz_opaque_callback_data is longer than 512 characters")
	}
	var fail *graphError
	switch req.Action {
	case "pre_accept":
		fail = c.preAccept(req)
	case "accept":
		fail = c.accept(req)
		return outcome{body: success, sent: func() { c.confirmed.Store(true) }}, fail
	case "reject", "terminate":
		fail = c.hangUp(req.Action)
	}
	return outcome{body: success}, fail
}

var success = map[string]any{"messaging_product": "whatsapp", "success": true}

// takeAnswer checks and takes the gateway's description. The lock is held.
func (c *Customer) takeAnswer(req callRequest) *graphError {
	switch {
	case c.outbound:
		return invalid(req.Action + " is for calls that the user makes")
	case req.Session.Type != "answer":
		return invalid(fmt.Sprintf("session.sdp_type must be \"answer\", not %q", req.Session.Type))
	}
	d, fail := readSDP(req.Session.SDP, c.offered)
	if fail != nil {
		return fail
	}
	if c.answer != "" && c.answer != req.Session.SDP {
		return invalid("session.sdp is not the one of pre_accept")
	}
	if c.answer == "" {
		c.answer = req.Session.SDP
		c.peer.begin(d)
	}
	return nil
}

func (c *Customer) preAccept(req callRequest) *graphError {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case Ended:
		return errEnded()
	case Ringing, Connected:
		return errInProgress()
	case Calling:
	}
	if fail := c.takeAnswer(req); fail != nil {
		return fail
	}
	c.enterState(Ringing, time.Now())
	return nil
}

func (c *Customer) accept(req callRequest) *graphError {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case Ended:
		return errEnded()
	case Connected:
		return errInProgress()
	case Calling, Ringing:
	}
	if fail := c.takeAnswer(req); fail != nil {
		return fail
	}
	c.tag = req.Tag
	c.s.picked(c)
	c.enterState(Connected, time.Now())
	return nil
}

// hangUp is reject or terminate.
func (c *Customer) hangUp(verb string) *graphError {
	c.s.mu.Lock()
	rule := c.s.rule
	c.s.mu.Unlock()
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	if state == Ended {
		return errEnded()
	}
	if fail := c.verbFits(verb, state, rule); fail != nil {
		return fail
	}
	if !c.finish(ByBusiness, 0) {
		return errEnded()
	}
	return nil
}

func (c *Customer) verbFits(verb string, state State, rule EndRule) *graphError {
	switch {
	case c.outbound && verb == "reject":
		return invalid("reject is for calls that the user makes")
	case c.outbound, state == Connected && verb == "terminate", rule == EndByEither && state != Connected:
		return nil
	case state == Connected:
		return invalid("Call was accepted, use terminate")
	}
	want := "reject"
	if (state == Ringing) == (rule == EndByPage) {
		want = "terminate"
	}
	if verb != want {
		return invalid(fmt.Sprintf("%s is not allowed in this state of the call, use %s", verb, want))
	}
	return nil
}
