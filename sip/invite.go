package sip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const userAgent = "wagate"

// Prepare builds the INVITE of a call; nothing leaves before Start. State of
// the Session is what has to be on disk first. notify gets every event.
func (s *Server) Prepare(o Outgoing, notify func(Event)) (*Session, error) {
	t := s.trunk(o.Trunk)
	if t == nil {
		return nil, fmt.Errorf("prepare call: %w: %s", ErrUnknownTrunk, o.Trunk)
	}
	target, ok := parseURI(o.Target)
	if !ok {
		return nil, fmt.Errorf("prepare call: target %q is no SIP URI", o.Target)
	}
	to, ok := t.place(o.Target)
	if proxy, proxied := t.placeOf(isProxy); proxied {
		to, ok = proxy, true
	} else if hop, led := t.serviceHop(); ok && led {
		to = hop
	}
	if !ok {
		return nil, fmt.Errorf("prepare call: target %s of trunk %s: %w", o.Target, o.Trunk, ErrForbidden)
	}
	user := escapeUser(printable(o.To, maxHeader))
	if user == "" {
		return nil, errors.New("prepare call: nothing to dial")
	}
	for _, h := range o.Headers {
		if !isToken(h.Name) || !strings.HasPrefix(strings.ToUpper(h.Name), "X-") {
			return nil, fmt.Errorf("prepare call: header %q is not an X- header", h.Name)
		}
	}
	c := s.newSession(t)
	c.notify, c.reoffer, c.pressed, c.changed = notify, o.Reoffer, o.Pressed, o.Changed
	c.to, c.out, c.local = to, o, o.SDP
	for _, h := range o.Headers {
		if strings.EqualFold(h.Name, "X-WA-Call") {
			c.call = h.Value
		}
	}
	at := user + "@" + hostPort(target.host, target.port)
	uri := target.scheme + ":" + at
	if transport := target.transport(); transport == "tcp" || transport == "tls" {
		uri += ";transport=" + transport
	}
	host := t.cfg.FromHost
	if host == "" {
		host, _ = s.localHost(to)
	}
	from, asserted := identity(t.cfg, o.Caller, host)
	c.asserted, c.loop = asserted, s.loops.make()
	c.state = durable{
		Version: stateVersion, Trunk: o.Trunk, URI: uri, Branch: newBranch(), Tries: 1, CSeq: firstSeq(),
		From: from + ";tag=" + newTag(), To: "<" + target.scheme + ":" + at + ">", CallID: newID(), Routes: t.routes(),
	}
	if t.cfg.Auth.User != "" {
		c.state.Tries += maxProofs
	}
	c.choose()
	return c, nil
}

// loose makes a proxy's URI a loose route.
func loose(uri string) string {
	if strings.Contains(strings.ToLower(uri), ";lr") {
		return uri
	}
	return uri + ";lr"
}

const (
	// maxProofs is how often an INVITE or a REGISTER is repeated with credentials:
	// once for a challenge, once more for one that only says that the nonce was
	// stale.
	maxProofs = 2
	// maxAttempts of one INVITE: the first, those with credentials, and one with
	// a longer session timer.
	maxAttempts = 1 + maxProofs + 1
)

// choose settles the transport: what does not fit a datagram goes by TCP (RFC
// 3261 section 18.1.1).
func (c *Session) choose() {
	if c.to.proto == "udp" && !c.noTCP {
		m := c.build()
		m.add("Via", c.s.viaFor(c.to, c.branch()))
		if len(m.bytes()) > maxDatagram {
			c.to.proto, c.large = "tcp", true
		}
	}
	c.stateMu.Lock()
	c.state.Proto, c.state.Addr = c.to.proto, c.to.addr.String()
	c.stateMu.Unlock()
}

func (c *Session) branch() string { return c.state.Branch + utoa(uint32(c.attempt)) } //nolint:gosec // at most maxAttempts

