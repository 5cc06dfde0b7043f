package sip

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// seeds are messages of every kind, good and bad.
func seeds(f *testing.F) {
	f.Helper()
	head := "Via: SIP/2.0/UDP h;branch=z9hG4bKx;rport\r\nMax-Forwards: 70\r\nFrom: \"A\" <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: i\r\nCSeq: 1 "
	f.Add([]byte("OPTIONS sip:c@d SIP/2.0\r\n" + head + "OPTIONS\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("INVITE sip:c@d SIP/2.0\r\n" + head + "INVITE\r\nm: <sip:a@b>\r\nc: application/sdp\r\nl: 3\r\n\r\nv=0"))
	f.Add([]byte("INVITE tel:+34600 SIP/2.0\r\n" + head + "INVITE\r\nContact: <sip:a@[::1]:5>;x=\"y\r\n"))
	f.Add([]byte("SIP/2.0 401 No\r\n" + head + "INVITE\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"y\", qop=\"auth\"\r\nReason: Q.850;cause=17;text=\"x\\\"\"\r\n\r\n"))
	f.Add([]byte("TO :\r\n sip:x\r\nv:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239"))
	read4475 := reader4475(f)
	for _, h := range rfc4475 {
		f.Add(read4475(f, h.name))
	}
	for _, h := range rfc5118 {
		f.Add(read5118(f, h.name))
	}
}

// FuzzGate holds for any input: no panic, little time, and whatever passes the
// gate gives answers and dialogs that would pass it too.
func FuzzGate(f *testing.F) {
	seeds(f)
	tr, err := newTrunk(config.Trunk{Name: "pbx", Auth: config.Credentials{User: "gw", Password: "secret"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		started := time.Now()
		m, fault := parse(data, true)
		if m != nil && fault == nil {
			if m.isRequest() {
				fault = check(m)
			} else {
				fault = checkResponse(m)
			}
		}
		if took := time.Since(started); took > 200*time.Millisecond {
			t.Fatalf("%v for %d bytes", took, len(data))
		}
		if m == nil {
			return
		}
		q850(m)
		retryAfter(m)
		challengeOf(tr, m)
		if fault != nil {
			return
		}
		fl := flow{remote: addrPort(prefixes(t, "192.0.2.1/32")[0].Addr(), 5060)}
		m.from = endpoint{proto: "udp", addr: fl.remote}
		var out *message
		if m.isRequest() {
			replyFlow(m, fl)
			incomingOf(tr, m)
			out = response(m, 200, "t", fl)
			sound(t, out, data)
			if tag(m.get("To")) != "" {
				return
			}
			out = dialogOfInvite(m, "t").request("BYE", 2)
		} else {
			out = dialogOfAnswer(m).request("BYE", 2)
		}
		out.fields = append([]field{{"Via", "SIP/2.0/UDP x;branch=z9hG4bKy"}}, out.fields...)
		sound(t, out, data)
	})
}

// FuzzCredentials holds for any Authorization value: no panic, little time, and
// nothing passes that was not made with the password.
func FuzzCredentials(f *testing.F) {
	good := answer("pbx", "wagate", "secret", "INVITE", map[string]string{"nonce": "n", "uri": "sip:1@gw", "qop": "auth", "nc": "00000001", "cnonce": "x"})
	for _, value := range []string{good, "Digest", `Digest a="\`, "digest username=pbx,,", strings.Repeat(`x=""",`, 1000)} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		started := time.Now()
		c, ok := parseCredentials(value)
		_, right := c.prove("INVITE", "sip:1@gw", "pbx", "wagate", "secret")
		if took := time.Since(started); took > 200*time.Millisecond {
			t.Fatalf("%v for %d bytes", took, len(value))
		}
		if ok && right && (c.user != "pbx" || c.realm != "wagate" || c.qop != "auth") {
			t.Fatalf("%q passes", value)
		}
		if _, right := c.prove("INVITE", "sip:1@gw", "pbx", "wagate", "another"); right {
			t.Fatalf("%q passes with any password", value)
		}
	})
}

// sound checks a message of ours by our own reader, and that nothing of the
// input became a line of its own.
func sound(t *testing.T, m *message, input []byte) {
	t.Helper()
	wire := m.bytes()
	again, f := parse(wire, true)
	if f != nil {
		t.Fatalf("%q became unreadable: %v\n%s", input, f, wire)
	}
	if f := checkFrame(again); f != nil && !strings.Contains(f.text, "To") { // a To without brackets may end in a parameter that tags cannot follow
		t.Fatalf("%q became unsound: %v\n%s", input, f, wire)
	}
	if lines := bytes.Count(wire, []byte("\r\n")); lines != len(m.fields)+3+bytes.Count(m.body, []byte("\r\n")) {
		t.Fatalf("%q put %d lines into %d fields\n%s", input, lines, len(m.fields), wire)
	}
}
