package test

import (
	"context"
	"slices"
	"testing"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// The faults of the Graph API.
var graphFaults = map[string]fakemeta.Fault{
	"500":        {Kind: fakemeta.Fail},
	"500 done":   {Kind: fakemeta.Fail, Effect: true},
	"429":        {Kind: fakemeta.Fail, Status: 429, Code: 4, After: time.Second},
	"503 proxy":  {Kind: fakemeta.Fail, Status: 503, Code: -1},
	"hang":       {Kind: fakemeta.Hang},
	"hang done":  {Kind: fakemeta.Hang, Effect: true},
	"reset":      {Kind: fakemeta.Reset},
	"lost reply": {Kind: fakemeta.LoseReply},
	"garbage":    {Kind: fakemeta.Garbage},
	"late":       {Kind: fakemeta.LateReply, Delay: 5 * time.Second},
	"slow":       {Kind: fakemeta.Slow, Delay: 5 * time.Second},
}

// trouble is one call whose requests of one kind go wrong.
type trouble struct {
	fault, action string
	customer      *fakemeta.Customer
}

func (x trouble) name() string { return x.action + " " + x.fault }

// troubledLines is a gateway with a business number for every fault: what is
// found of one number is held against its later calls.
func troubledLines(change func(*config.Config)) rig.Options {
	return numbered(len(graphFaults), rig.Options{Config: change})
}

// provoke places a call for every fault of one action, each to a number of its
// own. The connect webhooks wait until the faults are in place.
func provoke(ctx context.Context, t *testing.T, r *rig.Rig, action string, times int) []trouble {
	t.Helper()
	r.Meta.Disturb(fakemeta.Upset{Kind: fakemeta.KindConnect, Delay: 300 * time.Millisecond})
	var all []trouble
	for name, f := range graphFaults {
		x := trouble{fault: name, action: action}
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: x.name(), Patience: 2 * patience, To: numberID(len(all))})
		must(t, err)
		x.customer = c
		f.Action, f.CallID, f.Times = action, c.ID(), times
		r.Meta.Fail(f)
		all = append(all, x)
	}
	r.Meta.Settle()
	return all
}

// troubled settles a rig whose Graph API has just recovered.
func troubled(ctx context.Context, t *testing.T, r *rig.Rig) []store.Record {
	t.Helper()
	r.Meta.Heal()
	rs := settled(ctx, t, r)
	if n := metric(t, r, "wagate_debts_expired_total"); n != 0 {
		t.Errorf("%v ends were given up", n)
	}
	return rs
}

// TestPreAcceptFails: it is optional, so whatever becomes of it, be it for good or
// once, with its effect or without, the customer and the phone talk.
func TestPreAcceptFails(t *testing.T) {
	t.Parallel()
	for name, times := range map[string]int{"for good": 0, "once": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			preAcceptFails(t, times)
		})
	}
}

func preAcceptFails(t *testing.T, times int) {
	t.Helper()
	r, ctx := rigged(t, troubledLines(unprobed))
	r.PBX.Handle(answering(time.Second))
	all := provoke(ctx, t, r, "pre_accept", times)
	for _, x := range all {
		if err := x.customer.Wait(ctx, fakemeta.Connected); err != nil {
			t.Errorf("%s: %v", x.name(), err)
			continue
		}
		hearing(ctx, t, x.customer, phoneOf(ctx, t, r.PBX, x.name()))
		x.customer.HangUp()
	}
	rs := troubled(ctx, t, r)
	for _, x := range all {
		wantRecord(t, recordOf(t, rs, x.customer), "hangup", "customer")
		if n := count(verbs(r, x.customer), "pre_accept"); n > 3 { // the budget of a number with little to do
			t.Errorf("%s: asked %d times", x.name(), n)
		}
		if n := count(verbs(r, x.customer), "accept"); n < 1 || n > 2 {
			t.Errorf("%s: Meta was asked %v", x.name(), verbs(r, x.customer))
		}
	}
}

