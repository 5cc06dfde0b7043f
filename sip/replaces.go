package sip

import "slices"

// gotReplacing is an INVITE that is to take the place of this Session's far end.
type gotReplacing struct {
	m        *message
	tx       *serverTx
	trunk    *trunk
	replaces Replaces
}

// takeReplacing takes an INVITE with Replaces (RFC 3891 section 3), which has
// been authorised like any other. The dialog must be of the same trunk: to
// others it does not exist.
func (s *Server) takeReplacing(t *trunk, m *message, fl flow) {
	value := ""
	if m.count("Replaces") == 1 {
		value = m.get("Replaces")
	}
	r, ok := parseReplaces(value)
	if !ok {
		s.refuse(m, fl, malformed("Bad Replaces"))
		return
	}
	s.mu.Lock()
	c := s.sessions[sessionKey{r.CallID, r.ToTag}]
	s.mu.Unlock()
	if c == nil || c.trunk.cfg.Name != t.cfg.Name {
		s.refuse(m, fl, &fault{status: 481, label: "dialog", extra: notReplaced.fields()})
		return
	}
	tx := s.newServerTx(m, fl)
	if tx == nil {
		s.refuse(m, fl, busy())
		return
	}
	if !c.inbox.put(gotReplacing{m, tx, t, r}) {
		tx.answer(603, notReplaced.fields()...)
	}
}

// notReplaced goes with the refusal of an INVITE with Replaces.
var notReplaced = Reason{Q850: 21, Text: "nothing to be replaced", WAError: "not_allowed"}

// replacing shows the INVITE to the owner of the call, if the dialog that it
// names is one that talks, or a phone that we ring and another picks up for.
func (c *Session) replacing(in gotReplacing) {
	status := 0
	switch {
	case c.phase == phaseEarly && slices.Contains(c.ringing, in.replaces.FromTag):
		if c.wantEnd {
			status = 603
		}
	case c.dialog == nil || c.phase == phaseOffered || c.dialog.remoteTag() != in.replaces.FromTag:
		status = 481 // RFC 3891: an early dialog that it began is none to be replaced
	case c.phase == phaseUnacked:
		status = 491
	case c.phase != phaseUp || c.wantEnd:
		status = 603
	case in.replaces.EarlyOnly:
		status = 486
	}
	if status != 0 {
		in.tx.answer(status, notReplaced.fields()...)
		c.s.metrics.invite(outbound, c.trunk.cfg.Name, status)
		return
	}
	c.s.incomingCall(in.trunk, in.m, in.tx, &Replaced{Call: c.call, CallID: c.CallID()})
}

// alerts notes an early dialog, by the far end's tag.
func (c *Session) alerts(to string) {
	if to != "" && len(c.ringing) < maxForks && !slices.Contains(c.ringing, to) {
		c.ringing = append(c.ringing, to)
	}
}
