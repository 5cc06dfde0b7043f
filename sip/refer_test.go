package sip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
)

// told waits for a NOTIFY of a REFER and answers it.
func (p *peer) told(state, fragment string) *message {
	p.t.Helper()
	m := p.want("NOTIFY")
	if !strings.HasPrefix(m.get("subscription-state"), state) || !strings.HasPrefix(string(m.body), "SIP/2.0 "+fragment) ||
		!strings.HasPrefix(m.get("Content-Type"), "message/sipfrag") {
		p.t.Errorf("want %s with %s, got\n%s", state, fragment, m.bytes())
	}
	p.reply(m, 200, "")
	return m
}

func TestReferTellsWhatBecomesOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		c, e, invite := setUp(t, s, p, call())
		here := p.addr().String()
		p.inDialog(invite, "a", "REFER", 10, "", "Refer-To: <sip:601@"+here+">", "Referred-By: <sip:600@"+here+">")
		if got := next[Refer](e); got.To != "601" || got.By != "sip:600@"+here || got.Foreign || got.Replaces != (Replaces{}) {
			t.Errorf("the REFER is %+v", got)
		}
		p.inDialog(invite, "a", "REFER", 11, "", "Refer-To: <sip:602@"+here+">")
		p.want("491")
		c.TakeRefer()
		p.wantThat("202", func(m *message) bool { return m.get("CSeq") == "10 REFER" })
		if m := p.told("active", "100"); m.get("event") != "refer" {
			t.Errorf("the Event is wrong:\n%s", m.bytes())
		}
		c.Progressed(180)
		p.told("active", "180")
		c.Progressed(486)
		p.told("terminated;reason=noresource", "486")
		c.Progressed(200) // nobody is to be told any more
		p.never("NOTIFY", 100*time.Millisecond)

		p.inDialog(invite, "a", "REFER", 12, "", "Refer-To: <sip:603@"+here+">", "Require: norefersub", "Refer-Sub: false")
		next[Refer](e)
		c.TakeRefer()
		if m := p.want("202"); m.get("refer-sub") != "false" {
			t.Errorf("it is not told that no NOTIFY comes:\n%s", m.bytes())
		}
		c.Progressed(200)
		p.never("NOTIFY", 100*time.Millisecond)

		p.inDialog(invite, "a", "REFER", 13, "", "Refer-To: <sip:604@"+here+">")
		next[Refer](e)
		c.RefuseRefer(403, Reason{Q850: 21, Text: "no", WAError: "not_allowed"})
		if m := p.want("403"); m.get("Reason") == "" || m.get("x-wa-error") != "not_allowed" {
			t.Errorf("the refusal does not say why:\n%s", m.bytes())
		}
		p.inDialog(invite, "a", "REFER", 14, "", "Refer-To: <sip:605@"+here+">")
		next[Refer](e)
		c.TakeRefer() // and nothing becomes of it
		p.want("202")
		p.told("active", "100")
		time.Sleep(subscription)
		p.told("terminated;reason=timeout", "408")
		p.inDialog(invite, "a", "BYE", 20, "")
		next[Hungup](e)
	})
}

// TestLastWordOfAReferBeforeTheBye: a phone that is slow to answer the news
// before it learns that its transfer has succeeded.
func TestLastWordOfAReferBeforeTheBye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		c, e, invite := setUp(t, s, p, call())
		p.inDialog(invite, "a", "REFER", 10, "", "Refer-To: <sip:601@"+p.addr().String()+">")
		next[Refer](e)
		c.TakeRefer()
		p.want("202")
		p.want("NOTIFY") // 100, which waits for its answer
		c.Progressed(180)
		c.Progressed(200)
		c.Bye(Reason{Q850: 16})
		p.told("terminated;reason=noresource", "200")
		p.reply(p.want("BYE"), 200, "")
		next[ByeDone](e)
	})
}

