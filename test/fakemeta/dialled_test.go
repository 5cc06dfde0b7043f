package fakemeta

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// kindsOf lists the webhooks of a call in the order of their arrival.
func (g *gateway) kindsOf(id string) []Kind {
	g.mu.Lock()
	defer g.mu.Unlock()
	var k []Kind
	for _, e := range g.events {
		if e.id == id {
			k = append(k, e.kind)
		}
	}
	return k
}

// TestDialled: the course of a call to a user, in all orders; the tag is in
// every webhook.
func TestDialled(t *testing.T) {
	const soon = time.Nanosecond
	for _, row := range []struct {
		name   string
		callee Callee
		upset  Upset
		end    string // how it ends when all but its last webhook are there
		want   []Kind
		status string
		by     Party
		talked bool
	}{
		{"answered", Callee{Answer: soon}, Upset{Kind: "none"}, "terminate", []Kind{KindConnect, KindRinging, KindAccepted, KindTerminate}, "COMPLETED", ByBusiness, true},
		{"answered, the user ends it", Callee{Answer: soon}, Upset{Kind: "none"}, "user", []Kind{KindConnect, KindRinging, KindAccepted, KindTerminate}, "COMPLETED", ByUser, true},
		{"answered, Meta ends it", Callee{Answer: soon}, Upset{Kind: "none"}, "broken", []Kind{KindConnect, KindRinging, KindAccepted, KindTerminate}, "FAILED", ByMeta, true},
		{"declined", Callee{Reject: soon}, Upset{Kind: "none"}, "", []Kind{KindConnect, KindRinging, KindRejected, KindTerminate}, "COMPLETED", ByUser, false},
		{"not answered", Callee{Never: true}, Upset{Kind: "none"}, "", []Kind{KindConnect, KindRinging, KindTerminate}, "COMPLETED", ByMeta, false},
		{"cancelled while it rings", Callee{Answer: time.Hour}, Upset{Kind: "none"}, "terminate", []Kind{KindConnect, KindRinging, KindTerminate}, "COMPLETED", ByBusiness, false},
		{"cancelled before it rings", Callee{Ring: time.Hour}, Upset{Kind: "none"}, "terminate", []Kind{KindConnect, KindTerminate}, "COMPLETED", ByBusiness, false},
		{"fails", Callee{Fail: 138019}, Upset{Kind: "none"}, "", []Kind{KindConnect, KindTerminate}, "FAILED", ByMeta, false},
		{"ringing before the answer", Callee{Answer: soon, LateSDP: true}, Upset{Kind: "none"}, "terminate", []Kind{KindRinging, KindConnect, KindAccepted, KindTerminate}, "COMPLETED", ByBusiness, true},
		{"the answer comes last", Callee{Answer: soon}, Upset{Kind: KindConnect, Delay: 150 * time.Millisecond}, "terminate", []Kind{KindRinging, KindAccepted, KindConnect, KindTerminate}, "COMPLETED", ByBusiness, true},
		{"accepted before ringing", Callee{Answer: soon}, Upset{Kind: KindRinging, Swap: true}, "terminate", []Kind{KindConnect, KindAccepted, KindRinging, KindTerminate}, "COMPLETED", ByBusiness, true},
		{"accepted comes late", Callee{Answer: soon, LateAccepted: 100 * time.Millisecond}, Upset{Kind: "none"}, "terminate", []Kind{KindConnect, KindRinging, KindAccepted, KindTerminate}, "COMPLETED", ByBusiness, true},
		{"accepted never comes", Callee{Answer: soon}, Upset{Kind: KindAccepted, Drop: true}, "user", []Kind{KindConnect, KindRinging, KindTerminate}, "COMPLETED", ByUser, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, Options{RingLimit: 200 * time.Millisecond})
			if row.callee.Answer == time.Hour {
				g.meta.opts.RingLimit = 2 * time.Hour
			}
			g.meta.Callee(nuria, row.callee)
			g.meta.Disturb(row.upset)
			r := g.dial(nuria, plainOffer)
			g.must(r)
			for _, k := range row.want[:len(row.want)-1] {
				g.wait(k, r.id, 1)
			}
			c := g.meta.Customer(r.id)
			if row.talked {
				if err := c.Wait(g.ctx(), Connected); err != nil {
					t.Fatal(err)
				}
			}
			switch row.end {
			case "terminate":
				g.must(g.do("terminate", r.id, ""))
			case "user":
				c.HangUp()
			case "broken":
				c.Break(138023)
			}
			e := g.wait(KindTerminate, r.id, 1)
			if got := g.kindsOf(r.id); !slices.Equal(got, row.want) {
				t.Errorf("arrived %v, want %v", got, row.want)
			}
			if e.raw["status"] != row.status || (e.raw["duration"] != nil) != row.talked || c.End().By != row.by {
				t.Errorf("the end is %v by %d", e.raw, c.End().By)
			}
			if failed := row.status == "FAILED"; (e.val["errors"] != nil) != failed || (e.raw["errors"] != nil) != failed {
				t.Errorf("the errors are %v and %v", e.val["errors"], e.raw["errors"])
			}
			g.mu.Lock()
			for _, e := range g.events {
				if e.raw["biz_opaque_callback_data"] != "leg=9" || e.field != "calls" {
					t.Errorf("%s without the tag: %v", e.kind, e.raw)
				}
			}
			g.mu.Unlock()
			if r := g.do("terminate", r.id, ""); r.code != 100 || !strings.Contains(r.raw, "already ended") {
				t.Errorf("another terminate: %s", r.raw)
			}
			g.clean()
		})
	}
}

