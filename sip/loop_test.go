package sip

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// TestOwnCallComesBack: the PBX sends our INVITE back to us, as a proxy does and
// as a call of its own.
func TestOwnCallComesBack(t *testing.T) {
	var out bytes.Buffer
	p := newPeer(t)
	s, err := newServer(config.SIP{Listen: []string{"udp://127.0.0.1:0"}}, []config.Trunk{guarded(p)}, textLogger(&out), prometheus.NewRegistry(), quick())
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, func(*Session, Incoming) { t.Error("the call was taken") })
	_, e, invite := dial(t, s, p, call())
	mark := invite.get("x-wa-loop")
	forwarded := p.outside("INVITE", "v=0 offer", "Call-ID: "+invite.get("Call-ID"), "From: "+invite.get("From"), "X-WA-Loop: "+mark)
	second := p.outside("INVITE", "v=0 offer", "x-wa-loop: "+mark)
	for _, m := range []*message{forwarded, second} {
		p.send(s.Addr("udp"), string(m.bytes()))
		got := p.want("482")
		if got.get("Call-ID") != m.get("Call-ID") || got.get("x-wa-error") != "no_route" || q850(got) != 25 {
			t.Errorf("refused with\n%s", got.bytes())
		}
	}
	p.reply(invite, 482, "a")
	if got := next[Refused](e); got.Status != 482 {
		t.Errorf("the call ended with %d", got.Status)
	}
	if n := count(t, s.metrics.rejected["loop"]); n != 2 {
		t.Errorf("%v loops were counted", n)
	}
	gone(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if strings.Count(out.String(), "back to us") != 1 {
		t.Errorf("logged:\n%s", out.String())
	}
}

func TestMarksOfLoops(t *testing.T) {
	l := newLoopMark()
	mark := l.make()
	if len(mark) > 28 || mark == l.make() {
		t.Errorf("%q is too long, or the same for every call", mark)
	}
	raw, err := base64.RawURLEncoding.DecodeString(mark)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] ^= 1
	for value, ours := range map[string]bool{
		mark: true, newLoopMark().make(): false, base64.RawURLEncoding.EncodeToString(raw): false, mark + "A": false, mark[:20]: false, "": false, "=": false,
	} {
		m := &message{}
		m.add("x-wa-loop", "something else")
		m.add("x-wa-loop", value)
		if l.on(m) != ours {
			t.Errorf("%q is ours: %v", value, !ours)
		}
	}
}

// TestCallsOfOthersPass: the mark of another gateway is not ours, and a call
// without one is a new call.
func TestCallsOfOthersPass(t *testing.T) {
	d := newDesk(t)
	d.invite("v=0 offer", "X-WA-Loop: "+newLoopMark().make())
	d.invite("v=0 offer")
}
