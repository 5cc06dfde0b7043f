package sip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

func TestPanicEndsOneCall(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	_, other, elsewhere := setUp(t, s, p, call())
	o := call()
	o.Reoffer = func([]byte) ([]byte, error) { panic("a description's fault") }
	_, _, invite := setUp(t, s, p, o)
	p.inDialog(invite, "a", "INVITE", 5, "v=0")
	p.want("500")
	p.reply(p.want("BYE"), 200, "")
	if n := count(t, s.metrics.rejected["panic"]); n != 1 {
		t.Errorf("%v panics were counted", n)
	}
	p.inDialog(elsewhere, "a", "BYE", 5, "")
	p.want("200")
	next[Hungup](other)
	gone(t, s)
}

// A 2xx that comes again after its transaction is gone finds the call up.
func TestVeryLateRepeatOfTheAnswer(t *testing.T) {
	p := newPeer(t)
	tm := quick()
	tm.t1 = 2 * time.Millisecond
	s := newTestServer(t, tm, trunkTo(p))
	c, e, invite := setUp(t, s, p, call())
	until(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.clients) == 0
	})
	p.drain()
	p.ok(invite, "a")
	p.want("ACK")
	p.never("BYE", 30*time.Millisecond)
	c.Bye(Reason{})
	p.reply(p.want("BYE"), 200, "")
	next[ByeDone](e)
}

func TestOutboundProxy(t *testing.T) {
	p := newPeer(t)
	trunk := config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:10.255.0.1:5060"}}, OutboundProxy: p.addr().String(), FromUser: "caller"}
	s := newTestServer(t, quick(), trunk)
	o := call()
	o.Target = "sip:10.255.0.1:5060"
	c, _, invite := dial(t, s, p, o)
	if invite.uri != "sip:600@10.255.0.1:5060" || invite.get("Route") != "<sip:"+p.addr().String()+";lr>" {
		t.Errorf("unexpected INVITE:\n%s", invite.bytes())
	}
	p.reply(invite, 180, "a")
	c.Abandon()
	if cancel := p.want("CANCEL"); cancel.get("Route") != invite.get("Route") {
		t.Errorf("the CANCEL lost its way:\n%s", cancel.bytes())
	}
	p.reply(invite, 487, "a")
	p.want("ACK")
}

func TestListenersFitTheirTargets(t *testing.T) {
	p := newPeer(t)
	for _, listen := range []string{"udp://0.0.0.0:0", "udp://[::]:0"} {
		s := serverOn(t, quick(), []string{listen}, trunkTo(p))
		_, e, invite := dial(t, s, p, call())
		if want := "<sip:wagate@127.0.0.1:"; !strings.HasPrefix(invite.get("Contact"), want) {
			t.Errorf("%s: Contact is %s, want %s…", listen, invite.get("Contact"), want)
		}
		p.reply(invite, 486, "a")
		next[Refused](e)
	}
	s := serverOn(t, quick(), []string{"udp://[::1]:0", "udp://127.0.0.1:0", "tcp://127.0.0.1:0"}, trunkTo(p))
	for to, want := range map[string]string{"127.0.0.1:5060": "127.0.0.1", "[::1]:5060": "[::1]", "10.0.0.1:5060": "127.0.0.1"} {
		if host, _ := s.localHost(endpoint{proto: "udp", addr: netip.MustParseAddrPort(to)}); host != want {
			t.Errorf("towards %s we are %s, want %s", to, host, want)
		}
	}
	if _, port := s.localHost(endpoint{proto: "tcp", addr: netip.MustParseAddrPort("127.0.0.1:5060")}); port != int(s.Addr("tcp").Port()) {
		t.Errorf("towards TCP our port is %d", port)
	}
}

func TestTooManyCalls(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	serve(t, s, func(*Session, Incoming) { t.Error("a call came in") })
	s.mu.Lock()
	for range maxSessions {
		s.sessions[sessionKey{newID(), ""}] = nil
	}
	s.mu.Unlock()
	p.send(s.Addr("udp"), string(p.outside("INVITE", "v=0").bytes()))
	if got := p.want("503"); got.get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	s.mu.Lock()
	clear(s.sessions)
	s.mu.Unlock()
}

func TestUpdateInAnEarlyDialog(t *testing.T) {
	d := newDesk(t)
	invite, c := d.invite("v=0")
	c.Ring()
	ringing := d.want("180")
	update := d.outside("UPDATE", "v=0", "From: "+invite.get("From"), "To: "+ringing.get("To"), "Call-ID: "+invite.get("Call-ID"), "CSeq: 2 UPDATE")
	d.send(d.s.Addr("udp"), string(update.bytes()))
	if got := d.want("500"); got.get("Retry-After") == "" { // their first offer is open
		t.Errorf("500 without Retry-After:\n%s", got.bytes())
	}
	again := d.outside("INVITE", "v=0", "From: "+invite.get("From"), "To: "+ringing.get("To"), "Call-ID: "+invite.get("Call-ID"), "CSeq: 3 INVITE")
	d.send(d.s.Addr("udp"), string(again.bytes()))
	d.want("500")
	c.Answer([]byte("v=0"))
	ok := d.want("200")
	again = d.outside("INVITE", "v=0", "From: "+invite.get("From"), "To: "+ringing.get("To"), "Call-ID: "+invite.get("Call-ID"), "CSeq: 4 INVITE")
	d.send(d.s.Addr("udp"), string(again.bytes()))
	d.want("491")
	d.follow(invite, ok, "ACK", 1)
	next[Acked](c.events)
	d.follow(invite, ok, "BYE", 5)
	next[Hungup](c.events)
}
