package sip

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// traceBook keeps what a Session tells of its messages.
type traceBook struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
	all   []Traced
	more  chan struct{}
}

func newTraceBook(t *testing.T) *traceBook {
	t.Helper()
	return &traceBook{t: t, more: make(chan struct{}, 1000)}
}

func (b *traceBook) take(m Traced) {
	way, what := "<", m.Method
	if m.Sent {
		way = ">"
	}
	if m.Status != 0 {
		what = strconv.Itoa(m.Status) + " " + m.Method
	}
	b.mu.Lock()
	b.lines = append(b.lines, way+what)
	b.all = append(b.all, m)
	b.mu.Unlock()
	b.more <- struct{}{}
}

// settled are the lines so far without 100, which is sent or not as it happens.
func (b *traceBook) settled() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.lines), func(l string) bool { return l == ">100 INVITE" })
}

// want waits until a line is there as often as that.
func (b *traceBook) want(line string, times int) {
	b.t.Helper()
	limit := time.After(patience)
	for {
		b.mu.Lock()
		n := 0
		for _, l := range b.lines {
			if l == line {
				n++
			}
		}
		all := strings.Join(b.lines, " ")
		b.mu.Unlock()
		if n >= times {
			return
		}
		select {
		case <-b.more:
		case <-limit:
			b.t.Fatalf("%q is there %d times, want %d: %s", line, n, times, all)
		}
	}
}

func TestPlacedCallIsTraced(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	book := newTraceBook(t)
	o := call()
	o.Trace = book.take
	c, e, invite := dial(t, s, p, o)
	p.reply(invite, 100, "")
	next[Proceeding](e)
	p.reply(invite, 180, "a")
	next[Ringing](e)
	p.ok(invite, "a")
	next[Accepted](e)
	p.want("ACK")
	c.Bye(Reason{Q850: 16})
	bye := p.want("BYE")
	p.reply(bye, 200, "")
	next[ByeDone](e)
	gone(t, s)
	book.want("<200 BYE", 1)
	book.mu.Lock()
	defer book.mu.Unlock()
	if got, want := strings.Join(slices.Compact(book.lines), " "), ">INVITE <100 INVITE <180 INVITE <200 INVITE >ACK >BYE <200 BYE"; got != want {
		t.Errorf("traced %s, want %s", got, want)
	}
	first := book.all[0]
	if first.Peer != "udp "+p.addr().String() || first.Start != "INVITE "+invite.uri+" SIP/2.0" || string(first.Body) != string(invite.body) || first.At.IsZero() {
		t.Errorf("the INVITE is traced as %+v", first)
	}
	if !slices.Contains(first.Headers, Header{"Call-ID", invite.get("Call-ID")}) {
		t.Errorf("no Call-ID in %v", first.Headers)
	}
}

// TestIncomingCallIsTraced: its first messages come before it has an owner, and
// the ACK of a refusal after it has one no more.
func TestIncomingCallIsTraced(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	book := newTraceBook(t)
	serve(t, s, func(c *Session, _ Incoming) {
		c.Bind(Handling{Notify: func(Event) {}, Trace: book.take})
		c.Refuse(486, Reason{Q850: 17}, 0)
	})
	invite := p.outside("INVITE", "v=0 offer")
	p.send(s.Addr("udp"), string(invite.bytes()))
	refused := p.want("486")
	gone(t, s)
	ack := p.outside("ACK", "", "Via: "+invite.get("Via"), "From: "+invite.get("From"), "To: "+refused.get("To"), "Call-ID: "+invite.get("Call-ID"))
	p.send(s.Addr("udp"), string(ack.bytes()))
	book.want("<ACK", 1)
	if got, want := strings.Join(slices.Compact(book.settled()), " "), "<INVITE >486 INVITE <ACK"; got != want {
		t.Errorf("traced %s, want %s", got, want)
	}
}

