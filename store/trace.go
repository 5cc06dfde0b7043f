package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Trace is what is kept of the messages of an ended call. Nothing secret may be
// in it: what comes here stays as it is.
type Trace struct {
	CallID  string
	User    string // as in the record
	UserID  string
	EndedAt time.Time
	Body    []byte // JSON
}

// maxTraces is how many bytes all traces together may have. The oldest give way.
const maxTraces = 256 << 20

// SaveTrace writes the trace of a call; one that is there is replaced. The error
// while the disk is full is ErrFull: what is left of it is for the calls.
func (db *DB) SaveTrace(ctx context.Context, t Trace) error {
	if db.reserve.spent() {
		db.metrics.failures[opTrace].Inc()
		return fmt.Errorf("store %s: %w", opTrace, ErrFull)
	}
	var grown int64
	err := db.write(ctx, opTrace, func(ctx context.Context, tx *session) error {
		grown = int64(len(t.Body))
		_, err := tx.ExecContext(ctx, `INSERT INTO traces (id, ended_at, user, user_id, bytes, trace) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET trace = excluded.trace, bytes = excluded.bytes`,
			t.CallID, millis(t.EndedAt), t.User, t.UserID, len(t.Body), string(t.Body))
		if err != nil || db.traces.Load()+grown <= db.mostTraces {
			return err
		}
		freed, err := dropTraces(ctx, tx, db.traces.Load()+grown-db.mostTraces*9/10)
		grown -= freed
		return err
	})
	if err == nil {
		db.traces.Add(grown)
	}
	return err
}

// dropTraces makes room of at least so many bytes, the oldest first.
func dropTraces(ctx context.Context, tx *session, room int64) (freed int64, err error) {
	var last struct {
		at int64
		id string
	}
	enough := errors.New("enough")
	err = each(ctx, tx, `SELECT ended_at, id, bytes FROM traces ORDER BY ended_at, id`, func(scan func(...any) error) error {
		if freed >= room {
			return enough
		}
		var size int64
		err := scan(&last.at, &last.id, &size)
		freed += size
		return err
	})
	if err != nil && !errors.Is(err, enough) {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM traces WHERE (ended_at, id) <= (?, ?)`, last.at, last.id)
	return freed, err
}

// countTraces reckons anew how many bytes there are, after some went.
func (db *DB) countTraces(ctx context.Context) error {
	var size int64
	if err := db.conn.QueryRowContext(ctx, `SELECT coalesce(sum(bytes), 0) FROM traces`).Scan(&size); err != nil {
		return fmt.Errorf("count traces: %w", err)
	}
	db.traces.Store(size)
	return nil
}

// Trace returns the body of a trace, nil when there is none.
func (db *DB) Trace(ctx context.Context, callID string) ([]byte, error) {
	var body []byte
	err := db.readers.QueryRowContext(ctx, `SELECT trace FROM traces WHERE id = ?`, callID).Scan(&body)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read trace: %w", err)
	}
	return body, nil
}

// eraseTraces forgets the messages of the person's calls, and says of how many.
func (p *person) eraseTraces(ctx context.Context, tx *session) (n int, err error) {
	var gone []string
	for _, name := range slices.Concat(p.numbers, p.ids) {
		err := each(ctx, tx, tracesOfPerson, func(scan func(...any) error) error {
			var id, user, userID string
			err := scan(&id, &user, &userID)
			if p.is(user, userID) {
				gone = append(gone, id)
			}
			return err
		}, name)
		if err != nil {
			return 0, err
		}
	}
	gone = distinct(gone)
	for _, id := range gone {
		if _, err := tx.ExecContext(ctx, `DELETE FROM traces WHERE id = ?`, id); err != nil {
			return 0, err
		}
	}
	return len(gone), nil
}
