//go:build system

package test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// TestKilledInTheMiddleOfTwentyCalls is C1 with a fifth of its calls.
func TestKilledInTheMiddleOfTwentyCalls(t *testing.T) {
	killedAmong(t, 20)
}

// TestKilledWithStrays: the replies of two connects are lost, of one before the
// process is killed and of the other by that. Nobody hears of the calls but by
// Meta's webhooks, which come to the next process.
func TestKilledWithStrays(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	d := newDaemon(t, "  - {name: out, direction: outbound, match: {trunk: pbx}, number: support, countries: [ES]}\n")
	d.meta.Callee("", fakemeta.Callee{Never: true})
	d.start(ctx)
	d.meta.SetWebhookURL("http://127.0.0.1:9/nobody") // Meta tries again until somebody takes it
	d.meta.Fail(fakemeta.Fault{Kind: fakemeta.LoseReply, Action: "connect", Times: 1})
	d.meta.Fail(fakemeta.Fault{Kind: fakemeta.Hang, Effect: true, Action: "connect"})
	var customers []*fakemeta.Customer
	dial := func(who string) *faketrunk.Call {
		c, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + who + "@" + d.sip, From: "201"})
		must(t, err)
		customer, err := d.meta.WaitCallee(ctx, who)
		must(t, err)
		customers = append(customers, customer)
		return c
	}
	must(t, dial("34600111301").Wait(ctx, faketrunk.Refused))
	d.records(ctx, 1)
	dial("34600111302")
	d.kill()
	d.start(ctx)
	if rs := d.records(ctx, 2); rs[0].WACID != "" || rs[1].WACID != "" {
		t.Errorf("records %+v; want none that names a call", rs)
	}
	d.meta.SetWebhookURL(d.hook)
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	named := map[string]int{}
	for _, r := range d.records(ctx, 2) {
		named[r.WACID]++
	}
	for _, c := range customers {
		if end := c.End(); end.By != fakemeta.ByBusiness || named[c.ID()] != 1 {
			t.Errorf("a customer's call was ended by %v and has %d records, want by us and one", end.By, named[c.ID()])
		}
		ends := 0
		for _, q := range d.meta.Requests() {
			if q.CallID == c.ID() && q.Action == "terminate" {
				ends++
			}
		}
		if ends != 1 {
			t.Errorf("terminate was asked %d times, want once", ends)
		}
	}
}

func TestSignals(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	d := newDaemon(t, "")
	d.pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(0) })
	d.start(ctx)
	customer, err := d.meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	if out := d.run(ctx, "calls", "--admin", d.admin); !strings.Contains(out, "active") {
		t.Errorf("wagate calls shows\n%s", out)
	}

	d.signal(syscall.SIGTERM)
	refused, err := d.meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	must(t, refused.Wait(ctx, fakemeta.Ended))
	if end := refused.End(); end.By != fakemeta.ByBusiness || end.Talked != 0 {
		t.Errorf("while draining a new call ended %+v, want a rejection", end)
	}
	if customer.State() != fakemeta.Connected {
		t.Error("the drain cut the running call")
	}
	customer.HangUp()
	if code := d.exited(ctx); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	must(t, d.pbx.Settled(ctx))

	// The second signal ends what is left.
	d.start(ctx)
	second, err := d.meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	must(t, second.Wait(ctx, fakemeta.Connected))
	d.signal(syscall.SIGTERM)
	d.signal(syscall.SIGINT)
	if code := d.exited(ctx); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))

	d.start(ctx)
	causes := map[string]int{}
	for _, r := range d.records(ctx, 3) {
		causes[r.Cause]++
	}
	if causes["hangup"] != 1 || causes["draining"] != 2 {
		t.Errorf("records say %v", causes)
	}
}

func TestReload(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	d := newDaemon(t, "")
	d.pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(0) })
	d.start(ctx)
	text, err := os.ReadFile(d.file)
	must(t, err)
	call := func() *faketrunk.Call {
		customer, err := d.meta.Call(ctx, fakemeta.CallOptions{})
		must(t, err)
		phone, err := d.pbx.Next(ctx)
		must(t, err)
		must(t, customer.Wait(ctx, fakemeta.Connected))
		customer.HangUp()
		must(t, phone.Wait(ctx, faketrunk.Ended))
		return phone
	}
	if got := call().Invite().URI; !strings.Contains(got, "600") {
		t.Errorf("dialled %s, want 600", got)
	}

	must(t, os.WriteFile(d.file, []byte(strings.Replace(string(text), `to: "600"`, `to: "601"`, 1)), 0o600))
	d.signal(syscall.SIGHUP)
	d.logged(ctx, "configuration reloaded")
	if got := call().Invite().URI; !strings.Contains(got, "601") {
		t.Errorf("after the reload dialled %s, want 601", got)
	}

	must(t, os.WriteFile(d.file, []byte(string(text)+"\nnonsense: 1\n"), 0o600))
	d.signal(syscall.SIGHUP)
	d.logged(ctx, "configuration refused")
	if got := call().Invite().URI; !strings.Contains(got, "601") {
		t.Errorf("after a refused reload dialled %s, want 601 as before", got)
	}
	d.signal(syscall.SIGTERM)
	if code := d.exited(ctx); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestBadConfigurationIsExitCodeTwo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d := newDaemon(t, "nonsense: 1\n")
	path, err := program()
	must(t, err)
	cmd := command(ctx, path, "serve", "--config", d.file)
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "nonsense") {
		t.Errorf("exit %v: %s", err, out)
	}
}