// TestChallengeIsTraced: the INVITE without credentials, its 401 and its ACK
// belong to the call that comes of them, and to no other.
func TestChallengeIsTraced(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), guarded(p))
	book := newTraceBook(t)
	serve(t, s, func(c *Session, _ Incoming) {
		c.Bind(Handling{Notify: func(Event) {}, Trace: book.take})
		c.Refuse(486, Reason{Q850: 17}, 0)
	})
	d := &desk{peer: p, s: s}
	for range 2 * maxKnocks { // nobody comes again for most of them
		d.challenged(p.outside("INVITE", "v=0 offer"))
	}
	s.traces.mu.Lock()
	if n := len(s.traces.calls); n != maxKnocks || s.traces.knocks != n {
		t.Errorf("%d INVITEs are remembered, %d are counted, want %d", n, s.traces.knocks, maxKnocks)
	}
	for id, tr := range s.traces.calls {
		s.traces.dropLocked(id)
		for range 2 * maxKnock {
			tr.note(Traced{})
		}
		if len(tr.early) != maxKnock {
			t.Errorf("%d messages of one are remembered, want %d", len(tr.early), maxKnock)
		}
	}
	if s.traces.knocks != 0 {
		t.Errorf("%d are counted when all are forgotten", s.traces.knocks)
	}
	s.traces.mu.Unlock()

	m := p.outside("INVITE", "v=0 offer")
	ask := d.challenged(m)
	ack := p.outside("ACK", "", "Via: "+m.get("Via"), "From: "+m.get("From"), "To: "+ask.get("To"), "Call-ID: "+m.get("Call-ID"))
	p.send(s.Addr("udp"), string(ack.bytes()))
	d.resend(m, ask, 0, "pbx", "secret")
	p.want("486")
	book.want(">486 INVITE", 1)
	if got, want := strings.Join(book.settled()[:5], " "), "<INVITE >401 INVITE <ACK <INVITE >486 INVITE"; got != want {
		t.Errorf("traced %s, want %s", got, want)
	}
}

// TestTraceOfNobodyIsBounded: an INVITE that nobody takes is sent again and again.
func TestTraceOfNobodyIsBounded(t *testing.T) {
	var tr tracer
	for range 3 * maxEarly {
		tr.note(Traced{Method: "INVITE"})
	}
	if len(tr.early) != maxEarly {
		t.Errorf("%d messages wait for an owner, want %d", len(tr.early), maxEarly)
	}
	tr.bind(nil)
	tr.note(Traced{})
	if len(tr.early) != 0 {
		t.Error("messages are kept for nobody")
	}
}

// TestTracesAreForgotten: a Session that has ended holds no trace for ever.
func TestTracesAreForgotten(t *testing.T) {
	traces := &tracers{calls: map[string]*tracer{}}
	old, now := &tracer{}, &tracer{}
	traces.add("a", old)
	traces.add("a", now)
	traces.remove("a", old)
	if traces.find("a") != now {
		t.Error("the trace of another call with the same Call-ID is gone")
	}
	traces.remove("a", now)
	if len(traces.calls) != 0 {
		t.Error("the trace is kept")
	}
}

func BenchmarkTraceSent(b *testing.B) {
	m := &message{method: "INVITE", uri: "sip:600@192.0.2.10", body: []byte(strings.Repeat("a=rtpmap:8 PCMA/8000\r\n", 12))}
	for _, f := range []field{{"Via", "SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKabc"}, {"From", "<sip:a@b>;tag=c"}, {"To", "<sip:d@e>"}, {"Call-ID", "x"}, {"CSeq", "1 INVITE"}} {
		m.add(f.name, f.value)
	}
	data := m.bytes()
	traces := &tracers{calls: map[string]*tracer{}}
	for _, traced := range []string{"of a call", "of no call"} {
		if traced == "of a call" {
			tr := &tracer{}
			tr.bind(func(Traced) {})
			traces.add("x", tr)
		}
		b.Run(traced, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				traces.sent(data, endpoint{})
			}
		})
		traces = &tracers{calls: map[string]*tracer{}}
	}
}
