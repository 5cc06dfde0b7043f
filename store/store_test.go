package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/test/leak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir) // until it is killed
		os.Exit(1)
	}
	os.Exit(leak.Main(m))
}

func open(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := Open(t.Context(), dir, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func aCall(id string) Call {
	return Call{
		ID: id, Direction: "inbound", Number: "support", NumberID: "401122334455667", User: "34600111222",
		UserID: "ES.20914466382001574", Name: "Nuria", Payload: "order-1", Route: "support", Trunk: "pbx", To: "600", Agent: "201",
		WACID: "wacid." + id, StartedAt: noon,
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCallFromBeginToEnd(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	fresh, err := db.Journal(ctx, []Event{{Key: "k1", Kind: "offer", CallID: "wacid.c1", At: noon, Body: []byte("{}")}})
	must(t, err)
	if !reflect.DeepEqual(fresh, []bool{true}) {
		t.Fatalf("first delivery: fresh %v", fresh)
	}
	c := aCall("c1")
	must(t, db.Begin(ctx, c, "k1"))
	if undone, err := db.Undone(ctx); err != nil || len(undone) != 0 {
		t.Errorf("begin does its event: %v, %v", undone, err)
	}
	must(t, db.SaveDialog(ctx, "c1", Dialog{Attempt: 1, Trunk: "pbx", To: "600", State: []byte("invite")}))
	must(t, db.SaveDialog(ctx, "c1", Dialog{Attempt: 2, Trunk: "pbx2", To: "601", State: []byte("invite 2")}))
	must(t, db.SaveDialog(ctx, "c1", Dialog{Attempt: 2, Trunk: "pbx2", To: "601", State: []byte("dialog 2")}))
	must(t, db.DropDialog(ctx, "c1", 1))
	must(t, db.Progress(ctx, "c1", Progress{RingingAt: noon.Add(time.Second), PreAccepted: true, Trunk: "pbx2", To: "601"}))
	must(t, db.Progress(ctx, "c1", Progress{AnsweredAt: noon.Add(2 * time.Second)}))

	c.PreAccepted, c.Trunk, c.To = true, "pbx2", "601"
	c.RingingAt, c.AnsweredAt = noon.Add(time.Second), noon.Add(2*time.Second)
	c.SIP = []Dialog{{Attempt: 2, Trunk: "pbx2", To: "601", State: []byte("dialog 2")}}
	got, err := db.Unfinished(ctx)
	must(t, err)
	if want := []Call{c}; !reflect.DeepEqual(got, want) {
		t.Errorf("unfinished:\ngot  %+v\nwant %+v", got, want)
	}

	debt := Debt{Kind: "terminate", CallID: "c1", Number: "support", WACID: "wacid.c1", Since: noon, Next: noon, Expires: noon.Add(time.Hour)}
	must(t, db.End(ctx, Record{ID: "c1", WACID: "wacid.c1", StartedAt: noon, EndedAt: noon.Add(time.Minute)}, []Debt{debt}, ""))
	if got, err := db.Unfinished(ctx); err != nil || len(got) != 0 {
		t.Errorf("after the end: unfinished %v, %v", got, err)
	}
	for name, err := range map[string]error{
		"second end":   db.End(ctx, Record{ID: "c1", EndedAt: noon}, []Debt{{Kind: "dialog"}}, ""),
		"begin again":  db.Begin(ctx, c, ""),
		"late dialog":  db.SaveDialog(ctx, "c1", Dialog{Attempt: 3}),
		"late news":    db.Progress(ctx, "c1", Progress{Trunk: "x"}),
		"foreign news": db.Progress(ctx, "nobody", Progress{Trunk: "x"}),
	} {
		if !errors.Is(err, ErrEnded) {
			t.Errorf("%s: got %v, want ErrEnded", name, err)
		}
	}
	debts, err := db.Debts(ctx)
	must(t, err)
	debt.ID = debts[0].ID
	if want := []Debt{debt}; !reflect.DeepEqual(debts, want) {
		t.Errorf("debts: got %+v, want %+v", debts, want)
	}
	if ids, err := db.Ended(ctx, noon); err != nil || !reflect.DeepEqual(ids, []string{"wacid.c1"}) {
		t.Errorf("ended: %v, %v", ids, err)
	}
	if ids, err := db.Ended(ctx, noon.Add(time.Hour)); err != nil || len(ids) != 0 {
		t.Errorf("ended later: %v, %v", ids, err)
	}
}

func TestBeginTwice(t *testing.T) {
	db := open(t, t.TempDir())
	must(t, db.Begin(t.Context(), aCall("c1"), ""))
	if err := db.Begin(t.Context(), aCall("c1"), ""); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if err := db.Begin(t.Context(), aCall(""), ""); err == nil {
		t.Error("a call without an id was taken")
	}
}

func TestJournal(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := open(t, dir)
	a, b := Event{Key: "a", Kind: "offer", CallID: "w1", At: noon, Body: []byte("A")}, Event{Key: "b", Kind: "status", At: noon, Body: []byte("B")}
	steps := []struct {
		in   []Event
		want []bool
	}{
		{nil, nil},
		{[]Event{a, a}, []bool{true, false}},
		{[]Event{a, b}, []bool{false, true}},
		{[]Event{b}, []bool{false}},
	}
	for i, s := range steps {
		if got, err := db.Journal(ctx, s.in); err != nil || !reflect.DeepEqual(got, s.want) {
			t.Errorf("delivery %d: got %v, %v, want %v", i, got, err, s.want)
		}
	}
	must(t, db.Done(ctx, "a"))
	must(t, db.Done(ctx, "unknown"))
	must(t, db.Close())

	db = open(t, dir)
	undone, err := db.Undone(ctx)
	must(t, err)
	if want := []Event{b}; !reflect.DeepEqual(undone, want) {
		t.Errorf("undone: got %+v, want %+v", undone, want)
	}
	if fresh, err := db.Journal(ctx, []Event{a}); err != nil || fresh[0] {
		t.Errorf("an event that was done is fresh again: %v, %v", fresh, err)
	}
}

func TestDebts(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	late := Debt{Kind: "dialog", CallID: "c2", State: []byte("s"), Since: noon, Next: noon.Add(time.Minute), Expires: noon.Add(time.Hour)}
	soon := Debt{Kind: "terminate", CallID: "c1", WACID: "w1", Since: noon, Next: noon, Expires: noon.Add(time.Hour)}
	for _, d := range []Debt{late, soon, soon} { // the same is owed once
		must(t, db.AddDebt(ctx, d))
	}
	debts, err := db.Debts(ctx)
	must(t, err)
	if len(debts) != 2 || debts[0].Kind != "terminate" || string(debts[1].State) != "s" {
		t.Fatalf("got %+v", debts)
	}
	must(t, db.Postpone(ctx, debts[0].ID, 3, noon.Add(2*time.Minute)))
	must(t, db.Paid(ctx, debts[1].ID))
	must(t, db.Paid(ctx, debts[1].ID))
	debts, err = db.Debts(ctx)
	must(t, err)
	if len(debts) != 1 || debts[0].Tries != 3 || !debts[0].Next.Equal(noon.Add(2*time.Minute)) {
		t.Errorf("got %+v", debts)
	}
}

func TestPurge(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	var events []Event
	for i := range purgeChunk + 3 {
		events = append(events, Event{Key: fmt.Sprint(i), At: noon})
	}
	_, err := db.Journal(ctx, events)
	must(t, err)
	must(t, db.End(ctx, Record{ID: "old", EndedAt: noon}, nil, ""))
	must(t, db.End(ctx, Record{ID: "new", EndedAt: noon.Add(time.Hour)}, nil, ""))
	must(t, db.Purge(ctx, time.Now().Add(-time.Hour), noon))
	if undone, err := db.Undone(ctx); err != nil || len(undone) != len(events) {
		t.Errorf("events of this hour: %d left, %v", len(undone), err)
	}
	must(t, db.Purge(ctx, time.Now().Add(time.Hour), noon.Add(time.Minute)))
	if undone, err := db.Undone(ctx); err != nil || len(undone) != 0 {
		t.Errorf("old events: %d left, %v", len(undone), err)
	}
	if rs, _, err := db.Records(ctx, Query{}); err != nil || len(rs) != 1 || rs[0].ID != "new" {
		t.Errorf("records left: %v, %v", rs, err)
	}
}

// A write that cannot be done alone must not take those with it that share its
// commit.
func TestBadWriteAlone(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := db.Begin(ctx, aCall(fmt.Sprintf("c%d", i)), ""); err != nil {
				t.Errorf("good write %d: %v", i, err)
			}
		})
		wg.Go(func() {
			if err := db.Progress(ctx, "nobody", Progress{}); !errors.Is(err, ErrEnded) {
				t.Errorf("bad write %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if calls, err := db.Unfinished(ctx); err != nil || len(calls) != 50 {
		t.Errorf("got %d calls, %v, want 50", len(calls), err)
	}
}

// Whoever ends a call, its record is written once.
func TestEndRace(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	must(t, db.Begin(ctx, aCall("c1"), ""))
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 20 {
		wg.Go(func() {
			err := db.End(ctx, Record{ID: "c1", EndedAt: noon}, []Debt{{Kind: "dialog", CallID: "c1"}}, "")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, ErrEnded):
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	debts, err := db.Debts(ctx)
	must(t, err)
	if won != 1 || len(debts) != 1 {
		t.Errorf("%d ends won and left %d debts, want one each", won, len(debts))
	}
}

// What a write method has returned is in the database for everybody else.
func TestReturnsAfterCommit(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	for i := range 20 {
		id := fmt.Sprintf("c%d", i)
		must(t, db.Begin(ctx, aCall(id), ""))
		var n int
		must(t, db.readers.QueryRowContext(ctx, `SELECT count(*) FROM calls WHERE id = ?`, id).Scan(&n))
		if n != 1 {
			t.Fatalf("begin %d returned before its commit", i)
		}
	}
	var mode string
	var sync int
	must(t, db.conn.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode))
	must(t, db.conn.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&sync))
	if mode != "wal" || sync != 2 {
		t.Errorf("journal mode %s, synchronous %d: a commit does not sync", mode, sync)
	}
}

func TestContext(t *testing.T) {
	db := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Begin(ctx, aCall("c1"), ""); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	} else if calls, _ := db.Unfinished(t.Context()); (err == nil) != (len(calls) == 1) {
		t.Errorf("begin says %v and the store has %d calls", err, len(calls))
	}
}

func TestClose(t *testing.T) {
	db := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			if err := db.Begin(t.Context(), aCall(fmt.Sprint(i)), ""); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
		})
	}
	must(t, db.Close())
	wg.Wait()
	must(t, db.Close())
	if err := db.Ping(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: got %v", err)
	}
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := Open(t.Context(), dir, nil, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("got %v", err)
	}
}

func TestNewerAndDamaged(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	must(t, db.Begin(t.Context(), aCall("c1"), ""))
	_, err := db.conn.ExecContext(t.Context(), `PRAGMA user_version = 99`)
	must(t, err)
	must(t, db.Close())
	log := slog.New(slog.DiscardHandler)
	if _, err := Open(t.Context(), dir, nil, log); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "99") {
		t.Errorf("newer: got %v", err)
	}
	path := filepath.Join(dir, fileName)
	raw, err := os.ReadFile(path)
	must(t, err)
	for i := 4096; i < len(raw); i++ {
		raw[i] = 0x5a
	}
	must(t, os.WriteFile(path, raw, 0o600))
	if _, err := Open(t.Context(), dir, nil, log); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged: got %v", err)
	}
	must(t, os.WriteFile(path, []byte(strings.Repeat("not a database. ", 1000)), 0o600))
	if _, err := Open(t.Context(), dir, nil, log); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no database: got %v", err)
	}
}

func TestFilesAreOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b?c%20#d")
	must(t, os.MkdirAll(dir, 0o755))
	db := open(t, dir)
	must(t, db.Begin(t.Context(), aCall("c1"), ""))
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) < 4 {
		t.Errorf("files: %v", entries)
	}
	for _, e := range entries {
		st, err := e.Info()
		must(t, err)
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), st.Mode())
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory has mode %v, %v", st.Mode(), err)
	}
}

// A directory that others use is not closed to them.
func TestSharedDirectory(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "wagate-other"), nil, 0o644))
	open(t, dir)
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("directory has mode %v, %v", st.Mode(), err)
	}
}

// The log does not grow for ever, and no commit waits for that.
func TestLogIsFolded(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := open(t, dir)
	body := make([]byte, 1<<20)
	for i := range 12 {
		_, err := db.Journal(ctx, []Event{{Key: fmt.Sprint(i), At: noon, Body: body}})
		must(t, err)
	}
	pause := time.NewTicker(50 * time.Millisecond) // a commit at once after the other leaves no gap to start again in
	defer pause.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-pause.C {
		must(t, db.Ping(ctx)) // starts the log again when it was folded
		st, err := os.Stat(filepath.Join(dir, fileName+"-wal"))
		must(t, err)
		if st.Size() < foldAbove {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log has %d bytes", st.Size())
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	db, err := Open(t.Context(), t.TempDir(), reg, slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, db.Ping(t.Context()))
	if err := db.Progress(t.Context(), "nobody", Progress{}); err == nil {
		t.Error("progress of nobody")
	}
	must(t, db.Close())
	if err := db.Ping(t.Context()); err == nil {
		t.Error("closed store answers")
	}
	families, err := reg.Gather()
	must(t, err)
	for _, f := range families {
		if len(f.GetMetric()) != int(ops) {
			t.Errorf("%s has %d series, want %d", f.GetName(), len(f.GetMetric()), ops)
		}
		for _, m := range f.GetMetric() {
			ping := m.GetLabel()[0].GetValue() == "ping"
			if n := m.GetCounter().GetValue(); f.GetName() == "wagate_store_failures_total" && (n == 1) != ping {
				t.Errorf("%s counts %v failures", m.GetLabel()[0].GetValue(), n)
			}
		}
	}
}
