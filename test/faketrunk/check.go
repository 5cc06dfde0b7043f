package faketrunk

import (
	"fmt"
	"strconv"
	"strings"
)

// check notes what is wrong with a request, RFC 3261 sections 8.1.1, 9.1, 12.2
// and 17.1.1.3. The caller holds t.mu.
func (t *Trunk) check(m *Message, r route) {
	for _, wrong := range faultsOf(m, r) {
		t.faultLocked("%s of %s: %s", m.Method, m.CallID(), wrong)
	}
	c := t.calls[m.CallID()]
	if c == nil || param(m.Get("To"), "tag") == challengeTag {
		return
	}
	for _, wrong := range c.faultsOf(m) {
		t.faultLocked("%s of %s: %s", m.Method, c.id, wrong)
	}
}

// faultsOf judges a request by itself.
func faultsOf(m *Message, r route) (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, name := range []string{"From", "To", "Call-ID", "CSeq", "Max-Forwards"} {
		if n := len(m.All(name)); n != 1 {
			add("%d times %s", n, name)
		}
	}
	if !strings.HasPrefix(m.branch(), "z9hG4bK") {
		add("branch %q", m.branch())
	}
	if !strings.HasPrefix(strings.ToUpper(m.Get("Via")), "SIP/2.0/"+strings.ToUpper(r.transport())) {
		add("Via %q over %s", m.Get("Via"), r.transport())
	}
	if param(m.Get("From"), "tag") == "" {
		add("From without a tag")
	}
	if n, err := strconv.Atoi(m.Get("Max-Forwards")); err != nil || n < 0 || n > 255 {
		add("Max-Forwards %q", m.Get("Max-Forwards"))
	}
	if _, method := m.CSeq(); method != m.Method {
		add("CSeq %q", m.Get("CSeq"))
	}
	if m.Get("Content-Length") == "" && (r.tcp != nil || len(m.Body) > 0) {
		add("no Content-Length")
	}
	if len(m.Body) > 0 && m.Get("Content-Type") == "" {
		add("a body without Content-Type")
	}
	switch m.Method {
	case "INVITE", "UPDATE":
		if _, transport := hostOf(uriOf(m.Get("Contact"))); transport == "" {
			add("Contact %q", m.Get("Contact"))
		}
	case "ACK", "CANCEL":
		if len(m.Body) > 0 {
			add("a body")
		}
	}
	return wrong
}

// faultsOf judges a request by what the call has seen. The caller holds t.mu.
func (c *Call) faultsOf(m *Message) (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	n, _ := m.CSeq()
	tag := param(m.Get("To"), "tag")
	if c.outgoing {
		if tag != c.tag {
			add("To tag %q of our call %q", tag, c.tag)
		}
		return wrong
	}
	invite := c.inviteNumber()
	if param(m.Get("From"), "tag") != param(c.invite.Get("From"), "tag") {
		if m.Method != "INVITE" || c.final < 300 {
			add("another From tag")
		}
		return wrong
	}
	switch m.Method {
	case "CANCEL":
		if m.branch() == c.invite.branch() && c.last == nil {
			add("before any response to the INVITE")
		}
		if m.branch() == c.invite.branch() && (m.URI != c.invite.URI || n != invite || m.Get("To") != c.invite.Get("To")) {
			add("not the INVITE's URI, number and To")
		}
	case "ACK":
		switch {
		case c.final == 0:
			add("before a final response")
		case c.final >= 300 && m.branch() != c.invite.branch():
			add("another branch than the INVITE's after %d", c.final)
		case c.final < 300 && m.branch() == c.invite.branch():
			add("the INVITE's branch after %d", c.final)
		case c.final < 300 && n == invite && m.URI != uriOf(c.contact().Value):
			add("to %s, not our Contact", m.URI)
		}
		if c.final != 0 && tag != c.tag && (c.fork == nil || tag != c.fork.tag) {
			add("To tag %q, ours is %q", tag, c.tag)
		}
	case "BYE":
		if n <= invite {
			add("CSeq %d is not above the INVITE's", n)
		}
		if c.final == 0 || c.final >= 300 {
			add("without a dialog")
		}
		if m.URI != uriOf(c.contact().Value) {
			add("to %s, not our Contact", m.URI)
		}
	}
	return wrong
}