// TestByHand: what a user does at a moment that a test chooses.
func TestByHand(t *testing.T) {
	g := start(t, Options{})
	g.meta.Callee(nuria, Callee{Ring: 100 * time.Millisecond, Never: true})
	r := g.dial(nuria, plainOffer)
	g.must(r)
	c := g.meta.Customer(r.id)
	if c.PickUp() || c.Decline() {
		t.Error("it does not ring yet")
	}
	g.wait(KindRinging, r.id, 1)
	if !c.PickUp() || c.PickUp() || c.Decline() || c.State() != Connected {
		t.Errorf("picked up, and it is %v", c.State())
	}
	g.wait(KindAccepted, r.id, 1)
	c.HangUp()
	g.wait(KindTerminate, r.id, 1)

	r = g.dial(nuria, plainOffer)
	g.must(r)
	g.wait(KindRinging, r.id, 1)
	if c := g.meta.Customer(r.id); !c.Decline() || c.PickUp() || c.Decline() {
		t.Error("it was declined")
	}
	g.wait(KindTerminate, r.id, 1)

	in, _ := g.place(CallOptions{})
	g.must(g.do("pre_accept", in.ID(), plainAnswer))
	if in.PickUp() || in.Decline() {
		t.Error("a user does not pick up an own call")
	}
}

// TestPickUpRace: the user picks up, or declines, in the moment of the
// business's terminate. There is one end, and the books agree with the
// webhooks.
func TestPickUpRace(t *testing.T) {
	g, _ := strict(t, Options{Rules: Rules{Sandbox: true}})
	for i := range 60 {
		who := fmt.Sprint(i)
		g.meta.Permit(who, true)
		g.meta.Callee(who, Callee{Never: true})
		r := g.dial(who, plainOffer)
		g.must(r)
		c := g.meta.Customer(r.id)
		g.wait(KindRinging, r.id, 1)
		reacted := false
		var ended graphReply
		var wg sync.WaitGroup
		wg.Go(func() {
			if reacted = i%2 == 0 && c.PickUp() || i%2 == 1 && c.Decline(); reacted && i%3 == 0 {
				c.HangUp()
			}
		})
		wg.Go(func() { ended = g.do("terminate", r.id, "") })
		wg.Wait()
		e := g.wait(KindTerminate, r.id, 1)
		talked := e.raw["duration"] != nil
		b := g.meta.Permission(who)
		if talked != (i%2 == 0 && reacted) || (b.Connected == 1) != talked || (b.Unanswered == 1) == talked || b.Open != 0 {
			t.Errorf("reacted %v, terminate got %d, the end %v, the book %+v", reacted, ended.status, e.raw, b)
		}
		if talked {
			g.wait(KindAccepted, r.id, 1)
		}
	}
	for _, id := range g.meta.Books() {
		n := 0
		for _, k := range g.kindsOf(id.ID) {
			if k == KindTerminate {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d ends of one call", n)
		}
	}
}

// TestLostConnect: a call is placed although nobody hears of it by the reply.
func TestLostConnect(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault Fault
	}{
		{"lost reply", Fault{Kind: LoseReply}},
		{"garbage", Fault{Kind: Garbage, Effect: true}},
		{"500", Fault{Kind: Fail, Effect: true}},
		{"late", Fault{Kind: LateReply, Delay: 200 * time.Millisecond}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, Options{})
			row.fault.Action, row.fault.Times = "connect", 1
			g.meta.Fail(row.fault)
			g.meta.Callee(nuria, Callee{Never: true})
			replies := make(chan graphReply, 1)
			go func() { replies <- g.dial(nuria, plainOffer) }()
			e := g.wait(KindRinging, "", 1)
			if row.fault.Kind == LateReply {
				select {
				case <-replies:
					t.Error("the reply was before the webhook")
				default:
				}
			}
			if r := <-replies; row.fault.Kind == LateReply {
				g.must(r)
			} else if r.id != "" {
				t.Errorf("got %s", r.raw)
			}
			if e.raw["biz_opaque_callback_data"] != "leg=9" {
				t.Errorf("the webhook cannot be told by its tag: %v", e.raw)
			}
			if r := g.dial(nuria, plainOffer); r.code != 138003 {
				t.Errorf("a repetition got %s", r.raw)
			}
			g.must(g.do("terminate", e.id, ""))
			g.wait(KindTerminate, e.id, 1)
			if n := len(g.meta.Books()); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
	for _, kind := range []FaultKind{Reset, Fail} {
		g := start(t, Options{})
		g.meta.Fail(Fault{Kind: kind, Action: "connect", Times: 1})
		if r := g.dial(nuria, plainOffer); r.id != "" || len(g.meta.Books()) != 0 || g.meta.Permission(nuria).Dialled != 0 {
			t.Errorf("fault %d without an effect has one", kind)
		}
	}
}

// TestHeardBeforeAccepted: a user speaks at once, ACCEPTED comes behind.
func TestHeardBeforeAccepted(t *testing.T) {
	g := start(t, Options{})
	g.meta.Callee(nuria, Callee{Never: true, LateAccepted: 2 * time.Second})
	l := newLeg(t)
	o, err := l.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := g.dial(nuria, l.local(o, "actpass"))
	g.must(r)
	answer := g.wait(KindConnect, r.id, 1).raw["session"].(map[string]any)["sdp"].(string)
	if err := l.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatal(err)
	}
	g.wait(KindRinging, r.id, 1)
	l.wait()
	c := g.meta.Customer(r.id)
	if c.Report().Sent != 0 {
		t.Error("a phone that rings is heard")
	}
	if !c.PickUp() {
		t.Fatal("nothing to pick up")
	}
	if err := l.meter.Wait(g.ctx()); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(g.kindsOf(r.id), KindAccepted) {
		t.Error("ACCEPTED was before the user's voice")
	}
	g.wait(KindAccepted, r.id, 1)
	g.clean()
}

