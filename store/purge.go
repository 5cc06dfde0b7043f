package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"wagate/whatsapp"
)

// purgeChunk keeps a purge from holding up the calls.
const purgeChunk = 500

// Purge forgets events that were received, and traces of calls that ended,
// before journalBefore, and records of calls that ended before recordsBefore.
func (db *DB) Purge(ctx context.Context, journalBefore, recordsBefore time.Time) error {
	for _, p := range []struct {
		query  string
		before time.Time
	}{
		{`DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seen_at < ? LIMIT ?)`, journalBefore},
		{`DELETE FROM traces WHERE id IN (SELECT id FROM traces WHERE ended_at < ? LIMIT ?)`, journalBefore},
		{`DELETE FROM records WHERE id IN (SELECT id FROM records WHERE ended_at < ? LIMIT ?)`, recordsBefore},
	} {
		for gone := int64(purgeChunk); gone == purgeChunk; {
			err := db.write(ctx, opPurge, func(ctx context.Context, tx *session) error {
				res, err := tx.ExecContext(ctx, p.query, millis(p.before), purgeChunk)
				if err != nil {
					return err
				}
				gone, err = res.RowsAffected()
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	err := db.alone(ctx, opPurge, func(ctx context.Context, _ *session) error { return db.countTraces(ctx) })
	if err != nil {
		return err
	}
	return db.purgeLedger(ctx, recordsBefore, time.Now())
}

// purgeLedger forgets the customers of whom nothing was heard since before, and
// nothing counts any more.
func (db *DB) purgeLedger(ctx context.Context, before, now time.Time) error {
	for _, step := range []func(ctx context.Context, tx *session, from place, before, now time.Time) (next place, more bool, err error){
		purgePermissions, db.veil.purgeIdentities,
	} {
		var from place
		for more := true; more; {
			err := db.write(ctx, opPurge, func(ctx context.Context, tx *session) (err error) {
				var next place
				if next, more, err = step(ctx, tx, from, before, now); err == nil {
					from = next
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// place is how far a purge has come: a row of the ledger.
type place struct{ number, name string }

func purgePermissions(ctx context.Context, tx *session, from place, before, now time.Time) (next place, more bool, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT number, user, changed_at, permission FROM permissions
		WHERE (number, user) > (?, ?) ORDER BY number, user LIMIT ?`, from.number, from.name, purgeChunk)
	if err != nil {
		return next, false, err
	}
	defer func() { _ = rows.Close() }()
	var gone []place
	seen := 0
	for ; rows.Next(); seen++ {
		var changed int64
		var text []byte
		if err := rows.Scan(&next.number, &next.name, &changed, &text); err != nil {
			return next, false, err
		}
		if changed >= millis(before) {
			continue
		}
		var p whatsapp.Permission
		if err := json.Unmarshal(text, &p); err != nil {
			return next, false, fmt.Errorf("decode permission: %w", err)
		}
		if p.Idle(now) {
			gone = append(gone, next)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return next, false, err
	}
	for _, g := range gone {
		if _, err := tx.ExecContext(ctx, `DELETE FROM permissions WHERE number = ? AND user = ?`, g.number, g.name); err != nil {
			return next, false, err
		}
	}
	return next, seen == purgeChunk, nil
}

// purgeIdentities forgets who is who where the ledger knows neither.
func (v veil) purgeIdentities(ctx context.Context, tx *session, from place, before, _ time.Time) (next place, more bool, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT number, bsuid FROM identities
		WHERE (number, bsuid) > (?, ?) AND seen_at < ? ORDER BY number, bsuid LIMIT ?`, from.number, from.name, millis(before), purgeChunk)
	if err != nil {
		return next, false, err
	}
	defer func() { _ = rows.Close() }()
	var old []place
	for rows.Next() {
		if err := rows.Scan(&next.number, &next.name); err != nil {
			return next, false, err
		}
		old = append(old, next)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return next, false, err
	}
	for _, o := range old {
		if _, err := tx.ExecContext(ctx, `DELETE FROM identities WHERE number = ?1 AND bsuid = ?2
			AND NOT EXISTS (SELECT 1 FROM permissions WHERE number = ?1 AND user IN (?2, ?3))`, o.number, o.name, v.of(o.name)); err != nil {
			return next, false, err
		}
	}
	return next, len(old) == purgeChunk, nil
}
