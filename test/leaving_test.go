package test

import (
	"net/http"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// soon is how long a phone may ring on after the customer has left.
const soon = 3 * time.Second

// TestCustomerLeavesWhileGraphHangs: what is on its way to Meta holds up nobody;
// the phone is free as soon as the customer is gone.
func TestCustomerLeavesWhileGraphHangs(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.Hang, Action: "pre_accept"})
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.Hang, Effect: true, Action: "accept"})
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script {
		if m.Get("X-WA-Payload") == "ringing" {
			return faketrunk.NoAnswer()
		}
		return faketrunk.Answer(0)
	})
	for _, row := range []struct {
		payload string
		reached faketrunk.State
		causes  []string
	}{
		{"ringing", faketrunk.Rung, []string{"cancelled"}},
		{"answered", faketrunk.Up, []string{"hangup", "cancelled"}}, // by whether Meta had taken accept
	} {
		customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: row.payload})
		must(t, err)
		phone := phoneOf(ctx, t, r.PBX, row.payload)
		must(t, phone.Wait(ctx, row.reached))
		began := time.Now()
		customer.HangUp()
		must(t, phone.Wait(ctx, faketrunk.Ended))
		if took := time.Since(began); took > soon {
			t.Errorf("%s: the phone was busy for %v after the customer had left", row.payload, took)
		}
		rec := recordOf(t, settled(ctx, t, r), customer)
		if rec.EndedBy != "customer" || rec.Cause != row.causes[0] && rec.Cause != row.causes[len(row.causes)-1] {
			t.Errorf("%s: the record says %s by %s", row.payload, rec.Cause, rec.EndedBy)
		}
	}
}

// TestPhoneDoesNotEnd: a PBX that answers CANCEL and then says nothing more, or
// never answers BYE, costs the customer nothing, and its call is one record.
func TestPhoneDoesNotEnd(t *testing.T) {
	t.Parallel()
	stalls := faketrunk.NoAnswer()
	stalls.OnCancel = faketrunk.Stall
	ignores := faketrunk.Answer(0)
	ignores.LostOKs = 1000
	scripts := map[string]faketrunk.Script{"stalls": stalls, "ignores": ignores}
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script { return scripts[m.Get("X-WA-Payload")] })
	stalled, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: "stalls"})
	must(t, err)
	ignored, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: "ignores"})
	must(t, err)
	must(t, phoneOf(ctx, t, r.PBX, "stalls").Wait(ctx, faketrunk.Rung))
	must(t, ignored.Wait(ctx, fakemeta.Connected))
	stalled.HangUp()
	ignored.HangUp()
	rs := settled(ctx, t, r)
	rec := recordOf(t, rs, stalled)
	wantRecord(t, rec, "cancelled", "customer")
	rec = recordOf(t, rs, ignored)
	if rec.EndedBy != "customer" || !rec.Abandoned {
		t.Errorf("the record says %s by %s, abandoned %v", rec.Cause, rec.EndedBy, rec.Abandoned)
	}
	if n := metric(t, r, "wagate_calls_abandoned_total", "leg", "sip"); n == 0 {
		t.Error("no abandoned leg was counted")
	}
}

// TestOperatorHangsUp: what the admin API shows is the call, and what it ends is
// over on both sides.
func TestOperatorHangsUp(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	var live struct {
		Calls []struct {
			ID, Phase, WACID, Trunk, To string
			Media                       struct {
				WhatsApp, SIP struct {
					Codec   string
					Packets int
				}
			}
		}
	}
	get(ctx, t, r, "/api/v1/calls", &live)
	if len(live.Calls) != 1 {
		t.Fatalf("%d live calls, want 1", len(live.Calls))
	}
	c := live.Calls[0]
	if c.Phase != "active" || c.WACID != customer.ID() || c.Trunk != "pbx" || c.To != "600" ||
		c.Media.WhatsApp.Codec != "opus" || c.Media.SIP.Codec != "PCMA" || c.Media.WhatsApp.Packets == 0 || c.Media.SIP.Packets == 0 {
		t.Errorf("the live call is %+v", c)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, "http://"+r.Gateway.AdminAddr()+"/api/v1/calls/"+c.ID, nil)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	_ = res.Body.Close()
	must(t, phone.Wait(ctx, faketrunk.Ended))
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "gateway")
	wantVerbs(t, r, customer, "pre_accept", "accept", "terminate")
	get(ctx, t, r, "/api/v1/calls", &live)
	if len(live.Calls) != 0 {
		t.Errorf("%d live calls are left", len(live.Calls))
	}
}
