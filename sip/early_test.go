package sip

import (
	"testing"
	"time"
)

// early starts a call that hears us before its answer.
func early(t *testing.T, d *desk) (invite *message, c *incomingTest, progress *message) {
	t.Helper()
	invite, c = d.invite("v=0 offer")
	c.Progress([]byte("v=0 early"))
	progress = d.want("183")
	if string(progress.body) != "v=0 early" || progress.get("Content-Type") != contentSDP || !progress.has("Contact") || tag(progress.get("To")) == "" {
		t.Fatalf("unexpected 183:\n%s", progress.bytes())
	}
	return invite, c, progress
}

func TestEarlyMediaThenRefused(t *testing.T) {
	d := newDesk(t)
	invite, c, progress := early(t, d)
	again := d.want("183") // as long as it lasts
	if string(again.bytes()) != string(progress.bytes()) {
		t.Errorf("the repeat is another:\n%s", again.bytes())
	}
	c.Ring()
	c.Progress([]byte("v=0 another"))
	d.send(d.s.Addr("udp"), string(invite.bytes())) // the 183 was lost
	if again := d.want("183"); string(again.body) != "v=0 early" {
		t.Errorf("the repeat is another:\n%s", again.bytes())
	}
	d.never("180", 50*time.Millisecond)
	c.Refuse(403, Reason{Q850: 21, WAError: "no_permission"}, time.Minute)
	refused := d.want("403")
	if len(refused.body) != 0 || refused.get("Retry-After") != "60" || tag(refused.get("To")) != tag(progress.get("To")) {
		t.Errorf("unexpected refusal:\n%s", refused.bytes())
	}
	ack := d.outside("ACK", "", "Via: "+invite.get("Via"), "From: "+invite.get("From"), "To: "+refused.get("To"), "Call-ID: "+invite.get("Call-ID"))
	d.send(d.s.Addr("udp"), string(ack.bytes()))
	gone(t, d.s)
	c.Progress([]byte("v=0 late"))
	d.never("183", 150*time.Millisecond)
	c.none(0)
}

func TestEarlyMediaThenAnswered(t *testing.T) {
	d := newDesk(t)
	invite, c := d.invite("v=0 offer")
	c.Ring()
	d.want("180")
	c.Progress([]byte("v=0 early"))
	progress := d.want("183")
	c.Answer([]byte("v=0 another"))
	ok := d.want("200")
	if string(ok.body) != "v=0 early" || tag(ok.get("To")) != tag(progress.get("To")) {
		t.Errorf("unexpected 200:\n%s", ok.bytes())
	}
	d.follow(invite, ok, "ACK", 1)
	next[Acked](c.events)
	c.Progress([]byte("v=0 late"))
	d.never("183", 150*time.Millisecond)
	c.Bye(Reason{Q850: 16})
	d.reply(d.want("BYE"), 200, "")
	next[ByeDone](c.events)
	gone(t, d.s)
}

func TestEarlyMediaIsCancelled(t *testing.T) {
	d := newDesk(t)
	invite, c, progress := early(t, d)
	d.cancel(invite)
	d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "1 CANCEL" })
	if m := d.want("487"); tag(m.get("To")) != tag(progress.get("To")) {
		t.Errorf("unexpected refusal:\n%s", m.bytes())
	}
	if got := next[Cancelled](c.events); got.Q850 != 16 {
		t.Errorf("cancelled with cause %d", got.Q850)
	}
	c.Refuse(403, Reason{}, 0) // crossed
	d.never("403", 50*time.Millisecond)
	d.never("183", 150*time.Millisecond)
	gone(t, d.s)
}

func TestEarlyMediaIsHungUp(t *testing.T) {
	d := newDesk(t)
	invite, c, progress := early(t, d)
	d.follow(invite, progress, "BYE", 2)
	d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "2 BYE" })
	d.want("487")
	next[Cancelled](c.events)
	gone(t, d.s)
}

func TestNoEarlyMediaWithoutOffer(t *testing.T) {
	d := newDesk(t)
	_, c := d.invite("")
	c.Progress([]byte("v=0 an offer"))
	d.never("183", 150*time.Millisecond)
	c.Refuse(403, Reason{Q850: 21}, 0)
	d.want("403")
	gone(t, d.s)
}
