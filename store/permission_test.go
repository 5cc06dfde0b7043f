package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wagate/whatsapp"
)

const (
	support = "401122334455667" // a business number
	other   = "409900112233445" // and another
)

var (
	byNumber = whatsapp.Callee{Number: "+34600111222"}
	byID     = whatsapp.Callee{UserID: "ES.20914466382001574"}
	byBoth   = whatsapp.Callee{Number: "34600111222", UserID: "ES.20914466382001574"}
)

// granted is a yes at noon.
func granted(p whatsapp.Permission) whatsapp.Permission {
	return p.Replied(whatsapp.PermissionReply{Meta: whatsapp.Meta{At: noon}, Accept: true, Expires: noon.Add(168 * time.Hour)})
}

func declined(p whatsapp.Permission) whatsapp.Permission {
	return p.Replied(whatsapp.PermissionReply{Meta: whatsapp.Meta{At: noon.Add(-time.Hour)}, Context: "wamid.ask"})
}

func asked(p whatsapp.Permission) whatsapp.Permission { return p.Asked(noon) }

func apply(t *testing.T, db *DB, number string, who whatsapp.Callee, change func(whatsapp.Permission) whatsapp.Permission) {
	t.Helper()
	_, _, err := db.ApplyPermission(t.Context(), "", number, who, noon, change)
	must(t, err)
}

func wantPermission(t *testing.T, db *DB, number string, who whatsapp.Callee, want whatsapp.Permission) {
	t.Helper()
	got, err := db.Permission(t.Context(), number, who)
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Helper()
		t.Errorf("%s and %+v:\ngot  %+v\nwant %+v", number, who, got, want)
	}
}

func TestPermissionLedger(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	var nothing whatsapp.Permission
	wantPermission(t, db, support, byNumber, nothing)
	yes := granted(asked(nothing)).Connected("wacid.1", noon).Unanswered("wacid.2", noon.Add(time.Minute))
	must(t, db.SetPermission(t.Context(), support, byNumber, yes))
	wantPermission(t, db, support, whatsapp.Callee{Number: "34600111222"}, yes)
	wantPermission(t, db, other, byNumber, nothing)
	if _, err := db.Permission(t.Context(), support, whatsapp.Callee{}); err == nil {
		t.Error("nobody has a permission")
	}
	if err := db.SetPermission(t.Context(), support, whatsapp.Callee{}, yes); err == nil {
		t.Error("nobody has been given a permission")
	}
	must(t, db.Close())
	wantPermission(t, open(t, dir), support, byNumber, yes)
}

// The effect of an event and its mark are one; a second run changes nothing.
func TestApplyPermissionOnce(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := open(t, dir)
	_, err := db.Journal(ctx, []Event{{Key: "k1", Kind: "permission", At: noon, Body: []byte("{}")}, {Key: "k2", Kind: "message", At: noon, Body: []byte("{}")}})
	must(t, err)
	was, is, err := db.ApplyPermission(ctx, "k1", support, byNumber, noon, granted)
	must(t, err)
	if was.Said != whatsapp.NoConsent || is.Said != whatsapp.Temporary {
		t.Errorf("from %v to %v", was.Said, is.Said)
	}
	undone, err := db.Undone(ctx)
	must(t, err)
	if len(undone) != 1 || undone[0].Key != "k2" {
		t.Errorf("undone: %+v", undone)
	}
	apply(t, db, support, byNumber, func(p whatsapp.Permission) whatsapp.Permission {
		return p.Replied(whatsapp.PermissionReply{Meta: whatsapp.Meta{At: noon.Add(time.Hour)}, Automatic: true})
	})
	was, is, err = db.ApplyPermission(ctx, "k1", support, byNumber, noon, func(whatsapp.Permission) whatsapp.Permission {
		t.Error("an event has its effect twice")
		return whatsapp.Permission{}
	})
	if err != nil || was.Said != whatsapp.Revoked || is.Said != whatsapp.Revoked {
		t.Errorf("from %v to %v, %v", was.Said, is.Said, err)
	}
	if _, is, err := db.ApplyPermission(ctx, "purged", support, byID, noon, granted); err != nil || is.Said != whatsapp.Temporary {
		t.Errorf("an event that the journal has forgotten: %v, %v", is.Said, err)
	}
}

// Of many who ask at once, and over many lives of the process, no more get
// through than the rule allows.
func TestTakeRequest(t *testing.T) {
	dir := t.TempDir()
	limit := errors.New("limit")
	var taken atomic.Int32
	for life := range 4 {
		db := open(t, dir)
		now := noon.Add(time.Duration(life) * 13 * time.Hour)
		var wg sync.WaitGroup
		for i := range 40 {
			who := []whatsapp.Callee{byNumber, byID, byBoth}[i%3]
			if life == 0 {
				who = byNumber
			}
			wg.Go(func() {
				_, err := db.TakeRequest(t.Context(), support, who, func(p whatsapp.Permission) (whatsapp.Permission, error) {
					if p.Asked24h(now) >= 1 || p.Asked7d(now) >= 2 {
						return p, limit
					}
					return p.Asked(now), nil
				})
				switch {
				case err == nil:
					taken.Add(1)
				case !errors.Is(err, limit):
					t.Error(err)
				}
			})
			if life == 0 && i == 20 { // who this is becomes known in the middle
				apply(t, db, support, byBoth, func(p whatsapp.Permission) whatsapp.Permission { return p })
			}
		}
		wg.Wait()
		want := []int32{1, 1, 2, 2}[life]
		if got := taken.Load(); got != want {
			t.Fatalf("life %d: %d requests were taken, want %d", life, got, want)
		}
		must(t, db.Close())
	}
}

