package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"wagate/whatsapp"
)

// The permission ledger keeps one value for each business number, by Meta's id
// of it, and customer. Its rules are not the store's business: callers bring
// the next value, or a function that makes it of the present one. Such a
// function runs inside the transaction, may run twice, and must be pure.

// errNobody means that a customer has neither a number nor an id.
var errNobody = errors.New("customer has neither number nor id")

// Permission returns what is known of a customer, the zero value if nothing is.
func (db *DB) Permission(ctx context.Context, number string, who whatsapp.Callee) (whatsapp.Permission, error) {
	p, err := db.permission(ctx, number, who)
	if err != nil {
		return p, fmt.Errorf("read permission: %w", err)
	}
	return p, nil
}

func (db *DB) permission(ctx context.Context, number string, who whatsapp.Callee) (whatsapp.Permission, error) {
	tx, err := db.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return whatsapp.Permission{}, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	key, err := db.veil.keyOf(ctx, tx, number, bare(who))
	if err != nil {
		return whatsapp.Permission{}, err
	}
	p, _, err := readPermission(ctx, tx, number, key)
	return p, err
}

// SetPermission writes down what is known of a customer, whatever was known
// before.
func (db *DB) SetPermission(ctx context.Context, number string, who whatsapp.Callee, p whatsapp.Permission) error {
	_, _, err := db.ApplyPermission(ctx, "", number, who, time.Now(), func(whatsapp.Permission) whatsapp.Permission { return p })
	return err
}

// ApplyPermission changes what is known of a customer, and marks the event that
// it follows from as done, in one transaction. An event that is done already
// changes nothing; the key is empty where there is none. When the event names
// the customer by number and by id, the two are one from then on, as seen at
// that time. It returns the value before and after.
func (db *DB) ApplyPermission(
	ctx context.Context, eventKey, number string, who whatsapp.Callee, seen time.Time,
	change func(whatsapp.Permission) whatsapp.Permission,
) (was, is whatsapp.Permission, err error) {
	err = db.write(ctx, opPermission, func(ctx context.Context, tx *session) error {
		key, err := db.veil.link(ctx, tx, number, bare(who), seen)
		if err != nil {
			return err
		}
		if was, _, err = readPermission(ctx, tx, number, key); err != nil {
			return err
		}
		is = was
		done, err := isDone(ctx, tx, eventKey)
		if err != nil || done {
			return err
		}
		is = change(was)
		if err := writePermission(ctx, tx, number, key, is); err != nil {
			return err
		}
		return markDone(ctx, tx, eventKey)
	})
	return was, is, err
}

// TakeRequest changes what is known of a customer unless take refuses; its
// error is then returned as it is and nothing is changed. Nobody else's change
// comes between what take sees and what it returns, so a limit that it checks
// holds whoever asks at the same time, and after a crash. A full disk is an
// ErrFull.
func (db *DB) TakeRequest(
	ctx context.Context, number string, who whatsapp.Callee,
	take func(whatsapp.Permission) (whatsapp.Permission, error),
) (is whatsapp.Permission, err error) {
	if db.reserve.spent() {
		db.metrics.failures[opPermission].Inc()
		return is, fmt.Errorf("store %s: %w", opPermission, ErrFull)
	}
	var refusal error
	err = db.write(ctx, opPermission, func(ctx context.Context, tx *session) error {
		key, err := db.veil.link(ctx, tx, number, bare(who), time.Time{}) // who is meant is no news of who is who
		if err != nil {
			return err
		}
		p, _, err := readPermission(ctx, tx, number, key)
		if err != nil {
			return err
		}
		if is, refusal = take(p); refusal != nil {
			is = p
			return nil
		}
		return writePermission(ctx, tx, number, key, is)
	})
	if err != nil {
		return is, err
	}
	return is, refusal
}

// queryer is a transaction, for reading or for writing.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readPermission(ctx context.Context, tx queryer, number, key string) (p whatsapp.Permission, found bool, err error) {
	var text []byte
	err = tx.QueryRowContext(ctx, `SELECT permission FROM permissions WHERE number = ? AND user = ?`, number, key).Scan(&text)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return p, false, nil
	case err != nil:
		return p, false, err
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return whatsapp.Permission{}, true, fmt.Errorf("decode permission: %w", err)
	}
	return p, true, nil
}

func writePermission(ctx context.Context, tx *session, number, key string, p whatsapp.Permission) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode permission: %w", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO permissions (number, user, changed_at, permission) VALUES (?, ?, ?, ?)
		ON CONFLICT (number, user) DO UPDATE SET changed_at = excluded.changed_at, permission = excluded.permission`,
		number, key, millis(time.Now()), string(text))
	return err
}

func isDone(ctx context.Context, tx *session, eventKey string) (done bool, err error) {
	if eventKey == "" {
		return false, nil
	}
	err = tx.QueryRowContext(ctx, `SELECT done FROM events WHERE key = ?`, eventKey).Scan(&done)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return done, err
}

// bare is a customer as the ledger names them: digits, without a plus.
func bare(who whatsapp.Callee) whatsapp.Callee {
	who.Number = strings.TrimPrefix(who.Number, "+")
	return who
}
