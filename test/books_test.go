package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/rig"
)

// restLimit is how long the last BYE of a call may wait for an answer: 32 s, and
// the time of a busy machine.
const restLimit = patience + 10*time.Second

// settled waits until nothing of a call is left anywhere, judges the books of
// Meta and the PBX and our own, and returns the records. Violations of the
// allowed rules are those that the test itself provokes.
func settled(ctx context.Context, t *testing.T, r *rig.Rig, allowed ...fakemeta.Rule) []store.Record {
	t.Helper()
	if err := r.Meta.WaitQuiet(ctx); err != nil {
		t.Errorf("Meta: %v", err)
	}
	if err := r.PBX.Settled(ctx); err != nil {
		t.Errorf("PBX: %v", err)
	}
	rs := records(ctx, t, r, len(r.Meta.Books()))
	for _, v := range r.Meta.Violations() {
		if !slices.Contains(allowed, v.Rule) {
			t.Errorf("Meta would complain: %s: %s%s", v.Rule, v.Detail, askedOf(r.Meta, v.CallID))
		}
	}
	for _, f := range r.PBX.Faults() {
		t.Errorf("the PBX would complain: %s", f)
	}
	wantOneEach(t, r, rs)
	wantAtRest(t, r)
	return rs
}

// unknowable says whether a terminate that Meta refused was right to try: of the
// call's pre_accept and accept nobody could know that they had no effect, and
// reject followed at once.
func unknowable(m *fakemeta.Server, v fakemeta.Violation) bool {
	if v.Rule != fakemeta.RefusedRequest || !strings.HasPrefix(v.Detail, "terminate: ") {
		return false
	}
	lost, rejected := false, false
	for _, q := range m.Requests() {
		switch {
		case q.CallID != v.CallID:
		case q.Action == "reject":
			rejected = q.Done
		case q.Action == "terminate":
		case q.Done:
			return false
		default:
			lost = lost || q.Fault != fakemeta.NoFault
		}
	}
	return lost && rejected
}

// askedOf tells a call's requests in the order of their answers.
func askedOf(m *fakemeta.Server, id string) string {
	var b strings.Builder
	for _, q := range m.Requests() {
		if q.CallID == id {
			fmt.Fprintf(&b, "\n  %s %s: %d %s, fault %v, done %v, took %v", q.At.Format("05.000"), q.Action, q.Status, q.Details, q.Fault, q.Done, q.Took)
		}
	}
	return b.String()
}

// wantOneEach asserts that every call that Meta knows has exactly one record.
func wantOneEach(t *testing.T, r *rig.Rig, rs []store.Record) {
	t.Helper()
	count := map[string]int{}
	for _, rec := range rs {
		count[rec.WACID]++
	}
	for _, b := range r.Meta.Books() {
		if count[b.ID] != 1 {
			t.Errorf("%d records of call %s", count[b.ID], b.ID)
		}
		delete(count, b.ID)
	}
	for id, n := range count {
		t.Errorf("%d records of a call that never was: %s", n, id)
	}
}

// callMetrics count what there is of calls: at rest nothing. Legs that did not
// confirm their end in time are the reaper's, who has more time than a test.
func callMetrics(abandoned float64) []string {
	if abandoned > 0 {
		return []string{"wagate_calls", "wagate_sip_dialogs"}
	}
	return []string{"wagate_calls", "wagate_sip_dialogs", "wagate_debts"}
}

// stillThere is what metrics say that there still is.
func stillThere(t *testing.T, r *rig.Rig, names []string) map[string]float64 {
	t.Helper()
	value := metrics(t, r)
	left := map[string]float64{}
	for _, name := range names {
		if n := value(name); n != 0 {
			left[name] = n
		}
	}
	return left
}

