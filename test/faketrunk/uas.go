package faketrunk

import (
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// receive handles one message.
func (t *Trunk) receive(m *Message, r route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.note(m, r)
	if m.Method == "" {
		t.onResponse(m)
		return
	}
	t.check(m, r)
	switch m.Method {
	case "INVITE":
		t.onInvite(m, r)
	case "ACK":
		t.onACK(m)
	case "CANCEL":
		t.onCancel(m, r)
	case "BYE":
		t.onBYE(m, r)
	case "OPTIONS":
		if param(m.Get("To"), "tag") == "" {
			if t.options != 0 {
				t.write(reply(m, r, t.options, rand.Text(), []Header{{"Allow", allow}, {"Accept", "application/sdp"}}, nil), r)
			}
			return
		}
		t.onInside(m, r)
	default:
		t.onInside(m, r)
	}
}

const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, NOTIFY"

func (t *Trunk) onInvite(m *Message, r route) {
	if param(m.Get("To"), "tag") != "" {
		t.onInside(m, r)
		return
	}
	if c := t.calls[m.CallID()]; c != nil {
		switch {
		case c.invite.branch() == m.branch(): // sent again
			if c.last != nil {
				t.write(c.last, r)
			}
			return
		case c.final < 300:
			t.faultLocked("a second INVITE for call %s", c.id)
			t.write(reply(m, r, 482, rand.Text(), nil, nil), r)
			return
		}
	}
	s := t.choose(m)
	if s.Auth != nil {
		if challenge := t.challenge(m, *s.Auth); challenge != nil {
			t.write(reply(m, r, s.Auth.status(), challengeTag, challenge, nil), r)
			return
		}
	}
	c := t.newCall(m.CallID(), s, false)
	c.invite, c.via, c.tag = m, r, rand.Text()
	c.remote, c.local = m.Get("From"), m.Get("To")+";tag="+c.tag
	c.target, c.routes = uriOf(m.Get("Contact")), m.All("Record-Route")
	c.cseq = 1000
	c.remoteCSeq, _ = m.CSeq()
	t.add(c)
	if len(t.queue) < queueLimit {
		t.queue = append(t.queue, c)
	}
	if !s.Silent {
		t.goLocked(c.play)
	}
}

// play runs the script up to the final response.
func (c *Call) play() {
	s := c.script
	if !s.NoTrying {
		c.t.mu.Lock()
		c.respond(100, nil, nil)
		c.t.mu.Unlock()
	}
	if s.Ring >= 0 && (s.Answer == Never || s.Ring <= s.Answer) {
		if !c.pause(c.began.Add(s.Ring), c.decided) || c.Ring() != nil {
			return
		}
	}
	if s.Answer < 0 || !c.pause(c.began.Add(s.Answer), c.decided) {
		return
	}
	if s.Status >= 300 {
		_ = c.Refuse(s.Status, s.Headers...)
		return
	}
	_ = c.Answer()
}

// Ring sends 180, or what the script has in its place.
func (c *Call) Ring() error {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if c.outgoing || c.final != 0 || c.reached[Ended] {
		return fmt.Errorf("ring: %w", ErrOver)
	}
	for range max(c.script.Rings, 1) {
		if !c.script.Early {
			c.respond(180, nil, nil)
			continue
		}
		sdp, err := c.audio.answer(c.invite.Body)
		if err != nil {
			return fmt.Errorf("ring: %w", err)
		}
		c.respond(183, []Header{{"Content-Type", "application/sdp"}}, sdp)
		c.audio.start()
	}
	c.reach(Rung)
	return nil
}

// Answer picks up: 200, or 488 when no codec is shared.
func (c *Call) Answer() error {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.answerLocked()
}

func (c *Call) answerLocked() error {
	if c.outgoing || c.final != 0 || c.reached[Ended] {
		return fmt.Errorf("answer: %w", ErrOver)
	}
	sdp, err := c.audio.answer(c.invite.Body)
	if err != nil {
		c.refuseLocked(488, Header{"Warning", `305 phone "` + err.Error() + `"`})
		return fmt.Errorf("answer: %w", err)
	}
	headers := append([]Header{{"Content-Type", "application/sdp"}}, c.script.Headers...)
	c.settle(200)
	c.respond(200, headers, sdp)
	if c.script.Fork {
		c.fork = &fork{tag: rand.Text()}
		c.t.write(reply(c.invite, c.via, 200, c.fork.tag, append([]Header{c.contact()}, headers...), sdp), c.via)
	}
	c.audio.start()
	c.t.goLocked(c.resend)
	return nil
}

// Refuse sends a final response of 300 or more.
func (c *Call) Refuse(status int, headers ...Header) error {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if c.outgoing || !c.refuseLocked(status, headers...) {
		return fmt.Errorf("refuse: %w", ErrOver)
	}
	return nil
}

func (c *Call) refuseLocked(status int, headers ...Header) bool {
	if !c.settle(status) {
		return false
	}
	c.respond(status, headers, nil)
	c.t.goLocked(c.resend)
	return true
}

// respond answers the INVITE. The caller holds t.mu.
func (c *Call) respond(status int, headers []Header, body []byte) {
	var all []Header
	if status > 100 && status < 300 {
		for _, rr := range c.invite.All("Record-Route") {
			all = append(all, Header{"Record-Route", rr})
		}
		all = append(all, c.contact(), Header{"Allow", allow})
	}
	tag := c.tag
	if status == 100 {
		tag = ""
	}
	c.last = reply(c.invite, c.via, status, tag, append(all, headers...), body)
	if status < 200 {
		c.rings++
	}
	c.t.write(c.last, c.via)
}

func (c *Call) contact() Header {
	return Header{"Contact", fmt.Sprintf("<sip:%s@%v;transport=%s>", c.t.opts.User, c.t.addr, c.via.transport())}
}

// resend repeats the final response until it is acknowledged, RFC 3261 sections
// 13.3.1.4 and 17.2.1.
func (c *Call) resend() {
	ok := c.Status() < 300
	limit, every := time.Now().Add(patience), t1
	for time.Now().Before(limit) {
		next := time.Now().Add(every)
		if next.After(limit) {
			next = limit
		}
		if !c.pause(next, c.acked) {
			return
		}
		c.t.mu.Lock()
		if c.reached[Ended] {
			c.t.mu.Unlock()
			return
		}
		if ok || c.via.tcp == nil {
			c.t.write(c.last, c.via)
		}
		c.t.mu.Unlock()
		every = min(2*every, t2)
	}
	c.t.fault("the %d of call %s was never acknowledged", c.Status(), c.id)
	if ok {
		_, _ = c.Request(c.t.ctx, "BYE", nil, nil)
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.end()
}

func (t *Trunk) onACK(m *Message) {
	c := t.calls[m.CallID()]
	if c == nil || c.final == 0 || param(m.Get("To"), "tag") == challengeTag {
		return
	}
	if f := c.fork; f != nil && param(m.Get("To"), "tag") == f.tag {
		f.acked = true
		t.stir()
		return
	}
	if n, _ := m.CSeq(); c.final < 300 && n != c.inviteNumber() {
		return // of a later INVITE of the dialog
	}
	if c.dropACKs > 0 {
		c.dropACKs--
		return
	}
	c.acknowledge()
}

func (c *Call) inviteNumber() uint32 {
	n, _ := c.invite.CSeq()
	return n
}

func (t *Trunk) onCancel(m *Message, r route) {
	c := t.calls[m.CallID()]
	if c == nil || c.outgoing || c.invite.branch() != m.branch() {
		t.faultLocked("a CANCEL for no INVITE: %s", m.CallID())
		t.write(reply(m, r, 481, rand.Text(), nil, nil), r)
		return
	}
	if c.script.Silent {
		return
	}
	first := !c.reached[Cancelled]
	c.reach(Cancelled)
	if first {
		c.reason = m.Get("Reason")
	}
	if c.script.OnCancel == Deaf && c.final == 0 {
		return
	}
	if c.script.OnCancel == Cross && c.final == 0 {
		_ = c.answerLocked()
	}
	t.write(reply(m, r, 200, c.tag, nil, nil), r)
	if c.final != 0 {
		return
	}
	c.byThem = true
	if c.script.OnCancel == Stall {
		c.end()
		return
	}
	c.refuseLocked(487)
}

func (t *Trunk) onBYE(m *Message, r route) {
	c := t.calls[m.CallID()]
	tag := param(m.Get("To"), "tag")
	if c == nil || (tag != c.tag && (c.fork == nil || tag != c.fork.tag)) {
		t.write(reply(m, r, 481, rand.Text(), nil, nil), r)
		return
	}
	if c.lostOKs > 0 {
		c.lostOKs--
	} else {
		t.write(reply(m, r, 200, tag, nil, nil), r)
	}
	if tag != c.tag {
		c.fork.ended = true
		t.stir()
		return
	}
	if !c.reached[Ended] {
		c.byThem, c.reason = true, m.Get("Reason")
	}
	c.end()
}

// onInside answers what comes inside a dialog and does not end it.
func (t *Trunk) onInside(m *Message, r route) {
	c := t.calls[m.CallID()]
	if c == nil || param(m.Get("To"), "tag") != c.tag || c.reached[Ended] {
		t.write(reply(m, r, 481, rand.Text(), nil, nil), r)
		return
	}
	n, _ := m.CSeq()
	if n <= c.remoteCSeq && c.remoteCSeq != 0 {
		if n == c.remoteCSeq && c.lastIn != nil {
			t.write(c.lastIn, r)
		}
		return
	}
	c.remoteCSeq = n
	c.lastIn = c.inside(m, r)
	t.write(c.lastIn, r)
}

func (c *Call) inside(m *Message, r route) []byte {
	switch m.Method {
	case "INVITE", "UPDATE":
		if s := c.script.Reoffer; s >= 300 {
			return reply(m, r, s, c.tag, nil, nil)
		}
		if uri := uriOf(m.Get("Contact")); uri != "" {
			c.target = uri
		}
		if len(m.Body) == 0 && m.Method == "UPDATE" { // a session refresh
			return reply(m, r, 200, c.tag, []Header{c.contact()}, nil)
		}
		sdp, err := c.audio.reoffered(m.Body)
		if err != nil {
			return reply(m, r, 488, c.tag, nil, nil)
		}
		return reply(m, r, 200, c.tag, []Header{c.contact(), {"Content-Type", "application/sdp"}}, sdp)
	case "INFO":
		c.audio.info(m.Body)
		return reply(m, r, 200, c.tag, nil, nil)
	case "NOTIFY":
		if strings.HasPrefix(m.Get("Event"), "refer") {
			c.progress(m)
		}
		return reply(m, r, 200, c.tag, nil, nil)
	case "OPTIONS":
		return reply(m, r, 200, c.tag, []Header{{"Allow", allow}}, nil)
	default:
		return reply(m, r, 405, c.tag, []Header{{"Allow", allow}}, nil)
	}
}

// reply builds a response, RFC 3261 section 8.2.6, with received and rport.
func reply(m *Message, r route, status int, tag string, extra []Header, body []byte) []byte {
	var h []Header
	for i, v := range m.All("Via") {
		if i == 0 {
			v = stamp(v, r)
		}
		h = append(h, Header{"Via", v})
	}
	to := m.Get("To")
	if tag != "" && param(to, "tag") == "" {
		to += ";tag=" + tag
	}
	h = append(h, Header{"From", m.Get("From")}, Header{"To", to}, Header{"Call-ID", m.CallID()}, Header{"CSeq", m.Get("CSeq")})
	return text(fmt.Sprintf("SIP/2.0 %d %s", status, phrase(status)), append(h, extra...), body)
}

func stamp(via string, r route) string {
	host, port, err := net.SplitHostPort(r.addr.String())
	if err != nil {
		return via
	}
	parts := strings.Split(via, ";")
	for i, p := range parts {
		if strings.EqualFold(strings.TrimSpace(p), "rport") {
			parts[i] = "rport=" + port
		}
	}
	return strings.Join(parts, ";") + ";received=" + host
}

var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 302: "Moved Temporarily",
	401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 407: "Proxy Authentication Required",
	408: "Request Timeout", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist",
	486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 500: "Server Internal Error",
	503: "Service Unavailable", 600: "Busy Everywhere", 603: "Decline",
}

func phrase(status int) string {
	if p, ok := phrases[status]; ok {
		return p
	}
	return "Status " + strconv.Itoa(status)
}
