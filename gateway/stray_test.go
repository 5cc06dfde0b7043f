package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/store"
	"wagate/whatsapp"
)

// obliging lets the Graph API of a configuration say yes to everything, and
// counts how often it was told to terminate.
func obliging(t *testing.T) (url string, terminates *atomic.Int64) {
	t.Helper()
	terminates = &atomic.Int64{}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "terminate") {
			terminates.Add(1)
		}
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	t.Cleanup(api.Close)
	return api.URL, terminates
}

// strayCall is a call to a customer whose connect reply nobody has seen.
func strayCall(id string) store.Call {
	return store.Call{
		ID: id, Direction: outbound, Number: "support", NumberID: "1", User: "34600111222", Trunk: "pbx",
		Tag: "tag-" + id, PreAccepted: true, StartedAt: time.Now(),
	}
}

func ringing(id, key, wacid string) whatsapp.Status {
	return whatsapp.Status{
		Meta:  whatsapp.Meta{Key: key, NumberID: "1", CallID: whatsapp.CallID(wacid), Tag: "tag-" + id, At: time.Now()},
		State: whatsapp.Ringing,
	}
}

// paid waits until nothing is owed.
func paid(t *testing.T, g *Gateway) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		debts, err := g.store.Debts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(debts) == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("still owed: %+v", debts)
		}
	}
}

