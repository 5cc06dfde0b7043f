package sip

import (
	"cmp"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"
)

// take handles one message of a known source, on the goroutine that read it:
// nothing here waits. It returns false when a stream has lost its framing.
func (s *Server) take(data []byte, datagram bool, fl flow) (whole bool) {
	m, f := parse(data, datagram)
	if m == nil {
		s.metrics.reject(f.label)
		return false
	}
	m.from = fl.endpoint()
	s.traces.received(m)
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("sip handler panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			s.refuse(m, fl, &fault{status: 500, label: "panic"})
			whole = false
		}
	}()
	if !m.isRequest() {
		s.takeResponse(m, f, fl)
		return f == nil
	}
	if f == nil {
		f = checkFrame(m)
		whole = f == nil
		if whole {
			f = check(m)
		}
	} else if f.label == "version" {
		whole = true
	}
	if f != nil {
		s.refuse(m, fl, f)
		return whole
	}
	s.takeRequest(m, fl)
	return true
}

// takeResponse gives a response to its transaction. One that belongs to none
// is dropped, but for a 2xx that would leave a call alive at the far end.
func (s *Server) takeResponse(m *message, f *fault, fl flow) {
	if f == nil {
		f = checkResponse(m)
	}
	if f != nil {
		s.metrics.reject("malformed")
		return
	}
	v, _ := parseVia(m.get("Via"))
	branch, _ := v.params.get("branch")
	_, method := m.cseq()
	s.mu.Lock()
	tx := s.clients[clientKey(branch, method)]
	s.mu.Unlock()
	switch {
	case tx == nil:
		if method == "INVITE" && m.status >= 200 && m.status < 300 {
			s.straggler(m, v, fl)
			return
		}
		s.metrics.reject("stray")
	case !tx.trunk.admits(fl):
		s.metrics.reject("source")
	default:
		tx.receive(m)
	}
}

// straggler is a 2xx whose transaction is over. A call that is up gets its ACK
// again; anything else is ended, if it was ours at all.
func (s *Server) straggler(m *message, v via, fl flow) {
	host, port := s.localHost(fl.endpoint())
	t := s.acl.Load().any(fl.remote.Addr())
	if t == nil || v.host != host || (v.port != port && v.port != 0) {
		s.metrics.reject("stray")
		return
	}
	s.mu.Lock()
	c := s.sessions[sessionKey{m.get("Call-ID"), tag(m.get("From"))}]
	s.mu.Unlock()
	if c != nil && c.inbox.put(gotResponse{tx: c.answeredBy(), m: m}) {
		return
	}
	s.endStray(t, m, stray)
}

// takeRequest routes a request that the gate let through.
func (s *Server) takeRequest(m *message, fl flow) {
	key := serverKey(m, m.method)
	s.mu.Lock()
	tx := s.servers[key]
	s.mu.Unlock()
	switch {
	case m.method == "ACK":
		if tx == nil || !tx.acked() {
			if c := s.session(m); c != nil && c.trunk.admits(fl) {
				c.inbox.put(gotRequest{m: m, fl: fl})
			}
		}
	case m.method == "CANCEL":
		s.takeCancel(m, tx, fl)
	case tx != nil:
		tx.retransmitted()
	case tag(m.get("To")) != "":
		s.takeInDialog(m, fl)
	default:
		s.takeOutside(m, fl)
	}
}

// takeCancel answers a CANCEL and tells the call. It must come from where the
// INVITE may come from.
func (s *Server) takeCancel(m *message, tx *serverTx, fl flow) {
	var c *Session
	if tx != nil {
		c = tx.owner.Load()
	}
	if t := s.acl.Load().any(fl.remote.Addr()); tx != nil && c == nil && t != nil && t.admits(fl) {
		// An INVITE in a dialog, or one of an earlier process: it has its answer, or
		// will in a moment. Both answers have one tag (RFC 3261 section 9.2).
		replyFlow(m, fl).send(response(m, 200, cmp.Or(tag(tx.req.get("To")), tx.tag), fl).bytes(), nil)
		return
	}
	if c == nil || !c.trunk.admits(fl) {
		s.refuse(m, fl, &fault{status: 481, label: "dialog"})
		return
	}
	replyFlow(m, fl).send(response(m, 200, tx.tag, fl).bytes(), nil)
	c.inbox.put(gotCancel{m})
}

