//go:build system || soak

package test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// endLimit is within how long after a restart every call of before must be
// over. Machines that run tests are slow and shared, so three times that is
// asserted, and the figure is reported.
const endLimit = 5 * time.Second

// manyCalls keeps the far ends of many calls from eating the processor that the
// gateway is to have: G.711, which goes through as it is, and few packets. And
// it gives them time, so that no call ends by itself.
var manyCalls = setup{
	Extra: dialOutFile, Limits: ", answer_window: 1m", Media: "  timeout: 10m",
	Number: ", codecs: [PCMA]", Trunk: ", codecs: [PCMA], options_interval: 0s", Route: ", ring_timeout: 1m",
	Meta: fakemeta.Options{Codecs: []string{"PCMA"}, Patience: 5 * time.Minute, RingLimit: 5 * time.Minute, StartSilence: 5 * time.Minute},
}

// killedAmong kills the gateway in the middle of so many calls of both
// directions, a fifth of them to customers: most talk, others ring, and a tenth
// is answered while nobody is there to hear it.
func killedAmong(t *testing.T, calls int) {
	t.Helper()
	outbound, late := calls/5, calls/10
	inbound, talking, taken := calls-outbound, calls/2, calls/10
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	d := setUp(t, manyCalls)
	var dialled atomic.Int32
	d.pbx.Handle(func(*faketrunk.Message) faketrunk.Script {
		s := faketrunk.NoAnswer()
		if int(dialled.Add(1)) <= talking {
			s = faketrunk.Answer(0)
		}
		s.NoAudio = true
		return s
	})
	d.meta.Callee("", fakemeta.Callee{Never: true})
	d.start(ctx)
	customers := d.place(ctx, inbound, outbound, talking)
	up := 0
	for i, c := range customers { // who talks comes first, then those who are called
		if i >= talking && i < talking+taken {
			eventually(ctx, t, "the customer's phone to ring", c.PickUp)
		}
		if i < talking+taken {
			must(t, c.Wait(ctx, fakemeta.Connected))
			up++
		}
	}
	if open, live := len(d.meta.Open()), len(d.calls(ctx)); open != calls || live != calls {
		t.Fatalf("%d calls at Meta and %d at the gateway, want %d", open, live, calls)
	}

	d.kill()
	meanwhile := map[string]bool{}
	for _, p := range d.pbx.Calls() {
		if len(meanwhile) < late && !p.Is(faketrunk.Answered) && p.Answer() == nil {
			meanwhile[p.ID()] = true
		}
	}
	began := time.Now()
	d.start(ctx)
	ready := time.Since(began)
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	quiet := time.Duration(0)
	for _, c := range customers {
		end := c.End()
		quiet = max(quiet, end.At.Sub(began))
		if end.By != fakemeta.ByBusiness {
			t.Errorf("a customer's call was ended by %v, not by us", end.By)
		}
	}
	bye := d.lastEnd(began, func(id string) bool { return !meanwhile[id] })
	lateBye := d.lastEnd(began, func(id string) bool { return meanwhile[id] })
	t.Logf("C1: %d calls, %d of them up; after the restart: 0 WhatsApp calls open %.2f s, every BYE out %.2f s, ready %.2f s; "+
		"%d phones answered meanwhile, whose BYE waits for their next 200: %.2f s",
		calls, up, quiet.Seconds(), bye.Seconds(), ready.Seconds(), len(meanwhile), lateBye.Seconds())
	if worst := max(quiet, bye, lateBye); worst > 3*endLimit {
		t.Errorf("it took %v to end all calls, want at most %v", worst, endLimit)
	}
	d.wantOneRecordEach(ctx)
	if n := d.metric(ctx, "wagate_calls_recovered_total"); n != float64(calls) {
		t.Errorf("%v calls recovered, want %d", n, calls)
	}
	d.wantAtRest(ctx)
	for _, f := range d.pbx.Faults() {
		t.Errorf("the PBX would complain: %s", f)
	}
}