// TestDialledIdentity: a number that the business knows is shown, another is
// not.
func TestDialledIdentity(t *testing.T) {
	g := start(t, Options{})
	g.meta.Callee(nuria, Callee{Never: true, User: User{UserID: "ES.5", ParentID: "ES.ENT.6", Username: "nuria.p", Private: true}})
	for _, row := range []struct {
		to, recipient string
		shown         bool
	}{
		{nuria, "", true}, {"+" + nuria, "ES.99", true}, {"", "ES.5", false}, {"", "ES.ENT.6", false},
	} {
		r := g.dial(row.to, plainOffer, "recipient", row.recipient)
		g.must(r)
		e := g.wait(KindConnect, r.id, 1)
		ring := g.wait(KindRinging, r.id, 1)
		who := e.val["contacts"].([]any)[0].(map[string]any)
		if e.raw["to_user_id"] != "ES.5" || e.raw["to_parent_user_id"] != "ES.ENT.6" || ring.raw["recipient_user_id"] != "ES.5" ||
			(e.raw["to"] == nuria) != row.shown || (who["wa_id"] == nuria) != row.shown || (ring.raw["recipient_id"] == nuria) != row.shown {
			t.Errorf("%s%s: %v, %v, %v", row.to, row.recipient, e.raw, who, ring.raw)
		}
		if row := g.meta.Requests(); row[len(row)-1].To == "" {
			t.Error("the books do not show who was called")
		}
		g.must(g.do("terminate", r.id, ""))
		g.wait(KindTerminate, r.id, 1)
	}
	if b := g.meta.Permission("ES.5"); b.Dialled != 4 || b.User.Number != nuria {
		t.Errorf("the book of the id is %+v", b)
	}
}

// TestWallClock: the webhooks of calls tell the time of Options.Clock.
func TestWallClock(t *testing.T) {
	g, clock := strict(t, Options{})
	g.meta.Permit(nuria, true)
	g.meta.Callee(nuria, Callee{Answer: time.Nanosecond})
	r := g.dial(nuria, plainOffer)
	g.must(r)
	if e := g.wait(KindAccepted, r.id, 1); e.raw["timestamp"] != seconds(noon) {
		t.Errorf("ACCEPTED at %v", e.raw["timestamp"])
	}
	clock.Set(noon.Add(time.Hour))
	g.must(g.do("terminate", r.id, ""))
	e := g.wait(KindTerminate, r.id, 1)
	hour := seconds(noon.Add(time.Hour))
	if e.raw["start_time"] != seconds(noon) || e.raw["end_time"] != hour || e.raw["timestamp"] != hour {
		t.Errorf("the end is %v", e.raw)
	}
}
