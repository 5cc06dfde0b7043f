package test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// dialUnprobed lets desk phones call customers.
func dialUnprobed(c *config.Config) {
	rig.DialOut(c)
	unprobed(c)
}

// settledOut is settled for calls to customers: each was asked for once, and
// nothing is owed any more. It returns the record of each customer.
func settledOut(ctx context.Context, t *testing.T, r *rig.Rig, calls int) map[string]store.Record {
	t.Helper()
	byUser := map[string]store.Record{}
	for _, rec := range settled(ctx, t, r) {
		byUser[rec.User] = rec
	}
	connects := map[string]int{}
	for _, q := range r.Meta.Requests() {
		if q.Action == "connect" {
			connects[q.To]++
		}
	}
	for who, n := range connects {
		if n != 1 {
			t.Errorf("connect to %s was sent %d times", who, n)
		}
	}
	if len(connects) != calls || len(byUser) != calls || len(r.Meta.Books()) != calls {
		t.Errorf("%d connects, %d records, %d calls at Meta; want %d each", len(connects), len(byUser), len(r.Meta.Books()), calls)
	}
	eventually(ctx, t, "the last end that is owed", func() bool { return metric(t, r, "wagate_debts") == 0 })
	return byUser
}

// granted lets customers allow calls, so that none has to wait for its turn to
// ask Meta about that.
func granted(ctx context.Context, t *testing.T, r *rig.Rig, customers int) {
	t.Helper()
	for i := range customers {
		r.Meta.Grant(customerNumber(i))
	}
	awaitMetric(ctx, t, r, float64(customers), "wagate_permission_replies_total")
}

// askedMeta lets a desk phone call a customer, and waits until Meta is asked to.
func askedMeta(ctx context.Context, t *testing.T, r *rig.Rig, who string, headers ...faketrunk.Header) (*faketrunk.Call, *fakemeta.Customer) {
	t.Helper()
	c := dial(ctx, t, r, "+"+who, headers...)
	asked, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if c.Wait(asked, faketrunk.Refused) == nil {
			cancel()
		}
	}()
	customer, err := r.Meta.WaitCallee(asked, who)
	if err != nil {
		t.Fatalf("Meta was not asked to call %s, the PBX saw %d %s: %v", who, c.Status(), c.Reason(), err)
	}
	return c, customer
}

func customerNumber(i int) string { return fmt.Sprintf("346001113%02d", i) }

