package store

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"wagate/whatsapp"
)

// veil gives forgotten customers another name, which nobody can turn back
// without the key: under it the ledger keeps what the limits of requests and
// calls need, and finds it again should the customer come back.
type veil struct{ key []byte }

// veiled marks the names that are none.
const veiled = "#"

func openVeil(ctx context.Context, conn *session) (veil, error) {
	var v veil
	if _, err := conn.ExecContext(ctx, `INSERT OR IGNORE INTO keys (name, key) VALUES ('veil', ?)`, []byte(rand.Text())); err != nil {
		return v, fmt.Errorf("make key: %w", err)
	}
	if err := conn.QueryRowContext(ctx, `SELECT key FROM keys WHERE name = 'veil'`).Scan(&v.key); err != nil {
		return v, fmt.Errorf("read key: %w", err)
	}
	return v, nil
}

// of returns the other name of a number or id.
func (v veil) of(name string) string {
	mac := hmac.New(sha256.New, v.key)
	mac.Write([]byte(name))
	return veiled + hex.EncodeToString(mac.Sum(nil))
}

// keyOf returns the name by which the ledger knows a customer: the
// business-scoped id, given or seen last with that number, else the number; or
// what became of it when the customer was forgotten.
func (v veil) keyOf(ctx context.Context, tx queryer, number string, who whatsapp.Callee) (string, error) {
	name, err := nameOf(ctx, tx, number, who)
	if err != nil {
		return "", err
	}
	if name == who.Number && who.UserID == "" { // an id was known, perhaps
		id, err := idOf(ctx, tx, number, v.of(who.Number))
		if err != nil || id != "" {
			return id, err
		}
	}
	var known bool
	err = tx.QueryRowContext(ctx, `SELECT 1 FROM permissions WHERE number = ? AND user = ?`, number, v.of(name)).Scan(&known)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return name, nil
	case err != nil:
		return "", err
	}
	return v.of(name), nil
}

// nameOf is keyOf for a customer whom nobody has forgotten.
func nameOf(ctx context.Context, tx queryer, number string, who whatsapp.Callee) (string, error) {
	switch {
	case who.UserID != "":
		return who.UserID, nil
	case who.Number == "":
		return "", errNobody
	}
	id, err := idOf(ctx, tx, number, who.Number)
	if err == nil && id == "" {
		return who.Number, nil
	}
	return id, err
}

// idOf returns the business-scoped id that was seen last with a number, nothing
// if there is none.
func idOf(ctx context.Context, tx queryer, number, waID string) (id string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT bsuid FROM identities WHERE number = ? AND wa_id = ? ORDER BY seen_at DESC, bsuid LIMIT 1`,
		number, waID).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}