// build makes the INVITE of the current attempt, all but its Via.
func (c *Session) build() *message {
	o, st := &c.out, &c.state
	m := &message{method: "INVITE", uri: st.URI, body: o.SDP}
	hops := o.MaxForwards
	if hops <= 0 || hops > maxForwards {
		hops = maxForwards
	}
	m.add("Max-Forwards", utoa(uint32(hops)))
	for _, r := range st.Routes {
		m.add("Route", r)
	}
	m.add("From", st.From)
	m.add("To", st.To)
	m.add("Call-ID", st.CallID)
	m.add("CSeq", utoa(st.CSeq+uint32(c.attempt))+" INVITE") //nolint:gosec // at most maxAttempts
	m.add("Contact", c.s.contactOf(st.URI, c.to))
	m.add("P-Asserted-Identity", c.asserted)
	if c.asserted == "" {
		m.add("Privacy", "id") // the customer hides it (RFC 3323 section 4.2)
	}
	m.add(c.creds.name, c.creds.value)
	m.add("Allow", allow)
	m.add("Supported", supported)
	m.fields = append(m.fields, c.expiry.offer(false)...)
	m.add("Replaces", o.Replaces.String())
	if o.ReferredBy != "" {
		m.add("Referred-By", "<"+o.ReferredBy+">")
	}
	m.add("User-Agent", userAgent)
	for _, h := range o.Headers {
		m.add(h.Name, printable(h.Value, maxHeader))
	}
	m.add(loopHeader, c.loop)
	if len(o.SDP) > 0 {
		m.add("Content-Type", contentSDP)
	}
	return m
}

// start sends the first INVITE.
func (c *Session) start() {
	if c.phase != phasePrepared {
		return
	}
	c.phase = phaseCalling
	c.trace.bind(c.out.Trace)
	c.s.traces.add(c.CallID(), c.trace)
	c.s.remember(c)
	c.send()
}

// send sends the INVITE of the current attempt.
func (c *Session) send() {
	c.invite = c.s.newClientTx(c.trunk, c.build(), c.to, c.branch(), c.fromInvite)
	c.current.Store(c.invite)
	patience := c.s.tm.silent
	if c.out.Spare {
		patience = c.s.tm.spare
	}
	c.invite.start(patience)
}

// fromInvite brings the INVITE's answers to the Session's goroutine.
func (c *Session) fromInvite(tx *clientTx, m *message, err error) bool {
	return c.inbox.put(gotResponse{tx, m, err})
}

// response takes an answer to the INVITE, or the news that none came.
func (c *Session) response(in gotResponse) {
	var cancelled cancelAnswered
	switch {
	case errors.As(in.err, &cancelled):
		return // the INVITE's own answer counts
	case in.err != nil:
		c.inviteFailed(in)
	case in.tx != c.invite:
		if in.m.status >= 200 && in.m.status < 300 {
			c.s.endStray(c.trunk, in.m, c.endWith)
		}
	case in.m.status < 200:
		c.provisional(in.m)
	case in.m.status < 300:
		c.accepted(in.m)
	default:
		c.refused(in.m)
	}
}

// inviteFailed ends a call whose INVITE found nobody. Where TCP was only
// taken for the size of the message, the peer that refuses TCP gets a datagram
// after all (RFC 3261 section 18.1.1).
func (c *Session) inviteFailed(in gotResponse) {
	if in.tx != c.invite || (c.phase != phaseCalling && c.phase != phaseEarly) {
		return
	}
	if c.large && !c.noTCP && c.phase == phaseCalling && errors.Is(in.err, ErrTransport) {
		c.noTCP, c.large = true, false
		c.to.proto = "udp"
		c.choose()
		c.send()
		return
	}
	c.trunk.mark(c.to, time.Now().Add(c.s.tm.dead))
	c.s.metrics.invite(inbound, c.trunk.cfg.Name, 0)
	c.tell(Failed{in.err})
	c.phase = phaseOver
}

// answeredBy returns the transaction whose repeated 2xx are taken.
func (c *Session) answeredBy() *clientTx { return c.current.Load() }

// provisional takes a 1xx.
func (c *Session) provisional(m *message) {
	if (c.phase != phaseCalling && c.phase != phaseEarly) || !c.reliable(m) {
		return
	}
	first := c.phase == phaseCalling
	c.phase = phaseEarly
	c.alerts(tag(m.get("To")))
	ringing := m.status == 180 || m.status == 183
	switch {
	case c.wantEnd:
		c.sendCancel()
	case ringing && c.rung != m.status:
		c.rung = m.status
		c.tell(Ringing{m.status})
	case first && !ringing:
		c.tell(Proceeding{m.status})
	}
}