// wantAtRest asserts what the metrics say when there is no call, or will when the
// far ends have confirmed the last end.
func wantAtRest(t *testing.T, r *rig.Rig) {
	t.Helper()
	names := callMetrics(metric(t, r, "wagate_calls_abandoned_total"))
	limit := time.After(restLimit)
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for left := stillThere(t, r, names); len(left) > 0; left = stillThere(t, r, names) {
		select {
		case <-poll.C:
			continue
		case <-limit:
			t.Errorf("there still is %v", left)
		}
		break
	}
	started, ended := metric(t, r, "wagate_calls_started_total"), metric(t, r, "wagate_calls_ended_total")
	if started != ended {
		t.Errorf("%v calls started, %v ended", started, ended)
	}
	if n := metric(t, r, "wagate_call_panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

// metric adds up a metric over the label pairs that are given.
func metric(t *testing.T, r *rig.Rig, name string, labels ...string) float64 {
	t.Helper()
	return metrics(t, r)(name, labels...)
}

// metrics are all of them at one time; each is read as metric does.
func metrics(t *testing.T, r *rig.Rig) func(name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Registry.Gather()
	must(t, err)
	return func(name string, labels ...string) (sum float64) {
		for _, f := range families {
			if f.GetName() != name {
				continue
			}
			for _, m := range f.GetMetric() {
				has := map[string]string{}
				for _, l := range m.GetLabel() {
					has[l.GetName()] = l.GetValue()
				}
				fits := true
				for i := 0; i+1 < len(labels); i += 2 {
					fits = fits && has[labels[i]] == labels[i+1]
				}
				if fits {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		return sum
	}
}

// awaitMetric waits until a metric has at least that value.
func awaitMetric(ctx context.Context, t *testing.T, r *rig.Rig, want float64, name string, labels ...string) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for metric(t, r, name, labels...) < want {
		select {
		case <-ctx.Done():
			t.Fatalf("%s %v is %v, want %v", name, labels, metric(t, r, name, labels...), want)
		case <-poll.C:
		}
	}
}

// records reads the call records over the admin API until there are as many as
// there were calls.
func records(ctx context.Context, t *testing.T, r *rig.Rig, want int) []store.Record {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		all := allRecords(ctx, t, r, "")
		if len(all) >= want {
			return all
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d records of %d", len(all), want)
		case <-poll.C:
		}
	}
}

// allRecords reads them page by page; query begins with an ampersand.
func allRecords(ctx context.Context, t *testing.T, r *rig.Rig, query string) (all []store.Record) {
	t.Helper()
	for cursor := ""; ; {
		var page struct {
			Records []store.Record
			Next    string
		}
		get(ctx, t, r, "/api/v1/records?limit=1000"+query+"&cursor="+url.QueryEscape(cursor), &page)
		all = append(all, page.Records...)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// recordOf returns the record of a customer's call.
func recordOf(t *testing.T, rs []store.Record, c *fakemeta.Customer) store.Record {
	t.Helper()
	for _, rec := range rs {
		if rec.WACID == c.ID() {
			return rec
		}
	}
	t.Fatalf("no record of call %s", c.ID())
	return store.Record{}
}

// wantRecord asserts why and by whom a call ended.
func wantRecord(t *testing.T, rec store.Record, cause, endedBy string) {
	t.Helper()
	if rec.Cause != cause || rec.EndedBy != endedBy {
		t.Errorf("the record says %s by %s, want %s by %s", rec.Cause, rec.EndedBy, cause, endedBy)
	}
}

// verbs lists what Meta was asked about a call, refused requests too.
func verbs(r *rig.Rig, c *fakemeta.Customer) []string {
	var asked []string
	for _, q := range r.Meta.Requests() {
		if q.CallID == c.ID() {
			asked = append(asked, q.Action)
		}
	}
	return asked
}

// wantVerbs asserts what Meta was asked about a call. A phone that answers or
// refuses before our peer connection is made leaves no time for pre_accept: then
// the call is accepted without, or rejected.
func wantVerbs(t *testing.T, r *rig.Rig, c *fakemeta.Customer, want ...string) {
	t.Helper()
	got := verbs(r, c)
	if slices.Equal(got, want) {
		return
	}
	if len(want) > 1 && want[0] == "pre_accept" && !slices.Contains(got, "pre_accept") {
		sooner := want[1:]
		if sooner[0] == "terminate" {
			sooner = []string{"reject"}
		}
		if slices.Equal(got, sooner) {
			return
		}
	}
	t.Errorf("Meta was asked %v, want %v", got, want)
}

// wantAsked is wantVerbs for a customer's call whose requests may be repeated, as
// often as their pauses allow.
func wantAsked(t *testing.T, r *rig.Rig, c *fakemeta.Customer, want ...string) {
	t.Helper()
	if got := slices.Compact(verbs(r, c)); !slices.Equal(got, want) {
		t.Errorf("Meta was asked %v, want %v, each once or more", got, want)
	}
}

func get(ctx context.Context, t *testing.T, r *rig.Rig, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Gateway.AdminAddr()+path, nil)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, res.Status)
	}
	must(t, json.NewDecoder(res.Body).Decode(into))
}
