//go:build system || soak

package test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wagate/test/fakemeta"
	"wagate/test/strace"
)

const (
	walFile      = "wagate.db-wal"
	orderPatient = "34600112901"
	orderCalled  = "34600112902"
)

// traced runs the program under strace from now on, and returns where it writes.
func (d *daemon) traced(name string) (file string) {
	d.t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		d.t.Skip("strace is not installed")
	}
	file = filepath.Join(filepath.Dir(d.file), name)
	d.wrap = []string{
		path, "-D", "-f", "-qq", "--seccomp-bpf", "-yy", "-s", "16384", "-o", file,
		"-e", "trace=fsync,fdatasync,write,pwrite64,sendto",
	}
	return file
}

func parsed(t *testing.T, file string) []strace.Call {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	calls, err := strace.Parse(f)
	must(t, err)
	return calls
}

// TestOnDiskFirst: what a crash must not lose is on disk, with a sync, before the
// request leaves that makes it so. What kill -9 cannot show, because the kernel
// outlives it, the order of system calls does.
func TestOnDiskFirst(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	with := manyCalls
	with.Meta.StrictPermissions = true
	d := setUp(t, with)
	d.pbx.Handle(answering(0))
	d.meta.Callee("", fakemeta.Callee{Never: true})
	graph, hook := host(t, d.meta.URL()), host(t, d.hook)

	first := d.traced("first.trace")
	d.start(ctx)
	customer := d.rings(ctx, orderPatient)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	phone := d.pbx.Calls()[0]
	d.meta.Grant(orderCalled)
	eventually(ctx, t, "the grant", func() bool { return d.metric(ctx, "wagate_permission_replies_total") == 1 })
	called := d.rung(ctx, orderCalled)
	tag := d.tagOf(t, called)
	must(t, phone.Hangup(ctx)) // the customer is hung up on, with the other call still there
	must(t, customer.Wait(ctx, fakemeta.Ended))
	ours := phone.Invite().Get("X-WA-Call")
	d.records(ctx, 1)
	d.kill()
	calls := parsed(t, first)
	for what, row := range map[string]struct{ note, deed strace.Match }{
		"a webhook before its 200":                     {strace.Has(walFile, customer.ID()), strace.Has(hook+"->", "HTTP/1.1 200 OK")},
		"a call before the phone rings":                {strace.Has(walFile, ours), strace.Has("UDP:[", "INVITE sip:600@", phone.ID())},
		"the dialog before the phone rings":            {strace.Has(walFile, phone.ID()), strace.Has("UDP:[", "INVITE sip:600@", phone.ID())},
		"a call before the first request about it":     {strace.Has(walFile, ours), strace.Has(graph, customer.ID())},
		"a call to a customer before it is placed":     {strace.Has(walFile, tag), strace.Has(graph, `"action":"connect"`)},
		"the agent's dialog before the call is placed": {strace.Has(walFile, d.pbx.Calls()[1].ID()), strace.Has(graph, `"action":"connect"`)},
		"the call before the end that it owes":         {strace.Has(walFile, ours), strace.Has(graph, `"action":"terminate"`, customer.ID())},
	} {
		if err := strace.Durable(calls, walFile, row.note, row.deed); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The intent is what owes the end until the record takes its place.
	asked, _ := strace.First(calls, strace.Has(graph, `"action":"terminate"`, customer.ID()))
	written, ok := strace.First(calls, strace.Has(walFile, `"id":"`+ours+`"`))
	if !ok || written.Began < asked.Ended {
		t.Errorf("the record was written at line %d, and the end asked for at line %d", written.Began, asked.Began)
	}

	second := d.traced("second.trace")
	d.start(ctx)
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	d.kill()
	calls = parsed(t, second)
	for what, row := range map[string]struct{ note, deed strace.Match }{
		"the debt of an earlier run before terminate":       {strace.Has(walFile, called.ID(), "terminate"), strace.Has(graph, `"action":"terminate"`, called.ID())},
		"the debt of an earlier run before the agent's end": {strace.Has(walFile, d.pbx.Calls()[1].ID(), "dialog"), strace.Has("UDP:[", d.pbx.Calls()[1].ID())},
	} {
		if err := strace.Durable(calls, walFile, row.note, row.deed); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	t.Log("R01: a sync lies between each of 9 notes and its deed")
}

func host(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	return u.Host
}

// tagOf is our mark on a call to a customer.
func (d *daemon) tagOf(t *testing.T, c *fakemeta.Customer) string {
	t.Helper()
	for _, q := range d.meta.Requests() {
		if q.CallID == c.ID() && q.Action == "connect" {
			return strings.Trim(q.Tag, `"`)
		}
	}
	t.Fatal("the call was not asked for")
	return ""
}
