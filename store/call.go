package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	sqlite "modernc.org/sqlite"
)

// Call is a call that may exist on some network: what is needed to end it after
// a crash, and to write its record.
type Call struct {
	ID          string // ours
	Direction   string // inbound: the customer calls; or outbound
	Number      string // the business number's name
	NumberID    string // and Meta's id of it
	User        string // the customer's number, if known
	UserID      string // the customer's business-scoped id, if known
	Name        string // the customer's profile name
	Payload     string // of the button or link that started the call
	Route       string
	Trunk       string // the one tried last
	To          string // what was dialled there
	WACID       string // Meta's id of the call
	Tag         string // our mark in Meta's webhooks
	PreAccepted bool   // a pre_accept or accept may have been sent
	Agent       string // the extension that dialled, or is dialled, of a call that we place
	Callback    int64  // of the promise that it carries out, 0 for none; not filled by Unfinished
	StartedAt   time.Time
	RingingAt   time.Time
	AnsweredAt  time.Time
	SIP         []Dialog // filled by Unfinished
}

// Dialog is one attempt of a call on a trunk, with all that package sip needs
// to end it in another process.
type Dialog struct {
	Attempt int // counts up within the call
	Trunk   string
	To      string
	State   []byte // opaque
}

// Progress is what became known of a call. Zero fields leave what is there.
type Progress struct {
	RingingAt   time.Time
	AnsweredAt  time.Time
	WACID       string
	PreAccepted bool
	Trunk       string
	To          string
}

// Begin writes down that a call is about to exist, before the first request
// that could make it so. In the same transaction the webhook event that asked
// for it is marked done, and the promise that it carries out is taken; eventKey
// is empty for calls that we place. The errors are ErrExists, ErrEnded, ErrTaken
// and ErrFull.
func (db *DB) Begin(ctx context.Context, c Call, eventKey string) error {
	if db.reserve.spent() {
		db.metrics.failures[opBegin].Inc()
		return fmt.Errorf("store %s: %w", opBegin, ErrFull)
	}
	return db.write(ctx, opBegin, func(ctx context.Context, tx *session) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO calls (id, direction, number, number_id, user, user_id, name,
				payload, route, trunk, callee, wacid, tag, pre_accepted, started_at, ringing_at, answered_at, agent)
			SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18
			WHERE NOT EXISTS (SELECT 1 FROM records WHERE id = ?1)`,
			c.ID, c.Direction, c.Number, c.NumberID, c.User, c.UserID, c.Name, c.Payload, c.Route, c.Trunk, c.To,
			c.WACID, c.Tag, c.PreAccepted, millis(c.StartedAt), millis(c.RingingAt), millis(c.AnsweredAt), c.Agent)
		if taken(err) {
			return ErrExists
		}
		if err := one(res, err); err != nil {
			return err
		}
		if err := takeCallback(ctx, tx, c.Callback); err != nil {
			return err
		}
		return markDone(ctx, tx, eventKey)
	})
}

// SaveDialog writes an attempt down, before its INVITE leaves and again
// whenever its state changes.
func (db *DB) SaveDialog(ctx context.Context, callID string, d Dialog) error {
	return db.write(ctx, opDialog, func(ctx context.Context, tx *session) error {
		return one(tx.ExecContext(ctx, `INSERT INTO dialogs (call_id, attempt, trunk, callee, state)
			SELECT id, ?2, ?3, ?4, ?5 FROM calls WHERE id = ?1
			ON CONFLICT (call_id, attempt) DO UPDATE
			SET trunk = excluded.trunk, callee = excluded.callee, state = excluded.state`,
			callID, d.Attempt, d.Trunk, d.To, d.State))
	})
}

// DropDialog forgets an attempt that has ended at the far end. It may be gone.
func (db *DB) DropDialog(ctx context.Context, callID string, attempt int) error {
	return db.write(ctx, opDialog, func(ctx context.Context, tx *session) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM dialogs WHERE call_id = ? AND attempt = ?`, callID, attempt)
		return err
	})
}

