package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wagate/whatsapp"
)

const (
	nuria   = "34600111222"
	nuriaID = "ES.20914466382001574"
	rui     = "351912000321"
)

// metaID is an id of Meta's: the customer's number is in it.
func metaID(kind, number string, n int) string {
	return kind + "." + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "\x1d\x18\x0b%s\x15\x02\x00%08d", number, n))
}

// talk writes down a whole call with a customer, and what its webhooks said.
func talk(t *testing.T, db *DB, n int, number, id string) {
	t.Helper()
	c := aCall(fmt.Sprintf("c%d", n))
	c.User, c.UserID, c.Name, c.WACID, c.Payload = number, id, "Nuria "+number, metaID("wacid", number, n), "order of "+number
	key := fmt.Sprintf("k%d", n)
	body := fmt.Sprintf(`{"kind":"offer","event":{"User":{"Number":%q,"UserID":%q},"Pad":%q}}`, number, id, strings.Repeat(number, 600))
	_, err := db.Journal(t.Context(), []Event{{Key: key, Kind: "offer", CallID: c.WACID, At: noon, Body: []byte(body)}})
	must(t, err)
	must(t, db.Begin(t.Context(), c, key))
	must(t, db.SaveDialog(t.Context(), c.ID, Dialog{Attempt: 1, Trunk: "pbx", To: number, State: []byte("From: <sip:+" + number + "@pbx>")}))
	must(t, db.End(t.Context(), Record{
		ID: c.ID, Direction: "outbound", Number: "support", User: number, UserID: id, WACID: c.WACID, To: "+" + number, Payload: c.Payload,
		StartedAt: noon, EndedAt: noon.Add(time.Minute), DurationS: 60, MetaDurationS: 60, Cause: "hangup", Agents: []string{"200"},
	}, nil, ""))
}

// traces returns the files of a directory that have a text in them, or the same
// in the encoding of Meta's ids.
func traces(t *testing.T, dir string, texts ...string) (found []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		for _, text := range texts {
			if strings.Contains(string(content), text) {
				found = append(found, f.Name()+": "+text)
			}
		}
	}
	return found
}

// asksTwice asks a customer now and a day before, and grants and calls beside it.
func asksTwice(now time.Time) func(whatsapp.Permission) whatsapp.Permission {
	return func(p whatsapp.Permission) whatsapp.Permission {
		p = p.Asked(now.Add(-25*time.Hour)).AskSent(now.Add(-25*time.Hour), metaID("wamid", nuria, 1))
		p = p.Asked(now).AskSent(now, metaID("wamid", nuria, 2))
		p = p.Replied(whatsapp.PermissionReply{Meta: whatsapp.Meta{At: now}, Accept: true, Expires: now.Add(168 * time.Hour)})
		return p.Unanswered("wacid.1", now.Add(time.Second)).Unanswered("wacid.2", now.Add(2*time.Second))
	}
}