func TestReferToIsReadStrictly(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, e, invite := setUp(t, s, p, call())
	here := p.addr().String()
	seq := 10
	for _, row := range []struct{ lines, want string }{
		{"", "400"},
		{"Refer-To: <sip:601@" + here + ">|Refer-To: <sip:602@" + here + ">", "400"},
		{"Refer-To: <sip:601:secret@" + here + ">", "400"},
		{"Refer-To: <sip:601@" + here + "?Subject=x>", "400"},
		{"Refer-To: <sip:601@" + here + "?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=x>", "400"},
		{"Refer-To: <sip:601@" + here + "?Require=replaces>", "400"},
		{"Refer-To: <sip:601@" + here + "?Require=100rel&Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>", "400"},
		{"Refer-To: <sip:601@" + here + "?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2&Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>", "400"},
		{"Refer-To: <sip:601@" + here + "?Replaces=a%3Bto-tag%3D1>", "400"},
		{"Refer-To: <sip:601@" + here + "?Replaces=a%0D%0AX%3Bto-tag%3D1%3Bfrom-tag%3D2>", "400"},
		{"Refer-To: <sip:601@" + here + ";method=BYE>", "400"},
		{"Refer-To: <sip:60%0D%0A1@" + here + ">", "400"},
		{"Refer-To: <sip:60%2540x@" + here + ">", "400"},
		{"Refer-To: <sip:" + here + ">", "400"},
		{"Refer-To: <http://127.0.0.1/>", "416"},
		{"Refer-To: <sips:601@" + here + ">", "416"},
		{"Refer-To: 601 <sip:601@" + here, "400"},
	} {
		seq++
		var lines []string
		if row.lines != "" {
			lines = strings.Split(row.lines, "|")
		}
		p.inDialog(invite, "a", "REFER", seq, "", lines...)
		if m := p.want(row.want); m.reason == "" {
			t.Errorf("%s: no reason", row.lines)
		}
	}
	e.none(0)
	for _, row := range []struct {
		to      string
		user    string
		foreign bool
	}{
		{"<sip:601@" + here + ";transport=tcp;user=phone>", "601", false},
		{"<601@127.0.0.1>", "601", false},
		{"<601>", "601", false},
		{"<sip:%2B351@" + here + ">", "+351", false},
		{"<tel:+351210000000>", "+351210000000", false},
		{"<sip:601@127.0.0.2>", "601", true},
		{"<sip:601@169.254.169.254>", "601", true},
		{"<sip:601@[::ffff:127.0.0.2]>", "601", true},
		{"<sip:601@0.0.0.0>", "601", true},
		{"<sip:601@evil.example>", "601", true},
		{"<sip:601@" + s.Addr("udp").String() + ">", "601", true}, // ourselves
	} {
		seq++
		p.inDialog(invite, "a", "REFER", seq, "", "Refer-To: "+row.to)
		if got := next[Refer](e); got.To != row.user || got.Foreign != row.foreign {
			t.Errorf("%s is read as %+v", row.to, got)
		}
		c.RefuseRefer(603, Reason{})
		p.want("603")
	}
	seq++
	p.inDialog(invite, "a", "REFER", seq, "", "Refer-To: <sip:601@"+here+"?Require=replaces&Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>")
	if got := next[Refer](e); got.Replaces != (Replaces{CallID: "a@b", ToTag: "1", FromTag: "2"}) || got.Ours {
		t.Errorf("Replaces is read as %+v", got)
	}
	p.inDialog(invite, "a", "BYE", 100, "")
	next[Hungup](e)
	p.want("202") // the REFER is the owner's to take up
	c.RefuseRefer(603, Reason{})
	p.never("603", 20*time.Millisecond)
}

// TestOurNameIsNotThePBX: a trunk whose calls come from our name does not lead
// back to us by it, whatever its case.
func TestOurNameIsNotThePBX(t *testing.T) {
	trunk := trunkTo(newPeer(t))
	trunk.FromHost = "gw.example"
	for _, row := range []struct {
		public string
		leads  bool
	}{{"gw.example", false}, {"GW.Example", false}, {"other.example", true}} {
		s, err := newServer(config.SIP{Listen: []string{"udp://127.0.0.1:0"}, PublicHost: row.public}, []config.Trunk{trunk}, logger(), nil, quick())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		u, _ := parseURI("sip:601@gw.example")
		if got := s.leadsToTrunk(s.trunk("pbx"), u); got != row.leads {
			t.Errorf("with the public host %s it leads to the trunk: %v", row.public, got)
		}
	}
}

