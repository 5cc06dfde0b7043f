//go:build system || soak

package test

import (
	"context"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// TestDrainUnderLoad is C16: the first signal cuts no call, the second ends all of
// them now, nothing is owed after either, and the next program takes over the same
// data.
func TestDrainUnderLoad(t *testing.T) {
	const calls = 20
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	d := setUp(t, manyCalls)
	d.pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Script{NoAudio: true} })
	d.meta.Callee("", fakemeta.Callee{Answer: time.Millisecond})
	d.start(ctx)
	customers := d.place(ctx, calls, 0, calls)
	for _, c := range customers {
		must(t, c.Wait(ctx, fakemeta.Connected))
	}
	d.signal(syscall.SIGTERM)
	if status, word := d.refusesBoth(ctx, "34600113401"); status != 503 || word != "draining" {
		t.Errorf("while draining the PBX was told %d %s, want 503 draining", status, word)
	}
	cut := 0
	for _, c := range customers {
		if c.State() != fakemeta.Connected {
			cut++
		}
	}
	for i, c := range customers {
		if i%2 == 0 {
			c.HangUp()
			continue
		}
		must(t, phoneOf(ctx, t, d.pbx, c.User().Number).Hangup(ctx))
	}
	code := d.exited(ctx)
	if cut != 0 || code != 0 {
		t.Errorf("the drain cut %d of %d calls, exit code %d, want 0 and 0", cut, calls, code)
	}
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	causes := d.left(ctx)
	if causes["hangup"] != calls || causes["draining"] != 1 {
		t.Errorf("the records say %v, want %d hangups, and one call refused for draining", causes, calls)
	}

	d.start(ctx) // the next version would find the same
	second := d.place(ctx, calls, 0, calls)
	for _, c := range second {
		must(t, c.Wait(ctx, fakemeta.Connected))
	}
	d.signal(syscall.SIGTERM)
	d.signal(syscall.SIGINT) // two of one kind may become one on their way
	began := time.Now()
	code = d.exited(ctx)
	took := time.Since(began)
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	if code != 0 {
		t.Errorf("exit code %d after the second signal, want 0", code)
	}
	for _, c := range second {
		if end := c.End(); end.By != fakemeta.ByBusiness {
			t.Errorf("after the second signal a call ended %+v, want by us", end)
		}
	}
	if causes := d.left(ctx); causes["draining"] != calls+1 {
		t.Errorf("the records say %v, want %d calls ended by draining", causes, calls+1)
	}
	for _, f := range d.pbx.Faults() {
		t.Errorf("the PBX would complain: %s", f)
	}
	t.Logf("C16: %d of %d calls cut by the drain, exit 0, nothing owed; the second signal ended %d calls in %.2f s, exit 0, nothing owed",
		cut, calls, calls, took.Seconds())
}

// left opens the store of a program that has ended, asserts that nothing is open
// or owed in it, and counts the causes of its records.
func (d *daemon) left(ctx context.Context) map[string]int {
	d.t.Helper()
	db, err := store.Open(ctx, d.data, nil, slog.New(slog.DiscardHandler))
	must(d.t, err)
	defer db.Close()
	owed, err := db.Debts(ctx)
	must(d.t, err)
	open, err := db.Unfinished(ctx)
	must(d.t, err)
	if len(owed) > 0 || len(open) > 0 {
		d.t.Errorf("%d ends are owed and %d calls open after the end", len(owed), len(open))
	}
	causes := map[string]int{}
	records, _, err := db.Records(ctx, store.Query{Limit: 1000})
	must(d.t, err)
	for _, r := range records {
		causes[r.Cause]++
	}
	return causes
}
