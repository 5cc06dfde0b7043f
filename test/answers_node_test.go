package test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestSecondCallToACustomer: Meta lets us have one, so we do not even ask.
func TestSecondCallToACustomer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	first := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, first.Wait(ctx, faketrunk.Rung))
	answer{status: 486, q850: 17, cause: "busy"}.judge(ctx, t, dial(ctx, t, r, "+"+dialledCustomer))
	must(t, first.Hangup(ctx))
	if n := len(r.Meta.Books()); n != 1 {
		t.Errorf("%d calls at Meta, want one", n)
	}
}

// TestNodeIsFull: what is this node's own state, and only that, is 503, and
// tells when to come again.
func TestNodeIsFull(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		config func(*config.Config)
		does   func(ctx context.Context, t *testing.T, r *rig.Rig)
		want   answer
	}{
		"max_calls": {
			config: func(c *config.Config) { c.Trunks[0].MaxCalls = 1 },
			want:   answer{cause: "overloaded", text: "the trunk is at its limit", most: 5 * time.Second},
		},
		"limits.calls": {
			config: func(c *config.Config) { c.Limits.Calls = 1 },
			want:   answer{cause: "overloaded", most: 5 * time.Second},
		},
		"draining": {
			config: func(c *config.Config) { c.Limits.DrainTimeout = 10 * time.Minute },
			does:   func(_ context.Context, _ *testing.T, r *rig.Rig) { r.Gateway.Drain() },
			want:   answer{cause: "draining", most: 10 * time.Minute},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { rig.DialOut(c); row.config(c) }})
			r.Meta.Callee("", fakemeta.Callee{Never: true})
			first := dial(ctx, t, r, "+"+dialledCustomer)
			must(t, first.Wait(ctx, faketrunk.Rung))
			if row.does != nil {
				row.does(ctx, t, r)
			}
			row.want.status, row.want.q850, row.want.turnedAway, row.want.least = 503, 42, true, time.Second
			row.want.judge(ctx, t, dial(ctx, t, r, "+34600111333"))
			must(t, first.Hangup(ctx))
		})
	}
}

// TestTooManyCallsInASecond: a burst beyond max_cps is this node's limit.
func TestTooManyCallsInASecond(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { rig.DialOut(c); c.Trunks[0].MaxCPS = 1 }})
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	var calls []*faketrunk.Call
	for i := range 20 {
		calls = append(calls, dial(ctx, t, r, fmt.Sprintf("+346001112%02d", i)))
	}
	over := 0
	for _, c := range calls {
		if c.Wait(ctx, faketrunk.Rung) == nil {
			must(t, c.Hangup(ctx))
			continue
		}
		over++
		answer{
			status: 503, q850: 42, cause: "overloaded", text: "the trunk is at its limit", turnedAway: true, least: time.Second, most: 5 * time.Second,
		}.judge(ctx, t, c)
	}
	if over == 0 {
		t.Error("none of 20 calls at once was refused")
	}
}

// TestDiskDoesNotAnswer: what cannot be written down is not placed, and the
// PBX may try the sibling.
func TestDiskDoesNotAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, ctx := rigged(t, rig.Options{Dir: dir, Config: rig.DialOut})
	db, err := sql.Open("sqlite", filepath.Join(dir, "wagate.db")+"?_pragma=busy_timeout(5000)")
	must(t, err)
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	must(t, err)
	call := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, call.Wait(ctx, faketrunk.Refused))
	_, err = conn.ExecContext(ctx, "ROLLBACK")
	must(t, err)
	answer{status: 503, q850: 41, cause: "store_failed", least: 5 * time.Second, most: 5 * time.Second}.judge(ctx, t, call)
	if n := len(r.Meta.Books()); n != 0 {
		t.Errorf("%d calls at Meta, want none", n)
	}
}

// TestGraphIsNotThere: nothing listens where the Graph API should be.
func TestGraphIsNotThere(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		rig.DialOut(c)
		c.WhatsApp.GraphURL = "http://127.0.0.1:1"
	}})
	r.Meta.Grant(dialledCustomer) // by webhook
	mayCall(ctx, t, r, "support/+"+dialledCustomer)
	answer{status: 502, q850: 38, cause: "api_down"}.judge(ctx, t, dial(ctx, t, r, "+"+dialledCustomer))
}

// TestPickedUpWithoutMedia: the customer takes the call, and nothing gets
// through to the phone: to the PBX it has rung, and that was all.
func TestPickedUpWithoutMedia(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		rig.DialOut(c)
		c.Media.SetupTimeout = time.Second
	}})
	r.Meta.Callee("", fakemeta.Callee{Dark: true, Answer: 100 * time.Millisecond})
	call := dial(ctx, t, r, "+"+dialledCustomer)
	answer{status: 480, q850: 47, cause: "media_failed"}.judge(ctx, t, call)
	if !call.Is(faketrunk.Rung) {
		t.Error("the agent did not hear that it rings")
	}
	rs := settled(ctx, t, r)
	wantRecord(t, rs[0], "media_failed", "gateway")
}