func TestEraseLeavesNoTrace(t *testing.T) {
	for name, who := range map[string]whatsapp.Callee{
		"by number": {Number: "+" + nuria}, "by id": {UserID: nuriaID}, "by both": {Number: nuria, UserID: nuriaID},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			dir := t.TempDir()
			db := open(t, dir)
			now := time.Now()
			for n := range 40 {
				if n%4 == 0 {
					talk(t, db, n, nuria, nuriaID)
				} else {
					talk(t, db, n, rui, "PT.1")
				}
			}
			_, err := db.Journal(ctx, []Event{{Key: "undone", Kind: "permission", At: noon, Body: []byte(`{"User":{"Number":"` + nuria + `"}}`)}})
			must(t, err)
			_, err = db.Journal(ctx, []Event{{Key: "his", Kind: "permission", At: noon, Body: []byte(`{"User":{"Number":"` + rui + `"}}`)}})
			must(t, err)
			apply(t, db, support, whatsapp.Callee{Number: nuria, UserID: nuriaID}, asksTwice(now))
			apply(t, db, other, whatsapp.Callee{Number: nuria, UserID: nuriaID}, granted)
			apply(t, db, support, whatsapp.Callee{Number: rui, UserID: "PT.1"}, granted)

			gone, names, err := db.Erase(ctx, who)
			must(t, err)
			if want := (Erased{Records: 10, Events: 1, Permissions: 2, Identities: 2, Limits: 2, Clean: true}); gone != want || len(names) != 2 {
				t.Errorf("erased %+v, want %+v; names %v", gone, want, names)
			}
			stem := strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("\x1d\x18\x0b"+nuria)), "=")
			if found := traces(t, dir, nuria, nuriaID, stem[:len(stem)-2]); found != nil {
				t.Errorf("found while it runs: %v", found)
			}
			rs, _, err := db.Records(ctx, Query{})
			must(t, err)
			if len(rs) != 40 {
				t.Fatalf("%d records, want all 40", len(rs))
			}
			nobody := 0
			for _, r := range rs {
				if r.User == "" {
					nobody++
					if r.DurationS != 60 || r.MetaDurationS != 60 || r.Number != "support" || r.Cause != "hangup" || len(r.Agents) != 1 {
						t.Errorf("what was billed is gone: %+v", r)
					}
				}
			}
			if nobody != 10 {
				t.Errorf("%d records without a customer, want 10", nobody)
			}
			undone, err := db.Undone(ctx)
			must(t, err)
			if len(undone) != 1 || undone[0].Key != "his" {
				t.Errorf("undone: %v", undone)
			}
			wantPermission(t, db, support, whatsapp.Callee{Number: rui}, granted(whatsapp.Permission{}))
			again, _, err := db.Erase(ctx, who)
			must(t, err)
			if again.Records != 0 || again.Events != 0 || again.Identities != 0 {
				t.Errorf("erased again: %+v", again)
			}
			must(t, db.Close())
			if found := traces(t, dir, nuria, nuriaID, stem[:len(stem)-2]); found != nil {
				t.Errorf("found after the end: %v", found)
			}
			if found := traces(t, dir, rui); len(found) != 1 {
				t.Errorf("somebody else was forgotten: %v", found)
			}
		})
	}
}

var errAskedTwice = errors.New("asked twice this week")

// TestErasingKeepsTheLimits: whatever name a forgotten customer comes back by,
// also after a restart and under a new id, what was used up stays used up.
func TestErasingKeepsTheLimits(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	both := whatsapp.Callee{Number: nuria, UserID: nuriaID}
	number, id := whatsapp.Callee{Number: nuria}, whatsapp.Callee{UserID: nuriaID}
	for name, c := range map[string]struct{ before, forget, after whatsapp.Callee }{
		"id, id":             {both, id, id},
		"id, number":         {both, id, number},
		"number, id":         {both, number, id},
		"number, number":     {both, number, number},
		"number alone":       {number, number, number},
		"id alone":           {id, id, id},
		"number, then both":  {number, number, both},
		"id alone, and both": {id, id, both},
	} {
		dir := t.TempDir()
		db := open(t, dir)
		apply(t, db, support, c.before, asksTwice(now))
		_, _, err := db.Erase(t.Context(), c.forget)
		must(t, err)
		must(t, db.Close())
		db = open(t, dir)
		check := func(when string, who whatsapp.Callee) {
			t.Helper()
			_, err := db.TakeRequest(t.Context(), support, who, func(old whatsapp.Permission) (whatsapp.Permission, error) {
				if old.Asked7d(now) >= 2 {
					return old, errAskedTwice
				}
				return old.Asked(now), nil
			})
			if !errors.Is(err, errAskedTwice) {
				t.Errorf("%s, %s: asked a third time: %v", name, when, err)
			}
			p, err := db.Permission(t.Context(), support, who)
			must(t, err)
			if p.State(now) != whatsapp.NoConsent || p.Spoken(now) {
				t.Errorf("%s, %s: what the customer allowed is not forgotten: %+v", name, when, p)
			}
			if p.Asked24h(now) != 1 || p.Asked7d(now) != 2 || p.Streak() != 2 {
				t.Errorf("%s, %s: the limits are forgotten: %+v", name, when, p)
			}
		}
		check("at once", c.after)
		apply(t, db, support, c.after, func(p whatsapp.Permission) whatsapp.Permission { return p })
		check("after news", c.after)
		moved := whatsapp.Callee{UserID: "ES.777"}
		if c.after.UserID == "" {
			moved = whatsapp.Callee{Number: "34699000111"}
		}
		must(t, db.MoveCustomer(t.Context(), "", support, c.after, moved, now))
		check("under a new name", moved)
	}
}