func TestReferOfAStranger(t *testing.T) {
	p, stranger := newPeer(t), newPeer(t)
	trunk := trunkTo(p)
	trunk.Targets[0].URI = "sip:127.0.0.3:5060" // the stranger's address is nobody's
	s := newTestServer(t, quick(), trunk)
	m := stranger.outside("REFER", "", "Refer-To: <sip:601@127.0.0.1>", "To: <sip:x@gw>;tag=1")
	stranger.send(s.Addr("udp"), string(m.bytes()))
	until(t, func() bool { return count(t, s.metrics.rejected["source"]) == 1 })
	stranger.never("481", 100*time.Millisecond)
}

func TestCarriesReplacesAndReferredBy(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	o := call()
	o.Replaces, o.ReferredBy = Replaces{CallID: "x@y", ToTag: "1", FromTag: "2"}, "sip:600@pbx"
	_, _, invite := dial(t, s, p, o)
	if got := invite.get("Replaces"); got != "x@y;to-tag=1;from-tag=2" {
		t.Errorf("Replaces is %q", got)
	}
	if got := invite.get("Referred-By"); got != "<sip:600@pbx>" {
		t.Errorf("Referred-By is %q", got)
	}
	p.reply(invite, 486, "a")
}

func TestInviteWithReplaces(t *testing.T) {
	d := newDesk(t)
	first, c := d.invite("v=0")
	names := func(m *message, ok *message) string {
		return "Replaces: " + m.get("Call-ID") + ";to-tag=" + tag(ok.get("To")) + ";from-tag=" + tag(m.get("From"))
	}
	try := func(want string, lines ...string) {
		t.Helper()
		m := d.outside("INVITE", "v=0", lines...)
		d.send(d.s.Addr("udp"), string(m.bytes()))
		d.wantThat(want, func(a *message) bool { return a.get("Call-ID") == m.get("Call-ID") })
	}
	c.Ring()
	ringing := d.want("180")
	try("481", names(first, ringing)) // an early dialog that it did not take part in
	c.Answer([]byte("v=0 answer"))
	answer := d.want("200")
	d.follow(first, answer, "ACK", 1)
	next[Acked](c.events)
	name := names(first, answer)
	try("481", "Replaces: other;to-tag=1;from-tag=2")
	try("481", strings.Replace(name, "from-tag=", "from-tag=x", 1))
	try("486", name+";early-only")
	try("400", "Replaces: x")
	doubled := d.outside("INVITE", "v=0", name)
	doubled.add("Replaces", "x;to-tag=1;from-tag=2")
	d.send(d.s.Addr("udp"), string(doubled.bytes()))
	d.wantThat("400", func(a *message) bool { return a.get("Call-ID") == doubled.get("Call-ID") })

	m := d.outside("INVITE", "v=0 second", name, "Require: replaces")
	d.send(d.s.Addr("udp"), string(m.bytes()))
	second := <-d.calls
	if got := second.in.Replaces; got == nil || got.Call != "K7" || got.CallID != first.get("Call-ID") {
		t.Fatalf("it is to take the place of %+v", got)
	}
	second.Answer([]byte("v=0 here"))
	taken := d.wantThat("200", func(a *message) bool { return a.get("Call-ID") == m.get("Call-ID") })
	d.follow(m, taken, "ACK", 1)
	next[Acked](second.events)
	c.Bye(Reason{})
	bye := d.want("BYE")
	try("603", name) // it is ending
	d.reply(bye, 200, "")
	next[ByeDone](c.events)
}

