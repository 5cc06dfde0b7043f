package test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

const (
	ringbackTone = 425  // Hz
	clickedTone  = 1000 // of a customer who must not be taken for the ringback
)

// clicked is what the API says of a click to call.
type clicked struct {
	status int
	ID     string
	Phase  string
	Error  struct {
		Code      string
		Next      *time.Time `json:"next_request_at"`
		ExpiresAt *time.Time `json:"expires_at"`
	}
}

// click asks the API for a call from the desk phone 201 to a customer.
func click(ctx context.Context, t *testing.T, r *rig.Rig, to string) clicked {
	t.Helper()
	return clickWith(ctx, t, r, `{"number": "support", "to": "`+to+`", "trunk": "pbx", "agent": "201"}`)
}

func clickWith(ctx context.Context, t *testing.T, r *rig.Rig, body string) (c clicked) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.Gateway.AdminAddr()+"/api/v1/calls", strings.NewReader(body))
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	must(t, json.NewDecoder(res.Body).Decode(&c))
	c.status = res.StatusCode
	return c
}

// waiting lets every phone ring until it is told something.
func waiting(*faketrunk.Message) faketrunk.Script { return faketrunk.NoAnswer() }

func TestClickToCall(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut, Listen: []float64{ringbackTone, clickedTone}})
	r.PBX.Handle(waiting)
	r.Meta.Callee("", fakemeta.Callee{Never: true, Sound: fakemeta.Sound{Tone: clickedTone, Hear: []float64{rig.PhoneTone, ringbackTone}}})
	got := click(ctx, t, r, "+"+dialledCustomer)
	if got.status != 201 || got.Phase != "summoning" || got.ID == "" {
		t.Fatalf("the API answers %+v, want a call that is summoning", got)
	}
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Rung))
	if uri, from := phone.Invite().URI, phone.Invite().Get("From"); !strings.HasPrefix(uri, "sip:201@") || !strings.Contains(from, "+"+dialledCustomer) {
		t.Errorf("the agent's phone gets an INVITE to %s from %s", uri, from)
	}
	if id, number := phone.Invite().Get("X-WA-Call"), phone.Invite().Get("X-WA-Number"); id != got.ID || number != "support" {
		t.Errorf("X-WA-Call %q and X-WA-Number %q", id, number)
	}
	if n := metric(t, r, "wagate_calls", "direction", "outbound", "phase", "summoning"); n != 1 {
		t.Errorf("%v calls are summoning, want 1", n)
	}
	if n := len(r.Meta.Books()); n != 0 {
		t.Error("the customer is called before the agent is there")
	}
	must(t, phone.Answer())
	must(t, phone.Wait(ctx, faketrunk.Up))
	customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	meter := phone.Audio().Meter()
	must(t, meter.Wait(ctx, ringbackTone))
	var pause time.Duration
	eventually(ctx, t, "a whole period of the ringback tone", func() bool {
		for _, g := range meter.Gaps() {
			if g.Freq == ringbackTone {
				pause = max(pause, g.Length)
			}
		}
		return pause > time.Second
	})
	if pause < 3800*time.Millisecond || pause > 4200*time.Millisecond {
		t.Errorf("the pause of the tone is %v, want four seconds", pause)
	}
	if !customer.PickUp() {
		t.Fatal("the customer's phone does not ring")
	}
	meter.Reset()
	must(t, meter.Wait(ctx, clickedTone))
	must(t, customer.WaitHeard(ctx, rig.PhoneTone))
	meter.Reset()
	must(t, meter.Wait(ctx, clickedTone))
	if meter.HeardFor(ringbackTone) > 0 || customer.Meter().HeardFor(ringbackTone) > 0 {
		t.Error("the ringback tone goes on in the conversation")
	}
	must(t, phone.Hangup(ctx))
	rs := settled(ctx, t, r)
	if len(rs) != 1 || rs[0].ID != got.ID || rs[0].Cause != "hangup" || rs[0].EndedBy != "pbx" || rs[0].Direction != "outbound" ||
		rs[0].SIPStatus != 200 || rs[0].Trunk != "pbx" || rs[0].To != "+"+dialledCustomer || !slices.Equal(rs[0].Agents, []string{"201"}) ||
		rs[0].Route != "dial-out" || rs[0].DurationS <= 0 {
		t.Errorf("records are %+v", rs)
	}
	wantSteadyAtPhone(t, phone)
}

