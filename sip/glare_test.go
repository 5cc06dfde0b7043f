package sip

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestOffersThatMeet has our refresh by INVITE crossing what the far end sends
// (RFC 3261 section 14, RFC 3311 section 5.2).
func TestOffersThatMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, halfHour)
		c, e, invite := timed(t, s, p, weDo)
		ours, _ := p.after("INVITE")
		p.inDialog(invite, "a", "INVITE", 10, "v=0 theirs")
		p.want("491")
		p.inDialog(invite, "a", "ACK", 10, "")
		p.inDialog(invite, "a", "UPDATE", 11, "v=0 theirs")
		p.want("491")
		p.inDialog(invite, "a", "UPDATE", 12, "", "Supported: timer") // no offer, no glare
		p.want("200")
		p.reply(ours, 491, "")
		p.want("ACK")
		synctest.Wait()
		if n := count(t, s.metrics.glares["offer_offer"]); n != 3 {
			t.Errorf("%v offers met", n)
		}
		// It waits for 2.1 s to 4 s, so theirs comes first; our INVITE waits for its ACK.
		time.Sleep(2 * time.Second)
		p.inDialog(invite, "a", "INVITE", 13, "v=0 theirs")
		if ok := p.want("200"); string(ok.body) != "answer to v=0 theirs" {
			t.Errorf("unexpected 200:\n%s", ok.bytes())
		}
		p.never("INVITE", 5*time.Second)
		p.inDialog(invite, "a", "ACK", 13, "")
		e.none(0)
		c.Bye(Reason{})
		p.reply(p.want("BYE"), 200, "")
		next[ByeDone](e)
		gone(t, s)
	})
}

// TestBackOff: whoever made the call waits longer.
func TestBackOff(t *testing.T) {
	for range 1000 {
		if d := (&Session{}).backOff(); d < 2100*time.Millisecond || d > 4*time.Second || d%(10*time.Millisecond) != 0 {
			t.Fatalf("the caller waits for %v", d)
		}
		if d := (&Session{uas: &serverTx{}}).backOff(); d < 0 || d > 2*time.Second || d%(10*time.Millisecond) != 0 {
			t.Fatalf("the callee waits for %v", d)
		}
	}
}

// TestFailedOfferLeavesTheSessionAsItWas, ours and theirs.
func TestFailedOfferLeavesTheSessionAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, halfHour)
		o := call()
		o.Reoffer = func([]byte) ([]byte, error) { return nil, errNoReoffer }
		_, e, invite := dial(t, s, p, o)
		p.reply(invite, 200, "a", p.contact(), weDo, "", "v=0 answer")
		next[Accepted](e)
		p.want("ACK")
		p.inDialog(invite, "a", "INVITE", 10, "v=0 theirs")
		p.want("488")
		p.inDialog(invite, "a", "ACK", 10, "")
		ours, took := p.after("INVITE")
		if took != 300*time.Second || string(ours.body) != "v=0 offer" { // a refused offer refreshes nothing
			t.Errorf("after %v:\n%s", took, ours.bytes())
		}
		p.reply(ours, 488, "")
		p.want("ACK")
		again, _ := p.after("INVITE")
		if string(again.body) != string(ours.body) {
			t.Errorf("the second try brings %q", again.body)
		}
		p.reply(again, 200, "", p.contact(), weDo, "", "v=0 answer")
		p.want("ACK")
		p.inDialog(invite, "a", "INVITE", 11, "")
		if ok := p.want("200"); string(ok.body) != "v=0 offer" {
			t.Errorf("an INVITE without an offer got %q", ok.body)
		}
		p.inDialog(invite, "a", "BYE", 12, "") // before its ACK
		p.wantThat("200", func(m *message) bool { return m.get("CSeq") == "12 BYE" })
		next[Hungup](e)
		gone(t, s)
	})
}

// TestTheyHangUpWhileWeRefresh ends at once; what becomes of our INVITE is its
// transaction's business (I17).
func TestTheyHangUpWhileWeRefresh(t *testing.T) {
	for _, status := range []int{0, 100, 200, 487} {
		synctest.Test(t, func(t *testing.T) {
			s, p := bubble(t, halfHour)
			_, e, invite := timed(t, s, p, weDo)
			ours, _ := p.after("INVITE")
			if status == 100 {
				p.reply(ours, 100, "")
			}
			p.inDialog(invite, "a", "BYE", 10, "")
			p.want("200")
			next[Hungup](e)
			gone(t, s)
			if status >= 200 {
				p.reply(ours, status, "", p.contact())
				p.want("ACK")
			}
			p.never("BYE", 2*time.Minute)
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.clients)+len(s.servers) != 0 {
				t.Errorf("after %d: %d and %d transactions are left", status, len(s.clients), len(s.servers))
			}
		})
	}
}
