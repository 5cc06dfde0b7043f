package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// An outage is a while in which every request to the Graph API goes wrong in
// one way, while both sides go on to call.
type outage struct {
	name   string
	fault  fakemeta.Fault
	spares bool  // what the API does is right, only its words are late: answering works
	status []int // that a PBX may be told
}

var outages = []outage{
	{name: "500", fault: fakemeta.Fault{Kind: fakemeta.Fail}, status: []int{502}},
	{name: "429", fault: fakemeta.Fault{Kind: fakemeta.Fail, Status: 429, Code: 4, After: 3 * time.Second}, status: []int{480}},
	{name: "hang", fault: fakemeta.Fault{Kind: fakemeta.Hang}, status: []int{502, 504}},
	{name: "reset", fault: fakemeta.Fault{Kind: fakemeta.Reset}, status: []int{502, 504}},
	{name: "one byte a second", fault: fakemeta.Fault{Kind: fakemeta.Drip, Delay: time.Second}, spares: true, status: []int{480, 502, 504}},
	{name: "nonsense", fault: fakemeta.Fault{Kind: fakemeta.Garbage}, status: []int{502, 504}},
}

const (
	outageEvery = 800 * time.Millisecond // a call from each side
	outageTalks = 2                      // calls that the phones hang up in the middle of it
	outageTries = 40                     // customers to see with whether calls work again: one who missed three is left in peace
)

// The figures; three times as much is asserted.
const (
	outageOpens  = 10 * time.Second // until the breaker is open
	outageAnswer = 5 * time.Second  // until a PBX is told
)

// TestGraphOutages: a minute of outages in all.
func TestGraphOutages(t *testing.T) {
	t.Parallel()
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			o.suffer(t, 10*time.Second)
		})
	}
}

// TestEndsPassStuckRequests: every other request hangs, and calls end as fast as
// ever.
func TestEndsPassStuckRequests(t *testing.T) {
	t.Parallel()
	const (
		calls  = 3
		stuck  = 10
		endsIn = 2 * time.Second
	)
	r, ctx := rigged(t, rig.Options{Config: dialUnprobed})
	r.PBX.Handle(answering(0))
	for i := range stuck {
		r.Meta.Grant(customerNumber(i))
	}
	awaitMetric(ctx, t, r, stuck, "wagate_permission_replies_total")
	var talks []*fakemeta.Customer
	var phones []*faketrunk.Call
	for range calls {
		c, phone := talking(ctx, t, r, fakemeta.CallOptions{})
		talks, phones = append(talks, c), append(phones, phone)
	}
	for _, action := range []string{"connect", "pre_accept", "accept", "call_permissions", "messages"} {
		r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.Hang, Action: action})
	}
	var waiting []*faketrunk.Call
	for i := range stuck {
		waiting = append(waiting, dial(ctx, t, r, "+"+customerNumber(i)))
	}
	pause(ctx, 300*time.Millisecond) // they are all stuck
	for i, phone := range phones {
		began := time.Now()
		must(t, phone.Hangup(ctx))
		must(t, talks[i].Wait(ctx, fakemeta.Ended))
		took := time.Since(began)
		if took > 3*endsIn {
			t.Errorf("the end took %v, want %v", took, endsIn)
		}
		t.Logf("ended %v after the phone hung up, want %v", took, endsIn)
	}
	for _, c := range waiting {
		refused(ctx, t, c)
	}
	must(t, r.PBX.Settled(ctx))
}

// suffer lets calls come and go through an outage, and judges the books.
func (o outage) suffer(t *testing.T, length time.Duration) {
	t.Helper()
	calls := int(length / outageEvery)
	r, _ := rigged(t, rig.Options{
		Config: dialUnprobed,
		Meta:   fakemeta.Options{StartSilence: time.Hour, Silence: time.Hour}, // it does not help us to end calls
	})
	ctx, cancel := context.WithTimeout(t.Context(), length+3*patience)
	defer cancel()
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script {
		if strings.HasPrefix(m.Get("X-WA-Payload"), "rings") {
			return faketrunk.NoAnswer()
		}
		return faketrunk.Answer(300 * time.Millisecond)
	})
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	for i := range calls + outageTries {
		r.Meta.Grant(outageCustomer(i))
	}
	awaitMetric(ctx, t, r, float64(calls+outageTries), "wagate_permission_replies_total")
	var talking []*fakemeta.Customer
	for range outageTalks {
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: "talks", Patience: patience})
		must(t, err)
		must(t, c.Wait(ctx, fakemeta.Connected))
		talking = append(talking, c)
	}

	r.Meta.Fail(o.fault)
	began := time.Now()
	for _, c := range phonesOf(r.PBX, "talks") {
		must(t, c.Hangup(ctx))
	}
	opened := make(chan time.Duration, 1)
	go func() {
		poll := time.NewTicker(200 * time.Millisecond)
		defer poll.Stop()
		for metric(t, r, "wagate_graph_breaker_state", "class", "connect") == 0 && ctx.Err() == nil {
			<-poll.C
		}
		opened <- time.Since(began)
	}()
	told := o.calls(ctx, t, r, calls)
	if took := <-opened; took > 3*outageOpens {
		t.Errorf("the breaker opened after %v, want %v", took, outageOpens)
	} else {
		t.Logf("the breaker opened after %v, want %v", took, outageOpens)
	}
	t.Logf("a PBX was told after %v at most, want %v", told, outageAnswer)
	if !o.spares {
		o.silent(ctx, t, r)
	}

	r.Meta.Heal()
	healed := time.Now()
	for try := 0; !o.works(ctx, t, r, outageCustomer(calls+try%outageTries)); try++ {
		must(t, ctx.Err())
		pause(ctx, 200*time.Millisecond)
	}
	t.Logf("calls work %v after the recovery", time.Since(healed))
	for _, c := range talking {
		must(t, c.Wait(ctx, fakemeta.Ended))
	}
	t.Logf("the ends of the calls before were confirmed %v after the recovery", time.Since(healed))
	o.judge(ctx, t, r, talking, time.Since(began))
}

