package sip

import (
	"errors"
	"testing"
	"time"
)

func TestReinviteIsAbsorbed(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	offers := make(chan string, 8)
	o := call()
	o.Reoffer = func(offer []byte) ([]byte, error) {
		offers <- string(offer)
		if len(offer) == 0 {
			return []byte("all we can"), nil
		}
		if string(offer) == "bad" {
			return nil, errors.New("no codec")
		}
		return []byte("answer to " + string(offer)), nil
	}
	c, e, invite := setUp(t, s, p, o)

	p.inDialog(invite, "a", "INVITE", 10, "hold")
	ok := p.want("200")
	if string(ok.body) != "answer to hold" || <-offers != "hold" || !ok.has("Contact") {
		t.Errorf("unexpected 200:\n%s", ok.bytes())
	}
	p.want("200") // again until the ACK
	p.inDialog(invite, "a", "ACK", 10, "")
	p.never("200", 100*time.Millisecond)

	p.inDialog(invite, "a", "INVITE", 11, "bad")
	p.want("488")
	<-offers
	p.inDialog(invite, "a", "INVITE", 12, "")
	if ok = p.want("200"); string(ok.body) != "all we can" || <-offers != "" {
		t.Errorf("an INVITE without an offer got %q", ok.body)
	}
	p.inDialog(invite, "a", "INVITE", 13, "glare")
	p.want("491")
	p.inDialog(invite, "a", "UPDATE", 14, "glare")
	p.want("491")
	p.inDialog(invite, "a", "ACK", 12, "their answer")
	if got := <-offers; got != "their answer" {
		t.Errorf("the ACK brought %q", got)
	}
	p.inDialog(invite, "a", "UPDATE", 15, "update")
	if ok = p.wantThat("200", func(m *message) bool { return m.get("CSeq") == "15 UPDATE" }); string(ok.body) != "answer to update" {
		t.Errorf("UPDATE got %q", ok.body)
	}
	<-offers
	p.inDialog(invite, "a", "UPDATE", 16, "")
	p.wantThat("200", func(m *message) bool { return m.get("CSeq") == "16 UPDATE" })
	e.none(0)

	q := newPeer(t) // a new remote target
	moved := p.dialogRequest(invite, "a", "UPDATE", 17, "")
	for i := range moved.fields {
		if moved.fields[i].name == "Contact" {
			moved.fields[i].value = "<sip:phone@" + q.addr().String() + ">"
		}
	}
	p.send(s.Addr("udp"), string(moved.bytes()))
	p.wantThat("200", func(m *message) bool { return m.get("CSeq") == "17 UPDATE" })
	c.Bye(Reason{})
	q.reply(q.want("BYE"), 200, "")
	next[ByeDone](e)
}

func TestReinviteWithoutAck(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	o := call()
	o.Reoffer = func(offer []byte) ([]byte, error) { return offer, nil }
	_, e, invite := setUp(t, s, p, o)
	p.inDialog(invite, "a", "INVITE", 10, "hold")
	next[NoAck](e)
	p.reply(p.want("BYE"), 200, "")
	next[ByeDone](e)
	gone(t, s)
}

func TestMethodsInsideADialog(t *testing.T) {
	p, stranger := newPeer(t), newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	_, e, invite := setUp(t, s, p, call())
	seq := 100
	for _, c := range []struct{ method, want string }{
		{"OPTIONS", "200"},
		{"INFO", "200"},
		{"REFER", "400"}, // whom to?
		{"NOTIFY", "481"},
		{"PRACK", "481"},
		{"MESSAGE", "405"},
		{"SUBSCRIBE", "405"},
		{"REGISTER", "405"},
		{"PUBLISH", "405"},
		{"FOO", "501"},
	} {
		seq++
		p.inDialog(invite, "a", c.method, seq, "")
		if got := p.want(c.want); tag(got.get("To")) == "" {
			t.Errorf("%s: no tag in %s", c.method, got.get("To"))
		}
	}
	p.inDialog(invite, "a", "INFO", 200, "x")
	p.want("415")
	p.inDialog(invite, "a", "INVITE", 201, "no owner for it")
	p.want("488")
	p.inDialog(invite, "a", "OPTIONS", 150, "")
	p.want("500") // a lower CSeq
	p.inDialog(invite, "other", "BYE", 300, "")
	p.want("481")
	req := p.dialogRequest(invite, "a", "BYE", 301, "")
	req.fields = append(req.fields, field{"X", "1"})
	for i := range req.fields {
		if req.fields[i].name == "To" {
			req.fields[i].value = "<sip:x@y>;tag=unknown"
		}
	}
	p.send(s.Addr("udp"), string(req.bytes()))
	p.want("481")
	e.none(0)
	_ = stranger
	p.inDialog(invite, "a", "BYE", 302, "")
	p.want("200")
	next[Hungup](e)
}