func TestEraseWaitsForTheEnd(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	who := whatsapp.Callee{Number: nuria}
	c := aCall("c1")
	c.WACID = metaID("wacid", nuria, 1)
	must(t, db.Begin(ctx, c, ""))
	refused := func(when string) {
		t.Helper()
		if _, _, err := db.Erase(ctx, who); !errors.Is(err, ErrLive) {
			t.Errorf("%s: %v, want ErrLive", when, err)
		}
	}
	refused("while the call is up")
	must(t, db.End(ctx, Record{ID: "c1", User: nuria, UserID: nuriaID, EndedAt: noon}, []Debt{{Kind: "dialog", CallID: "c1", Next: noon}}, ""))
	refused("while its end is owed")
	debts, err := db.Debts(ctx)
	must(t, err)
	must(t, db.Paid(ctx, debts[0].ID))
	must(t, db.AddDebt(ctx, Debt{Kind: "terminate", WACID: c.WACID}))
	refused("while the end of a stray is owed")
	debts, err = db.Debts(ctx)
	must(t, err)
	must(t, db.Paid(ctx, debts[0].ID))
	if gone, _, err := db.Erase(ctx, who); err != nil || gone.Records != 1 {
		t.Errorf("after the end: %+v, %v", gone, err)
	}
	if _, _, err := db.Erase(ctx, whatsapp.Callee{}); err == nil {
		t.Error("nobody was erased")
	}
}

// TestRecycledNumber: the customer who has a number now is not the one before.
func TestRecycledNumber(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	talk(t, db, 1, nuria, "ES.1")
	talk(t, db, 2, nuria, "ES.2")
	apply(t, db, support, whatsapp.Callee{Number: nuria, UserID: "ES.1"}, asked)
	apply(t, db, support, whatsapp.Callee{Number: nuria, UserID: "ES.2"}, granted)
	gone, _, err := db.Erase(ctx, whatsapp.Callee{UserID: "ES.1"})
	must(t, err)
	if gone.Records != 1 || gone.Identities != 1 {
		t.Errorf("erased %+v", gone)
	}
	wantPermission(t, db, support, whatsapp.Callee{Number: nuria}, granted(whatsapp.Permission{}))
	if rs, _, err := db.Records(ctx, Query{User: nuria}); err != nil || len(rs) != 1 || rs[0].UserID != "ES.2" {
		t.Errorf("records %v, %v", rs, err)
	}
}

// TestErasedAmongMany shuffles many customers over the pages of a database, and
// wants none of those that are erased in any file.
func TestErasedAmongMany(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := open(t, dir)
	rnd := rand.New(rand.NewPCG(1, 2))
	number := func(i int) string { return fmt.Sprintf("346%08d", i*7919+10_000_000) }
	n := 0
	for round := range 6 {
		for range 60 {
			n++
			i := rnd.IntN(50)
			talk(t, db, n, number(i), fmt.Sprintf("ES.%014d", i))
			apply(t, db, support, whatsapp.Callee{Number: number(i), UserID: fmt.Sprintf("ES.%014d", i)}, func(p whatsapp.Permission) whatsapp.Permission {
				return p.Asked(noon.Add(time.Duration(n)*time.Minute)).Connected(whatsapp.CallID(fmt.Sprint(n)), noon)
			})
		}
		gone, _, err := db.Erase(ctx, whatsapp.Callee{Number: number(round)})
		must(t, err)
		if !gone.Clean {
			t.Errorf("round %d: %+v", round, gone)
		}
		if found := traces(t, dir, number(round)); found != nil {
			t.Errorf("round %d: %v", round, found)
		}
	}
}

