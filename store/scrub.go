package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// What is deleted is overwritten, but where the engine rearranges a page a copy
// may stay behind in its unused part. maxVacuum is the size of the largest
// database that is rebuilt for that while calls wait for the disk.
const maxVacuum = 256 << 20

// scrub folds the log into the database, and makes sure that none of the texts
// is left in a file. It says whether it found none.
func (db *DB) scrub(ctx context.Context, texts []string) (clean bool) {
	clean, err := db.fileScrub(ctx, texts)
	switch {
	case err != nil:
		db.log.Warn("erased rows may have left traces in the files", slog.Any("error", err))
	case !clean:
		db.log.Warn("erased rows have left traces in unused parts of a large database; rebuild it by VACUUM while the gateway is stopped")
	}
	return clean && err == nil
}

func (db *DB) fileScrub(ctx context.Context, texts []string) (clean bool, err error) {
	if err := db.alone(ctx, opErase, db.truncate); err != nil {
		return false, err
	}
	if clean, err := db.lacks(texts); clean || err != nil {
		return clean, err
	}
	if st, err := db.raw.Stat(); err != nil || st.Size() > maxVacuum {
		return false, err
	}
	err = db.alone(ctx, opErase, func(ctx context.Context, conn *session) error {
		if _, err := conn.ExecContext(ctx, `VACUUM`); err != nil {
			return fmt.Errorf("rebuild database: %w", err)
		}
		return db.truncate(ctx, conn)
	})
	if err != nil {
		return false, err
	}
	db.log.Info("database is rebuilt, so that nothing erased is left in it")
	return db.lacks(texts)
}

// truncate leaves an empty log.
func (db *DB) truncate(ctx context.Context, conn *session) error {
	db.folding.Lock()
	defer db.folding.Unlock()
	var busy, pages, folded int
	if err := conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &folded); err != nil {
		return err
	}
	if busy != 0 {
		return errors.New("another program reads the write-ahead log; erase again when it has ended")
	}
	return nil
}

// lacks says whether the files have none of the texts in them. The database is
// read by a descriptor of its own that lives as long as the store: closing one
// would give up the locks of the engine.
func (db *DB) lacks(texts []string) (bool, error) {
	found, err := contains(io.NewSectionReader(db.raw, 0, math.MaxInt64), texts)
	if err != nil || found {
		return false, err
	}
	log, err := os.Open(filepath.Join(db.dir, fileName+"-wal"))
	if err != nil {
		return false, fmt.Errorf("look for traces: %w", err)
	}
	defer func() { _ = log.Close() }()
	found, err = contains(log, texts)
	return !found, err
}

// contains looks for texts in a file, block by block with an overlap.
func contains(file io.Reader, texts []string) (bool, error) {
	const block = 1 << 20
	longest := 0
	for _, text := range texts {
		longest = max(longest, len(text))
	}
	buf := make([]byte, 0, block+longest)
	for {
		n, err := file.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if slices.ContainsFunc(texts, func(text string) bool { return bytes.Contains(buf, []byte(text)) }) {
			return true, nil
		}
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("look for traces: %w", err)
		}
		buf = buf[:copy(buf, buf[max(len(buf)-longest, 0):])]
	}
}