// Progress adds to a call what became known of it.
func (db *DB) Progress(ctx context.Context, callID string, p Progress) error {
	return db.write(ctx, opProgress, func(ctx context.Context, tx *session) error {
		return one(tx.ExecContext(ctx, `UPDATE calls SET
			ringing_at = coalesce(nullif(?2, 0), ringing_at), answered_at = coalesce(nullif(?3, 0), answered_at),
			wacid = coalesce(nullif(?4, ''), wacid), pre_accepted = max(pre_accepted, ?5),
			trunk = coalesce(nullif(?6, ''), trunk), callee = coalesce(nullif(?7, ''), callee)
			WHERE id = ?1`,
			callID, millis(p.RingingAt), millis(p.AnsweredAt), p.WACID, p.PreAccepted, p.Trunk, p.To))
	})
}

// End closes a call in one transaction: its record is written, its row and
// dialogs go, and what is still owed to a network is added to the debts. tag is
// our mark of a call that may exist at Meta and that nobody can name: it becomes
// a stray; empty for every other call. A call that was never begun may be ended
// too. The second End of a call is ErrEnded and changes nothing.
func (db *DB) End(ctx context.Context, r Record, owed []Debt, tag string) error {
	return db.write(ctx, opEnd, func(ctx context.Context, tx *session) error {
		if err := insertRecord(ctx, tx, r); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM calls WHERE id = ?`, r.ID); err != nil {
			return err
		}
		for _, d := range owed {
			if err := insertDebt(ctx, tx, d); err != nil {
				return err
			}
		}
		return insertStray(ctx, tx, tag, r)
	})
}

// Unfinished returns the calls without a record, oldest first: after a start,
// those of the process before.
func (db *DB) Unfinished(ctx context.Context) ([]Call, error) {
	calls, err := db.unfinished(ctx)
	if err != nil {
		return nil, fmt.Errorf("read unfinished calls: %w", err)
	}
	return calls, nil
}

func (db *DB) unfinished(ctx context.Context) ([]Call, error) {
	rows, err := db.readers.QueryContext(ctx, `SELECT c.id, c.direction, c.number, c.number_id, c.user, c.user_id,
			c.name, c.payload, c.route, c.trunk, c.callee, c.wacid, c.tag, c.pre_accepted, c.started_at, c.ringing_at,
			c.answered_at, c.agent, d.attempt, d.trunk, d.callee, d.state
		FROM calls c LEFT JOIN dialogs d ON d.call_id = c.id
		ORDER BY c.started_at, c.id, d.attempt`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var calls []Call
	for rows.Next() {
		var (
			c                          Call
			started, ringing, answered int64
			attempt                    sql.NullInt64
			trunk, to                  sql.NullString
			state                      []byte
		)
		if err := rows.Scan(&c.ID, &c.Direction, &c.Number, &c.NumberID, &c.User, &c.UserID,
			&c.Name, &c.Payload, &c.Route, &c.Trunk, &c.To, &c.WACID, &c.Tag, &c.PreAccepted, &started, &ringing,
			&answered, &c.Agent, &attempt, &trunk, &to, &state); err != nil {
			return nil, err
		}
		if n := len(calls); n == 0 || calls[n-1].ID != c.ID {
			c.StartedAt, c.RingingAt, c.AnsweredAt = fromMillis(started), fromMillis(ringing), fromMillis(answered)
			calls = append(calls, c)
		}
		if attempt.Valid {
			last := &calls[len(calls)-1]
			last.SIP = append(last.SIP, Dialog{int(attempt.Int64), trunk.String, to.String, state})
		}
	}
	return calls, rows.Err()
}

// one turns a change that met no row into ErrEnded: every row that a call
// changes goes with its End.
func one(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return ErrEnded
	}
	return err
}

// taken says whether err is about a primary key that is there already.
func taken(err error) bool {
	const primaryKey = codeConstraint | 6<<8
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == primaryKey
}