// TestPickup: another phone may take the place of one that we ring, and that one
// is told that it has missed nothing.
func TestPickup(t *testing.T) {
	d := newDesk(t)
	c, e, invite := dial(t, d.s, d.peer, call())
	replaces := func(theirs string) string {
		return "Replaces: " + Replaces{CallID: invite.get("Call-ID"), ToTag: tag(invite.get("From")), FromTag: theirs}.String()
	}
	try := func(want string, lines ...string) {
		t.Helper()
		m := d.outside("INVITE", "v=0", lines...)
		d.send(d.s.Addr("udp"), string(m.bytes()))
		d.wantThat(want, func(a *message) bool { return a.get("Call-ID") == m.get("Call-ID") })
	}
	try("481", replaces("a")) // nobody rings yet
	d.reply(invite, 180, "a")
	next[Ringing](e)
	try("481", replaces("b"))
	d.reply(invite, 183, "b") // a fork
	next[Ringing](e)
	m := d.outside("INVITE", "v=0 here", replaces("b")+";early-only")
	d.send(d.s.Addr("udp"), string(m.bytes()))
	second := <-d.calls
	if got := second.in.Replaces; got == nil || got.Call != "c1" || got.CallID != invite.get("Call-ID") {
		t.Fatalf("it is to take the place of %+v", got)
	}
	second.Answer([]byte("v=0 ours"))
	taken := d.wantThat("200", func(a *message) bool { return a.get("Call-ID") == m.get("Call-ID") })
	d.follow(m, taken, "ACK", 1)
	next[Acked](second.events)
	c.Cancel(Reason{Q850: 16, Elsewhere: true})
	cancel := d.want("CANCEL")
	if got := cancel.all("Reason"); len(got) != 2 || !strings.HasPrefix(got[0], "SIP;cause=200;") || !strings.HasPrefix(got[1], "Q.850;cause=16") {
		t.Errorf("the phone is told %q", got)
	}
	try("603", replaces("a")) // it rings no more
	d.reply(cancel, 200, "a")
	d.reply(invite, 487, "a")
	next[Refused](e)
}

func TestReplacesIsChallengedAndOfTheTrunkOnly(t *testing.T) {
	p, q := newPeer(t), newPeer(t)
	other := trunkTo(q)
	other.Name = "other"
	s := newTestServer(t, quick(), trunkTo(p), other)
	_, _, invite := setUp(t, s, p, call())
	replaces := Replaces{CallID: invite.get("Call-ID"), ToTag: tag(invite.get("From")), FromTag: "a"}
	serve(t, s, func(*Session, Incoming) { t.Error("a call of another trunk was replaced") })
	m := q.outside("INVITE", "v=0", "Replaces: "+replaces.String())
	fl := flow{remote: q.addr(), sock: s.sockets[0]}
	m.from = fl.endpoint()
	s.takeReplacing(s.trunk("other"), m, fl)
	q.want("481")

	g := newPeer(t)
	proven := newTestServer(t, quick(), guarded(g))
	_, _, invite = setUp(t, proven, g, call())
	serve(t, proven, func(*Session, Incoming) { t.Error("a call was replaced by somebody without a password") })
	m = g.outside("INVITE", "v=0", "Replaces: "+Replaces{CallID: invite.get("Call-ID"), ToTag: tag(invite.get("From")), FromTag: "a"}.String())
	g.send(proven.Addr("udp"), string(m.bytes()))
	g.want("401")
}

func FuzzReferTo(f *testing.F) {
	for _, text := range []string{
		"<sip:601@h>", "601", "<tel:+1>", "<sip:a@h?Replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2>", "\"x\" <sip:%41@[::1]:5;a=b>;c", "<sip:a:b@h>",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, fault := parseReferTo(text)
		if fault != nil {
			return
		}
		if got.user == "" || strings.ContainsAny(got.user, "\r\n@:;?<> ") {
			t.Errorf("%q names %q", text, got.user)
		}
		if r := got.replaces; r != (Replaces{}) {
			again, ok := parseReplaces(r.String())
			if !ok || again != r {
				t.Errorf("%q does not survive: %+v, %+v", text, r, again)
			}
		}
		referrer(text)
	})
}
