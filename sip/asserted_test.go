package sip

import (
	"slices"
	"strings"
	"testing"
)

// TestWhoCalls has what a trunk may say of its caller.
func TestWhoCalls(t *testing.T) {
	d := newDesk(t)
	agent := Party{Number: "201", Name: "Agent"} // From
	for _, c := range []struct {
		name  string
		lines []string
		want  Party
	}{
		{"From", nil, agent},
		{"asserted", []string{`P-Asserted-Identity: "Ana" <sip:202@pbx>`}, Party{"202", "Ana"}},
		{"asserted twice the same", []string{"P-Asserted-Identity: <sip:202@pbx>, <sip:202@pbx>"}, Party{"202", ""}},
		{"asserted as SIP and as tel", []string{"P-Asserted-Identity: tel:+34911222333, <sip:202@pbx>"}, Party{"202", ""}},
		{"asserted as tel", []string{"P-Asserted-Identity: <tel:+34911222333;ext=7>"}, Party{"+34911222333", ""}},
		{"asserted is a host", []string{"P-Asserted-Identity: <sip:pbx>"}, agent},
		{"the older header", []string{`Remote-Party-ID: "Bea" <sip:203@pbx>;party=calling;screen=yes`}, Party{"203", "Bea"}},
		{"the older header of the called", []string{"Remote-Party-ID: <sip:600@pbx>;party=called"}, agent},
		{"both", []string{"Remote-Party-ID: <sip:203@pbx>", "P-Asserted-Identity: <sip:202@pbx>"}, Party{"202", ""}},
		{"a wish without a header to trust", []string{"Privacy: id"}, Party{"201", ""}},
		{"asserted, and not to be shown", []string{`P-Asserted-Identity: "Ana" <sip:202@pbx>`, "Privacy: critical; ID"}, Party{"202", ""}},
		{"asserted, no wish", []string{`P-Asserted-Identity: "Ana" <sip:202@pbx>`, "Privacy: none"}, Party{"202", "Ana"}},
		{"wishes that everybody is given", []string{"Privacy: header;session;history"}, agent},
		{"the older wish", []string{`Remote-Party-ID: "Bea" <sip:203@pbx>;privacy=full`}, Party{"203", ""}},
		{"the older wish for nothing", []string{`Remote-Party-ID: "Bea" <sip:203@pbx>;privacy=off`}, Party{"203", "Bea"}},
		{"anonymous", []string{`From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=1`}, Party{}},
		{"anonymous, but asserted", []string{`From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=2`, "P-Asserted-Identity: <sip:202@pbx>", "Privacy: id"}, Party{"202", ""}},
		{"escapes", []string{"P-Asserted-Identity: <sip:%2a2%302%00;x=y:secret@pbx>"}, Party{"*202", ""}},
		{"somebody who may not say so", []string{"P-Preferred-Identity: <sip:204@pbx>"}, agent},
		{"who sent it here before", []string{"Diversion: <sip:205@pbx>;reason=unconditional", "History-Info: <sip:206@pbx>;index=1"}, agent},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, call := d.invite("v=0", c.lines...)
			if call.in.Caller != c.want {
				t.Errorf("%q calls, want %q", call.in.Caller, c.want)
			}
			call.Refuse(480, Reason{}, 0)
		})
	}
	for _, line := range []string{
		"P-Asserted-Identity: <sip:202@pbx>, <sip:203@pbx>",
		"P-Asserted-Identity: <tel:+34911222333>, <tel:+34911222334>",
		"P-Asserted-Identity: <mailto:ana@pbx>",
		"P-Asserted-Identity: <sip:202@pbx",
		"P-Asserted-Identity: ,",
		`P-Asserted-Identity: "Ana <sip:202@pbx>`,
		"Remote-Party-ID: <sip:202@pbx>, <sip:203@pbx>;party=calling",
		"Remote-Party-ID: 202",
	} {
		t.Run(line, func(*testing.T) {
			m := d.outside("INVITE", "v=0", line)
			d.send(d.s.Addr("udp"), string(m.bytes()))
			d.wantThat("400", func(got *message) bool { return got.get("Call-ID") == m.get("Call-ID") })
		})
	}
}

