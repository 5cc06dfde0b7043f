package store

import (
	"database/sql"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wagate/whatsapp"
)

// oldest is the last schema that had neither strays nor keys nor callbacks.
const oldest = 2

// TestOldDatabaseIsBroughtUpToDate opens a file as the program of that schema
// left it: nothing that is owed, counted or known is lost, and what has no use
// any more goes.
func TestOldDatabaseIsBroughtUpToDate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	conn, err := sql.Open("sqlite", dsn(path, false))
	must(t, err)
	known := whatsapp.Permission{}.Asked(noon).Replied(whatsapp.PermissionReply{
		Meta: whatsapp.Meta{At: noon.Add(time.Minute)}, Accept: true, Expires: noon.Add(100 * time.Hour),
	})
	text, err := json.Marshal(known)
	must(t, err)
	record, err := json.Marshal(Record{ID: "done", Direction: "outbound", Number: "support", User: "34600111222", WACID: "wacid.old", EndedAt: noon})
	must(t, err)
	for _, step := range migrations[:oldest] {
		_, err := conn.ExecContext(t.Context(), step)
		must(t, err)
	}
	for _, row := range []struct {
		query string
		args  []any
	}{
		{`PRAGMA user_version = 2`, nil},
		{`INSERT INTO calls VALUES ('live', 'outbound', 'support', '401122334455667', '34600111222', '', '', '', 'dial-out', 'pbx', '+34600111222', '', 'tag', 1, ?, 0, 0)`, []any{millis(noon)}},
		{`INSERT INTO dialogs VALUES ('live', 0, 'pbx', '+34600111222', x'7b7d')`, nil},
		{`INSERT INTO debts (kind, call_id, number, wacid, since, next, tries, expires) VALUES ('terminate', 'done', 'support', 'wacid.old', ?1, ?1, 3, ?1)`, []any{millis(noon)}},
		{`INSERT INTO events (key, kind, call_id, at, seen_at, done, body) VALUES ('past', 'terminate', 'wacid.past', ?1, ?1, 1, NULL)`, []any{millis(noon)}},
		{`INSERT INTO events (key, kind, call_id, at, seen_at, done, body) VALUES ('due', 'terminate', 'wacid.due', ?1, ?1, 0, x'7b7d')`, []any{millis(noon)}},
		{`INSERT INTO records VALUES ('done', ?1, ?1, 'outbound', 'support', '34600111222', '', 'wacid.old', 'hangup', ?2)`, []any{millis(noon), string(record)}},
		{`INSERT INTO permissions VALUES ('401122334455667', 'ES.20914466382001574', ?1, ?2)`, []any{millis(noon), string(text)}},
		{`INSERT INTO identities VALUES ('401122334455667', 'ES.20914466382001574', '34600111222', ?1)`, []any{millis(noon)}},
	} {
		_, err := conn.ExecContext(t.Context(), row.query, row.args...)
		must(t, err)
	}
	must(t, conn.Close())
	must(t, os.Chmod(path, 0o600))

	db, err := Open(t.Context(), dir, nil, slog.New(slog.DiscardHandler))
	must(t, err)
	defer func() { must(t, db.Close()) }()
	calls, err := db.Unfinished(t.Context())
	must(t, err)
	if len(calls) != 1 || calls[0].ID != "live" || calls[0].Tag != "tag" || !calls[0].PreAccepted || len(calls[0].SIP) != 1 {
		t.Errorf("unfinished calls are %+v", calls)
	}
	debts, err := db.Debts(t.Context())
	must(t, err)
	if len(debts) != 1 || debts[0].WACID != "wacid.old" || debts[0].Tries != 3 {
		t.Errorf("debts are %+v", debts)
	}
	due, err := db.Undone(t.Context())
	must(t, err)
	if len(due) != 1 || due[0].Key != "due" || due[0].CallID != "wacid.due" {
		t.Errorf("undone events are %+v", due)
	}
	var past string
	must(t, db.conn.QueryRowContext(t.Context(), `SELECT call_id FROM events WHERE key = 'past'`).Scan(&past))
	if past != "" {
		t.Errorf("an event that is done still names the call %q", past)
	}
	if fresh, err := db.Journal(t.Context(), []Event{{Key: "past", Kind: "terminate"}}); err != nil || fresh[0] {
		t.Errorf("an old event is new again: %v, %v", fresh, err)
	}
	got, err := db.Permission(t.Context(), "401122334455667", whatsapp.Callee{Number: "34600111222"})
	must(t, err)
	if got.State(noon.Add(time.Hour)) != whatsapp.Temporary || len(got.Asks) != 1 {
		t.Errorf("permission is %+v, want %+v", got, known)
	}
	rs, _, err := db.Records(t.Context(), Query{User: "34600111222"})
	must(t, err)
	if len(rs) != 1 || rs[0].ID != "done" {
		t.Errorf("records are %+v", rs)
	}

	// What the newer schemas add works on it.
	must(t, db.End(t.Context(), Record{ID: "live", Direction: "outbound", Number: "support", User: "34600111222", EndedAt: noon}, nil, "tag"))
	if found, err := db.Found(t.Context(), "tag", "wacid.live", nil); err != nil || !found {
		t.Errorf("a stray is not found: %v, %v", found, err)
	}
	keep(t, db, nil)
	must(t, db.Paid(t.Context(), debts[0].ID))
	gone, _, err := db.Erase(t.Context(), whatsapp.Callee{Number: "34600111222"})
	must(t, err)
	if gone.Records != 2 || gone.Permissions != 1 || gone.Identities != 1 || !gone.Clean {
		t.Errorf("erased %+v", gone)
	}
}