// place places calls in both directions, a few at a time, and returns them when
// all have begun: first so many customers' calls, then those to customers, then
// the others.
func (d *daemon) place(ctx context.Context, inbound, outbound, first int) []*fakemeta.Customer {
	d.t.Helper()
	placed := len(d.meta.Books())
	for i := range outbound { // so that none has to wait for its turn to ask Meta about that
		d.meta.Grant(callerNumber(placed + first + i))
	}
	eventually(ctx, d.t, "the grants", func() bool { return d.metric(ctx, "wagate_permission_replies_total") >= float64(outbound) })
	all := make([]*fakemeta.Customer, inbound+outbound)
	var placing sync.WaitGroup
	atOnce := make(chan struct{}, 4)
	for i := range all {
		atOnce <- struct{}{}
		placing.Go(func() {
			defer func() { <-atOnce }()
			place := d.rings
			if i >= first && i < first+outbound {
				place = d.rung
			}
			all[i] = place(ctx, callerNumber(placed+i))
		})
	}
	placing.Wait()
	if d.t.Failed() {
		d.t.FailNow()
	}
	return all
}

func callerNumber(i int) string { return fmt.Sprintf("3460011%04d", i) }

// rings lets a customer call, until a phone rings.
func (d *daemon) rings(ctx context.Context, who string) *fakemeta.Customer {
	c, err := d.meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: who}, Payload: who})
	if err == nil {
		c.Speech(fakemeta.RTCPOnly)
		_, err = d.pbx.WaitFor(ctx, func(m *faketrunk.Message) bool { return m.In && m.Get("X-WA-Payload") == who })
	}
	if err == nil {
		err = c.Wait(ctx, fakemeta.Ringing)
	}
	if err != nil {
		d.t.Errorf("call of %s: %v", who, err)
	}
	return c
}

// rung lets an agent call a customer, until the customer's phone rings.
func (d *daemon) rung(ctx context.Context, who string) *fakemeta.Customer {
	phone, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + who + "@" + d.sip, From: "201", Script: faketrunk.Script{NoAudio: true}})
	if err == nil {
		err = phone.Wait(ctx, faketrunk.Rung)
	}
	var c *fakemeta.Customer
	if err == nil {
		c, err = d.meta.WaitCallee(ctx, who)
	}
	if err != nil {
		d.t.Errorf("call to %s: %v", who, err)
		return nil
	}
	c.Speech(fakemeta.RTCPOnly)
	return c
}

// lastEnd is how long after that moment the last BYE, CANCEL or refusal of these
// calls came to the PBX.
func (d *daemon) lastEnd(since time.Time, of func(callID string) bool) (took time.Duration) {
	for _, m := range d.pbx.Messages() {
		if m.In && (m.Method == "BYE" || m.Method == "CANCEL" || m.Status >= 300) && of(m.CallID()) {
			took = max(took, m.At.Sub(since))
		}
	}
	return took
}

// wantOneRecordEach asserts that every call that Meta knows has exactly one
// record, and that no record is of a call that never was. What names a call may
// be a webhook that is still repeated.
func (d *daemon) wantOneRecordEach(ctx context.Context) {
	d.t.Helper()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for faults := d.recordFaults(ctx); len(faults) > 0; faults = d.recordFaults(ctx) {
		pause(limited, 50*time.Millisecond)
		if limited.Err() != nil {
			for _, f := range faults {
				d.t.Error(f)
			}
			return
		}
	}
}

func (d *daemon) recordFaults(ctx context.Context) (faults []string) {
	count, ids := map[string]int{}, map[string]bool{}
	for _, r := range d.records(ctx, 0) {
		if ids[r.ID] {
			faults = append(faults, "two records of call "+r.ID)
		}
		ids[r.ID] = true
		if r.WACID != "" || r.Direction == "inbound" {
			count[r.WACID]++
		}
	}
	for _, b := range d.meta.Books() {
		if count[b.ID] != 1 {
			faults = append(faults, fmt.Sprintf("%d records of the call %s (to a customer: %v), want one", count[b.ID], b.ID, b.Outbound))
		}
		delete(count, b.ID)
	}
	for id, n := range count {
		faults = append(faults, fmt.Sprintf("%d records of a call that never was: %q", n, id))
	}
	return faults
}
