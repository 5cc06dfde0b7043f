package sip

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// txState is where a transaction stands (RFC 3261 section 17, RFC 6026).
type txState uint8

const (
	txCalling    txState = iota // nothing heard yet
	txProceeding                // a provisional answer
	txAccepted                  // INVITE: a 2xx, repeats go to the owner
	txCompleted                 // a final answer that is acknowledged here
	txGone
)

// clientTx is one request of ours until its final answer is settled. It
// repeats itself over UDP, acknowledges refusals of an INVITE, and hands
// everything new to its owner. An INVITE whose owner has gone is an orphan: it
// ends by itself whatever still comes.
type clientTx struct {
	s       *Server
	trunk   *trunk
	key     string
	req     *message
	to      endpoint
	invite  bool
	deliver func(tx *clientTx, m *message, err error) bool // false: the owner is gone

	mu       sync.Mutex
	fl       flow
	data     []byte
	state    txState
	interval time.Duration
	again    *time.Timer // timers A and E
	limit    *time.Timer // timers B, D, F, K and M, whichever is due
	ack      []byte      // of a refused INVITE
	hushed   bool        // an orphan that has sent its CANCEL
}

func clientKey(branch, method string) string { return branch + "|" + method }

// request sends a request as a transaction of its own: Via is put in front
// here. patience is how long it waits for any answer at all.
func (s *Server) request(t *trunk, req *message, to endpoint, branch string, patience time.Duration, deliver func(*clientTx, *message, error) bool) {
	s.newClientTx(t, req, to, branch, deliver).start(patience)
}

// newClientTx registers a transaction without sending anything.
func (s *Server) newClientTx(t *trunk, req *message, to endpoint, branch string, deliver func(*clientTx, *message, error) bool) *clientTx {
	req.fields = append([]field{{"Via", s.viaFor(to, branch)}}, req.fields...)
	tx := &clientTx{
		s: s, trunk: t, key: clientKey(branch, req.method), req: req, to: to,
		invite: req.method == "INVITE", deliver: deliver, data: req.bytes(), interval: s.tm.t1,
	}
	s.mu.Lock()
	s.clients[tx.key] = tx
	s.mu.Unlock()
	return tx
}

// start sends the request and winds the timers up.
func (tx *clientTx) start(patience time.Duration) {
	if !tx.trunk.allows(tx.to.addr.Addr()) {
		tx.fail(fmt.Errorf("send to %v: %w", tx.to, ErrForbidden))
		return
	}
	fl := tx.s.flowTo(tx.trunk, tx.to)
	tx.mu.Lock()
	if tx.state == txGone {
		tx.mu.Unlock()
		return
	}
	tx.fl = fl
	if tx.to.proto == "udp" {
		tx.again = time.AfterFunc(tx.interval, tx.repeat)
	}
	tx.limit = time.AfterFunc(patience, func() { tx.expire() })
	tx.mu.Unlock()
	fl.send(tx.data, tx.fail)
}

// repeat sends the request again: INVITE doubles for ever, others up to T2
// (timers A and E).
func (tx *clientTx) repeat() {
	defer tx.s.guard()
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.state != txCalling && (tx.invite || tx.state != txProceeding) {
		return
	}
	tx.interval *= 2
	if !tx.invite && (tx.interval > tx.s.tm.t2 || tx.state == txProceeding) {
		tx.interval = tx.s.tm.t2
	}
	tx.again.Reset(tx.interval)
	tx.fl.send(tx.data, nil)
}

// expire is the end of waiting: for a first answer, or for repeats of a final one.
func (tx *clientTx) expire() {
	defer tx.s.guard()
	tx.mu.Lock()
	state := tx.state
	if tx.again != nil {
		tx.again.Stop()
	}
	if state == txCalling && tx.invite {
		// The far end may wake up yet: stay to end what it then begins.
		tx.limit.Reset(tx.s.tm.limit())
		tx.state = txProceeding
		tx.mu.Unlock()
		tx.deliver(tx, nil, fmt.Errorf("%s to %v: %w", tx.req.method, tx.to, ErrSilent))
		return
	}
	tx.mu.Unlock()
	tx.end()
	switch {
	case tx.invite:
	case state == txCalling:
		tx.deliver(tx, nil, fmt.Errorf("%s to %v: %w", tx.req.method, tx.to, ErrSilent))
	case state == txProceeding:
		tx.deliver(tx, nil, fmt.Errorf("%s to %v: %w", tx.req.method, tx.to, ErrTimeout))
	}
}

// fail is the transport's verdict that the request did not leave.
func (tx *clientTx) fail(err error) {
	tx.mu.Lock()
	over := tx.state != txCalling
	tx.mu.Unlock()
	if over {
		return
	}
	tx.end()
	tx.deliver(tx, nil, fmt.Errorf("%s: %w", tx.req.method, err))
}

// failOn fails the requests that left on a connection that is gone and have had
// no answer: none will come (RFC 3261 section 18.4).
func (s *Server) failOn(c *conn) {
	s.mu.Lock()
	open := slices.Collect(maps.Values(s.clients))
	s.mu.Unlock()
	for _, tx := range open {
		tx.mu.Lock()
		hit := tx.fl.conn == c && tx.state == txCalling
		tx.mu.Unlock()
		if hit {
			tx.fail(c.lost())
		}
	}
}

