package sip

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// raw is a request as text, to be spoilt.
func raw(p *peer, method string) string {
	return string(p.outside(method, "").bytes())
}

func swap(old, fresh string) func(string) string {
	return func(m string) string { return strings.Replace(m, old, fresh, 1) }
}

// without takes a header line away.
func without(name string) func(string) string {
	return func(m string) string {
		lines := strings.Split(m, "\r\n")
		var kept []string
		for _, l := range lines {
			if !strings.HasPrefix(l, name+":") {
				kept = append(kept, l)
			}
		}
		return strings.Join(kept, "\r\n")
	}
}

func with(line string) func(string) string { return swap("Max-Forwards", line+"\r\nMax-Forwards") }

// TestGate has the probes of an ordinary stack that answered all of them with
// 200, and more of their kind.
func TestGate(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	serve(t, s, func(c *Session, _ Incoming) { c.Refuse(480, Reason{}, 0) })
	for _, c := range []struct {
		name, method string
		spoil        func(string) string
		want         string
	}{
		{"nothing wrong", "OPTIONS", swap("", ""), "200"},
		{"no Call-ID", "OPTIONS", without("Call-ID"), "400"},
		{"no From", "OPTIONS", without("From"), "400"},
		{"no To", "OPTIONS", without("To"), "400"},
		{"no CSeq", "OPTIONS", without("CSeq"), "400"},
		{"no Max-Forwards", "OPTIONS", without("Max-Forwards"), "400"},
		{"Max-Forwards 0", "OPTIONS", swap("Max-Forwards: 70", "Max-Forwards: 0"), "483"},
		{"Max-Forwards 300", "OPTIONS", swap("Max-Forwards: 70", "Max-Forwards: 300"), "400"},
		{"SIP/7.0", "OPTIONS", swap("SIP/2.0", "SIP/7.0"), "505"},
		{"CSeq of another method", "OPTIONS", swap("1 OPTIONS", "1 INVITE"), "400"},
		{"CSeq too large", "OPTIONS", swap("1 OPTIONS", "99999999999 OPTIONS"), "400"},
		{"CSeq negative", "OPTIONS", swap("1 OPTIONS", "-1 OPTIONS"), "400"},
		{"Require", "OPTIONS", with("Require: foo"), "420"},
		{"unknown scheme", "OPTIONS", swap("sip:+34", "nobody:+34"), "416"},
		{"doubled Call-ID", "OPTIONS", with("Call-ID: other"), "400"},
		{"doubled From", "OPTIONS", with("f: <sip:x@y>;tag=2"), "400"},
		{"doubled CSeq", "OPTIONS", with("CSeq : 2 OPTIONS"), "400"},
		{"doubled Content-Length", "OPTIONS", with("l: 0"), "400"},
		{"blank before the colon is grammar", "OPTIONS", swap("Max-Forwards:", "Max-Forwards \t:"), "200"},
		{"and hides nothing", "OPTIONS", with("Max-Forwards : 3"), "400"},
		{"vertical tab before the colon", "OPTIONS", with("X-Evil\x0b: 1"), "400"},
		{"no name", "OPTIONS", with(": 1"), "400"},
		{"no colon", "OPTIONS", with("nonsense"), "400"},
		{"bare LF", "OPTIONS", with("X: a\nY: b"), "400"},
		{"bare CR", "OPTIONS", with("X: a\rY: b"), "400"},
		{"NUL", "OPTIONS", with("X: a\x00"), "400"},
		{"Content-Length -1", "OPTIONS", swap("Content-Length: 0", "Content-Length: -1"), "400"},
		{"Content-Length +0", "OPTIONS", swap("Content-Length: 0", "Content-Length: +0"), "400"},
		{"Content-Length 1 0", "OPTIONS", swap("Content-Length: 0", "Content-Length: 1 0"), "400"},
		{"Content-Length beyond the datagram", "OPTIONS", swap("Content-Length: 0", "Content-Length: 9999"), "400"},
		{"Content-Length 2^32+32", "OPTIONS", swap("Content-Length: 0", "Content-Length: 4294967328"), "400"},
		{"surplus is dropped", "OPTIONS", func(m string) string { return m + "surplus" }, "200"},
		{"no Content-Length", "OPTIONS", without("Content-Length"), "200"},
		{"bad From", "OPTIONS", swap(`"Agent" <`, `"Agent <`), "400"},
		{"two tags", "OPTIONS", swap(";tag=", ";tag=1;tag="), "400"},
		{"bad second Via", "OPTIONS", with("Via: SIP/2.0/UDP"), "400"},
		{"blanks in the Request-URI", "OPTIONS", swap("sip:+34", "sip: +34"), "400"},
		{"blank after the version", "OPTIONS", swap("SIP/2.0\r\n", "SIP/2.0 \r\n"), "400"},
		{"headers in the Request-URI", "OPTIONS", swap(" SIP/2.0", "?Route=x SIP/2.0"), "400"},
		{"folding", "OPTIONS", swap("CSeq: 1 ", "CSeq: 1\r\n  \t"), "200"},
		{"too many fields", "OPTIONS", with(strings.Repeat("X: 1\r\n", 70) + "X: 1"), "513"},
		{"a long field", "OPTIONS", with("X: " + strings.Repeat("y", maxLine)), "513"},
		{"a long folded field", "OPTIONS", with("X: 1" + strings.Repeat("\r\n y", maxLine)), "513"},
		{"unknown method", "FOO", swap("", ""), "501"},
		{"REGISTER", "REGISTER", swap("", ""), "405"},
		{"MESSAGE", "MESSAGE", swap("", ""), "405"},
		{"SUBSCRIBE", "SUBSCRIBE", swap("", ""), "405"},
		{"PUBLISH", "PUBLISH", swap("", ""), "405"},
		{"REFER outside", "REFER", swap("", ""), "603"},
		{"NOTIFY outside", "NOTIFY", swap("", ""), "481"},
		{"PRACK outside", "PRACK", swap("", ""), "481"},
		{"INFO outside", "INFO", swap("", ""), "481"},
		{"UPDATE outside", "UPDATE", swap("", ""), "481"},
		{"BYE outside", "BYE", swap("", ""), "481"},
		{"CANCEL of nothing", "CANCEL", swap("", ""), "481"},
		{"BYE of an unknown dialog", "BYE", swap("@gw>", "@gw>;tag=x"), "481"},
		{"a good INVITE", "INVITE", swap("", ""), "480"},
		{"no Contact", "INVITE", without("Contact"), "400"},
		{"Contact *", "INVITE", swap("Contact: <sip:201", "Contact: *<sip:201"), "480"}, // a display name, odd as it is
		{"bad Contact", "INVITE", swap("Contact: <sip:201", "Contact: <mailto:201"), "400"},
		{"two Contacts", "INVITE", with("m: <sip:a@b>"), "400"},
		{"another body", "INVITE", swap("Content-Length: 0\r\n\r\n", "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"), "415"},
		{"no type", "INVITE", swap("Content-Length: 0\r\n\r\n", "Content-Length: 2\r\n\r\nhi"), "400"},
		{"compressed", "INVITE", with("Content-Encoding: gzip"), "415"},
		{"wants no SDP", "INVITE", with("Accept: text/html"), "406"},
		{"tel", "INVITE", swap("sip:+34600111222@", "tel:+34600111222;x="), "480"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := c.spoil(raw(p, c.method))
			p.send(s.Addr("udp"), text)
			_, branch, _ := strings.Cut(text, "branch=")
			branch, _, _ = strings.Cut(branch, "\r\n")
			mine := func(m *message) bool { return strings.Contains(m.get("Via"), branch) } // other refusals still repeat themselves
			got := p.wantThat(c.want, mine)
			switch {
			case c.want == "420" && got.get("unsupported") != "foo":
				t.Errorf("420 without Unsupported:\n%s", got.bytes())
			case (c.want == "405" || c.want == "501") && got.get("allow") != allow:
				t.Errorf("%s without Allow:\n%s", c.want, got.bytes())
			case c.want == "415" && got.get("accept") == "" && got.get("accept-encoding") == "":
				t.Errorf("415 without Accept:\n%s", got.bytes())
			}
			if c.method == "INVITE" && c.want != "480" && (got.get("x-wa-error") == "" || q850(got) == 0) {
				t.Errorf("nothing says why:\n%s", got.bytes())
			}
			p.send(s.Addr("udp"), text)
			if again := p.wantThat(c.want, mine); again.get("To") != got.get("To") {
				t.Errorf("the same request got another tag: %s, %s", again.get("To"), got.get("To"))
			}
		})
	}
}