// accepted takes a 2xx: the first one makes the dialog, a repeat gets its ACK
// again, one of another fork is ended.
func (c *Session) accepted(m *message) {
	switch c.phase {
	case phaseCalling, phaseEarly:
	case phaseUp, phaseLeaving:
		if c.dialog != nil && tag(m.get("To")) == c.dialog.remoteTag() {
			c.sendACK()
			return
		}
		c.s.endStray(c.trunk, m, c.ours(Reason{Q850: 26, Text: "forked", WAError: "cancelled"}))
		return
	case phasePrepared, phaseOffered, phaseUnacked, phaseOver: // no INVITE of ours
		return
	}
	if c.cancelAt {
		c.disarm(tickCancel)
		c.s.metrics.glare("answer_cancel")
	}
	c.trunk.mark(c.to, time.Time{})
	c.s.metrics.invite(inbound, c.trunk.cfg.Name, m.status)
	c.dialog = dialogOfAnswer(m)
	c.inviteSeq = c.dialog.LocalSeq
	c.remote = c.ofFork(m)
	c.peerCan(m)
	c.expiry.agreed(m)
	c.phase = phaseUp
	c.saveDialog()
	c.tellState()
	c.sendACK()
	c.windExpiry()
	c.tell(Accepted{slices.Clone(c.remote)})
	if c.notify == nil {
		c.sendBye(c.endWith)
	}
}

// sendACK acknowledges the 2xx.
func (c *Session) sendACK() {
	if c.ack == nil {
		c.ack, c.ackTo = c.s.ackFor(c.trunk, c.dialog, c.inviteSeq, c.creds)
	}
	c.s.flowTo(c.trunk, c.ackTo).send(c.ack, nil)
}

// refused takes a final answer from 300 up: a challenge is answered once,
// everything else is the end. A redirection is reported, for the owner to follow.
func (c *Session) refused(m *message) {
	if c.phase != phaseCalling && c.phase != phaseEarly {
		return
	}
	if !c.wantEnd && c.retry(m) {
		return
	}
	until := time.Time{}
	if m.status == 503 {
		until = time.Now().Add(c.s.tm.dead)
	}
	c.trunk.mark(c.to, until)
	c.s.metrics.invite(inbound, c.trunk.cfg.Name, m.status)
	c.tell(Refused{Status: m.status, Reason: printable(m.reason, maxText), Q850: q850(m), RetryAfter: retryAfter(m), Moved: c.redirected(m)})
	c.phase = phaseOver
}

// retry answers a challenge, or asks for a longer session timer: a new INVITE in
// the same call, one CSeq further.
func (c *Session) retry(m *message) bool {
	if m.status == 422 {
		if c.longer || c.expiry.wish == 0 || !c.expiry.tooSmall(m) {
			return false
		}
		c.longer = true
		c.stateMu.Lock()
		c.state.Tries++
		c.stateMu.Unlock()
		c.tellState()
		c.again()
		return true
	}
	if m.from.addr.Addr() != c.to.addr.Addr() { // only the target we asked may ask back
		return false
	}
	creds, stale, ok := c.trunk.authorize(m, "INVITE", c.state.URI)
	if !ok || c.proofs >= maxProofs || (c.proofs > 0 && !stale) {
		return false
	}
	c.proofs++
	c.creds = creds
	c.again()
	return true
}

// tellState has the owner write down what a crash must find.
func (c *Session) tellState() {
	if c.changed != nil {
		c.changed(c.State())
	}
}

// again sends the INVITE once more.
func (c *Session) again() {
	c.attempt++
	c.forks, c.ringing = nil, nil
	c.phase = phaseCalling
	c.choose()
	c.send()
}

// sendCancel sends the CANCEL if the far end has spoken; else provisional
// does, when it does.
func (c *Session) sendCancel() {
	if c.cancelAt || c.phase != phaseEarly {
		return
	}
	c.cancelAt = true
	c.s.cancel(c.invite, c.endWith)
	c.arm(tickCancel, c.s.tm.limit())
}

// cancelUnanswered ends a call that never answered its CANCEL (RFC 3261
// section 9.1). Its INVITE stays behind as an orphan.
func (c *Session) cancelUnanswered() {
	if c.phase != phaseEarly {
		return
	}
	c.invite.lingerFor(c.s.tm.limit())
	c.s.metrics.invite(inbound, c.trunk.cfg.Name, 0)
	c.tell(Failed{fmt.Errorf("cancel call: %w", ErrTimeout)})
	c.phase = phaseOver
}

// newSession makes a Session; its goroutine starts with its first input.
func (s *Server) newSession(t *trunk) *Session {
	t.live.Add(1)
	return &Session{
		s: s, trunk: t, log: s.log.With(slog.String("trunk", t.cfg.Name)), inbox: newMailbox(), trace: &tracer{}, expiry: newExpiry(t.cfg.SessionExpires),
	}
}

// parseEndpoint reads what State wrote.
func parseEndpoint(proto, addr string) (endpoint, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil || (proto != "udp" && proto != "tcp" && proto != "tls") {
		return endpoint{}, fmt.Errorf("saved state: bad address %s %q", proto, addr)
	}
	return endpoint{proto: proto, addr: a}, nil
}
