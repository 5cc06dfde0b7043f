package test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// race is two things that happen to a customer's call at about the same moment,
// and what the record may say then, as "cause by".
type race struct {
	name          string
	up            bool // the call stands, else the phone rings
	first, second func(ctx context.Context, c *fakemeta.Customer, phone *faketrunk.Call)
	may           []string
}

func races() []race {
	leaves := func(_ context.Context, c *fakemeta.Customer, _ *faketrunk.Call) { c.HangUp() }
	answers := func(_ context.Context, _ *fakemeta.Customer, phone *faketrunk.Call) { _ = phone.Answer() } // unless it was cancelled
	hangsUp := func(ctx context.Context, _ *fakemeta.Customer, phone *faketrunk.Call) { _ = phone.Hangup(ctx) }
	holds := func(ctx context.Context, _ *fakemeta.Customer, phone *faketrunk.Call) {
		_, _ = phone.Reinvite(ctx, faketrunk.SendOnly) // whatever becomes of it
	}
	return []race{
		{"answer and CANCEL", false, answers, leaves, []string{"cancelled customer", "hangup customer"}},
		{"both hang up", true, hangsUp, leaves, []string{"hangup pbx", "hangup customer"}},
		{"re-INVITE and our BYE", true, holds, leaves, []string{"hangup customer"}},
		{"re-INVITE and their BYE", true, holds, hangsUp, []string{"hangup pbx"}},
	}
}

// TestRacesOfACall plays each race with the second side from 50 ms before the
// first to 45 ms after it: no call is stuck, each has one record, and that is
// right.
func TestRacesOfACall(t *testing.T) {
	t.Parallel()
	const (
		calls = 20
		step  = 5 * time.Millisecond
	)
	for _, row := range races() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Config: unprobed})
			r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script {
				if row.up {
					return faketrunk.Answer(0)
				}
				return faketrunk.NoAnswer()
			})
			customers := make([]*fakemeta.Customer, calls)
			var all sync.WaitGroup
			for i := range customers {
				c, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
				must(t, err)
				phone, err := r.PBX.Next(ctx)
				must(t, err)
				customers[i] = c
				if row.up {
					must(t, c.Wait(ctx, fakemeta.Connected))
				} else {
					must(t, phone.Wait(ctx, faketrunk.Rung))
				}
				first, second := row.first, row.second
				offset := time.Duration(i-calls/2) * step
				if offset < 0 {
					first, second = second, first
				}
				all.Add(2)
				time.AfterFunc(offset.Abs(), func() { defer all.Done(); second(ctx, c, phone) })
				go func() { defer all.Done(); first(ctx, c, phone) }()
			}
			all.Wait()
			rs := settled(ctx, t, r)
			for i, c := range customers {
				rec := recordOf(t, rs, c)
				if got := rec.Cause + " " + rec.EndedBy; !slices.Contains(row.may, got) {
					t.Errorf("call %d: the record says %s, want one of %q", i, got, row.may)
				}
			}
		})
	}
}
