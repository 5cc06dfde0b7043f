package sip

import "fmt"

// refuseLost refuses an INVITE that the dead process had not answered, or not as
// far as is known: who has our 200 does not listen any more. 480 is right
// whether or not the far end was told that it rings. It returns nothing where
// there is nothing to refuse, or it is being refused.
func (s *Server) refuseLost(t *trunk, st durable, r Reason) (*serverTx, error) {
	d := st.Dialog
	if st.Asked == nil || len(st.Asked.Via) == 0 || !t.allows(d.Peer.Addr()) {
		return nil, nil
	}
	m := &message{method: "INVITE", uri: st.Asked.URI}
	for _, via := range st.Asked.Via {
		m.add("Via", via)
	}
	m.add("From", d.Remote)
	m.add("To", d.Local)
	m.add("Call-ID", d.CallID)
	m.add("CSeq", utoa(st.Asked.CSeq)+" INVITE")
	s.mu.Lock()
	known := s.servers[serverKey(m, m.method)] != nil
	s.mu.Unlock()
	if known {
		return nil, nil
	}
	tx := s.newServerTx(m, s.wayBack(t, st.Asked, d))
	if tx == nil {
		return nil, fmt.Errorf("recover call: %w: too many requests are open", ErrTransport)
	}
	answer := response(m, 480, "", tx.fl)
	answer.addReason(r)
	tx.unsent = func(error) { // nobody listens there; the call's own requests go another way
		s.flowTo(t, s.nextHop(t, d)).send(answer.bytes(), nil)
	}
	tx.respond(answer)
	return tx, nil
}

// wayBack is the way of an answer to an INVITE of an earlier process: over UDP
// from the socket that it came to, else to where the far end's Via says that it
// listens, because its connection is gone (RFC 3261 section 18.2.2).
func (s *Server) wayBack(t *trunk, a *asked, d *dialog) flow {
	to := endpoint{proto: d.Proto, addr: d.Peer}
	if to.proto != "udp" {
		if v, ok := parseVia(a.Via[0]); ok {
			port := v.port
			if port == 0 {
				port = portOf(to.proto)
			}
			to.addr = addrPort(to.addr.Addr(), port)
		}
		return s.flowTo(t, to)
	}
	for _, sock := range s.sockets {
		if sock.local == a.Local {
			return flow{sock: sock, remote: to.addr}
		}
	}
	return s.flowTo(t, to)
}

// fade ends a refusal that is not confirmed soon: it is a BYE that was, so that
// perhaps nobody waits for it.
func (tx *serverTx) fade() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.limit != nil {
		tx.limit.Reset(tx.s.tm.t2)
	}
}