// alone waits for the record of a call that Meta never knew.
func alone(ctx context.Context, t *testing.T, r *rig.Rig) store.Record {
	t.Helper()
	rs := records(ctx, t, r, 1)
	must(t, r.PBX.Settled(ctx))
	if n := len(r.Meta.Books()); n != 0 || len(rs) != 1 {
		t.Errorf("%d calls at Meta, want none; records are %+v", n, rs)
	}
	wantAtRest(t, r)
	return rs[0]
}

func TestAgentOfAClickIsBusy(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Refuse(486) })
	if got := click(ctx, t, r, dialledCustomer); got.status != 201 {
		t.Errorf("the API answers %+v", got)
	}
	if rec := alone(ctx, t, r); rec.Cause != "busy" || rec.EndedBy != "pbx" || rec.SIPStatus != 486 {
		t.Errorf("record is %+v", rec)
	}
}

func TestClickIsHungUpWhileTheAgentsPhoneRings(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.PBX.Handle(waiting)
	got := click(ctx, t, r, dialledCustomer)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Rung))
	if again := click(ctx, t, r, dialledCustomer); again.status != 409 || again.Error.Code != "busy" {
		t.Errorf("a second click is answered %+v, want 409 busy", again)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, "http://"+r.Gateway.AdminAddr()+"/api/v1/calls/"+got.ID, http.NoBody)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, res.Body.Close())
	must(t, phone.Wait(ctx, faketrunk.Cancelled))
	if rec := alone(ctx, t, r); rec.Cause != "hangup" || rec.EndedBy != "gateway" {
		t.Errorf("record is %+v", rec)
	}
}

func TestCustomerOfAClickDeclines(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.PBX.Handle(answering(0))
	r.Meta.Callee("", fakemeta.Callee{Reject: 200 * time.Millisecond})
	click(ctx, t, r, dialledCustomer)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Ended))
	if reason := phone.Reason(); !phone.EndedByThem() || !strings.Contains(reason, "cause=21") || !strings.Contains(reason, `"declined"`) {
		t.Errorf("the agent's phone is told %q", reason)
	}
	rs := settled(ctx, t, r)
	if len(rs) != 1 || rs[0].Cause != "declined" || rs[0].EndedBy != "customer" {
		t.Errorf("records are %+v", rs)
	}
}

func TestClicksThatAreRefused(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut, Meta: fakemeta.Options{StrictPermissions: true}})
	writes(ctx, t, r.Meta)
	good := `{"number": "support", "to": "+` + dialledCustomer + `", "trunk": "pbx", "agent": "201"}`
	for _, row := range []struct {
		old, new string
		status   int
		code     string
	}{
		{"support", "sales", 404, "unknown_number"},
		{`"pbx"`, `"abroad"`, 404, "unknown_trunk"},
		{"+" + dialledCustomer, "+33612345678", 403, "not_allowed"},
		{"+" + dialledCustomer, "+34123", 400, "bad_number"},
		{`"201"`, `"+351210000999"`, 403, "not_allowed"},
		{`"201"`, `"%2B351210000999"`, 403, "not_allowed"},
		{`"201"`, `"00351210000999"`, 403, "not_allowed"},
		{`"201"`, `"210000999"`, 403, "not_allowed"},
	} {
		got := clickWith(ctx, t, r, strings.Replace(good, row.old, row.new, 1))
		if got.status != row.status || got.Error.Code != row.code {
			t.Errorf("%s: answered %+v, want %d %s", row.new, got, row.status, row.code)
		}
	}
	got := click(ctx, t, r, dialledCustomer)
	if got.status != 403 || got.Error.Code != "no_permission" || got.Error.Next == nil || time.Until(*got.Error.Next) < 23*time.Hour {
		t.Errorf("without permission: %+v, want 403 with the time of the next request", got)
	}
	if _, err := r.Meta.WaitMessage(ctx, dialledCustomer); err != nil {
		t.Errorf("the customer is not asked: %v", err)
	}
	if n := len(r.PBX.Calls()); n != 0 {
		t.Errorf("%d phones rang, want none", n)
	}
	if n := metric(t, r, "wagate_calls_started_total"); n != 0 {
		t.Errorf("%v calls started, want none", n)
	}
	r.Gateway.Drain()
	<-r.Ended()
}

func TestClickIsLeftByAStop(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.PBX.Handle(waiting)
	click(ctx, t, r, dialledCustomer)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Rung))
	must(t, r.StopGateway())
	must(t, phone.Wait(ctx, faketrunk.Cancelled))
	must(t, r.PBX.Settled(ctx))
	must(t, r.StartGateway())
	if rec := alone(ctx, t, r); rec.Cause != "draining" || rec.EndedBy != "gateway" {
		t.Errorf("record is %+v", rec)
	}
}