// end forgets the transaction.
func (tx *clientTx) end() {
	tx.mu.Lock()
	tx.state = txGone
	for _, t := range []*time.Timer{tx.again, tx.limit} {
		if t != nil {
			t.Stop()
		}
	}
	tx.mu.Unlock()
	tx.s.mu.Lock()
	if tx.s.clients[tx.key] == tx {
		delete(tx.s.clients, tx.key)
	}
	tx.s.mu.Unlock()
}

// lingerFor keeps the transaction a while and then forgets it.
func (tx *clientTx) lingerFor(d time.Duration) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	switch {
	case tx.state == txGone:
	case tx.limit == nil:
		tx.limit = time.AfterFunc(d, tx.expire)
	default:
		tx.limit.Reset(d)
	}
}

// receive takes a response.
func (tx *clientTx) receive(m *message) {
	tx.mu.Lock()
	if tx.again != nil && (tx.invite || m.status >= 200) {
		tx.again.Stop()
	}
	was := tx.state
	switch {
	case was == txGone:
		tx.mu.Unlock()
		return
	case m.status < 200:
		if was == txCalling {
			tx.state = txProceeding
			if tx.invite && tx.limit != nil {
				tx.limit.Stop() // from now on the owner's patience counts
			}
		}
		tx.mu.Unlock()
		if was == txCalling || was == txProceeding {
			tx.hand(m)
		}
		return
	case !tx.invite:
		tx.state = txCompleted
		if tx.limit != nil {
			tx.limit.Reset(tx.s.tm.t4)
		}
		tx.mu.Unlock()
		if was != txCompleted {
			tx.hand(m)
		}
		return
	case m.status < 300:
		tx.state = txAccepted
		tx.mu.Unlock()
		if was != txAccepted {
			tx.lingerFor(tx.s.tm.limit())
		}
		tx.hand(m)
		return
	}
	if was == txAccepted { // another branch of a fork gave up
		tx.mu.Unlock()
		return
	}
	tx.state = txCompleted
	if tx.ack == nil {
		tx.ack = tx.refusalACK(m).bytes()
	}
	tx.fl.send(tx.ack, nil)
	tx.mu.Unlock()
	if was != txCompleted {
		tx.lingerFor(tx.s.tm.limit())
		tx.hand(m)
	}
}

// refusalACK builds the ACK of a refusal: same Via, same everything (RFC 3261
// section 17.1.1.3).
func (tx *clientTx) refusalACK(m *message) *message {
	ack := &message{method: "ACK", uri: tx.req.uri}
	seq, _, _ := cutSpace(tx.req.get("CSeq"))
	ack.add("Via", tx.req.get("Via"))
	ack.add("Max-Forwards", "70")
	for _, r := range tx.req.all("Route") {
		ack.add("Route", r)
	}
	ack.add("From", tx.req.get("From"))
	ack.add("To", m.get("To"))
	ack.add("Call-ID", tx.req.get("Call-ID"))
	ack.add("CSeq", seq+" ACK")
	return ack
}

// hand gives a response to the owner, or ends what nobody owns any more.
func (tx *clientTx) hand(m *message) {
	if tx.deliver(tx, m, nil) || !tx.invite {
		return
	}
	switch {
	case m.status < 200:
		tx.mu.Lock()
		hushed := tx.hushed
		tx.hushed = true
		tx.mu.Unlock()
		if !hushed {
			tx.s.cancel(tx, stray)
			tx.lingerFor(tx.s.tm.limit())
		}
	case m.status < 300:
		tx.s.endStray(tx.trunk, m, stray)
	}
}

// cancel sends the CANCEL of an INVITE: same branch, same Request-URI, same
// way (RFC 3261 section 9.1).
func (s *Server) cancel(tx *clientTx, r Reason) { s.cancelOr(tx, r, func(error) {}) }

// cancelOr is cancel, and failed is told if the CANCEL cannot be sent or is never
// answered.
func (s *Server) cancelOr(tx *clientTx, r Reason, failed func(error)) {
	c := &message{method: "CANCEL", uri: tx.req.uri}
	seq, _, _ := cutSpace(tx.req.get("CSeq"))
	c.add("Max-Forwards", "70")
	for _, route := range tx.req.all("Route") {
		c.add("Route", route)
	}
	for _, name := range []string{"From", "To", "Call-ID"} {
		c.add(name, tx.req.get(name))
	}
	c.add("CSeq", seq+" CANCEL")
	c.addReason(r)
	v, _ := parseVia(tx.req.get("Via"))
	branch, _ := v.params.get("branch")
	s.request(tx.trunk, c, tx.to, branch, s.tm.limit(), func(_ *clientTx, m *message, err error) bool {
		switch {
		case err != nil:
			failed(err)
		case m.status >= 200:
			tx.deliver(tx, nil, cancelAnswered{m.status})
		}
		return true
	})
}

// cancelAnswered tells an INVITE's owner how its CANCEL was answered.
type cancelAnswered struct{ status int }

func (c cancelAnswered) Error() string { return fmt.Sprintf("cancel answered %d", c.status) }
