package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Stray is a call that may exist at Meta although it is over here: the reply to
// its connect was lost, so nothing but our tag in a webhook can name it.
type Stray struct {
	Tag    string
	CallID string    // ours; it has its record
	Number string    // the business number's name
	Since  time.Time // when it was written down
}

// maxStrays bounds the list. It is more than Meta lets a number place in the
// time for which strays are of use.
const maxStrays = 50_000

func insertStray(ctx context.Context, tx *session, tag string, r Record) error {
	if tag == "" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO strays (tag, call_id, number, since) VALUES (?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, tag, r.ID, r.Number, millis(time.Now())); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM strays WHERE seq <= (SELECT max(seq) FROM strays) - ?`, maxStrays)
	return err
}

// Strays returns the strays of a time and later, oldest first.
func (db *DB) Strays(ctx context.Context, since time.Time) ([]Stray, error) {
	strays, err := db.strays(ctx, since)
	if err != nil {
		return nil, fmt.Errorf("read strays: %w", err)
	}
	return strays, nil
}

func (db *DB) strays(ctx context.Context, since time.Time) ([]Stray, error) {
	rows, err := db.readers.QueryContext(ctx,
		`SELECT tag, call_id, number, since FROM strays WHERE since >= ? ORDER BY seq`, millis(since))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var strays []Stray
	for rows.Next() {
		var s Stray
		var at int64
		if err := rows.Scan(&s.Tag, &s.CallID, &s.Number, &at); err != nil {
			return nil, err
		}
		s.Since = fromMillis(at)
		strays = append(strays, s)
	}
	return strays, rows.Err()
}

// Found says that a webhook has named a stray. In one transaction the stray
// goes, its record gets Meta's id, and what is owed is added to the debts. A call
// whose record is not written yet is named likewise. A tag that names neither, or
// has done so before, changes nothing; found says which it was.
func (db *DB) Found(ctx context.Context, tag, wacid string, owed []Debt) (found bool, err error) {
	err = db.write(ctx, opStray, func(ctx context.Context, tx *session) error {
		if found, err = nameStray(ctx, tx, tag, wacid); err != nil {
			return err
		}
		for _, d := range owed {
			if !found {
				break
			}
			if err := insertDebt(ctx, tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	return found && err == nil, err
}

func nameStray(ctx context.Context, tx *session, tag, wacid string) (bool, error) {
	var call string
	err := tx.QueryRowContext(ctx, `DELETE FROM strays WHERE tag = ? AND tag <> '' RETURNING call_id`, tag).Scan(&call)
	if errors.Is(err, sql.ErrNoRows) {
		res, err := tx.ExecContext(ctx, `UPDATE calls SET wacid = ?2 WHERE tag = ?1 AND tag <> '' AND wacid = ''`, tag, wacid)
		if err != nil {
			return false, err
		}
		n, err := res.RowsAffected()
		return n > 0, err
	}
	if err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE records SET wacid = ?2, record = json_set(record, '$.wacid', ?2)
		WHERE id = ?1 AND wacid = ''`, call, wacid)
	return true, err
}

// PurgeStrays forgets the strays of before a time.
func (db *DB) PurgeStrays(ctx context.Context, before time.Time) error {
	return db.write(ctx, opPurge, func(ctx context.Context, tx *session) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM strays WHERE since < ?`, millis(before))
		return err
	})
}