// An earlier run died with one call in the middle of its connect, had another on
// its list of strays, and the last webhook of a third in its journal.
func TestStraysOfAnEarlierRun(t *testing.T) {
	cfg := deadEnd(t)
	var terminates *atomic.Int64
	cfg.WhatsApp.GraphURL, terminates = obliging(t)
	db, err := store.Open(t.Context(), cfg.DataDir, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	must(db.Begin(t.Context(), strayCall("a"), ""))
	must(db.End(t.Context(), store.Record{ID: "b", Number: "support", StartedAt: now, EndedAt: now, Cause: "api_timeout"}, nil, "tag-b"))
	must(db.Begin(t.Context(), strayCall("c"), ""))
	must(db.End(t.Context(), store.Record{ID: "d", Number: "support", StartedAt: now, EndedAt: now, Cause: "api_timeout"}, nil, "tag-d"))
	var rows []store.Event
	for _, id := range []string{"c", "d"} {
		rows = append(rows, store.Event{Key: "last-" + id, Kind: "status", CallID: "wacid." + id, At: now, Body: fmt.Appendf(nil,
			`{"kind":"status","event":{"Key":"last-%s","NumberID":"1","CallID":"wacid.%s","Tag":"tag-%s","State":%d}}`, id, id, id, whatsapp.Ringing)})
	}
	_, err = db.Journal(t.Context(), rows)
	must(err)
	must(db.Close())

	g := gatewayOn(t, cfg)
	paid(t, g)
	if got := terminates.Load(); got != 2 {
		t.Errorf("terminate was asked %d times before any webhook, want 2: the journal names c and d", got)
	}
	for i, id := range []string{"a", "b"} {
		for n := range 2 { // the second is news of a call that is over
			g.deliver(ringing(id, fmt.Sprint(id, n), "wacid."+id))
			paid(t, g)
		}
		if got := terminates.Load(); got != int64(3+i) {
			t.Errorf("terminate was asked %d times after the webhooks of %s, want %d", got, id, 3+i)
		}
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		if rs := recordsOf(t, g.store, "wacid."+id); len(rs) != 1 || rs[0].ID != id {
			t.Errorf("call %s has the records %+v, want its own", id, rs)
		}
	}
	if strays, err := g.store.Strays(t.Context(), time.Time{}); err != nil || len(strays) != 0 {
		t.Errorf("strays left: %+v, %v", strays, err)
	}
}

// The next run knows of what this one found: a late webhook is not a new stray.
func TestStrayThatEndedByItself(t *testing.T) {
	cfg := deadEnd(t)
	var terminates *atomic.Int64
	cfg.WhatsApp.GraphURL, terminates = obliging(t)
	db, err := store.Open(t.Context(), cfg.DataDir, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = db.End(t.Context(), store.Record{ID: "a", Number: "support", StartedAt: time.Now(), EndedAt: time.Now()}, nil, "tag-a")
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	g := gatewayOn(t, cfg)
	about := ringing("a", "k1", "wacid.a").Meta
	g.deliver(whatsapp.Terminate{Meta: about, Duration: 7 * time.Second})
	about.Key = "k2"
	g.deliver(whatsapp.Status{Meta: about, State: whatsapp.Ringing}) // out of order
	paid(t, g)
	if got := terminates.Load(); got != 0 {
		t.Errorf("terminate was asked %d times for a call that is over", got)
	}
	if rs := recordsOf(t, g.store, "wacid.a"); len(rs) != 1 || rs[0].MetaDurationS != 7 {
		t.Errorf("records %+v, want one with what Meta bills", rs)
	}
}

// A webhook that is still being handled when everything stops leaves nothing
// behind that nobody waits for: its event is for the next run.
func TestWebhookDuringTheLastMoment(t *testing.T) {
	g, err := New(deadEnd(t), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{})
	g.beside(func() { close(ran) })
	g.deliver(ringing("a", "k", "wacid.a"))
	g.background.Wait()
	select {
	case <-ran:
		t.Error("work began after the last of it was waited for")
	default:
	}
}

// A record that the disk does not take leaves the call unfinished, and yet its
// stray is ended.
func TestStrayWithoutARecord(t *testing.T) {
	cfg := deadEnd(t)
	var terminates *atomic.Int64
	cfg.WhatsApp.GraphURL, terminates = obliging(t)
	g, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.store.Begin(t.Context(), strayCall("a"), ""); err != nil {
		t.Fatal(err)
	}
	g.registry.addStray(store.Stray{Tag: "tag-a", CallID: "a", Number: "support", Since: time.Now()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1) // its only value is the end
	go func() { ended <- g.Run(ctx) }()
	g.deliver(ringing("a", "k", "wacid.a"))
	paid(t, g)
	if got := terminates.Load(); got != 1 {
		t.Errorf("terminate was asked %d times, want once", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// placedCall is a call to a customer that is begun on disk and that never runs:
// its own note of its name is as late as can be.
func placedCall(t *testing.T, g *Gateway) (*Call, store.Call) {
	t.Helper()
	row := strayCall("a")
	if err := g.store.Begin(t.Context(), row, ""); err != nil {
		t.Fatal(err)
	}
	c := newCall(g.current.Load().env, row.ID, order{direction: outbound})
	g.registry.admitTagged(c, row.Tag)
	t.Cleanup(func() { g.registry.remove(c, row.Tag, false, time.Now()) })
	return c, row
}

// The first webhook of a call may come before connect's reply, and be the only
// one that is taken: before it is marked done the call's name is on disk, so that
// a crash between the two leaves nothing that cannot be ended at once.
func TestNameIsOnDiskBeforeItsEventIsDone(t *testing.T) {
	g := gatewayOn(t, deadEnd(t))
	c, _ := placedCall(t, g)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, key := range []string{"first", "second"} {
		ev := ringing("a", key, "wacid.a")
		if _, err := g.store.Journal(ctx, []store.Event{{Key: key, Kind: string(ev.Kind()), CallID: "wacid.a", At: ev.At, Body: []byte("{}")}}); err != nil {
			t.Fatal(err)
		}
		g.deliver(ev)
		for undone := 1; undone > 0; {
			events, err := g.store.Undone(ctx)
			if err != nil {
				t.Fatal(err)
			}
			calls, err := g.store.Unfinished(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if undone = len(events); undone == 0 && (len(calls) != 1 || calls[0].WACID != "wacid.a") {
				t.Fatalf("%s event is done, and on disk are %+v", key, calls)
			}
		}
	}
	if !c.kept.Load() {
		t.Error("each event would write the name again")
	}
}

// An event that a call has taken while its record was being written, or after, may
// be the only one that has the call's name: it stays undone.
func TestEventOfACallThatEndsNamelessStaysUndone(t *testing.T) {
	g := gatewayOn(t, deadEnd(t))
	c, row := placedCall(t, g)
	if c.tooLate() {
		t.Error("a call that goes on is too late for its name")
	}
	c.view.Store(&callState{rec: store.Record{ID: row.ID}, phase: Ended})
	if !c.tooLate() {
		t.Error("the event is settled although the record may not have the name")
	}
	ended := store.Record{ID: row.ID, Number: row.Number, StartedAt: row.StartedAt, EndedAt: time.Now()}
	if err := g.store.End(t.Context(), ended, nil, row.Tag); err != nil {
		t.Fatal(err)
	}
	if g.keepName(c, "wacid.a") || c.kept.Load() {
		t.Error("the name counts as kept although the call was written down without it")
	}
	c.kept.Store(true)
	if c.tooLate() || !g.keepName(c, "wacid.a") {
		t.Error("the event of a call whose name is on disk is not settled")
	}
}
