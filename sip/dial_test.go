package sip

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

func TestCallIsPlacedAnsweredAndHungUp(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, e, invite := dial(t, s, p, call())
	for name, want := range map[string]string{
		"From": `"Ana" <sip:+34600111222@127.0.0.1>`, "P-Asserted-Identity": `"Ana" <sip:+34600111222@127.0.0.1>`,
		"Max-Forwards": "70", "x-wa-call": "c1", "x-wa-id": "wacid.abc", "user-agent": "wagate", "allow": allow, "Content-Type": contentSDP,
		"Contact": "<sip:wagate@" + s.Addr("udp").String() + ">",
	} {
		if got := invite.get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if want := "sip:600@" + p.addr().String(); invite.uri != want {
		t.Errorf("Request-URI is %q, want %q", invite.uri, want)
	}
	p.reply(invite, 100, "")
	if got := next[Proceeding](e); got.Status != 100 {
		t.Errorf("proceeding with %d, want 100", got.Status)
	}
	p.reply(invite, 180, "a")
	p.reply(invite, 180, "a")
	next[Ringing](e)
	p.ok(invite, "a")
	if got := next[Accepted](e); string(got.SDP) != "v=0 answer a" {
		t.Errorf("accepted with %q", got.SDP)
	}
	ack := p.want("ACK")
	if ack.get("Via") == invite.get("Via") || ack.get("CSeq") != strings.Replace(invite.get("CSeq"), "INVITE", "ACK", 1) {
		t.Errorf("the ACK is not a transaction of its own with the INVITE's number:\n%s", ack.bytes())
	}
	c.Bye(Reason{Q850: 16, Text: `say "bye"` + "\r\nX: y", WAError: "hangup"})
	c.Bye(Reason{})
	bye := p.want("BYE")
	if got, want := bye.get("Reason"), `Q.850;cause=16;text="say \"bye\"X: y"`; got != want {
		t.Errorf("reason is %s, want %s", got, want)
	}
	if bye.get("x-wa-error") != "hangup" || tag(bye.get("To")) != "a" {
		t.Errorf("unexpected BYE:\n%s", bye.bytes())
	}
	p.reply(bye, 200, "")
	if got := next[ByeDone](e); got.Err != nil {
		t.Errorf("bye done with %v", got.Err)
	}
	gone(t, s)
	e.none(50 * time.Millisecond)
}

func TestHeadersAreBuiltNeverCopied(t *testing.T) {
	p := newPeer(t)
	trunk := trunkTo(p)
	trunk.FromHost, trunk.CallerFormat = "gw.example", "national:34"
	s := newTestServer(t, quick(), trunk)
	o := call()
	o.To = "6 0;0\r\nEvil: yes"
	o.Caller.Name = "<script>\x1b[31m \"Ana\\\r\nVia: x\u202e" + strings.Repeat("ü", 200) + "\xff"
	o.Headers = append(o.Headers, Header{"X-WA-Payload", "a\r\nEvil: yes\x00" + strings.Repeat("b", 500)})
	_, _, invite := dial(t, s, p, o)
	if invite.has("evil") {
		t.Fatalf("a header was smuggled:\n%s", invite.bytes())
	}
	a, ok := parseAddress(invite.get("From"))
	if !ok || a.uri != "sip:600111222@gw.example" || !strings.HasPrefix(a.display, `<script>[31m "Ana\Via: x`) {
		t.Errorf("From is %q (%+v)", invite.get("From"), a)
	}
	if n := len([]rune(a.display)); n > maxName {
		t.Errorf("the display name has %d characters", n)
	}
	if want := "sip:6%200%3B0Evil%3A%20yes@"; !strings.HasPrefix(invite.uri, want) {
		t.Errorf("Request-URI is %q, want %q…", invite.uri, want)
	}
	if got := invite.get("x-wa-payload"); len(got) != maxHeader {
		t.Errorf("payload has %d bytes: %q", len(got), got)
	}
	o = call()
	o.Headers = []Header{{"Contact", "x"}}
	o.Target = "sip:" + p.addr().String()
	if _, err := s.Prepare(o, nil); err == nil {
		t.Error("a header outside X- was accepted")
	}
}

func TestCallerFormats(t *testing.T) {
	base := config.Trunk{FromUser: "caller", Auth: config.Credentials{User: "acc"}}
	for _, c := range []struct{ format, fromUser, number, from, asserted string }{
		{"e164", "caller", "+34600111222", "<sip:+34600111222@h>", "<sip:+34600111222@h>"},
		{"plain", "caller", "+34600111222", "<sip:34600111222@h>", "<sip:34600111222@h>"},
		{"00", "caller", "+34600111222", "<sip:0034600111222@h>", "<sip:0034600111222@h>"},
		{"national:34", "caller", "+34600111222", "<sip:600111222@h>", "<sip:600111222@h>"},
		{"national:ES", "caller", "+34600111222", "<sip:600111222@h>", "<sip:600111222@h>"},
		{"national:49", "caller", "+491711234567", "<sip:01711234567@h>", "<sip:01711234567@h>"},
		{"national:34", "caller", "+491711234567", "<sip:00491711234567@h>", "<sip:00491711234567@h>"},
		{"e164", "account", "+34600111222", "<sip:acc@h>", "<sip:+34600111222@h>"},
		{"e164", "1000", "+34600111222", "<sip:1000@h>", "<sip:+34600111222@h>"},
		{"e164", "caller", "", "<sip:anonymous@anonymous.invalid>", ""},
		{"e164", "caller", "+34;x=y", "<sip:anonymous@anonymous.invalid>", ""},
	} {
		trunk := base
		trunk.CallerFormat, trunk.FromUser = c.format, c.fromUser
		from, asserted := identity(trunk, Party{Number: c.number}, "h")
		if from != c.from || asserted != c.asserted {
			t.Errorf("%s, %s, %s: got %s and %s, want %s and %s", c.format, c.fromUser, c.number, from, asserted, c.from, c.asserted)
		}
	}
}

func TestSixtyProvisionalsAndTwoAnswers(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, e, invite := dial(t, s, p, call())
	for range 60 {
		p.reply(invite, 180, "a")
	}
	next[Ringing](e)
	p.ok(invite, "a")
	next[Accepted](e)
	first := p.want("ACK")
	p.ok(invite, "a") // our ACK was lost
	if again := p.want("ACK"); !slices.Equal(again.bytes(), first.bytes()) {
		t.Errorf("the repeated 200 got another ACK:\n%s", again.bytes())
	}
	p.ok(invite, "b") // another fork picked up too
	isB := func(m *message) bool { return tag(m.get("To")) == "b" }
	p.wantThat("ACK", isB)
	p.reply(p.wantThat("BYE", isB), 200, "")
	p.ok(invite, "b")
	p.wantThat("ACK", isB)
	p.never("BYE", 50*time.Millisecond)
	e.none(0)
	c.Bye(Reason{})
	p.reply(p.want("BYE"), 200, "")
	next[ByeDone](e)
}

func TestRefusals(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	for _, status := range []int{302, 404, 480, 486, 488, 503, 603} {
		_, e, invite := dial(t, s, p, call())
		p.reply(invite, status, "a", `Reason: SIP;cause=200, q.850 ; cause=19 ;text="x"`, "Retry-After: 7 (busy)", "Contact: <sip:elsewhere@127.0.0.9>")
		got := next[Refused](e)
		if got.Status != status || got.Q850 != 19 || got.RetryAfter != 7*time.Second {
			t.Errorf("got %+v, want status %d", got, status)
		}
		ack := p.want("ACK")
		if ack.get("Via") != invite.get("Via") || tag(ack.get("To")) != "a" {
			t.Errorf("the ACK of a refusal must be in its transaction:\n%s", ack.bytes())
		}
		p.reply(invite, status, "a")
		p.want("ACK")
	}
	gone(t, s)
}

// TestSilentTargetWithAnotherLeft is given up long before one that is the last.
func TestSilentTargetWithAnotherLeft(t *testing.T) {
	p := newPeer(t)
	tm := quick()
	tm.silent, tm.spare = time.Hour, 100*time.Millisecond
	s := newTestServer(t, tm, trunkTo(p))
	o := call()
	o.Spare = true
	_, e, _ := dial(t, s, p, o)
	if got := next[Failed](e); !errors.Is(got.Err, ErrSilent) {
		t.Errorf("failed with %v, want ErrSilent", got.Err)
	}
	gone(t, s)
}

func TestSilentTarget(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	started := time.Now()
	_, e, invite := dial(t, s, p, call())
	if got := next[Failed](e); !errors.Is(got.Err, ErrSilent) {
		t.Errorf("failed with %v, want ErrSilent", got.Err)
	}
	if took := time.Since(started); took < quick().silent || took > 2*time.Second {
		t.Errorf("gave up after %v", took)
	}
	gone(t, s)
	// It wakes up: a phone rings that nobody wants.
	p.reply(invite, 180, "a")
	cancel := p.want("CANCEL")
	if cancel.get("Via") != invite.get("Via") || cancel.uri != invite.uri {
		t.Errorf("the CANCEL does not match its INVITE:\n%s", cancel.bytes())
	}
	p.ok(invite, "a")
	p.want("ACK")
	p.want("BYE")
	if got := s.Targets("pbx"); len(got) != 1 {
		t.Errorf("targets are %v", got)
	}
}

func TestCancelWaitsForAnAnswer(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, e, invite := dial(t, s, p, call())
	c.Cancel(Reason{Q850: 16, WAError: "cancelled"})
	p.never("CANCEL", 60*time.Millisecond)
	p.reply(invite, 100, "")
	cancel := p.want("CANCEL")
	if cancel.get("Via") != invite.get("Via") || cancel.get("Reason") != "Q.850;cause=16" || cancel.get("x-wa-error") != "cancelled" {
		t.Errorf("unexpected CANCEL:\n%s", cancel.bytes())
	}
	p.reply(cancel, 200, "a")
	p.reply(invite, 487, "a")
	if got := next[Refused](e); got.Status != 487 {
		t.Errorf("refused with %d", got.Status)
	}
	p.want("ACK")
	gone(t, s)
}

func TestAnswerCrossesCancel(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, e, invite := dial(t, s, p, call())
	p.reply(invite, 180, "a")
	next[Ringing](e)
	c.Cancel(Reason{})
	cancel := p.want("CANCEL")
	p.ok(invite, "a")
	p.reply(cancel, 200, "a")
	next[Accepted](e)
	p.want("ACK")
	c.Bye(Reason{})
	p.reply(p.want("BYE"), 200, "")
	next[ByeDone](e)
	gone(t, s)
}

func TestCancelIsNeverAnswered(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, e, invite := dial(t, s, p, call())
	p.reply(invite, 180, "a")
	next[Ringing](e)
	c.Cancel(Reason{})
	if got := next[Failed](e); !errors.Is(got.Err, ErrTimeout) {
		t.Errorf("failed with %v, want ErrTimeout", got.Err)
	}
	gone(t, s)
	p.ok(invite, "a")
	p.want("ACK")
	p.want("BYE")
}

func TestAbandonEndsWhateverIs(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	t.Run("ringing", func(t *testing.T) {
		c, _, invite := dial(t, s, p, call())
		p.reply(invite, 180, "a")
		c.Abandon()
		p.reply(p.want("CANCEL"), 200, "a")
		p.ok(invite, "a")
		p.want("ACK")
		p.reply(p.want("BYE"), 200, "")
		gone(t, s)
	})
	t.Run("up", func(t *testing.T) {
		c, _, _ := setUp(t, s, p, call())
		c.Abandon()
		p.reply(p.want("BYE"), 200, "")
		gone(t, s)
	})
	t.Run("prepared", func(t *testing.T) {
		o := call()
		o.Target = "sip:" + p.addr().String()
		c, err := s.Prepare(o, func(Event) {})
		if err != nil {
			t.Fatal(err)
		}
		c.Abandon()
		gone(t, s)
	})
}

func TestByeBothWays(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	t.Run("theirs", func(t *testing.T) {
		_, e, invite := setUp(t, s, p, call())
		p.inDialog(invite, "a", "BYE", 7, "", `Reason: Q.850;cause=17;text="x"`)
		p.want("200")
		if got := next[Hungup](e); got.Q850 != 17 {
			t.Errorf("hung up with cause %d, want 17", got.Q850)
		}
		gone(t, s)
		p.inDialog(invite, "a", "BYE", 8, "")
		p.want("481")
	})
	t.Run("crossing", func(t *testing.T) {
		c, e, invite := setUp(t, s, p, call())
		c.Bye(Reason{})
		bye := p.want("BYE")
		p.inDialog(invite, "a", "BYE", 7, "")
		p.want("200")
		next[Hungup](e)
		p.reply(bye, 481, "")
		if got := next[ByeDone](e); got.Err != nil {
			t.Errorf("481 to our BYE is the end, got %v", got.Err)
		}
		gone(t, s)
	})
	t.Run("unanswered", func(t *testing.T) {
		c, e, _ := setUp(t, s, p, call())
		c.Bye(Reason{})
		if got := next[ByeDone](e); !errors.Is(got.Err, ErrSilent) {
			t.Errorf("bye done with %v, want ErrSilent", got.Err)
		}
		gone(t, s)
	})
	t.Run("before the answer came through", func(t *testing.T) {
		_, e, invite := dial(t, s, p, call())
		p.reply(invite, 180, "a")
		next[Ringing](e)
		p.inDialog(invite, "a", "BYE", 7, "")
		p.want("200")
		next[Hungup](e)
		p.ok(invite, "a")
		p.want("ACK")
		p.reply(p.want("BYE"), 481, "")
		gone(t, s)
	})
}

func TestRoutesAndRemoteTarget(t *testing.T) {
	p, q := newPeer(t), newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	loose := fmt.Sprintf("Record-Route: <sip:%s;lr>, <sip:proxy2.example;lr>", q.addr())
	c, _, invite := dial(t, s, p, call())
	p.reply(invite, 200, "a", p.contact(), "Record-Route: <sip:proxy2.example;lr>, <sip:"+q.addr().String()+";lr>", "", "v=0")
	ack := q.want("ACK")
	if ack.uri != "sip:phone@"+p.addr().String() || strings.Join(ack.all("Route"), ", ") != strings.TrimPrefix(loose, "Record-Route: ") {
		t.Errorf("loose routing is off:\n%s", ack.bytes())
	}
	c.Bye(Reason{})
	q.reply(q.want("BYE"), 200, "")

	c, _, invite = dial(t, s, p, call())
	p.reply(invite, 200, "a", p.contact(), "Record-Route: <sip:"+q.addr().String()+">", "", "v=0")
	ack = q.want("ACK")
	if ack.uri != "sip:"+q.addr().String() || ack.get("Route") != "<sip:phone@"+p.addr().String()+">" {
		t.Errorf("strict routing is off:\n%s", ack.bytes())
	}
	c.Bye(Reason{})
	q.reply(q.want("BYE"), 200, "")

	for _, contact := range []string{"127.0.0.9", "169.254.169.254", "0.0.0.0", "[::1]", "evil.example", "[::ffff:127.0.0.9]"} {
		c, _, invite = dial(t, s, p, call())
		p.reply(invite, 200, "a", "Contact: <sip:phone@"+contact+":1>", "", "v=0")
		if ack = p.want("ACK"); ack.uri != "sip:phone@"+contact+":1" {
			t.Errorf("the remote target is %s", ack.uri)
		}
		c.Bye(Reason{})
		p.reply(p.want("BYE"), 200, "")
	}
	gone(t, s)
}

func TestLargeInviteTakesTCPElseADatagram(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	o := call()
	o.SDP = []byte(strings.Repeat("a=rtpmap:0 PCMU/8000\r\n", 80))
	_, e, invite := dial(t, s, p, o) // nobody listens on TCP there
	if !strings.HasPrefix(invite.get("Via"), "SIP/2.0/UDP ") || len(invite.body) != len(o.SDP) {
		t.Errorf("unexpected INVITE:\n%s", invite.bytes())
	}
	p.reply(invite, 486, "a")
	next[Refused](e)
}

func TestTargetsDeadOnesLast(t *testing.T) {
	p, q := newPeer(t), newPeer(t)
	trunk := trunkTo(p)
	first, second := "sip:"+p.addr().String(), "sip:"+q.addr().String()
	trunk.Targets = append(trunk.Targets, config.Target{URI: second})
	s := newTestServer(t, quick(), trunk)
	if got, want := s.Targets("pbx"), []string{first, second}; !slices.Equal(got, want) {
		t.Fatalf("targets are %v, want %v", got, want)
	}
	_, e, invite := dial(t, s, p, call())
	p.reply(invite, 503, "a")
	next[Refused](e)
	if got, want := s.Targets("pbx"), []string{second, first}; !slices.Equal(got, want) {
		t.Errorf("targets are %v, want %v", got, want)
	}
	_, e, invite = dial(t, s, p, call())
	p.reply(invite, 486, "a")
	next[Refused](e)
	if got, want := s.Targets("pbx"), []string{first, second}; !slices.Equal(got, want) {
		t.Errorf("targets are %v, want %v", got, want)
	}
	if s.Targets("nope") != nil || s.Up("nope") {
		t.Error("an unknown trunk has targets")
	}
	o := call()
	o.Target = "sip:127.0.0.9:5060"
	if _, err := s.Prepare(o, nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("a target outside the trunk: %v", err)
	}
	o.Trunk = "nope"
	if _, err := s.Prepare(o, nil); !errors.Is(err, ErrUnknownTrunk) {
		t.Errorf("an unknown trunk: %v", err)
	}
}
