package sip

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// desk is a peer that calls us.
type desk struct {
	*peer
	s     *Server
	calls chan *incomingTest
}

type incomingTest struct {
	*Session
	in Incoming
	*events
}

// newDesk serves calls of a peer, on the trunk that trunk makes of it if it is
// given; each shows up in calls, bound.
func newDesk(t *testing.T, trunk ...func(*peer) config.Trunk) *desk {
	t.Helper()
	p := newPeer(t)
	made := trunkTo(p)
	for _, f := range trunk {
		made = f(p)
	}
	return deskOf(t, newTestServer(t, quick(), made), p)
}

// deskOf is newDesk for a server and its peer that there are.
func deskOf(t *testing.T, s *Server, p *peer) *desk {
	t.Helper()
	d := &desk{peer: p, s: s, calls: make(chan *incomingTest, 1024)}
	serve(t, s, func(c *Session, in Incoming) {
		call := &incomingTest{c, in, newEvents(t)}
		c.Bind(Handling{
			Notify: call.events.notify, Call: "K7", Reoffer: func(offer []byte) ([]byte, error) { return offer, nil },
		})
		d.calls <- call
	})
	return d
}

// serve runs Serve until stop or the test ends it, and returns once calls are
// taken.
func serve(t *testing.T, s *Server, incoming func(*Session, Incoming)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ctx, incoming); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	for !s.serving.Load() {
		time.Sleep(time.Millisecond)
	}
	return stop
}

// outside builds a request outside any dialog; lines replace or add headers, a
// line without a value takes the header away.
func (p *peer) outside(method, body string, lines ...string) *message {
	m := &message{method: method, uri: "sip:+34600111222@gw", body: []byte(body)}
	m.add("Via", "SIP/2.0/UDP "+p.addr().String()+";rport;branch=z9hG4bK"+newTag())
	m.add("Max-Forwards", "70")
	m.add("From", `"Agent" <sip:201@pbx>;tag=`+newTag())
	m.add("To", "<sip:+34600111222@gw>")
	m.add("Call-ID", newID())
	m.add("CSeq", "1 "+method)
	if method == "INVITE" || method == "UPDATE" {
		m.add("Contact", "<sip:201@"+p.addr().String()+">")
	}
	if body != "" {
		m.add("Content-Type", contentSDP)
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		m.remove(strings.TrimSuffix(name, ":"))
		m.add(name, value)
	}
	return m
}

func (d *desk) invite(body string, lines ...string) (*message, *incomingTest) {
	d.t.Helper()
	m := d.outside("INVITE", body, lines...)
	d.send(d.s.Addr("udp"), string(m.bytes()))
	d.want("100")
	select {
	case c := <-d.calls:
		return m, c
	case <-time.After(patience):
		d.t.Fatal("no call came in")
		return nil, nil
	}
}

// follow builds a request in the dialog of an answer to our INVITE.
func (d *desk) follow(invite, answer *message, method string, seq int) {
	d.t.Helper()
	m := &message{method: method, uri: "sip:wagate@" + d.s.Addr("udp").String()}
	m.add("Via", "SIP/2.0/UDP "+d.addr().String()+";rport;branch=z9hG4bK"+newTag())
	m.add("Max-Forwards", "70")
	m.add("From", invite.get("From"))
	m.add("To", answer.get("To"))
	m.add("Call-ID", invite.get("Call-ID"))
	m.add("CSeq", strconv.Itoa(seq)+" "+method)
	d.send(d.s.Addr("udp"), string(m.bytes()))
}

func (d *desk) cancel(invite *message) {
	d.t.Helper()
	m := &message{method: "CANCEL", uri: invite.uri}
	for _, name := range []string{"Via", "Max-Forwards", "From", "To", "Call-ID"} {
		m.add(name, invite.get(name))
	}
	m.add("CSeq", "1 CANCEL")
	m.add("Reason", "Q.850;cause=16")
	d.send(d.s.Addr("udp"), string(m.bytes()))
}