// TestOldTraces: what was deleted before, when nothing was overwritten, goes too.
func TestOldTraces(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := open(t, dir)
	careless := func(on string) {
		must(t, db.alone(ctx, opPing, func(ctx context.Context, conn *session) error {
			_, err := conn.ExecContext(ctx, `PRAGMA secure_delete = `+on)
			return err
		}))
	}
	careless("0")
	for n := range 50 {
		talk(t, db, n, nuria, nuriaID)
	}
	must(t, db.Purge(ctx, time.Now().Add(time.Hour), time.Now().Add(time.Hour)))
	careless("1")
	must(t, db.alone(ctx, opPing, db.truncate))
	if traces(t, dir, nuria) == nil {
		t.Fatal("there is nothing to find")
	}
	gone, _, err := db.Erase(ctx, whatsapp.Callee{Number: nuria})
	must(t, err)
	if found := traces(t, dir, nuria); !gone.Clean || found != nil {
		t.Errorf("erased %+v, found %v", gone, found)
	}
}

// TestFoundStrayStaysErased: a webhook that names a call of somebody who was
// erased brings nothing back.
func TestFoundStrayStaysErased(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := open(t, dir)
	must(t, db.write(ctx, opEnd, func(ctx context.Context, tx *session) error {
		r := Record{ID: "c1", User: nuria, EndedAt: noon}
		return errors.Join(insertRecord(ctx, tx, r), insertStray(ctx, tx, "tag", r))
	}))
	_, _, err := db.Erase(ctx, whatsapp.Callee{Number: nuria})
	must(t, err)
	if found, err := db.Found(ctx, "tag", metaID("wacid", nuria, 1), nil); !found || err != nil {
		t.Fatalf("the stray is not known: %v", err)
	}
	rs, _, err := db.Records(ctx, Query{})
	must(t, err)
	if len(rs) != 1 || rs[0].WACID != "" {
		t.Errorf("records %+v", rs)
	}
}

// TestEveryTableIsForgottenOrImpersonal makes who adds a table decide.
func TestEveryTableIsForgottenOrImpersonal(t *testing.T) {
	erased := map[string]string{
		"calls": "erasing waits for their end", "dialogs": "go with their call", "debts": "erasing waits for them",
		"events": "", "records": "", "permissions": "", "identities": "", "callbacks": "", "pings": "impersonal", "keys": "impersonal", "traces": "", "strays": "only ids of our own",
		"sqlite_sequence": "impersonal",
	}
	db := open(t, t.TempDir())
	rows, err := db.readers.QueryContext(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'table'`)
	must(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		if _, ok := erased[name]; !ok {
			t.Errorf("table %s: does Erase take the customer out of it? Let it, or say here why not", name)
		}
	}
	must(t, rows.Err())
}

// TestErasingReadsNoWholeTable of records, of which there may be millions, nor of
// traces, which are long.
func TestErasingReadsNoWholeTable(t *testing.T) {
	db := open(t, t.TempDir())
	for _, query := range []string{recordsOfPerson, tracesOfPerson, idsOfNumber, numbersOfID} {
		rows, err := db.conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, "34600111222")
		must(t, err)
		for rows.Next() {
			var id, parent, unused int
			var step string
			must(t, rows.Scan(&id, &parent, &unused, &step))
			if strings.HasPrefix(step, "SCAN records") || strings.HasPrefix(step, "SCAN traces") {
				t.Errorf("%s: %s", query, step)
			}
		}
		must(t, errors.Join(rows.Err(), rows.Close()))
	}
}
