package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wagate/whatsapp"
)

// Callback is what an agent was promised whose call was refused: when the
// customer allows it in time, the agent's phone is called, and then the
// customer.
type Callback struct {
	ID      int64  // given by the store
	Number  string // Meta's id of the business number
	User    string // the customer's number in digits, if known
	UserID  string // the customer's business-scoped id, if known
	Trunk   string
	Agent   string // what is dialled there
	Since   time.Time
	Expires time.Time
}

// ErrTaken means that a callback was carried out already, or is not wanted any
// more.
var ErrTaken = errors.New("callback was taken")

// maxCallbacks bounds what is promised at a time; beyond it those that expire
// first go.
const maxCallbacks = 10_000

// KeepCallback writes a promise down and returns it with its id. An agent has
// one for a customer: the latest takes the place of the one before.
func (db *DB) KeepCallback(ctx context.Context, c Callback) (Callback, error) {
	if db.reserve.spent() {
		db.metrics.failures[opCallback].Inc()
		return c, fmt.Errorf("store %s: %w", opCallback, ErrFull)
	}
	c.User = bare(whatsapp.Callee{Number: c.User}).Number
	c.Since, c.Expires = fromMillis(millis(c.Since)), fromMillis(millis(c.Expires)) // as it is read back
	err := db.write(ctx, opCallback, func(ctx context.Context, tx *session) error {
		err := tx.QueryRowContext(ctx, `INSERT INTO callbacks (number, user, user_id, trunk, agent, since, expires)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number, user, user_id, trunk, agent) DO UPDATE
			SET since = excluded.since, expires = excluded.expires RETURNING id`,
			c.Number, c.User, c.UserID, c.Trunk, c.Agent, millis(c.Since), millis(c.Expires)).Scan(&c.ID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM callbacks WHERE expires <= ?1 OR id IN
			(SELECT id FROM callbacks WHERE id <> ?2 ORDER BY expires DESC, id DESC LIMIT -1 OFFSET ?3)`,
			millis(c.Since), c.ID, maxCallbacks-1)
		return err
	})
	return c, err
}

// DropCallback takes a promise back, unless it was renewed or carried out, and
// says whether it was still there.
func (db *DB) DropCallback(ctx context.Context, c Callback) (was bool, err error) {
	err = db.write(ctx, opCallback, func(ctx context.Context, tx *session) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM callbacks WHERE id = ? AND since = ?`, c.ID, millis(c.Since))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		was = n > 0
		return err
	})
	return was, err
}

// takeCallback takes a promise that a call carries out. Nobody can take it
// twice: it is gone with the same commit that writes the call down.
func takeCallback(ctx context.Context, tx *session, id int64) error {
	if id == 0 {
		return nil
	}
	err := one(tx.ExecContext(ctx, `DELETE FROM callbacks WHERE id = ?`, id))
	if errors.Is(err, ErrEnded) {
		return ErrTaken
	}
	return err
}

// Callbacks returns all promises that have not expired, the latest first.
func (db *DB) Callbacks(ctx context.Context, now time.Time) ([]Callback, error) {
	return db.callbacks(ctx, `expires > ?`, millis(now))
}

// CallbacksOf returns those about one customer, by whatever name they were made:
// the ledger knows which number and id are one.
func (db *DB) CallbacksOf(ctx context.Context, number string, who whatsapp.Callee, now time.Time) ([]Callback, error) {
	who = bare(who)
	return db.callbacks(ctx, `expires > ?1 AND number = ?2 AND (
			user <> '' AND (user = ?3 OR user IN (SELECT wa_id FROM identities WHERE number = ?2 AND bsuid = ?4))
			OR user_id <> '' AND (user_id = ?4 OR user_id IN (SELECT bsuid FROM identities WHERE number = ?2 AND wa_id = ?3)))`,
		millis(now), number, who.Number, who.UserID)
}

func (db *DB) callbacks(ctx context.Context, which string, args ...any) (all []Callback, err error) {
	rows, err := db.readers.QueryContext(ctx, `SELECT id, number, user, user_id, trunk, agent, since, expires
		FROM callbacks WHERE `+which+` ORDER BY since DESC, id DESC`, args...)
	if err != nil {
		return nil, fmt.Errorf("read callbacks: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c Callback
		var since, expires int64
		if err := rows.Scan(&c.ID, &c.Number, &c.User, &c.UserID, &c.Trunk, &c.Agent, &since, &expires); err != nil {
			return nil, fmt.Errorf("read callbacks: %w", err)
		}
		c.Since, c.Expires = fromMillis(since), fromMillis(expires)
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read callbacks: %w", err)
	}
	return all, nil
}

// PurgeCallbacks forgets the promises that have expired.
func (db *DB) PurgeCallbacks(ctx context.Context, now time.Time) error {
	return db.write(ctx, opPurge, func(ctx context.Context, tx *session) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM callbacks WHERE expires <= ?`, millis(now))
		return err
	})
}

// eraseCallbacks takes back what was promised about the person.
func (p person) eraseCallbacks(ctx context.Context, tx *session) error {
	for _, n := range p.numbers {
		if _, err := tx.ExecContext(ctx, `DELETE FROM callbacks WHERE user = ?`, n); err != nil {
			return err
		}
	}
	for _, id := range p.ids {
		if _, err := tx.ExecContext(ctx, `DELETE FROM callbacks WHERE user_id = ?`, id); err != nil {
			return err
		}
	}
	return nil
}
