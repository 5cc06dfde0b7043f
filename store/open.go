package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

func (db *DB) open(ctx context.Context) error {
	path := filepath.Join(db.dir, fileName)
	if err := private(path); err != nil {
		return err
	}
	var err error
	if db.raw, err = os.Open(path); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if db.writers, err = sql.Open("sqlite", dsn(path, false)); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	db.writers.SetMaxOpenConns(1)
	conn, err := db.writers.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, damaged(err))
	}
	db.conn = newSession(conn)
	if err := check(ctx, conn); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := migrate(ctx, conn); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if db.veil, err = openVeil(ctx, db.conn); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err = db.countTraces(ctx); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if db.readers, err = sql.Open("sqlite", dsn(path, true)); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err = db.openReaders(ctx); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return syncDir(db.dir)
}

// openReaders opens all connections for reading, to stay. The file of one that is
// closed would stay open for as long as another has a lock, which is always: POSIX
// takes all locks of a process away when any of its files is closed.
func (db *DB) openReaders(ctx context.Context) error {
	db.readers.SetMaxOpenConns(maxReaders)
	db.readers.SetMaxIdleConns(maxReaders)
	var errs []error
	var conns []*sql.Conn
	for range maxReaders {
		conn, err := db.readers.Conn(ctx)
		if err != nil {
			errs = append(errs, err)
			break
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// dsn names the file with the settings that every connection needs. Automatic
// checkpoints are off: they would run inside somebody's commit.
func dsn(path string, readOnly bool) string {
	q := url.Values{"_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"wal_autocheckpoint(0)", "journal_size_limit(0)", "secure_delete(ON)", "temp_store(MEMORY)",
	}}
	if readOnly {
		q["_pragma"] = append(q["_pragma"], "query_only(1)")
	}
	u := url.URL{Path: path}
	return "file:" + u.EscapedPath() + "?" + q.Encode()
}

func check(ctx context.Context, conn *sql.Conn) error {
	var verdict string
	if err := conn.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
		return fmt.Errorf("check: %w", damaged(err))
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrCorrupt, verdict)
	}
	return nil
}

// damaged names the errors that say so.
func damaged(err error) error {
	if c, ok := sqliteCode(err); ok && (c == codeCorrupt || c == codeNotADB) {
		return fmt.Errorf("%w: %w; restore a backup, or move the file away", ErrCorrupt, err)
	}
	return err
}
