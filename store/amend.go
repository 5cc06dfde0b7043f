package store

import "context"

// Amend adds to a written record what Meta's terminate webhook says after the
// call is over here: the duration that Meta bills, in seconds, and its error
// code, 0 for none. A record that has its figures already stays as it is, and a
// call without a record is no error.
func (db *DB) Amend(ctx context.Context, wacid string, durationS, metaError int) error {
	return db.write(ctx, opEnd, func(ctx context.Context, tx *session) error {
		_, err := tx.ExecContext(ctx, `UPDATE records SET record = json_set(record,
				'$.meta_duration_s', iif(record ->> 'meta_duration_s' = 0, ?2, record ->> 'meta_duration_s'),
				'$.meta_error', iif(record ->> 'meta_error' = 0, ?3, record ->> 'meta_error'))
			WHERE wacid = ?1 AND wacid <> ''`, wacid, durationS, metaError)
		return err
	})
}
