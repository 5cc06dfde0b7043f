package fakemeta

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// TestFaults: each fault does what it says, as often as it says, and has its
// effect only where it says so.
func TestFaults(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault Fault
		state State // after the disturbed accept
		check func(t *testing.T, r graphReply, took time.Duration)
	}{
		{"fail", Fault{Kind: Fail}, Calling, func(t *testing.T, r graphReply, _ time.Duration) {
			t.Helper()
			if r.status != 500 || r.code != 2 {
				t.Errorf("said %d %s", r.status, r.raw)
			}
		}},
		{
			"fail with an effect",
			Fault{Kind: Fail, Effect: true, Status: 503, Code: 131016, Details: "later", After: 1500 * time.Millisecond},
			Connected,
			func(t *testing.T, r graphReply, _ time.Duration) {
				t.Helper()
				if r.status != 503 || r.code != 131016 || r.details != "later" || r.header.Get("Retry-After") != "2" {
					t.Errorf("said %d %s %v", r.status, r.raw, r.header)
				}
			},
		},
		{"slow", Fault{Kind: Slow, Delay: 50 * time.Millisecond}, Connected, slow},
		{"late reply", Fault{Kind: LateReply, Delay: 50 * time.Millisecond}, Connected, slow},
		{"drip", Fault{Kind: Drip, Delay: 2 * time.Millisecond}, Connected, slow},
		{"hang", Fault{Kind: Hang}, Calling, broken},
		{"hang with an effect", Fault{Kind: Hang, Effect: true}, Connected, broken},
		{"reset", Fault{Kind: Reset}, Calling, broken},
		{"lose reply", Fault{Kind: LoseReply}, Connected, broken},
		{"garbage", Fault{Kind: Garbage}, Calling, garbage},
		{"garbage with an effect", Fault{Kind: Garbage, Effect: true}, Connected, garbage},
		{"of another action", Fault{Kind: Fail, Action: "reject"}, Connected, fine},
		{"of another call", Fault{Kind: Fail, CallID: "wacid.other"}, Connected, fine},
		{"later", Fault{Kind: Fail, Skip: 1}, Connected, fine},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, Options{})
			c, _ := g.place(CallOptions{})
			row.fault.Times = 1
			g.meta.Fail(row.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			if row.fault.Kind != Hang {
				ctx, cancel = context.WithTimeout(t.Context(), patience)
			}
			defer cancel()
			body, _ := json.Marshal(map[string]any{
				"messaging_product": "whatsapp", "action": "accept", "call_id": c.ID(),
				"session": map[string]string{"sdp_type": "answer", "sdp": plainAnswer},
			})
			begin := time.Now()
			r := g.rawCtx(ctx, http.MethodPost, "/v26.0/401122334455667/calls", "Bearer access-token", "application/json", body)
			row.check(t, r, time.Since(begin))
			if c.State() != row.state {
				t.Errorf("the call is %v, want %v", c.State(), row.state)
			}
			done, err := g.meta.WaitRequest(g.ctx(), func(r Request) bool { return r.Action == "accept" })
			if err != nil || done.Done != (row.state == Connected) {
				t.Errorf("the books show %+v, %v", done, err)
			}
			g.meta.Heal()
			if r := g.do("accept", c.ID(), plainAnswer); (r.status == http.StatusOK) != (row.state == Calling) {
				t.Errorf("the next accept got %d %s", r.status, r.raw)
			}
			if n := len(g.meta.Violations()); n != 0 {
				t.Errorf("%d violations", n)
			}
		})
	}
}

func fine(t *testing.T, r graphReply, _ time.Duration) {
	t.Helper()
	if r.status != http.StatusOK {
		t.Errorf("said %d %s %v", r.status, r.raw, r.err)
	}
}

func slow(t *testing.T, r graphReply, took time.Duration) {
	t.Helper()
	fine(t, r, took)
	if took < 50*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func broken(t *testing.T, r graphReply, _ time.Duration) {
	t.Helper()
	if r.err == nil {
		t.Errorf("got a reply: %d %s", r.status, r.raw)
	}
}

func garbage(t *testing.T, r graphReply, _ time.Duration) {
	t.Helper()
	if r.status != http.StatusOK || json.Valid([]byte(r.raw)) {
		t.Errorf("said %d %s %v", r.status, r.raw, r.err)
	}
}

// TestFaultTimes: a fault ends after its number, the next one follows.
func TestFaultTimes(t *testing.T) {
	g := start(t, Options{})
	g.meta.Fail(Fault{Kind: Fail, Times: 2})
	g.meta.Fail(Fault{Kind: Fail, Times: 1, Status: 429, Code: 4})
	for i, want := range []int{500, 500, 429, 200} {
		if r := g.raw("GET", "/v26.0/401122334455667", "Bearer access-token", "", nil); r.status != want {
			t.Errorf("request %d got %d, want %d", i+1, r.status, want)
		}
	}
}
