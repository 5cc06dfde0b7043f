package fakemeta

import (
	"context"
	"strings"
	"testing"
	"time"

	"wagate/test/tone"
)

// TestCall is a whole call: offer, pre_accept, ICE and DTLS while it rings,
// accept, a tone each way, the gateway hangs up.
func TestCall(t *testing.T) {
	g := start(t, Options{})
	c, offer := g.place(CallOptions{User: User{Name: "Núria P."}, Payload: "order-7781"})
	if e := g.wait(KindConnect, c.ID(), 1); e.raw["cta_payload"] != "order-7781" || e.raw["direction"] != "USER_INITIATED" ||
		e.val["contacts"].([]any)[0].(map[string]any)["profile"].(map[string]any)["name"] != "Núria P." {
		t.Errorf("connect webhook is %v", e.val)
	}
	if c.State() != Calling || !strings.HasPrefix(c.ID(), "wacid.") || !strings.HasSuffix(c.ID(), "=") {
		t.Errorf("a new call is %v with id %s", c.State(), c.ID())
	}
	l := newLeg(t)
	answer := l.answer(offer)
	g.must(g.do("pre_accept", c.ID(), answer))
	if err := c.Wait(g.ctx(), Ringing); err != nil {
		t.Fatal(err)
	}
	l.wait()
	g.must(g.do("accept", c.ID(), answer, "biz_opaque_callback_data", "leg=1"))
	if err := c.Wait(g.ctx(), Connected); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l.speak(ctx, tone.NewSource(620, rate))
	if err := c.WaitMedia(g.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitHeard(g.ctx(), 620); err != nil {
		t.Error(err)
	}
	if err := l.meter.Wait(g.ctx(), 440); err != nil {
		t.Error(err)
	}
	if open := g.meta.Open(); len(open) != 1 || open[0].ID != c.ID() || open[0].Talked == 0 {
		t.Errorf("open calls are %+v", open)
	}
	stop()
	g.must(g.do("terminate", c.ID(), ""))
	e := g.wait(KindTerminate, c.ID(), 1)
	if e.raw["status"] != "COMPLETED" || e.raw["biz_opaque_callback_data"] != "leg=1" || e.raw["duration"] == nil ||
		e.raw["start_time"] == nil || e.raw["cta_payload"] != "order-7781" {
		t.Errorf("terminate webhook is %v", e.raw)
	}
	if err := g.meta.WaitQuiet(g.ctx()); err != nil {
		t.Error(err)
	}
	if end := c.End(); end.By != ByBusiness || end.Status != "COMPLETED" || end.Talked < 200*time.Millisecond {
		t.Errorf("the call ended %+v", end)
	}
	r := c.Report()
	if len(r.Streams) != 1 || !r.Secured || r.Early != 0 || r.Bad != 0 || r.Sent == 0 || r.FirstPacket.IsZero() {
		t.Errorf("the customer noted %+v", r)
	}
	if s := r.Streams[0]; s.Missing != 0 || s.Jumps != 0 || s.Duplicates != 0 || s.Packets != len(c.Packets()) {
		t.Errorf("the stream is %+v", s)
	}
	if c.Report().RTCP.Packets == 0 {
		t.Log("no RTCP in this short call")
	}
	g.clean()
	var actions []string
	for _, r := range g.meta.Requests() {
		actions = append(actions, r.Action)
	}
	if got := strings.Join(actions, " "); got != "pre_accept accept terminate" {
		t.Errorf("the books show %q", got)
	}
}
