package store

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// tags lists the strays of the last hour.
func tags(t *testing.T, db *DB) (tags []string) {
	t.Helper()
	strays, err := db.Strays(t.Context(), time.Now().Add(-time.Hour))
	must(t, err)
	for _, s := range strays {
		tags = append(tags, s.Tag)
	}
	return tags
}

func TestStrayFromEndToFound(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := open(t, dir)
	must(t, db.End(ctx, Record{ID: "c1", Number: "support", EndedAt: noon}, nil, "tag1"))
	must(t, db.End(ctx, Record{ID: "c2", Number: "support", EndedAt: noon}, nil, ""))
	if err := db.End(ctx, Record{ID: "c2", EndedAt: noon}, nil, "tag2"); err == nil {
		t.Error("a second end is taken")
	}
	must(t, db.Close())

	db = open(t, dir)
	strays, err := db.Strays(ctx, time.Now().Add(-time.Hour))
	must(t, err)
	if len(strays) != 1 || strays[0].Tag != "tag1" || strays[0].CallID != "c1" || strays[0].Number != "support" || time.Since(strays[0].Since) > time.Minute {
		t.Fatalf("strays after a restart: %+v, want the one of c1", strays)
	}
	owed := []Debt{{Kind: "terminate", CallID: "c1", Number: "support", WACID: "wacid.X", Since: noon, Next: noon, Expires: noon.Add(time.Hour)}}
	if found, err := db.Found(ctx, "tag1", "wacid.X", owed); err != nil || !found {
		t.Errorf("found %v, %v", found, err)
	}
	debts, err := db.Debts(ctx)
	if err != nil || len(debts) != 1 || debts[0].WACID != "wacid.X" {
		t.Errorf("owed: %+v, %v; want the end of the stray", debts, err)
	}
	must(t, db.Paid(ctx, debts[0].ID))
	if found, err := db.Found(ctx, "tag1", "wacid.Y", owed); err != nil || found {
		t.Errorf("found again: %v, %v", found, err)
	}
	if debts, err := db.Debts(ctx); err != nil || len(debts) != 0 {
		t.Errorf("owed a second time: %+v, %v", debts, err)
	}
	if left := tags(t, db); len(left) != 0 {
		t.Errorf("strays left: %v", left)
	}
	if dead, err := db.Ended(ctx, noon); err != nil || !reflect.DeepEqual(dead, []string{"wacid.X"}) {
		t.Errorf("ended calls: %v, %v; want the stray's", dead, err)
	}
	rs, _, err := db.Records(ctx, Query{})
	must(t, err)
	for _, r := range rs {
		if want := map[string]string{"c1": "wacid.X"}[r.ID]; r.WACID != want {
			t.Errorf("record %s names call %q, want %q", r.ID, r.WACID, want)
		}
	}
}

func TestStraysAreForgotten(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	must(t, db.End(ctx, Record{ID: "c1", EndedAt: noon}, nil, "tag1"))
	must(t, db.PurgeStrays(ctx, time.Now().Add(-time.Minute)))
	if left := tags(t, db); len(left) != 1 {
		t.Errorf("a new stray is purged: %v", left)
	}
	must(t, db.PurgeStrays(ctx, time.Now().Add(time.Minute)))
	if left := tags(t, db); len(left) != 0 {
		t.Errorf("an old stray stays: %v", left)
	}
}

func TestStraysAreBounded(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	_, err := db.conn.ExecContext(ctx, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO strays (tag, call_id, number, since) SELECT 'old' || i, 'c', 'support', %d FROM n`, maxStrays, millis(time.Now())))
	must(t, err)
	must(t, db.End(ctx, Record{ID: "c1", EndedAt: noon}, nil, "new"))
	left := tags(t, db)
	if len(left) != maxStrays || left[0] != "old2" || left[len(left)-1] != "new" {
		t.Errorf("%d strays from %s to %s, want %d from old2 to new", len(left), left[0], left[len(left)-1], maxStrays)
	}
}

// A crash, or a full disk, leaves a call that was begun and has no record.
func TestUnfinishedCallIsFound(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	c := aCall("c1")
	c.WACID, c.Tag = "", "tag1"
	must(t, db.Begin(ctx, c, ""))
	owed := []Debt{{Kind: "terminate", CallID: "c1", WACID: "wacid.X", Since: noon, Next: noon, Expires: noon.Add(time.Hour)}}
	for _, want := range []bool{true, false} {
		if found, err := db.Found(ctx, "tag1", "wacid.X", owed); err != nil || found != want {
			t.Errorf("found %v, %v; want %v", found, err, want)
		}
	}
	if found, err := db.Found(ctx, "", "wacid.Z", owed); err != nil || found {
		t.Errorf("without a tag: found %v, %v", found, err)
	}
	left, err := db.Unfinished(ctx)
	if err != nil || len(left) != 1 || left[0].WACID != "wacid.X" {
		t.Errorf("unfinished: %+v, %v; want it named", left, err)
	}
	if debts, err := db.Debts(ctx); err != nil || len(debts) != 1 {
		t.Errorf("owed: %+v, %v; want one end", debts, err)
	}
}
