package store

import "context"

// Turn passes an empty wish through the writer and returns when the writer has
// come to it. It fails when a write before it hangs, as on a disk that answers
// no more; a full disk or a damaged file does not stop the writer.
func (db *DB) Turn(ctx context.Context) error {
	return db.submit(ctx, &write{
		do:    func(context.Context, *session) error { return nil },
		alone: true,
		done:  make(chan struct{}),
	})
}
