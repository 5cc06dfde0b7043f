package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"wagate/whatsapp"
)

// link is keyOf for writing: a customer who is named in both ways has one row
// from then on.
func (v veil) link(ctx context.Context, tx *session, number string, who whatsapp.Callee, seen time.Time) (string, error) {
	if who.UserID == "" || who.Number == "" {
		return v.keyOf(ctx, tx, number, who)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO identities (number, bsuid, wa_id, seen_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (number, bsuid) DO UPDATE SET wa_id = excluded.wa_id, seen_at = excluded.seen_at
		WHERE excluded.seen_at >= seen_at`, number, who.UserID, who.Number, millis(seen))
	if err != nil {
		return "", err
	}
	key, err := v.keyOf(ctx, tx, number, who)
	if err != nil {
		return "", err
	}
	return key, v.rename(ctx, tx, number, who.Number, key)
}

// rename moves what is kept of a customer under a name, or under what became of
// it, to a key.
func (v veil) rename(ctx context.Context, tx *session, number, name, key string) error {
	if err := rename(ctx, tx, number, v.of(name), key); err != nil {
		return err
	}
	return rename(ctx, tx, number, name, key)
}

// rename moves a row to another key. Two rows become the stricter of both.
func rename(ctx context.Context, tx *session, number, from, to string) error {
	old, found, err := readPermission(ctx, tx, number, from)
	if err != nil || !found || from == to {
		return err
	}
	p, found, err := readPermission(ctx, tx, number, to)
	if err != nil {
		return err
	}
	if found {
		old = p.Merge(old)
	}
	if err := writePermission(ctx, tx, number, to, old); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM permissions WHERE number = ? AND user = ?`, number, from)
	return err
}

// MoveCustomer gives what is known of a customer to the customer's new number
// or id, and marks the event that says so as done. An id is one customer at all
// business numbers that know it, a number at the one that was told.
func (db *DB) MoveCustomer(ctx context.Context, eventKey, number string, from, to whatsapp.Callee, seen time.Time) error {
	from, to = bare(from), bare(to)
	return db.write(ctx, opPermission, func(ctx context.Context, tx *session) error {
		done, err := isDone(ctx, tx, eventKey)
		if err != nil || done {
			return err
		}
		numbers := []string{number}
		if from.UserID != "" {
			if numbers, err = db.veil.numbersOf(ctx, tx, number, from.UserID); err != nil {
				return err
			}
		}
		for _, n := range numbers {
			if err := db.veil.move(ctx, tx, n, from, to, seen); err != nil {
				return err
			}
		}
		return markDone(ctx, tx, eventKey)
	})
}

// numbersOf returns the business numbers that know an id, and the one given.
func (v veil) numbersOf(ctx context.Context, tx *session, number, id string) (numbers []string, err error) {
	return column(ctx, tx, `SELECT number FROM permissions WHERE user IN (?1, ?2)
		UNION SELECT number FROM identities WHERE bsuid IN (?1, ?2) UNION SELECT ?3`, id, v.of(id), number)
}

// move gives what is kept under the old names to the new ones. What is kept of
// a forgotten customer stays veiled.
func (v veil) move(ctx context.Context, tx *session, number string, from, to whatsapp.Callee, seen time.Time) error {
	old, err := nameOf(ctx, tx, number, from)
	if err != nil {
		return err
	}
	kept, err := v.keyOf(ctx, tx, number, from)
	if err != nil {
		return err
	}
	if to.Number == "" { // only the id is new
		var same sql.NullString
		err := tx.QueryRowContext(ctx, `SELECT wa_id FROM identities WHERE number = ? AND bsuid = ?`, number, old).Scan(&same)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		to.Number = same.String
		if _, err := tx.ExecContext(ctx, `UPDATE OR REPLACE identities SET bsuid = ? WHERE number = ? AND bsuid = ?`,
			v.of(to.UserID), number, v.of(old)); err != nil {
			return err
		}
	}
	// The old number may be somebody else's tomorrow.
	if _, err := tx.ExecContext(ctx, `DELETE FROM identities WHERE number = ? AND bsuid IN (?, ?, ?)`, number, old, v.of(old), kept); err != nil {
		return err
	}
	key, err := v.link(ctx, tx, number, to, seen)
	if err != nil {
		return err
	}
	if key != kept && strings.HasPrefix(kept, veiled) {
		name, err := nameOf(ctx, tx, number, to)
		if err != nil {
			return err
		}
		if err := rename(ctx, tx, number, key, v.of(name)); err != nil {
			return err
		}
		key = v.of(name)
	}
	if from.Number != "" && from.Number != old {
		if err := v.rename(ctx, tx, number, from.Number, key); err != nil {
			return err
		}
	}
	if err := rename(ctx, tx, number, kept, key); err != nil {
		return err
	}
	return rename(ctx, tx, number, old, key)
}
