package sip

import "slices"

// ask is a request of ours inside a dialog, or inside one that is about to be.
// A challenge is answered once.
type ask struct {
	dialog *dialog
	method string
	fields []field
	body   []byte
	done   func(m *message, err error) // on the Session's goroutine; a 2xx to an INVITE may come again

	tx     *clientTx
	sent   dialog // as the request left
	seq    uint32
	creds  field
	proven bool // it has been repeated with credentials
}

// ask sends a request inside a dialog.
func (c *Session) ask(a *ask) {
	a.dialog.LocalSeq++
	a.seq = a.dialog.LocalSeq
	if a.dialog == c.dialog {
		c.saveDialog()
	}
	a.sent = *a.dialog
	a.sent.Routes = slices.Clone(a.dialog.Routes)
	to := c.s.nextHop(c.trunk, a.dialog)
	m := a.dialog.request(a.method, a.seq)
	if a.method == "INVITE" || a.method == "UPDATE" {
		m.add("Contact", c.s.contactOf(m.uri, to))
		m.add("Allow", allow)
	}
	m.add(a.creds.name, a.creds.value)
	m.add("User-Agent", userAgent)
	m.fields = append(m.fields, a.fields...)
	m.body = a.body
	a.tx = c.s.newClientTx(c.trunk, m, to, newBranch(), func(tx *clientTx, m *message, err error) bool {
		if !c.inbox.put(gotAnswer{a, tx, m, err}) && err == nil && a.method == "INVITE" && m.status >= 200 && m.status < 300 {
			c.acknowledge(a) // the call is over, its last re-INVITE is not
		}
		return true
	})
	a.tx.start(c.s.tm.limit())
}

// answeredAsk takes an answer to a request inside a dialog, or the news that
// none came.
func (c *Session) answeredAsk(in gotAnswer) {
	a := in.ask
	if in.tx != a.tx || (in.err == nil && in.m.status < 200) {
		return
	}
	if in.err == nil && !a.proven {
		uri := a.sent.request(a.method, 0).uri
		if creds, _, ok := c.trunk.authorize(in.m, a.method, uri); ok && in.m.from.addr.Addr() == a.sent.Peer.Addr() {
			a.creds, a.proven = creds, true
			c.ask(a)
			return
		}
	}
	if in.err == nil && a.method == "INVITE" && in.m.status < 300 {
		c.acknowledge(a)
	}
	a.done(in.m, in.err)
}

// acknowledge sends the ACK of a 2xx to a re-INVITE of ours.
func (c *Session) acknowledge(a *ask) {
	ack, to := c.s.ackFor(c.trunk, &a.sent, a.seq, a.creds)
	if c.trunk.allows(to.addr.Addr()) {
		c.s.flowTo(c.trunk, to).send(ack, nil)
	}
}
