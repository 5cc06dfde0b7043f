package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxBatch is how many writes one commit carries at most.
	maxBatch = 256
	// foldAbove is the size of the log, in bytes, from which it is folded into
	// the database. The log's file shrinks when it starts again. On a full disk it
	// is the other one.
	foldAbove     = 4 << 20
	foldFullAbove = 256 << 10
)

// write is one wish of a caller. do may run twice, after the disk was full, and
// must then give the same result.
type write struct {
	do    func(ctx context.Context, tx *session) error
	alone bool        // do runs outside of any transaction
	taken atomic.Bool // by the writer, or by a caller that does not want it any more
	err   error
	done  chan struct{}
}

// write hands do to the writer and waits until it is on disk. When ctx ends
// before the writer has taken it, it does not happen; after that its result is
// waited for, so that an error always means: not on disk.
func (db *DB) write(ctx context.Context, o op, do func(ctx context.Context, tx *session) error) error {
	return db.timed(ctx, o, &write{do: do, done: make(chan struct{})})
}

// alone runs do between two commits, outside of a transaction.
func (db *DB) alone(ctx context.Context, o op, do func(ctx context.Context, conn *session) error) error {
	return db.timed(ctx, o, &write{do: do, alone: true, done: make(chan struct{})})
}

func (db *DB) timed(ctx context.Context, o op, w *write) error {
	started := time.Now()
	err := db.submit(ctx, w)
	switch {
	case err == nil:
		db.metrics.seconds[o].Observe(time.Since(started).Seconds())
		return nil
	case errors.Is(err, ErrEnded), errors.Is(err, ErrExists), errors.Is(err, ErrTaken), errors.Is(err, ErrLive): // refused, not failed
	default:
		db.metrics.failures[o].Inc()
	}
	return fmt.Errorf("store %s: %w", o, err)
}

func (db *DB) submit(ctx context.Context, w *write) error {
	select {
	case <-db.closing:
		return ErrClosed
	default:
	}
	select {
	case db.writes <- w:
	case <-db.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if w.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		<-w.done
	case <-db.stopped: // it came after the last batch, or was in it
		if w.taken.CompareAndSwap(false, true) {
			return ErrClosed
		}
		<-w.done
	}
	return w.err
}

// writeLoop owns the writing connection. What waits while a commit is on its
// way to the disk goes into the next one together.
func (db *DB) writeLoop() {
	defer close(db.stopped)
	batch := make([]*write, 0, maxBatch)
	for {
		select {
		case w := <-db.writes:
			batch = db.gather(w.join(batch[:0]))
		case <-db.closing:
			db.lastWrites(batch)
			return
		}
		if len(batch) == 0 {
			continue
		}
		db.commit(batch)
		select {
		case db.commits <- struct{}{}:
		default:
		}
	}
}

// join adds the write to a batch, unless its caller has given it up.
func (w *write) join(batch []*write) []*write {
	if w.taken.CompareAndSwap(false, true) {
		batch = append(batch, w)
	}
	return batch
}

func (db *DB) gather(batch []*write) []*write {
	for len(batch) < maxBatch {
		select {
		case w := <-db.writes:
			batch = w.join(batch)
		default:
			return batch
		}
	}
	return batch
}

// lastWrites takes what was accepted before Close.
func (db *DB) lastWrites(batch []*write) {
	for {
		batch = db.gather(batch[:0])
		if len(batch) == 0 {
			return
		}
		db.commit(batch)
	}
}

// commit runs a batch in one transaction and answers each of its callers.
func (db *DB) commit(batch []*write) {
	ctx := context.Background()
	batch = slices.DeleteFunc(batch, func(w *write) bool {
		if w.alone {
			w.err = w.do(ctx, db.conn)
			close(w.done)
		}
		return w.alone
	})
	if len(batch) == 0 {
		return
	}
	if db.reserve.spent() && db.logSize() > foldFullAbove {
		// Else what is written of refused calls would fill any room that an operator
		// makes, before the reserve is asked for again. Without room it fails.
		_, _ = db.conn.ExecContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`)
	}
	err := db.try(ctx, batch)
	if err != nil && db.isFull(err) && db.reserve.give() {
		db.log.Error("disk is full, reserve given up, new calls are not taken", slog.String("dir", db.dir))
		err = db.try(ctx, batch)
	}
	for _, w := range batch {
		if err != nil {
			w.err = err
		}
		close(w.done)
	}
}

// try returns an error when nothing of the batch is on disk. A write that was
// refused alone keeps its own error and does not touch the others.
func (db *DB) try(ctx context.Context, batch []*write) error {
	if _, err := db.conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	for _, w := range batch {
		if err := db.apply(ctx, w); err != nil {
			return db.rollback(ctx, err)
		}
	}
	if _, err := db.conn.ExecContext(ctx, `COMMIT`); err != nil {
		return db.rollback(ctx, err)
	}
	return nil
}

// apply runs one write inside the transaction, behind a savepoint. It returns
// an error only when the whole transaction is lost.
func (db *DB) apply(ctx context.Context, w *write) error {
	if _, err := db.conn.ExecContext(ctx, `SAVEPOINT one`); err != nil {
		return err
	}
	w.err = w.do(ctx, db.conn)
	if fatal(w.err) {
		return w.err
	}
	if w.err != nil {
		if _, err := db.conn.ExecContext(ctx, `ROLLBACK TO one`); err != nil {
			return err
		}
	}
	_, err := db.conn.ExecContext(ctx, `RELEASE one`)
	return err
}

func (db *DB) rollback(ctx context.Context, cause error) error {
	// The engine may have rolled back by itself; then this says so, and that
	// is all right.
	_, _ = db.conn.ExecContext(ctx, `ROLLBACK`)
	return cause
}

// fatal says whether the engine may have given the transaction up.
func fatal(err error) bool {
	switch c, _ := sqliteCode(err); c {
	case codeBusy, codeNoMem, codeInterrupt, codeIO, codeCorrupt, codeFull, codeNotADB:
		return true
	}
	return false
}

func (db *DB) isFull(err error) bool {
	switch c, _ := sqliteCode(err); c {
	case codeFull:
		return true
	case codeIO:
		free, err := freeSpace(db.dir)
		return err == nil && free < fullBelow
	}
	return false
}

// checkpointLoop folds the log into the database beside the writers, never in
// their way.
func (db *DB) checkpointLoop() {
	ctx := context.Background()
	for {
		select {
		case <-db.closing:
			return
		case <-db.commits:
		}
		if db.logSize() < foldAbove {
			continue
		}
		if err := db.fold(ctx); err != nil {
			db.metrics.failures[opCheckpoint].Inc()
			db.log.Warn("write-ahead log not folded", slog.Any("error", err))
		}
	}
}

// logSize is that of the write-ahead log's file, in bytes.
func (db *DB) logSize() int64 {
	st, err := os.Stat(filepath.Join(db.dir, fileName+"-wal"))
	if err != nil {
		return 0
	}
	return st.Size()
}

func (db *DB) fold(ctx context.Context) error {
	db.folding.Lock()
	defer db.folding.Unlock()
	started := time.Now()
	var busy, pages, folded int
	err := db.readers.QueryRowContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &pages, &folded)
	if err != nil {
		return err
	}
	db.metrics.seconds[opCheckpoint].Observe(time.Since(started).Seconds())
	return nil
}
