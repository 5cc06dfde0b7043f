package sip

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"wagate/config"
)

// outsiders are the methods that RFCs name, one that they do not, and what each
// gets outside a dialog from a trunk: "" is nothing. Strangers get nothing at all.
var outsiders = map[string]string{
	"INVITE": "480", "ACK": "", "BYE": "481", "CANCEL": "481", "OPTIONS": "200", "UPDATE": "481", "INFO": "481",
	"PRACK": "481", "NOTIFY": "481", "REFER": "603", "REGISTER": "405", "SUBSCRIBE": "405", "MESSAGE": "405", "PUBLISH": "405",
	"FOO": "501",
}

// branchOf is what identifies a request whatever else it lacks.
func branchOf(text string) string {
	_, branch, _ := strings.Cut(text, "branch=")
	branch, _, _ = strings.Cut(branch, "\r\n")
	return branch
}

// TestWithoutOneHeader takes each header that a request must have away, of every
// method.
func TestWithoutOneHeader(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	serve(t, s, func(c *Session, _ Incoming) { c.Refuse(480, Reason{}, 0) })
	for method, whole := range outsiders {
		for _, name := range []string{"none", "Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards"} {
			t.Run(method+" without "+name, func(t *testing.T) {
				want := "400"
				switch {
				case whole == "" || name == "Via":
					want = ""
				case name == "none", name == "Max-Forwards" && methods[method] != 0, name == "Max-Forwards" && whole == "501":
					want = whole // the method alone is enough to refuse it
				}
				text, last := without(name)(raw(p, method)), raw(p, "OPTIONS")
				p.send(s.Addr("udp"), text)
				mine := func(m *message) bool {
					return m.has("Via") == (name != "Via") && strings.Contains(m.get("Via"), branchOf(text))
				}
				if want != "" {
					p.wantThat(want, mine)
				}
				p.send(s.Addr("udp"), last)
				p.wantThat("200", func(m *message) bool {
					if want == "" && m.status > 0 && mine(m) {
						t.Errorf("it was answered with %d", m.status)
					}
					return strings.Contains(m.get("Via"), branchOf(last))
				})
			})
		}
	}
	for method := range methods {
		if _, listed := outsiders[method]; !listed {
			t.Errorf("%s is not tried", method)
		}
	}
	if n := count(t, s.metrics.rejected["panic"]); n != 0 {
		t.Errorf("%v handlers panicked", n)
	}
}

// TestEveryMethodOfAStranger: whoever is no trunk gets no answer to anything,
// inside dialogs and outside, whole and broken.
func TestEveryMethodOfAStranger(t *testing.T) {
	p, stranger := newPeer(t), newPeer(t)
	trunk := trunkTo(p)
	trunk.Targets = []config.Target{{URI: fmt.Sprintf("sip:127.0.0.3:%d", p.addr().Port())}}
	s := newTestServer(t, quick(), trunk) // 127.0.0.1 is nobody now
	serve(t, s, func(*Session, Incoming) { t.Error("a call came in") })
	var texts []string
	for method := range outsiders {
		text := raw(stranger, method)
		texts = append(texts, text, strings.Replace(text, "@gw>", "@gw>;tag=x", 1), without("Call-ID")(text), strings.Replace(text, "SIP/2.0\r\n", "SIP/7.0\r\n", 1))
	}
	texts = append(texts, "SIP/2.0 200 OK\r\n\r\n", "garbage\r\n\r\n")
	slices.Sort(texts)
	for i, text := range texts {
		stranger.send(s.Addr("udp"), text)
		until(t, func() bool { return count(t, s.metrics.rejected["source"]) == float64(i+1) })
	}
	p.send(stranger.addr(), raw(p, "OPTIONS")) // behind whatever had been answered
	if first := <-stranger.in; first.method != "OPTIONS" || len(stranger.in) != 0 {
		t.Errorf("a stranger was answered: %s", first.bytes())
	}
}
