package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"wagate/whatsapp"
)

var (
	promisedAt = time.UnixMilli(1_795_000_000_000).UTC()
	promised   = Callback{
		Number: "401122334455667", User: "34600111222", Trunk: "pbx", Agent: "201",
		Since: promisedAt, Expires: promisedAt.Add(time.Hour),
	}
)

// keep writes a promise down that is changed so.
func keep(t *testing.T, db *DB, change func(c *Callback)) Callback {
	t.Helper()
	c := promised
	if change != nil {
		change(&c)
	}
	c, err := db.KeepCallback(t.Context(), c)
	must(t, err)
	return c
}

// waiting are the promises about a customer.
func waiting(t *testing.T, db *DB, who whatsapp.Callee) []Callback {
	t.Helper()
	all, err := db.CallbacksOf(t.Context(), promised.Number, who, promisedAt)
	must(t, err)
	return all
}

func TestCallbackIsKeptOverARestart(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	c := keep(t, db, nil)
	must(t, db.Close())
	db = open(t, dir)
	all, err := db.Callbacks(t.Context(), promisedAt)
	must(t, err)
	if len(all) != 1 || all[0] != c {
		t.Errorf("got %+v, want %+v", all, c)
	}
}

func TestLatestCallbackOfAnAgentWins(t *testing.T) {
	db := open(t, t.TempDir())
	first := keep(t, db, nil)
	later := keep(t, db, func(c *Callback) { c.Since, c.Expires = c.Since.Add(time.Minute), c.Expires.Add(time.Minute) })
	other := keep(t, db, func(c *Callback) { c.Agent, c.Since = "202", c.Since.Add(time.Second) })
	keep(t, db, func(c *Callback) { c.Number = "another" })
	keep(t, db, func(c *Callback) { c.User = "34600111333" })
	got := waiting(t, db, whatsapp.Callee{Number: "+34600111222"})
	if len(got) != 2 || got[0] != later || got[1] != other {
		t.Errorf("got %+v, want the latest first: %+v, %+v", got, later, other)
	}
	if was, err := db.DropCallback(t.Context(), first); err != nil || was {
		t.Errorf("one that was renewed is dropped: %v, %v", was, err)
	}
	if was, err := db.DropCallback(t.Context(), later); err != nil || !was {
		t.Errorf("it is not dropped: %v, %v", was, err)
	}
}

func TestCallbackIsTakenOnce(t *testing.T) {
	db := open(t, t.TempDir())
	c := keep(t, db, nil)
	call := Call{ID: "first", Direction: "outbound", Callback: c.ID, StartedAt: promisedAt}
	must(t, db.Begin(t.Context(), call, ""))
	call.ID = "second"
	if err := db.Begin(t.Context(), call, ""); !errors.Is(err, ErrTaken) {
		t.Errorf("taken twice: %v", err)
	}
	calls, err := db.Unfinished(t.Context())
	must(t, err)
	if len(calls) != 1 || calls[0].ID != "first" {
		t.Errorf("calls are %+v, want the first alone", calls)
	}
	if again := keep(t, db, nil); again.ID == c.ID {
		t.Error("a new promise has the id of one that was taken")
	}
}

// TestCallbackOfACallThatIsNotBegun stays: both are in one transaction.
func TestCallbackOfACallThatIsNotBegun(t *testing.T) {
	db := open(t, t.TempDir())
	must(t, db.Begin(t.Context(), Call{ID: "c", Direction: "outbound", StartedAt: promisedAt}, ""))
	c := keep(t, db, nil)
	if err := db.Begin(t.Context(), Call{ID: "c", Direction: "outbound", Callback: c.ID, StartedAt: promisedAt}, ""); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if got := waiting(t, db, whatsapp.Callee{Number: "34600111222"}); len(got) != 1 {
		t.Errorf("got %+v, want the promise", got)
	}
}

func TestCallbackIsFoundByEveryName(t *testing.T) {
	const id = "ES.20914466382001574"
	db := open(t, t.TempDir())
	byNumber := keep(t, db, nil)
	byID := keep(t, db, func(c *Callback) { c.User, c.UserID, c.Since = "", id, c.Since.Add(time.Second) })
	if got := waiting(t, db, whatsapp.Callee{UserID: id}); len(got) != 1 || got[0] != byID {
		t.Errorf("before they are known as one: %+v", got)
	}
	same := func(p whatsapp.Permission) whatsapp.Permission { return p }
	_, _, err := db.ApplyPermission(t.Context(), "", promised.Number, whatsapp.Callee{Number: "34600111222", UserID: id}, promisedAt, same)
	must(t, err)
	for _, who := range []whatsapp.Callee{{UserID: id}, {Number: "34600111222"}, {Number: "34600111222", UserID: id}} {
		if got := waiting(t, db, who); len(got) != 2 || got[0] != byID || got[1] != byNumber {
			t.Errorf("%+v: got %+v, want both", who, got)
		}
	}
	if got := waiting(t, db, whatsapp.Callee{Number: "34600111333"}); len(got) != 0 {
		t.Errorf("somebody else has %+v", got)
	}
}

func TestCallbackExpires(t *testing.T) {
	db := open(t, t.TempDir())
	c := keep(t, db, nil)
	late, err := db.CallbacksOf(t.Context(), c.Number, whatsapp.Callee{Number: c.User}, c.Expires)
	must(t, err)
	all, err := db.Callbacks(t.Context(), c.Expires)
	must(t, err)
	if len(late)+len(all) != 0 {
		t.Errorf("after its end there are %+v, %+v", late, all)
	}
	must(t, db.PurgeCallbacks(t.Context(), c.Expires.Add(-time.Millisecond)))
	if len(waiting(t, db, whatsapp.Callee{Number: c.User})) != 1 {
		t.Error("purged before its end")
	}
	must(t, db.PurgeCallbacks(t.Context(), c.Expires))
	if len(waiting(t, db, whatsapp.Callee{Number: c.User})) != 0 {
		t.Error("it is still there")
	}
}

func TestCallbacksAreBounded(t *testing.T) {
	db := open(t, t.TempDir())
	_, err := db.conn.ExecContext(t.Context(), fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO callbacks (number, user, user_id, trunk, agent, since, expires)
		SELECT 'x', i, '', 'pbx', '201', 0, ? + i FROM n`, maxCallbacks+5), millis(promisedAt))
	must(t, err)
	c := keep(t, db, func(c *Callback) { c.Expires = promisedAt.Add(time.Millisecond) })
	all, err := db.Callbacks(t.Context(), promisedAt)
	must(t, err)
	if len(all) != maxCallbacks || all[0] != c {
		t.Errorf("%d promises, the latest is %+v; want %d with the new one", len(all), all[0], maxCallbacks)
	}
	if least := all[len(all)-1].Expires; least.Sub(promisedAt) < 7*time.Millisecond && least != c.Expires {
		t.Errorf("one that expires at %v was kept, and later ones went", least)
	}
}

func TestErasedCustomerIsNotCalled(t *testing.T) {
	db := open(t, t.TempDir())
	keep(t, db, nil)
	keep(t, db, func(c *Callback) { c.User = "34600111333" })
	_, _, err := db.Erase(t.Context(), whatsapp.Callee{Number: "34600111222"})
	must(t, err)
	all, err := db.Callbacks(t.Context(), promisedAt)
	must(t, err)
	if len(all) != 1 || all[0].User != "34600111333" {
		t.Errorf("left are %+v", all)
	}
}