func TestIncomingCall(t *testing.T) {
	d := newDesk(t)
	invite, c := d.invite("v=0 offer", "X-WA-Number: support", "P-Asserted-Identity: <sip:202@pbx>", "Max-Forwards: 12")
	want := Incoming{Trunk: "pbx", CallID: invite.get("Call-ID"), URI: invite.uri, To: "+34600111222", Caller: Party{Number: "202"}, MaxForwards: 11, Source: d.addr().Addr()}
	if got := c.in; got.Trunk != want.Trunk || got.CallID != want.CallID || got.URI != want.URI || got.To != want.To || got.Caller != want.Caller ||
		got.MaxForwards != want.MaxForwards || got.Source != want.Source || string(got.SDP) != "v=0 offer" || len(got.Headers) != 1 || got.Headers[0] != (Header{"x-wa-number", "support"}) {
		t.Errorf("got %+v", got)
	}
	c.Ring()
	ringing := d.want("180")
	d.want("180") // it goes on ringing
	c.Answer([]byte("v=0 answer"))
	ok := d.want("200")
	if string(ok.body) != "v=0 answer" || tag(ok.get("To")) != tag(ringing.get("To")) || !ok.has("Contact") {
		t.Errorf("unexpected 200:\n%s", ok.bytes())
	}
	d.want("200")
	d.follow(invite, ok, "ACK", 1)
	next[Acked](c.events)
	d.never("200", 100*time.Millisecond)
	c.Bye(Reason{Q850: 16})
	bye := d.want("BYE")
	if bye.uri != "sip:201@"+d.addr().String() || bye.get("To") != invite.get("From") {
		t.Errorf("unexpected BYE:\n%s", bye.bytes())
	}
	d.reply(bye, 200, "")
	next[ByeDone](c.events)
	gone(t, d.s)
}

func TestIncomingCallIsRefused(t *testing.T) {
	d := newDesk(t)
	invite, c := d.invite("v=0")
	c.Refuse(403, Reason{Q850: 21, Text: "country", WAError: "not_allowed;meta=138006", Warning: 399}, 1500*time.Millisecond)
	m := d.want("403")
	if m.get("x-wa-call") != "K7" || m.get("warning") != `399 wagate "country"` {
		t.Errorf("X-WA-Call and Warning are missing:\n%s", m.bytes())
	}
	if m.get("Reason") != `Q.850;cause=21;text="country"` || m.get("x-wa-error") != "not_allowed;meta=138006" || m.get("Retry-After") != "2" {
		t.Errorf("unexpected refusal:\n%s", m.bytes())
	}
	d.want("403") // again until the ACK
	d.send(d.s.Addr("udp"), string(invite.bytes()))
	d.want("403")
	ack := d.outside("ACK", "", "Via: "+invite.get("Via"), "From: "+invite.get("From"), "To: "+m.get("To"), "Call-ID: "+invite.get("Call-ID"))
	d.send(d.s.Addr("udp"), string(ack.bytes()))
	d.never("403", 150*time.Millisecond)
	gone(t, d.s)
	c.none(0)
}

func TestIncomingCallIsCancelled(t *testing.T) {
	d := newDesk(t)
	t.Run("ringing", func(t *testing.T) {
		invite, c := d.invite("v=0")
		c.Ring()
		d.want("180")
		d.cancel(invite)
		d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "1 CANCEL" })
		if m := d.want("487"); m.get("x-wa-error") != "cancelled" || m.get("x-wa-call") != "K7" || m.has("Reason") {
			t.Errorf("unexpected 487:\n%s", m.bytes())
		}
		if got := next[Cancelled](c.events); got.Q850 != 16 {
			t.Errorf("cancelled with cause %d", got.Q850)
		}
		c.Answer([]byte("too late"))
		d.never("200", 50*time.Millisecond)
		gone(t, d.s)
	})
	t.Run("crossing our 200", func(t *testing.T) {
		invite, c := d.invite("v=0")
		c.Answer([]byte("v=0"))
		ok := d.want("200")
		d.cancel(invite)
		d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "1 CANCEL" })
		d.follow(invite, ok, "ACK", 1)
		next[Acked](c.events)
		d.follow(invite, ok, "BYE", 2)
		d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "2 BYE" })
		next[Hungup](c.events)
		gone(t, d.s)
	})
	t.Run("unknown", func(*testing.T) {
		d.cancel(d.outside("INVITE", ""))
		d.want("481")
	})
}

