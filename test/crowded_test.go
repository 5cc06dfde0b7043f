package test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

const (
	crowdRoom    = 20 // calls at once
	crowdTalk    = 1500 * time.Millisecond
	crowdTimes   = 3 // as many calls are offered as fit
	crowdRefusal = 20 * time.Millisecond
	crowdCarried = 0.9
	crowdNormal  = 5 * time.Second
)

// TestCrowded: a few seconds of it.
func TestCrowded(t *testing.T) {
	t.Parallel()
	crowded(t, 6*time.Second)
}

// crowded lets agents dial three times as many calls as a trunk takes. It carries
// what it can, and refuses the others at once; the calls that are up are none the
// worse, and afterwards all is as before.
func crowded(t *testing.T, lasts time.Duration) {
	t.Helper()
	late := watchLateness(t)
	const rate = crowdTimes * crowdRoom * int(time.Second) / int(crowdTalk) // calls a second
	calls := rate * int(lasts/time.Second)
	r, ctx := riggedFor(t, rig.Options{
		Meta:   fakemeta.Options{Keep: 8 * calls},
		Config: func(c *config.Config) { unprobed(c); rig.DialOut(c); c.Trunks[0].MaxCalls = crowdRoom + 1 },
	}, lasts+4*patience)
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	for i := range calls {
		r.Meta.Grant(crowdCustomer(i))
	}
	awaitMetric(ctx, t, r, float64(calls), "wagate_permission_replies_total")

	w := &wave{}
	var running sync.WaitGroup
	pace := time.NewTicker(time.Second / time.Duration(rate))
	defer pace.Stop()
	began := time.Now()
	for i := range calls {
		<-pace.C
		running.Go(func() { w.dial(ctx, t, r, crowdCustomer(i)) })
	}
	gone := time.Now()
	running.Wait()
	share := w.carried(began, gone) / crowdRoom

	over := time.Now()
	last := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, last.Wait(ctx, faketrunk.Up))
	normal := time.Since(over)
	must(t, last.Hangup(ctx))
	hearing(ctx, t, customer, phone)
	switch all := customer.Report().Streams; {
	case len(all) == 1 && all[0].Missing == 0 && all[0].Jumps == 0:
	case late.worst() > calmPause:
		t.Logf("the machine was %v late: the customer who was there all the time heard %+v", late.worst(), all)
	default:
		t.Errorf("the customer who was there all the time heard %+v", all)
	}
	customer.HangUp()
	settled(ctx, t, r)
	if len(w.taken) == 0 || len(w.refused) == 0 {
		t.Fatalf("%d calls were taken and %d refused", len(w.taken), len(w.refused))
	}
	if share < crowdCarried {
		t.Errorf("%.0f %% of the room was in use, want %.0f %%", 100*share, 100*crowdCarried)
	}
	t.Logf("L3: %d calls, %d a second, room for %d at once: %d carried, %.0f %% of the room in use, want %.0f %%; the others refused in %v (half of them, 99 %%), want %v; the next one was up after %v, want %v",
		calls, rate, crowdRoom, len(w.taken), 100*share, 100*crowdCarried, halfAndMost(w.refused), crowdRefusal, normal, crowdNormal)
}

// wave is what became of the crowd's calls.
type wave struct {
	mu      sync.Mutex
	taken   []span
	refused []time.Duration // how long it took
}

type span struct{ begin, end time.Time }

// dial is one call, which has to be taken and then be left alone, or be refused
// because there is no room.
func (w *wave) dial(ctx context.Context, t *testing.T, r *rig.Rig, who string) {
	t.Helper()
	r.Meta.Callee(who, fakemeta.Callee{Answer: time.Millisecond})
	began := time.Now()
	phone, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
		To: "sip:+" + who + "@" + r.Gateway.SIPAddr("udp"), From: "201", Script: faketrunk.Script{NoAudio: true},
	})
	if err != nil {
		t.Errorf("call to %s: %v", who, err)
		return
	}
	if err := phone.Wait(ctx, faketrunk.Up); err != nil {
		if phone.Status() != 503 {
			t.Errorf("call to %s is answered with %d", who, phone.Status())
		}
		all := phone.Messages()
		i := slices.IndexFunc(all, func(m *faketrunk.Message) bool { return m.In && m.Status == 503 })
		w.mu.Lock()
		defer w.mu.Unlock()
		if i >= 0 {
			w.refused = append(w.refused, all[i].At.Sub(all[0].At))
		}
		return
	}
	pause(ctx, crowdTalk)
	if phone.EndedByThem() {
		t.Errorf("call to %s is hung up on", who)
	}
	if err := phone.Hangup(ctx); err != nil {
		t.Errorf("call to %s: %v", who, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = append(w.taken, span{began, time.Now()})
}

// carried is how many calls there were on average between two times.
func (w *wave) carried(from, to time.Time) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := time.Duration(0)
	for _, s := range w.taken {
		sum += min(s.end.Sub(from), to.Sub(from)) - max(s.begin.Sub(from), 0)
	}
	return float64(sum) / float64(to.Sub(from))
}
