package sip

import (
	"bytes"
	"strconv"
	"sync"
	"time"
)

// Traced is one message of a call as it crossed our transport, repeats too.
// Folded lines are joined and compact header names written out; nothing is left
// out, so whoever keeps it has to cut what nobody may see.
type Traced struct {
	At      time.Time
	Sent    bool
	Peer    string // transport and address of the other end
	Start   string // the request line or the status line
	Method  string // of a response: that of its request
	Status  int    // 0 in a request
	Headers []Header
	Body    []byte
}

// maxEarly is how many messages of an incoming call wait for its owner.
const maxEarly = 8

// tracer takes the messages of one Session to its owner. They come from
// whatever goroutine reads or sends.
type tracer struct {
	mu    sync.Mutex
	tell  func(Traced)
	bound bool     // tell is settled, even where it is nil
	early []Traced // before that
}

func (t *tracer) note(m Traced) {
	t.mu.Lock()
	tell := t.tell
	if !t.bound && len(t.early) < maxEarly {
		t.early = append(t.early, m)
	}
	t.mu.Unlock()
	if tell != nil {
		tell(m)
	}
}

// bind settles who is told, beginning with what came before.
func (t *tracer) bind(tell func(Traced)) {
	t.mu.Lock()
	early := t.early
	t.tell, t.bound, t.early = tell, true, nil
	t.mu.Unlock()
	if tell == nil {
		return
	}
	for _, m := range early {
		tell(m)
	}
}

// tracers finds the Session of a message by its Call-ID, which is all that a
// transport knows of it.
type tracers struct {
	mu    sync.Mutex // a leaf
	calls map[string]*tracer
}

func (t *tracers) add(callID string, tr *tracer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[callID] = tr
}

func (t *tracers) remove(callID string, tr *tracer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls[callID] == tr {
		delete(t.calls, callID)
	}
}

func (t *tracers) find(callID string) *tracer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls[callID]
}

// received notes a message that was read.
func (t *tracers) received(m *message) {
	if tr := t.find(m.get("Call-ID")); tr != nil {
		tr.note(traced(m, m.from, false))
	}
}

// sent notes a message that we wrote ourselves, so its Call-ID stands in its
// long form.
func (t *tracers) sent(data []byte, to endpoint) {
	_, rest, found := bytes.Cut(data, []byte("\r\nCall-ID: "))
	if !found {
		return
	}
	id, _, _ := bytes.Cut(rest, []byte("\r\n"))
	tr := t.find(string(id))
	if tr == nil {
		return
	}
	if m, _ := parse(data, true); m != nil {
		tr.note(traced(m, to, true))
	}
}

func traced(m *message, peer endpoint, sent bool) Traced {
	t := Traced{At: time.Now(), Sent: sent, Peer: peer.String(), Status: m.status, Body: bytes.Clone(m.body)}
	if m.isRequest() {
		t.Method, t.Start = m.method, m.method+" "+m.uri+" SIP/2.0"
	} else {
		_, t.Method = m.cseq()
		t.Start = "SIP/2.0 " + strconv.Itoa(m.status) + " " + m.reason
	}
	for _, f := range m.fields {
		t.Headers = append(t.Headers, Header{f.name, f.value})
	}
	return t
}

// untrace ends a Session's trace once its transactions are over: the answer to a
// BYE and the ACK of a refusal come after its end.
func (c *Session) untrace() {
	id := c.CallID()
	time.AfterFunc(c.s.tm.limit(), func() { c.s.traces.remove(id, c.trace) })
}
