package sip

import (
	"bytes"
	"slices"
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

const (
	// maxEarly is how many messages of an incoming call wait for its owner.
	maxEarly = 16
	// maxKnock is how many of them may be from before its credentials were right,
	// maxKnocks how many INVITEs are remembered that had none, and knockRest how long.
	maxKnock  = 8
	maxKnocks = 32
	knockRest = 5 * time.Second
)

// tracer takes the messages of one Session to its owner. They come from
// whatever goroutine reads or sends.
type tracer struct {
	knock bool // there is no Session yet: its INVITE was challenged
	mu    sync.Mutex
	tell  func(Traced)
	bound bool     // tell is settled, even where it is nil
	early []Traced // before that
}

func (t *tracer) note(m Traced) {
	t.mu.Lock()
	tell, limit := t.tell, maxEarly
	if t.knock {
		limit = maxKnock
	}
	if !t.bound && len(t.early) < limit {
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
	mu     sync.Mutex // but for a tracer's mu a leaf
	calls  map[string]*tracer
	knocks int // of them that have no Session yet
}

// challenged remembers an INVITE that is challenged, and what follows: the call
// comes again, with credentials, and its trace begins here.
func (t *tracers) challenged(m *message) {
	id := m.get("Call-ID")
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls[id] != nil || t.knocks == maxKnocks {
		return
	}
	tr := &tracer{knock: true}
	t.calls[id] = tr
	t.knocks++
	tr.note(traced(m, m.from, false))
	time.AfterFunc(knockRest, func() { t.remove(id, tr) })
}

// opened begins the trace of a Session, with what its INVITE met before.
func (t *tracers) opened(m *message, tr *tracer) {
	id := m.get("Call-ID")
	t.mu.Lock()
	before := t.calls[id]
	t.dropLocked(id)
	t.calls[id] = tr
	t.mu.Unlock()
	if before != nil && before.knock {
		tr.inherit(before, m.get("Via"))
	}
	tr.note(traced(m, m.from, false))
}

// inherit takes over what another has noted but for the INVITE that came by via:
// it is about to be noted.
func (t *tracer) inherit(before *tracer, via string) {
	before.mu.Lock()
	defer before.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range before.early {
		if m.Sent || m.Method != "INVITE" || !slices.Contains(m.Headers, Header{"Via", via}) {
			t.early = append(t.early, m)
		}
	}
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
		t.dropLocked(callID)
	}
}

func (t *tracers) dropLocked(callID string) {
	if tr := t.calls[callID]; tr != nil && tr.knock {
		t.knocks--
	}
	delete(t.calls, callID)
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
