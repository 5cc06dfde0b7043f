package sip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ringReliably answers an INVITE of ours with a reliable provisional answer.
func (p *peer) ringReliably(invite *message, toTag string, status, rseq int, body string) {
	p.t.Helper()
	lines := []string{p.contact(), "Require: 100rel", "RSeq: " + utoa(uint32(rseq))} //nolint:gosec // small
	if body != "" {
		lines = append(lines, "", body)
	}
	p.reply(invite, status, toTag, lines...)
}

func TestReliableRingingIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		c, e, invite := dial(t, s, p, call())
		if !invite.supports("100rel") {
			t.Errorf("unexpected INVITE:\n%s", invite.bytes())
		}
		n, _ := invite.cseq()
		p.ringReliably(invite, "a", 180, 7, "")
		prack := p.want("PRACK")
		if prack.get("RAck") != "7 "+utoa(n)+" INVITE" || prack.get("CSeq") != utoa(n+1)+" PRACK" || tag(prack.get("To")) != "a" {
			t.Errorf("unexpected PRACK:\n%s", prack.bytes())
		}
		p.reply(prack, 200, "")
		next[Ringing](e)
		p.ringReliably(invite, "a", 180, 7, "")            // our PRACK was late
		p.ringReliably(invite, "a", 183, 9, "v=0 too far") // out of order
		p.never("PRACK", time.Minute)
		e.none(0)
		p.ringReliably(invite, "a", 183, 8, "v=0 early")
		prack = p.want("PRACK")
		if prack.get("RAck") != "8 "+utoa(n)+" INVITE" || prack.get("CSeq") != utoa(n+2)+" PRACK" {
			t.Errorf("unexpected PRACK:\n%s", prack.bytes())
		}
		p.reply(prack, 200, "")
		if got := next[Ringing](e); got.Status != 183 {
			t.Errorf("ringing with %d", got.Status)
		}
		p.ringReliably(invite, "b", 183, 1, "v=0 of another fork")
		p.reply(p.want("PRACK"), 200, "")
		p.inDialog(invite, "a", "UPDATE", 5, "", "Supported: timer")
		p.want("200")
		p.inDialog(invite, "a", "UPDATE", 5, "")
		p.want("500")
		p.inDialog(invite, "a", "UPDATE", 6, "v=0 moved")
		p.want("491") // our offer is open
		p.reply(invite, 200, "a", p.contact())
		if got := next[Accepted](e); string(got.SDP) != "v=0 early" {
			t.Errorf("accepted with %q", got.SDP)
		}
		if ack := p.want("ACK"); ack.get("CSeq") != utoa(n)+" ACK" {
			t.Errorf("the ACK has CSeq %s", ack.get("CSeq"))
		}
		p.reply(invite, 200, "b", p.contact(), "", "v=0 second") // the fork answers too
		p.wantThat("ACK", func(m *message) bool { return tag(m.get("To")) == "b" })
		bye := p.want("BYE")
		if got, _ := bye.cseq(); tag(bye.get("To")) != "b" || got <= n+1 {
			t.Errorf("unexpected BYE:\n%s", bye.bytes())
		}
		p.reply(bye, 200, "")
		c.Bye(Reason{})
		bye = p.want("BYE")
		if got, _ := bye.cseq(); tag(bye.get("To")) != "a" || got != n+3 {
			t.Errorf("unexpected BYE:\n%s", bye.bytes())
		}
		p.reply(bye, 200, "")
		next[ByeDone](e)
		gone(t, s)
	})
}

func TestReliableRingingWithoutItsNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		_, e, invite := dial(t, s, p, call())
		for _, rseq := range []string{"", "RSeq: 0", "RSeq: -1", "RSeq: 4294967296", "RSeq: x"} {
			lines := []string{p.contact(), "Require: 100rel"}
			if rseq != "" {
				lines = append(lines, rseq)
			}
			p.reply(invite, 180, "a", lines...)
		}
		p.never("PRACK", time.Second)
		e.none(0)
		for i := range 2 * maxForks { // as many as there may be
			p.ringReliably(invite, "fork"+utoa(uint32(i)), 180, 1, "") //nolint:gosec // small
		}
		synctest.Wait()
		pracks := 0
		for range len(p.in) {
			if m := <-p.in; m.method == "PRACK" {
				pracks++
				p.reply(m, 200, "")
			}
		}
		if pracks != maxForks {
			t.Errorf("%d PRACKs", pracks)
		}
		p.reply(invite, 486, "a")
		next[Ringing](e)
		next[Refused](e)
	})
}

// prack confirms a reliable answer to an INVITE.
func (d *desk) prack(invite, answer *message, seq int, rack, body string) {
	d.t.Helper()
	lines := []string{"From: " + invite.get("From"), "To: " + answer.get("To"), "Call-ID: " + invite.get("Call-ID"), "CSeq: " + utoa(uint32(seq)) + " PRACK", "RAck: " + rack} //nolint:gosec // small
	d.send(d.s.Addr("udp"), string(d.outside("PRACK", body, lines...).bytes()))
}