// takeInDialog gives a request to the call that it names, if its source is of
// that call's trunk.
func (s *Server) takeInDialog(m *message, fl flow) {
	c := s.session(m)
	if c == nil || !c.trunk.admits(fl) {
		if m.method == "OPTIONS" && c == nil {
			s.options(m, fl) // RFC 3261 section 11.2: as outside
			return
		}
		s.refuse(m, fl, &fault{status: 481, label: "dialog"})
		return
	}
	tx := s.newServerTx(m, fl)
	if tx == nil {
		s.refuse(m, fl, busy())
		return
	}
	if !c.inbox.put(gotRequest{m: m, fl: fl, tx: tx}) {
		tx.answer(c.afterlife(m.method))
	}
}

func busy() *fault {
	extra := Reason{Q850: 42, Text: "overloaded", WAError: "overloaded"}.fields()
	return &fault{503, "overload", "Service Unavailable", append(extra, field{"Retry-After", strconv.Itoa(busyRetry)})}
}

// plain refuses what should have come over TLS.
func plain() *fault {
	r := Reason{Q850: 21, Text: "TLS is wanted", WAError: "not_allowed", Warning: 399}
	return &fault{403, "plain", "Forbidden", r.fields()}
}

// busyRetry is after how many seconds a PBX may try again where it was too much
// for a moment.
const busyRetry = 5

// leaving refuses calls of a server that takes none yet, or no more.
func (s *Server) leaving() *fault {
	wait := busyRetry
	if until := s.drained.Load(); until != 0 {
		left := time.Until(time.Unix(0, until)) + time.Second - 1
		wait = max(int(left/time.Second), 1)
	}
	extra := Reason{Q850: 42, Text: "draining", WAError: "draining"}.fields()
	return &fault{503, "draining", "Service Unavailable", append(extra, field{"Retry-After", strconv.Itoa(wait)})}
}

// takeOutside takes a request outside any dialog.
func (s *Server) takeOutside(m *message, fl flow) {
	switch m.method {
	case "OPTIONS":
		s.options(m, fl)
	case "INVITE":
		s.takeInvite(m, fl)
	case "REFER":
		s.refuse(m, fl, &fault{status: 603, label: "method"})
	default:
		s.refuse(m, fl, &fault{status: 481, label: "dialog"})
	}
}

// options answers as an INVITE would be answered.
func (s *Server) options(m *message, fl flow) {
	if s.draining.Load() {
		s.refuse(m, fl, &fault{status: 503, label: "draining"})
		return
	}
	r := response(m, 200, s.statelessTag(m), fl, field{"Allow", allow}, field{"Accept", contentSDP}, field{"Supported", supported}, field{"User-Agent", userAgent})
	replyFlow(m, fl).send(r.bytes(), nil)
}

// takeInvite opens a call.
func (s *Server) takeInvite(m *message, fl flow) {
	t := s.acl.Load().caller(fl.remote.Addr())
	if t == nil { // answers us, but may not call
		s.metrics.reject("source")
		return
	}
	if fl.proto() != "tls" && (t.sips || isSecure(m.uri) || isSecure(contactURI(m))) {
		s.refuse(m, fl, plain())
		return
	}
	s.mu.Lock()
	_, merged := s.merged[mergeKey(m)]
	full := len(s.sessions) >= maxSessions
	ready := s.incoming != nil
	s.mu.Unlock()
	switch {
	case merged:
		s.refuse(m, fl, &fault{status: 482, label: "merged"})
		return
	case !ready && fl.proto() == "udp" && !s.draining.Load():
		// Its sender repeats it: perhaps it is one that an earlier process did not
		// answer, and that this one will have refused, or can take.
		s.metrics.reject("starting")
		return
	case s.draining.Load() || !s.serving.Load() || !ready:
		s.refuse(m, fl, s.leaving())
		return
	case full:
		s.refuse(m, fl, busy())
		return
	}
	now := time.Now()
	if s.loops.on(m) {
		s.refuse(m, fl, s.looped(t, now))
		return
	}
	if f := s.authenticate(t, m, fl, now); f != nil {
		s.traces.challenged(m)
		s.refuse(m, fl, f)
		return
	}
	if m.has("Replaces") {
		s.takeReplacing(t, m, fl)
		return
	}
	tx := s.newServerTx(m, fl)
	if tx == nil {
		s.refuse(m, fl, busy())
		return
	}
	s.incomingCall(t, m, tx, nil)
}
