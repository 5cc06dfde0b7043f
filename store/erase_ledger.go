package store

import (
	"context"
	"slices"
	"strings"
	"time"
)

// erasePermissions takes the person's name off the ledger. What the limits need
// stays under the veil.
func (v veil) erasePermissions(ctx context.Context, tx *session, p person, now time.Time) (erased, kept int, err error) {
	for _, name := range slices.Concat(p.ids, p.numbers) {
		numbers, err := column(ctx, tx, `SELECT DISTINCT number FROM permissions WHERE user IN (?, ?)`, name, v.of(name))
		if err != nil {
			return 0, 0, err
		}
		for _, number := range numbers {
			if err := v.rename(ctx, tx, number, name, v.of(name)); err != nil {
				return 0, 0, err
			}
			known, _, err := readPermission(ctx, tx, number, v.of(name))
			if err != nil {
				return 0, 0, err
			}
			erased++
			left := known.Forgotten()
			if left.Idle(now) {
				_, err = tx.ExecContext(ctx, `DELETE FROM permissions WHERE number = ? AND user = ?`, number, v.of(name))
			} else {
				kept++
				err = writePermission(ctx, tx, number, v.of(name), left)
			}
			if err != nil {
				return 0, 0, err
			}
		}
	}
	return erased, kept, nil
}

// eraseIdentities forgets which number belongs to the person's ids. Where the
// ledger keeps something it is still found by either, under the veil.
func (v veil) eraseIdentities(ctx context.Context, tx *session, p person) (erased int, err error) {
	for _, id := range p.ids {
		type pair struct {
			number, waID string
			seen         int64
		}
		var pairs []pair
		err := each(ctx, tx, `SELECT number, wa_id, seen_at FROM identities WHERE bsuid = ?`, func(scan func(...any) error) error {
			var row pair
			err := scan(&row.number, &row.waID, &row.seen)
			pairs = append(pairs, row)
			return err
		}, id)
		if err != nil {
			return 0, err
		}
		for _, row := range pairs {
			if _, err := tx.ExecContext(ctx, `DELETE FROM identities WHERE number = ? AND bsuid = ?`, row.number, id); err != nil {
				return 0, err
			}
			if strings.HasPrefix(id, veiled) {
				continue
			}
			if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO identities (number, bsuid, wa_id, seen_at)
				SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM permissions WHERE number = ?1 AND user = ?2)`,
				row.number, v.of(id), v.of(row.waID), row.seen); err != nil {
				return 0, err
			}
			erased++
		}
	}
	return erased, nil
}