// want sees 4xx only after checkFrame, which cannot hold for an answer that
// repeats a broken request; these have no answer to compare.
func TestGateSilence(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	good := raw(p, "OPTIONS")
	for _, text := range []string{
		"", "\r\n\r\n", "\x00\x00\x00\x00", "hello", "GET / HTTP/1.1\r\n\r\n", without("Via")(good), strings.Replace(good, "Via: SIP", "Via: XIP", 1),
		raw(p, "ACK"), without("Call-ID")(raw(p, "ACK")),
		"SIP/2.0 200 OK\r\n\r\n", "SIP/2.0 4294967301 Better\r\n\r\n",
		strings.Replace(good, "OPTIONS sip:+34600111222@gw SIP/2.0", "SIP/2.0 200 OK", 1),
	} {
		p.send(s.Addr("udp"), text)
	}
	p.send(s.Addr("udp"), good)
	if first := <-p.in; first.status != 200 || len(p.in) != 0 {
		t.Errorf("something was answered: %s", first.bytes())
	}
}

// TestNothingMissingCrashes takes every header away from every method.
func TestNothingMissingCrashes(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	serve(t, s, func(c *Session, _ Incoming) { c.Refuse(480, Reason{}, 0) })
	_, e, invite := setUp(t, s, p, call())
	for method := range methods {
		inside := string(p.dialogRequest(invite, "a", method, 10, "").bytes())
		for _, text := range []string{raw(p, method), inside} {
			lines := strings.Split(text, "\r\n")
			for i := 1; i < len(lines)-2; i++ {
				if name, _, _ := strings.Cut(lines[i], ":"); method == "BYE" && name == "Content-Length" && text == inside {
					continue // that one is whole
				}
				spoilt := append(append([]string{}, lines[:i]...), lines[i+1:]...)
				p.send(s.Addr("udp"), strings.Join(spoilt, "\r\n"))
			}
		}
	}
	p.drain()
	p.inDialog(invite, "a", "BYE", 1000, "")
	next[Hungup](e)
	if n := count(t, s.metrics.rejected["panic"]); n != 0 {
		t.Errorf("%v handlers panicked", n)
	}
}