// calls lets both sides call through the outage, and returns how long the PBX
// waited at most for an answer.
func (o outage) calls(ctx context.Context, t *testing.T, r *rig.Rig, n int) (longest time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	tick := time.NewTicker(outageEvery)
	defer tick.Stop()
	for i := range n {
		payload := "answers"
		if i%2 == 0 {
			payload = "rings"
		}
		if _, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: fmt.Sprintf("%s %d", payload, i), Patience: patience}); err != nil {
			t.Error(err)
		}
		call, asked := dial(ctx, t, r, "+"+outageCustomer(i)), time.Now()
		all.Go(func() {
			if o.spares { // webhooks name the calls
				pause(ctx, 3*time.Second)
				if !call.Is(faketrunk.Refused) {
					_ = call.Hangup(ctx)
				}
				return
			}
			status, word := refused(ctx, t, call)
			took := time.Since(asked)
			if slow := status == 503 && word == "store_failed"; !slices.Contains(o.status, status) && !slow { // that is the machine's disk
				t.Errorf("a PBX was told %d %s, want %v", status, word, o.status)
			}
			mu.Lock()
			longest = max(longest, took)
			mu.Unlock()
		})
		<-tick.C
	}
	all.Wait()
	if longest > 3*outageAnswer {
		t.Errorf("a PBX was told after %v, want %v", longest, outageAnswer)
	}
	return longest
}

func outageCustomer(i int) string { return fmt.Sprintf("3460012%04d", i) }

// silent waits until no phone rings for a call that nobody can connect, though
// its customer is patient.
func (o outage) silent(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	began := time.Now()
	eventually(ctx, t, "the last phone to be silent", func() bool {
		return !slices.ContainsFunc(r.PBX.Calls(), func(c *faketrunk.Call) bool {
			return c.Invite().In && c.Is(faketrunk.Rung) && !c.Is(faketrunk.Ended)
		})
	})
	if took := time.Since(began); took > outageOpens {
		t.Errorf("a phone rang on for %v", took)
	}
}

// works says whether a call gets through in both directions.
func (o outage) works(ctx context.Context, t *testing.T, r *rig.Rig, who string) bool {
	t.Helper()
	c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: "works", Patience: patience})
	must(t, err)
	connected := false
	select {
	case <-c.Reached(fakemeta.Connected):
		connected = true
	case <-c.Reached(fakemeta.Ended):
	case <-ctx.Done():
	}
	c.HangUp()
	out := dial(ctx, t, r, "+"+who)
	eventually(ctx, t, "an answer", func() bool { return out.Is(faketrunk.Rung) || out.Is(faketrunk.Refused) })
	if out.Is(faketrunk.Refused) {
		return false
	}
	must(t, out.Hangup(ctx))
	return connected
}

// judge compares the books of Meta with ours.
func (o outage) judge(ctx context.Context, t *testing.T, r *rig.Rig, talking []*fakemeta.Customer, length time.Duration) {
	t.Helper()
	for _, b := range r.Meta.Books() {
		r.Meta.Customer(b.ID).HangUp()
	}
	must(t, r.Meta.WaitQuiet(ctx))
	must(t, r.PBX.Settled(ctx))
	eventually(ctx, t, "the last record", func() bool { return metric(t, r, "wagate_calls") == 0 })
	wantAtRest(t, r)
	rs := records(ctx, t, r, int(metric(t, r, "wagate_calls_started_total")))
	named := slices.DeleteFunc(slices.Clone(rs), func(rec store.Record) bool { return rec.WACID == "" })
	wantOneEach(t, r, named) // the others never came to be at Meta
	for _, c := range talking {
		wantRecord(t, recordOf(t, rs, c), "hangup", "pbx")
		if end := c.End(); end.By != fakemeta.ByBusiness {
			t.Errorf("a call that we owed an end was ended by %v", end.By)
		}
	}
	for _, rec := range rs {
		if !o.spares && rec.Cause == "no_answer" {
			t.Errorf("a phone rang until it was too late for a call that could not be connected")
		}
	}
	eventually(ctx, t, "the last end that is owed", func() bool { return metric(t, r, "wagate_debts") == 0 })
	if n := metric(t, r, "wagate_debts_expired_total"); n != 0 {
		t.Errorf("%v ends were given up", n)
	}
	if n := metric(t, r, "wagate_graph_breaker_state"); n != 0 {
		t.Errorf("the breakers add up to %v after the recovery", n)
	}

	asked, requests, ends := map[string]int{}, 0, 0
	for _, q := range r.Meta.Requests() {
		switch q.Action {
		case "connect":
			asked[q.Action+q.Tag]++
			requests++
		case "pre_accept", "accept":
			asked[q.Action+q.CallID]++
			requests++
		case "terminate", "reject":
			ends++
		}
	}
	extra := requests - len(asked)
	calls := len(rs)
	if n := metric(t, r, "wagate_graph_repeats_total"); n < float64(extra) { // some may not have got there
		t.Errorf("we count %v repeated requests, Meta %d", n, extra)
	}
	// A number with little to do may repeat two in ten seconds.
	if most := max(calls/10, 2*int(length/(10*time.Second)+1)); extra > most {
		t.Errorf("%d requests of %d calls were repeated, want at most %d", extra, calls, most)
	}
	t.Logf("%d calls: %d requests, %d of them repeated; %d requests to end", calls, requests, extra, ends)
}