// TestAcceptFailsOnce: one repetition with the same answer, and the call is up.
func TestAcceptFailsOnce(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, troubledLines(unprobed))
	r.PBX.Handle(answering(200 * time.Millisecond))
	all := provoke(ctx, t, r, "accept", 1)
	for _, x := range all {
		phone := phoneOf(ctx, t, r.PBX, x.name())
		if err := x.customer.Wait(ctx, fakemeta.Connected); err != nil {
			t.Errorf("%s: %v", x.name(), err)
			continue
		}
		customerHears(ctx, t, x, phone)
		x.customer.HangUp()
	}
	rs := troubled(ctx, t, r)
	for _, x := range all {
		if rec := recordOf(t, rs, x.customer); rec.Cause != "hangup" || rec.AnsweredAt.IsZero() {
			t.Errorf("%s: the record says %s by %s", x.name(), rec.Cause, rec.EndedBy)
		}
		if n := count(verbs(r, x.customer), "accept"); n != 2 {
			t.Errorf("%s: accept was asked %d times, want 2", x.name(), n)
		}
	}
}

func customerHears(ctx context.Context, t *testing.T, x trouble, phone *faketrunk.Call) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := x.customer.WaitHeard(ctx, rig.PhoneTone); err != nil {
		t.Errorf("%s: the customer hears nothing: %v", x.name(), err)
	}
	if err := phone.Audio().Meter().Wait(ctx, rig.CustomerTone); err != nil {
		t.Errorf("%s: the phone hears nothing: %v", x.name(), err)
	}
}

// TestAcceptFailsAlways: the phone does not stay in a call without a customer,
// and at Meta nothing stays open, whatever the lost requests did there.
func TestAcceptFailsAlways(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, troubledLines(unprobed))
	r.PBX.Handle(answering(200 * time.Millisecond))
	all := provoke(ctx, t, r, "accept", 0)
	for _, x := range all {
		phone := phoneOf(ctx, t, r.PBX, x.name())
		must(t, phone.Wait(ctx, faketrunk.Up))
		began := time.Now()
		must(t, phone.Wait(ctx, faketrunk.Ended))
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("%s: the phone waited %v", x.name(), took)
		}
		if err := x.customer.Wait(ctx, fakemeta.Ended); err != nil {
			t.Errorf("%s: %v", x.name(), err)
		}
	}
	rs := troubled(ctx, t, r)
	for _, x := range all {
		rec := recordOf(t, rs, x.customer)
		if rec.Cause != "answer_failed" || rec.EndedBy != "gateway" || !rec.AnsweredAt.IsZero() {
			t.Errorf("%s: the record says %s by %s, answered %v", x.name(), rec.Cause, rec.EndedBy, rec.AnsweredAt)
		}
	}
}

// TestAcceptIsSlow: a reply that takes its time, or trickles in, is a yes.
func TestAcceptIsSlow(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(answering(0))
	for name, f := range map[string]fakemeta.Fault{
		"late": {Kind: fakemeta.LateReply, Delay: 500 * time.Millisecond},
		"slow": {Kind: fakemeta.Slow, Delay: 500 * time.Millisecond},
		"drip": {Kind: fakemeta.Drip, Delay: time.Second},
	} {
		f.Action, f.Times = "accept", 1
		r.Meta.Fail(f)
		customer, _ := talking(ctx, t, r, fakemeta.CallOptions{Payload: name})
		customer.HangUp()
		rec := recordOf(t, settled(ctx, t, r), customer)
		wantRecord(t, rec, "hangup", "customer")
		wantVerbs(t, r, customer, "pre_accept", "accept")
	}
}

// TestTerminateFails: the end of an answered call is owed until Meta confirms
// it, and the phone is free at once.
func TestTerminateFails(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, troubledLines(unprobed))
	r.PBX.Handle(answering(200 * time.Millisecond))
	all := provoke(ctx, t, r, "terminate", 0)
	for _, x := range all {
		must(t, x.customer.Wait(ctx, fakemeta.Connected))
		must(t, phoneOf(ctx, t, r.PBX, x.name()).Hangup(ctx))
	}
	must(t, r.PBX.Settled(ctx))
	rs := records(ctx, t, r, len(all)) // the calls give up waiting; what is owed stays
	for _, x := range all {
		rec := recordOf(t, rs, x.customer)
		wantRecord(t, rec, "hangup", "pbx")
		if open := x.customer.State() != fakemeta.Ended; open && !rec.Abandoned {
			t.Errorf("%s: the call is open at Meta, and nothing says that its end is owed", x.name())
		}
	}
	if n := metric(t, r, "wagate_debts_paid_total") + metric(t, r, "wagate_debts", "kind", "terminate"); n == 0 {
		t.Error("no end is owed")
	}
	troubled(ctx, t, r)
}