// TestNothingIsSmuggled disguises every header that somebody may trust: it is
// the header that every reader takes it for, or the message is refused; and
// nothing of it ever leaves again.
func TestNothingIsSmuggled(t *testing.T) {
	const secret = "smuggled"
	d := newDesk(t)
	headers := map[string]string{
		"P-Asserted-Identity": "<sip:smuggled@evil>", "Remote-Party-ID": "<sip:smuggled@evil>", "Privacy": "id",
		"P-Preferred-Identity": "<sip:smuggled@evil>", "Diversion": "<sip:smuggled@evil>;reason=user-busy",
		"History-Info": "<sip:smuggled@evil>;index=1", "Identity": "smuggled", "Referred-By": "<sip:smuggled@evil>",
		"X-WA-Number": "smuggled", "X-WA-User-ID": "smuggled", "X-WA-Call": "smuggled", "X-WA-Error": "smuggled",
		"X-Anything": "smuggled",
	}
	disguises := []struct {
		name  string
		good  bool // it is grammar, and the same header
		dress func(name, value string) string
	}{
		{"none", true, func(n, v string) string { return n + ": " + v }},
		{"blank", true, func(n, v string) string { return n + " : " + v }},
		{"tab", true, func(n, v string) string { return n + "\t:" + v }},
		{"case", true, func(n, v string) string { return strings.ToUpper(n) + ":" + v }},
		{"folded", true, func(n, v string) string { return n + ":\r\n " + v }},
		{"folded before the colon", false, func(n, v string) string { return n + "\r\n : " + v }},
		{"vertical tab", false, func(n, v string) string { return n + "\x0b: " + v }},
		{"form feed", false, func(n, v string) string { return n + "\x0c: " + v }},
		{"NUL", false, func(n, v string) string { return n + "\x00: " + v }},
		{"NUL in the name", false, func(n, v string) string { return n[:3] + "\x00" + n[3:] + ": " + v }},
		{"DEL", false, func(n, v string) string { return n + "\x7f: " + v }},
		{"no-break space", false, func(n, v string) string { return n + "\u00a0: " + v }},
		{"behind a bare LF", false, func(n, v string) string { return "X: y\n" + n + ": " + v }},
		{"behind a bare CR", false, func(n, v string) string { return "X: y\r" + n + ": " + v }},
		{"behind a quoted LF", false, func(n, v string) string { return "X: \"\\\n" + n + ": " + v + `"` }},
		{"a blank first", false, func(n, v string) string { return " " + n + ": " + v }}, // folded into the line before it
	}
	for name, value := range headers {
		for _, disguise := range disguises {
			t.Run(name+"/"+disguise.name, func(t *testing.T) {
				// behind CSeq, which no folded line may follow
				m := d.outside("INVITE", "v=0")
				text := strings.Replace(string(m.bytes()), "CSeq: 1 INVITE\r\n", "CSeq: 1 INVITE\r\n"+disguise.dress(name, value)+"\r\n", 1)
				d.send(d.s.Addr("udp"), text)
				mine := func(got *message) bool { return got.get("Call-ID") == m.get("Call-ID") }
				if !disguise.good {
					d.wantThat("400", mine)
					return
				}
				trying := d.wantThat("100", mine)
				call := <-d.calls
				caller := Party{"201", "Agent"}
				switch name {
				case "P-Asserted-Identity", "Remote-Party-ID":
					caller = Party{secret, ""}
				case "Privacy":
					caller.Name = ""
				}
				if call.in.Caller != caller {
					t.Errorf("%q calls, want %q", call.in.Caller, caller)
				}
				var shown []Header
				if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-wa-") {
					shown = []Header{{lower, secret}}
				}
				if !slices.Equal(call.in.Headers, shown) {
					t.Errorf("headers %v are shown, want %v", call.in.Headers, shown)
				}
				call.Ring()
				ringing := d.wantThat("180", mine)
				call.Answer([]byte("v=0"))
				ok := d.wantThat("200", mine)
				d.follow(m, ok, "ACK", 1)
				next[Acked](call.events)
				call.Bye(Reason{Q850: 16})
				bye := d.wantThat("BYE", mine)
				d.reply(bye, 200, "")
				next[ByeDone](call.events)
				for _, sent := range []*message{trying, ringing, ok, bye} {
					if wire := string(sent.bytes()); strings.Contains(wire, secret) || strings.Contains(wire, "Privacy") {
						t.Errorf("it leaves again:\n%s", wire)
					}
				}
			})
		}
	}
	for _, name := range []string{"P-Asserted-Identity", "Remote-Party-ID"} {
		t.Run("two of "+name, func(*testing.T) {
			for _, lines := range []string{": <sip:202@pbx>\r\n" + name + " : <sip:smuggled@evil>", ": <sip:202@pbx>\r\n" + strings.ToLower(name) + "\t:\r\n <sip:smuggled@evil>"} {
				m := d.outside("INVITE", "v=0")
				d.send(d.s.Addr("udp"), strings.Replace(string(m.bytes()), "CSeq:", name+lines+"\r\nCSeq:", 1))
				d.wantThat("400", func(got *message) bool { return got.get("Call-ID") == m.get("Call-ID") })
			}
		})
	}
}

// TestAHiddenCustomer: nothing is asserted of a customer without a number, and
// the PBX hears that it is on purpose. Nobody ever diverted the call.
func TestAHiddenCustomer(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	for _, c := range []struct{ number, asserted, privacy string }{
		{"+34600111222", `"Ana" <sip:+34600111222@127.0.0.1>`, ""}, {"", "", "id"},
	} {
		o := call()
		o.Caller.Number = c.number
		_, e, invite := dial(t, s, p, o)
		if invite.get("P-Asserted-Identity") != c.asserted || invite.get("Privacy") != c.privacy {
			t.Errorf("number %q: unexpected INVITE:\n%s", c.number, invite.bytes())
		}
		for _, name := range []string{"diversion", "history-info", "Remote-Party-ID"} {
			if invite.has(name) {
				t.Errorf("number %q: %s is invented:\n%s", c.number, name, invite.bytes())
			}
		}
		p.reply(invite, 486, "a")
		next[Refused](e)
	}
}