func TestTakeRequestRefused(t *testing.T) {
	db := open(t, t.TempDir())
	no := errors.New("no")
	is, err := db.TakeRequest(t.Context(), support, byID, func(p whatsapp.Permission) (whatsapp.Permission, error) { return p.Asked(noon), no })
	if !errors.Is(err, no) || len(is.Asks) != 0 {
		t.Errorf("got %+v, %v", is, err)
	}
	wantPermission(t, db, support, byID, whatsapp.Permission{})
	db.reserve.full.Store(true)
	if _, err := db.TakeRequest(t.Context(), support, byID, nil); !errors.Is(err, ErrFull) {
		t.Errorf("on a full disk: %v", err)
	}
	db.reserve.full.Store(false)
}

// A customer who is seen with number and id is one, and the stricter of what
// was known holds.
func TestIdentities(t *testing.T) {
	db := open(t, t.TempDir())
	var nothing whatsapp.Permission
	apply(t, db, support, byNumber, asked)
	apply(t, db, support, byID, granted)
	wantPermission(t, db, support, byNumber, asked(nothing))
	apply(t, db, support, byBoth, declined)
	want := granted(nothing).Merge(asked(nothing)).Replied(whatsapp.PermissionReply{}) // its no is older
	for _, who := range []whatsapp.Callee{byNumber, byID, byBoth} {
		got, err := db.Permission(t.Context(), support, who)
		must(t, err)
		if got.State(noon) != whatsapp.Temporary || len(got.Asks) != 1 {
			t.Errorf("%+v: %+v, want about %+v", who, got, want)
		}
	}
	// At another business number the two may still be two.
	wantPermission(t, db, other, byNumber, nothing)

	// The number goes to somebody else.
	heir := whatsapp.Callee{Number: "34600111222", UserID: "ES.7"}
	if _, _, err := db.ApplyPermission(t.Context(), "", support, heir, noon.Add(time.Hour), asked); err != nil {
		t.Fatal(err)
	}
	got, err := db.Permission(t.Context(), support, byNumber)
	must(t, err)
	if got.State(noon) != whatsapp.Requested {
		t.Errorf("the heir is %v", got.State(noon))
	}
	// What comes late does not make the old customer the owner again.
	apply(t, db, support, byBoth, func(p whatsapp.Permission) whatsapp.Permission { return p })
	if got, err = db.Permission(t.Context(), support, byNumber); err != nil || got.State(noon) != whatsapp.Requested {
		t.Errorf("late news: %v, %v", got.State(noon), err)
	}
	// The stricter of two.
	db = open(t, t.TempDir())
	apply(t, db, support, byNumber, declined)
	apply(t, db, support, byID, granted)
	apply(t, db, support, byBoth, func(p whatsapp.Permission) whatsapp.Permission { return p })
	if got, err = db.Permission(t.Context(), support, byID); err != nil || got.State(noon) != whatsapp.Declined {
		t.Errorf("merged to %v, %v", got.State(noon), err)
	}
}

