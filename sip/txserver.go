package sip

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// serverTx is one request of a trunk until its final answer is settled.
type serverTx struct {
	s      *Server
	key    string
	merge  string // what a forked copy of the same INVITE has in common with it
	req    *message
	fl     flow // where answers go
	tag    string
	invite bool
	owner  atomic.Pointer[Session] // of an INVITE that opened a call

	mu       sync.Mutex
	state    txState
	last     []byte // the last answer, sent again when the request comes again
	interval time.Duration
	again    *time.Timer // timer G
	limit    *time.Timer // timers H, I, J and L
	unsent   func(error) // told that an answer did not leave; nil: it is lost
	soon     *time.Timer // until 100
	waited   bool        // long enough for it
	noted    bool        // the call is on disk
}

// serverKey names the transaction of a request (RFC 3261 section 17.2.3). An
// ACK belongs to its INVITE, and so does the key asked for a CANCEL. A Via
// without the magic cookie is matched by the old rules.
func serverKey(m *message, method string) string {
	if method == "ACK" || method == "CANCEL" {
		method = "INVITE"
	}
	top := m.get("Via")
	v, _ := parseVia(top)
	branch, _ := v.params.get("branch")
	if cookie := "z9hG4bK"; len(branch) > len(cookie) && strings.EqualFold(branch[:len(cookie)], cookie) {
		return branch + "|" + strings.ToLower(hostPort(v.host, v.port)) + "|" + method
	}
	n, _ := m.cseq()
	return strings.Join([]string{top, m.get("Call-ID"), tag(m.get("From")), m.uri, utoa(n), method}, "|")
}

// newServerTx registers the transaction of a new request. It returns nil when
// the server is at its limit.
func (s *Server) newServerTx(req *message, fl flow) *serverTx {
	tx := &serverTx{
		s: s, key: serverKey(req, req.method), req: req, fl: replyFlow(req, fl), tag: newTag(),
		invite: req.method == "INVITE", interval: s.tm.t1,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.servers) >= maxServerTx {
		return nil
	}
	s.servers[tx.key] = tx
	if tx.invite && tag(req.get("To")) == "" {
		tx.merge = mergeKey(req)
		s.merged[tx.merge] = tx
	}
	return tx
}

// mergeKey is what two copies of one INVITE have in common (RFC 3261 section 8.2.2.2).
func mergeKey(m *message) string {
	return tag(m.get("From")) + "|" + m.get("Call-ID") + "|" + m.get("CSeq")
}

// trying sends 100 unless something else is answered in time (RFC 3261 section
// 17.2.1), and as a rule not before the owner has noted the call on disk: until
// then the far end repeats its INVITE, and a process that takes over from one
// that died hears of the call.
func (tx *serverTx) trying() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.soon = time.AfterFunc(tx.s.tm.trying, func() {
		defer tx.s.guard()
		tx.mu.Lock()
		defer tx.mu.Unlock()
		if !tx.noted && !tx.waited && tx.last == nil {
			tx.waited = true
			tx.soon.Reset(tx.s.tm.noting)
			return
		}
		tx.try()
	})
}

// note says that the call is on disk.
func (tx *serverTx) note() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.noted = true
	if tx.waited {
		tx.try()
	}
}

// try sends 100 where nothing was answered. The transaction is locked.
func (tx *serverTx) try() {
	if tx.last == nil && tx.state != txGone {
		tx.send(response(tx.req, 100, tx.tag, tx.fl))
	}
}

// respond sends an answer and remembers it for repeats of the request.
func (tx *serverTx) respond(m *message) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.state != txCompleted && tx.state != txGone {
		tx.send(m)
	}
}

// send is respond for a transaction that is locked and takes answers.
func (tx *serverTx) send(m *message) {
	if tx.soon != nil {
		tx.soon.Stop()
	}
	tx.last = m.bytes()
	tx.fl.send(tx.last, tx.unsent)
	limit := tx.s.tm.limit()
	switch {
	case m.status < 200:
		tx.state = txProceeding
	case !tx.invite:
		tx.state = txCompleted
		tx.limit = time.AfterFunc(limit, tx.end)
	case m.status < 300: // its owner repeats a 2xx until the ACK
		if tx.state != txAccepted {
			tx.limit = time.AfterFunc(limit, tx.end)
		}
		tx.state = txAccepted
	default:
		tx.state = txCompleted
		tx.limit = time.AfterFunc(limit, tx.end)
		if tx.fl.conn == nil {
			tx.again = time.AfterFunc(tx.interval, tx.repeat)
		}
	}
}

// answer builds and sends an answer in one step.
func (tx *serverTx) answer(status int, extra ...field) {
	tx.respond(response(tx.req, status, tx.tag, tx.fl, extra...))
}

// repeat sends a refusal again until its ACK (timer G).
func (tx *serverTx) repeat() {
	defer tx.s.guard()
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.state != txCompleted {
		return
	}
	tx.interval = min(2*tx.interval, tx.s.tm.t2)
	tx.again.Reset(tx.interval)
	tx.fl.send(tx.last, nil)
}

// retransmitted answers the same request again. A 2xx is left to its owner.
func (tx *serverTx) retransmitted() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.last != nil && tx.state != txGone && tx.state != txAccepted {
		tx.fl.send(tx.last, nil)
	}
}

// acked takes the ACK of a refusal. It returns false when there was none, so
// that the ACK belongs to a dialog.
func (tx *serverTx) acked() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if !tx.invite || tx.state != txCompleted {
		return false
	}
	if tx.again != nil {
		tx.again.Stop()
	}
	tx.limit.Reset(tx.s.tm.t4)
	return true
}

// final tells whether a final answer has been given.
func (tx *serverTx) final() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.state >= txAccepted
}

// seq returns the number of the request.
func (tx *serverTx) seq() uint32 {
	n, _ := tx.req.cseq()
	return n
}

// end forgets the transaction.
func (tx *serverTx) end() {
	tx.mu.Lock()
	tx.state = txGone
	for _, t := range []*time.Timer{tx.again, tx.limit, tx.soon} {
		if t != nil {
			t.Stop()
		}
	}
	tx.mu.Unlock()
	tx.s.mu.Lock()
	defer tx.s.mu.Unlock()
	if tx.s.servers[tx.key] == tx {
		delete(tx.s.servers, tx.key)
	}
	if tx.merge != "" && tx.s.merged[tx.merge] == tx {
		delete(tx.s.merged, tx.merge)
	}
}