func TestCallerWantsReliableRinging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		d := deskOf(t, s, p)
		invite, c := d.invite("v=0 offer", "Require: 100rel", "Supported: 100rel")
		c.Ring()
		ringing := d.want("180")
		rseq := ringing.get("RSeq")
		if ringing.get("Require") != "100rel" || rseq == "" {
			t.Errorf("unexpected 180:\n%s", ringing.bytes())
		}
		begun := time.Now()
		for _, at := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 3500 * time.Millisecond, 7500 * time.Millisecond} {
			if again := d.want("180"); again.get("RSeq") != rseq || time.Since(begun) != at {
				t.Errorf("repeated after %v, want %v:\n%s", time.Since(begun), at, again.bytes())
			}
		}
		c.Progress([]byte("v=0 early")) // one at a time
		d.never("183", 100*time.Millisecond)
		for i, rack := range []string{"1 1 INVITE", rseq + " 2 INVITE", rseq + " 1 BYE", rseq, ""} {
			d.prack(invite, ringing, 10+i, rack, "")
			d.want("481")
		}
		d.prack(invite, ringing, 20, rseq+" 1 INVITE", "")
		d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "20 PRACK" })
		early := d.want("183")
		if early.get("RSeq") == rseq || string(early.body) != "v=0 early" {
			t.Errorf("unexpected 183:\n%s", early.bytes())
		}
		d.prack(invite, ringing, 21, rseq+" 1 INVITE", "") // that of before
		d.want("481")
		c.Answer([]byte("v=0 early"))
		d.never("200", 200*time.Millisecond) // not before the description is confirmed
		d.prack(invite, ringing, 22, early.get("RSeq")+" 1 INVITE", "")
		d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "22 PRACK" })
		ok := d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "1 INVITE" })
		if len(ok.body) != 0 || ok.get("Content-Type") != "" {
			t.Errorf("the 200 brings another description:\n%s", ok.bytes())
		}
		d.follow(invite, ok, "ACK", 1)
		next[Acked](c.events)
		d.never("183", time.Minute)
		c.Bye(Reason{})
		d.reply(d.want("BYE"), 200, "")
		next[ByeDone](c.events)
		gone(t, s)
	})
}

// TestAnswerBeforeThePrack: a 180 says nothing that the answer has to wait for.
func TestAnswerBeforeThePrack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		d := deskOf(t, s, p)
		invite, c := d.invite("v=0 offer", "Require: 100rel")
		c.Ring()
		ringing := d.want("180")
		c.Answer([]byte("v=0 answer"))
		ok := d.want("200")
		if string(ok.body) != "v=0 answer" {
			t.Errorf("unexpected 200:\n%s", ok.bytes())
		}
		d.prack(invite, ringing, 2, ringing.get("RSeq")+" 1 INVITE", "")
		d.wantThat("200", func(m *message) bool { return m.get("CSeq") == "2 PRACK" })
		d.follow(invite, ok, "ACK", 1)
		next[Acked](c.events)
		d.never("180", time.Minute)
	})
}

func TestOfferInAPrack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		d := deskOf(t, s, p)
		invite, c := d.invite("v=0 offer", "Require: 100rel")
		c.Ring()
		ringing := d.want("180")
		d.prack(invite, ringing, 2, ringing.get("RSeq")+" 1 INVITE", "v=0 second offer")
		d.want("488") // the first is not answered
		c.Progress([]byte("v=0 early"))
		early := d.want("183")
		d.prack(invite, early, 3, early.get("RSeq")+" 1 INVITE", "v=0 second offer")
		if ok := d.want("200"); string(ok.body) != "v=0 second offer" || ok.get("Content-Type") != contentSDP { // the desk's echo
			t.Errorf("unexpected 200:\n%s", ok.bytes())
		}
		c.Refuse(486, Reason{}, 0)
		d.want("486")
	})
}

func TestNobodyConfirms(t *testing.T) {
	for _, answered := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, p := bubble(t, nil)
			d := deskOf(t, s, p)
			_, c := d.invite("v=0 offer", "Require: 100rel")
			begun := time.Now()
			c.Progress([]byte("v=0 early"))
			if answered {
				c.Answer([]byte("v=0 early"))
			}
			d.never("504", 31*time.Second)
			if m := d.want("504"); q850(m) != 102 || time.Since(begun) != 32*time.Second {
				t.Errorf("after %v:\n%s", time.Since(begun), m.bytes())
			}
			if got := next[Cancelled](c.events); got.Status != 504 {
				t.Errorf("cancelled with %d", got.Status)
			}
			gone(t, s)
		})
	}
}

// TestReliableRingingWithoutAnOffer: the first reliable answer would have to
// bring ours, so nothing is said before the 200.
func TestReliableRingingWithoutAnOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		d := deskOf(t, s, p)
		invite, c := d.invite("", "Require: 100rel")
		c.Ring()
		d.never("180", time.Minute)
		c.Answer([]byte("v=0 our offer"))
		ok := d.want("200")
		if string(ok.body) != "v=0 our offer" {
			t.Errorf("unexpected 200:\n%s", ok.bytes())
		}
		d.follow(invite, ok, "ACK", 1)
		next[Acked](c.events)
	})
}

func TestRequireOnlyWhatIsUnknown(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	p.send(s.Addr("udp"), string(p.outside("INVITE", "v=0", "Require: 100rel, foo, Timer, bar").bytes()))
	if got := p.want("420").get("unsupported"); got != "foo, bar" {
		t.Errorf("Unsupported is %q", got)
	}
}

// FuzzRAck holds for any RAck: no panic, and whatever is read is written the
// same.
func FuzzRAck(f *testing.F) {
	for _, seed := range []string{"1 1 INVITE", " 7\t8  INVITE ", "", "1 1", "99999999999 1 INVITE", "-1 1 INVITE"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r, ok := parseRAck(value)
		if !ok {
			return
		}
		again, ok := parseRAck(strings.Join([]string{utoa(uint32(r.rseq)), utoa(r.cseq), r.method}, " ")) //nolint:gosec // at most maxCSeq
		if !ok || again != r {
			t.Fatalf("%q is %+v, and then %+v", value, r, again)
		}
	})
}
