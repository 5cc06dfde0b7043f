package test

import (
	"context"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestAgentNeedsPermission: refused without it, while the customer is asked;
// granted, the next call goes through; revoked, the one after does not.
func TestAgentNeedsPermission(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut, Meta: fakemeta.Options{StrictPermissions: true}})
	r.Meta.Callee("", fakemeta.Callee{Answer: 100 * time.Millisecond})
	r.Meta.Consent(dialledCustomer, fakemeta.Consent{Answer: fakemeta.GrantTemporary})
	writes(ctx, t, r.Meta)

	first := dial(ctx, t, r, "+"+dialledCustomer)
	if status, word := refused(ctx, t, first); status != 403 || word != "no_permission" {
		t.Errorf("without permission: %d %q, want 403 no_permission", status, word)
	}
	_, err := r.Meta.WaitMessage(ctx, dialledCustomer)
	must(t, err)
	_, err = r.Meta.WaitDelivery(ctx, func(d fakemeta.Delivery) bool { return d.Has(fakemeta.KindPermission, "") && d.Status == 200 })
	must(t, err)
	permission(ctx, t, r, "temporary")

	second := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, second.Wait(ctx, faketrunk.Up))
	must(t, second.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, second.Hangup(ctx))
	must(t, r.Meta.WaitQuiet(ctx))

	r.Meta.Revoke(dialledCustomer)
	permission(ctx, t, r, "revoked")
	third := dial(ctx, t, r, "+"+dialledCustomer)
	if status, word := refused(ctx, t, third); status != 403 || word != "no_permission" {
		t.Errorf("after the revocation: %d %q, want 403 no_permission", status, word)
	}
	if n := len(r.Meta.Books()); n != 1 {
		t.Errorf("%d calls at Meta, want the permitted one", n)
	}
	for _, v := range r.Meta.Violations() {
		t.Errorf("Meta would complain: %+v", v)
	}
}

// writes lets the customer write to the business, which opens the window for a
// free-form request.
func writes(ctx context.Context, t *testing.T, meta *fakemeta.Server) {
	t.Helper()
	meta.Write(dialledCustomer, "hello")
	_, err := meta.WaitDelivery(ctx, func(d fakemeta.Delivery) bool { return d.Has(fakemeta.KindText, "") && d.Status == 200 })
	must(t, err)
}

// permission waits until the ledger knows the customer's word.
func permission(ctx context.Context, t *testing.T, r *rig.Rig, want string) {
	t.Helper()
	eventually(ctx, t, "the permission "+want, func() bool { return permitted(ctx, t, r) == want })
}

// permitted is the customer's word in the ledger.
func permitted(ctx context.Context, t *testing.T, r *rig.Rig) string {
	t.Helper()
	var state struct{ State string }
	get(ctx, t, r, "/api/v1/permissions/support/+"+dialledCustomer, &state)
	return state.State
}

// eventually waits for something that nobody announces.
func eventually(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-poll.C:
		}
	}
}