// TestLostConnectsThatAreAdopted: the reply to every connect is lost, and Meta's
// webhooks name the calls.
func TestLostConnectsThatAreAdopted(t *testing.T) {
	t.Parallel()
	const calls = 15
	r, ctx := rigged(t, numbered(calls, rig.Options{Config: dialUnprobed}))
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.LoseReply, Action: "connect"})
	fates := []struct {
		cause  string
		callee fakemeta.Callee
		play   func(c *faketrunk.Call) error
	}{
		{"hangup", fakemeta.Callee{Ring: 50 * time.Millisecond, Answer: 200 * time.Millisecond}, func(c *faketrunk.Call) error {
			if err := c.Wait(ctx, faketrunk.Up); err != nil {
				return err
			}
			return c.Hangup(ctx)
		}},
		{"hangup", fakemeta.Callee{LateSDP: true, LateAccepted: 300 * time.Millisecond, Answer: 50 * time.Millisecond}, func(c *faketrunk.Call) error {
			if err := c.Wait(ctx, faketrunk.Up); err != nil {
				return err
			}
			return c.Hangup(ctx)
		}},
		{"declined", fakemeta.Callee{Reject: 100 * time.Millisecond}, func(c *faketrunk.Call) error {
			return c.Wait(ctx, faketrunk.Refused)
		}},
		{"cancelled", fakemeta.Callee{Never: true}, func(c *faketrunk.Call) error {
			if err := c.Wait(ctx, faketrunk.Rung); err != nil {
				return err
			}
			return c.Hangup(ctx)
		}},
		{"cancelled", fakemeta.Callee{Ring: time.Second, Never: true}, func(c *faketrunk.Call) error {
			return c.Hangup(ctx) // the webhooks are on their way
		}},
	}
	var phones sync.WaitGroup
	for i := range calls {
		who, f := customerNumber(i), fates[i%len(fates)]
		r.Meta.Callee(who, f.callee)
		c, _ := askedMeta(ctx, t, r, who, faketrunk.Header{Name: "X-WA-Number", Value: numberName(i)})
		phones.Go(func() {
			if err := f.play(c); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	phones.Wait()
	rs := settledOut(ctx, t, r, calls)
	for i := range calls {
		if got, want := rs[customerNumber(i)].Cause, fates[i%len(fates)].cause; got != want {
			t.Errorf("call %d ended as %s, want %s", i, got, want)
		}
	}
}

// TestLostConnectsThatAreFound: nothing names the calls in time, so the phones
// are told; what appears later is ended on sight.
func TestLostConnectsThatAreFound(t *testing.T) {
	t.Parallel()
	const calls = 5
	r, ctx := rigged(t, rig.Options{Config: dialUnprobed})
	granted(ctx, t, r, calls)
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.LoseReply, Action: "connect"})
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	r.Meta.Disturb(fakemeta.Upset{Copies: 1})
	r.Meta.SetWebhookURL("http://127.0.0.1:9/nobody") // Meta tries again until somebody takes it
	phones := make([]*faketrunk.Call, calls)
	for i := range phones {
		phones[i], _ = askedMeta(ctx, t, r, customerNumber(i))
	}
	for _, c := range phones {
		if status, word := refused(ctx, t, c); status != 504 || word != "api_timeout" {
			t.Errorf("refused with %d %q, want 504 api_timeout", status, word)
		}
	}
	r.Meta.SetWebhookURL("http://" + r.Gateway.WebhookAddr() + r.Config.HTTP.Webhook.Path)
	for who, rec := range settledOut(ctx, t, r, calls) {
		if rec.Cause != "api_timeout" || rec.WACID == "" {
			t.Errorf("%s: the record says %s of call %q", who, rec.Cause, rec.WACID)
		}
	}
	for _, b := range r.Meta.Books() {
		if end := r.Meta.Customer(b.ID).End(); end.By != fakemeta.ByBusiness {
			t.Errorf("a call that nobody owns was ended by %v", end.By)
		}
	}
}

// TestCancelAroundACCEPTED: the PBX gives up in the moment the customer picks up.
func TestCancelAroundACCEPTED(t *testing.T) {
	t.Parallel()
	const (
		calls = 20
		step  = 30 * time.Millisecond
	)
	r, ctx := rigged(t, rig.Options{Config: dialUnprobed})
	granted(ctx, t, r, calls)
	r.Meta.Callee("", fakemeta.Callee{Never: true}) // until PickUp
	phones := make([]*faketrunk.Call, calls)
	var all sync.WaitGroup
	for i := range phones {
		c, customer := askedMeta(ctx, t, r, customerNumber(i))
		phones[i] = c
		must(t, c.Wait(ctx, faketrunk.Rung))
		hangup := func() {
			if err := c.Hangup(ctx); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		offset := time.Duration(i-calls/2) * step // of the CANCEL, from 300 ms before to 300 ms after
		first, second := hangup, func() { customer.PickUp() }
		if offset > 0 {
			first, second = second, first
		}
		all.Add(2)
		time.AfterFunc(offset.Abs(), func() { defer all.Done(); second() })
		go func() { defer all.Done(); first() }()
	}
	all.Wait()
	rs := settledOut(ctx, t, r, calls)
	saw := map[int]int{}
	for i, c := range phones {
		rec, status := rs[customerNumber(i)], c.Status()
		saw[status]++
		if want := map[int]string{487: "cancelled", 200: "hangup"}[status]; rec.Cause != want || rec.EndedBy != "pbx" || rec.SIPStatus != status {
			t.Errorf("call %d: the PBX saw %d, the record says %s by %s, status %d", i, status, rec.Cause, rec.EndedBy, rec.SIPStatus)
		}
	}
	if saw[487] == 0 || saw[200] == 0 {
		t.Errorf("the PBX saw %v; want both ends of the race", saw)
	}
}
