package store

import (
	"context"
	"fmt"
	"time"
)

// Debt is an end that some network has not confirmed.
type Debt struct {
	ID      int64  // given by the store
	Kind    string // terminate, reject or dialog
	CallID  string
	Number  string // the business number's name, for the first two kinds
	WACID   string
	State   []byte // of the dialog
	Since   time.Time
	Next    time.Time // when to try again
	Tries   int
	Expires time.Time // when to give up
}

// AddDebt adds a debt that belongs to no call of ours. The same kind for the
// same call of Meta's is owed once.
func (db *DB) AddDebt(ctx context.Context, d Debt) error {
	return db.write(ctx, opDebt, func(ctx context.Context, tx *session) error {
		return insertDebt(ctx, tx, d)
	})
}

func insertDebt(ctx context.Context, tx *session, d Debt) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO debts (kind, call_id, number, wacid, state, since, next, tries, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		d.Kind, d.CallID, d.Number, d.WACID, d.State, millis(d.Since), millis(d.Next), d.Tries, millis(d.Expires))
	return err
}

// Debts returns what is owed, the next to be tried first.
func (db *DB) Debts(ctx context.Context) ([]Debt, error) {
	debts, err := db.debts(ctx)
	if err != nil {
		return nil, fmt.Errorf("read debts: %w", err)
	}
	return debts, nil
}

func (db *DB) debts(ctx context.Context) ([]Debt, error) {
	rows, err := db.readers.QueryContext(ctx, `SELECT id, kind, call_id, number, wacid, state, since, next, tries, expires
		FROM debts ORDER BY next, id`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var debts []Debt
	for rows.Next() {
		var d Debt
		var since, next, expires int64
		if err := rows.Scan(&d.ID, &d.Kind, &d.CallID, &d.Number, &d.WACID, &d.State, &since, &next, &d.Tries,
			&expires); err != nil {
			return nil, err
		}
		d.Since, d.Next, d.Expires = fromMillis(since), fromMillis(next), fromMillis(expires)
		debts = append(debts, d)
	}
	return debts, rows.Err()
}

// Paid strikes a debt off. It may be gone.
func (db *DB) Paid(ctx context.Context, id int64) error {
	return db.write(ctx, opDebt, func(ctx context.Context, tx *session) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM debts WHERE id = ?`, id)
		return err
	})
}

// Postpone says when a debt is tried again.
func (db *DB) Postpone(ctx context.Context, id int64, tries int, next time.Time) error {
	return db.write(ctx, opDebt, func(ctx context.Context, tx *session) error {
		_, err := tx.ExecContext(ctx, `UPDATE debts SET tries = ?, next = ? WHERE id = ?`, tries, millis(next), id)
		return err
	})
}