func TestIncomingByeBeforeAck(t *testing.T) {
	d := newDesk(t)
	invite, c := d.invite("v=0")
	c.Answer([]byte("v=0"))
	ok := d.want("200")
	d.follow(invite, ok, "BYE", 2)
	d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "2 BYE" })
	next[Hungup](c.events)
	gone(t, d.s)
	d.follow(invite, ok, "ACK", 1)
	d.never("200", 50*time.Millisecond)
}

func TestIncomingByeInsteadOfCancel(t *testing.T) {
	d := newDesk(t)
	invite, c := d.invite("v=0")
	c.Ring()
	d.follow(invite, d.want("180"), "BYE", 2)
	d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "2 BYE" })
	if m := d.want("487"); m.get("x-wa-error") != "cancelled" || m.get("x-wa-call") != "K7" {
		t.Errorf("unexpected 487:\n%s", m.bytes())
	}
	next[Cancelled](c.events)
	gone(t, d.s)
}

func TestIncomingAnswerWithoutAck(t *testing.T) {
	d := newDesk(t)
	_, c := d.invite("v=0")
	started := time.Now()
	c.Answer([]byte("v=0"))
	next[NoAck](c.events)
	if took, want := time.Since(started), quick().limit(); took < want || took > 2*want {
		t.Errorf("gave up after %v, want %v", took, want)
	}
	bye := d.want("BYE")
	if bye.get("x-wa-error") != "answer_failed" || bye.get("x-wa-call") != "K7" {
		t.Errorf("unexpected BYE:\n%s", bye.bytes())
	}
	d.reply(bye, 200, "")
	next[ByeDone](c.events)
	gone(t, d.s)
}

func TestIncomingHangupWaitsForAck(t *testing.T) {
	d := newDesk(t)
	invite, c := d.invite("")
	c.Answer([]byte("v=0 our offer"))
	ok := d.want("200")
	c.Bye(Reason{Q850: 16})
	d.never("BYE", 50*time.Millisecond)
	d.follow(invite, ok, "ACK", 1)
	next[Acked](c.events)
	d.reply(d.want("BYE"), 200, "")
	next[ByeDone](c.events)
}

func TestIncomingCallNobodyTakes(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	m := p.outside("INVITE", "v=0")
	p.send(s.Addr("udp"), string(m.bytes()))
	p.never("503", 5*quick().t1) // Serve does not run yet; whoever sent it will repeat it
	serve(t, s, func(c *Session, in Incoming) {
		switch in.Caller.Name {
		case "refused":
			c.Refuse(403, Reason{}, 0)
		case "panics":
			panic("a handler's fault")
		}
	})
	for name, want := range map[string]string{"forgotten": "500", "refused": "403", "panics": "500"} {
		p.send(s.Addr("udp"), string(p.outside("INVITE", "v=0", `From: "`+name+`" <sip:a@b>;tag=1`).bytes()))
		p.want(want)
	}
	s.Drain(90 * time.Second)
	p.send(s.Addr("udp"), string(p.outside("INVITE", "v=0").bytes()))
	got := p.want("503")
	if got.get("Retry-After") != "90" || got.get("x-wa-error") != "draining" || got.get("Reason") != `Q.850;cause=42;text="draining"` {
		t.Errorf("unexpected refusal while draining:\n%s", got.bytes())
	}
	p.send(s.Addr("udp"), string(p.outside("OPTIONS", "").bytes()))
	p.want("503")
	gone(t, s)
}

func TestMergedRequest(t *testing.T) {
	d := newDesk(t)
	invite, _ := d.invite("v=0")
	for i := range invite.fields {
		if invite.fields[i].name == "Via" {
			invite.fields[i].value += "2"
		}
	}
	d.send(d.s.Addr("udp"), string(invite.bytes()))
	d.want("482")
}

func TestCallersFromElsewhereMayNotCall(t *testing.T) {
	p := newPeer(t)
	trunk := trunkTo(p)
	trunk.Sources = prefixes(t, "127.0.0.77/32")
	s := newTestServer(t, quick(), trunk)
	serve(t, s, func(*Session, Incoming) { t.Error("a call came in") })
	p.send(s.Addr("udp"), string(p.outside("INVITE", "v=0").bytes()))
	p.send(s.Addr("udp"), string(p.outside("OPTIONS", "").bytes()))
	if got := <-p.in; got.status != 200 {
		t.Errorf("the target's INVITE is not silent: %s", got.bytes())
	}
}
