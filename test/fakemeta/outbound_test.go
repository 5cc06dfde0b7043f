package fakemeta

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"wagate/test/tone"
)

// dial lets the gateway call a user.
func (g *gateway) dial(to, sdp string, more ...string) graphReply {
	m := map[string]any{
		"messaging_product": "whatsapp", "action": "connect", "to": to, "biz_opaque_callback_data": "leg=9",
		"session": map[string]string{"sdp_type": "offer", "sdp": sdp},
	}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return g.post(m)
}

var plainOffer = strings.Replace(plainAnswer, "setup:active", "setup:actpass", 1)

// TestOutbound: the business calls, in both DTLS roles, and both are heard.
func TestOutbound(t *testing.T) {
	for _, setup := range []string{"active", "passive"} {
		t.Run(setup, func(t *testing.T) {
			g := start(t, Options{})
			g.meta.Callee("34600111222", Callee{Answer: 300 * time.Millisecond, Setup: setup, User: User{Name: "Nuria"}})
			l := newLeg(t)
			o, err := l.pc.CreateOffer(nil)
			if err != nil {
				t.Fatal(err)
			}
			r := g.dial("+34600111222", l.local(o, "actpass"))
			g.must(r)
			c, err := g.meta.WaitCallee(g.ctx(), "34600111222")
			if err != nil || c.ID() != r.id {
				t.Fatalf("callee %v, %v; the reply has %q", c, err, r.id)
			}
			e := g.wait(KindConnect, r.id, 1)
			s := e.raw["session"].(map[string]any)
			if s["sdp_type"] != "answer" || e.raw["direction"] != "BUSINESS_INITIATED" || e.raw["to"] != "34600111222" ||
				e.raw["biz_opaque_callback_data"] != "leg=9" || e.raw["connection"] == nil {
				t.Errorf("connect is %v", e.raw)
			}
			if err := l.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: s["sdp"].(string)}); err != nil {
				t.Fatal(err)
			}
			l.wait()
			if c.State() == Connected {
				t.Error("picked up too early")
			}
			g.wait(KindRinging, r.id, 1)
			g.wait(KindAccepted, r.id, 1)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			l.speak(ctx, tone.NewSource(620, rate))
			if err := c.WaitHeard(g.ctx()); err != nil {
				t.Error(err)
			}
			if err := l.meter.Wait(g.ctx()); err != nil {
				t.Error(err)
			}
			g.must(g.do("terminate", r.id, ""))
			if e := g.wait(KindTerminate, r.id, 1); e.raw["biz_opaque_callback_data"] != "leg=9" || e.raw["duration"] == nil {
				t.Errorf("terminate is %v", e.raw)
			}
			g.clean()
		})
	}
}

// TestCallees: what else a user may do.
func TestCallees(t *testing.T) {
	g := start(t, Options{RingLimit: 300 * time.Millisecond})
	g.meta.Callee("1", Callee{Reject: 20 * time.Millisecond})
	g.meta.Callee("2", Callee{Never: true})
	g.meta.Callee("3", Callee{Answer: time.Hour, LateSDP: true})
	g.meta.Callee("ES.44", Callee{Answer: 10 * time.Millisecond})

	rejected := g.dial("1", plainOffer)
	g.must(rejected)
	g.wait(KindRejected, rejected.id, 1)
	if e := g.wait(KindTerminate, rejected.id, 1); e.raw["status"] != "COMPLETED" || e.raw["duration"] != nil {
		t.Errorf("rejected: %v", e.raw)
	}

	never := g.dial("2", plainOffer)
	g.must(never)
	if r := g.dial("2", plainOffer); r.code != 138003 {
		t.Errorf("a second call to the same user: %d %s", r.status, r.raw)
	}
	if e := g.wait(KindTerminate, never.id, 1); e.raw["duration"] != nil || g.meta.Customer(never.id).End().By != ByMeta {
		t.Errorf("not answered: %v", e.raw)
	}

	cancelled := g.dial("3", plainOffer)
	g.must(cancelled)
	g.wait(KindConnect, cancelled.id, 1)
	g.must(g.do("terminate", cancelled.id, ""))
	g.wait(KindTerminate, cancelled.id, 1)
	g.mu.Lock()
	var order []Kind
	for _, e := range g.events {
		if e.id == cancelled.id {
			order = append(order, e.kind)
		}
	}
	g.mu.Unlock()
	if len(order) != 3 || order[0] != KindRinging || order[1] != KindConnect {
		t.Errorf("events %v", order)
	}

	byID := g.dial("", plainOffer, "recipient", "ES.44")
	g.must(byID)
	g.wait(KindAccepted, byID.id, 1)
}

// TestConnectRefused has a row for every reason.
func TestConnectRefused(t *testing.T) {
	g := start(t, Options{})
	g.meta.Permit("+34600111333", false)
	for _, row := range []struct {
		name         string
		reply        graphReply
		status, code int
	}{
		{"no permission", g.dial("34600111333", plainOffer), http.StatusUnauthorized, 138006},
		{"nobody", g.dial("", plainOffer), 400, 100},
		{"not a number", g.dial("nuria", plainOffer), 400, 100},
		{"an answer", g.dial("34600111222", plainAnswer, "session", "x"), 400, 100},
		{"passive", g.dial("34600111222", strings.Replace(plainAnswer, "active", "passive", 1)), 400, 100},
		{"trickle", g.dial("34600111222", plainOffer+"a=ice-options:trickle\r\n"), 400, 138008},
		{"call_id", g.dial("34600111222", plainOffer, "call_id", "wacid.x"), 400, 100},
		{"long tag", g.dial("34600111222", plainOffer, "biz_opaque_callback_data", strings.Repeat("x", 513)), 400, 100},
	} {
		if row.reply.status != row.status || row.reply.code != row.code {
			t.Errorf("%s: %d %s", row.name, row.reply.status, row.reply.raw)
		}
	}
	if n := len(g.meta.Open()); n != 0 {
		t.Errorf("%d calls are open", n)
	}
	g.meta.Permit("34600111333", true)
	r := g.dial("34600111333", plainOffer)
	g.must(r)
	if r := g.do("accept", r.id, plainAnswer); r.code != 100 {
		t.Errorf("accept of our own call: %s", r.raw)
	}
	if r := g.do("reject", r.id, ""); r.code != 100 {
		t.Errorf("reject of our own call: %s", r.raw)
	}
}