// TestRejectFails: the same for a call that is refused.
func TestRejectFails(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, troubledLines(func(c *config.Config) {
		unprobed(c)
		c.Routes[0].Reject = true
	}))
	all := provoke(ctx, t, r, "reject", 2)
	for _, x := range all {
		must(t, x.customer.Wait(ctx, fakemeta.Ended))
	}
	rs := troubled(ctx, t, r)
	for _, x := range all {
		wantRecord(t, recordOf(t, rs, x.customer), "not_allowed", "gateway")
	}
	if n := len(r.PBX.Calls()); n != 0 {
		t.Errorf("%d phones rang", n)
	}
}

// TestSetUpIsWrong: what Meta refuses for good, before the phone answers or
// when it does, ends the call on both sides with a cause that calls somebody.
func TestSetUpIsWrong(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(answering(700 * time.Millisecond))
	r.Meta.Disturb(fakemeta.Upset{Kind: fakemeta.KindConnect, Delay: 300 * time.Millisecond})
	faults := []fakemeta.Fault{
		{Kind: fakemeta.Fail, Status: 401, Code: 190, Action: "pre_accept", Message: "Invalid OAuth access token"},
		{Kind: fakemeta.Fail, Status: 400, Code: 138008, Action: "pre_accept", Details: "SDP Validation error"},
		{Kind: fakemeta.Fail, Status: 400, Code: 138008, Action: "accept", Details: "SDP Validation error"},
		{Kind: fakemeta.Fail, Status: 401, Code: 190, Action: "accept", Message: "Invalid OAuth access token"},
	}
	var customers []*fakemeta.Customer
	for i := range faults {
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
		must(t, err)
		faults[i].CallID = c.ID()
		r.Meta.Fail(faults[i])
		customers = append(customers, c)
	}
	for _, c := range customers {
		must(t, c.Wait(ctx, fakemeta.Ended))
	}
	// After a refused pre_accept Meta wants reject where we say terminate first.
	rs := settled(ctx, t, r, fakemeta.RefusedRequest)
	for i, c := range customers {
		rec := recordOf(t, rs, c)
		wantRecord(t, rec, "api_error", "gateway")
		if rec.MetaError != faults[i].Code {
			t.Errorf("the record has Meta's error %d, want %d", rec.MetaError, faults[i].Code)
		}
	}
}

// TestEndVerbs: whichever of its own pages Meta follows, every call is ended.
func TestEndVerbs(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]fakemeta.EndRule{
		"by page": fakemeta.EndByPage, "either": fakemeta.EndByEither, "reversed": fakemeta.EndReversed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
				unprobed(c)
				closed := config.Route{Name: "closed", Direction: "inbound", Match: config.Match{Payload: "closed"}, Reject: true}
				c.Routes = append([]config.Route{closed}, c.Routes...)
			}})
			r.Meta.SetEndRule(rule)
			r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script {
				if m.Get("X-WA-Payload") == "busy" {
					return faketrunk.Refuse(486)
				}
				return faketrunk.Script{Hangup: 300 * time.Millisecond}
			})
			var customers []*fakemeta.Customer
			for _, payload := range []string{"closed", "busy", "answered"} {
				c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: payload})
				must(t, err)
				customers = append(customers, c)
			}
			for _, c := range customers {
				must(t, c.Wait(ctx, fakemeta.Ended))
			}
			var allowed []fakemeta.Rule
			if rule == fakemeta.EndReversed {
				allowed = append(allowed, fakemeta.RefusedRequest)
			}
			rs := settled(ctx, t, r, allowed...)
			for i, cause := range []string{"not_allowed", "busy", "hangup"} {
				rec := recordOf(t, rs, customers[i])
				if rec.Cause != cause || rec.Abandoned || customers[i].End().By != fakemeta.ByBusiness {
					t.Errorf("%s: the record says %s, abandoned %v, Meta %+v", cause, rec.Cause, rec.Abandoned, customers[i].End())
				}
				if n := len(verbs(r, customers[i])); n > 3 {
					t.Errorf("%s: Meta was asked %v", cause, verbs(r, customers[i]))
				}
			}
		})
	}
}

func count(list []string, what string) int {
	return len(slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s != what }))
}
