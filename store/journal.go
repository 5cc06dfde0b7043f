package store

import (
	"context"
	"fmt"
	"time"
)

// Event is one webhook event as it is kept until its effect is on disk.
type Event struct {
	Key    string // the same for a repeated delivery, and for nothing else
	Kind   string
	CallID string    // Meta's
	At     time.Time // Meta's clock
	Body   []byte
}

// Journal writes a delivery down, all of it or nothing, and says of each event
// whether it was seen for the first time. An event is undone until Done or
// Begin names its key.
func (db *DB) Journal(ctx context.Context, events []Event) (fresh []bool, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	fresh = make([]bool, len(events))
	err = db.write(ctx, opJournal, func(ctx context.Context, tx *session) error {
		seen := millis(time.Now())
		for i, e := range events {
			res, err := tx.ExecContext(ctx, `INSERT INTO events (key, kind, call_id, at, seen_at, done, body)
				VALUES (?, ?, ?, ?, ?, 0, ?) ON CONFLICT (key) DO NOTHING`,
				e.Key, e.Kind, e.CallID, millis(e.At), seen, e.Body)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			fresh[i] = n == 1
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return fresh, nil
}

// Done says that the effect of an event is on disk, or that it has none. Its
// key stays, whom it was about goes. An unknown key is no error.
func (db *DB) Done(ctx context.Context, key string) error {
	return db.write(ctx, opDone, func(ctx context.Context, tx *session) error {
		return markDone(ctx, tx, key)
	})
}

func markDone(ctx context.Context, tx *session, key string) error {
	if key == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE events SET done = 1, call_id = '', body = NULL WHERE key = ?`, key)
	return err
}

// Undone returns the events whose effect is not on disk, in the order in which
// they came.
func (db *DB) Undone(ctx context.Context) ([]Event, error) {
	events, err := db.undone(ctx)
	if err != nil {
		return nil, fmt.Errorf("read undone events: %w", err)
	}
	return events, nil
}

func (db *DB) undone(ctx context.Context) ([]Event, error) {
	rows, err := db.readers.QueryContext(ctx,
		`SELECT key, kind, call_id, at, body FROM events WHERE done = 0 ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var events []Event
	for rows.Next() {
		var e Event
		var at int64
		if err := rows.Scan(&e.Key, &e.Kind, &e.CallID, &at, &e.Body); err != nil {
			return nil, err
		}
		e.At = fromMillis(at)
		events = append(events, e)
	}
	return events, rows.Err()
}