func TestMoveCustomer(t *testing.T) {
	ctx := t.Context()
	next := whatsapp.Callee{Number: "34655667788", UserID: "ES.40000000000000001"}
	yes := granted(whatsapp.Permission{})
	for name, c := range map[string]struct {
		known, from, to whatsapp.Callee
		now             []whatsapp.Callee // who has the permission then
		free            []whatsapp.Callee // who has none
	}{
		"a new number and id":               {byBoth, byBoth, next, []whatsapp.Callee{next, {Number: next.Number}, {UserID: next.UserID}}, []whatsapp.Callee{byNumber, byID}},
		"a new number, the id not told":     {byBoth, byNumber, whatsapp.Callee{Number: next.Number}, []whatsapp.Callee{{Number: next.Number}}, []whatsapp.Callee{byNumber, byID}},
		"a new id, the number stays":        {byBoth, byID, whatsapp.Callee{UserID: next.UserID}, []whatsapp.Callee{byNumber, {UserID: next.UserID}}, []whatsapp.Callee{byID}},
		"known by number only":              {byNumber, byNumber, next, []whatsapp.Callee{next, {Number: next.Number}}, []whatsapp.Callee{byNumber}},
		"known by number, told by both":     {byNumber, byBoth, next, []whatsapp.Callee{next}, []whatsapp.Callee{byNumber, byID}},
		"known by id only":                  {byID, byID, whatsapp.Callee{UserID: next.UserID}, []whatsapp.Callee{{UserID: next.UserID}}, []whatsapp.Callee{byID}},
		"nobody knows of the old":           {byBoth, whatsapp.Callee{UserID: "ES.9"}, next, []whatsapp.Callee{byBoth, byNumber}, []whatsapp.Callee{next}},
		"the number is the same, and known": {byBoth, byBoth, whatsapp.Callee{Number: byBoth.Number, UserID: next.UserID}, []whatsapp.Callee{byNumber, {UserID: next.UserID}}, []whatsapp.Callee{byID}},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, t.TempDir())
			_, err := db.Journal(ctx, []Event{{Key: "k", Kind: "user_moved", Body: []byte("{}")}})
			must(t, err)
			apply(t, db, support, c.known, granted)
			must(t, db.MoveCustomer(ctx, "k", support, c.from, c.to, noon.Add(time.Hour)))
			for _, who := range c.now {
				wantPermission(t, db, support, who, yes)
			}
			for _, who := range c.free {
				wantPermission(t, db, support, who, whatsapp.Permission{})
			}
			if undone, err := db.Undone(ctx); err != nil || len(undone) != 0 {
				t.Errorf("undone: %v, %v", undone, err)
			}
			must(t, db.MoveCustomer(ctx, "k", support, c.to, byBoth, noon.Add(2*time.Hour))) // told again: no effect
			for _, who := range c.now {
				wantPermission(t, db, support, who, yes)
			}
		})
	}
	// An id is the same customer at every business number.
	db := open(t, t.TempDir())
	apply(t, db, support, byBoth, granted)
	apply(t, db, other, byID, granted)
	must(t, db.MoveCustomer(ctx, "", support, byID, next, noon))
	wantPermission(t, db, other, next, yes)
	wantPermission(t, db, other, byID, whatsapp.Permission{})
	// Two rows become one.
	apply(t, db, support, whatsapp.Callee{UserID: "ES.8"}, declined)
	must(t, db.MoveCustomer(ctx, "", support, whatsapp.Callee{UserID: "ES.8"}, next, noon))
	if got, err := db.Permission(ctx, support, next); err != nil || got.State(noon) != whatsapp.Declined {
		t.Errorf("merged to %v, %v", got.State(noon), err)
	}
}

// A database of the first version keeps what it has and learns to keep
// permissions.
func TestMigrationFromVersion1(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	old, err := sql.Open("sqlite", dsn(filepath.Join(dir, fileName), false))
	must(t, err)
	_, err = old.ExecContext(ctx, migrations[0]+"; PRAGMA user_version = 1")
	must(t, err)
	_, err = old.ExecContext(ctx, `INSERT INTO events (key, kind, call_id, at, seen_at, done, body) VALUES ('k1', 'permission', '', 1, 1, 0, x'7b7d')`)
	must(t, err)
	_, err = old.ExecContext(ctx, `INSERT INTO calls VALUES ('c1','inbound','support','1','34600','','','','r','pbx','600','wacid.1','',1,1,0,0)`)
	must(t, err)
	must(t, old.Close())

	db := open(t, dir)
	calls, err := db.Unfinished(ctx)
	if err != nil || len(calls) != 1 || calls[0].ID != "c1" {
		t.Errorf("calls: %+v, %v", calls, err)
	}
	if _, is, err := db.ApplyPermission(ctx, "k1", support, byBoth, noon, granted); err != nil || is.Said != whatsapp.Temporary {
		t.Errorf("got %v, %v", is.Said, err)
	}
	if undone, err := db.Undone(ctx); err != nil || len(undone) != 0 {
		t.Errorf("undone: %v, %v", undone, err)
	}
	var version int
	must(t, db.readers.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version))
	if version != len(migrations) {
		t.Errorf("schema version %d", version)
	}
}

func TestDamagedPermission(t *testing.T) {
	db := open(t, t.TempDir())
	apply(t, db, support, byID, granted)
	must(t, db.write(t.Context(), opPing, func(ctx context.Context, tx *session) error {
		_, err := tx.ExecContext(ctx, `UPDATE permissions SET permission = '{"said":"x"}'`)
		return err
	}))
	if p, err := db.Permission(t.Context(), support, byID); err == nil || p.Said != whatsapp.NoConsent {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, _, err := db.ApplyPermission(t.Context(), "", support, byID, noon, granted); err == nil {
		t.Error("applied to what cannot be read")
	}
}

// Many customers at once do not mix.
func TestManyCustomers(t *testing.T) {
	db := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 50 {
		who := whatsapp.Callee{Number: fmt.Sprintf("3460011%04d", i)}
		wg.Go(func() {
			for n := range i%5 + 1 {
				_, _, err := db.ApplyPermission(t.Context(), "", support, who, noon, func(p whatsapp.Permission) whatsapp.Permission {
					return p.Asked(noon.Add(time.Duration(n) * time.Minute))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range 50 {
		p, err := db.Permission(t.Context(), support, whatsapp.Callee{Number: fmt.Sprintf("+3460011%04d", i)})
		if err != nil || len(p.Asks) != i%5+1 {
			t.Errorf("customer %d: %d requests, %v", i, len(p.Asks), err)
		}
	}
}
