package store

import (
	"strings"
	"testing"
	"time"

	"wagate/whatsapp"
)

func aTrace(id, user, userID string, ended time.Time) Trace {
	return Trace{CallID: id, User: user, UserID: userID, EndedAt: ended, Body: []byte(`{"lines":["` + id + ` +` + user + userID + `"]}`)}
}

func TestTraceIsKept(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	must(t, db.SaveTrace(t.Context(), aTrace("c1", nuria, "", noon)))
	second := aTrace("c1", nuria, "", noon)
	second.Body = []byte(`{"lines":[]}`)
	must(t, db.SaveTrace(t.Context(), second))
	must(t, db.Close())
	db = open(t, dir)
	got, err := db.Trace(t.Context(), "c1")
	must(t, err)
	if string(got) != string(second.Body) {
		t.Errorf("kept %s", got)
	}
	if got, err := db.Trace(t.Context(), "c2"); got != nil || err != nil {
		t.Errorf("a call without a trace has %s, %v", got, err)
	}
	if size := db.traces.Load(); size != int64(len(second.Body)) {
		t.Errorf("counted %d bytes, want %d", size, len(second.Body))
	}
}

func kept(t *testing.T, db *DB, ids ...string) string {
	t.Helper()
	var found []string
	for _, id := range ids {
		body, err := db.Trace(t.Context(), id)
		must(t, err)
		if body != nil {
			found = append(found, id)
		}
	}
	return strings.Join(found, " ")
}

// TestTracesArePurged: they live as long as the journal, not as the records.
func TestTracesArePurged(t *testing.T) {
	db := open(t, t.TempDir())
	must(t, db.SaveTrace(t.Context(), aTrace("old", nuria, "", noon.Add(-time.Second))))
	must(t, db.SaveTrace(t.Context(), aTrace("new", nuria, "", noon)))
	must(t, db.Purge(t.Context(), noon, noon.Add(-time.Hour)))
	if got := kept(t, db, "old", "new"); got != "new" {
		t.Errorf("kept %s", got)
	}
	if size := db.traces.Load(); size != int64(len(aTrace("new", nuria, "", noon).Body)) {
		t.Errorf("counted %d bytes", size)
	}
}

func TestTracesAreBounded(t *testing.T) {
	db := open(t, t.TempDir())
	size := int64(len(aTrace("c0", nuria, "", noon).Body))
	db.mostTraces = 3 * size
	ids := []string{"c0", "c1", "c2", "c3", "c4"}
	for i, id := range ids {
		must(t, db.SaveTrace(t.Context(), aTrace(id, nuria, "", noon.Add(time.Duration(i)*time.Second))))
		if got := db.traces.Load(); got > db.mostTraces {
			t.Errorf("%d bytes are kept after %s, at most %d may be", got, id, db.mostTraces)
		}
	}
	if got := kept(t, db, ids...); got != "c2 c3 c4" {
		t.Errorf("kept %s, want the latest", got)
	}
}

func TestTracesAreErased(t *testing.T) {
	for name, who := range map[string]whatsapp.Callee{"by number": {Number: nuria}, "by id": {UserID: nuriaID}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, dir)
			talk(t, db, 1, nuria, nuriaID)
			must(t, db.SaveTrace(t.Context(), aTrace("c1", nuria, nuriaID, noon)))
			must(t, db.SaveTrace(t.Context(), aTrace("c2", "", nuriaID, noon)))
			must(t, db.SaveTrace(t.Context(), aTrace("c3", "+"+nuria, "", noon)))
			must(t, db.SaveTrace(t.Context(), aTrace("c4", rui, "PT.1", noon)))
			must(t, db.SaveTrace(t.Context(), aTrace("c5", nuria, "ES.another", noon))) // the number was another's once
			gone, _, err := db.Erase(t.Context(), who)
			must(t, err)
			if got := kept(t, db, "c1", "c2", "c3", "c4", "c5"); got != "c4 c5" || gone.Traces != 3 {
				t.Errorf("kept %s; erased %+v", got, gone)
			}
			if found := traces(t, dir, nuriaID); found != nil {
				t.Errorf("found %v", found)
			}
		})
	}
}