// drain reads what has come, until an OPTIONS of its own is answered.
func (p *peer) drain() {
	p.t.Helper()
	for {
		select {
		case <-p.in:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

func TestStrangersGetNothingAndCostNothing(t *testing.T) {
	p, stranger := newPeer(t), newPeer(t)
	trunk := trunkTo(p)
	trunk.Targets = []config.Target{{URI: fmt.Sprintf("sip:127.0.0.3:%d", p.addr().Port())}}
	s := newTestServer(t, quick(), trunk) // 127.0.0.1 is nobody now
	serve(t, s, func(*Session, Incoming) { t.Error("a call came in") })
	const total = 20000
	invites := make([]string, 100)
	for i := range invites {
		invites[i] = raw(stranger, "INVITE")
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	started := time.Now()
	for i := range total {
		stranger.send(s.Addr("udp"), invites[i%len(invites)])
		if i%500 == 499 { // let the reader follow: what the kernel drops proves nothing
			for count(t, s.metrics.rejected["source"]) < float64(i-3000) && time.Since(started) < patience {
				time.Sleep(time.Millisecond)
			}
		}
	}
	for count(t, s.metrics.rejected["source"]) < total*0.9 && time.Since(started) < patience {
		time.Sleep(time.Millisecond)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := runtime.NumGoroutine() - goroutines; n > 2 {
		t.Errorf("%d goroutines more", n)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if n := count(t, s.metrics.rejected["source"]); n < total*0.9 {
		t.Errorf("%v of %d were counted", n, total)
	}
	if len(stranger.in) != 0 {
		t.Errorf("a stranger was answered: %s", (<-stranger.in).bytes())
	}
	t.Logf("%d in %v", total, time.Since(started))
}

func TestFloodOfATrunkIsBounded(t *testing.T) {
	l := newLimiter()
	now := time.Now()
	a := prefixes(t, "10.0.0.1/32")[0].Addr()
	taken := 0
	for range 20000 {
		if l.allow(a, now) {
			taken++
		}
	}
	if taken != sourceBurst {
		t.Errorf("%d taken at once, want %v", taken, sourceBurst)
	}
	if !l.allow(a, now.Add(10*time.Millisecond)) {
		t.Error("no token after a while")
	}
	for range 2 * maxSources {
		a = a.Next()
		l.allow(a, now)
	}
	if len(l.sources) > maxSources {
		t.Errorf("%d buckets", len(l.sources))
	}
}

func TestLogsShowNoBodies(t *testing.T) {
	var out bytes.Buffer
	p := newPeer(t)
	s, err := newServer(config.SIP{Listen: []string{"udp://127.0.0.1:0"}}, []config.Trunk{trunkTo(p)}, textLogger(&out), prometheus.NewRegistry(), quick())
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		p.send(s.Addr("udp"), "INVITE secret garbage\r\n\r\n")
		p.send(s.Addr("udp"), strings.Replace(raw(p, "OPTIONS"), "CSeq", "secret", 1))
	}
	p.drain()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if out.Len() > 0 {
		t.Errorf("logged: %s", out.String())
	}
}
